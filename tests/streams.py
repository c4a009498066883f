"""Data in batches, for tests of what reads them."""

import keras


class Batches(keras.utils.PyDataset):
    def __init__(self, parts, **options):
        super().__init__(**options)
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, index):
        return self.parts[index]


def cut(*arrays, size=7):
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, len(arrays[0]), size)]

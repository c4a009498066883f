"""Data in batches, for tests of fits on streams."""

import keras


class Batches(keras.utils.PyDataset):
    """A PyDataset of a list of batches."""

    def __init__(self, parts, **options):
        super().__init__(**options)
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, index):
        return self.parts[index]


def cut(*arrays, size=7):
    """The batches of arrays, `size` rows each."""
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, len(arrays[0]), size)]

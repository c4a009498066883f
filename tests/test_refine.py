"""Nearly dependent columns of data too large for double-double: further looks bring the digits back."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.moments.moments import Moments
from keras_linreg.moments.small_data import reduce_in_double_double


def problem(apart, weighted, outputs=1, rows=600):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(rows, 3)) * [1.0, 1e-9, 1.0] + [2000.0, 0.0, 1e6]
    x = np.hstack([x, x[:, :1] + apart * rng.normal(size=(rows, 1))])
    y = (x - x.mean(axis=0)) @ (rng.normal(size=(4, outputs)) * [[1.0], [1e9], [1.0], [1.0]])
    y += rng.normal(size=(rows, outputs))
    return x, y, 10 ** rng.uniform(-6, 6, size=rows) if weighted else None


def truth(x, y, w):
    held = reduce_in_double_double(x, y, w)
    names = tuple(f"x{i}" for i in range(x.shape[1])), tuple(f"y{i}" for i in range(y.shape[1]))
    return Moments(*names, len(x), "float64", held).solve(warn=False)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays, self.reads = arrays, 0

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.reads += 1
        return tuple(a[100 * index : 100 * (index + 1)] for a in self.arrays)


KINDS = {
    "arrays": lambda *d: (d[0], d[1], *d[2:]),
    "dataset": lambda *d: (tf.data.Dataset.from_tensor_slices(d).batch(70),),
    "shuffled dataset": lambda *d: (tf.data.Dataset.from_tensor_slices(d).shuffle(600).batch(70),),
    "PyDataset": lambda *d: (Batches(*d),),
}


PROBLEMS = list(itertools.product([1e-2, 1e-5, 1e-8], [False, True], [1, 2]))
OF_EACH_KIND = [(1e-2, True, 1), (1e-5, False, 2), (1e-8, True, 2)]


@pytest.mark.parametrize(
    ("kind", "apart", "weighted", "outputs"),
    [(kind, *case) for kind in KINDS for case in (PROBLEMS if kind == "arrays" else OF_EACH_KIND)],
)
def test_data_that_can_be_read_again_give_13_digits(kind, apart, weighted, outputs, only_float64):
    x, y, w = problem(apart, weighted, outputs)
    x_and_y = KINDS[kind](*(part for part in (x, y, w) if part is not None))
    model = klr.ExactLinearRegression(outputs)
    options = {"sample_weight": x_and_y[2]} if len(x_and_y) == 3 else {}
    model.fit(*x_and_y[:2], verbose=0, **options)
    exact = truth(x, y, w)
    np.testing.assert_allclose(model.solution.kernel, exact.kernel, rtol=1e-13)
    np.testing.assert_allclose(model.solution.bias, exact.bias, rtol=1e-13)
    np.testing.assert_allclose(model.solution.rss, exact.rss, rtol=1e-8)
    assert model.solution.fewest_digits >= 13


@pytest.mark.filterwarnings("ignore:Only about .* digits")
@pytest.mark.parametrize("apart", [1e-3, 1e-6])
def test_a_stream_that_is_read_once_gives_what_lapack_gives(apart, only_float64):
    x, y, _ = problem(apart, False)
    model = klr.ExactLinearRegression()
    model.fit(((x[i : i + 50], y[i : i + 50]) for i in range(0, 600, 50)), verbose=0)
    exact = truth(x, y, None)
    centred = x - x.mean(axis=0)
    scale = np.linalg.norm(centred, axis=0)
    lapack = np.linalg.lstsq(centred / scale, y - y.mean(axis=0), rcond=1e-20)[0] / scale[:, None]
    ours, theirs = (np.abs(k / exact.kernel - 1).max() for k in (model.solution.kernel, lapack))
    assert ours <= 30 * theirs
    assert -np.log10(ours) >= model.solution.fewest_digits - 1


def test_well_conditioned_data_are_read_once(only_float64):
    x, y, _ = problem(1.0, False)
    batches = Batches(x, y)
    batches[0]
    drawn = batches.reads
    klr.ExactLinearRegression().fit(batches, verbose=0)
    once = batches.reads - drawn
    x, y, _ = problem(1e-5, False)
    batches = Batches(x, y)
    klr.ExactLinearRegression().fit(batches, verbose=0)
    assert once < 12 <= batches.reads


def changing(x, y):
    draws = iter(range(100))

    def batches():
        noise = 1e-3 * np.random.default_rng(next(draws)).normal(size=x.shape)
        yield x + noise, y

    return tf.data.Dataset.from_generator(
        batches, output_signature=(tf.TensorSpec((None, 4), "float64"), tf.TensorSpec((None, 1), "float64"))
    )


def drying(x, y):
    draws = iter([600, 400, 200])

    def batches():
        rows = next(draws, 0)
        yield x[:rows], y[:rows]

    return tf.data.Dataset.from_generator(
        batches, output_signature=(tf.TensorSpec((None, 4), "float64"), tf.TensorSpec((None, 1), "float64"))
    )


@pytest.mark.filterwarnings("ignore:Only about .* digits")
@pytest.mark.parametrize("source", [changing, drying])
def test_a_look_at_other_rows_is_thrown_away(source, only_float64):
    x, y, _ = problem(1e-5, False)
    model = klr.ExactLinearRegression()
    with pytest.warns(UserWarning, match="did not bring back the same rows"):
        model.fit(source(x, y), verbose=0)
    assert model.moments.rows == 600 and not model.moments.statistics.is_double_double


def test_steps_per_epoch_looks_at_its_own_batches_again(only_float64):
    x, y, _ = problem(1e-6, False)
    model = klr.ExactLinearRegression()
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(60).repeat()
    model.fit(data, steps_per_epoch=5, epochs=2, verbose=0)
    np.testing.assert_allclose(model.solution.kernel, truth(x[:300], y[:300], None).kernel, rtol=1e-13)


def test_other_solutions_of_polished_moments_promise_no_more_than_they_have(only_float64):
    x, y, _ = problem(1e-6, False)
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    assert model.solution.fewest_digits >= 13
    assert model.moments.solve(use_bias=False, warn=False).fewest_digits < 10
    assert model.moments.select(["x3", "x0"]).solve(warn=False).fewest_digits < 10
    twice = (model.moments + model.moments).solve(warn=False)
    np.testing.assert_allclose(twice.kernel, truth(x, y, None).kernel, rtol=1e-13)
    assert twice.fewest_digits >= 13


@pytest.mark.filterwarnings("ignore:1 of 5 columns depend on the bias")
@pytest.mark.parametrize("position", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [None, 70])
def test_a_constant_column_is_no_hindrance(position, batch_size, only_float64):
    x, y, _ = problem(1e-5, False)
    model = klr.ExactLinearRegression()
    model.fit(np.insert(x, position, 7.3, axis=1), y, batch_size=batch_size, verbose=0)
    kernel = np.delete(model.solution.kernel, position, axis=0)
    np.testing.assert_allclose(kernel, truth(x, y, None).kernel, rtol=1e-13)

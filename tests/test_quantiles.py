"""Quantiles of a stream: NumPy's while values are few, within the documented error of many, in any order."""

import tracemalloc

import numpy as np
import pytest

from keras_linreg.inference.quantiles import MOST_VALUES, Quantiles

PROBABILITIES = [0.0, 1e-4, 0.01, 0.25, 1 / 3, 0.5, 0.75, 0.99, 0.9999, 1.0]
BOUND = 1e-3  # of the value or of the scale, whichever is larger
MANY = 150_001


def values_of(kind, n):
    rng = np.random.default_rng(n)
    return {
        "normal": lambda: rng.normal(size=n),
        "Cauchy": lambda: rng.standard_cauchy(n),
        "exponential": lambda: rng.exponential(size=n),
        "far from 0": lambda: 1e6 + rng.normal(size=n),
        "integers": lambda: rng.integers(-3, 4, n).astype(float),
        "two values": lambda: np.repeat([-1.0, 1.0], [n // 3, n - n // 3]),
        "constant": lambda: np.full(n, 0.1),
        "zeros": lambda: np.zeros(n),
        "sorted": lambda: np.sort(rng.normal(size=n)),
    }[kind]()


KINDS = ["normal", "Cauchy", "exponential", "far from 0", "integers", "two values", "constant", "zeros", "sorted"]
ALL_KINDS = pytest.mark.parametrize("kind", KINDS)
SCALES = pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150, 3e-5])


def taken(values, scale=1.0, parts=1):
    quantiles = Quantiles(scale)
    for part in np.array_split(values, parts):
        quantiles.add(part)
    return quantiles


def check_within_the_bound(quantiles, values, scale, probabilities=PROBABILITIES):
    """Each is within the bound of the values on both sides of its rank."""
    ordered = np.sort(values)
    rank = np.asarray(probabilities) * len(values)
    below = ordered[np.clip(np.floor(rank).astype(int) - 1, 0, len(values) - 1)]
    above = ordered[np.clip(np.ceil(rank).astype(int), 0, len(values) - 1)]
    found = quantiles.at(probabilities)
    assert (found >= below - BOUND * np.maximum(abs(below), scale)).all()
    assert (found <= above + BOUND * np.maximum(abs(above), scale)).all()


@ALL_KINDS
@SCALES
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_of_few_values_they_are_numpys(n, scale, kind):
    values = scale * values_of(kind, n)
    found = taken(values, scale, parts=3).at(PROBABILITIES)
    np.testing.assert_allclose(actual=found, desired=np.quantile(values, PROBABILITIES), rtol=1e-15)


def test_they_are_exact_up_to_the_documented_number_of_values():
    values = values_of("Cauchy", MOST_VALUES)
    quantiles = taken(values, parts=50)
    np.testing.assert_array_equal(quantiles.at(PROBABILITIES), np.quantile(values, PROBABILITIES))
    np.testing.assert_array_equal(
        quantiles.at_plotting_positions((np.arange(MOST_VALUES) + 0.5) / MOST_VALUES), np.sort(values)
    )


@ALL_KINDS
@SCALES
def test_of_many_values_they_are_within_the_documented_error(kind, scale):
    values = scale * values_of(kind, MANY)
    quantiles = taken(values, scale, parts=7)
    check_within_the_bound(quantiles, values, scale)
    assert quantiles.count == MANY
    ends = quantiles.at([0.0, 1.0])
    np.testing.assert_array_equal(ends, [values.min(), values.max()])


@pytest.mark.parametrize("kind", ["normal", "Cauchy", "exponential"])
def test_of_many_smooth_values_they_are_numpys_within_the_documented_error(kind):
    values = values_of(kind, MANY)
    probabilities = np.linspace(0.02, 0.98, 97)
    expected = np.quantile(values, probabilities)
    error = abs(taken(values).at(probabilities) - expected)
    assert (error <= BOUND * np.maximum(abs(expected), 1.0)).all()


@pytest.mark.parametrize("near", [0.1, 0.5, 1.0, 1.2, 3.0, 100.0])
def test_the_bound_holds_wherever_the_values_are(near):
    # Nearly all of them within a sliver, somewhere in a bin: the worst that can be.
    rng = np.random.default_rng(1)
    worst = 0.0
    for at in near * (1 + rng.uniform(0, 2e-3, 60)):
        values = np.concatenate([np.full(100, -at), np.full(70_000, at), np.full(100, 10 * at)])
        found = taken(values).at([0.01, 0.5, 0.99])
        worst = max(worst, abs(found - at).max() / max(at, 1.0))
    assert worst <= BOUND


@pytest.mark.parametrize("n", [1000, MOST_VALUES - 1, MOST_VALUES + 1, MANY])
def test_neither_order_nor_batches_make_a_difference(n):
    values = values_of("Cauchy", n)
    expected = taken(values).at(PROBABILITIES)
    shuffled = np.random.default_rng(2).permutation(values)
    for other in (values[::-1], np.sort(values), shuffled):
        for parts in (1, 13, 200):
            np.testing.assert_array_equal(taken(other, parts=parts).at(PROBABILITIES), expected)


def test_they_can_be_asked_in_between():
    values = values_of("normal", MANY)
    quantiles = Quantiles(1.0)
    for part in np.split(values, [10, 70_000, 100_000]):
        quantiles.add(part)
        so_far = values[: quantiles.count]
        check_within_the_bound(quantiles, so_far, 1.0)
    np.testing.assert_array_equal(quantiles.at(PROBABILITIES), taken(values).at(PROBABILITIES))


def test_values_are_taken_as_they_were():
    quantiles, values = Quantiles(1.0), np.arange(5.0)
    quantiles.add(values)
    values[:] = 100.0
    assert quantiles.at([1.0]) == 4.0
    assert quantiles.largest == 4.0


def test_values_out_of_reach_leave_the_others_and_the_extremes_right():
    values = values_of("normal", MANY)
    values[:3], values[3:5] = 1e15, -1e200
    quantiles = taken(values)
    check_within_the_bound(quantiles, values, 1.0, [0.001, 0.25, 0.5, 0.75, 0.999])
    np.testing.assert_array_equal(quantiles.at([0.0, 1.0]), [-1e200, 1e15])


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
def test_a_scale_that_does_not_fit_gives_no_nonsense(scale):
    values = values_of("normal", MANY)
    found = taken(values, scale).at([0.0, 0.25, 0.5, 0.75, 1.0])
    assert (np.diff(found) >= 0).all()
    assert np.isfinite(found).all()
    assert (found[[0, -1]] == [values.min(), values.max()]).all()


def test_of_no_values_there_are_none():
    quantiles = Quantiles(1.0)
    quantiles.add(np.zeros(0))
    assert np.isnan(quantiles.at([0.0, 0.5])).all()
    assert quantiles.count == 0


def test_memory_does_not_depend_on_how_many_values_there_are():
    peaks = []
    for rounds in (4, 40):
        tracemalloc.start()
        quantiles = Quantiles(1.0)
        for seed in range(rounds):
            quantiles.add(np.random.default_rng(seed).normal(size=20_000))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0] + 2**16

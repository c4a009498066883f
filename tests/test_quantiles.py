"""Quantiles of a stream: NumPy's while values are few, within the documented error beyond, whatever the order."""

import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from keras_linreg.inference.quantiles import EXACT_VALUES, REACH, Quantiles

hypothesis.settings.register_profile("quantiles", database=None, deadline=None, derandomize=True)
PROPERTY = hypothesis.settings(hypothesis.settings.get_profile("quantiles"), max_examples=100)

BOUND = 1e-3  # of the value or of the scale, whichever is larger
MANY = 150_001
PROBABILITIES = [0.0, 1e-4, 0.01, 0.25, 1 / 3, 0.5, 0.75, 0.99, 0.9999, 1.0]

SCALES = st.sampled_from([1.0, 3e-5, 1e-150, 1e150])
# Values of any size within reach of a scale of 1; many are alike, and many lie on the edge of a bin.
SIZES = st.one_of(
    st.floats(-REACH / 2, REACH / 2),
    st.floats(-3.0, 3.0),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, 0.1, -1e6, 1e6 + 1e-3]),
)
VALUES = st.lists(SIZES, min_size=1, max_size=300).map(np.array)
MANY_ALIKE = nps.arrays(np.float64, st.integers(1, 300), elements=SIZES, fill=SIZES)
LEVELS = nps.arrays(np.float64, st.integers(1, 20), elements=st.floats(0.0, 1.0))


def quantiles_of(values, scale=1.0, parts=1, **options):
    quantiles = Quantiles(scale, **options)
    for part in np.array_split(values, parts):
        quantiles.add(part)
    return quantiles


def check_within_the_bound(quantiles, values, scale, probabilities=PROBABILITIES):
    """A quantile is within the bound of the values on both sides of its rank."""
    ordered = np.sort(values)
    rank = np.asarray(probabilities) * len(values)
    below = ordered[np.clip(np.floor(rank).astype(int) - 1, 0, len(values) - 1)]
    above = ordered[np.clip(np.ceil(rank).astype(int), 0, len(values) - 1)]
    actual = quantiles.at(probabilities)
    assert (actual >= below - BOUND * np.maximum(abs(below), scale)).all()
    assert (actual <= above + BOUND * np.maximum(abs(above), scale)).all()


@PROPERTY
@hypothesis.given(VALUES | MANY_ALIKE, SCALES, LEVELS, st.integers(1, 10))
def test_few_values_have_numpys_quantiles(values, scale, levels, parts):
    actual = quantiles_of(scale * values, scale, parts).at(levels)
    np.testing.assert_array_equal(actual=actual, desired=np.quantile(scale * values, levels))


@PROPERTY
@hypothesis.given(VALUES | MANY_ALIKE, SCALES, LEVELS, st.integers(1, 10))
def test_counted_values_have_quantiles_within_the_documented_error(values, scale, levels, parts):
    quantiles = quantiles_of(scale * values, scale, parts, exact_values=0)
    check_within_the_bound(quantiles, scale * values, scale, levels)
    np.testing.assert_array_equal(actual=quantiles.at([0.0, 1.0]), desired=[scale * values.min(), scale * values.max()])
    assert quantiles.count == len(values)


@PROPERTY
@hypothesis.given(VALUES | MANY_ALIKE, LEVELS, st.integers(0, 300), st.randoms(use_true_random=False), st.data())
def test_neither_order_nor_batches_change_a_quantile(values, levels, exact_values, random, data):
    expected = quantiles_of(values, exact_values=exact_values)
    order = random.sample(range(len(values)), len(values))
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=10).map(sorted))
    quantiles = Quantiles(1.0, exact_values)
    for part in np.split(values[order], cuts):
        quantiles.add(part)
    np.testing.assert_array_equal(actual=quantiles.at(levels), desired=expected.at(levels))


@PROPERTY
@hypothesis.given(VALUES, LEVELS, st.sampled_from([0.0, -1.0, 1e-12, 1e-6, 1e6, 1e12]), st.sampled_from([0, 300]))
def test_quantiles_are_in_order_and_between_the_extremes_whatever_the_scale(values, levels, scale, exact_values):
    actual = quantiles_of(values, scale, exact_values=exact_values).at(np.sort(levels))
    assert (np.diff(actual) >= 0).all()
    assert values.min() <= actual[0] and actual[-1] <= values.max()


@pytest.mark.parametrize("kind", ["normal", "standard_cauchy", "exponential"])
def test_many_smooth_values_have_numpys_quantiles_within_the_documented_error(kind):
    values = getattr(np.random.default_rng(MANY), kind)(size=MANY)
    probabilities = np.linspace(0.02, 0.98, 97)
    expected = np.quantile(values, probabilities)
    error = abs(quantiles_of(values, parts=7).at(probabilities) - expected)
    assert (error <= BOUND * np.maximum(abs(expected), 1.0)).all()


@pytest.mark.parametrize("near", [0.1, 0.5, 1.0, 1.2, 3.0, 100.0])
def test_the_bound_holds_where_nearly_all_values_are_in_a_part_of_one_bin(near):
    rng = np.random.default_rng(1)
    worst = 0.0
    for at in near * (1 + rng.uniform(0, 2e-3, 60)):
        values = np.concatenate([np.full(10, -at), np.full(7_000, at), np.full(10, 10 * at)])
        actual = quantiles_of(values, exact_values=0).at([0.01, 0.5, 0.99])
        worst = max(worst, abs(actual - at).max() / max(at, 1.0))
    assert worst <= BOUND


def test_quantiles_are_exact_up_to_the_documented_number_of_values():
    values = np.random.default_rng(0).standard_cauchy(EXACT_VALUES + 1)
    quantiles = quantiles_of(values[:-1], parts=50)
    np.testing.assert_array_equal(actual=quantiles.at(PROBABILITIES), desired=np.quantile(values[:-1], PROBABILITIES))
    positions = (np.arange(EXACT_VALUES) + 0.5) / EXACT_VALUES
    np.testing.assert_array_equal(actual=quantiles.at_plotting_positions(positions), desired=np.sort(values[:-1]))
    quantiles.add(values[-1:])
    check_within_the_bound(quantiles, values, 1.0)
    assert (quantiles.at(PROBABILITIES[1:-1]) != np.quantile(values, PROBABILITIES[1:-1])).any()


def test_quantiles_can_be_asked_for_between_batches():
    values = np.random.default_rng(0).normal(size=MANY)
    quantiles = Quantiles(1.0)
    for part in np.split(values, [10, 70_000, 100_000]):
        quantiles.add(part)
        check_within_the_bound(quantiles, values[: quantiles.count], 1.0)
    np.testing.assert_array_equal(actual=quantiles.at(PROBABILITIES), desired=quantiles_of(values).at(PROBABILITIES))


def test_an_array_may_change_after_it_was_added():
    quantiles, values = Quantiles(1.0), np.arange(5.0)
    quantiles.add(values)
    values[:] = 100.0
    assert quantiles.at([1.0]) == 4.0
    assert quantiles.largest == 4.0


def test_values_out_of_reach_leave_the_others_and_the_extremes_right():
    values = np.random.default_rng(0).normal(size=MANY)
    values[:3], values[3:5] = 1e15, -1e200
    quantiles = quantiles_of(values)
    check_within_the_bound(quantiles, values, 1.0, [0.001, 0.25, 0.5, 0.75, 0.999])
    np.testing.assert_array_equal(actual=quantiles.at([0.0, 1.0]), desired=[-1e200, 1e15])


def test_quantiles_of_no_values_are_nan():
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

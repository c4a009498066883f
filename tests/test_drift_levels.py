"""The tests of drift hold their level of 5 % where they give a p-value, by simulation."""

import collections
import functools
import os

import numpy as np
import pytest

import keras_linreg as klr
from keras_linreg.drift.column_tests import Column, mean_test, variance_test
from keras_linreg.drift.level_errors import Shape

SIMULATIONS = 2000
MONITORS = int(os.environ.get("DRIFT_MONITORS", "400"))  # whole ones: 2,000 take ten minutes
ROWS_OF_FIT = 50_000
KINDS = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "t5": lambda rng, size: rng.standard_normal(size) / np.sqrt(rng.standard_gamma(2.5, size=size) / 2.5),
    "dummy of 1 %": lambda rng, size: (rng.random(size) < 0.01).astype(float),
    "dummy of 0.2 %": lambda rng, size: (rng.random(size) < 0.002).astype(float),
}


def moments(rng, draw, rows):
    """Means, variances, skewness and excess kurtosis of SIMULATIONS samples, each `(SIMULATIONS,)`."""
    parts = []
    for _ in range(20):
        x = draw(rng, (SIMULATIONS // 20, rows))
        mean = x.mean(axis=1)
        x -= mean[:, None]
        square = x * x
        variance = square.mean(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            skewness = (square * x).mean(axis=1) / variance**1.5
            kurtosis = (square * square).mean(axis=1) / variance**2 - 3
        parts.append(np.stack([mean, variance * rows / (rows - 1), skewness, kurtosis]))
    return np.concatenate(parts, axis=1)


@functools.cache
def fits_of(kind):
    return moments(np.random.default_rng(20), KINDS[kind], ROWS_OF_FIT)


def columns(kind, rows, shift=0.0):
    fits, new = fits_of(kind), moments(np.random.default_rng(22), KINDS[kind], rows)
    for i in range(SIMULATIONS):
        yield Column(
            name=kind,
            rows_of_fit=ROWS_OF_FIT,
            rows=rows,
            fit_mean=fits[0, i],
            difference=new[0, i] - fits[0, i] + shift * np.sqrt(fits[1, i]),
            fit_variance=fits[1, i],
            variance=new[1, i],
            is_constant=False,
            shape=Shape(*new[2:, i].tolist()),
        )


def assert_holds_its_level(p_values, what, level=0.05):
    """Assert that no more simulations reject than the level says, within three standard errors; print the shares."""
    p_values, error = np.asarray(p_values), 3 * np.sqrt(level * (1 - level) / len(p_values))
    given, rejected = ~np.isnan(p_values), p_values < level
    among_given = rejected.sum() / max(given.sum(), 1)
    print(f"{what:45} given {given.mean():5.3f}  rejected {rejected.mean():.4f}  of those given {among_given:.4f}")
    assert rejected.mean() <= level + error, what
    if given.mean() > 0.95:
        assert level - error <= among_given <= level + error, what


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [200, 1000, 5000])
def test_tests_of_single_columns_hold_their_level(kind, rows):
    simulated = list(columns(kind, rows))
    for tests in (1, 20):
        p_values = np.array([mean_test(column, tests)[0] for column in simulated])
        assert_holds_its_level(p_values, f"mean, {kind}, {rows}, of {tests}", 0.05 / tests)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [200, 1000, 1500, 5000, 10_000, 20_000, 40_000])
def test_tests_of_variances_hold_their_level_or_say_why_not(kind, rows):
    p_values = np.array([variance_test(column, 1)[0] for column in columns(kind, rows)])
    assert_holds_its_level(p_values, f"variance, {kind}, {rows}")
    given = ~np.isnan(p_values)
    # A p-value for a few samples of a kind alone would be one for those that look milder than they are.
    assert given.mean() < 0.005 or given.mean() > 0.9, f"{kind}, {rows}: {given.mean()}"
    if given.mean() > 0.9:
        assert (p_values[given] < 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SIMULATIONS)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["normal", "exponential", "t5", "dummy of 1 %"])
def test_a_shift_of_a_tenth_of_a_standard_deviation_is_found_in_5000_rows(kind):
    p_values = np.array([mean_test(column, 1)[0] for column in columns(kind, 5000, shift=0.1)])
    print(f"power for {kind}: {(p_values < 0.05).mean():.4f}, at 1 %: {(p_values < 0.01).mean():.4f}")
    assert (p_values < 0.05).mean() > 0.99 or kind.startswith("dummy")


@pytest.mark.heavy
@pytest.mark.parametrize("errors", ["normal", "exponential", "t5"])
def test_tests_of_whole_monitors_hold_their_level(errors):
    rng = np.random.default_rng(21)
    draws = [KINDS[kind] for kind in ("normal", "exponential", "t5", "dummy of 1 %")]

    def rows(n):
        x = np.column_stack([draw(rng, n) for draw in draws])
        return x, x.sum(axis=1) + KINDS[errors](rng, n)

    p_values = collections.defaultdict(list)
    for _ in range(MONITORS):
        monitor = klr.DriftMonitor(klr.Moments.from_data(*rows(6000)))
        monitor.update(*rows(3000))
        report, families = monitor.report(), {}
        for key in ("shift_pvalue_holm", "variance_pvalue_holm"):
            families[key] = np.nanmin([1.0, *(getattr(column, key) for column in report.columns)])
        (outcome,) = report.outcomes
        for what, p_value in (
            *families.items(),
            ("Hotelling", report.means.pvalue),
            ("calibration", outcome.calibration_pvalue),
            ("residual variance", outcome.scale_pvalue),
            ("Chow", outcome.chow_pvalue),
        ):
            p_values[what].append(p_value)
    for what, values in p_values.items():
        if what.endswith("holm"):
            assert (np.array(values) < 0.05).mean() <= 0.075, what  # conservative where columns have no p-value
        else:
            assert_holds_its_level(values, f"{what}, errors {errors}")

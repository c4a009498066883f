"""`digits` is a promise for each parameter: no claim is above the truth, which rational arithmetic tells."""

import dataclasses

import numpy as np
import pytest
from rational import parameter_digits

import keras_linreg as klr
from keras_linreg.moments import accumulator

SLACK = 0.5  # of a digit


def normal(rng, *shape):
    return rng.normal(size=shape)


def years(rng, n, order=lambda years: years):
    x = np.column_stack(
        [order(rng.integers(1900, 2020, n)), 1e9 + normal(rng, n), 1e-9 * normal(rng, n), normal(rng, n)]
    )
    return x, 0.1 * x[:, 0] + x[:, 3] + normal(rng, n)


def far(rng, n, noise=1.0):
    x = 1e6 + 0.01 * normal(rng, n, 4)
    return x, (x - 1e6) @ [1.0, 2, 3, 4] + noise * normal(rng, n)


def walks(rng, n):
    x = np.cumsum(normal(rng, n, 5), axis=0)
    return x, x @ normal(rng, 5) + normal(rng, n)


def ordinary(rng, n, noise=1.0, columns=6):
    x = normal(rng, n, columns)
    return x, x @ normal(rng, columns) + 0.3 + noise * normal(rng, n)


def pair(rng, n, gap, noise=1.0):
    x = normal(rng, n, 4)
    x[:, 1] = x[:, 0] + gap * x[:, 1]
    return x, x @ normal(rng, 4) + noise * normal(rng, n)


def polynomial(rng, n, degree, noise=1.0):
    t = np.linspace(0, 1, n)
    return t[:, None] ** np.arange(1, degree + 1), np.sin(5 * t) + noise * normal(rng, n)


def dummies(rng, n, levels, order=lambda levels: levels):
    x = np.eye(levels)[order(rng.integers(0, levels, n))][:, 1:]
    return x, x @ normal(rng, levels - 1) + normal(rng, n)


def rare_dummies(rng, n):
    x = np.eye(40)[np.minimum(rng.geometric(0.2, n), 39)][:, 2:10]
    return x, x @ normal(rng, 8) + normal(rng, n)


def scales(rng, n):
    x = normal(rng, n, 4) * [1e-9, 1.0, 1e9, 1e3]
    return x, x @ [1e9, 1.0, 1e-9, 1e-3] + normal(rng, n)


def stamps(rng, n, step):
    t = 1.7e12 + step(np.arange(n))
    return np.column_stack([t, normal(rng, n)]), 2e-3 * (t - 1.7e12) + normal(rng, n)


def heavy_tails(rng, n):
    x = np.exp(2 * normal(rng, n, 3))
    return x, x.sum(axis=1) + normal(rng, n)


def first_rows_far(rng, n):
    x = normal(rng, n, 3)
    x[:200] += 1e6
    return x, x @ [1.0, 2, 3] + normal(rng, n)


def lags(rng, n):
    smooth = np.convolve(normal(rng, n + 9), np.ones(10) / 10, "valid")
    return np.column_stack([smooth, np.roll(smooth, 1), np.roll(smooth, 2)]), smooth + 0.1 * normal(rng, n)


def dependent_at_first(rng, n):
    x = normal(rng, n, 4)
    x[:, 3] = x[:, :3].sum(axis=1) + np.where(np.arange(n) < n // 2, 1e-8, 1.0) * x[:, 3]
    return x, x @ normal(rng, 4) + normal(rng, n)


def correlated(rng, n, share):
    x = np.sqrt(1 - share) * normal(rng, n, 12) + np.sqrt(share) * normal(rng, n, 1)
    return x, x @ normal(rng, 12) + normal(rng, n)


PROBLEMS = {
    "years, 1e9 and nanometres": years,
    "sorted years, 1e9 and nanometres": lambda rng, n: years(rng, n, np.sort),
    "1e6 + 0.01 noise": far,
    "1e6 + 0.01 noise, well explained": lambda rng, n: far(rng, n, 1e-6),
    "five random walks": walks,
    "a random walk of five others": lambda rng, n: (walks(rng, n)[0], np.cumsum(normal(rng, n))),
    "ordinary": ordinary,
    "nothing but noise": lambda rng, n: (normal(rng, n, 6), 3 * normal(rng, n) + 7),
    "noise 1e-6": lambda rng, n: ordinary(rng, n, 1e-6),
    "no noise": lambda rng, n: ordinary(rng, n, 0.0),
    "all correlated at 0.9": lambda rng, n: correlated(rng, n, 0.9),
    "all correlated at 0.98": lambda rng, n: correlated(rng, n, 0.98),
    "a pair 0.1 apart": lambda rng, n: pair(rng, n, 0.1),
    "a pair 1e-3 apart": lambda rng, n: pair(rng, n, 1e-3),
    "a pair 1e-6 apart": lambda rng, n: pair(rng, n, 1e-6),
    "a pair 1e-3 apart, no noise": lambda rng, n: pair(rng, n, 1e-3, 0.0),
    "a polynomial of degree 4": lambda rng, n: polynomial(rng, n, 4),
    "a polynomial of degree 7": lambda rng, n: polynomial(rng, n, 7),
    "dummies": lambda rng, n: dummies(rng, n, 6),
    "sorted dummies": lambda rng, n: dummies(rng, n, 6, np.sort),
    "rare dummies": rare_dummies,
    "integers": lambda rng, n: (rng.integers(-5, 6, (n, 4)).astype(float), rng.integers(-9, 9, n).astype(float)),
    "scales": scales,
    "scales, weighted over 12 decades": lambda rng, n: (*scales(rng, n), 10 ** rng.uniform(-6, 6, n)),
    "ordinary, weighted": lambda rng, n: (*ordinary(rng, n), rng.uniform(0.1, 3, n)),
    "offsets 0, 50 and 2000": lambda rng, n: (normal(rng, n, 3) + np.array([0, 50, 2000]), normal(rng, n)),
    "heavy tails": heavy_tails,
    "time stamps": lambda rng, n: stamps(rng, n, lambda i: i % 50),
    "drifting time stamps": lambda rng, n: stamps(rng, n, lambda i: 1000.0 * i),
    "the first rows far away": first_rows_far,
    "lags": lags,
    "dependent in the first half": dependent_at_first,
}
ROADS = ["whole", "streamed", "fitted"]


def solution_of(x, y, w, road):
    if road == "fitted":  # with further looks
        model = klr.ExactLinearRegression()
        model.fit(x, y, sample_weight=w, verbose=0)
        return model.solution
    if road == "whole":
        return klr.Moments.from_data(x, y, w).solve(warn=False)
    parts = [part for part in (x, y, w) if part is not None]
    batches = (tuple(part[i : i + 7000] for part in parts) for i in range(0, len(x), 7000))
    return klr.Moments.from_data(batches).solve(warn=False)


def check(name, rows, road):
    x, y, *w = PROBLEMS[name](np.random.default_rng(0), rows)
    w = w[0] if w else None
    solution = solution_of(x, y, w, road)
    truth = parameter_digits(solution, x, y, w)
    assert (solution.digits <= truth + SLACK).all(), np.hstack([solution.digits, truth]).round(1).tolist()


@pytest.fixture
def small_chunks(only_float64, monkeypatch):
    monkeypatch.setattr(accumulator, "CHUNK_NUMBERS", 30_000)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(
    "name", ["sorted years, 1e9 and nanometres", "a pair 1e-3 apart", "dependent in the first half"]
)
def test_no_parameter_of_many_rows_claims_digits_that_it_lacks(name, road, small_chunks):
    check(name, 10_000, road)


@pytest.mark.heavy
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_no_parameter_of_100_000_rows_claims_digits_that_it_lacks(name, road, monkeypatch):
    monkeypatch.setattr(accumulator, "CHUNK_NUMBERS", 100_000)
    check(name, 100_000, road)


@pytest.mark.parametrize("share", [0.9, 0.98])
def test_correlated_columns_have_the_digits_of_lapack(share, only_float64):
    ours, theirs = [], []
    for seed in range(3):
        x, y = correlated(np.random.default_rng(seed), 4000, share)
        solution = klr.Moments.from_data(x, y).solve()
        bias, *kernel = np.linalg.lstsq(np.column_stack([np.ones(4000), x]), y, rcond=None)[0][:, None]
        lapack = dataclasses.replace(solution, kernel=np.stack(kernel), bias=bias)
        ours.append(parameter_digits(solution, x, y).min())
        theirs.append(parameter_digits(lapack, x, y).min())
    assert np.mean(ours) >= np.mean(theirs) - SLACK


def test_the_intercept_has_the_digits_of_its_standard_error():
    x, y = years(np.random.default_rng(0), 10_000)
    solution = klr.Moments.from_data(x, y).solve(warn=False)
    assert (parameter_digits(solution, x, y) >= 13).all()  # the intercept is the last subtraction, of 1e9 from 1e9
    assert solution.digits.shape == (5, 1)


def test_the_report_shows_the_fewest_digits_and_its_notes_tell_of_few(only_float64):
    x, y = pair(np.random.default_rng(0), 10_000, 1e-9)
    moments = klr.Moments.from_data(x, y)
    with pytest.warns(UserWarning, match="digits of the coefficients are sure"):
        solution = moments.solve()
    assert solution.fewest_digits == pytest.approx(solution.digits.min(), abs=1e-9)
    assert solution.fewest_digits < 6
    report = klr.RegressionReport.from_moments(moments)
    line = next(line for line in str(report).splitlines() if line.startswith("Digits, at least"))
    assert float(line.split()[-1]) == round(solution.fewest_digits, 1)
    assert any("digits of the coefficients are sure" in note for note in report.notes)

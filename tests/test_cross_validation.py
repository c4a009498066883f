"""Cross-validated paths beside scikit-learn's and glmnet's on the same folds; arguments; what cannot be is refused."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.linear_model
from sklearn.model_selection import PredefinedSplit

import keras_linreg as klr

GLMNET = Path(__file__).parent / "reference" / "glmnet.csv"


def data(rows=250, width=8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)) * np.exp(rng.standard_normal(width)) + 2
    y = x @ (rng.standard_normal(width) * (rng.random(width) < 0.5)) + rng.standard_normal(rows)
    return x, y, rng.random(rows) + 0.2, rng.permutation(np.arange(rows) % 6)


def fitted(model, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        return model.fit(*args, **kwargs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
@pytest.mark.parametrize("use_bias", [True, False])
def test_alphas_errors_and_coefficients_are_scikit_learns(weighted, l1_ratio, use_bias):
    x, y, weights, numbers = data()
    weights = weights if weighted else None
    folds = klr.FoldMoments.from_data(x, y, folds=numbers, sample_weight=weights)
    path = folds.elastic_net(l1_ratio, n_penalties=30, standardize=False, use_bias=use_bias)
    peer = sklearn.linear_model.ElasticNetCV(
        l1_ratio=l1_ratio, alphas=30, cv=PredefinedSplit(numbers), tol=1e-14, max_iter=10**6, fit_intercept=use_bias
    )
    fitted(peer, x, y, sample_weight=weights)
    np.testing.assert_allclose(path.alphas, peer.alphas_, rtol=1e-10)
    np.testing.assert_allclose(path.fold_errors, peer.mse_path_, rtol=1e-8)
    assert path.alphas[path.index_min] == pytest.approx(peer.alpha_, rel=1e-10)
    np.testing.assert_allclose(path.kernels[path.index_min, :, 0], peer.coef_, rtol=1e-8, atol=1e-8)
    if use_bias:
        np.testing.assert_allclose(path.biases[path.index_min], peer.intercept_, rtol=1e-8, atol=1e-8)
    assert path.kkt_gap.max() <= 1e-10


def test_a_search_over_l1_ratio_chooses_as_scikit_learn():
    x, y, _, numbers = data(120, 12, 3)
    ratios = [0.1, 0.5, 1.0]
    path = klr.FoldMoments.from_data(x, y, folds=numbers).elastic_net(ratios, n_penalties=20, standardize=False)
    peer = sklearn.linear_model.ElasticNetCV(
        l1_ratio=ratios, alphas=20, cv=PredefinedSplit(numbers), tol=1e-13, max_iter=10**6
    )
    fitted(peer, x, y)
    assert path.l1_ratio == peer.l1_ratio_
    assert [one.l1_ratio for one in path.searched] == ratios
    np.testing.assert_allclose(path.kernels[path.index_min, :, 0], peer.coef_, rtol=1e-8, atol=1e-8)


def test_positive_coefficients_are_scikit_learns():
    x, y, _, numbers = data()
    path = klr.FoldMoments.from_data(x, y, folds=numbers).elastic_net(standardize=False, positive=True, n_penalties=20)
    peer = sklearn.linear_model.LassoCV(
        alphas=20, cv=PredefinedSplit(numbers), tol=1e-14, max_iter=10**6, positive=True
    )
    fitted(peer, x, y)
    np.testing.assert_allclose(path.alphas, peer.alphas_, rtol=1e-10)
    np.testing.assert_allclose(path.fold_errors, peer.mse_path_, rtol=1e-8)
    assert (path.kernels >= 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_scikit_learns_on_folds_and_without_one_row_at_a_time(weighted):
    x, y, weights, numbers = data(90, 5)
    packed = (x, y, weights) if weighted else (x, y)
    weights = weights if weighted else np.ones(90)
    folds = klr.FoldMoments.from_data(x, y, folds=numbers, sample_weight=weights)
    path = folds.ridge(n_penalties=25, standardize=False, data=packed)
    peer = sklearn.linear_model.RidgeCV(path.alphas, store_cv_results=True).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(path.loo * weights.sum(), peer.cv_results_.sum(axis=0), rtol=1e-8)
    for i in (0, 12, 24):
        ridge = sklearn.linear_model.Ridge(path.alphas[i], tol=1e-12).fit(x, y, sample_weight=weights)
        np.testing.assert_allclose(path.kernels[i, :, 0], ridge.coef_, rtol=1e-8, atol=1e-10)
        errors = []
        for fold in range(6):
            own = numbers == fold
            ridge = sklearn.linear_model.Ridge(path.alphas[i]).fit(x[~own], y[~own], sample_weight=weights[~own])
            errors.append(np.average((y[own] - ridge.predict(x[own])) ** 2, weights=weights[own]))
        np.testing.assert_allclose(path.fold_errors[i], errors, rtol=1e-8)
    if not weighted:
        best = sklearn.linear_model.RidgeCV(
            path.alphas, cv=PredefinedSplit(numbers), scoring="neg_mean_squared_error"
        ).fit(x, y)
        assert path.alphas[path.index_min] == best.alpha_
        np.testing.assert_allclose(path.cv_mean.min(), -best.best_score_, rtol=1e-8)


def test_generalised_cross_validation_by_its_definition():
    x, y, _, numbers = data(60, 4)
    path = klr.FoldMoments.from_data(x, y, folds=numbers).ridge(l2=[0.1, 2.0], standardize=False)
    centred = x - x.mean(axis=0)
    for i, alpha in enumerate(path.alphas):
        hat = centred @ np.linalg.solve(centred.T @ centred + alpha * np.eye(4), centred.T) + 1 / 60
        residuals = y - hat @ y
        np.testing.assert_allclose(path.df[i], np.trace(hat) - 1, rtol=1e-10)
        np.testing.assert_allclose(path.gcv[i], 60 * residuals @ residuals / (60 - np.trace(hat)) ** 2, rtol=1e-10)
    assert path.alphas[0] == pytest.approx(60 * 2.0)


def glmnet_figures(case):
    with GLMNET.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == case]
    names = {row["name"] for row in rows}
    return {name: np.array([float(row["value"]) for row in rows if row["name"] == name]) for name in names}


@pytest.mark.parametrize("case", ["lasso", "weighted", "raw", "net"])
def test_penalties_coefficients_curve_and_choices_are_glmnets(case):
    expected, i = glmnet_figures(case), np.arange(60)
    x = np.column_stack([((i * (2 * j + 3) + j * j * 5) % 17 - 8) * 2.0 ** (j - 2) / 4 for j in range(6)])
    y = 2 * x[:, 0] - x[:, 2] + 0.25 * x[:, 4] + ((i * 7) % 11 - 5) / 4
    weights = 1 + (i % 4) / 2 if case == "weighted" else None
    folds = klr.FoldMoments.from_data(x, y, folds=i % 5, sample_weight=weights)
    if case == "net":
        l1, l2 = expected["lambda"], expected["lambda"] * 0.5 / y.std()
        path = folds.elastic_net(l1_ratio=(l1 / 2 / (l1 / 2 + l2))[0], l1=l1)
        np.testing.assert_allclose(path.l2, l2, rtol=1e-12)
    else:
        path = folds.elastic_net(standardize=case != "raw", n_penalties=40)
        summary = path.summary(weights="rows")
        np.testing.assert_allclose(summary.cv_mean, expected["cvm"], rtol=1e-8)
        np.testing.assert_allclose(summary.cv_se, expected["cvsd"], rtol=1e-8)
        chosen = path.lambdas[[summary.index_min, summary.index_1se]]
        np.testing.assert_allclose(chosen, expected["choice"], rtol=1e-8)
    np.testing.assert_allclose(path.lambdas, expected["lambda"], rtol=1e-8)
    for k in (9, 24, 39):
        np.testing.assert_allclose(path.biases[k, 0], expected[f"coef{k}"][0], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(path.kernels[k, :, 0], expected[f"coef{k}"][1:], rtol=1e-8, atol=1e-10)


HARD = {
    "far from zero": lambda x: x + 1e9,
    "collinear": lambda x: x[:, :1] + 1e-5 * x,
    "duplicate": lambda x: np.column_stack([x, x]),
    "more columns than rows": lambda x: np.hstack([x, np.random.default_rng(0).standard_normal((len(x), 90))]),
    "a constant column": lambda x: np.column_stack([x, np.ones(len(x))]),
}


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_hard_columns_have_a_certificate_and_the_errors_of_fits_to_the_rows(kind, l1_ratio):
    x, y, _, numbers = data(60, 6, 1)
    x = HARD[kind](x)
    path = klr.FoldMoments.from_data(x, y, folds=numbers).elastic_net(l1_ratio, n_penalties=15)
    assert path.kkt_gap.max() <= 1e-10
    own = numbers == 2
    apart = klr.FoldMoments.from_data(x[~own], y[~own], folds=np.arange((~own).sum()) % 2)
    alone = apart.elastic_net(l1_ratio, l1=path.l1)
    assert alone.kkt_gap.max() <= 1e-10
    mean = x[~own].mean(axis=0)
    level = alone.biases[:, 0] + alone.kernels[:, :, 0] @ mean
    errors = np.square(y[own, None] - level - (x[own] - mean) @ alone.kernels[:, :, 0].T).mean(axis=0)
    np.testing.assert_allclose(path.fold_errors[:, 2], errors, rtol=1e-6)


def test_a_constant_y_and_rows_without_weight():
    x, y, weights, numbers = data(60, 4)
    path = klr.FoldMoments.from_data(x, np.full(60, 2.5), folds=numbers).elastic_net()
    assert not path.kernels.any()
    assert path.kkt_gap.max() == 0
    np.testing.assert_allclose(path.biases, 2.5)
    weights[::3] = 0
    x[::3] = 1e6
    used = weights > 0
    with_zeros = klr.FoldMoments.from_data(x, y, folds=numbers, sample_weight=weights).elastic_net()
    without = klr.FoldMoments.from_data(
        x[used], y[used], folds=numbers[used], sample_weight=weights[used]
    ).elastic_net()
    np.testing.assert_allclose(with_zeros.alphas, without.alphas, rtol=1e-10)
    np.testing.assert_allclose(with_zeros.cv_mean, without.cv_mean, rtol=1e-10)
    np.testing.assert_allclose(with_zeros.kernels, without.kernels, rtol=1e-9, atol=1e-11)


def objective(x, y, kernel, bias, l1, l2, factors):
    return np.mean((y - x @ kernel - bias) ** 2) + l1 * factors @ np.abs(kernel) + l2 * factors**2 @ kernel**2


def test_standardised_columns_pay_by_their_standard_deviations():
    x, y, _, numbers = data(100, 4)
    path = klr.FoldMoments.from_data(x, y, folds=numbers).elastic_net(0.6, n_penalties=10)
    scaled = klr.FoldMoments.from_data(x / x.std(axis=0), y, folds=numbers).elastic_net(
        0.6, n_penalties=10, standardize=False
    )
    np.testing.assert_allclose(path.l1, scaled.l1, rtol=1e-11)
    np.testing.assert_allclose(path.kernels * x.std(axis=0)[:, None], scaled.kernels, rtol=1e-9, atol=1e-12)
    for i in (3, 7):
        kernel, bias, l1, l2 = path.at(i)
        best = objective(x, y, kernel[:, 0], bias, l1, l2, x.std(axis=0))
        for j in range(4):
            moved = kernel[:, 0] + 1e-4 * np.eye(4)[j]
            assert objective(x, y, moved, bias - 1e-4 * x[:, j].mean(), l1, l2, x.std(axis=0)) > best


def test_penalty_factors_by_order_and_by_name():
    x, y, _, numbers = data(100, 4)
    folds = klr.FoldMoments.from_data(x, y, folds=numbers)
    path = folds.elastic_net(penalty_factor=[1, 0, 2.0, 1])
    named = folds.elastic_net(penalty_factor={"x1": 0, "x2": 2})
    np.testing.assert_array_equal(path.kernels, named.kernels)
    assert path.kkt_gap.max() <= 1e-10
    assert (path.kernels[:, 1] != 0).all()
    assert not path.kernels[0, [0, 2, 3]].any()


def test_several_outputs_have_a_path_each_or_one_in_common():
    x, y, weights, numbers = data(100, 4)
    other = x[:, 1] + np.random.default_rng(5).standard_normal(100)
    folds = klr.FoldMoments.from_data(x, np.column_stack([y, other]), folds=numbers, sample_weight=weights)
    path = folds.elastic_net(n_penalties=20)
    assert path.l1.shape == path.cv_mean.shape == path.df.shape == path.kkt_gap.shape == (20, 2)
    for output in range(2):
        alone = folds.select(outputs=[f"y{output}"]).elastic_net(n_penalties=20)
        np.testing.assert_allclose(path.alphas[:, output], alone.alphas, rtol=1e-12)
        np.testing.assert_allclose(2 * path.l1[:, output], alone.l1, rtol=1e-12)
        np.testing.assert_allclose(path.kernels[:, :, output], alone.kernels[:, :, 0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(path.cv_mean[:, output], alone.cv_mean, rtol=1e-11)
        assert path.index_min[output] == alone.index_min
    common = folds.elastic_net(n_penalties=20, common=True)
    assert common.l1.shape == common.cv_mean.shape == (20,)
    assert isinstance(common.index_1se, int)
    np.testing.assert_allclose(common.l1[0], path.l1[0].max(), rtol=1e-12)
    assert set(path.to_frame()["output"]) == {"y0", "y1"}
    assert len(common.to_frame()) == 20


X, Y, _, NUMBERS = data(40, 3)
FOLDS = klr.FoldMoments.from_data(X, Y, folds=NUMBERS)
BAD = [
    ({"l1_ratio": 0}, r"FoldMoments.ridge\(\)"),
    ({"l1_ratio": 1.5}, "`l1_ratio`"),
    ({"l1_ratio": []}, "`l1_ratio`"),
    ({"l1_ratio": "1"}, "`l1_ratio`"),
    ({"l1_ratio": [0.5, np.nan]}, "`l1_ratio`"),
    ({"n_penalties": 0}, "`n_penalties`"),
    ({"n_penalties": 2.0}, "`n_penalties`"),
    ({"eps": 1.0}, "`eps`"),
    ({"eps": np.nan}, "`eps`"),
    ({"l1": [0.1, np.nan]}, "`l1`"),
    ({"l1": [0.1, 0.1]}, "`l1`"),
    ({"l1": []}, "`l1`"),
    ({"l1": [-1.0]}, "`l1`"),
    ({"penalty_factor": [1, -1, 1]}, "`penalty_factor`"),
    ({"penalty_factor": [1, 1]}, "`penalty_factor`"),
    ({"penalty_factor": [0, 0, 0]}, "`penalty_factor`"),
    ({"penalty_factor": [1, np.inf, 1]}, "`penalty_factor`"),
    ({"penalty_factor": {"nobody": 1}}, "nobody"),
    ({"standardize": "yes"}, "`standardize`"),
    ({"positive": 1}, "`positive`"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_arguments_that_make_no_path_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FOLDS.elastic_net(**arguments)


def test_positive_that_leaves_nothing_and_a_fold_without_weight_are_refused():
    with pytest.raises(ValueError, match="`positive` must leave a column"):
        klr.FoldMoments.from_data(X, -X.sum(axis=1), folds=NUMBERS).select(["x0"]).elastic_net(positive=True)
    with pytest.raises(ValueError, match=r"folds \[2\]"):
        klr.FoldMoments.from_data(X, Y, folds=NUMBERS, sample_weight=(NUMBERS != 2) * 1.0).elastic_net()
    with pytest.raises(ValueError, match="at least one column"):
        FOLDS.select([]).elastic_net()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"l2": 0.0}, "`l2`"), ({"l2": [1, 1]}, "`l2`"), ({"penalty_factor": [0, 1, 1]}, "must be positive")],
)
def test_a_ridge_path_without_penalties_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FOLDS.ridge(**arguments)


def test_other_rows_are_refused_for_leave_one_out():
    with pytest.raises(ValueError, match="`data` must be the rows"):
        FOLDS.ridge(data=(X[:-1], Y[:-1]))
    with pytest.raises(ValueError, match="`data` must be the rows"):
        FOLDS.ridge(data=(X + 1, Y))

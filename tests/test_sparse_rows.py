"""Sparse rows give what the same rows give dense, and their zeros are not written out."""

import numpy as np
import pytest
import scipy.sparse

import keras_linreg as klr
from keras_linreg.moments import accumulator, sparse_rows

RNG = np.random.default_rng(4)
N = 4000


def one_hot(levels, first=0):
    rows = np.arange(N), RNG.integers(0, levels, N)
    return scipy.sparse.csr_matrix((np.ones(N), rows), shape=(N, levels))[:, first:]


def sides(*parts):
    return scipy.sparse.hstack(parts).tocsr()


SPARSE = {
    "all levels, one hot": one_hot(20),
    "a level left out": one_hot(20, 1),
    "two factors, all levels": sides(one_hot(15), one_hot(12)),
    "hashed numbers": scipy.sparse.random(N, 40, 0.05, random_state=0, format="csr"),
    "a column twice": (lambda x: sides(x, x[:, [3]]))(one_hot(20, 1)),
    "an empty column and a constant one": sides(
        one_hot(20, 1), scipy.sparse.csr_matrix((N, 1)), np.full((N, 1), 0.1), one_hot(14, 1)
    ),
}


@pytest.fixture(autouse=True)
def no_small_data(only_float64):
    """The rows are few, and are to be reduced as many are."""


@pytest.fixture
def never_written_out(monkeypatch):
    monkeypatch.setattr(accumulator, "written_out", lambda _: pytest.fail("the zeros are written out"))


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.filterwarnings("ignore:.* of .* columns depend on the bias")
def test_sparse_rows_give_what_dense_rows_give(kind, weighted, outputs, never_written_out):
    x = SPARSE[kind]
    y = x @ RNG.normal(size=(x.shape[1], outputs)) + RNG.normal(size=(N, outputs)) + 3
    w = RNG.uniform(0.5, 2, N) * (RNG.random(N) > 0.1) if weighted else None
    sparse, dense = klr.Moments.from_data(x, y, w), klr.Moments.from_data(x.toarray(), y, w)
    found, expected = sparse.solve(), dense.solve()
    assert found.kept.tolist() == expected.kept.tolist()
    np.testing.assert_allclose(actual=found.kernel, desired=expected.kernel, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(actual=found.bias, desired=expected.bias, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(actual=found.rss, desired=expected.rss, rtol=1e-12)
    assert found.fewest_digits >= 11
    np.testing.assert_allclose(
        actual=np.asarray(klr.RegressionReport.from_moments(sparse).bse),
        desired=np.asarray(klr.RegressionReport.from_moments(dense).bse),
        rtol=1e-10,
    )
    for name in ("nobs", "log_weight"):
        np.testing.assert_allclose(
            actual=getattr(sparse.statistics, name), desired=getattr(dense.statistics, name), rtol=1e-12
        )


@pytest.mark.parametrize("kind", ["all levels, one hot", "a column twice", "an empty column and a constant one"])
def test_the_kernel_of_smallest_norm_of_sparse_rows_is_that_of_the_pseudoinverse(kind, never_written_out):
    x = SPARSE[kind]
    y = x @ RNG.normal(size=x.shape[1]) + RNG.normal(size=N)
    dense = x.toarray() - x.toarray().mean(axis=0)
    found = klr.Moments.from_data(x, y).solve(dependent="min_norm", warn=False)
    expected = np.linalg.pinv(dense, rcond=1e-10) @ y
    np.testing.assert_allclose(actual=found.kernel[:, 0], desired=expected, rtol=1e-10, atol=1e-11)


def test_sparse_columns_without_a_number_are_all_constant(capfd):
    kernel = klr.Moments.from_data(scipy.sparse.csr_matrix((N, 3)), np.arange(N)).solve(warn=False).kernel
    assert not kernel.any()
    assert "illegal value" not in "".join(capfd.readouterr())  # LAPACK complains to the terminal


def test_a_model_fits_sparse_rows_without_their_zeros_and_updates_its_metrics(monkeypatch):
    x = SPARSE["hashed numbers"]
    y = x @ np.arange(40.0) + RNG.normal(size=N)
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    metered = klr.ExactLinearRegression()
    metered.compile(metrics=["mae"])
    history = metered.fit(x, y, batch_size=1500, verbose=0).history
    dense = klr.ExactLinearRegression()
    dense.fit(x.toarray(), y, verbose=0)
    for found in (model, metered):
        np.testing.assert_allclose(actual=found.kernel.numpy(), desired=dense.kernel.numpy(), rtol=1e-11)
    assert history["mae"][0] > 0


@pytest.mark.parametrize("x", [SPARSE["hashed numbers"] + 0 * SPARSE["hashed numbers"]])
@pytest.mark.parametrize("number", [-np.inf, np.inf])
def test_a_sparse_number_that_is_not_finite_is_named(x, number):
    x = x.copy()
    x.data[1000] = number
    row, column = (int(part[0]) for part in np.nonzero(~np.isfinite(x.toarray())))
    with pytest.raises(ValueError, match=f"'x{column}' of `x` must be finite. Received: {number} in row {row}"):
        klr.Moments.from_data(x, np.ones(N))


def test_sparse_rows_far_from_zero_or_nearly_dependent_are_written_out():
    x = SPARSE["a level left out"]
    far = sides(x, scipy.sparse.csr_matrix(1e6 + RNG.normal(size=(N, 1))))
    near = sides(x, x[:, [3]] + 1e-6 * scipy.sparse.random(N, 1, 0.3, random_state=1, format="csr"))
    for rows in (far, near):
        assert sparse_rows.reduce_sparse(rows, np.ones((N, 1)), None) is None
        y = rows @ np.ones(rows.shape[1]) + RNG.normal(size=N)
        found, expected = (klr.Moments.from_data(part, y).solve(warn=False) for part in (rows, rows.toarray()))
        np.testing.assert_allclose(actual=found.kernel, desired=expected.kernel, rtol=1e-9)

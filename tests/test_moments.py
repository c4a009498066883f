"""Moments: one pass over whatever the data are, merged, selected, saved and solved again and again."""

import concurrent.futures
import dataclasses
import os
import pickle

import keras
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn.linear_model
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments import checks

N = 60
RNG = np.random.default_rng(21)
X = RNG.integers(-64, 64, (N, 3)) / 16.0  # fits bfloat16
Y = np.round(X @ [1.0, -2.0, 0.5] + RNG.normal(size=N), 3)
W = RNG.uniform(0.5, 2, N)
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(X, columns=NAMES)
EXPECTED = klr.Moments.from_data(X, Y)


def same(found, expected, rtol=1e-12):
    assert (found.nobs, found.rows) == (expected.nobs, expected.rows)
    np.testing.assert_allclose(found.means, expected.means, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=rtol, atol=1e-13)
    a, b = (m.solve(warn=False) for m in (found, expected))
    np.testing.assert_allclose(a.kernel, b.kernel, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(a.bias, b.bias, rtol=rtol, atol=1e-13)
    np.testing.assert_allclose(a.rss, b.rss, rtol=rtol)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        at = slice(10 * i, 10 * i + 10)
        return X[at], Y[at]


def batches(height):
    for i in range(0, N, height):
        yield X[i : i + height], Y[i : i + height]


def ragged():
    for a, b in ((0, 1), (1, 30), (30, 30), (30, 47), (47, N)):
        yield X[a:b], Y[a:b]


def reused():
    x, y = np.empty((10, 3)), np.empty(10)
    for i in range(0, N, 10):
        x[:], y[:] = X[i : i + 10], Y[i : i + 10]
        yield x, y
    x[:], y[:] = np.nan, np.nan


def shuffled():
    order = np.random.default_rng(0).permutation(N)
    return X[order], Y[order]


DATA = {
    "array": lambda: (X, Y),
    "column of y": lambda: (X, Y[:, None]),
    "fortran order": lambda: (np.asfortranarray(X), Y),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "tensor": lambda: (tf.constant(X), tf.constant(Y)),
    "frame": lambda: (FRAME, pd.Series(Y)),
    "dict": lambda: ({name: X[:, j] for j, name in enumerate(NAMES)}, Y),
    "scipy sparse": lambda: (scipy.sparse.csr_matrix(X), Y),
    "scipy sparse columns": lambda: (scipy.sparse.csc_array(X), Y),
    "shuffled": shuffled,
    "dataset": lambda: (tf.data.Dataset.from_tensor_slices((X, Y)).batch(7),),
    "dataset of dicts": lambda: (tf.data.Dataset.from_tensor_slices((dict(FRAME), Y)).batch(7),),
    "PyDataset": lambda: (Batches(),),
    "generator of single rows": lambda: (batches(1),),
    "generator of 7": lambda: (batches(7),),
    "generator of all": lambda: (batches(N),),
    "generator of ragged batches": lambda: (ragged(),),
    "generator that reuses one buffer": lambda: (reused(),),
    "float32": lambda: (X.astype("float32"), Y),
    "bfloat16": lambda: (X.astype(ml_dtypes.bfloat16), Y),
    "bfloat16 tensor": lambda: (tf.cast(X, "bfloat16"), tf.constant(Y)),
}


@pytest.mark.parametrize("size", ["small", "beyond double-double"])
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_whatever_the_data_are_the_moments_are_the_same(request, size, data):
    if size != "small":
        request.getfixturevalue("only_float64")
    same(klr.Moments.from_data(*data()), EXPECTED)


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
def test_integers_are_read_as_they_are(dtype):
    x = np.abs(16 * X).astype(dtype)
    same(klr.Moments.from_data(x, Y), klr.Moments.from_data(x.astype(float), Y))


def test_names_come_from_the_frame_the_dict_the_series_or_the_user():
    named = klr.Moments.from_data(FRAME, pd.Series(Y, name="price"))
    assert (named.feature_names, named.output_names) == (("a", "b", "c"), ("price",))
    assert klr.Moments.from_data(dict(FRAME), Y).feature_names == ("a", "b", "c")
    assert klr.Moments.from_data(X, Y, feature_names=["u", "v", "w"]).feature_names == ("u", "v", "w")
    assert EXPECTED.feature_names == ("x0", "x1", "x2")
    two = klr.Moments.from_data(FRAME, pd.DataFrame({"p": Y, "q": -Y}))
    assert two.output_names == ("p", "q")
    assert repr(named) == "<Moments of 60 rows: 3 features (a, b, c), 1 outputs (price)>"


@pytest.mark.parametrize(("dtype", "expected"), [("float32", "float32"), ("float64", "float64"), ("int32", "float64")])
def test_the_coarsest_dtype_of_x_is_kept(dtype, expected):
    assert klr.Moments.from_data((16 * X).astype(dtype), Y).dtype == expected


# Weights


@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
def test_weights_leave_rows_out_and_count_them_twice(request, arithmetic):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    weights = np.arange(N) % 3
    x, y = X.copy(), Y.copy()
    x[0], y[3] = np.nan, np.inf  # of weight 0
    found = klr.Moments.from_data(x, y, weights)
    again = klr.Moments.from_data(np.repeat(X, weights, axis=0), np.repeat(Y, weights)).solve()
    assert (found.nobs, found.rows) == (40, 60)
    solution = found.solve()
    np.testing.assert_allclose(solution.kernel, again.kernel, rtol=1e-12)
    np.testing.assert_allclose(solution.bias, again.bias, rtol=1e-12)
    np.testing.assert_allclose(solution.rss, again.rss, rtol=1e-12)


def test_weights_of_a_stream_are_those_of_arrays():
    stream = ((X[i : i + 7], Y[i : i + 7], W[i : i + 7]) for i in range(0, N, 7))
    same(klr.Moments.from_data(stream), klr.Moments.from_data(X, Y, W))


def test_a_stream_whose_weights_are_all_zero_has_nothing_to_solve():
    moments = klr.Moments.from_data(iter([(X, Y, np.zeros(N))]))
    assert (moments.nobs, moments.rows) == (0, N)
    with pytest.raises(ValueError, match="There must be at least one row whose weight is not zero"):
        moments.solve()
    both = moments + EXPECTED
    assert (both.nobs, both.rows) == (N, 2 * N)
    np.testing.assert_allclose(both.solve().kernel, EXPECTED.solve().kernel, rtol=1e-14)


# Merging


SHARDS = [klr.Moments.from_data(X[a:b], Y[a:b], W[a:b]) for a, b in ((0, 5), (5, 30), (30, 31), (31, N))]


def test_a_sum_of_shards_is_the_moments_of_all_whatever_the_order():
    whole = klr.Moments.from_data(X, Y, W)
    a, b, c, d = SHARDS
    for merged in (sum(SHARDS), a + b + c + d, (a + b) + (c + d), a + (b + (c + d)), d + c + b + a):
        same(merged, whole, rtol=1e-13)


def test_columns_are_matched_by_name():
    targets = pd.DataFrame({"p": Y, "q": Y**2})
    first = klr.Moments.from_data(FRAME[:20], targets[:20])
    second = klr.Moments.from_data(FRAME[20:][["c", "a", "b"]], targets[20:][["q", "p"]])
    both = first + second
    assert (both.feature_names, both.output_names) == (("a", "b", "c"), ("p", "q"))
    same(both, klr.Moments.from_data(FRAME, targets), rtol=1e-12)
    assert (second + first).feature_names == ("c", "a", "b")


def test_other_columns_or_outputs_are_an_error_that_names_them():
    frame = klr.Moments.from_data(FRAME, Y)
    with pytest.raises(ValueError, match=r"feature_names.*\['a', 'b', 'c'\] only in the first, \['x0', 'x1', 'x2'\]"):
        frame + EXPECTED
    with pytest.raises(ValueError, match=r"output_names.*\['y'\] only in the first, \['z'\] only in the second"):
        frame + klr.Moments.from_data(FRAME, pd.Series(Y, name="z"))
    with pytest.raises(TypeError):
        frame + 1
    with pytest.raises(TypeError):
        1 + frame


def test_a_merge_changes_neither():
    before = [m.to_arrays() for m in SHARDS[:2]]
    SHARDS[0] + SHARDS[1]
    for arrays, moments in zip(before, SHARDS, strict=False):
        for name, array in moments.to_arrays().items():
            np.testing.assert_array_equal(array, arrays[name])


# Selecting and solving


@pytest.mark.parametrize("features", [["c"], ["b", "a"], ["c", "b", "a"], None], ids=str)
@pytest.mark.parametrize("outputs", [["q"], ["q", "p"], None, "p"], ids=str)
def test_selected_columns_have_the_moments_of_the_selected_data(features, outputs):
    targets = pd.DataFrame({"p": Y, "q": Y**2})
    found = klr.Moments.from_data(FRAME, targets, W).select(features, outputs)
    chosen = [outputs] if isinstance(outputs, str) else outputs or ["p", "q"]
    same(found, klr.Moments.from_data(FRAME[features or NAMES], targets[chosen], W), rtol=1e-13)
    assert found.feature_names == tuple(features or NAMES)
    assert found.output_names == tuple(chosen)


@pytest.mark.parametrize("names", [["a", "nope"], ["a", "a"]], ids=str)
def test_a_selection_of_unknown_or_repeated_names_is_an_error(names):
    with pytest.raises(ValueError, match="`features` must be distinct names among"):
        klr.Moments.from_data(FRAME, Y).select(names)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("outputs", [1, 2])
def test_one_pass_serves_every_penalty_with_an_intercept_or_without(fit_intercept, outputs):
    y = np.column_stack([Y, Y**2])[:, :outputs]
    moments = klr.Moments.from_data(X, y, W)
    for l2 in (1e-3, 0.1, 10.0):
        solution = moments.solve(l2=l2, use_bias=fit_intercept)
        ridge = sklearn.linear_model.Ridge(alpha=N * outputs * l2, fit_intercept=fit_intercept).fit(X, y, W)
        np.testing.assert_allclose(solution.kernel.T, ridge.coef_.reshape(outputs, 3), rtol=1e-10)
        if fit_intercept:
            np.testing.assert_allclose(solution.bias, ridge.intercept_, rtol=1e-10)
    plain = moments.solve(use_bias=fit_intercept)
    ols = sklearn.linear_model.LinearRegression(fit_intercept=fit_intercept).fit(X, y, W)
    np.testing.assert_allclose(plain.kernel.T, ols.coef_.reshape(outputs, 3), rtol=1e-10)


def test_means_and_covariance_are_numpys():
    both = np.column_stack([X, Y])
    np.testing.assert_allclose(EXPECTED.means, both.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(EXPECTED.covariance, np.cov(both.T), rtol=1e-12)
    weights = np.arange(N) % 4
    weighted = klr.Moments.from_data(X, Y, weights)
    np.testing.assert_allclose(weighted.means, np.average(both, axis=0, weights=weights), rtol=1e-12)
    centred = both - weighted.means
    expected = (weights[:, None] * centred).T @ centred / (np.count_nonzero(weights) - 1)
    np.testing.assert_allclose(weighted.covariance, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["feature_names", "rows", "statistics"])
def test_moments_are_immutable(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(EXPECTED, name, None)
    EXPECTED.means[:] = 0
    assert EXPECTED.means.any()


# Files


@pytest.mark.parametrize("filename", ["moments.npz", "moments", "mo.ments.v2"])
@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
def test_a_file_gives_the_same_moments_bit_for_bit(request, tmp_path, filename, arithmetic):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    moments = klr.Moments.from_data(FRAME, pd.Series(Y, name="größe"), W)
    moments.save(tmp_path / filename)
    assert os.listdir(tmp_path) == [filename]
    loaded = klr.Moments.load(str(tmp_path / filename))
    for name in ("feature_names", "output_names", "rows", "nobs", "dtype"):
        assert getattr(loaded, name) == getattr(moments, name)
    for name, array in moments.to_arrays().items():
        np.testing.assert_array_equal(loaded.to_arrays()[name], array)
    assert (loaded.solve().kernel == moments.solve().kernel).all()
    same(loaded + moments, moments + moments, rtol=1e-15)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "moments"
    EXPECTED.save(path)
    return path


def refused(path):
    with pytest.raises(ValueError, match="`filepath` must be a file that Moments.save wrote. Received: .*moments"):
        klr.Moments.load(path)


def test_a_truncated_file_is_refused_wherever_it_ends(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 37):
        saved.write_bytes(whole[:length])
        refused(saved)


@pytest.mark.parametrize("bit", [0x01, 0x80, 0xFF])
def test_a_corrupt_file_is_refused_or_does_not_matter(saved, bit):
    whole = saved.read_bytes()
    leaked = {}
    for at in range(0, len(whole), 3):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        try:
            loaded = klr.Moments.load(saved)
        except ValueError as error:
            assert str(saved) in str(error)
        except Exception as error:
            leaked[type(error).__name__] = at, str(error)
        else:
            np.testing.assert_array_equal(loaded.solve().kernel, EXPECTED.solve().kernel)
    assert not leaked


FOREIGN = {
    "text": lambda path: path.write_text("moments"),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"header": 1})),
    "an array": lambda path: path.write_bytes(_npy()),
    "other arrays": lambda path: _savez(path, a=np.zeros(3)),
    "an object array": lambda path: _savez(path, **{**EXPECTED.to_arrays(), "mean": np.array([{}, 1], object)}),
    "no factor": lambda path: _savez(path, **{k: v for k, v in EXPECTED.to_arrays().items() if k != "factor"}),
    "an empty factor": lambda path: _savez(path, **{**EXPECTED.to_arrays(), "factor": np.zeros((0, 4, 4))}),
    "a factor of other columns": lambda path: _savez(path, **{**EXPECTED.to_arrays(), "factor": np.zeros((1, 2, 2))}),
    "a mean of other columns": lambda path: _savez(path, **{**EXPECTED.to_arrays(), "mean": np.zeros((2, 9))}),
    "a header that is none": lambda path: _savez(path, **{**EXPECTED.to_arrays(), "header": np.zeros(3, np.uint8)}),
    "a header that is a list": lambda path: _savez(
        path, **{**EXPECTED.to_arrays(), "header": np.frombuffer(b"[1]", np.uint8)}
    ),
}


def _npy():
    import io

    file = io.BytesIO()
    np.save(file, X)
    return file.getvalue()


def _savez(path, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(tmp_path, write):
    write(tmp_path / "moments")
    refused(tmp_path / "moments")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        klr.Moments.load(tmp_path / "moments")


@pytest.mark.parametrize("step", ["write_array", "replace"])
def test_a_save_that_fails_leaves_the_old_file(monkeypatch, saved, step):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    before = saved.read_bytes()
    monkeypatch.setattr(np.lib.format if step == "write_array" else os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        SHARDS[0].save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


# What cannot be read


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
def test_a_number_that_is_not_finite_is_named_by_column_and_row(request, arithmetic, value):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    frame, y = FRAME.copy(), Y.copy()
    frame.loc[41, "b"] = value
    y[17] = value

    def rule(argument, name, row):
        if np.isnan(value):
            return rf"1 of {N} rows have no value in '{name}' \(1\)"
        return f"{argument} must be finite. Received: {value} in row {row}"

    with pytest.raises(ValueError, match=rule("Column 'b' of `x`", "b", 41)):
        klr.Moments.from_data(frame, Y)
    with pytest.raises(ValueError, match=rule("`y`", "y", 17)):
        klr.Moments.from_data(FRAME, y)
    with pytest.raises(ValueError, match=rule("Output 'q' of `y`", "q", 17)):
        klr.Moments.from_data(FRAME, pd.DataFrame({"p": Y, "q": y}))
    stream = ((frame.to_numpy()[i : i + 9], Y[i : i + 9]) for i in range(0, N, 9))
    rule_of_stream = (
        "Column 'x1' of `x` must be finite. Received: -?inf in row 41|Batch 4: 1 of 9 rows have no value in 'x1'"
    )
    with pytest.raises(ValueError, match=rule_of_stream):
        klr.Moments.from_data(stream)


def test_all_weights_zero_no_rows_and_lengths_that_differ_are_errors():
    with pytest.raises(ValueError, match="`sample_weight` must not be zero for every row"):
        klr.Moments.from_data(X, Y, np.zeros(N))
    with pytest.raises(ValueError, match="`sample_weight` must be finite and not negative"):
        klr.Moments.from_data(X, Y, -W)
    with pytest.raises(ValueError, match="`x` must have at least one row"):
        klr.Moments.from_data(X[:0], Y[:0])
    with pytest.raises(ValueError, match="at least one batch"):
        klr.Moments.from_data(iter([]))
    for arrays in ((X, Y[1:]), (X, Y, W[1:]), (iter([(X, Y[1:])]),)):
        with pytest.raises(ValueError, match="must have the same number of rows"):
            klr.Moments.from_data(*arrays)
    with pytest.raises(ValueError, match="`y` is missing"):
        klr.Moments.from_data(X)


LENGTHS = {"y short": [(20, 19)], "shifted": [(20, 19), (19, 20)], "y would broadcast": [(20, 1)]}


@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_a_dataset_whose_batches_differ_in_length_is_an_error(request, arithmetic, lengths):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    specs = tf.TensorSpec((None, 3), "float64"), tf.TensorSpec((None,), "float64")
    dataset = tf.data.Dataset.from_generator(lambda: ((X[:a], Y[:b]) for a, b in lengths), output_signature=specs)
    with pytest.raises(ValueError, match="must have the same number of rows"):
        klr.Moments.from_data(dataset)


@pytest.mark.parametrize("other", [(X[:, :2], Y), (X, np.column_stack([Y, Y]))], ids=["features", "outputs"])
def test_batches_of_different_widths_are_an_error(other):
    with pytest.raises(ValueError, match=r"`[xy]` must|Each batch must"):
        klr.Moments.from_data(iter([(X, Y), other]))


@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
@pytest.mark.parametrize("which", ["x", "y", "x and y", "weights"])
@pytest.mark.parametrize("exponent", [-664, 664], ids=["1e-200", "1e200"])
def test_huge_and_tiny_numbers_are_solved_like_others(request, arithmetic, which, exponent):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    up, in_y = (exponent if name in which else 0 for name in "xy")
    weights = np.ldexp(W, exponent) if which == "weights" else W
    up, in_y = (0, 0) if which == "weights" else (up, in_y)
    x, y = np.ldexp(X, up), np.ldexp(Y, in_y)
    halves = klr.Moments.from_data(x[:30], y[:30], weights[:30]) + klr.Moments.from_data(x[30:], y[30:], weights[30:])
    expected = klr.Moments.from_data(X, Y, W).solve()
    for moments in (klr.Moments.from_data(x, y, weights), halves):
        solution = moments.solve()
        np.testing.assert_allclose(np.ldexp(solution.kernel, up - in_y), expected.kernel, rtol=1e-12)
        np.testing.assert_allclose(np.ldexp(solution.bias, -in_y), expected.bias, rtol=1e-12)


def test_columns_that_do_not_fit_in_memory_are_refused_with_the_gibibytes_that_they_need(monkeypatch):
    monkeypatch.setattr(checks, "memory_limit", lambda: 2**20)
    with pytest.raises(MemoryError, match=r"for 1001 columns needs 0.1 GiB .* LinearRegression, trained by gradient"):
        klr.Moments.from_data(np.zeros((2, 1000)), np.zeros(2))
    monkeypatch.setattr(checks, "memory_limit", lambda: None)
    assert klr.Moments.from_data(X, Y).nobs == N


def test_the_factor_does_not_share_memory_with_the_data():
    x, y = X.copy(), Y.copy()
    moments = klr.Moments.from_data(x, y)
    before = as_doubledouble(moments.statistics.factor).hi.copy()
    x[:], y[:] = 0, 0
    np.testing.assert_array_equal(as_doubledouble(moments.statistics.factor).hi, before)


def test_columns_too_large_to_be_multiplied_are_named():
    x = X.copy()
    x[:, 1] *= 1e299
    with pytest.raises(ValueError, match=r"Column 'x1' of `x` must have a norm below 1e\+298"):
        klr.Moments.from_data(x, Y)
    with pytest.raises(ValueError, match="`y` must have a norm below"):
        klr.Moments.from_data(X, Y * 1e300)


def test_threads_that_save_to_one_file_leave_a_whole_one(tmp_path):
    moments = klr.Moments.from_data(X, Y)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for saved in [pool.submit(moments.save, tmp_path / "moments") for _ in range(40)]:
            saved.result()
    assert klr.Moments.load(tmp_path / "moments").nobs == N
    assert [path.name for path in tmp_path.iterdir()] == ["moments"]

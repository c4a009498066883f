"""A file of moments is believed only if what must hold holds, and nobody has changed it; sizes come first."""

import json
import resource
import sys
import zipfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.moments import moments_file

X = np.random.default_rng(0).normal(size=(100, 2))
EXACT = klr.Moments.from_data(X, X.sum(axis=1) + X[:, 0] ** 2)
WEIGHTED = klr.Moments.from_data(X, X[:, 0] ** 2, np.random.default_rng(1).uniform(0.1, 3, 100))
SUM = EXACT + EXACT
KINDS = {"double-double": EXACT, "weighted": WEIGHTED, "a sum": SUM}


def changed(moments, header=None, is_old=False, **arrays):
    """The arrays of moments with some of them changed; with a hash that fits, or as version 0.1.0 wrote them."""
    arrays = {**moments.to_arrays(), **arrays}
    fields = json.loads(arrays["header"].tobytes())
    fields |= {"format": 1} if is_old else {}
    fields |= header or {}
    fields.pop("sha256", None)
    if not is_old:
        fields["sha256"] = moments_file._hash(fields, arrays)
    return {**arrays, "header": np.frombuffer(json.dumps(fields).encode(), np.uint8)}


def plus(key, position, number):
    def change(moments):
        array = moments.to_arrays()[key].copy()
        array[position] = number
        return {key: array}

    return change


LIES = {
    "nobs=10**18": lambda m: {"header": {"nobs": 10**18, "rows": 10**18}},
    "more nobs than rows": lambda m: {"header": {"nobs": m.rows + 1}},
    "rows=-1": lambda m: {"header": {"rows": -1}},
    "rows=1.5": lambda m: {"header": {"rows": 1.5}},
    "rows=True": lambda m: {"header": {"rows": True, "nobs": 1}},
    "no rows": lambda m: {"header": {"rows": None}},
    "nobs=0": lambda m: {"header": {"nobs": 0}},
    "duplicate names": lambda m: {"header": {"feature_names": ["a", "a"]}},
    "a name that is a number": lambda m: {"header": {"feature_names": ["a", 3]}},
    "an empty name": lambda m: {"header": {"feature_names": ["a", ""]}},
    "names in one text": lambda m: {"header": {"feature_names": "ab"}},
    "no output": lambda m: {"header": {"feature_names": ["a", "b", "c"], "output_names": []}},
    "dtype junk": lambda m: {"header": {"dtype": "junk"}},
    "a dtype that is a list": lambda m: {"header": {"dtype": ["float64"]}},
    "error below 0": lambda m: {"header": {"error": -1e-16}},
    "error NaN": lambda m: {"header": {"error": float("nan")}},
    "log_weight infinite": lambda m: {"header": {"log_weight": float("inf")}},
    "log_weight beyond float64": lambda m: {"header": {"log_weight": 10**400}},
    "log_weight too large": lambda m: {"header": {"log_weight": 1e6}},
    "a format to come": lambda m: {"header": {"format": 3}},
    "format True": lambda m: {"header": {"format": True}},
    "negative weight": lambda m: {"weight": -m.to_arrays()["weight"]},
    "weight 0": lambda m: {"weight": np.zeros(2)},
    "infinite weight": lambda m: {"weight": np.array([np.inf, 0])},
    "a low part as large as the high one": lambda m: {"mean": np.ones((2, 3))},
    "NaN mean": plus("mean", (0, 0), np.nan),
    "complex factor": lambda m: {"factor": m.to_arrays()["factor"] * 1j},
    "float32 factor": lambda m: {"factor": m.to_arrays()["factor"].astype(np.float32)},
    "lower triangular factor": lambda m: {"factor": m.to_arrays()["factor"].swapaxes(1, 2)},
    "infinite factor": plus("factor", (0, 0, 0), np.inf),
    "factor of other columns": lambda m: {"factor": np.zeros((1, 2, 2))},
    "constant=2": plus("constant", 0, 2),
    "constant of numbers": lambda m: {"constant": np.zeros(3)},
}


@pytest.mark.parametrize("is_old", [False, True], ids=["with a hash", "of 0.1.0"])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_moments_that_no_rows_have_are_refused_in_a_file_and_as_arrays(lie, is_old, tmp_path):
    for moments in KINDS.values():
        arrays = changed(moments, is_old=is_old, **lie(moments))
        with pytest.raises(ValueError, match="These moments"):
            klr.Moments.from_arrays(arrays)
        with open(tmp_path / "moments", "wb") as file:
            np.savez_compressed(file, **arrays)
        with pytest.raises(ValueError, match=f"Received: {tmp_path / 'moments'} .These moments"):
            klr.Moments.load(tmp_path / "moments")


@pytest.mark.parametrize("moments", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("key", ["weight", "mean", "factor", "constant", "header"])
def test_one_changed_bit_anywhere_is_noticed(moments, key):
    arrays = moments.to_arrays()
    content = arrays[key].tobytes()
    for at in range(len(content)):
        damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        bad = np.frombuffer(damaged, arrays[key].dtype).reshape(arrays[key].shape)
        try:
            again = klr.Moments.from_arrays({**arrays, key: bad})
        except ValueError as error:
            assert str(error).startswith("These moments")
        else:  # the last of 17 digits: the same number
            assert key == "header" and again.statistics.log_weight == moments.statistics.log_weight


@hypothesis.given(
    rows=st.integers(1, 40),
    features=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-200, 1e-3, 1.0, 1e9, 1e150]),
    is_weighted=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
    parts=st.integers(1, 3),
)
@hypothesis.settings(max_examples=60, derandomize=True)
def test_moments_of_any_rows_come_back_as_they_were(rows, features, seed, scale, is_weighted, dtype, parts):
    rng = np.random.default_rng(seed)
    moments = []
    for _ in range(parts):
        x = np.round(rng.normal(size=(rows, features)), 1) * (scale if dtype == "float64" else 1)
        weight = np.append(1.0, rng.choice([0, 1e-9, 0.5, 7], rows - 1)) if is_weighted else None
        moments.append(klr.Moments.from_data(x.astype(dtype), rng.normal(size=rows) * scale, weight))
    total = sum(moments)
    for is_old in (False, True):
        again = klr.Moments.from_arrays(changed(total, is_old=is_old))
        for key, array in total.to_arrays().items():
            np.testing.assert_array_equal(again.to_arrays()[key], array)


def big_file(path, moments, **shapes):
    """A small archive that declares large arrays of zeros."""
    arrays = moments.to_arrays()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                if key not in shapes:
                    np.lib.format.write_array(file, array)
                    continue
                shape, dtype = shapes[key]
                description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(file, description)
                for _ in range(16):
                    file.write(bytes(2**22))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in kilobytes there")
@pytest.mark.parametrize(
    "shapes",
    [
        {"factor": ((1, 2**11, 2**12), "f8")},
        {"mean": ((2, 2**22), "f8")},
        {"constant": ((2**26,), "u1")},
        {"header": ((2**26,), "u1")},
    ],
    ids=lambda shapes: next(iter(shapes)),
)
def test_a_small_file_of_large_arrays_is_refused_before_they_are_read(tmp_path, shapes):
    big_file(tmp_path / "moments", EXACT, **shapes)
    assert (tmp_path / "moments").stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="These moments"):
        klr.Moments.load(tmp_path / "moments")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**15  # 32 MB


@pytest.mark.parametrize("arrays", [None, 3, [], {}, {"header": "x"}])
def test_what_are_no_arrays_of_moments_is_refused(arrays):
    with pytest.raises(ValueError, match="These moments (must be a dict|lack)"):
        klr.Moments.from_arrays(arrays)


def test_a_file_of_0_1_0_has_no_hash_and_loads():
    path = Path(__file__).parent / "reference" / "files_of_0_1_0" / "houses.moments"
    with np.load(path) as archive:
        assert json.loads(archive["header"].tobytes())["format"] == 1
    assert klr.Moments.load(path).nobs > 0

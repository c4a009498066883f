"""Moments: all that least squares needs to know of the data, from one pass; merged, saved, and solved."""

import dataclasses
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_linreg.data import Reader, checked_names, default_names, output_names
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble
from keras_linreg.moments.accumulator import Accumulator, coarser
from keras_linreg.moments.checks import naming_columns
from keras_linreg.moments.sparse_rows import batches_to_reduce
from keras_linreg.solvers import Penalty, Solution, check_dependent, ridge_penalty, solve
from keras_linreg.sufficient_statistics import Plane, Statistics, merge
from keras_linreg.utils.files import replace_file
from keras_linreg.utils.types import Data, PathLike

FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Moments:
    """Counts, means and cross-products of features and outputs: what one pass over the data leaves behind.

    It is immutable, its size does not depend on the number of rows, and `a + b` are the moments of the rows of both.
    The cross-products are stored as a triangular factor about the means, in float64, or in double-double for small
    data. So no digits are lost by forming them.

    Attributes:
        feature_names: p names.
        output_names: k names.
        rows: the number of rows given.
        dtype: the coarsest floating dtype that the features came in.
        statistics: the numbers (`keras_linreg.sufficient_statistics.Statistics`).

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.arange(6.0)
    >>> monday, tuesday = klr.Moments.from_data(x[:3], 2 * x[:3] + 1), klr.Moments.from_data(x[3:], 2 * x[3:] + 1)
    >>> solution = (monday + tuesday).solve()
    >>> solution.kernel, solution.bias
    (array([[2.]]), array([1.]))
    """

    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    rows: int
    dtype: str
    statistics: Statistics

    @classmethod
    def from_data(
        cls, x: Data, y: Data = None, sample_weight: Data = None, feature_names: Iterable[str] | None = None
    ) -> "Moments":
        """Return the moments of arrays, a frame, a dict of columns, or a stream of batches, read once.

        Args:
            x: numeric array `(n, p)` or `(n,)`, sparse matrix, frame, dict of columns; or a `tf.data.Dataset`,
                `PyDataset` or generator of batches `(x, y)` or `(x, y, sample_weight)`.
            y: array, Series or frame `(n,)` or `(n, k)`; `None` for a stream.
            sample_weight: array `(n,)`, finite, not negative, not all zero; `None` for a stream.
            feature_names: a name for each column; `None` takes the frame's or dict's, or x0, x1, ...

        Raises:
            ValueError: on data that cannot be fitted: names, shapes, NaN, infinity, no rows.
            MemoryError: the columns are too many for their cross-products.
        """
        reader = Reader(None, "float64", checked_names(feature_names))
        prepared = reader.prepare(x, y, sample_weight, fitting=True)
        accumulator = None
        for batch in batches_to_reduce(prepared):
            if accumulator is None:
                features = tuple(reader.schema.feature_names if reader.schema else default_names(batch[0].shape[1]))
                outputs = output_names(y, batch[1].shape[1])
                accumulator = Accumulator(len(features), len(outputs))
            with naming_columns(features, outputs):
                accumulator.update(*batch)
        if accumulator is None:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        with naming_columns(features, outputs):
            return cls.of(accumulator, accumulator.result(), features, outputs)

    @classmethod
    def of(
        cls,
        accumulator: Accumulator,
        statistics: Statistics,
        feature_names: Iterable[str],
        output_names: Iterable[str],
    ) -> "Moments":
        """Return the moments of the batches that an accumulator took, by its statistics and the columns' names."""
        return cls(tuple(feature_names), tuple(output_names), accumulator.rows, accumulator.coarsest, statistics)

    @property
    def nobs(self) -> int:
        """The number of rows whose weight is not zero."""
        return self.statistics.nobs

    @property
    def means(self) -> np.ndarray:
        """The weighted means of features and outputs: float64 `(p + k,)`, in the columns' own units."""
        return self.statistics.mean.hi.copy()

    @property
    def covariance(self) -> np.ndarray:
        """The covariance of features and outputs, float64 `(p + k, p + k)`: weighted sums, divided by `nobs - 1`."""
        r = as_doubledouble(self.statistics.factor).hi
        with np.errstate(invalid="ignore", divide="ignore"):
            return r.T @ r / np.float64(self.nobs - 1)

    def __repr__(self) -> str:
        return (
            f"<Moments of {self.rows} rows: {len(self.feature_names)} features ({_few(self.feature_names)}), "
            f"{len(self.output_names)} outputs ({_few(self.output_names)})>"
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both; columns are matched by name.

        Raises:
            ValueError: the two do not have the same features and outputs.
        """
        if not isinstance(other, Moments):
            return NotImplemented
        for what in ("feature_names", "output_names"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if set(mine) != set(theirs):
                alone = [[n for n in a if n not in b] for a, b in ((mine, theirs), (theirs, mine))]
                raise ValueError(
                    f"Moments can be added where their {what} are the same. Received: {alone[0]} only in the first, "
                    f"{alone[1]} only in the second."
                )
        if (self.feature_names, self.output_names) != (other.feature_names, other.output_names):
            other = other.select(self.feature_names, self.output_names)
        dtype = coarser(self.dtype, other.dtype)
        merged = merge(self.statistics, other.statistics)
        return Moments(self.feature_names, self.output_names, self.rows + other.rows, dtype, merged)

    def __radd__(self, other: object) -> Any:
        """Let `sum` start from its 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def select(self, features: Iterable[str] | None = None, outputs: Iterable[str] | None = None) -> "Moments":
        """Return the moments of some of the columns, in the order given; `None` takes all.

        Args:
            features: names of columns.
            outputs: names of outputs.

        Raises:
            ValueError: a name that there is not, or one given twice.
        """
        chosen = _positions("features", features, self.feature_names)
        targets = _positions("outputs", outputs, self.output_names)
        columns = np.array([*chosen, *(len(self.feature_names) + j for j in targets)], int)
        old = self.statistics
        statistics = dataclasses.replace(
            old,
            mean=old.mean[columns],
            factor=triangular.triangularise(old.factor[:, columns]),
            constant=old.constant[columns],
            error=old.error_of_other_solutions,
            plane=None,
        )
        return Moments(
            tuple(self.feature_names[j] for j in chosen),
            tuple(self.output_names[j] for j in targets),
            self.rows,
            self.dtype,
            statistics,
        )

    def solve(self, l2: float = 0.0, dependent: str = "drop", use_bias: bool = True, warn: bool = True) -> Solution:
        """Return the least-squares solution; no data, and no Keras model, are needed.

        Args:
            l2: the penalty, a float that is not negative, as in `keras.regularizers.L2`: the mean squared error plus
                `l2` times the squared kernel is minimised. It is scikit-learn's `Ridge(alpha=rows * units * l2)`.
            dependent: what to do about a column that depends on those before it, or on the bias: `"drop"` gives it
                weight 0, `"min_norm"` takes the smallest kernel; a warning names it. A penalty needs neither.
            use_bias: whether to fit an intercept.
            warn: whether to warn of dependent columns, and of few digits.

        Raises:
            ValueError: a penalty that is negative, or a rule that there is not; no rows with a weight.
        """
        solution = self.solve_with(ridge_penalty(l2), check_dependent(dependent), bool(use_bias))
        if warn:
            solution.warn()
        return solution

    def solve_with(self, penalty: Penalty, dependent: str = "drop", use_bias: bool = True) -> Solution:
        """Return the solution with any penalty of `keras_linreg.solvers`; otherwise as `solve`, without warnings.

        Raises:
            ValueError: no row has a weight.
        """
        if not self.nobs:
            raise ValueError("There must be at least one row whose weight is not zero. Received: none.")
        names = self.feature_names, self.output_names
        return solve(self.statistics, self.rows, *names, self.dtype, penalty, dependent, use_bias)

    def save(self, filepath: PathLike) -> None:
        """Write the moments to a file: a NumPy `.npz` archive, whatever its name, without pickles.

        The file is there whole or not at all.
        """
        arrays: dict = self.to_arrays()
        path = Path(os.fsdecode(os.path.expanduser(os.fspath(filepath))))
        with replace_file(path) as unfinished, open(unfinished, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, filepath: PathLike) -> "Moments":
        """Return the moments that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not one of moments.
        """
        filepath = os.path.expanduser(os.fspath(filepath))
        with open(filepath, "rb") as file:
            content = io.BytesIO(file.read())
        try:
            with np.load(content, allow_pickle=False) as archive:
                return cls.from_arrays(dict(archive))
        except Exception as error:  # what a broken archive raises depends on where it is broken
            reason = f" ({error})" if str(error).startswith("These moments") else ""
            raise ValueError(
                f"`filepath` must be a file that Moments.save wrote. Received: {filepath}{reason}."
            ) from None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the moments as numeric arrays, for a file."""
        statistics = self.statistics
        header = {
            "format": FORMAT,
            "feature_names": self.feature_names,
            "output_names": self.output_names,
            "rows": self.rows,
            "nobs": statistics.nobs,
            "dtype": self.dtype,
            "log_weight": statistics.log_weight,
            "error": statistics.error,
        }
        r, plane, of_plane = statistics.factor, statistics.plane, {}
        if plane is not None:
            header |= {"plane_error": plane.error, "plane_sum_error": plane.sum_error}
            of_plane["plane"] = np.stack([plane.kernel, plane.rest])
        both: list = [r.hi, r.lo] if isinstance(r, DoubleDouble) else [r]
        return {
            **of_plane,
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "weight": np.stack([statistics.weight.hi, statistics.weight.lo]),
            "mean": np.stack([statistics.mean.hi, statistics.mean.lo]),
            "factor": np.stack(both),
            "constant": statistics.constant.astype(np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Moments":
        """Return the moments that `to_arrays` took apart."""
        header = json.loads(np.asarray(arrays["header"]).tobytes().decode())
        if header["format"] != FORMAT:
            raise ValueError(f"These moments are of format {header['format']}; this version reads format {FORMAT}")
        names = tuple(header["feature_names"]), tuple(header["output_names"])
        factor, width = np.asarray(arrays["factor"]), sum(map(len, names))
        shapes = {"factor": ((1, width, width), (2, width, width)), "mean": ((2, width),), "constant": ((width,),)}
        if "plane" in arrays:
            shapes["plane"] = ((2, len(names[0]), len(names[1])),)
        for key, allowed in {**shapes, "weight": ((2,),)}.items():
            if arrays[key].shape not in allowed or not np.isfinite(arrays[key]).all():
                raise ValueError(f"These moments of {width} columns cannot have a {key} of {arrays[key].shape}")
        plane = None
        if "plane" in arrays:
            kernel, rest = np.asarray(arrays["plane"])
            plane = Plane(kernel, rest, header["plane_error"], header["plane_sum_error"])
        statistics = Statistics(
            nobs=header["nobs"],
            weight=DoubleDouble(*np.asarray(arrays["weight"])),
            log_weight=header["log_weight"],
            mean=DoubleDouble(*np.asarray(arrays["mean"])),
            factor=DoubleDouble(*factor) if len(factor) == 2 else factor[0],
            constant=np.asarray(arrays["constant"]).astype(bool),
            error=header["error"],
            plane=plane,
        )
        return cls(*names, header["rows"], header["dtype"], statistics)


def _positions(argument: str, names: Iterable[str] | None, known: tuple[str, ...]) -> list[int]:
    if names is None:
        return list(range(len(known)))
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names) or not names:
        raise ValueError(f"`{argument}` must be distinct names among {list(known)}. Received: {names}.")
    return [known.index(name) for name in names]


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

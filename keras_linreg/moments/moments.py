"""Moments: all that least squares needs to know of the data, from one pass; merged, saved, and solved."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from keras_linreg.data import (
    MissingRows,
    Prepared,
    Reader,
    checked_names,
    default_names,
    default_output_names,
    forgetting_on_error,
    preprocessing,
)
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments import moments_file
from keras_linreg.moments.accumulator import Accumulator, coarser
from keras_linreg.moments.arrow import accumulate
from keras_linreg.moments.checks import check_name_of_bias, naming_columns
from keras_linreg.moments.sparse_rows import batches_to_reduce
from keras_linreg.moments.stored import StoredMoments
from keras_linreg.solvers import NO_PENALTY, Penalty, Solution, check_dependent, ridge_penalty, solve
from keras_linreg.sufficient_statistics import Statistics, merge
from keras_linreg.utils.arguments import check_flag
from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Data


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Moments(StoredMoments):
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
        missing: counts of the rows that were dropped for want of a value; `None` if there were none.

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
    missing: MissingRows | None = None

    @classmethod
    def from_data(
        cls,
        x: Data,
        y: Data = None,
        sample_weight: Data = None,
        feature_names: Iterable[str] | None = None,
        missing: str = "error",
        preprocessor: Any = None,
    ) -> "Moments":
        """Return the moments of arrays, a table, a dict of columns, or a stream of batches, read once.

        Args:
            x: numeric array `(n, p)` or `(n,)`, sparse matrix, table, dict of columns; or a `tf.data.Dataset`,
                `PyDataset` or generator of batches `(x, y)` or `(x, y, sample_weight)`.
            y: array, Series or table `(n,)` or `(n, k)`, or the name of a column of the table x; `None` for a stream.
            sample_weight: array `(n,)`, finite, not negative, not all zero, or the name of a column of the table x;
                `None` for a stream.
            feature_names: a name for each column; `None` takes the table's or dict's, or x0, x1, ...
            missing: `"error"` refuses rows without a value in a column, in y or in the weights; `"drop"` leaves them
                out, and counts them (`moments.missing`).
            preprocessor: a `klr.Formula`, which learns from x if it has not, an adapted `keras.utils.FeatureSpace`, a
                Keras layer or model from the columns to the design.

        Raises:
            ValueError: on data that cannot be fitted: names, shapes, NaN, infinity, no rows.
            MemoryError: the columns are too many for their cross-products.
        """
        preprocessing.check(preprocessor)
        names = checked_names(feature_names)
        reader = Reader(None, "float64", names, preprocessor, missing=missing, drops_in_graph=False)
        with forgetting_on_error(preprocessor):
            return cls._of_prepared(reader, reader.prepare(x, y, sample_weight, fitting=True))

    @classmethod
    def _of_prepared(cls, reader: Reader, prepared: Prepared) -> "Moments":
        """Return the moments of prepared data; the reader knows the names of the columns."""
        accumulator = None
        for batch in batches_to_reduce(prepared):
            if accumulator is None:
                features = tuple(reader.schema.feature_names if reader.schema else default_names(batch[0].shape[1]))
                outputs = prepared.output_names or default_output_names(batch[1].shape[1])
                accumulator = Accumulator(len(features), len(outputs))
            with naming_columns(features, outputs, prepared):
                accumulator.update(*batch)
        if accumulator is None:
            raise ValueError("`x` must hold at least one row. Received: none.")
        with naming_columns(features, outputs, prepared):
            dropped = prepared.missing_rows(accumulator.rows)
            return cls.of(accumulator, accumulator.result(), features, outputs, dropped)

    @classmethod
    def from_arrow(
        cls,
        batches: Data,
        target: str | Sequence[str] | None = None,
        features: Sequence[str] | None = None,
        weight: str | None = None,
        missing: str = "error",
        threads: int | None = None,
        preprocessor: Any = None,
    ) -> "Moments":
        """Return the moments of record batches of Arrow, read once, one batch after the other.

        The columns go to the cross-products as they lie in the batches. Only those that are needed are read. The same
        batches in the same order give the same bits.

        Args:
            batches: a `pyarrow.RecordBatchReader`, a `pyarrow.dataset.Dataset` or Scanner, a Table, an iterable of
                RecordBatches, or anything that exports an Arrow stream (polars, duckdb).
            target: the name of the column of y; of several, a list; `None` for a formula with a left side.
            features: the names of the columns of x; `None` takes all other columns, or those that `preprocessor` names.
            weight: the name of the column of weights: finite, not negative, not all zero.
            missing: as in `from_data`: `"error"` or `"drop"`.
            threads: how many threads reduce rows; `None` takes all cores.
            preprocessor: as in `from_data`: it makes the design of columns of any type. A formula that has not learned
                reads the batches once more; of what can be read once it must be adapted before.

        Raises:
            ImportError: pyarrow is not installed.
            ValueError: on batches that cannot be fitted: names, types, missing values, no rows; it names the batch.
            MemoryError: the columns are too many for their cross-products.

        Example:
        >>> import pyarrow as pa
        >>> import keras_linreg as klr
        >>> table = pa.table({"hours": [1.0, 2.0, 3.0, 4.0], "marks": [2.0, 4.1, 5.9, 8.0]})
        >>> klr.Moments.from_arrow(table.to_reader(), "marks").solve().kernel.round(2).tolist()
        [[1.98]]
        """
        return cls.of(*accumulate(batches, target, features, weight, missing, threads, preprocessor))

    @classmethod
    def of(
        cls,
        accumulator: Accumulator,
        statistics: Statistics,
        feature_names: Iterable[str],
        output_names: Iterable[str],
        missing: MissingRows | None = None,
    ) -> "Moments":
        """Return the moments of the batches that an accumulator took, by its statistics and the columns' names."""
        names = tuple(feature_names), tuple(output_names)
        return cls(*names, accumulator.rows, accumulator.coarsest, statistics, missing)

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
            f"<Moments of {self.rows} rows: {len(self.feature_names)} features{_few(self.feature_names)}, "
            f"{len(self.output_names)} outputs{_few(self.output_names)}>"
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
        rows, missing = self.rows + other.rows, None
        if self.missing is not None or other.missing is not None:
            missing = self._counts_of_missing() + other._counts_of_missing()
        return Moments(self.feature_names, self.output_names, rows, dtype, merged, missing)

    def __radd__(self, other: object) -> Any:
        """Let `sum` start from its 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def select(self, features: Iterable[str] | None = None, outputs: Iterable[str] | None = None) -> "Moments":
        """Return the moments of some of the columns, in the order given; `None` takes all.

        Args:
            features: names of columns; none of them for the null model, of the bias alone.
            outputs: names of outputs.

        Raises:
            ValueError: a name that there is not, or one given twice.
        """
        chosen = _positions("features", features, self.feature_names, can_be_empty=True)
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
            self.missing,
        )

    def _counts_of_missing(self) -> MissingRows:
        return MissingRows(self.rows, 0, {}) if self.missing is None else self.missing

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
            ValueError: a penalty that is negative, or a rule that there is not; no rows with a weight; a column called
                "Intercept" beside the bias, which has this name.
        """
        has_bias, warns = check_flag("use_bias", use_bias), check_flag("warn", warn)
        solution = self.solve_with(ridge_penalty(l2), check_dependent(dependent), has_bias)
        if warns:
            solution.warn()
        return solution

    def solve_with(self, penalty: Penalty, dependent: str = "drop", use_bias: bool = True) -> Solution:
        """Return the solution with any penalty of `keras_linreg.solvers`; otherwise as `solve`, without warnings.

        Raises:
            ValueError: no row has a weight, or a column is called "Intercept" beside the bias.
        """
        check_name_of_bias(self.feature_names, use_bias)
        if not self.nobs:
            raise ValueError("There must be at least one row whose weight is not zero. Received: none.")
        names = self.feature_names, self.output_names
        penalty = penalty if self.feature_names else NO_PENALTY  # the bias is never penalised
        solution = solve(self.statistics, self.rows, *names, self.dtype, penalty, dependent, use_bias)
        return dataclasses.replace(solution, missing=self.missing)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the moments as numeric arrays, for a file."""
        fields = self.feature_names, self.output_names, self.rows, self.dtype, self.statistics, self.missing
        return moments_file.pack(moments_file.Contents(*fields))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the moments that `to_arrays` took apart.

        Raises:
            ValueError: they are not such arrays, or have been changed since.
        """
        return cls(*moments_file.unpack(arrays))


def _positions(
    argument: str, names: Iterable[str] | None, known: tuple[str, ...], can_be_empty: bool = False
) -> list[int]:
    if names is None:
        return list(range(len(known)))
    listed: Any = names
    if isinstance(names, str):
        listed = [names]
    elif isinstance(names, Iterable) and not isinstance(names, bytes):
        listed = list(names)
    are_names = isinstance(listed, list) and all(isinstance(name, str) and name in known for name in listed)
    if not are_names or len(set(listed)) < len(listed) or not (listed or can_be_empty):
        raise ValueError(f"`{argument}` must be distinct names among {list(known)}. Received: {listed!r}.")
    return [known.index(name) for name in listed]


def _few(names: tuple[str, ...]) -> str:
    return f" ({', '.join(map(visible, names[:3]))}{', ...' * (len(names) > 3)})" if names else ""

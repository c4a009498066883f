"""RowOrder: which rows come first and last, to tell whether a second pass reads the rows as the fit did.

Autocorrelation depends on the order of the rows, and moments do not. A dataset that shuffles has another order each
time it is read.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from keras_linreg.data import Prepared, Stream, dense_batch, dense_matrix
from keras_linreg.data.kinds import is_dataset, is_py_dataset
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import Array, Batch
from keras_linreg.utils.warnings import warn_user

MOST_ROWS = 32  # at each end
MOST_NUMBERS = 2**16
# In standard deviations: the same rows in a dtype of fewer digits are in no other order.
TOLERANCES = {"bfloat16": 0.1, "float16": 0.1}
TOLERANCE = 1e-3


class RowOrder:
    """Takes the batches of some data, and keeps a few of the first and of the last rows."""

    def __init__(self) -> None:
        self._first: Array | None = None
        self._last: Array | None = None

    def add(self, x: Array, y: Array, weight: Array | None = None) -> None:
        """Take note of the next batch, `(n, p)`, dense or sparse rows, `(n, k)` and `(n,)`.

        A row of weight 0 is a row left out.
        """
        used = np.arange(x.shape[0]) if weight is None else np.flatnonzero(weight)
        if not len(used):
            return
        most = max(1, min(MOST_ROWS, MOST_NUMBERS // (x.shape[1] + y.shape[1])))
        first, last = used[:most], used[-most:]
        if self._first is None or len(self._first) < most:
            self._first = _joined(self._first, _rows(x[first], y[first]))[:most]
        new = _rows(x[last], y[last])
        self._last = new if len(new) == most else _joined(self._last, new)[-most:]

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches, and take note of each."""
        for batch in batches:
            self.add(*batch)
            yield batch

    def fingerprint(self, moments: Moments) -> Array:
        """Return a number for each of the rows, `(2, m)`: the first and the last ones. No row can be told from it.

        It is a random combination, always the same one, of the row's columns in their own standard deviations.

        Args:
            moments: of the data.
        """
        assert self._first is not None and self._last is not None  # a pass has rows
        spread = np.sqrt(np.maximum(np.diag(moments.covariance), 0))
        usable = np.isfinite(spread) & (spread > 0)
        weights = np.random.default_rng(0).normal(size=len(spread))[usable]
        rows = np.stack([self._first, self._last])[:, :, usable]
        return ((rows - moments.means[usable]) / spread[usable]) @ weights / np.sqrt(max(len(weights), 1))

    @property
    def first_rows(self) -> Array | None:
        """The first rows, `(m, p + k)`, float64."""
        return self._first


def warn_of_other_order(
    statistic: str, data: Prepared, order: RowOrder, moments: Moments, fingerprint: Array | None
) -> None:
    """Warn if the rows of a second pass came in another order than the rows of the fit.

    Args:
        statistic: that depends on the order, for the message.
        data: that the pass has read.
        order: of their rows.
        moments: of the fit.
        fingerprint: of the order of the fit's rows; None if it is not known.
    """
    if fingerprint is not None:
        is_same = is_same_order(fingerprint, order.fingerprint(moments), moments.dtype)
    else:
        is_same = not isinstance(data, Stream) or _begins_alike(data, order)
    if not is_same:
        warn_user(
            f"{statistic} depends on the order of the rows, and `data` came in another order than the data of the "
            "fit, as a dataset that shuffles does. Fit, and give `data`, in the rows' own order."
        )


def _begins_alike(data: Stream, order: RowOrder) -> bool:
    """Return whether a stream that can be read again begins with the same rows as it did."""
    batch = next(data.again(), None) if is_dataset(data.x) or is_py_dataset(data.x) else None
    if batch is None:
        return True
    again = RowOrder()
    again.add(*dense_batch(tuple(batch[1:])))
    first, second = order.first_rows, again.first_rows
    if first is None or second is None:
        return True
    shared = min(len(first), len(second))
    return bool(np.array_equal(first[:shared], second[:shared], equal_nan=True))


def is_same_order(a: Array, b: Array, dtype: str) -> bool:
    """Return whether two fingerprints, of features that came in this dtype, are of rows in the same order."""
    tolerance = TOLERANCES.get(dtype, TOLERANCE)
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance)


def _rows(x: Array, y: Array) -> Array:
    return np.hstack([np.asarray(dense_matrix(x), np.float64), np.asarray(y, np.float64)])


def _joined(a: Array | None, b: Array) -> Array:
    return b if a is None else np.concatenate([a, b])

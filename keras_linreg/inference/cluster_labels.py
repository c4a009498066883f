"""Cluster labels: the groups that rows belong to, as a user names them, as small integers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_linreg.utils.types import Array, Data

LABEL_RULE = "`groups` must have a label for each row of `data`."
SHAPE_RULE = "`groups` must be of shape (n,): one label a row."


class ClusterLabels:
    """Reads the labels of consecutive rows, and numbers the groups in the order in which they appear.

    Args:
        groups: labels `(n,)` of any kind, or an iterable of batches of labels.

    Raises:
        ValueError: `groups` are not labels; or, on reading, a label is missing, or there are fewer labels than rows.
    """

    def __init__(self, groups: Data):
        if not hasattr(groups, "__iter__"):
            raise ValueError(f"{SHAPE_RULE} Received: groups={groups!r}.")
        is_list = isinstance(groups, list | tuple | range)
        is_whole = hasattr(groups, "shape") or (is_list and not any(np.ndim(label) for label in groups[:1]))
        self._batches: Iterator[Any] = iter([groups] if is_whole else groups)
        self._codes: dict[Any, int] = {}
        self._unread = np.zeros(0, int)

    def read(self, rows: int) -> Array:
        """Return the numbers `(rows,)` of the groups of the next rows."""
        while len(self._unread) < rows:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError(f"{LABEL_RULE} Received: fewer labels than rows.")
            self._unread = np.concatenate([self._unread, self._numbered(batch)])
        codes, self._unread = self._unread[:rows], self._unread[rows:]
        return codes

    def refuse_more(self) -> None:
        """Raise a ValueError if there are labels left."""
        if len(self._unread) or any(len(self._numbered(batch)) for batch in self._batches):
            raise ValueError(f"{LABEL_RULE} Received: more labels than rows.")

    def _numbered(self, batch: Any) -> Array:
        """Return the numbers of the groups of a batch of labels."""
        import pandas  # slow to import

        # NumPy would turn a list of strings and NaN into strings, and the missing label into the text "nan".
        labels = np.asarray(batch, object if isinstance(batch, list | tuple) else None)
        if labels.ndim > 1 and labels.shape[1:] != (1,):
            raise ValueError(f"{SHAPE_RULE} Received: shape {labels.shape}.")
        codes, distinct = pandas.factorize(labels.ravel())
        if (codes < 0).any():
            raise ValueError(f"{LABEL_RULE} Received: missing values.")
        return np.array([self._codes.setdefault(label, len(self._codes)) for label in distinct.tolist()], int)[codes]

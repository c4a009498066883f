"""Categorical factors: their levels, their contrasts, and the look-up of a level, in memory and in a graph."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data.graph import LEVELS_RULE
from keras_linreg.formula.categories import KINDS, Categories, in_order, smallest_type
from keras_linreg.formula.expressions import Expression, function_of

SHOWN_LEVELS = 8
MOST_UNSEEN = 50  # levels that an error names


class CategoricalFactor:
    """A factor of levels: a column of text, booleans or categories, or `C(column, ...)`.

    Args:
        expression: its code.

    Attributes:
        name: of the factor.
        columns: the one that it needs.
        levels: that were seen, in order; None before.
        base: the number of the reference level of treatment contrasts.
    """

    is_categorical = True

    def __init__(self, expression: Expression):
        self.expression = expression
        self.name = expression.name
        self.columns = expression.columns
        self.column = expression.columns[0]
        self.levels: list[Any] | None = None
        self.base = 0
        self.contrast = "Treatment"
        self._reference: Any = None
        self._unseen: Any = None
        self._table: Any = None
        self._seen: set[Any] = set()
        self._declared: list[Any] | None = None
        if function_of(expression.tree) == "C":
            self._read_call(expression.tree)

    def _read_call(self, call: Any) -> None:
        """Read the arguments of C(column, contrast, unseen=)."""
        if not call.args:
            raise self.expression.refused("C() takes a column")
        self.expression.column_of(call.args[0])
        contrasts = list(call.args[1:])
        for keyword in call.keywords:
            if keyword.arg in ("contrast", "contr"):
                contrasts.append(keyword.value)
            elif keyword.arg == "unseen":
                self._unseen = self.expression.literal(keyword.value)
            else:
                raise self.expression.refused(f"C() takes no argument {keyword.arg!r}")
        if len(contrasts) > 1:
            raise self.expression.refused("C() takes one contrast")
        for contrast in contrasts:
            self._read_contrast(contrast)

    def _read_contrast(self, node: ast.expr) -> None:
        name = node.id if isinstance(node, ast.Name) else function_of(node)
        if name not in ("Treatment", "Sum"):
            raise self.expression.refused(
                f"contrasts are Treatment, Treatment('level') and Sum, and this is {self.expression.spelled(node)}"
            )
        self.contrast = name
        arguments: list[Any] = [*node.args, *node.keywords] if isinstance(node, ast.Call) else []
        if not arguments:
            return
        first = arguments[0]
        value = first.value if isinstance(first, ast.keyword) else first
        is_known = not isinstance(arguments[0], ast.keyword) or arguments[0].arg == "reference"
        if name == "Sum" or len(arguments) > 1 or not is_known:
            raise self.expression.refused("Sum takes no argument, and Treatment one, the reference level")
        self._reference = self.expression.literal(value)

    # Learning

    def start(self) -> None:
        """Begin to learn."""
        self._seen, self._declared = set(), None

    def update(self, categories: Categories) -> None:
        """Take the values of rows."""
        self._seen.update(categories.seen())
        self._declared = categories.declared if self._declared is None else self._declared

    def finish(self) -> None:
        """Set the levels and the reference level."""
        if not self._seen:
            raise ValueError(f"Column {self.column!r} of `x` must have a value in some row. Received: none.")
        self.levels = in_order(list(self._seen), self._declared)
        self.base = self._position_of(self._reference, "the reference level") if self._reference is not None else 0
        if self._unseen is not None:
            self._position_of(self._unseen, "unseen=", by_number=False)
        self._table = None

    def _position_of(self, level: Any, argument: str, by_number: bool = True) -> int:
        """Return the number of a level; an integer that is no level is a number itself, as in patsy."""
        assert self.levels is not None
        for i, other in enumerate(self.levels):
            if other == level and isinstance(other, str) == isinstance(level, str):
                return i
        is_number = by_number and isinstance(level, int) and not isinstance(level, bool)
        if is_number and -len(self.levels) <= level < len(self.levels):
            return level % len(self.levels)
        raise ValueError(
            f"In the term {self.name!r} of the formula {argument} must be a level of {self.column!r}, "
            f"{shown(self.levels)}. Received: {level!r}."
        )

    def state(self) -> dict[str, Any]:
        """Return what was learned, as plain objects."""
        return {"levels": self.levels, "base": self.base}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` returned."""
        self.levels, self.base, self._table = list(state["levels"]), int(state["base"]), None

    # Coding

    def coding(self, is_full: bool) -> tuple[np.ndarray, list[str]]:
        """Return the columns of the contrast, `(levels, columns)`, and the ends of their names.

        Args:
            is_full: whether the levels must span the constant, too: then each has its indicator.
        """
        assert self.levels is not None
        count = len(self.levels)
        if is_full:
            return np.eye(count), [f"[{level}]" for level in self.levels]
        if self.contrast == "Sum":
            matrix = np.eye(count)[:, :-1]
            matrix[-1] = -1.0
            return matrix, [f"[S.{level}]" for level in self.levels[:-1]]
        others = [i for i in range(count) if i != self.base]
        return np.eye(count)[:, others], [f"[T.{self.levels[i]}]" for i in others]

    # Looking up

    @property
    def kind(self) -> str:
        """The kind of the levels: "text", "boolean", "integer" or "float"."""
        assert self.levels is not None
        return "text" if isinstance(self.levels[0], str) else KINDS[np.asarray(self.levels).dtype.kind]

    def graph_codes(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the codes of values `(n,)`, int32, -1 for a level that was not seen; and the mask of missing ones."""
        assert self.levels is not None
        is_text = values.dtype == tf.string
        if is_text != (self.kind == "text"):
            raise ValueError(
                f"Column {self.column!r} of `x` {LEVELS_RULE} These are "
                f"{'text' if self.kind == 'text' else 'numbers'}, {shown(self.levels)}. "
                f"Received: values of dtype {values.dtype.name}."
            )
        missing = tf.equal(values, "") if is_text else tf.zeros(tf.shape(values), bool)
        if values.dtype.is_floating:
            missing = tf.math.is_nan(values)
        codes = self._plain_codes(values)
        if self._unseen is not None:
            codes = tf.where(codes < 0, self._position_of(self._unseen, "unseen="), codes)
        return tf.where(missing, -1, codes), missing

    def _plain_codes(self, values: tf.Tensor) -> tf.Tensor:
        """Return the codes of values, -1 for a level that was not seen, wherever such levels are sent."""
        return self._nearest(values) if self.kind == "float" else self._lookup(values)

    def _lookup(self, values: tf.Tensor) -> tf.Tensor:
        """Return the codes of text, or of whole numbers, by a table."""
        if values.dtype == tf.string:
            return self.table.lookup(values)
        keys = tf.cast(values, tf.int64)
        codes = self.table.lookup(keys)
        return tf.where(tf.equal(tf.cast(keys, values.dtype), values), codes, -1) if values.dtype.is_floating else codes

    def _nearest(self, values: tf.Tensor) -> tf.Tensor:
        """Return the codes of floats, which are compared in the dtype that comes in."""
        assert self.levels is not None
        dtype = values.dtype if values.dtype.is_floating else tf.float64
        order = np.argsort(self.levels)
        levels = tf.cast(tf.constant(np.asarray(self.levels, np.float64)[order]), dtype)
        values = tf.cast(values, dtype)
        place = tf.minimum(tf.searchsorted(levels, values), len(order) - 1)
        is_level = tf.equal(tf.gather(levels, place), values)
        return tf.where(is_level, tf.gather(tf.constant(order, tf.int32), place), -1)

    @property
    def table(self) -> Any:
        """The look-up table from levels to codes; None for floats."""
        if self._table is None and self.levels is not None and self.kind != "float":
            with tf.init_scope():
                keys = tf.constant(
                    self.levels if self.kind == "text" else [int(level) for level in self.levels],
                    tf.string if self.kind == "text" else tf.int64,
                )
                initializer = tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(self.levels)))
                self._table = tf.lookup.StaticHashTable(initializer, -1)
        return self._table

    def codes(self, categories: Categories, ignored: np.ndarray | None = None) -> np.ndarray:
        """Return the codes of rows in memory, -1 for missing values.

        Args:
            categories: of the column.
            ignored: mask of rows that may have any level, or None.

        Raises:
            ValueError: a level was not seen.
        """
        used = categories.used
        of_values: np.ndarray = np.full(len(categories.values) + 1, -1, smallest_type(len(self.levels or ())))
        if len(used):
            of_values[used] = self.graph_codes(tf.constant(categories.values[used]))[0].numpy()
            counts = categories.counts if ignored is None else categories.keep(~ignored).counts
            unseen = used[(of_values[used] < 0) & (counts[used] > 0)]
            if len(unseen):
                raise self._unseen_error(categories.values[unseen].tolist(), counts[unseen].tolist())
        is_same = len(used) == len(of_values) - 1 and np.array_equal(of_values[:-1], used)
        return categories.codes if is_same else of_values[categories.codes]

    def unseen(self, categories: Categories) -> tuple[np.ndarray, bool] | None:
        """Return the mask `(n,)` of rows with a level that was not seen, and whether `unseen=` takes them; or None."""
        used = categories.used
        if not len(used):
            return None
        values = tf.constant(categories.values[used])
        self.graph_codes(values)  # refuses text for numbers, and numbers for text
        is_unseen = np.zeros(len(categories.values) + 1, bool)
        is_unseen[used] = self._plain_codes(values).numpy() < 0
        if not is_unseen.any():
            return None
        return is_unseen[categories.codes], self._unseen is not None  # a missing value has the code -1, the last

    def _unseen_error(self, values: list[Any], counts: list[int]) -> ValueError:
        """Return the error for levels that were not seen, the most frequent first."""
        assert self.levels is not None
        order = sorted(range(len(values)), key=lambda i: (-counts[i], str(values[i])))
        received = [f"{values[i]!r} ({counts[i]:,} {'row' if counts[i] == 1 else 'rows'})" for i in order[:MOST_UNSEEN]]
        more = [f"{len(values) - MOST_UNSEEN} more levels"] if len(values) > MOST_UNSEEN else []
        return ValueError(
            f"Column {self.column!r} of `x` {LEVELS_RULE} These are {shown(self.levels)}. Leave out the rows of other "
            f"levels, or fit again with such rows; or fit with C({self.column}, unseen={self.levels[0]!r}), which "
            f"counts them as that level. Received: {', '.join([*received, *more])}."
        )

    def describe(self) -> str:
        """Return the levels and the contrast."""
        assert self.levels is not None
        contrast = f"Treatment, reference {self.levels[self.base]!r}" if self.contrast == "Treatment" else "Sum"
        unseen = f"; unseen levels count as {self._unseen!r}" if self._unseen is not None else ""
        return f"{len(self.levels)} levels {shown(self.levels)}, {contrast}{unseen}"


def shown(levels: list[Any]) -> str:
    """Return the first levels as text."""
    some = ", ".join(map(repr, levels[:SHOWN_LEVELS]))
    return f"[{some}{', ...' * (len(levels) > SHOWN_LEVELS)}]"

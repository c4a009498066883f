"""Numeric factors: one that computes columns from columns, in memory and in a graph by the same operations."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.formula.expressions import Expression, function_of
from keras_linreg.formula.transforms import Transform, transform_of

LARGEST_PRODUCT = 8  # powers up to here are products: tf.pow is off by two units in the last place

UNARY: dict[str, Callable[[Any], Any]] = {
    "log": tf.math.log,
    "log1p": tf.math.log1p,
    "log10": lambda x: tf.math.log(x) / math.log(10.0),
    "exp": tf.exp,
    "sqrt": tf.sqrt,
    "abs": tf.abs,
}


class NumericFactor:
    """A factor of numbers: a column, or what functions and transforms make of columns.

    Args:
        expression: its code.

    Attributes:
        name: of the factor.
        columns: that it needs.
        transforms: the transforms in its code, by their own code, the inner before the outer.
    """

    is_categorical = False

    def __init__(self, expression: Expression):
        self.expression = expression
        self.name = expression.name
        self.columns = expression.columns
        self.transforms: dict[str, Transform] = {}
        self._arguments: dict[str, ast.AST] = {}
        for call in expression.calls():
            key = expression.spelled(call)
            if key not in self.transforms:
                self.transforms[key] = transform_of(call, expression)
                self._arguments[key] = call.args[0]
        root = self.transforms.get(self.name)
        self.suffixes = ("",) if root is None else root.suffixes

    def evaluate(self, columns: Mapping[str, Any]) -> list[tf.Tensor]:
        """Return the factor's columns, float64 `(n,)` each, of columns as float64 tensors."""
        parts = self._value(self.expression.tree, columns)
        shape = tf.shape(columns[self.columns[0]])
        return [tf.broadcast_to(part, shape) if part.shape.rank == 0 else part for part in parts]

    def argument(self, key: str, columns: Mapping[str, Any]) -> np.ndarray:
        """Return the numbers that a transform learns from; the transforms inside of it have learned."""
        (part,) = self._value(self._arguments[key], columns)
        return np.asarray(part)

    def _value(self, node: ast.AST, columns: Mapping[str, Any]) -> list[tf.Tensor]:
        if isinstance(node, ast.Constant):
            return [tf.constant(node.value, tf.float64)]
        if isinstance(node, ast.Name) or function_of(node) == "Q":
            return [columns[self.expression.column_of(node)]]
        if isinstance(node, ast.UnaryOp):
            (part,) = self._value(node.operand, columns)
            return [-part if isinstance(node.op, ast.USub) else part]
        if isinstance(node, ast.BinOp):
            return [self._arithmetic(node, columns)]
        assert isinstance(node, ast.Call)
        function, (part,) = function_of(node) or "", self._value(node.args[0], columns)
        if function == "I":
            return [part]
        if function in UNARY:
            return [UNARY[function](part)]
        return self.transforms[self.expression.spelled(node)](part)

    def _arithmetic(self, node: ast.BinOp, columns: Mapping[str, Any]) -> tf.Tensor:
        (left,) = self._value(node.left, columns)
        if isinstance(node.op, ast.Pow):
            power = node.right.value if isinstance(node.right, ast.Constant) else None
            if isinstance(power, int) and 1 <= power <= LARGEST_PRODUCT:
                product = left
                for _ in range(power - 1):
                    product = product * left
                return product
        (right,) = self._value(node.right, columns)
        operators: dict[type, Callable[[Any, Any], Any]] = {
            ast.Add: tf.add,
            ast.Sub: tf.subtract,
            ast.Mult: tf.multiply,
            ast.Div: tf.divide,
            ast.Pow: tf.pow,
        }
        return operators[type(node.op)](left, right)

    def advice(self) -> str:
        """Return what to do about a number that is not finite."""
        if any("bs(" in key for key in self.transforms):
            return (
                "A number outside of the boundary knots is refused: bs(x, ..., extrapolate=True) goes on, and "
                "lower_bound= and upper_bound= set the boundary."
            )
        return "Leave such rows out, or change the term, as in log1p(x) or log(x + 1) inside of I()."

    def describe(self) -> str:
        """Return what the transforms have learned."""
        return "; ".join(f"{transform.describe()}" for transform in self.transforms.values())

    def state(self) -> dict[str, Any]:
        """Return what was learned, as plain objects."""
        return {key: transform.state for key, transform in self.transforms.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` returned."""
        for key, transform in self.transforms.items():
            transform.state = state[key]

"""Elements of a dataset: what a batch of it must be, told by its specs before a batch is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_linreg.data.packing import unpack_batch
from keras_linreg.data.targets import check_units
from keras_linreg.data.values import is_complex
from keras_linreg.utils.lazy import LazyModule

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")

ELEMENT_RULE = "Each element of the dataset must be a batch x, (x, y) or (x, y, sample_weight) of tensors"


def no_targets(kind: type) -> ValueError:
    """Return the error for a stream whose batches hold no `y`."""
    return ValueError(
        "Each batch of `x` must be a tuple (x, y) or (x, y, sample_weight): a linear regression needs targets. "
        f"Received: batches of type {kind.__name__} without `y`."
    )


def endless(kind: str) -> ValueError:
    """Return the error for a stream without an end, where nobody says how much of it to read."""
    return ValueError(
        "`x` must end, or `steps_per_epoch` (in fit), `validation_steps` or `steps` must say how many batches to read. "
        f"Give them, or `.take(n)` of the batches. Received: {kind} without an end."
    )


def check_element(dataset: tf.data.Dataset, targets: bool, units: int | None) -> tuple[Any, Any, Any]:
    """Return the specs of x (one, or a dict of them), y and the weights of a dataset.

    Args:
        dataset: of batches.
        targets: whether a batch must hold `y`.
        units: the outputs of the model; None takes any.

    Raises:
        ValueError: no model can take the elements, or there are none.
    """
    spec = dataset.element_spec
    x, y, sample_weight = unpack_batch(spec)
    if targets and y is None:
        raise no_targets(type(spec))
    if int(dataset.cardinality()) == 0:
        raise ValueError("`x` must hold at least one batch. Received: an empty dataset.")
    _check_tensors(x, y, sample_weight)
    for name, part in _columns(x):
        if part.shape.rank is None:
            raise ValueError(
                f"{name} must be of known rank: map the dataset through tf.ensure_shape. "
                "Received: a dataset of tensors of unknown rank."
            )
        if part.shape.rank == 0:
            raise _not_batched()
    if y is not None:
        if y.shape.rank == 0:
            raise _not_batched()
        if y.dtype == tf.string:
            raise ValueError("`y` must be numeric. Received: strings.")
        if y.shape.rank is not None:
            check_units(tuple(y.shape) or (None,), units)
    if sample_weight is not None:
        shape = sample_weight.shape
        if not (sample_weight.dtype.is_floating or sample_weight.dtype.is_integer or sample_weight.dtype.is_bool):
            raise ValueError(f"`sample_weight` must be numeric. Received: {sample_weight.dtype.name}.")
        if shape.rank not in (None, 1) and tuple(shape[1:]) != (1,):
            raise ValueError(
                f"`sample_weight` must be of shape (batch,) or (batch, 1). Received: shape {tuple(shape)}."
            )
    return x, y, sample_weight


def check_no_text(x: Any) -> None:
    """Refuse strings, which only a preprocessor takes."""
    for name, spec in _columns(x):
        if spec.dtype == tf.string:
            raise ValueError(f"{name} must be numeric without a preprocessor that takes strings. Received: strings.")


def _columns(x: Any) -> list[tuple[str, Any]]:
    """Return the specs of x with a description of each."""
    return [(f"Column {n!r} of `x`", spec) for n, spec in x.items()] if isinstance(x, Mapping) else [("`x`", x)]


def _check_tensors(x: Any, y: Any, sample_weight: Any) -> None:
    """Refuse nested structures, ragged tensors, sparse targets, complex numbers."""
    if isinstance(x, Mapping) and not x:
        raise ValueError("`x` must have at least one column. Received: a dataset of empty dicts.")
    dense = tf.TensorSpec
    for name, part in [*_columns(x), ("`y`", y), ("`sample_weight`", sample_weight)]:
        if part is None:
            continue
        may_be_sparse = name == "`x`"
        if not isinstance(part, (dense, tf.SparseTensorSpec) if may_be_sparse else dense):
            kind = "a ragged tensor" if isinstance(part, tf.RaggedTensorSpec) else f"{type(part).__name__}: {part}"
            advice = "; stack the columns of x, or make them a dict by name" if isinstance(part, tuple) else ""
            raise ValueError(f"{ELEMENT_RULE}, or x a dict of tensors by name{advice}. Received as {name}: {kind}.")
        if part.dtype.is_complex:
            raise is_complex(name)


def _not_batched() -> ValueError:
    return ValueError(
        "`x` must be a dataset of batches: call `.batch(...)` on it. Received: elements that are single rows."
    )

"""The signatures of a served model, as TensorFlow functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_linreg.export.float32 import Float32Model
from keras_linreg.export.inputs import LEVEL, ServedInputs
from keras_linreg.export.intervals import Intervals
from keras_linreg.export.model_interface import ServableModel

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One signature.

    Attributes:
        function: from the inputs to a dict of outputs.
        specs: the specs of its arguments: a tensor, or a dict of columns.
    """

    function: Callable[..., Tensors]
    specs: list[Any]


def prediction_signatures(
    model: ServableModel | Float32Model, inputs: ServedInputs, units: int
) -> dict[str, Signature]:
    """Return the signatures that predict; the default one is first, under Keras's name for it, "serve".

    Args:
        model: computes the predictions of a design.
        inputs: the inputs of a request.
        units: the number of outputs; `regress` needs one.
    """

    def predict(columns: Any) -> tf.Tensor:
        return tf.cast(model(inputs.design(columns), training=False), tf.float32)

    def serve(columns: Any) -> Tensors:
        return {"predictions": predict(inputs.check_columns(columns))}

    def examples(serialized: tf.Tensor) -> Tensors:
        return {"predictions": predict(inputs.parse_examples(serialized))}

    def regress(serialized: tf.Tensor) -> Tensors:
        return {"outputs": tf.squeeze(predict(inputs.parse_examples(serialized)), 1)}

    signatures = {
        "serve": Signature(serve, [inputs.spec]),
        "examples": Signature(examples, [tf.TensorSpec((None,), tf.string, name="examples")]),
    }
    if units == 1:
        signatures["regress"] = Signature(regress, [tf.TensorSpec((None,), tf.string, name="inputs")])
    return signatures


def interval_signatures(intervals: Intervals, inputs: ServedInputs, level: float) -> dict[str, Signature]:
    """Return the signatures that predict with intervals.

    Args:
        intervals: the intervals of the fit.
        inputs: the inputs of a request.
        level: the coverage of `predict_interval`; the clients of `predict_interval_at` choose their own.
    """
    at_level, at_levels = intervals.at_level(level), intervals.at_levels()

    def design_of(columns: Any) -> tf.Tensor:
        return tf.cast(inputs.design(inputs.check_columns(columns)), intervals.dtype)

    def predict_interval(columns: Any) -> Tensors:
        return at_level(design_of(columns))

    def matrix_and_level(columns: Any, level: tf.Tensor) -> Tensors:
        design = design_of(columns)
        return at_levels(design, inputs.check_level(level, tf.shape(design)[0]))

    def columns_and_level(columns: Tensors) -> Tensors:
        return matrix_and_level({name: column for name, column in columns.items() if name != LEVEL}, columns[LEVEL])

    signatures = {"predict_interval": Signature(predict_interval, [inputs.spec])}
    if LEVEL not in inputs.argument_names:
        function = columns_and_level if inputs.named else matrix_and_level
        signatures["predict_interval_at"] = Signature(function, inputs.specs_with_level())
    return signatures

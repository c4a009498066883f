"""The signatures of a served model, as TensorFlow functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_linreg.export.examples import ExampleParser
from keras_linreg.export.explanations import Explanations
from keras_linreg.export.float32 import Float32Model
from keras_linreg.export.inputs import LEVEL, ServedInputs
from keras_linreg.export.intervals import Intervals
from keras_linreg.export.model_interface import ServableModel
from keras_linreg.utils.arguments import check_choice

KERAS, ESTIMATOR = "keras", "estimator"
OF_KERAS = "serve"  # the signature that every exported Keras model has
COLUMN_SIGNATURES = {KERAS: (OF_KERAS, "serving_default"), ESTIMATOR: (OF_KERAS,)}  # they take columns
EXPLAIN = "explain"
STATISTICS_SIGNATURES = ("predict_interval", "predict_interval_at", EXPLAIN)  # so do these; the others take Examples

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One signature.

    Attributes:
        function: from the inputs to a dict of outputs, or to one tensor.
        specs: the specs of its arguments: a tensor, or a dict of columns.
        is_regress: whether it is called by Regress, rather than by Predict.
    """

    function: Callable[..., Any]
    specs: list[Any]
    is_regress: bool = False


def check_style(signatures: object) -> None:
    """Raise a ValueError unless there are signatures of this name."""
    check_choice("signatures", signatures, (KERAS, ESTIMATOR))


def predictor(model: ServableModel | Float32Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the function from a design to the predictions of a model, in float32."""
    return lambda design: tf.cast(model(design, training=False), tf.float32)


def prediction_signatures(
    model: ServableModel | Float32Model, inputs: ServedInputs, parser: ExampleParser, units: int, style: str
) -> dict[str, Signature]:
    """Return the signatures that predict.

    Of the style "estimator", `serving_default`, `regression` and `predict` take, and return, tensors of the names and
    shapes that `tf.estimator.LinearRegressor` gave them. Its default signature is called by Regress, which takes a
    single output alone.

    Args:
        model: computes the predictions of a design.
        inputs: the inputs of a request.
        parser: parses Examples.
        units: the number of outputs; Regress needs one.
        style: "keras" or "estimator".
    """
    predict_design = predictor(model)

    def predict(columns: Any) -> tf.Tensor:
        return predict_design(inputs.design(columns))

    def of_columns(columns: Any) -> tf.Tensor:
        return predict(inputs.check_columns(columns))

    def by_name(columns: Any) -> Tensors:
        return {"predictions": of_columns(columns)}

    def of_examples(serialized: tf.Tensor) -> Tensors:
        return {"predictions": predict(parser.parse(serialized))}

    def regress(serialized: tf.Tensor) -> Tensors:
        return {"outputs": tf.squeeze(predict(parser.parse(serialized)), 1)}

    def regression(serialized: tf.Tensor) -> Tensors:
        return {"outputs": predict(parser.parse(serialized))}

    examples = Signature(of_examples, [tf.TensorSpec((None,), tf.string, name="examples")])
    serialized = [tf.TensorSpec((None,), tf.string, name="inputs")]
    signatures = {OF_KERAS: Signature(of_columns, [inputs.spec])}
    if style == KERAS:
        signatures["serving_default"] = Signature(by_name, [inputs.spec])
    elif units == 1:
        estimator = Signature(regression, serialized, is_regress=True)
        signatures |= {"serving_default": estimator, "regression": estimator, "predict": examples}
    else:
        signatures |= {"serving_default": examples, "predict": examples}
    signatures["examples"] = examples
    if units == 1:
        signatures["regress"] = Signature(regress, serialized, is_regress=True)
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


def explain_signature(explanations: Explanations, inputs: ServedInputs) -> dict[str, Signature]:
    """Return the signature that tells what each column contributed."""

    def explain(columns: Any) -> Tensors:
        return explanations.answer(inputs.design(inputs.check_columns(columns)))

    return {EXPLAIN: Signature(explain, [inputs.spec])}

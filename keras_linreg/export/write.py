"""Write a SavedModel with all its signatures, or nothing."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import Reader
from keras_linreg.export import card, manifest, saved_model
from keras_linreg.export.defaults import Defaults, column_means, resolve, to_json
from keras_linreg.export.examples import ExampleParser
from keras_linreg.export.explanations import Explanations
from keras_linreg.export.float32 import Float32Model, predictions_fit_float32, warn_of_float32
from keras_linreg.export.graph_names import graph_names
from keras_linreg.export.inputs import INPUT_DTYPES, LEVEL, ServedInputs, build_preprocessor
from keras_linreg.export.intervals import EXTRAPOLATES, Intervals
from keras_linreg.export.model_interface import ServableModel
from keras_linreg.export.signatures import (
    COLUMN_SIGNATURES,
    EXPLAIN,
    KERAS,
    Signature,
    explain_signature,
    interval_signatures,
    prediction_signatures,
    predictor,
)
from keras_linreg.export.training_data import means_and_deviations
from keras_linreg.inference.contributions import Contributions
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.intervals import KEYS
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.files import replace_folder
from keras_linreg.utils.text import visible
from keras_linreg.utils.types import PathLike
from keras_linreg.utils.warnings import warn_user

PRINTED = (  # the order of signatures
    *("serving_default", "serve", "predict_interval", "predict_interval_at", "explain"),
    *("examples", "predict", "regress", "regression"),
)


def write_saved_model(
    model: ServableModel,
    reader: Reader,
    filepath: PathLike,
    moments: Moments | None = None,
    estimate: Estimate | None = None,
    *,
    input_dtype: str = "float32",
    level: float = 0.95,
    signatures: str = KERAS,
    defaults: Defaults = None,
    leverage_threshold: float | None = None,
    contributions: Contributions | None = None,
    verbose: bool = True,
) -> None:
    """Write a built linear model to a folder, as a SavedModel with a manifest beside it.

    Args:
        model: the model. Its schema gives the inputs of the signatures; its preprocessor becomes part of the graph.
        reader: a reader of the model, for this export alone.
        filepath: the folder. It is made, or replaced once all files are written.
        moments: the moments of the training data, or None if they are unknown.
        estimate: the estimate of the fit, or None if it has no intervals.
        input_dtype: the dtype of numbers in a request, `"float32"` or `"float64"`.
        level: the coverage of `predict_interval`.
        signatures: "keras", or "estimator" for the clients of `tf.estimator.LinearRegressor`.
        defaults: of the columns that an Example may lack.
        leverage_threshold: above it, a row extrapolates; None for 3 * rank / nobs.
        contributions: of the columns to predictions, or None if they are unknown.
        verbose: whether to print the inputs and outputs of the signatures.

    Raises:
        ValueError: `filepath` is no path or a file, a name is not Unicode, the preprocessor has not been adapted, or
            `defaults` are not those of columns.
    """
    folder = _check_folder(filepath)
    assert model.schema is not None  # a built model has one
    _check_names(model.schema.names + model.schema.feature_names)
    float32_model = Float32Model(model) if predictions_fit_float32(model, input_dtype, moments) else None
    if float32_model is not None:
        reader.dtype = "float32"
    inputs = ServedInputs(reader, model.schema, input_dtype)
    means = column_means(moments, model.preprocessor is not None)
    values = resolve(defaults, inputs.columns, inputs.named, means)
    warn_of_float32(model, moments, input_dtype)
    if estimate is not None and LEVEL in inputs.argument_names:
        warn_user(
            f"predict_interval_at is left out: its input {LEVEL!r} would collide with the column of that name. Rename "
            "the column to have this signature."
        )
    parser = ExampleParser(inputs.columns, inputs.named, values)
    written = prediction_signatures(float32_model or model, inputs, parser, model.units, signatures)
    intervals = None
    if estimate is not None:
        is_transposed = inputs.named and model.preprocessor is None
        threshold = manifest.default_threshold(estimate) if leverage_threshold is None else leverage_threshold
        intervals = Intervals(estimate, input_dtype, is_transposed, threshold, float32_model is not None)
        written |= interval_signatures(intervals, inputs, level)
    explanations = None
    if contributions is not None and moments is not None:
        predict = predictor(float32_model or model)
        deviations = means_and_deviations(moments)[1][: len(contributions.weights)]
        explanations = Explanations(contributions, predict, deviations, float32_model is not None)
        written |= explain_signature(explanations, inputs)
    build_preprocessor(model.preprocessor, inputs)
    with (
        replace_folder(folder, last=saved_model.FILE, obsolete=[manifest.EXTRA_FOLDER]) as unfinished,
        graph_names(model.preprocessor),
    ):
        _write_graph(
            unfinished,
            written,
            filter(
                None,
                (
                    model,
                    *model.graph_modules,
                    model.preprocessor,
                    inputs.categories,
                    intervals,
                    explanations,
                    float32_model,
                ),
            ),
        )
        column_names = {argument: name for name, argument in inputs.argument_names.items()}
        regress = [key for key, signature in written.items() if signature.is_regress]
        saved_model.restore_names(unfinished, column_names, regress)
        level_of_intervals = None if estimate is None else level
        description = manifest.describe(model, inputs, moments, estimate, level_of_intervals, leverage_threshold)
        groups = None if contributions is None else list(contributions.names)
        own = {"signatures": signatures, "defaults": to_json(values), "groups": groups}
        definitions = saved_model.signature_defs(unfinished)
        card.write(unfinished, model, {**description, **own}, definitions, moments, estimate, contributions)
        manifest.write(unfinished, {**description, **own})
    if verbose:
        print(f"Saved {folder}\n{_describe_signatures(folder, inputs, level, signatures)}")


def check_input_dtype(input_dtype: object) -> None:
    """Raise a ValueError unless a request can hold numbers in this dtype."""
    if not isinstance(input_dtype, str) or input_dtype not in INPUT_DTYPES:
        raise ValueError(f"`input_dtype` must be 'float32' or 'float64'. Received: input_dtype={input_dtype!r}.")


def _check_folder(filepath: object) -> str:
    """Return the path of the folder to write."""
    if not isinstance(filepath, str | os.PathLike) or not os.fspath(filepath):
        raise ValueError(f"`filepath` must be the path of the folder to write. Received: {filepath!r}.")
    folder = os.path.expanduser(os.fspath(filepath))
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"`filepath` must be a folder. Received: {folder}, which is a file.")
    return folder


def _check_names(names: Iterable[str]) -> None:
    """Refuse names that no graph can hold."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"Columns of a served model must have names that UTF-8 can hold: rename them. Received: {name!r}."
            ) from None


def _write_graph(folder: str, signatures: Mapping[str, Signature], resources: Iterable[Any]) -> None:
    """Write the graph of the signatures, and the variables of the resources (layers and modules) that they use."""
    archive = keras.export.ExportArchive()
    for resource in resources:
        archive.track(resource)
    for key, signature in signatures.items():
        # TensorFlow traces an endpoint anew when it saves it: this one only calls the graph that is there.
        graph = tf.function(signature.function, autograph=False).get_concrete_function(*signature.specs)
        archive.add_endpoint(key, functools.partial(_call, graph), signature.specs)
    archive.write_out(folder, verbose=False)


def _call(graph: Any, *inputs: Any) -> Any:
    return graph(*inputs)


def _describe_signatures(folder: str, inputs: ServedInputs, level: float, style: str) -> str:
    """Return a line for each signature: its inputs and outputs."""
    by_column = COLUMN_SIGNATURES[style][-1]
    definitions, lines = saved_model.signature_defs(folder), []
    for key in sorted(definitions, key=PRINTED.index):
        arguments, outputs = definitions[key].inputs, definitions[key].outputs
        # The columns in their own order; then the inputs that are none.
        names = sorted(arguments, key=[*inputs.argument_names, *arguments].index)
        listed = [f"{visible(name)}: {_describe_tensor(arguments[name])}" for name in names]
        if key.startswith("predict_interval"):
            listed = [f"as {by_column}", *listed[len(inputs.argument_names) :]]
            returned = f"{', '.join(KEYS)}: {_describe_tensor(outputs[KEYS[0]])}"
            returned += f", {EXTRAPOLATES}: {_describe_tensor(outputs[EXTRAPOLATES])}"
            returned += f", at level {level:g}" if key == "predict_interval" else ""
        else:
            listed = [f"as {by_column}"] if key == EXPLAIN else listed
            returned = ", ".join(f"{name}: {_describe_tensor(info)}" for name, info in sorted(outputs.items()))
        lines.append(f"  {key}({', '.join(listed)}) -> {returned}")
    return "\n".join(lines)


def _describe_tensor(info: Any) -> str:
    """Return the dtype and shape of a `TensorInfo`: "float32 [batch, 1]"."""
    sizes = ["batch" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
    return f"{tf.as_dtype(info.dtype).name} [{', '.join(sizes)}]"

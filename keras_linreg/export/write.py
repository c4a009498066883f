"""Write a SavedModel: every signature, all of it or none."""

import os

import keras
import tensorflow as tf

from keras_linreg.data import Reader, preprocessing
from keras_linreg.export import manifest, saved_model
from keras_linreg.export.intervals import Intervals
from keras_linreg.export.signatures import INPUT_DTYPES, LEVEL, Door, Single, check_preprocessor, endpoints, spread
from keras_linreg.inference.covariance import KEYS
from keras_linreg.inference.estimate import Estimate
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.files import replace_folder
from keras_linreg.utils.warnings import warn_user


def write(
    model,
    reader: Reader,
    filepath,
    moments: Moments | None = None,
    found: Estimate | None = None,
    *,
    input_dtype: str = "float32",
    level: float = 0.95,
    verbose: bool = True,
) -> None:
    """Write a built linear model to the folder `filepath` as a SavedModel.

    Args:
        model: the model; its schema says which columns the signatures take, its preprocessor is part of the graph.
        reader: of the model.
        filepath: the folder, made or overwritten once everything is ready.
        moments: what the model was fitted on, `None` where that is not known.
        found: the estimate, `None` where the fit has no intervals.
        input_dtype: in which numbers are taken, `"float32"` or `"float64"`.
        level: of the intervals of `predict_interval`.
        verbose: whether to print what the signatures take and return.
    """
    if not isinstance(filepath, str | os.PathLike) or not os.fspath(filepath):
        raise ValueError(f"`filepath` must be the path of the folder to write. Received: {filepath!r}.")
    filepath = os.path.expanduser(os.fspath(filepath))
    if os.path.exists(filepath) and not os.path.isdir(filepath):
        raise ValueError(f"`filepath` must be a folder. Received: {filepath}, which is a file.")
    single = Single(model) if Single.is_enough(model, input_dtype, moments) else None
    if single is not None:
        reader.dtype = "float32"  # of columns that are put together
    door = Door(reader, model.schema, input_dtype)
    _warn_of_coarse(model, moments, input_dtype)
    if found is not None and LEVEL in door.safe:
        warn_user(
            f"predict_interval_at is left out: its input {LEVEL!r} would collide with the column of that name. Rename "
            "the column to have it."
        )
    stacked = door.named and model.preprocessor is None
    intervals = None if found is None else Intervals(found, input_dtype, stacked, single is not None)
    check_preprocessor(model, door)
    with (
        replace_folder(filepath, saved_model.FILE, [manifest.EXTRA]) as staged,
        preprocessing.graph_names(model.preprocessor),
    ):
        archive = keras.export.ExportArchive()
        archive.track(model)
        if model.preprocessor is not None:
            archive.track(model.preprocessor)
        for part in filter(None, (intervals, single)):
            archive.track(part)
        for key, endpoint in endpoints(model, door, intervals, level, single).items():
            archive.add_endpoint(key, endpoint.function, endpoint.specs)
        archive.write_out(staged, verbose=False)
        saved_model.finish(staged, {safe: name for name, safe in door.safe.items()})
        manifest.write(staged, manifest.describe(model, door, moments, found, None if found is None else level))
    if verbose:
        print(f"Saved {filepath}\n{_described(filepath, tuple(door.safe), level)}")


def check_input_dtype(input_dtype) -> None:
    """Refuse what is no dtype of the door."""
    if not isinstance(input_dtype, str) or input_dtype not in INPUT_DTYPES:
        raise ValueError(f"`input_dtype` must be 'float32' or 'float64'. Received: input_dtype={input_dtype!r}.")


def _warn_of_coarse(model, moments: Moments | None, input_dtype: str) -> None:
    """Warn where float32 would spoil what the signatures take."""
    if model.preprocessor is not None:  # what it takes is not what the moments are of
        listed = "the columns that the preprocessor takes" * preprocessing.may_keep_float64(model.preprocessor)
    elif moments is None or moments.dtype != "float64":
        return
    else:
        names = moments.feature_names
        coarse = preprocessing.float32_spoils(*(values[: len(names)] for values in spread(moments)))
        listed = ", ".join(name for name, is_coarse in zip(names, coarse, strict=True) if is_coarse)
    if not listed:
        return
    if input_dtype == "float32":
        warn_user(
            f"The signatures take float32, in which the numbers of {listed} lie more than {preprocessing.COARSE:g} of "
            "their standard deviation apart: predictions would be off. Export with input_dtype='float64', or subtract "
            "a constant."
            if model.preprocessor is None
            else "The signatures take float32, and the preprocessor reckons in float64: digits that it needs may be "
            "lost, and predictions be off. Export with input_dtype='float64'."
        )
    else:
        warn_user(
            f"A tf.Example holds float32 alone, which spoils {listed}: predictions of `examples` and `regress` would "
            "be off, those of the other signatures are not."
        )


def _described(folder: str, columns: tuple[str, ...], level: float) -> str:
    """Return a line for each signature: what it takes and returns."""
    found = saved_model.signatures(folder)
    lines = []
    for key in ("serving_default", "predict_interval", "predict_interval_at", "examples", "regress"):
        if key not in found:
            continue
        takes, gives = found[key].inputs, found[key].outputs
        named = [f"{name}: {_shaped(takes[name])}" for name in (*columns, LEVEL, "examples", "inputs") if name in takes]
        if key.startswith("predict_interval"):
            named = ["as serving_default", *named[len(columns) :]]
            returned = f"{', '.join(KEYS)}: {_shaped(gives[KEYS[0]])}"
            returned += f", at level {level:g}" if key == "predict_interval" else ""
        else:
            returned = ", ".join(f"{name}: {_shaped(info)}" for name, info in gives.items())
        lines.append(f"  {key}({', '.join(named)}) -> {returned}")
    return "\n".join(lines)


def _shaped(info) -> str:
    sizes = ["batch" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
    return f"{tf.as_dtype(info.dtype).name} [{', '.join(sizes)}]"

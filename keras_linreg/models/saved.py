"""SavedLinear: how the layer under every linear model is saved, loaded and exported."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

import keras
from keras import ops

from keras_linreg import export
from keras_linreg.data import Schema, TablePreprocessor
from keras_linreg.inference.contributions import Contributions
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import Estimate
from keras_linreg.models.file_checks import check_schema, check_weights, explain_bad_file
from keras_linreg.models.layer import Linear
from keras_linreg.models.model_files import local_path, replace_export, replace_model
from keras_linreg.moments.moments import Moments
from keras_linreg.utils import keras_compat
from keras_linreg.utils.arguments import check_choice
from keras_linreg.utils.files import URL, path_text
from keras_linreg.utils.types import PathLike
from keras_linreg.utils.variable_names import build_optimizer

MOMENTS = "moments_"  # in a file of weights, the names of an exact model's moments begin with this


class SavedLinear(Linear):
    """The linear layer with its configuration, its files and its served graph.

    Abstract: a subclass says how it is fitted.
    """

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "feature_names": None if self._given_names is None else list(self._given_names),
            "preprocessor": keras.saving.serialize_keras_object(self._preprocessor),
            "missing": self.missing,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """Return a model with the arguments that `get_config` returned."""
        serialized = config.get("preprocessor")
        preprocessor = keras.saving.deserialize_keras_object(serialized, custom_objects=custom_objects)
        return cls(**{**config, "preprocessor": preprocessor})

    def get_build_config(self) -> dict[str, Any] | None:
        """Return the inputs that the model was built on, for its file; `None` before it is built."""
        if not self.built:
            return None
        return {
            "input_shape": [None, self._width],
            "schema": None if self._schema is None else self._schema.to_config(),
        }

    def build_from_config(self, config: Mapping[str, Any] | None) -> None:
        """Build the model on the inputs that `get_build_config` returned.

        Raises:
            ValueError: they do not fit each other, or the model's arguments.
        """
        if config:
            if config.get("schema"):
                schema = Schema.from_config(config["schema"])
                check_schema(schema, config["input_shape"][-1], self._given_names, self._preprocessor is not None)
                self.set_schema(schema)
            self.build(tuple(config["input_shape"]))
            if self.compiled:
                build_optimizer(self)  # so that saved weights find its variables

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as the saved model was; Keras does not do it for a class with its own `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            build_optimizer(self)

    def summary(self, *args: Any, print_fn: Callable[[str], object] | None = None, **kwargs: Any) -> None:
        """Print Keras's summary of the layer, and what a formula has learned; arguments as in `keras.Model.summary`."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        if isinstance(self._preprocessor, TablePreprocessor):
            self._preprocessor.summary(print if print_fn is None else print_fn)

    def save(self, filepath: PathLike, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Save the model, as `keras.Model.save` does, to a `.keras` file: there is the whole new file, or the old one.

        Raises:
            ValueError: the path does not end in `.keras`. HDF5 holds neither moments nor preprocessors.
            OSError: the file cannot be written.
        """
        text = path_text("filepath", filepath)
        check_choice("zipped", zipped, (None, True, False))
        if zipped is False and text.endswith(".keras"):
            raise ValueError(f"`filepath` of a folder (zipped=False) must not end in .keras. Received: {filepath}.")
        is_hdf5 = text.endswith((".h5", ".hdf5"))
        if is_hdf5 or (zipped is not False and not text.endswith(".keras") and not URL.match(text)):
            reason = ": an HDF5 file holds neither moments nor preprocessors" * is_hdf5
            raise ValueError(f"`filepath` must end in .keras{reason}. Received: {filepath}.")
        with replace_model(filepath, overwrite, zipped) as path:
            if path is not None:
                super().save(path, True, zipped, **kwargs)

    def save_weights(self, filepath: PathLike, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Save the weights, as `keras.Model.save_weights` does: there is the whole new file, or the old one.

        With `max_shard_size` Keras writes several files, one after the other.
        """
        text = path_text("filepath", filepath)
        if max_shard_size is not None or not (self.built and text.endswith(".weights.h5")) or URL.match(text):
            super().save_weights(filepath, overwrite, max_shard_size)
            return
        with replace_model(filepath, overwrite) as path:
            if path is not None:
                Path(path).write_bytes(keras_compat.weights_file(self))

    def load_own_variables(self, store: Any) -> None:
        """Set kernel and bias from a file of weights; moments in the file of an exact model are ignored.

        Raises:
            ValueError: the file holds other weights; the model's stay.
        """
        own = {key: store[key] for key in list(store.keys()) if not key.startswith(MOMENTS)}
        if keras_compat.is_package_class(type(self)):  # a subclass may have layers of its own, stored elsewhere
            check_weights(own, [(weight.name, tuple(weight.shape)) for weight in self.weights])
        super().load_own_variables(own)

    def load_weights(self, filepath: PathLike, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Set the weights from a file, as `keras.Model.load_weights` does.

        Raises:
            ValueError: the file is damaged, or holds other weights; the model's stay.
        """
        path = local_path(filepath)
        with explain_bad_file(path):
            super().load_weights(path, skip_mismatch, **kwargs)

    def quantize(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a kernel of few numbers gains nothing by fewer bits, and Keras cannot quantize it.

        An outer model that is quantized leaves this layer as it is, with a warning.
        """
        raise NotImplementedError(
            f"`quantize` must not be called on a {type(self).__name__}: its weights stay floats. Choose a `dtype` in "
            f"the constructor, such as 'bfloat16' for LinearRegression. Received: {self.name!r}."
        )

    # Serving

    def export(
        self,
        filepath: PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        input_dtype: str = "float32",
        level: float = 0.95,
        signatures: str = "keras",
        defaults: Mapping[str, Any] | str | None = None,
        leverage_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the model for serving, as one SavedModel (or in another format of `keras.Model.export`).

        Signatures, each of a batch of rows:

        - `serving_default`: what the model was trained on, `features` `[batch, p]` or one input `[batch]` a column, by
          its own name ("fixed acidity", "größe") -> `predictions`, float32 `[batch, units]`.
        - `serve`: the same -> one tensor, as every exported Keras model has it.
        - `examples`: serialized `tf.Example`s of the columns, or of `features` -> `predictions`.
        - `regress`, of one unit: the same as `inputs` -> `outputs`, float32 `[batch]`; for the Regress call.
        - `predict_interval`, of an exact fit: as `serving_default` -> `mean`, `mean_se`, `mean_ci_lower`,
          `mean_ci_upper`, `obs_ci_lower`, `obs_ci_upper`, `leverage`, as `ExactLinearRegression.predict_interval`
          returns them, in float32; and `extrapolates`, bool `[batch]`: the row lies far from what the model has seen,
          for its leverage is above `leverage_threshold` (or unknown).
        - `predict_interval_at`: the same with a `level`, float64 `[batch]`. A level outside of [0, 1] has limits of
          NaN.

        - `explain`, of a model with moments: as `serving_default` -> `contributions` `[batch, groups]`, `baseline`
          `[batch]`, `predictions` `[batch, 1]`, and, of an exact fit, `contribution_se` `[batch, groups]`; as `explain`
          returns them. The manifest has the names of the groups. Of several units each but `predictions`, which is
          `[batch, units]`, has them as a last axis.

        Columns are strings or integers if the preprocessor takes them so; a category that it would refuse answers NaN.
        Beside the graph, `keras_linreg.json` lists the inputs, the training data and hashes of the files, and
        `card.html` is a page for people: the report, pictures, requests to copy, limits.

        Args:
            filepath: the folder to write; its old content is replaced once everything is written.
            format: `"tf_saved_model"`; or another format of Keras (`"onnx"`, `"openvino"`, `"litert"`), written by
                Keras: its one input is the design, without the preprocessor, and its output the predictions.
            verbose: whether to print the signatures (default: yes).
            input_signature: for Keras's other formats only.
            input_dtype: the dtype of numbers in requests, `"float32"` or `"float64"`; in a `tf.Example` always float32.
            level: the coverage of `predict_interval`, between 0 and 1.
            signatures: `"keras"`; or `"estimator"`, for clients of `tf.estimator.LinearRegressor`: `serving_default`
                and `regression` (of one unit) are then called by Regress, with Examples under `inputs`, and `predict`
                takes Examples under `examples`. The others stay; columns go to `serve`.
            defaults: values by column for Examples that lack it, such as `{"age": 0.0, "city": "Rome"}`; or `"mean"`,
                the means of the data of an exact fit without a preprocessor. Without a default, such an Example is
                refused. NaN as default answers NaN.
            leverage_threshold: of `extrapolates`; by default 3 * rank / nobs, three times the average leverage of the
                data of the fit.
            **kwargs: for Keras's other formats only.

        Raises:
            ValueError: the model has not been built, or an argument is none of those above.

        Warns:
            UserWarning: the model was fitted exactly on float64 columns whose digits float32 would lose.
        """
        if not self.built or self._schema is None:
            raise ValueError(
                "The model must have seen its inputs before it is exported: call `fit` or `predict` on some data "
                f"first. Received: {self.name!r}, which has seen none."
            )
        export.check_input_dtype(input_dtype)
        export.check_style(signatures)
        if leverage_threshold is not None:
            export.check_threshold(leverage_threshold)
        if verbose is not None:
            check_choice("verbose", verbose, (True, False))
        level = check_level(level)
        if format != "tf_saved_model":
            if (input_dtype, level) != ("float32", 0.95):
                raise ValueError(
                    "`input_dtype` and `level` apply to format='tf_saved_model' alone. "
                    f"Received: input_dtype={input_dtype!r}, level={level}, format={format!r}."
                )
            if (signatures, defaults, leverage_threshold) != ("keras", None, None):
                raise ValueError(
                    "`signatures`, `defaults` and `leverage_threshold` apply to format='tf_saved_model' alone. "
                    f"Received: signatures={signatures!r}, defaults={defaults!r}, "
                    f"leverage_threshold={leverage_threshold!r}, format={format!r}."
                )
            self(ops.zeros((1, self._width), self.compute_dtype))  # Keras wants to have seen a call
            with replace_export(filepath, format) as path:
                super().export(path, format, False, input_signature, **kwargs)
            if verbose is not False:
                print(f"Saved {filepath}")
            return
        if input_signature is not None or kwargs:
            raise ValueError(
                "`input_signature` and further arguments do not apply to format='tf_saved_model': the signature is "
                f"made of the columns the model was trained on. Received: input_signature={input_signature}, {kwargs}."
            )
        options: dict[str, Any] = {
            "input_dtype": input_dtype,
            "level": level,
            "contributions": self._contributions(),
            "signatures": signatures,
            "defaults": defaults,
            "leverage_threshold": None if leverage_threshold is None else float(leverage_threshold),
            "verbose": verbose is None or bool(verbose),
        }
        export.write_saved_model(self, self._reader(), filepath, *self._moments_and_estimate(), **options)

    def _contributions(self) -> Contributions | None:
        """Return what columns contribute to predictions, or None if the means of the data are unknown."""
        return None

    def _moments_and_estimate(self) -> tuple[Moments | None, Estimate | None]:
        """Return the moments of the fit and its estimate, each `None` if it is not known."""
        return None, None

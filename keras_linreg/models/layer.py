"""Linear: the layer under every linear model, with its names, its preprocessor, its files and its export."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_linreg import export
from keras_linreg.data import Prepared, Reader, Schema, checked_names, preprocessing
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import Estimate
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import Data, PathLike

MOMENTS = "moments_"  # in a file of weights, the names of an exact model's moments begin with this


class Linear(keras.Model):
    """The layer x @ kernel + bias: its weights, its names, its preprocessor, how it is saved and exported.

    Abstract: a subclass says how it is fitted.
    """

    trained_by_gradients = True  # whether an optimizer, an outer model's too, moves the weights
    array_dtype: str | None = None  # the dtype of matrices made of columns; None: floatx

    def __init__(
        self,
        units: int = 1,
        use_bias: bool = True,
        kernel_initializer: Any = "zeros",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        feature_names: Sequence[str] | None = None,
        preprocessor: keras.Layer | None = None,
        **kwargs: Any,
    ):
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
            raise ValueError(f"`units` must be a positive integer. Received: units={units!r}.")
        preprocessing.check(preprocessor)
        super().__init__(**kwargs)
        self.units = int(units)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        # Keras would track, and train, a layer that is set as an attribute; and it would wrap a list.
        self._set_untracked("_preprocessor", preprocessor)
        self._set_untracked("_given_names", checked_names(feature_names))
        self._set_untracked("_schema", None)
        self.bias = None
        self.supports_masking = True

    def _set_untracked(self, name: str, value: Any) -> None:
        """Set an attribute that Keras does not take for state of the layer."""
        object.__setattr__(self, name, value)

    @property
    def preprocessor(self) -> keras.Layer | None:
        """The FeatureSpace, layer or model from the user's columns to the design, or `None`."""
        return self._preprocessor

    @property
    def feature_names(self) -> list[str] | None:
        """The names of the design's columns, in the kernel's order: a list, `None` before the model is built."""
        return None if self._schema is None else list(self._schema.feature_names)

    @property
    def schema(self) -> Schema | None:
        """The inputs that the model was built on (`keras_linreg.data.Schema`), `None` before it is built."""
        return self._schema

    def set_schema(self, schema: Schema | None) -> None:
        """Set the inputs that the model takes; `None` to learn them from the next data."""
        self._set_untracked("_schema", schema)

    # The layer

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create kernel and bias for inputs of shape `(batch, features)`, or `(batch,)` for one feature."""
        width = 1 if len(input_shape) == 1 else input_shape[-1]
        if width is None:
            raise ValueError(f"The number of columns of `x` must be known. Received: shape {tuple(input_shape)}.")
        if self._schema is None:
            if self._given_names and len(self._given_names) != width:
                raise ValueError(
                    f"`feature_names` must name each of the {width} columns of the design. "
                    f"Received: {list(self._given_names)}."
                )
            self.set_schema(Schema.of_matrix(width, self._given_names))
        self._set_untracked("_width", width)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(width, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            trainable=self.trained_by_gradients,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                trainable=self.trained_by_gradients,
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if len(inputs.shape) == 1:
            inputs = ops.expand_dims(inputs, -1)
        if inputs.shape[-1] not in (None, self.kernel.shape[0]):
            raise ValueError(
                f"`x` must have the {self.kernel.shape[0]} columns that {self.name!r} was built on. "
                f"Received: shape {tuple(inputs.shape)}."
            )
        return self._predictions(inputs)

    def _predictions(self, inputs: Any) -> Any:
        """Return `inputs @ kernel + bias` of inputs `(..., features)`."""
        y_pred = ops.matmul(inputs, self.kernel)
        return y_pred if self.bias is None else ops.add(y_pred, self.bias)

    @property
    def graph_modules(self) -> tuple[tf.Module, ...]:
        """The modules, beside Keras's own weights, that predictions read."""
        return ()

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the predictions for inputs of `input_shape`."""
        return (*(input_shape if len(input_shape) == 1 else input_shape[:-1]), self.units)

    # The user's data

    def _reader(self, fitting: bool = False) -> Reader:
        # A model of nameless columns learns their names from the data of each fit, even if it is built.
        known = None if fitting and self._is_nameless else self._schema
        return Reader(
            self.units, self.array_dtype or keras.config.floatx(), self._given_names, self._preprocessor, known
        )

    @property
    def _is_nameless(self) -> bool:
        """Whether the model knows no names but x0, x1, ..."""
        return not (self._schema is None or self._schema.named or self._given_names or self._preprocessor)

    def _prepare(self, x: Data, y: Data = None, sample_weight: Data = None, targets: bool = True) -> Prepared:
        """Return data ready for Keras; the model is built on them if it is not built yet."""
        reader = self._reader()
        data = reader.prepare(x, y, sample_weight, targets)
        self.adopt_schema(reader.schema)
        return data

    def adopt_matrix(self, width: int) -> None:
        """Build the model on matrices of so many columns, under the names that the user gave."""
        self.adopt_schema(Schema.of_matrix(width, self._given_names))

    def adopt_schema(self, schema: Schema | None) -> None:
        """Build the model on the inputs that a reader learned, or take over their names if it is built.

        Raises:
            ValueError: the model was built on another number of columns.
        """
        if schema is None:
            return
        if self.built:
            width = len(schema.feature_names)
            if width != self._width:
                raise ValueError(
                    f"`x` must have the {self._width} columns that the model was built on. Received: {width} columns."
                )
            self.set_schema(schema)
        else:
            self.set_schema(schema)
            with self.distribute_strategy.scope():
                self.build((None, len(schema.feature_names)))

    # Saving

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
        """Build the model on the inputs that `get_build_config` returned."""
        if config:
            if config.get("schema"):
                self.set_schema(Schema.from_config(config["schema"]))
            self.build(tuple(config["input_shape"]))
            if self.compiled and self.optimizer is not None:
                self.optimizer.build(self.trainable_variables)  # so that saved weights find its variables

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as the saved model was; Keras does not do it for a class with its own `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def save(self, filepath: PathLike, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Save the model, as `keras.Model.save` does, to a `.keras` file.

        Raises:
            ValueError: the path ends in `.h5` or `.hdf5`: HDF5 holds neither moments nor preprocessors.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "`filepath` must end in .keras: an HDF5 file holds neither moments nor preprocessors. "
                f"Received: {filepath}."
            )
        return super().save(filepath, overwrite, zipped, **kwargs)

    def load_own_variables(self, store: Any) -> None:
        """Set kernel and bias from a file of weights; moments in the file of an exact model are ignored."""
        own = [key for key in list(store.keys()) if not key.startswith(MOMENTS)]
        super().load_own_variables({key: store[key] for key in own})

    # Serving

    def export(
        self,
        filepath: PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        input_dtype: str = "float32",
        level: float = 0.95,
        **kwargs: Any,
    ) -> None:
        """Write the model for serving, as one SavedModel (or in another format of `keras.Model.export`).

        Signatures, each of a batch of rows:

        - `serving_default`: what the model was trained on, `features` `[batch, p]` or one input `[batch]` a column, by
          its own name ("fixed acidity", "größe") -> `predictions`, float32 `[batch, units]`.
        - `examples`: serialized `tf.Example`s of the columns, or of `features` -> `predictions`.
        - `regress`, of one unit: the same as `inputs` -> `outputs`, float32 `[batch]`; for the Regress call.
        - `predict_interval`, of an exact fit: as `serving_default` -> `mean`, `mean_se`, `mean_ci_lower`,
          `mean_ci_upper`, `obs_ci_lower`, `obs_ci_upper`, `leverage`, as `ExactLinearRegression.predict_interval`
          returns them, in float32. A leverage above 3 * rank / nobs, or above the largest of the training data, says
          that a row lies far from what the model has seen.
        - `predict_interval_at`: the same with a `level`, float64 `[batch]`.

        Columns are strings or integers if the preprocessor takes them so. Beside the graph, `keras_linreg.json` lists
        the inputs, the training data and a hash of the files.

        Args:
            filepath: the folder to write; its old content is replaced once everything is written.
            format: `"tf_saved_model"`; or another format of Keras (`"onnx"`, `"openvino"`, `"litert"`), written by
                Keras: its one input is the design, without the preprocessor, and its output the predictions.
            verbose: whether to print the signatures (default: yes).
            input_signature: for Keras's other formats only.
            input_dtype: the dtype of numbers in requests, `"float32"` or `"float64"`; in a `tf.Example` always float32.
            level: the coverage of `predict_interval`, between 0 and 1.
            **kwargs: for Keras's other formats only.

        Raises:
            ValueError: the model has not been built.

        Warns:
            UserWarning: the model was fitted exactly on float64 columns whose digits float32 would lose.
        """
        if not self.built or self._schema is None:
            raise ValueError(
                "The model must have seen its inputs before it is exported: call `fit` or `predict` on some data "
                f"first. Received: {self.name!r}, which has seen none."
            )
        export.check_input_dtype(input_dtype)
        level = check_level(level)
        if format != "tf_saved_model":
            if (input_dtype, level) != ("float32", 0.95):
                raise ValueError(
                    "`input_dtype` and `level` apply to format='tf_saved_model' alone. "
                    f"Received: input_dtype={input_dtype!r}, level={level}, format={format!r}."
                )
            self(ops.zeros((1, self._width), self.compute_dtype))  # Keras wants to have seen a call
            return super().export(filepath, format, verbose, input_signature, **kwargs)
        if input_signature is not None or kwargs:
            raise ValueError(
                "`input_signature` and further arguments do not apply to format='tf_saved_model': the signature is "
                f"made of the columns the model was trained on. Received: input_signature={input_signature}, {kwargs}."
            )
        options: dict[str, Any] = {
            "input_dtype": input_dtype,
            "level": level,
            "verbose": verbose is None or bool(verbose),
        }
        export.write_saved_model(self, self._reader(), filepath, *self._moments_and_estimate(), **options)

    def _moments_and_estimate(self) -> tuple[Moments | None, Estimate | None]:
        """Return the moments of the fit and its estimate, each `None` if it is not known."""
        return None, None

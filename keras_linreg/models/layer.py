"""Linear: what a linear model is, before anybody trains it."""

import keras
import numpy as np
from keras import ops

from keras_linreg import export
from keras_linreg.data import Reader, Schema, checked_names, preprocessing
from keras_linreg.inference.covariance import check_level

MOMENTS = "moments_"  # begins the names of what a file of weights holds of an exact model's moments


class Linear(keras.Model):
    """The layer x @ kernel + bias: its weights, its names, its preprocessor, how it is saved and exported.

    Abstract: a subclass says how it is fitted.
    """

    trained_by_gradients = True  # whether an optimizer, an outer model's too, is to move the weights
    array_dtype: str | None = None  # in which columns are put together; `None`: in floatx

    def __init__(
        self,
        units=1,
        use_bias=True,
        kernel_initializer="zeros",
        bias_initializer="zeros",
        kernel_regularizer=None,
        feature_names=None,
        preprocessor=None,
        **kwargs,
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
        # Keras would track a layer that is set the plain way, and train it; and wrap a list.
        self._keep("_preprocessor", preprocessor)
        self._keep("_given_names", checked_names(feature_names))
        self._keep("_schema", None)
        self.bias = None
        self.supports_masking = True

    def _keep(self, name, value):
        """Set an attribute that is no state of the layer."""
        object.__setattr__(self, name, value)

    @property
    def preprocessor(self):
        """The FeatureSpace, layer or model from the user's columns to the design, or `None`."""
        return self._preprocessor

    @property
    def feature_names(self):
        """The names of the design's columns, in the kernel's order: a list, `None` before the model is built."""
        return None if self._schema is None else list(self._schema.feature_names)

    @property
    def schema(self):
        """The inputs that the model was built on (`keras_linreg.data.Schema`), `None` before it is built."""
        return self._schema

    # The layer

    def build(self, input_shape):
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
            self._keep("_schema", Schema.of_matrix(width, self._given_names))
        self._keep("_width", width)
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

    def call(self, inputs):
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if len(inputs.shape) == 1:
            inputs = ops.expand_dims(inputs, -1)
        if inputs.shape[-1] not in (None, self.kernel.shape[0]):
            raise ValueError(
                f"`x` must have the {self.kernel.shape[0]} columns that {self.name!r} was built on. "
                f"Received: shape {tuple(inputs.shape)}."
            )
        y_pred = ops.matmul(inputs, self.kernel)
        return y_pred if self.bias is None else ops.add(y_pred, self.bias)

    def compute_output_shape(self, input_shape):
        """Return the shape of the predictions for inputs of `input_shape`."""
        return (*(input_shape if len(input_shape) == 1 else input_shape[:-1]), self.units)

    # The user's data

    def _reader(self, fitting: bool = False) -> Reader:
        # A model of nameless columns learns their names from the data that it is fitted on, built already or not.
        known = None if fitting and self._is_nameless else self._schema
        return Reader(
            self.units, self.array_dtype or keras.config.floatx(), self._given_names, self._preprocessor, known
        )

    @property
    def _is_nameless(self) -> bool:
        return not (self._schema is None or self._schema.named or self._given_names or self._preprocessor)

    def _prepare(self, x, y=None, sample_weight=None, targets=True):
        reader = self._reader()
        data = reader.prepare(x, y, sample_weight, targets)
        self._adopt(reader.schema)
        return data

    def _adopt(self, schema):
        """Build the model on what was learned of the data, or take over the names if it is built."""
        if schema is None:
            return
        if self.built:
            width = len(schema.feature_names)
            if width != self._width:
                raise ValueError(
                    f"`x` must have the {self._width} columns that the model was built on. Received: {width} columns."
                )
            self._keep("_schema", schema)
        else:
            self._keep("_schema", schema)
            with self.distribute_strategy.scope():
                self.build((None, len(schema.feature_names)))

    # Saving

    def get_config(self):
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
    def from_config(cls, config, custom_objects=None):
        """Return a model with the arguments that `get_config` returned."""
        given = config.get("preprocessor")
        preprocessor = keras.saving.deserialize_keras_object(given, custom_objects=custom_objects)
        return cls(**{**config, "preprocessor": preprocessor})

    def get_build_config(self):
        """Return what the model learned of its inputs when it was built."""
        if not self.built:
            return None
        return {
            "input_shape": [None, self._width],
            "schema": None if self._schema is None else self._schema.to_config(),
        }

    def build_from_config(self, config):
        """Build the model on the inputs that `get_build_config` returned."""
        if config:
            if config.get("schema"):
                self._keep("_schema", Schema.from_config(config["schema"]))
            self.build(tuple(config["input_shape"]))
            if self.compiled and self.optimizer is not None:
                self.optimizer.build(self.trainable_variables)  # so that saved weights find its variables

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Save the model, as `keras.Model.save` does, to a `.keras` file.

        Raises:
            ValueError: the path is of HDF5, which holds neither moments nor preprocessors.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "`filepath` must end in .keras: an HDF5 file holds neither moments nor preprocessors. "
                f"Received: {filepath}."
            )
        return super().save(filepath, overwrite, zipped, **kwargs)

    def load_own_variables(self, store):
        """Set kernel and bias; what an exact model's file holds besides is passed over."""
        own = [key for key in list(store.keys()) if not key.startswith(MOMENTS)]
        super().load_own_variables({key: store[key] for key in own})

    # Serving

    def export(
        self,
        filepath,
        format="tf_saved_model",
        verbose=None,
        input_signature=None,
        input_dtype="float32",
        level=0.95,
        **kwargs,
    ):
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

        Columns are strings or integers where the preprocessor takes such. Beside the graph, `keras_linreg.json` says
        what the model takes, what it was trained on, and a hash of its files.

        Args:
            filepath: the folder to write; what it held is replaced once everything is written.
            format: `"tf_saved_model"`, or one of Keras's others (`"onnx"`, `"openvino"`, `"litert"`), which go their
                own way: one input, the design (without the preprocessor), and predictions.
            verbose: whether to print what the signatures take (default: yes).
            input_signature: for Keras's other formats only.
            input_dtype: in which numbers are taken, `"float32"` or `"float64"`; `tf.Example` holds float32 alone.
            level: the coverage of `predict_interval`, between 0 and 1.
            **kwargs: for Keras's other formats only.

        Raises:
            ValueError: when the model has not been built.

        Warns:
            UserWarning: an exact fit was of float64 columns that float32 would spoil.
        """
        if not self.built or self._schema is None:
            raise ValueError(
                "The model must have seen its inputs before it is exported: call `fit` or `predict` on some data "
                f"first. Received: {self.name!r}, which has not."
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
        options = {"input_dtype": input_dtype, "level": level, "verbose": verbose is None or bool(verbose)}
        export.write(self, self._reader(), filepath, *self._what_it_learned(), **options)

    def _what_it_learned(self) -> tuple:
        """Return moments and estimate, each of them `None` where it is not known."""
        return None, None

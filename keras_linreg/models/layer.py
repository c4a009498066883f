"""Linear: the layer under every linear model, with its names and its preprocessor."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_linreg.data import Prepared, Reader, Schema, check_rule, checked_names, intercept_of, preprocessing
from keras_linreg.moments.checks import check_name_of_bias
from keras_linreg.utils import keras_compat
from keras_linreg.utils.arguments import check_count, check_flag
from keras_linreg.utils.types import Data

SCOPE = "linear/"  # the slash makes it the whole scope
FLOATS = ("float32", "float64", "bfloat16", "float16")


class Linear(keras.Model):
    """The layer x @ kernel + bias: its weights, its names, its preprocessor.

    Abstract: a subclass says how it is fitted.
    """

    trained_by_gradients = True  # whether an optimizer, an outer model's too, moves the weights
    array_dtype: str | None = None  # the dtype of matrices made of columns; None: floatx

    def __init__(
        self,
        units: int = 1,
        use_bias: bool | None = None,
        kernel_initializer: Any = "zeros",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        feature_names: Sequence[str] | None = None,
        preprocessor: keras.Layer | None = None,
        missing: str = "error",
        **kwargs: Any,
    ):
        check_count("units", units, optional=False)
        has_bias = None if use_bias is None else check_flag("use_bias", use_bias)
        check_flag("trainable", kwargs.get("trainable", True))
        check_dtype(kwargs.get("dtype"))
        preprocessing.check(preprocessor)
        check_rule(missing)
        super().__init__(**kwargs)
        self.units = int(units)
        self.use_bias = intercept_of(preprocessor, has_bias)
        self.missing = missing
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
        # TensorFlow keeps a kernel for each name of a variable, for ever: all models share this scope. Paths stay.
        with tf.name_scope(SCOPE):
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

    def unbuild(self) -> None:
        """Delete kernel and bias, so that the next data build the model anew."""
        keras_compat.delete_variable(self, "kernel")
        if self.use_bias:
            keras_compat.delete_variable(self, "bias")
            self.bias = None
        keras_compat.unbuild(self)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the layer's output for a matrix; columns with names, or of strings, are for `predict`.

        Raises:
            ValueError: `inputs` is no matrix of numbers.
        """
        if is_matrix(inputs):
            return super().__call__(inputs, *args, **kwargs)
        preprocessor = "" if self._preprocessor is None else ", and without the preprocessor"
        received = type(inputs).__name__ + " of strings" * is_text(inputs)
        raise ValueError(
            "`inputs` must be a matrix of numbers, the design: a call is the layer `inputs @ kernel + bias`, without "
            f"the names of columns{preprocessor}. Use `predict`, which takes them all. Received: {received}."
        )

    def call(self, inputs: Any) -> Any:
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if len(inputs.shape) == 1:
            inputs = ops.expand_dims(inputs, -1)
        if inputs.shape[-1] not in (None, self.kernel.shape[0]):
            raise ValueError(
                f"`x` must have the {self.kernel.shape[0]} columns that {self.name!r} was built on. "
                f"Received: shape {tuple(inputs.shape)}."
            )
        return self._linear(inputs)

    def _linear(self, inputs: Any) -> Any:
        """Return `inputs @ kernel + bias` of inputs `(..., features)`."""
        y_pred = ops.matmul(inputs, self.kernel)
        return y_pred if self.bias is None else ops.add(y_pred, self.bias)

    @property
    def graph_modules(self) -> tuple[tf.Module, ...]:
        """The modules, beside Keras's own weights, that predictions read."""
        return ()

    @property
    def is_plain_float32(self) -> bool:
        """Whether predictions are `inputs @ kernel + bias` computed in float32, and nothing else."""
        return self.compute_dtype == self.variable_dtype == "float32"

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the predictions for inputs of `input_shape`."""
        return (*(input_shape if len(input_shape) == 1 else input_shape[:-1]), self.units)

    # The user's data

    def _reader(self, fitting: bool = False) -> Reader:
        # A model of nameless columns learns their names from the data of each fit, even if it is built.
        known = None if fitting and self._is_nameless else self._schema
        return Reader(
            self.units,
            self.array_dtype or keras.config.floatx(),
            self._given_names,
            self._preprocessor,
            known,
            self.missing,
            drops_in_graph=self.trained_by_gradients or not fitting,
        )

    @property
    def _is_nameless(self) -> bool:
        """Whether the model knows no names but x0, x1, ..."""
        return not (self._schema is None or self._schema.named or self._given_names or self._preprocessor)

    def _prepare(
        self,
        x: Data,
        y: Data = None,
        sample_weight: Data = None,
        targets: bool = True,
        steps: int | None = None,
    ) -> Prepared:
        """Return data ready for Keras; the model is built on them if it is not built yet."""
        reader = self._reader()
        data = reader.prepare(x, y, sample_weight, targets, steps=steps)
        self.adopt_schema(reader.schema)
        return data

    def adopt_matrix(self, width: int) -> None:
        """Build the model on matrices of so many columns, under the names that the user gave."""
        self.adopt_schema(Schema.of_matrix(width, self._given_names))

    def adopt_schema(self, schema: Schema | None) -> None:
        """Build the model on the inputs that a reader learned, or take over their names if it is built.

        Raises:
            ValueError: the model was built on another number of columns; or a column has the name of the bias, or
                another column's.
        """
        if schema is None:
            return
        if self._schema is None or schema.feature_names != self._schema.feature_names:
            check_name_of_bias(schema.feature_names, self.use_bias)
            self._check_names(schema.feature_names)
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

    def _check_names(self, feature_names: Sequence[str]) -> None:
        """Refuse names of the design that the model cannot work with."""


def is_matrix(inputs: Any) -> bool:
    """Return whether the layer can take its inputs as they are: not by name, several, or strings."""
    has_names = isinstance(inputs, Mapping) or hasattr(inputs, "columns")
    return not (has_names or isinstance(inputs, list | tuple) or is_text(inputs))


def is_text(inputs: Any) -> bool:
    """Return whether inputs are an array or tensor of strings, or of other objects."""
    dtype = getattr(inputs, "dtype", None)
    return getattr(dtype, "kind", "") in ("O", "U", "S") or str(getattr(dtype, "name", dtype)) == "string"


def check_dtype(dtype: Any) -> None:
    """Refuse a dtype, or a dtype policy, of other numbers than floats.

    Raises:
        ValueError: it is none of floats.
    """
    if dtype is None:
        return
    rule = "`dtype` must be 'float32', 'float64', 'bfloat16', 'float16', or a policy that mixes these"
    try:
        policy = keras.dtype_policies.get(dtype)
        names = {policy.compute_dtype, policy.variable_dtype}
    except (TypeError, ValueError, AttributeError):
        raise ValueError(f"{rule}. Received: dtype={dtype!r}.") from None
    if not names <= set(FLOATS) or policy.quantization_mode is not None:
        raise ValueError(f"{rule}. Received: dtype={dtype!r}.")

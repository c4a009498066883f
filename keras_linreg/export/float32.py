"""Whether float32 suffices for a served model, and whether it would spoil the numbers of a request."""

import numpy as np
import tensorflow as tf

from keras_linreg.data import preprocessing
from keras_linreg.export.model_interface import ServableModel
from keras_linreg.export.training_data import means_and_deviations
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.keras_compat import is_package_method
from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Array
from keras_linreg.utils.warnings import warn_user

MAX_ERROR_GROWTH = 8.0  # a rounding error may grow by this factor, and float32 still suffices
SMALLEST, LARGEST = 1e-30, 1e30
LARGEST_CONSTANT = 2**14  # numbers


class Float32Model(tf.Module):
    """A float32 copy of a model's weights, and its predictions.

    Args:
        model: a model whose predictions fit float32 (`predictions_fit_float32`).
    """

    def __init__(self, model: ServableModel):
        super().__init__()
        bias = np.zeros(model.units) if model.bias is None else model.bias.numpy()
        self._fuses = not model.is_plain_float32
        self._kernel = stored(model.kernel.numpy().astype(np.float32))
        self._bias = stored(bias.astype(np.float32))

    def __call__(self, design: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return `design @ kernel + bias`, float32 `(n, units)`."""
        product = tf.matmul(tf.cast(design, tf.float32), self._kernel)
        # TensorFlow fuses a product and `bias_add`: faster for a row, slower for a thousand.
        return tf.nn.bias_add(product, self._bias) if self._fuses else product + self._bias


def stored(numbers: Array) -> tf.Tensor | tf.Variable:
    """Return numbers as a graph keeps them: to read a constant takes no operation, but each signature has a copy."""
    return tf.constant(numbers) if numbers.size <= LARGEST_CONSTANT else tf.Variable(numbers)


def predictions_fit_float32(model: ServableModel, input_dtype: str, moments: Moments | None) -> bool:
    """Return whether predictions computed in float32 are nearly as exact as float32 can hold them.

    The rounding error of `bias + sum(x * kernel)` is in proportion to the terms, the spacing of float32 around the
    answer in proportion to the answer. Over the training data both are known from the moments:

    ```python
    abs(bias) + sum(root_mean_square(x) * abs(kernel)) <= 8 * root_mean_square(y_pred)
    ```

    A model that predicts in float32 itself does so here.

    Args:
        model: the model.
        input_dtype: the dtype of numbers in a request.
        moments: the moments of the training data, or None if they are unknown.
    """
    if not is_package_method(model, "call"):
        return False
    if model.is_plain_float32:
        return True
    if moments is None or model.preprocessor is not None or input_dtype != "float32":
        return False
    means, deviations = (part[: len(moments.feature_names)] for part in means_and_deviations(moments))
    kernel = model.kernel.numpy()
    bias = np.zeros(model.units) if model.bias is None else model.bias.numpy()
    terms = np.abs(bias) + np.hypot(means, deviations) @ np.abs(kernel)
    explained = as_doubledouble(moments.statistics.factor).hi[: len(kernel), : len(kernel)] @ kernel
    deviation = np.linalg.norm(explained, axis=0) / np.sqrt(float(moments.statistics.weight.hi))
    answer = np.hypot(means @ kernel + bias, deviation)
    return bool((terms <= MAX_ERROR_GROWTH * answer).all()) and is_within_float32(kernel, bias, means, deviations)


def is_within_float32(*parts: Array) -> bool:
    """Return whether numbers, and products of two of them, neither overflow nor vanish in float32."""
    sizes = np.concatenate([np.abs(np.ravel(part)) for part in parts])
    sizes = sizes[sizes > 0]
    return bool(((sizes > SMALLEST) & (sizes < LARGEST)).all())


def warn_of_float32(model: ServableModel, moments: Moments | None, input_dtype: str) -> None:
    """Warn if a request in float32 would spoil columns: two numbers of them lie too close together.

    Args:
        model: the model.
        moments: the moments of the training data, or None if they are unknown.
        input_dtype: the dtype of numbers in a request; a `tf.Example` holds float32 in any case.
    """
    if model.preprocessor is not None:  # the moments describe its output, not its input
        spoiled = "the columns that the preprocessor takes" * preprocessing.may_keep_float64(model.preprocessor)
    elif moments is None or moments.dtype != "float64":
        return
    else:
        names = moments.feature_names
        means, deviations = (values[: len(names)] for values in means_and_deviations(moments))
        mask = preprocessing.float32_spoils(means, deviations)
        spoiled = ", ".join(visible(name) for name, is_spoiled in zip(names, mask, strict=True) if is_spoiled)
    if not spoiled:
        return
    if input_dtype != "float32":
        warn_user(
            f"A tf.Example holds float32 alone, which spoils {spoiled}: the predictions of `examples` and `regress` "
            "will be off. The other signatures are exact."
        )
    elif model.preprocessor is not None:
        warn_user(
            "The signatures take float32, and the preprocessor computes in float64: it may lose digits that it needs, "
            "and predictions may be off. Export with input_dtype='float64'."
        )
    else:
        warn_user(
            f"The signatures take float32, in which the numbers of {spoiled} lie more than {preprocessing.COARSE:g} of "
            "their standard deviation apart: predictions will be off. Export with input_dtype='float64', or subtract a "
            "constant from these columns."
        )

"""LinearRegression: x @ kernel + bias, trained by gradient descent on a tape."""

import warnings
from typing import Any, NoReturn

import keras
import tensorflow as tf

from keras_linreg.models.trained import TrainedModel
from keras_linreg.utils.types import Batch


@keras.saving.register_keras_serializable(package="keras_linreg")
class LinearRegression(TrainedModel):
    """Linear regression as a Keras model, trained by gradient descent.

    ```python
    y_pred = x @ kernel + bias
    loss = mean(square(y - y_pred))
    kernel -= learning_rate * d(loss)/d(kernel)
    ```

    It takes NumPy arrays, tensors, sparse tensors and matrices, frames, dicts of named columns, `tf.data` datasets,
    `PyDataset`s and generators; `x` of shape `(n,)` is one feature. Columns with names are matched by name. Inside
    another model, and called as `model(x)`, it is the layer `x @ kernel + bias`, without the preprocessor.

    Args:
        units: positive int, the number of outputs.
        use_bias: whether to fit an intercept; `None`: yes, unless the preprocessor is a formula without one.
        kernel_initializer, bias_initializer: the initial weights, as in `keras.layers.Dense`.
        kernel_regularizer: a Keras regularizer of the kernel; the bias is never penalised.
        feature_names: a name for each column of the design; `None` takes them from the data (frames, dicts), from the
            preprocessor, or calls them x0, x1, ...
        preprocessor: an adapted `keras.utils.FeatureSpace`, a Keras layer or model from the user's columns to the
            design. It runs in fit, evaluate, predict and the exported graph, before the step. It is saved with the
            model, and it is not trained.
        missing: `"error"` refuses rows without a value in a column that the model needs, in y or in the weights;
            `"drop"` leaves them out. NaN, None, `pd.NA`, NaT and nulls of Arrow are missing, and the empty string in a
            category. Predictions for such rows are NaN.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras model.

    Attributes:
        kernel: variable of shape `(features, units)`.
        bias: variable of shape `(units,)`, or `None`.
        feature_names: the names of the columns of the design, `None` before the model is built.

    Example:
    >>> import keras, numpy as np
    >>> import keras_linreg as klr
    >>> x = np.linspace(-1, 1, 50)
    >>> model = klr.LinearRegression()
    >>> model.compile(optimizer=keras.optimizers.SGD(0.5))  # the default: SGD(0.01)
    >>> history = model.fit(x, 2 * x + 1, batch_size=50, epochs=50, verbose=0)
    >>> print(f"{float(model.kernel[0, 0]):.3f} {float(model.bias[0]):.3f}")
    2.000 1.000
    """

    def train_step(self, data: Batch) -> dict[str, Any]:
        """Take one step down the gradient of the loss on one batch, `(x, y)` or `(x, y, sample_weight)`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)

        weights = self.trainable_variables
        if weights:
            self.optimizer.apply_gradients(zip(tape.gradient(scaled_loss, weights), weights, strict=True))
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)

        self.track_loss(loss, rows=tf.shape(y_pred)[0])
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def report(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: weights from gradient descent have no standard errors."""
        raise self._no_standard_errors("report")

    def predict_interval(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: weights from gradient descent have no standard errors."""
        raise self._no_standard_errors("predict_interval")

    def diagnose(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: weights from gradient descent have no standard errors."""
        raise self._no_standard_errors("diagnose")

    def _no_standard_errors(self, method: str) -> ValueError:
        return ValueError(
            f"`{method}` must be called on a model that was fitted exactly: weights from gradient descent have no "
            "standard errors. Fit keras_linreg.ExactLinearRegression on the same data, or call "
            "keras_linreg.RegressionReport.from_moments(keras_linreg.Moments.from_data(x, y)). "
            f"Received: a {type(self).__name__}."
        )

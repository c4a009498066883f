"""ExactLinearRegression: the least-squares solution in one pass of `fit`."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_linreg.models.exact_checks import exact_penalty
from keras_linreg.models.one_pass_model import OnePassModel
from keras_linreg.solvers import check_dependent


@keras.saving.register_keras_serializable(package="keras_linreg")
class ExactLinearRegression(OnePassModel):
    """Linear regression as a Keras model, whose `fit` is the least-squares solution itself.

    ```python
    y_pred = x @ kernel + bias
    kernel, bias = argmin(mean(sample_weight * square(y - y_pred)) + l2 * sum(square(kernel)))
    ```

    One pass over the data, in float64 whatever `keras.config.floatx()` is: no learning rate, no `compile`, memory that
    does not depend on the number of rows. It takes all the data that `LinearRegression` takes. Later epochs change
    nothing. The pass leaves `moments` behind: they merge, are saved with the model, and can be solved again.

    To go on with more data, add moments; `fit`, on a loaded model too, starts anew:

    ```python
    model = klr.ExactLinearRegression.from_moments(loaded.moments + klr.Moments.from_data(x, y))
    ```

    Inside another model it is the layer `x @ kernel + bias` with weights that are fitted, not trained.

    Args:
        units: positive int, the number of outputs.
        use_bias: whether to fit an intercept; `None`: yes, unless the preprocessor is a formula without one.
        kernel_regularizer: `keras.regularizers.L2` or `None`; the bias is never penalised.
        feature_names: a name for each column of the design; `None` takes them from the data (frames, dicts), from the
            preprocessor, or calls them x0, x1, ...
        preprocessor: a `klr.Formula`, an adapted `keras.utils.FeatureSpace`, a Keras layer or model from the user's
            columns to the design.
        dependent: what to do about a column that depends on those before it, or on the bias: `"drop"` gives it weight
            0, `"min_norm"` takes the smallest kernel. Either way a warning names it.
        missing: `"error"` refuses rows without a value in a column that the model needs, in y or in the weights;
            `"drop"` leaves them out: `solution.missing` and the report count them. NaN, None, `pd.NA`, NaT and nulls of
            Arrow are missing, and the empty string in a category. Predictions for such rows are NaN.
        **kwargs: `name` and `dtype` (`"float64"`), as for every Keras model.

    Attributes:
        kernel: variable of shape `(features, units)`.
        bias: variable of shape `(units,)`, or `None`.
        moments: the `Moments` of the last finished fit, `None` before.
        solution: the `Solution` of the moments: coefficients, rank, residual sum of squares, digits.

    Raises:
        ValueError: on an argument that is none of the above.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 5.0], [4.0, 2.0]])
    >>> model = klr.ExactLinearRegression()
    >>> history = model.fit(x, 3 * x[:, 0] - x[:, 1] + 2, verbose=0)
    >>> model.kernel.numpy().ravel(), model.bias.numpy()
    (array([ 3., -1.]), array([2.]))
    """

    def __init__(
        self,
        units: int = 1,
        use_bias: bool | None = None,
        kernel_regularizer: Any = None,
        feature_names: Sequence[str] | None = None,
        preprocessor: keras.Layer | None = None,
        dependent: str = "drop",
        missing: str = "error",
        **kwargs: Any,
    ):
        regularizer = keras.regularizers.get(kernel_regularizer)
        super().__init__(
            penalty=exact_penalty(regularizer),
            dependent=check_dependent(dependent),
            units=units,
            use_bias=use_bias,
            kernel_regularizer=regularizer,
            feature_names=feature_names,
            preprocessor=preprocessor,
            missing=missing,
            **{**kwargs, "dtype": kwargs.get("dtype") or "float64"},
        )
        if (self.compute_dtype, self.variable_dtype) not in (("float64", "float64"), ("float32", "float32")):
            raise ValueError(f"`dtype` must be 'float64' or 'float32'. Received: dtype={kwargs['dtype']!r}.")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["kernel_initializer"], config["bias_initializer"]
        return {**config, "dependent": self.dependent}

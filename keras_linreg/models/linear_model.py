"""LinearModel: Keras's evaluate and predict for the linear layer, on all kinds of data."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from keras_linreg.data import Prepared, Rows, to_dense
from keras_linreg.data.arrow_source import ArrowSource, data_of_fit, is_arrow_source, open_source
from keras_linreg.models.call_arguments import check_call
from keras_linreg.models.one_at_a_time import one_at_a_time
from keras_linreg.models.predict_files import PREDICTION, predict_batches, predict_to
from keras_linreg.models.r_squared import r_squared
from keras_linreg.models.saved import SavedLinear
from keras_linreg.training import divergence, loop
from keras_linreg.utils.keras_compat import is_call_of_fit
from keras_linreg.utils.types import Data, PathLike


class LinearModel(SavedLinear):
    """A linear model that evaluates and predicts as Keras does, on more kinds of data, and faster.

    Abstract: a subclass says how it is fitted.

    Attributes:
        prediction_dtype: the dtype of the batches of `predict`; `None` for Keras's: floatx, or the array's integers.
        loop_settings: when blocks of steps run in one compiled call, and how large they are.
    """

    prediction_dtype: str | None = None
    loop_settings = loop.LoopSettings()
    step_cache: loop.StepCache  # of the present `compile`

    # Evaluating, predicting

    def evaluate(
        self,
        x: Data = None,
        y: Data = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Data = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return loss and metrics as `keras.Model.evaluate` does, for every kind of data that `fit` takes.

        `target="name"` is another word for `y="name"`, the column of a table or of files, as in `fit`.

        Steps on data in memory run in one compiled call, or in Keras's own loop, by the same rules as in `fit`. Threads
        may evaluate one model at once: they take turns. But nothing else may run while a thread fits it.

        Raises:
            ValueError: the model is not compiled.
        """
        x, y = data_of_fit(x, y, kwargs.pop("target", None), batch_size, shuffle=False)
        batch_size = None if isinstance(x, ArrowSource) else batch_size
        arguments = {
            "x": x,
            "y": y,
            "batch_size": batch_size,
            "verbose": verbose,
            "sample_weight": sample_weight,
            "steps": steps,
            "callbacks": callbacks,
            "return_dict": return_dict,
            **kwargs,
        }
        if is_call_of_fit(kwargs):
            with loop.use_validation_loop(self), one_at_a_time(self):
                return super().evaluate(**arguments)
        check_call(**arguments)
        self._check_compiled("evaluate")
        data = self._keras_data(self._prepare(x, y, sample_weight, steps=steps), batch_size)
        arguments |= {"x": data.x, "y": data.y, "sample_weight": data.sample_weight}
        with one_at_a_time(self), loop.without_loop(self), divergence.explain_bad_batches(data):
            block_loop = loop.plan_evaluation(self, data, arguments)
            if block_loop is not None:
                arguments |= block_loop.evaluate_arguments
            with loop.use_loop(self, block_loop):
                return super().evaluate(**arguments)

    def predict(
        self,
        x: Data,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Return the predictions, an array of shape `(n, units)`, for every kind of `x` that `fit` takes.

        Without `batch_size` (or `steps`), data in memory come in large batches, which are faster: predictions do not
        depend on the batch size. With a callback that watches batches, a `predict_step` of a subclass, or
        `jit_compile`, batches have Keras's 32 rows.

        Of files, and of datasets and readers of Arrow, it returns an iterator of record batches: the number of the row,
        and the predictions.
        """
        arguments: dict[str, Any] = {"batch_size": batch_size, "steps": steps, "callbacks": callbacks}
        check_call(**arguments, verbose=verbose)
        if is_arrow_source(x):
            return predict_batches(self, open_source(x).in_batches(batch_size, shuffle=False))
        data = self._prepare(x, targets=False, steps=steps)
        batches = loop.plan_prediction(self, data, arguments, self.prediction_dtype)
        if batches is None:
            arguments["x"] = self._keras_data(data, batch_size).x
        else:
            arguments |= batches.predict_arguments
        with (
            loop.without_loop(self),
            loop.use_prediction_batches(self, batches),
            divergence.explain_bad_batches(data),
        ):
            return super().predict(**arguments, verbose=verbose)

    def predict_to(
        self, source: Data, destination: PathLike, interval: bool = False, level: float = 0.95, columns: Any = ()
    ) -> int:
        """Write predictions for files into a Parquet file, which is there whole or not at all.

        It has a column `row`, the columns asked for, and `prediction` (of several outputs their names), or with
        `interval` the columns of `predict_interval` (of several outputs `mean_price`, `mean_rent` and so on).

        Args:
            source: the path, folder or glob of Parquet, CSV or Feather files, a dataset or reader of Arrow.
            destination: the file to write or replace.
            interval: whether to write intervals, which a fit by gradient descent does not have.
            level: the coverage of the intervals.
            columns: names of columns of the source to write beside the predictions.

        Returns:
            The number of rows.

        Raises:
            ImportError: pyarrow is not installed; it is the extra `arrow`.
            FileNotFoundError: there is no such file.
            ValueError: the files do not suit the model, or the model has no intervals.
        """
        if not is_arrow_source(source):
            raise ValueError(
                "`source` must be a path, a glob, or a dataset or reader of Arrow; `predict` takes rows in memory. "
                f"Received: {type(source).__name__}."
            )
        if interval and not hasattr(self, "moments"):
            raise ValueError("`interval` must be False: a fit by gradient descent has no intervals. Received: True.")
        if not self.built:
            raise ValueError(
                "The model must be fitted before it predicts for files. Received: a model without weights."
            )
        listed = [columns] if isinstance(columns, str) else columns
        if not isinstance(listed, Iterable):
            raise ValueError(f"`columns` must be names of columns of the source. Received: {columns!r}.")
        return predict_to(self, source, destination, interval, level, [*listed])

    def columns_to_read(self, known: Sequence[str]) -> list[str]:
        """Return the names of the columns that the model takes; of one that was fitted on a matrix, all of them."""
        return list(self._reader().columns_of_model() or known)

    def names_of_predictions(self) -> list[str]:
        """Return a name for each column of the predictions."""
        names = () if self.schema is None else self.schema.output_names
        return (
            list(names)
            if len(names) == self.units > 1
            else ([PREDICTION] if self.units == 1 else [f"{PREDICTION}_{j}" for j in range(self.units)])
        )

    def score(self, x: Data, y: Data = None, sample_weight: Data = None, target: Any = None) -> float:
        """Return R-squared of data: the share of their variance that the predictions explain.

        ```python
        1 - sum(sample_weight * (y - y_pred) ** 2) / sum(sample_weight * (y - mean(y)) ** 2)
        ```

        It is 1 for perfect predictions, 0 for the mean of y, and negative for worse. Of several outputs it is the mean,
        as in scikit-learn. It is NaN if y does not vary.

        Args:
            x, y, sample_weight, target: as in `fit`; with missing="drop", rows without a value are left out.

        Raises:
            ValueError: the data do not suit the model.
        """
        x, y = data_of_fit(x, y, target, None, shuffle=False)
        data = self._prepare(x, y, sample_weight)
        with divergence.explain_bad_batches(data):
            return r_squared(data.dense_batches(), self._predictions)

    def _predictions(self, x: np.ndarray) -> np.ndarray:
        """Return the predictions for rows of the design."""
        with loop.without_loop(self):
            return np.asarray(self(ops.convert_to_tensor(np.asarray(x), self.compute_dtype)), np.float64)

    def test_on_batch(self, x: Data, y: Data = None, sample_weight: Data = None, return_dict: bool = False) -> Any:
        """Return loss and metrics of one batch, as `keras.Model.test_on_batch` does.

        Raises:
            ValueError: the model is not compiled.
        """
        check_call(return_dict=return_dict)
        self._check_compiled("test_on_batch")
        data = self._prepare(x, y, sample_weight)
        with one_at_a_time(self), loop.without_loop(self):
            return super().test_on_batch(one_batch(data), data.y, data.sample_weight, return_dict)

    def predict_on_batch(self, x: Data) -> np.ndarray:
        """Return the predictions for one batch, an array of shape `(n, units)`."""
        data = self._prepare(x, targets=False)
        with loop.use_prediction_batches(self, None):
            return super().predict_on_batch(one_batch(data))

    def _keras_data(self, data: Prepared, batch_size: int | None) -> Prepared:
        """Return prepared data as Keras's loop is to read them: it cuts arrays into batches, and casts to floatx."""
        return data.in_one_array() if isinstance(data, Rows) else data

    def _check_compiled(self, method: str) -> None:
        """Raise an error if the model is not compiled."""
        if not self.compiled:
            raise ValueError(
                f"You must call `compile()` before `{method}()`. Received: {self.name!r}, which is not compiled."
            )

    # What Keras's loops call

    test_function: Any  # a function, or None until it is made
    predict_function: Any  # a function, or None until it is made

    def make_test_function(self, force: bool = False) -> None:
        """Compile the test step as Keras does, in a function that asks the active loop first."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = loop.loop_test_function(self, self.test_function)

    def make_predict_function(self, force: bool = False) -> None:
        """Compile the predict step as Keras does, in a function that may read batches past Keras's iterator."""
        if self.predict_function is None or force:
            super().make_predict_function(force)
            self.predict_function = loop.loop_predict_function(self, self.predict_function)

    def reset_metrics(self) -> None:
        """Reset loss and metrics, unless the active loop resets them in its next block."""
        block_loop = loop.active_loop(self) if tf.executing_eagerly() else None
        if block_loop is None or not block_loop.begin_epoch():
            super().reset_metrics()

    def get_metrics_result(self) -> dict[str, Any]:
        """Return loss and metrics, those of the active loop if it has some."""
        block_loop = loop.active_loop(self) if tf.executing_eagerly() else None
        return (block_loop.logs if block_loop is not None else None) or super().get_metrics_result()

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the metrics and return their results, as `keras.Model.compute_metrics` does, for `y` of any rank."""
        if getattr(getattr(y, "shape", None), "rank", 0) is None:  # traced for (n,) and (n, 1) alike
            y = ops.reshape(y, ops.shape(y_pred))
        return super().compute_metrics(x, y, y_pred, sample_weight)


def one_batch(data: Prepared) -> Any:
    """Return the x of one batch as a dense array or tensor."""
    return to_dense(data.in_one_array().x if isinstance(data, Rows) else data.x)

"""What to do about a divergence: the largest stable learning rate, and the scales of the columns."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import tensorflow as tf

from keras_linreg.data import Prepared
from keras_linreg.losses import is_mean_squared_error
from keras_linreg.training.divergence.watch import NonFiniteLoss, Watch
from keras_linreg.training.divergence.watched_model import WatchedModel
from keras_linreg.utils.keras_compat import variable_reader
from keras_linreg.utils.types import Array

SAMPLE_ROWS = 20_000  # enough to estimate the columns' scales and the largest eigenvalue
SHOWN_COLUMNS = 3  # of the largest, and of the smallest scales
DENSE_COLUMNS = 1000  # up to so many columns, all eigenvalues cost less than an iteration for the largest
LARGE_SCALE = 10  # a column of a larger root mean square is worth a word about normalization


def divergence_message(model: WatchedModel, data: Prepared, watch: Watch, loss: NonFiniteLoss) -> str:
    """Return the error message of a divergence: the learning rate beside the largest stable one, the columns' scales.

    Args:
        model: compiled.
        data: the training data.
        watch: of the fit.
        loss: the loss that is not finite.
    """
    rate = float(tf.convert_to_tensor(model.optimizer.learning_rate))
    sentences = [f"Training diverged: the loss became {loss} with a learning rate of {rate:g}."]
    advice = "Lower the learning rate"
    sample = _sample(data)
    if sample is not None:
        design, sample_weight = model.as_optimized(sample[0]), sample[1]
        scales = np.sqrt(np.asarray(_square(design).mean(axis=0)).ravel())
        if is_mean_squared_error(model.loss) and type(_inner_optimizer(model.optimizer)) is keras.optimizers.SGD:
            largest = largest_stable_rate(model, design, sample_weight)
            if watch.calls == 1 and rate <= largest:
                return _overflow_message(model, data, loss)
            sentences.append(
                f"The largest one that is stable for these columns is about {largest:.2g}, in full batches."
            )
        scale_list = _scale_list(scales, model.feature_names or [])
        sentences.append(f"Scales of the columns (root mean square): {scale_list}.")
        if scales.size and scales.max() > LARGE_SCALE:
            advice += ", or bring the columns to one scale: a keras.layers.Normalization as `preprocessor`"
    return " ".join([*sentences, f"{advice}.", "The weights are the last finite ones."])


def _overflow_message(model: WatchedModel, data: Prepared, loss: NonFiniteLoss) -> str:
    """Return the error message for a first loss that is infinite although the learning rate is stable.

    Then the squares of the targets, or of the predictions, are too large for the dtype of the loss.
    """
    _, _, y, _ = next(data.again())
    largest_weight = max(float(np.abs(np.asarray(variable_reader(weight)())).max()) for weight in model.weights)
    return (
        f"The loss is {loss} at the first step, before the weights have moved: its squares are too large. "
        f"Received: targets up to {np.abs(np.asarray(y)).max():.2g}, weights up to {largest_weight:.2g}. "
        "Bring the targets to another unit, or begin with smaller weights. The weights are as they were."
    )


def largest_stable_rate(model: WatchedModel, design: Any, sample_weight: Array | None) -> float:
    """Return the largest learning rate for which gradient descent with momentum m converges on a quadratic.

    ```python
    hessian = 2 * (X.T @ (s * X) / (n * units) + l2 * I)     # X with a column of ones for the bias
    rate = 2 * (1 + m) / max(eigenvalues(hessian))           # Nesterov's momentum: divided by 1 + 2 * m
    ```

    Along an eigenvector of the Hessian h, the error of a step depends on those of the two steps before it: it is a
    linear recurrence, and its characteristic polynomial has two roots. It converges while both are inside the unit
    circle. As the rate grows, the larger root leaves the circle at -1; the rate at that point is the bound. B. T.
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964, derives the first bound.

    Args:
        model: compiled with SGD, for its momentum, its L2 penalty and its bias.
        design: `(n, p)`, float64, dense or of scipy.sparse.
        sample_weight: `(n,)` or `None`.
    """
    n = design.shape[0]
    ones = np.ones((n, 1)) if model.use_bias else np.empty((n, 0))
    is_sparse = scipy.sparse.issparse(design)
    full: Any = scipy.sparse.hstack([design, ones]).tocsr() if is_sparse else np.hstack([design, ones])
    if sample_weight is not None:
        root = np.sqrt(sample_weight)[:, None]
        full = full.multiply(root).tocsr() if is_sparse else full * root
    scale = abs(full).max() or 1.0  # so that no square overflows
    full = full / scale
    if not is_sparse and full.shape[1] <= DENSE_COLUMNS:
        eigenvalue = np.linalg.eigvalsh(full.T @ full)[-1]
    else:
        eigenvalue = scipy.sparse.linalg.svds(full, k=1, return_singular_vectors=False)[0] ** 2
    l2 = float(getattr(model.kernel_regularizer, "l2", 0.0) or 0.0)
    optimizer = _inner_optimizer(model.optimizer)
    momentum_factor = (1 + optimizer.momentum) / (1 + 2 * optimizer.momentum if optimizer.nesterov else 1)
    return momentum_factor / (eigenvalue * scale * scale / (n * model.units) + l2)


def _inner_optimizer(optimizer: Any) -> Any:
    """Return the optimizer inside a LossScaleOptimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _sample(data: Prepared) -> tuple[Any, Array | None] | None:
    """Return the first rows of the design, `(n, p)` in float64, and their weights; `None` if they cannot be read."""
    _, x, _, sample_weight = next(iter(data.again()), (None, None, None, None))
    if x is None or len(x.shape) != 2:
        return None
    if isinstance(x, tf.SparseTensor):
        rows, columns = np.asarray(x.indices).T
        x = scipy.sparse.coo_matrix((np.asarray(x.values), (rows, columns)), shape=tuple(x.shape))
    if scipy.sparse.issparse(x):
        x = x.tocsr()[:SAMPLE_ROWS].astype(np.float64)
    else:
        x = np.asarray(x[:SAMPLE_ROWS], dtype=np.float64)
    return x, None if sample_weight is None else np.asarray(sample_weight, np.float64).ravel()[:SAMPLE_ROWS]


def _square(design: Any) -> Any:
    return design.multiply(design) if scipy.sparse.issparse(design) else np.square(design)


def _scale_list(scales: Array, names: Sequence[str]) -> str:
    """Return the names and scales of the columns, from the largest scale down; of many columns only both ends."""
    order = np.argsort(-scales)
    shown = [f"{names[i]!r} {scales[i]:.3g}" for i in order]
    if len(shown) > 2 * SHOWN_COLUMNS:
        shown = [*shown[:SHOWN_COLUMNS], "...", *shown[-SHOWN_COLUMNS:]]
    return ", ".join(shown)

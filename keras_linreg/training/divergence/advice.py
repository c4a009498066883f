"""What to do about a divergence: the largest stable learning rate, the scales of the columns."""

from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import tensorflow as tf

from keras_linreg.data import Prepared
from keras_linreg.losses import is_mean_squared_error
from keras_linreg.training.divergence.watch import NonFiniteLoss, Watch, reader_of

SAMPLE_ROWS = 20_000  # enough rows to know the columns' scales and the largest eigenvalue by
SHOWN_COLUMNS = 3


def explain(model, data: Prepared, watch: Watch, loss: NonFiniteLoss) -> str:
    """Return what to do about the divergence: the learning rate against the largest stable one, the columns' scales."""
    rate = float(tf.convert_to_tensor(model.optimizer.learning_rate))
    said = [f"Training diverged: the loss became {loss} with a learning rate of {rate:g}."]
    columns = _sample(data)
    if columns is not None:
        design, sample_weight = columns
        scales = np.sqrt(np.asarray(_square(design).mean(axis=0)).ravel())
        if is_mean_squared_error(model.loss) and type(_inner(model.optimizer)).__name__ == "SGD":
            largest = largest_rate(model, design, sample_weight)
            if watch.calls == 1 and rate <= largest:
                return _not_the_rate(model, data, loss)
            said.append(f"The largest one that is stable for these columns is about {largest:.2g}, in full batches.")
        said.append(f"Scales of the columns (root mean square): {_scales(scales, model.feature_names)}.")
    advice = "Lower the learning rate"
    if columns is not None and scales.size and scales.max() > 10:
        advice += ", or bring the columns to one scale: a keras.layers.Normalization as `preprocessor`"
    return " ".join([*said, f"{advice}.", "The weights are the last finite ones."])


def _not_the_rate(model, data: Prepared, loss: NonFiniteLoss) -> str:
    """Return what else makes the very first loss infinite: numbers whose squares float32 does not hold."""
    _, _, y, _ = next(data.again())
    largest_weight = max(float(np.abs(np.asarray(reader_of(weight)())).max()) for weight in model.weights)
    return (
        f"The loss is {loss} at the first step, before the weights have moved: its squares are too large. "
        f"Received: targets up to {np.abs(np.asarray(y)).max():.2g}, weights up to {largest_weight:.2g}. "
        "Bring the targets to another unit, or begin with smaller weights. The weights are as they were."
    )


def _inner(optimizer):
    """Return the optimizer inside a LossScaleOptimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _sample(data: Prepared):
    """Return a sample of the design, dense or of scipy.sparse, in float64, and its weights; None if there is none."""
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


def _square(design: Any):
    return design.multiply(design) if scipy.sparse.issparse(design) else np.square(design)


def largest_rate(model, design: Any, sample_weight) -> float:
    """Return the largest learning rate for which gradient descent with momentum m converges on a quadratic.

    ```python
    hessian = 2 * (X.T @ (s * X) / (n * units) + l2 * I)     # X with a column of ones for the bias
    rate = 2 * (1 + m) / max(eigenvalues(hessian))           # Nesterov's: divided by 1 + 2 m
    ```

    Both bounds are where the larger root of the iteration's characteristic polynomial reaches -1; B. T. Polyak, "Some
    methods of speeding up the convergence of iteration methods", 1964, for the first.
    """
    n = design.shape[0]
    ones = np.ones((n, 1)) if model.use_bias else np.empty((n, 0))
    sparse = scipy.sparse.issparse(design)
    full: Any = scipy.sparse.hstack([design, ones]).tocsr() if sparse else np.hstack([design, ones])
    if sample_weight is not None:
        root = np.sqrt(sample_weight)[:, None]
        full = full.multiply(root).tocsr() if sparse else full * root
    scale = abs(full).max() or 1.0  # so that no square overflows
    full = full / scale
    if not sparse and full.shape[1] <= 1000:
        eigenvalue = np.linalg.eigvalsh(full.T @ full)[-1]
    else:
        eigenvalue = scipy.sparse.linalg.svds(full, k=1, return_singular_vectors=False)[0] ** 2
    l2 = float(getattr(model.kernel_regularizer, "l2", 0.0) or 0.0)
    optimizer = _inner(model.optimizer)
    widened = (1 + optimizer.momentum) / (1 + 2 * optimizer.momentum if optimizer.nesterov else 1)
    return widened / (eigenvalue * scale * scale / (n * model.units) + l2)


def _scales(scales: np.ndarray, names) -> str:
    """Return the names and scales of the columns, the largest and smallest where there are many."""
    order = np.argsort(-scales)
    shown = [f"{names[i]!r} {scales[i]:.3g}" for i in order]
    if len(shown) > 2 * SHOWN_COLUMNS:
        shown = [*shown[:SHOWN_COLUMNS], "...", *shown[-SHOWN_COLUMNS:]]
    return ", ".join(shown)

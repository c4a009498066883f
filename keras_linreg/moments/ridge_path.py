"""Ridge paths: every penalty from one factorisation, cross-validated from folds, and leave-one-out from the rows."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_linreg.data.row_blocks import row_blocks
from keras_linreg.moments.cross_validation import Folds, Settings, common_fields
from keras_linreg.moments.path_arguments import is_number
from keras_linreg.moments.regularization_path import RegularizationPath
from keras_linreg.moments.training_sets import TrainingSet, errors_of_fold
from keras_linreg.utils.types import Batch

LARGEST, SMALLEST = 1e3, 1e-5  # of the penalties, as parts of the mean eigenvalue
BLOCK_NUMBERS = 2**18
SAME = 1e-7  # how well means, in standard deviations, and weights agree


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Directions:
    """The principal directions of columns, divided by their scales.

    Attributes:
        scale: `(p,)`: by which columns are divided.
        squares: `(m,)`: the sums of squares along the directions.
        vectors: `(p, m)`: the directions.
    """

    scale: np.ndarray
    squares: np.ndarray
    vectors: np.ndarray

    def kernels(self, right: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Return the kernels `(p, L)` for penalties `(L,)`: `inv(x.T @ x + alpha) @ right`, in the columns' units."""
        along = self.vectors.T @ (right / self.scale)
        return self.vectors @ (along[:, None] / (self.squares[:, None] + alphas)) / self.scale[:, None]


def ridge(folds: Folds, l2: np.ndarray | None, count: int, settings: Settings) -> RegularizationPath:
    """Return the ridge path, cross-validated, without leave-one-out errors.

    `mean(s * r**2)` averaged over k outputs plus `l2 * sum(w**2)`, times `rows * k`, is the objective of scikit-learn's
    `Ridge(alpha)` with `alpha = rows * k * l2`. As in its `RidgeCV`, all folds are fitted with the same alpha.

    With `x = U @ diag(d) @ V.T` the kernel is `V @ diag(d / (d**2 + alpha)) @ U.T @ y`. So one factorisation serves
    all penalties, and the effective degrees of freedom are `sum(d**2 / (d**2 + alpha))`.

    References:
        Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter" (1979).
    """
    whole, p, rows = folds.whole, folds.features, folds.total.rows
    directions = _directions(whole, settings)
    if l2 is None:
        size = float(directions.squares.sum()) / max(p, 1) or 1.0
        alphas = np.geomspace(LARGEST * size, SMALLEST * size, count)
    else:
        alphas = l2 * (rows * folds.outputs)
    kernels = _kernels(whole, directions, alphas, folds.outputs)
    errors: list[np.ndarray | None] = [None] * folds.outputs
    if folds.rest:
        fitted = folds.map(lambda rest: _kernels(rest, _directions(rest, settings), alphas, folds.outputs), folds.rest)
        errors = [
            np.stack([folds.errors(k, weights[:, :, o].T, o) for k, weights in enumerate(fitted)], axis=1)
            for o in range(folds.outputs)
        ]
    df = (directions.squares[:, None] / (directions.squares[:, None] + alphas)).sum(axis=0)
    total = folds.total.statistics
    rss = np.mean(
        [errors_of_fold(total, total, whole, kernels[:, :, o].T, o, folds.use_bias) for o in range(folds.outputs)],
        axis=0,
    )
    left = 1 - (df + folds.use_bias) / total.nobs
    l2_of_path = alphas / (rows * folds.outputs)
    return RegularizationPath(
        l1=np.zeros(len(alphas)),
        l2=l2_of_path,
        alphas=alphas,
        l1_ratio=0.0,
        df=df,
        kkt_gap=_gaps(whole, directions, kernels, alphas),
        kernels=kernels,
        **common_fields(folds, kernels, errors, True),
        standardize=settings.standardize,
        gcv=np.divide(rss, left**2, out=np.full(len(rss), np.inf), where=left > 0),
    )


def leave_one_out(folds: Folds, path: RegularizationPath, batches: Iterable[Batch], settings: Settings) -> np.ndarray:
    """Return the mean squared errors `(L,)` of rows on fits without them, from one pass over the rows.

    Without row i the residual is `r[i] / (1 - h[i])`, with its leverage
    `h[i] = s[i] * (1 / sum(s) + sum((z[i] @ V)**2 / (d**2 + alpha)))`, z being the row less the means: exactly, with
    the same alpha.

    References:
        Golub, Heath, Wahba (1979), equation 1.3; Allen's PRESS (1974).
    """
    p, directions = folds.features, _directions(folds.whole, settings)
    mean = folds.whole.mean if folds.use_bias else np.zeros(p + folds.outputs)
    shrink = 1 / (directions.squares[:, None] + path.alphas)
    total, weight, rows, off = np.zeros(len(path)), 0.0, 0, np.zeros(p)
    for x, y, weights in row_blocks(batches, BLOCK_NUMBERS):
        z = np.asarray(x, np.float64) - mean[:p]
        heavy = np.ones(len(z)) if weights is None else np.asarray(weights, np.float64)
        leverage = np.square(z / directions.scale @ directions.vectors) @ shrink
        leverage = heavy[:, None] * (leverage + (1 / folds.whole.weight if folds.use_bias else 0.0))
        for o in range(folds.outputs):
            residuals = (y[:, o] - mean[p + o])[:, None] - z @ path.kernels[:, :, o].T
            with np.errstate(divide="ignore", invalid="ignore"):
                total += heavy @ np.square(residuals / (1 - leverage)) / folds.outputs
        weight, rows, off = (
            weight + float(heavy.sum()),
            rows + len(z),
            off + heavy @ (z + mean[:p] - folds.whole.mean[:p]),
        )
    is_same = rows == folds.total.rows and abs(weight - folds.whole.weight) <= SAME * weight
    if not is_same or (np.abs(off) > SAME * weight * (folds.whole.sd[:p] + SAME * np.abs(folds.whole.mean[:p]))).any():
        raise ValueError(
            f"`data` must be the rows of these moments. Received: {rows} rows for {folds.total.rows}, or others."
        )
    return total / weight


def _directions(trained: TrainingSet, settings: Settings) -> _Directions:
    p = trained.features
    scale = np.sqrt(settings.factors) * (trained.sd[:p] if settings.standardize else 1.0)
    scale = np.where(scale > 0, scale, 1.0)
    if trained.rows is not None:
        _, roots, vectors = np.linalg.svd(trained.rows[:, :p] / scale, full_matrices=False)
        return _Directions(scale, roots**2, vectors.T)
    squares, vectors = np.linalg.eigh(trained.products[:p, :p] / np.outer(scale, scale))
    return _Directions(scale, np.maximum(squares, 0.0), vectors)


def _kernels(trained: TrainingSet, directions: _Directions, alphas: np.ndarray, outputs: int) -> np.ndarray:
    """Return the kernels `(L, p, k)`."""
    p = trained.features
    columns = [directions.kernels(trained.products[:p, p + o], alphas).T for o in range(outputs)]
    return np.stack(columns, axis=2)


def _gaps(trained: TrainingSet, directions: _Directions, kernels: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return the largest gradient at each kernel, as a part of the largest at zero."""
    p, scale = trained.features, directions.scale
    right = trained.products[:p, p:] / scale[:, None]
    weights = kernels * scale[:, None]
    gram = trained.products[:p, :p] / np.outer(scale, scale)
    gradient = right - np.einsum("ij,ljk->lik", gram, weights) - alphas[:, None, None] * weights
    largest = np.abs(right).max(initial=0.0)
    gaps = np.abs(gradient).max(axis=(1, 2), initial=0.0)
    return gaps / largest if largest > 0 else gaps


def check_ridge_grid(l2: Any) -> np.ndarray | None:
    """Return penalties, descending; None for those that the data tell.

    Raises:
        ValueError: they are not finite, positive and distinct.
    """
    if l2 is None:
        return None
    listed = list(l2) if isinstance(l2, Sequence | np.ndarray) and np.ndim(l2) == 1 else [l2]
    if not listed or not all(is_number(value) and value > 0 for value in listed) or len(set(listed)) < len(listed):
        raise ValueError(f"`l2` must be penalties that are finite, positive and distinct. Received: l2={l2!r}.")
    return np.sort(np.array(listed, np.float64))[::-1]

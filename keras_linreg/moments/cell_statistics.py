"""The statistics of the rows of each cell: a number of rows that share their factors' levels."""

import dataclasses

import numpy as np
from scipy.linalg import lapack

from keras_linreg.linalg.double_double import DoubleDouble, two_sum

SMALLEST_SQUARES = 1e-250  # of a column in a cell; smaller ones lose digits where they underflow


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CellStatistics:
    """Weights, means and factors of the parts and the residuals in cells.

    Attributes:
        weight: `(c,)`, 0 for cells without rows.
        mean: double-double `(c, q + k)`, without the shift.
        factor: `(c, q + k, q + k)`, about the mean.
    """

    weight: np.ndarray
    mean: DoubleDouble
    factor: np.ndarray


def statistics_of_rows(rows: np.ndarray, codes: np.ndarray, heavy: np.ndarray | None, cells: int) -> CellStatistics:
    """Return the statistics of the cells of rows `(q + k, n)`."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=cells)
    present = np.flatnonzero(counts)
    stops = np.cumsum(counts[present])
    starts = stops - counts[present]
    rows = rows.take(order, axis=1)
    heavy = None if heavy is None else heavy[order]
    weight = np.zeros(cells)
    weight[present] = counts[present] if heavy is None else np.add.reduceat(heavy, starts)

    def means() -> np.ndarray:
        return np.add.reduceat(rows if heavy is None else rows * heavy, starts, axis=1) / weight[present]

    first = means()
    rows -= first.repeat(counts[present], axis=1)
    mean = DoubleDouble(np.zeros((cells, len(rows))))
    mean[present] = DoubleDouble(*two_sum(first, means())).T
    if heavy is not None:
        rows *= np.sqrt(heavy)
    factor = np.zeros((cells, len(rows), len(rows)))
    factor[present] = _factors(rows, starts, stops)
    return CellStatistics(weight, mean, factor)


def _factors(rows: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return the factor `(c, q, q)` of the QR decomposition of each of several ranges of rows; rows are overwritten.

    This is the modified Gram-Schmidt process, of all ranges at once. Its factor is as accurate as that of Householder
    reflections: it is theirs, of the rows below as many rows of zeros.

    Args:
        rows: `(q, n)`.
        starts, stops: `(c,)`, of ranges that follow each other.

    References:
        Å. Björck and C. C. Paige, Loss and recapture of orthogonality in the modified Gram-Schmidt algorithm, SIAM
        Journal on Matrix Analysis and Applications 13 (1992), 176-190.
    """
    width, counts = len(rows), stops - starts
    factors, products = np.zeros((len(starts), width, width)), np.empty(rows.shape[1])

    def sums(i: int, j: int) -> np.ndarray:
        return np.add.reduceat(np.multiply(rows[i], rows[j], out=products), starts)

    squares = np.stack([sums(i, i) for i in range(width)])
    tiny = np.flatnonzero((squares < SMALLEST_SQUARES).any(axis=0))
    by_reflections = {
        cell: lapack.dgeqrf(np.array(rows[:, starts[cell] : stops[cell]].T, order="F"), overwrite_a=1)[0]
        for cell in tiny.tolist()
        if counts[cell] > 1
    }
    for i in range(width):
        square = sums(i, i) if i else squares[0]
        factors[:, i, i] = np.sqrt(square)
        divisor = np.where(square > 0, square, 1.0)
        for j in range(i + 1, width):
            product = sums(i, j)
            factors[:, i, j] = product / np.sqrt(divisor)
            rows[j] -= np.multiply((product / divisor).repeat(counts), rows[i], out=products)
    factors[tiny] = 0.0
    factors[counts == 1] = 0.0
    for cell, reduced in by_reflections.items():
        factors[cell, : counts[cell]] = np.triu(reduced[:width])
    return factors


def merged(blocks: list[CellStatistics]) -> CellStatistics:
    """Return the statistics of the cells of all blocks, as `sufficient_statistics.merge` does for two."""
    if len(blocks) == 1:
        return blocks[0]
    weights = np.stack([block.weight for block in blocks])  # (blocks, c)
    means = DoubleDouble(np.stack([block.mean.hi for block in blocks]), np.stack([block.mean.lo for block in blocks]))
    total = weights.sum(axis=0)
    divisor = DoubleDouble(np.where(total > 0, total, 1.0)[:, None])
    mean = means.times(weights[:, :, None]).sum(0) / divisor
    between = (means - mean).hi * np.sqrt(weights)[:, :, None]
    rows = np.concatenate([block.factor for block in blocks] + [between.transpose(1, 0, 2)], axis=1)
    return CellStatistics(total, mean, np.asarray(np.linalg.qr(rows, mode="r")))

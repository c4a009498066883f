"""Cross-products of each fold, in one pass over rows that are dealt while they are read."""

import concurrent.futures
from collections.abc import Sequence

import numpy as np

from keras_linreg.data import ColumnMatrix
from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, two_sum
from keras_linreg.moments.frame import Frame
from keras_linreg.moments.reduce import FARTHEST_MEAN, LARGEST_INFLATION
from keras_linreg.moments.row_products import BLOCK_NUMBERS, LANES, LONGEST_SUM, MAX_THREADS, WORTH_THREADS
from keras_linreg.sufficient_statistics import Statistics, empty
from keras_linreg.utils.threads import cores, product_without_lock

LONG_RUN = 256  # rows: shorter runs are gathered
WINDOW = 65_536  # rows that are sorted by their folds at a time
LARGEST, SMALLEST = 1e250, 1e-250

Piece = tuple[int, slice | np.ndarray]  # a fold, and rows of it: a run, or their numbers


def fold_products(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, frame: Frame, numbers: np.ndarray, folds: int
) -> np.ndarray:
    """Return the cross-products `(folds, q + 1, q + 1)` of `[z residuals 1]` in a frame, weighted.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        frame: the coordinates z and the residuals.
        numbers: the fold of each row, `(n,)`.
        folds: how many there are.
    """
    pieces = _pieces(numbers)
    if isinstance(x, ColumnMatrix) and not all(isinstance(rows, slice) for _, rows in pieces):
        x = np.ascontiguousarray(x)
    threads = 1 if x.size < WORTH_THREADS else min(cores(), MAX_THREADS, len(pieces))
    # Threads take every so many pieces: the runs of a fold are not all in one share.
    shares = [pieces[start::threads] for start in range(threads)]
    if threads == 1:
        return _of_pieces(x, y, weights, frame, pieces, folds)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda share: _of_pieces(x, y, weights, frame, share, folds), shares))  # type: ignore


def _pieces(numbers: np.ndarray) -> list[Piece]:
    """Return the rows of the folds in pieces: long runs as slices, rows of short runs by their numbers."""
    pieces: list[Piece] = []
    for start in range(0, len(numbers), WINDOW):
        some = numbers[start : start + WINDOW]
        ends = np.concatenate([np.flatnonzero(some[1:] != some[:-1]) + 1, [len(some)]])
        begins = np.concatenate([[0], ends[:-1]])
        is_long = ends - begins >= LONG_RUN
        for a, b in zip(begins[is_long], ends[is_long], strict=True):
            pieces.append((int(some[a]), slice(start + a, start + b)))
        if not is_long.all():
            short = np.flatnonzero(~np.repeat(is_long, ends - begins))
            folds = some[short]
            order, counts = start + short[np.argsort(folds, kind="stable")], np.bincount(folds)
            parts = np.split(order, np.cumsum(counts)[:-1])
            pieces += [(fold, part) for fold, part in enumerate(parts) if len(part)]
    return pieces


def _of_pieces(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, frame: Frame, pieces: Sequence[Piece], folds: int
) -> np.ndarray:
    """Return the cross-products of some pieces."""
    features, shift, width = frame.features, frame.shift, len(frame.shift) + 1
    padded, is_shifted = -(-width // LANES) * LANES, shift[:features].any()
    products = np.zeros((folds, padded, padded))
    height = max(min(BLOCK_NUMBERS // width, LONGEST_SUM), 2 * width)
    rows = np.zeros((height, padded), order="F" if isinstance(x, ColumnMatrix) or x.strides[0] < x.strides[1] else "C")
    columns = frame.turned_columns
    turned = np.empty_like(rows) if frame.inverse is not None and columns is None else None
    for fold, chosen in pieces:
        first, count = (chosen.start, chosen.stop - chosen.start) if isinstance(chosen, slice) else (0, len(chosen))
        for start in range(0, count, height):
            n = min(height, count - start)
            run = slice(first + start, first + start + n)
            where = run if isinstance(chosen, slice) else chosen[run]
            block = rows[:n]
            block[:, width - 1] = 1.0
            if isinstance(x, ColumnMatrix):
                x[where].less(shift, block[:, :features])
            elif is_shifted:
                np.subtract(x[where], shift[:features], out=block[:, :features])
            else:  # a copy is faster
                block[:, :features] = x[where]
            residuals = block[:, features : width - 1]
            np.subtract(y[where], shift[features:], out=residuals)
            if frame.kernel is not None:
                residuals -= block[:, :features] @ frame.kernel
            if turned is not None and frame.inverse is not None:
                moved = turned[:n]
                np.matmul(block[:, :features], frame.inverse, out=moved[:, :features])
                moved[:, features:] = block[:, features:]
                block = moved
            elif frame.inverse is not None:
                block[:, columns] = block[:, :features] @ frame.inverse[:, columns]
            if weights is not None:
                block[:, :width] *= np.sqrt(weights[where])[:, None]
            products[fold] += product_without_lock(block.T, block)
    return products[:, :width, :width]


def are_accurate(products: np.ndarray, frame: Frame, constant: np.ndarray) -> bool:
    """Return whether the cross-products `(q + 1, q + 1)` of all rows keep nearly all digits in their frame."""
    if not np.isfinite(products).all():
        return False
    total, offset, centred = _centred(products)
    spread = np.diag(centred)
    used = ~constant & ~((np.arange(len(spread)) >= frame.features) & (spread <= 0))
    if not ((spread > SMALLEST) & (spread < LARGEST))[used].all():
        return False
    features = used & (np.arange(len(spread)) < frame.features)
    if (total * offset**2 > FARTHEST_MEAN * spread)[features].any():
        return False
    where = np.flatnonzero(features)
    try:
        unit = np.linalg.cholesky(centred[np.ix_(where, where)] / np.sqrt(np.outer(spread[where], spread[where]))).T
    except np.linalg.LinAlgError:
        return False
    return not condition.is_inflated(unit, LARGEST_INFLATION)


def statistics_of_products(
    products: np.ndarray, frame: Frame, first: np.ndarray, constant: np.ndarray, nobs: int, log_weight: float
) -> Statistics:
    """Return the statistics of rows by their cross-products in a frame.

    Args:
        products: `(q + 1, q + 1)`, of `[z residuals 1]`, finite.
        frame: the coordinates.
        first: `(q,)`: one of the rows.
        constant: mask `(q,)`: the columns that do not vary.
        nobs: how many rows have a weight.
        log_weight: the sum of the weights' logarithms.
    """
    if not nobs:
        return empty(len(first))
    features = frame.features
    total, offset, centred = _centred(products)
    r = _factor(centred)
    offset = offset.copy()
    if frame.factor is not None:
        r[:, :features] = r[:, :features] @ frame.factor
        offset[:features] = offset[:features] @ frame.factor
    if frame.kernel is not None:
        r[:, features:] += r[:, :features] @ frame.kernel
        offset[features:] += offset[:features] @ frame.kernel
    r[:, constant] = 0.0
    if r[np.tril_indices(len(r), -1)].any():
        r = triangular.triangularise(r)
    mean = DoubleDouble(*two_sum(frame.shift, offset))
    mean.hi[constant], mean.lo[constant] = first[constant], 0.0
    return Statistics(nobs, as_doubledouble(total), log_weight, mean, r, constant, frame.error_of_factor)


def _centred(products: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the weight, the means, and the cross-products about the means."""
    total = products[-1, -1]
    offset = products[:-1, -1] / total
    return float(total), offset, products[:-1, :-1] - total * np.outer(offset, offset)


def _factor(products: np.ndarray) -> np.ndarray:
    """Return R with `R.T @ R == products`, to the rounding of the products; they may be singular."""
    scale = np.sqrt(np.maximum(np.diag(products), 0.0))
    where = np.flatnonzero(scale)
    if len(where) < len(scale):
        r = np.zeros_like(products)
        r[np.ix_(where, where)] = _factor(products[np.ix_(where, where)])
        return r
    unit = products / scale / scale[:, None]
    try:
        return np.linalg.cholesky(unit).T * scale
    except np.linalg.LinAlgError:  # fewer rows than columns
        values, vectors = np.linalg.eigh(unit)
        rows = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        return triangular.triangularise(rows) * scale

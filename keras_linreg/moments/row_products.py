"""Cross-products and factors of many rows, block by block, on all cores."""

import concurrent.futures
import itertools
from collections.abc import Callable

import numpy as np

from keras_linreg.data import ColumnMatrix
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import two_sum
from keras_linreg.moments.frame import Frame
from keras_linreg.utils.threads import cores

BLOCK_NUMBERS = 160_000  # of a block of rows: it stays in a core's cache
LONGEST_SUM = 8192  # products that BLAS adds up: the longer a sum, the larger its rounding errors
WORTH_THREADS = 200_000
LANES = 8  # BLAS is up to twice as fast on rows whose length is a multiple of its vectors'
MAX_THREADS = 16


def cross_products(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, frame: Frame) -> np.ndarray:
    """Return the cross-products `(q + 1, q + 1)` of `[z residuals 1]` in a frame, weighted.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        frame: the coordinates z and the residuals.
    """
    transform = _transform(frame)

    def products(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        return _cross_products(x, y, weights, frame, transform)

    return np.sum(_shares(products, x, y, weights), axis=0)


def reflections(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray) -> np.ndarray:
    """Return the factor `(q + 1, q + 1)` of `[1 x y]`, shifted and weighted, by Householder reflections.

    The column of ones comes first, so its reflection takes the mean out of all other columns.
    """

    def factor(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        return _reflections(x, y, weights, shift)

    return triangular.triangularise(np.concatenate(_shares(factor, x, y, weights)))


def _shares(
    function: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray, weights: np.ndarray | None
) -> list[np.ndarray]:
    """Return the function of each core's share of the rows."""
    threads = min(cores(), MAX_THREADS, -(-len(x) // _height(x.shape[1] + y.shape[1])))
    if threads == 1 or x.size < WORTH_THREADS:
        return [function(x, y, weights)]
    # NumPy's warning settings belong to a thread: the callers' do not reach these.
    quietly = np.errstate(over="ignore", invalid="ignore")(function)
    bounds = np.linspace(0, len(x), threads + 1).astype(int)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        shares = [
            pool.submit(quietly, x[a:b], y[a:b], None if weights is None else weights[a:b])
            for a, b in itertools.pairwise(bounds)
        ]
        return [share.result() for share in shares]


def _height(width: int) -> int:
    """Return the rows of a block."""
    return max(min(BLOCK_NUMBERS // (width + 1), LONGEST_SUM), 2 * width + 2)


def _transform(frame: Frame) -> tuple[slice | np.ndarray, np.ndarray] | None:
    """Return how shifted rows `[x y 1]`, padded, become `[z residuals 1]`: the columns that change, and a matrix.

    It is None where z is x. Where most columns change, all are multiplied.
    """
    if frame.inverse is None:
        return None
    features, width = frame.features, len(frame.shift)
    matrix = np.eye(_padded(width + 1))
    matrix[:features, :features] = frame.inverse
    if frame.kernel is not None:
        matrix[:features, features:width] = -frame.kernel
    if frame.turned_columns is None:
        return slice(None), matrix
    outputs = np.arange(features, width if frame.kernel is not None else features)
    columns = np.concatenate([frame.turned_columns, outputs])
    return columns, np.ascontiguousarray(matrix[:, columns])


def _is_by_columns(x: np.ndarray | ColumnMatrix) -> bool:
    """Return whether the numbers of a column lie side by side in memory; a block in the same order is read faster."""
    return isinstance(x, ColumnMatrix) or x.strides[0] < x.strides[1]


def _padded(width: int) -> int:
    return -(-width // LANES) * LANES


def _cross_products(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    frame: Frame,
    transform: tuple[slice | np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    features, shift, width = frame.features, frame.shift, len(frame.shift) + 1
    padded = _padded(width)
    products = np.zeros((padded, padded))
    total, rest = np.zeros((2, padded, width - features))
    height = min(_height(width - 1), len(x))
    rows = np.zeros((height, padded), order="F" if _is_by_columns(x) else "C")
    turned = np.empty_like(rows) if transform is not None and isinstance(transform[0], slice) else None
    is_shifted = shift[:features].any()
    for start in range(0, len(x), height):
        n = min(height, len(x) - start)
        block = rows[:n]
        block[:, width - 1] = 1.0
        if isinstance(x, ColumnMatrix):
            x[start : start + n].less(shift, block[:, :features])
        elif is_shifted:
            np.subtract(x[start : start + n], shift[:features], out=block[:, :features])
        else:  # a copy is faster
            block[:, :features] = x[start : start + n]
        np.subtract(y[start : start + n], shift[features:], out=block[:, features : width - 1])
        if turned is not None and transform is not None:
            block = np.matmul(block, transform[1], out=turned[:n])
        elif transform is not None:
            block[:, transform[0]] = block @ transform[1]
        elif frame.kernel is not None:
            block[:, features : width - 1] -= block[:, :features] @ frame.kernel
        if weights is not None:
            block[:, :width] *= np.sqrt(weights[start : start + n])[:, None]
        of_block = block.T @ block  # SciPy's dsyrk would be faster, but keeps all other threads waiting
        products += of_block
        # The products by residuals cancel: their sum is carried in double-double.
        total, error = two_sum(total, of_block[:, features:width])
        rest += error
    products[:, features:width] = total + rest
    return products[:width, :width]


def _reflections(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray) -> np.ndarray:
    features, width = x.shape[1], len(shift) + 1
    height = _height(width - 1)
    r = np.zeros((0, width))
    for start in range(0, len(x), height):
        n = len(y[start : start + height])
        block = np.empty((len(r) + n, width), order="F")
        block[: len(r)] = r
        new = block[len(r) :]
        new[:, 0] = 1.0
        np.subtract(x[start : start + n], shift[:features], out=new[:, 1 : features + 1])
        np.subtract(y[start : start + n], shift[features:], out=new[:, features + 1 :])
        if weights is not None:
            new *= np.sqrt(weights[start : start + n])[:, None]
        r = triangular.householder(block)
    return r

"""Cross-products and factors of many rows, block by block, on all cores."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_linreg.data import ColumnMatrix
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import two_sum
from keras_linreg.moments.frame import Frame
from keras_linreg.utils.threads import cores, in_order, product_without_lock

BLOCK_NUMBERS = 160_000  # of a block of rows: it stays in a core's cache
LONGEST_SUM = 8192  # products that BLAS adds up: the longer a sum, the larger its rounding errors
WORTH_THREADS = 200_000
LANES = 8  # BLAS is up to twice as fast on rows whose length is a multiple of its vectors'
MAX_THREADS = 16  # and shares of the rows, on however many threads: the bits do not depend on them
PANEL = 256  # columns: the products of one block of wide rows are made so many columns at a time, on all cores
BLOCKS_OF_FACTOR = 4  # of a share: the factors of shares must be reduced, too

Transform = tuple[slice | np.ndarray, np.ndarray]  # the columns that change, and a matrix


def cross_products(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, frame: Frame) -> np.ndarray:
    """Return the cross-products `(q + 1, q + 1)` of `[z residuals 1]` in a frame, weighted.

    The bits are the same on any number of threads.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        frame: the coordinates z and the residuals.
    """
    transform, count = _transform(frame), len(x)
    spare: list[_Blocks] = []  # of threads that wait for a share

    def products(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        try:
            blocks = spare.pop()
        except IndexError:
            blocks = _Blocks(x, frame, transform)
        of_share = _cross_products(x, y, weights, blocks, _product_by_panels if len(x) == count else _product)
        spare.append(blocks)
        return of_share

    width, features = len(frame.shift) + 1, frame.features
    total, rest = np.zeros((2, width, width - features))
    sums = np.zeros((width, width))
    for own, own_rest in _shares(products, x, y, weights, 1):
        sums += own
        # The products by residuals cancel: their sum is carried in double-double.
        total, error = two_sum(total, own[:, features:])
        rest += error + own_rest
    sums[:, features:] = total + rest
    return sums


def reflections(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray) -> np.ndarray:
    """Return the factor `(q + 1, q + 1)` of `[1 x y]`, shifted and weighted, by Householder reflections.

    The column of ones comes first, so its reflection takes the mean out of all other columns.
    """

    def factor(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        return _reflections(x, y, weights, shift)

    return triangular.triangularise(np.concatenate(list(_shares(factor, x, y, weights, BLOCKS_OF_FACTOR))))


def _shares(
    function: Callable[..., Any], x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, blocks: int
) -> Iterator[Any]:
    """Yield the function of each share of the rows, in their order; the shares do not depend on the threads.

    Args:
        function: of x, y and weights.
        x, y, weights: the rows.
        blocks: so many blocks a share has, at least.
    """
    count = -(-len(x) // _height(x.shape[1] + y.shape[1]))  # of blocks
    height = -(-len(x) // max(count, 1)) * max(blocks, -(-count // MAX_THREADS))
    if len(x) <= height or x.size < WORTH_THREADS:
        yield function(x, y, weights)
        return
    # NumPy's warning settings belong to a thread: the callers' do not reach these.
    quietly = np.errstate(over="ignore", invalid="ignore")(function)
    parts = (slice(start, start + height) for start in range(0, len(x), height))
    shares = ((x[part], y[part], None if weights is None else weights[part]) for part in parts)
    yield from in_order(lambda share: quietly(*share), shares, ahead=cores())  # products of wide rows are large


def _height(width: int) -> int:
    """Return the rows of a block."""
    return max(min(BLOCK_NUMBERS // (width + 1), LONGEST_SUM), 2 * width + 2)


def _transform(frame: Frame) -> Transform | None:
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


class _Blocks:
    """Writes blocks of rows `[z residuals 1]` in a frame, one after the other into the same memory.

    Args:
        x: the rows, or others in the same order in memory.
        frame: the coordinates z and the residuals.
        transform: as `_transform` returns it.
    """

    def __init__(self, x: np.ndarray, frame: Frame, transform: Transform | None):
        self.frame = frame
        self._transform = transform
        self._padded = _padded(len(frame.shift) + 1)
        self._is_by_columns = _is_by_columns(x)
        height = _height(len(frame.shift))
        self._memory = [np.zeros(height * self._padded) for _ in range(1 if transform is None else 2)]
        self._rows = height

    def block(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, start: int, end: int) -> np.ndarray:
        """Return some of the rows, `(m, q + 1)` and columns of zeros."""
        frame, features, shift = self.frame, self.frame.features, self.frame.shift
        width, n = len(shift) + 1, end - start
        block = self._empty(0, n)
        if n != self._rows:  # the numbers of another block lie there
            block[:, width:], self._rows = 0.0, n
        block[:, width - 1] = 1.0
        if isinstance(x, ColumnMatrix):
            x.less(shift[:features], block[:, :features], start)
        elif x.dtype == np.float64 and shift[:features].any():
            np.subtract(x[start:end], shift[:features], out=block[:, :features])
        else:  # a copy is faster
            block[:, :features] = x[start:end]
            if shift[:features].any():
                block[:, :features] -= shift[:features]
        np.subtract(y[start:end], shift[features:], out=block[:, features : width - 1])
        if self._transform is not None and isinstance(self._transform[0], slice):
            block = np.matmul(block, self._transform[1], out=self._empty(1, n))
        elif self._transform is not None:
            block[:, self._transform[0]] = block @ self._transform[1]
        elif frame.kernel is not None:
            block[:, features : width - 1] -= block[:, :features] @ frame.kernel
        if weights is not None:
            block[:, :width] *= np.sqrt(weights[start:end])[:, None]
        return block

    def _empty(self, which: int, n: int) -> np.ndarray:
        """Return one of two places in memory for n rows."""
        memory = self._memory[which][: n * self._padded]
        return memory.reshape(self._padded, n).T if self._is_by_columns else memory.reshape(n, self._padded)


def _product(block: np.ndarray) -> np.ndarray:
    return product_without_lock(block.T, block)  # SciPy's dsyrk would be faster, but keeps the lock


def _product_by_panels(block: np.ndarray) -> np.ndarray:
    """Return `block.T @ block`; of many columns some at a time, on all cores, with the same bits on any number."""
    width = block.shape[1]
    if width < 2 * PANEL or block.size < WORTH_THREADS:
        return _product(block)
    products = np.empty((width, width))

    def fill(start: int) -> None:
        end = min(start + PANEL, width)
        panel = block[:, start:end]
        products[start:end, start:end] = _product(panel)
        np.matmul(panel.T, block[:, end:], out=products[start:end, end:])
        products[end:, start:end] = products[start:end, end:].T

    for _ in in_order(fill, range(0, width, PANEL)):
        pass
    return products


def _cross_products(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    blocks: _Blocks,
    product: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-products `(q + 1, q + 1)`, and the rests of those by residuals and ones."""
    features, width = blocks.frame.features, len(blocks.frame.shift) + 1
    padded = _padded(width)
    products = np.zeros((padded, padded))
    total, rest = np.zeros((2, padded, width - features))
    count = max(1, -(-len(x) // _height(width - 1)))
    height = -(-len(x) // count)
    for start in range(0, len(x), height):
        block = blocks.block(x, y, weights, start, min(start + height, len(x)))
        of_block = product(block)
        products += of_block
        total, error = two_sum(total, of_block[:, features:width])
        rest += error
    products[:, features:width] = total
    return products[:width, :width], rest[:width]


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

"""A second pass over the rows of a fit: residuals and leverages, block by block.

Moments give the coefficients, but no residual of a single row. Where these are needed, the rows are read once more. A
pass hands blocks of rows to accumulators, in bounded memory and on all cores, and refuses rows that are not the rows of
the fit.

A row enters as its coordinates z in an orthonormal basis of the design (`keras_linreg.inference.coordinates`). With the
rows z below each other in Z, `Z.T @ Z` is the identity, and the fitted values are `Z @ Z.T @ y`. So `Z @ Z.T` is the
hat matrix, and the leverage of a row, its diagonal element, is a sum of squares:

```python
leverage = z @ z
```

Where rows have weights, each row of the design and of y counts times the root of its weight. Then the above holds for
these rows, and a residual is the root of the weight times the residual of y.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from keras_linreg.data.row_blocks import row_blocks, without_zero_weights
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.intervals import BLOCK_NUMBERS
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF
from keras_linreg.utils.threads import in_order, one_blas_thread, product_without_lock
from keras_linreg.utils.types import Array, Batch

SAME_ROWS_RULE = "`data` must be the data of the fit: the same rows, with the same weights."
LEVERAGE_ONE_TOLERANCE = 1e-10
# How far moments of the same rows may differ, as a part of their size, if rounding adds nothing.
MOMENTS_TOLERANCES = {"float64": 1e-8, "float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-2}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of the second pass: n rows with a weight, out of `height` rows that were read.

    Attributes:
        first_row: the number of the first row, counted from 0 over the whole data.
        height: the number of rows, with the rows of weight zero.
        used: mask `(height,)` of the rows whose weight is not zero; None if all are used.
        z: `(n, m)`, float64: the coordinates of the rows, times `root_weight`.
        residuals: `(n, k)`, float64: `(y - x @ kernel - bias) * root_weight`.
        fitted: `(n, k)`, float64: `x @ kernel + bias`, about the means.
        leverage: `(n,)`.
        root_weight: `(n, 1)`: the roots of the weights; None if all weights are 1.
    """

    first_row: int
    height: int
    used: Array | None
    z: Array
    residuals: Array
    fitted: Array
    leverage: Array
    root_weight: Array | None

    @property
    def row_numbers(self) -> Array:
        """The numbers `(n,)` of the rows, counted from 0 over the whole data, with the rows of weight zero."""
        return self.first_row + (np.arange(self.height) if self.used is None else np.flatnonzero(self.used))


class BlockAccumulator(Protocol[T]):
    """Adds up the blocks of a second pass. The work on a block is on any thread; only the sum has an order."""

    def contribution(self, block: Block) -> T:
        """Return the block's part of the result. It is called on several threads at a time."""

    def add(self, contribution: T) -> None:
        """Add the part of the next block, in the order of the rows."""


def run_second_pass(
    estimate: Estimate,
    batches: Iterable[Batch],
    accumulators: Sequence[BlockAccumulator[Any]],
    block_numbers: int = BLOCK_NUMBERS,
) -> None:
    """Read the rows of the fit once more, and add each block of them to each accumulator.

    Args:
        estimate: of the fit, without a penalty.
        batches: `(x, y, sample_weight)` of the same rows.
        accumulators: of the results.
        block_numbers: about how many numbers the x of a block has.

    Raises:
        ValueError: the rows are not the rows of the fit. The accumulators may hold anything then.
    """
    check = SameRowsCheck(estimate)
    accumulate_blocks(estimate, batches, [check, *accumulators], block_numbers)
    check.refuse_other_rows()


def accumulate_blocks(
    estimate: Estimate,
    batches: Iterable[Batch],
    accumulators: Sequence[BlockAccumulator[Any]],
    block_numbers: int = BLOCK_NUMBERS,
) -> None:
    """Add each block of some rows to each accumulator; the rows may be a part of those of the fit.

    Args:
        estimate, batches, accumulators, block_numbers: as in `run_second_pass`.
    """

    @np.errstate(all="ignore")  # a thread does not know how its caller has set NumPy's warnings
    def contributions(numbered: tuple[int, Batch]) -> list[Any]:
        block = _block(estimate, *numbered)
        return [accumulator.contribution(block) for accumulator in accumulators]

    with one_blas_thread(), np.errstate(all="ignore"):
        for each in in_order(contributions, _numbered_blocks(batches, block_numbers)):
            for accumulator, contribution in zip(accumulators, each, strict=True):
                accumulator.add(contribution)


def read_blocks(estimate: Estimate, batches: Iterable[Batch], block_numbers: int = BLOCK_NUMBERS) -> Iterator[Block]:
    """Yield the blocks of a second pass, for results of each row.

    Args:
        estimate: of the fit, without a penalty.
        batches: `(x, y, sample_weight)` of the same rows.
        block_numbers: about how many numbers the x of a block has.

    Raises:
        ValueError: at the end: the rows are not the rows of the fit.
    """
    check = SameRowsCheck(estimate)
    for numbered in _numbered_blocks(batches, block_numbers):
        with one_blas_thread(), np.errstate(all="ignore"):
            block = _block(estimate, *numbered)
            check.add(check.contribution(block))
        yield block
    check.refuse_other_rows()


def has_leverage_one(estimate: Estimate, leverage: Array) -> Array:
    """Return the mask `(n,)` of rows of leverage 1, up to rounding: a coefficient serves each such row alone.

    Such a row is fitted exactly whatever its y. Its residual is zero and has no variance to be divided by.
    """
    tolerance = max(LEVERAGE_ONE_TOLERANCE, 16 * FLOAT64_ROUNDOFF * estimate.scaled_condition_number)
    return 1 - leverage < tolerance


def moments_tolerance(estimate: Estimate) -> float:
    """Return how far moments of the same rows may differ, as a part of their size.

    The coordinates come from the inverse of the factor, which amplifies rounding errors by the condition number.
    """
    return max(MOMENTS_TOLERANCES[estimate.dtype], 1e3 * FLOAT64_ROUNDOFF * estimate.scaled_condition_number)


def _block(estimate: Estimate, first_row: int, batch: Batch) -> Block:
    """Return the block of a batch `(x, y, sample_weight)`; `first_row` is the number of its first row."""
    used = None
    if batch[2] is not None and (np.asarray(batch[2]) == 0).any():
        used = np.asarray(batch[2]) != 0
    x, y, weights = without_zero_weights(*batch)
    coordinates = estimate.unpenalised_coordinates()
    mean, rest_of_mean = estimate.mean_of_outputs
    centred = coordinates.centred(x)  # so that an offset of the columns costs no digits
    z, explained = coordinates.of_centred(centred), centred @ estimate.params[int(estimate.has_intercept) :]
    residuals = np.asarray(y, np.float64) - mean - rest_of_mean - explained
    root_weight = None if weights is None else np.sqrt(weights)[:, None]
    if root_weight is not None:
        z, residuals = z * root_weight, residuals * root_weight
    leverage = np.einsum("ij,ij->i", z, z)
    return Block(first_row, len(batch[0]), used, z, residuals, mean + explained, leverage, root_weight)


class Sums(NamedTuple):
    """Sums over some rows of a fit, by which its rows are known."""

    rows: int
    with_intercept: Array  # (m,): z[:, 0] @ z, zeros without an intercept
    squares: Array  # (m,): z**2
    gradient: Array  # (m, k): z.T @ residuals
    ssr: Array  # (k,): residuals**2

    def merge(self, other: "Sums") -> "Sums":
        """Return the sums over the rows of both."""
        return Sums(
            self.rows + other.rows,
            self.with_intercept + other.with_intercept,
            self.squares + other.squares,
            self.gradient + other.gradient,
            self.ssr + other.ssr,
        )


class SameRowsCheck:
    """Compares the rows of the pass with the rows of the fit.

    Over the rows of the fit,

    ```python
    Z.T @ Z == identity
    Z.T @ residuals == 0
    sum(residuals**2) == ssr
    ```

    Of `Z.T @ Z`, only the diagonal and the row of the intercept (the means of the columns) are compared. That costs 2 m
    products a row; the whole would cost as much as the fit. The order of the rows does not count.

    Attributes:
        total: the sums over the rows so far: a contribution as that of a block.
    """

    def __init__(self, estimate: Estimate):
        self.estimate = estimate
        m, k = estimate.rank, len(estimate.ssr)
        self.total = Sums(0, np.zeros(m), np.zeros(m), np.zeros((m, k)), np.zeros(k))

    def contribution(self, block: Block) -> Sums:
        """Return the sums over a block."""
        z, residuals = block.z, block.residuals
        return Sums(
            rows=len(z),
            with_intercept=product_without_lock(z.T, z[:, 0]) if self.estimate.has_intercept else np.zeros(z.shape[1]),
            squares=np.einsum("ij,ij->j", z, z),
            gradient=product_without_lock(z.T, residuals),
            ssr=np.einsum("ij,ij->j", residuals, residuals),
        )

    def add(self, contribution: Sums) -> None:
        """Add the sums over a block, or over many.

        Raises:
            ValueError: there are more rows than in the fit.
        """
        self.total = self.total.merge(contribution)
        if self.total.rows > self.estimate.nobs:  # refused at once: a stream may have no end
            raise ValueError(
                f"{SAME_ROWS_RULE} Received: at least {self.total.rows} rows, and the fit was of {self.estimate.nobs}."
            )

    def refuse_other_rows(self) -> None:
        """Raise a ValueError if the rows were not the rows of the fit."""
        estimate, total = self.estimate, self.total
        if total.rows != estimate.nobs:
            raise ValueError(
                f"{SAME_ROWS_RULE} Received: {total.rows} rows, and the fit was of {estimate.nobs}, rows of weight 0 "
                "not counted."
            )
        tolerance = moments_tolerance(estimate)
        norm_of_y = np.sqrt(np.maximum(estimate.tss, 1e-300))
        are_same = (
            (np.abs(total.squares - 1) <= tolerance).all()
            and (np.abs(total.with_intercept[1:]) <= tolerance).all()
            and (np.abs(total.gradient) <= tolerance * norm_of_y).all()
            and (np.abs(total.ssr - estimate.ssr) <= tolerance * estimate.ssr + tolerance**2 * estimate.tss).all()
        )
        if not are_same:
            raise ValueError(f"{SAME_ROWS_RULE} Received: as many rows, with other moments.")


def _numbered_blocks(batches: Iterable[Batch], block_numbers: int) -> Iterator[tuple[int, Batch]]:
    """Yield the number of a block's first row, and the block's x, y and weights."""
    first_row = 0
    for block in row_blocks(batches, block_numbers):
        yield first_row, block
        first_row += len(block[0])

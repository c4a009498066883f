"""A second pass over the rows of a fit: residuals and leverages, block by block, and whether the rows are the same."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from keras_linreg.data.row_blocks import row_blocks, without_zero_weights
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.intervals import BLOCK_NUMBERS
from keras_linreg.utils.threads import in_order, one_blas_thread

RULE = "`data` must be what the model was fitted on: the same rows, with the same weights."
FITTED_EXACTLY = 1e-10  # what is left of 1 by the leverage of a row that has a coefficient to itself
SAME = {"float64": 1e-8, "float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-2}  # of moments, beside what rounding does


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some rows of the second pass, those of weight zero left out; `root_weight` is the root of a row's weight.

    Attributes:
        first: the number of the first row, among all that were given.
        given: how many rows were given.
        used: mask `(given,)` of the rows whose weight is not zero, `None`: all.
        z: `(n, m)`, float64: the coordinates of the rows, times `root_weight`.
        residuals: `(n, k)`, float64: `(y - x @ kernel - bias) * root_weight`.
        fitted: `(n, k)`, float64.
        leverage: `(n,)`.
        root_weight: `(n, 1)`, or `None`.
    """

    first: int
    given: int
    used: np.ndarray | None
    z: np.ndarray
    residuals: np.ndarray
    fitted: np.ndarray
    leverage: np.ndarray
    root_weight: np.ndarray | None

    @property
    def rows(self) -> np.ndarray:
        """The numbers `(n,)` of the rows, among all that were given."""
        return self.first + (np.arange(self.given) if self.used is None else np.flatnonzero(self.used))


class Reading(Protocol):
    """What is read off the blocks of a second pass."""

    def of(self, block: Block) -> Any:
        """Return what a block says; on any thread."""

    def add(self, what: Any) -> None:
        """Take what `of` returned, in the order of the rows."""


def read(estimate: Estimate, batches: Iterable[tuple], readings: Sequence[Reading]) -> None:
    """Read the rows of the fit once more, in bounded memory.

    Args:
        estimate: of the fit, without a penalty.
        batches: `(x, y, sample_weight)` of the same rows.
        readings: what takes the blocks.

    Raises:
        ValueError: they are not the rows of the fit.
    """
    start = int(estimate.has_intercept)
    kernel = estimate.params[start:]
    coordinates = estimate.unpenalised_coordinates()
    middle = estimate.params[0] + coordinates.centre.sum(axis=0) @ kernel if start else np.zeros(kernel.shape[1])
    check = _Check(estimate)

    def of_block(numbered: tuple) -> list:
        first, (x, y, weights) = numbered
        given, used = len(x), None
        if weights is not None and (np.asarray(weights) == 0).any():
            used = np.asarray(weights) != 0
        x, y, weights = without_zero_weights(x, y, weights)
        root = None if weights is None else np.sqrt(weights)[:, None]
        moved = coordinates.centred(x)  # so that an offset of the columns takes no digits
        z, explained = coordinates.of_centred(moved), moved @ kernel
        residuals = np.asarray(y, np.float64) - middle - explained
        if root is not None:
            z, residuals = z * root, residuals * root
        leverage = np.einsum("ij,ij->i", z, z)
        block = Block(first, given, used, z, residuals, middle + explained, leverage, root)
        return [reading.of(block) for reading in (check, *readings)]

    # A thread does not know how its caller has set NumPy's warnings.
    quietly = np.errstate(all="ignore")(of_block)
    with one_blas_thread(), np.errstate(all="ignore"):
        for each in in_order(quietly, _numbered(batches)):
            for reading, what in zip((check, *readings), each, strict=True):
                reading.add(what)
    check.refuse_others()


def least_left(estimate: Estimate) -> float:
    """Return what is left of 1, up to rounding, by the leverage of a row that has a coefficient to itself."""
    return max(FITTED_EXACTLY, 16 * 2.0**-53 * estimate.scaled_condition_number)


def slack_of(estimate: Estimate) -> float:
    """Return how far moments may be off, as part of their size, that are taken from the same data twice."""
    return max(SAME[estimate.dtype], 1e3 * 2.0**-53 * estimate.scaled_condition_number)


class _Check:
    """Compares rows with those of the fit: in its coordinates their cross-products are the identity."""

    def __init__(self, estimate: Estimate):
        self.estimate, self.slack = estimate, slack_of(estimate)
        width = estimate.rank
        self.nobs = 0
        self.sums: list = [
            np.zeros(width),
            np.zeros(width),
            np.zeros((width, len(estimate.ssr))),
            np.zeros(len(estimate.ssr)),
        ]

    def of(self, block: Block) -> tuple:
        z, u = block.z, block.residuals
        across = z.T @ z[:, 0] if self.estimate.has_intercept else np.zeros(z.shape[1])
        return len(z), [across, np.einsum("ij,ij->j", z, z), z.T @ u, np.einsum("ij,ij->j", u, u)]

    def add(self, of_block: tuple) -> None:
        self.nobs += of_block[0]
        most = self.estimate.nobs
        if self.nobs > most:  # a stream may have no end
            raise ValueError(f"{RULE} Received: at least {self.nobs} rows, and the fit was of {most}.")
        self.sums = [total + part for total, part in zip(self.sums, of_block[1], strict=True)]

    def refuse_others(self) -> None:
        estimate, slack = self.estimate, self.slack
        across, norms, gradient, ssr = self.sums
        if self.nobs != estimate.nobs:
            raise ValueError(
                f"{RULE} Received: {self.nobs} rows, and the fit was of {estimate.nobs}, rows of weight 0 not counted."
            )
        size = np.sqrt(np.maximum(estimate.tss, 1e-300))
        same = (
            (np.abs(norms - 1) <= slack).all()
            and (np.abs(across[1:]) <= slack).all()
            and (np.abs(gradient) <= slack * size).all()
            and (np.abs(ssr - estimate.ssr) <= slack * estimate.ssr + slack**2 * estimate.tss).all()
        )
        if not same:
            raise ValueError(f"{RULE} Received: as many rows, with other moments.")


def _numbered(batches: Iterable[tuple]) -> Iterator[tuple]:
    first = 0
    for block in row_blocks(batches, BLOCK_NUMBERS):
        yield first, block
        first += len(block[0])

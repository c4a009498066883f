"""What diagnostics read off the rows in one pass: residuals, influence, a sample, regressions of squares."""

import math

import numpy as np

from keras_linreg.inference.distributions import p_of_chi2, p_of_f
from keras_linreg.inference.estimate import Estimate, estimate_parameters
from keras_linreg.inference.quantiles import Quantiles
from keras_linreg.inference.second_pass import Block, least_left
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.solvers import solve

SAMPLE_ROWS = 5000
MOST_WHITE_TERMS = 300
INFLUENCE = ("rows", "cooks_distance", "resid_studentized", "leverage", "residuals", "fitted")


def standardized(estimate: Estimate, block: Block) -> np.ndarray:
    """Return the internally studentised residuals `(n, k)`; NaN where a row has leverage 1."""
    left = 1 - block.leverage
    left = np.where(left < least_left(estimate), np.nan, left)
    return block.residuals / np.sqrt(estimate.scale * left[:, None])


class Residuals:
    """Moments, order and quantiles of the residuals."""

    def __init__(self, estimate: Estimate):
        self.estimate = estimate
        self.unit = np.where(estimate.scale > 0, np.sqrt(estimate.scale), 1.0)
        self.moments = (0, *np.zeros((4, len(estimate.ssr))))
        self.steps = np.zeros(len(estimate.ssr))
        self.last: np.ndarray | None = None
        self.quantiles = [Quantiles(unit) for unit in self.unit]
        self.standardized = [Quantiles(1.0) for _ in self.unit]

    def of(self, block: Block) -> tuple:
        """Return the residuals of a block, and the sums over them."""
        u = block.residuals / self.unit
        centre = u.mean(axis=0) if len(u) else np.zeros(len(self.unit))
        apart = u - centre
        moments = (len(u), centre, *((apart**power).sum(axis=0) for power in (2, 3, 4)))
        steps = (np.diff(u, axis=0) ** 2).sum(axis=0)
        return block.residuals, standardized(self.estimate, block), moments, steps

    def add(self, of_block: tuple) -> None:
        """Add what a block said, in the order of the rows."""
        residuals, standard, moments, steps = of_block
        if not len(residuals):
            return
        self.moments = _merged(self.moments, moments)
        self.steps += steps
        if self.last is not None:
            self.steps += ((residuals[0] - self.last) / self.unit) ** 2
        self.last = residuals[-1]
        for j in range(len(self.unit)):
            self.quantiles[j].add(residuals[:, j])
            self.standardized[j].add(standard[:, j][np.isfinite(standard[:, j])])

    def mean(self) -> np.ndarray:
        """Return the mean residuals `(k,)`."""
        return self.moments[1] * self.unit

    def std(self) -> np.ndarray:
        """Return the standard deviations `(k,)`."""
        return np.sqrt(self.moments[2] / (self.moments[0] - 1)) * self.unit

    def durbin_watson(self) -> np.ndarray:
        """Return the squares of the steps from row to row, over the squares of the residuals."""
        count, mean, second, *_ = self.moments
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.steps / (second + count * mean**2)

    def shape(self) -> tuple[np.ndarray, np.ndarray]:
        """Return skewness and kurtosis."""
        count, _, second, third, fourth = self.moments
        with np.errstate(invalid="ignore", divide="ignore"):
            return third / count / (second / count) ** 1.5, fourth / count / (second / count) ** 2


def _merged(a: tuple, b: tuple) -> tuple:
    """Return count, mean and sums of central powers of two sets of values together (Pébay 2008)."""
    (m, mean, *mine), (n, other, *theirs) = a, b
    second, third, fourth = (x + y for x, y in zip(mine, theirs, strict=True))
    whole, d = m + n, other - mean
    return (
        whole,
        mean + d * n / whole,
        second + d**2 * m * n / whole,
        third + d**3 * m * n * (m - n) / whole**2 + 3 * d * (m * theirs[0] - n * mine[0]) / whole,
        fourth
        + d**4 * m * n * (m**2 - m * n + n**2) / whole**3
        + 6 * d**2 * (m**2 * theirs[0] + n**2 * mine[0]) / whole**2
        + 4 * d * (m * theirs[1] - n * mine[1]) / whole,
    )


class Influence:
    """The rows of largest Cook's distance, of each output."""

    def __init__(self, estimate: Estimate, most: int):
        self.estimate, self.most = estimate, most
        self.exact_rows = 0
        self.kept = [np.zeros((len(INFLUENCE), 0)) for _ in estimate.ssr]

    def of(self, block: Block) -> tuple:
        """Return how many rows have leverage 1, and the candidates among the others."""
        estimate, h = self.estimate, block.leverage
        inner = standardized(estimate, block)
        distance = inner**2 / estimate.rank * (h / (1 - h))[:, None]
        df = estimate.df_resid
        outer = inner * np.sqrt((df - 1) / (df - inner**2)) if df > 1 else np.full(inner.shape, np.nan)
        good = 1 - h >= least_left(estimate)
        distance[~np.isfinite(distance)] = 0.0  # of a fit that is perfect to the last bit
        rows = block.rows
        each = []
        for j in range(len(estimate.ssr)):
            columns = [rows, distance[:, j], outer[:, j], h, block.residuals[:, j], block.fitted[:, j]]
            each.append(self._largest(np.stack(columns)[:, good]))
        return int((~good).sum()), each

    def add(self, of_block: tuple) -> None:
        """Add what a block said."""
        self.exact_rows += of_block[0]
        self.kept = [self._largest(np.concatenate(both, axis=1)) for both in zip(self.kept, of_block[1], strict=True)]

    def result(self) -> dict[str, np.ndarray]:
        """Return arrays `(m, k)`, the most influential rows first."""
        stacked = np.stack(self.kept, axis=-1)
        result = dict(zip(INFLUENCE, stacked, strict=True))
        return {**result, "rows": result["rows"].astype(int)}

    def _largest(self, columns: np.ndarray) -> np.ndarray:
        order = np.lexsort((columns[0], -columns[1]))  # of equals the first
        return columns[:, order[: self.most]]


class Sample:
    """Rows drawn at random, each as likely as any other, and the same ones each time."""

    def __init__(self, estimate: Estimate):
        self.estimate = estimate
        self.random = np.random.default_rng(0)
        self.keys = np.zeros(0)
        self.kept: dict[str, np.ndarray] = {}

    def of(self, block: Block) -> dict[str, np.ndarray]:
        """Return all that may be drawn of a block."""
        plain = block.residuals if block.root_weight is None else block.residuals / block.root_weight
        return {
            "rows": block.rows,
            "y": block.fitted + plain,
            "fitted": block.fitted,
            "residuals": block.residuals,
            "standardized": standardized(self.estimate, block),
            "leverage": block.leverage,
        }

    def add(self, of_block: dict[str, np.ndarray]) -> None:
        """Draw a key for each row, and keep those of the smallest."""
        keys = self.random.random(len(of_block["rows"]))
        if len(self.keys) == SAMPLE_ROWS:
            chosen = keys < self.keys.max()
            keys, of_block = keys[chosen], {name: part[chosen] for name, part in of_block.items()}
        if self.kept:
            of_block = {name: np.concatenate([part, of_block[name]]) for name, part in self.kept.items()}
        keys = np.concatenate([self.keys, keys])
        chosen = np.sort(np.argsort(keys, kind="stable")[:SAMPLE_ROWS])
        self.keys, self.kept = keys[chosen], {name: part[chosen] for name, part in of_block.items()}


class Auxiliary:
    """Regressions of the squared residuals on the columns, and on their squares and products, as any other fit."""

    def __init__(self, estimate: Estimate):
        self.estimate = estimate
        self.start = int(estimate.has_intercept)
        self.width = estimate.rank - self.start
        self.white_terms = self.width * (self.width + 3) // 2
        outputs = len(estimate.ssr)
        few = self.white_terms <= MOST_WHITE_TERMS and self.white_terms < estimate.nobs - 1
        self.columns = Accumulator(self.width, outputs) if self.width else None
        self.terms = Accumulator(self.white_terms, outputs) if few and self.width else None

    def of(self, block: Block) -> tuple:
        """Return the columns, their squares and products, and the squared residuals."""
        # Orthonormal columns span what the columns span, and their products what the columns' products do.
        z = block.z if block.root_weight is None else block.z / block.root_weight
        z = z[:, self.start :] * math.sqrt(self.estimate.nobs)
        squares = block.residuals**2 / np.where(self.estimate.scale > 0, self.estimate.scale, 1.0)
        if self.terms is None:
            return z, None, squares
        first, second = np.triu_indices(self.width)
        return z, np.concatenate([z, z[:, first] * z[:, second]], axis=1), squares

    def add(self, of_block: tuple) -> None:
        """Add them to the regressions."""
        columns, terms, squares = of_block
        if self.columns is not None and len(squares):
            self.columns.update(columns, squares)
        if self.terms is not None and len(squares):
            self.terms.update(terms, squares)

    def breusch_pagan(self) -> tuple | None:
        """Return the test of the columns."""
        return _explained(self.columns)

    def white(self) -> tuple | None:
        """Return the test of the columns, their squares and products; `None` where those are too many."""
        return _explained(self.terms)


def _explained(accumulator: Accumulator | None) -> tuple | None:
    """Return the Lagrange multiplier and F statistics of a regression, with their p-values and degrees of freedom."""
    if accumulator is None:
        return None
    statistics = accumulator.result()
    names = tuple(str(j) for j in range(accumulator.features)), tuple(str(j) for j in range(accumulator.outputs))
    solution = solve(statistics, accumulator.rows, *names)
    estimate = estimate_parameters(statistics, solution)
    with np.errstate(invalid="ignore", divide="ignore"):
        lm, df = estimate.nobs * estimate.ess / estimate.tss, estimate.df_model
        f = estimate.ess / df / estimate.scale
    return lm, p_of_chi2(lm, df), f, p_of_f(f, df, estimate.df_resid), df

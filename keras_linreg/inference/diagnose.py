"""From the rows of a fit to its diagnostics: one more pass, with everything that is accumulated on the way."""

import dataclasses
from typing import Any

import numpy as np
from scipy import special

from keras_linreg.inference.covariance import squeeze_outputs
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.distributions import p_of_chi2
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.heteroscedasticity import MOST_WHITE_TERMS, SquaredResidualRegressions
from keras_linreg.inference.influence import InfluentialRows
from keras_linreg.inference.labels import labels_of
from keras_linreg.inference.quantiles import EXACT_VALUES, Quantiles
from keras_linreg.inference.residual_statistics import SAMPLE_ROWS, ResidualDistribution, RowSample
from keras_linreg.inference.row_influence import MOST_OUTLIERS, Outliers, RowsOfFit
from keras_linreg.inference.second_pass import BLOCK_NUMBERS, BlockAccumulator, run_second_pass
from keras_linreg.utils.types import Array

PROBABILITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
QQ_POINTS = 1000


def diagnose(
    rows_of_fit: RowsOfFit,
    most_rows: int,
    *,
    block_numbers: int = BLOCK_NUMBERS,
    sample_rows: int = SAMPLE_ROWS,
    exact_values: int = EXACT_VALUES,
) -> Diagnostics:
    """Return the diagnostics of a fit, by one more pass over its rows; memory does not grow with their number.

    Args:
        rows_of_fit: of the fit.
        most_rows: how many influential rows to name.
        block_numbers: about how many numbers the x of a block has.
        sample_rows: how many rows the sample has at most.
        exact_values: so many residuals have exact quantiles.
    """
    accumulators = DiagnosticsAccumulators.of(rows_of_fit.estimate, most_rows, sample_rows, exact_values)
    run_second_pass(rows_of_fit.estimate, rows_of_fit.read(), accumulators.all, block_numbers)
    return diagnostics_of(rows_of_fit, accumulators)


@dataclasses.dataclass(frozen=True, slots=True)
class DiagnosticsAccumulators:
    """All that is accumulated for diagnostics, over all rows or a part of them."""

    distribution: ResidualDistribution
    influence: InfluentialRows
    outliers: Outliers
    sample: RowSample
    regressions: SquaredResidualRegressions

    @classmethod
    def of(
        cls,
        estimate: Estimate,
        most_rows: int,
        sample_rows: int = SAMPLE_ROWS,
        exact_values: int = EXACT_VALUES,
        seed: int = 0,
    ) -> "DiagnosticsAccumulators":
        """Return them without rows; arguments as in `diagnose`, and the seed of the sample."""
        return cls(
            ResidualDistribution(estimate, exact_values),
            InfluentialRows(estimate, most_rows),
            Outliers(estimate, MOST_OUTLIERS),
            RowSample(estimate, sample_rows, seed),
            SquaredResidualRegressions(estimate),
        )

    @property
    def all(self) -> list[BlockAccumulator[Any]]:
        """All of them."""
        return [self.distribution, self.influence, self.outliers, self.sample, self.regressions]

    def merge(self, other: "DiagnosticsAccumulators", first_row: int) -> None:
        """Add the rows of another, which come after these and are counted from `first_row` on."""
        self.distribution.merge(other.distribution, first_row)
        self.influence.merge(other.influence, first_row)
        self.outliers.merge(other.outliers, first_row)
        self.sample.merge(other.sample, first_row)
        self.regressions.merge(other.regressions, first_row)


def diagnostics_of(rows_of_fit: RowsOfFit, accumulators: DiagnosticsAccumulators) -> Diagnostics:
    """Return the diagnostics that accumulators of all rows tell."""
    estimate, distribution, influence = rows_of_fit.estimate, accumulators.distribution, accumulators.influence
    outliers, sample, regressions = accumulators.outliers, accumulators.sample, accumulators.regressions
    influential = influence.result()
    n, skew, kurtosis = estimate.nobs, distribution.skewness(), distribution.kurtosis()
    # Skewness and kurtosis of n normal values have the variances 6 / n and 24 / n.
    jarque_bera = n / 6 * (skew**2 + (kurtosis - 3) ** 2 / 4)
    breusch_pagan, white = regressions.breusch_pagan(), regressions.white()
    return Diagnostics(
        output_names=estimate.output_names,
        nobs=n,
        rank=estimate.rank,
        scale=squeeze_outputs(estimate.scale),
        mean=squeeze_outputs(distribution.mean()),
        std=squeeze_outputs(distribution.std()),
        quantiles=squeeze_outputs(np.stack([q.at(PROBABILITIES) for q in distribution.quantiles], axis=-1)),
        durbin_watson=squeeze_outputs(distribution.durbin_watson()),
        skew=squeeze_outputs(skew),
        kurtosis=squeeze_outputs(kurtosis),
        jarque_bera=squeeze_outputs(jarque_bera),
        jarque_bera_pvalue=squeeze_outputs(p_of_chi2(jarque_bera, 2)),
        breusch_pagan=None if breusch_pagan is None else breusch_pagan.map(squeeze_outputs),
        white=None if white is None else white.map(squeeze_outputs),
        **{key: squeeze_outputs(part) for key, part in influential.items()},
        row_labels=squeeze_outputs(labels_of(influential["rows"], rows_of_fit.labels)),
        outliers=outliers.result(),
        sample={key: part if part.ndim == 1 else squeeze_outputs(part) for key, part in sample.result().items()},
        qq=_normal_quantiles(distribution.standardized_quantiles),
        exact_rows=influence.exact_rows,
        notes=_notes(regressions, influence.exact_rows, n, len(sample.result()["rows"])),
        rows_of_fit=rows_of_fit,
    )


def _notes(regressions: SquaredResidualRegressions, exact_rows: int, nobs: int, sample_rows: int) -> tuple[str, ...]:
    notes = []
    if regressions.has_columns and not regressions.has_white_terms:
        notes.append(
            f"White's test is left out: it would have {regressions.white_terms:,} columns, squares and products. "
            f"At most {MOST_WHITE_TERMS} are allowed, and at most the number of rows less 2."
        )
    if exact_rows:
        notes.append(
            f"Rows of leverage 1: {exact_rows:,}. A coefficient serves each of them alone. They have neither a Cook's "
            "distance nor a studentised residual."
        )
    if sample_rows < nobs:
        notes.append(f"Pictures show {sample_rows:,} rows, drawn at random.")
    return tuple(notes)


def _normal_quantiles(quantiles: list[Quantiles]) -> tuple[Array, Any]:
    """Return quantiles of the normal distribution, and of the standardised residuals beside them."""
    count = max(quantiles[0].count, 1)
    points = min(count, QQ_POINTS)
    probabilities = (np.arange(points) + 0.5) / points
    if count > points:  # the ends matter most in such a picture
        probabilities = np.concatenate([[0.5 / count], probabilities, [1 - 0.5 / count]])
    standardized = np.stack([q.at_plotting_positions(probabilities) for q in quantiles], axis=-1)
    return special.ndtri(probabilities), squeeze_outputs(standardized)

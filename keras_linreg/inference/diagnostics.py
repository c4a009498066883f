"""Diagnostics of a fit, from one more pass over its rows: residuals, tests of what was assumed, influential rows."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from keras_linreg.inference import residual_statistics, summary
from keras_linreg.inference.covariance import squeeze_outputs
from keras_linreg.inference.distributions import p_of_chi2
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.quantiles import Quantiles
from keras_linreg.inference.second_pass import read

PROBABILITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
QQ_POINTS = 1000
LABELS = 3


class LagrangeMultiplierTest(NamedTuple):
    """Whether the squared residuals depend on the columns: of one output floats, of k outputs arrays `(k,)`."""

    lm: Any
    lm_pvalue: Any
    fvalue: Any
    f_pvalue: Any
    df: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Diagnostics:
    """What the rows of a fit say of it. Residuals are weighted: times the root of the row's weight.

    For one output, figures are floats and arrays are `(m,)`; for k outputs, `(k,)` and `(m, k)`, and
    `diagnostics.output(name)` has those of one.

    Attributes:
        output_names: k names.
        nobs, rank: rows with a weight, and parameters.
        scale: the variance of the residuals.
        mean, std: of the residuals.
        quantiles: their minimum, quartiles and maximum, `(5,)`: see `keras_linreg.quantiles.Quantiles`.
        durbin_watson: near 2 where residuals do not depend on the row before them.
        skew, kurtosis: of the residuals; of a normal distribution 0 and 3.
        jarque_bera, jarque_bera_pvalue: whether they could be normal.
        breusch_pagan: whether squared residuals depend on the columns (Koenker's form).
        white: whether they depend on the columns, their squares and products; `None` where those are too many.
        rows: the rows of largest Cook's distance, `(m,)`, counted from 0 in the order of the data.
        cooks_distance, resid_studentized, leverage, residuals, fitted: of those rows; studentised externally.
        sample: rows drawn at random for the pictures, all of them where they are not many: arrays `rows`, `fitted`,
            `residuals`, `standardized` (internally studentised residuals) and `leverage`.
        qq: `(theoretical, standardized)` quantiles, of all rows.
        exact_rows: how many rows have leverage 1: a coefficient fits each of them exactly.
        notes: what is missing, and why.

    References:
        Durbin, Watson (1950); Jarque, Bera (1980); Breusch, Pagan (1979); Koenker (1981); White (1980); Cook (1977).
    """

    output_names: tuple[str, ...]
    nobs: int
    rank: int
    scale: Any
    mean: Any
    std: Any
    quantiles: np.ndarray
    durbin_watson: Any
    skew: Any
    kurtosis: Any
    jarque_bera: Any
    jarque_bera_pvalue: Any
    breusch_pagan: LagrangeMultiplierTest | None
    white: LagrangeMultiplierTest | None
    rows: np.ndarray
    cooks_distance: np.ndarray
    resid_studentized: np.ndarray
    leverage: np.ndarray
    residuals: np.ndarray
    fitted: np.ndarray
    sample: dict[str, np.ndarray]
    qq: tuple[np.ndarray, np.ndarray]
    exact_rows: int
    notes: tuple[str, ...]

    def output(self, name) -> "Diagnostics":
        """Return the diagnostics of one output, by its name or number."""
        names = self.output_names
        if name not in names and name not in range(len(names)):
            raise ValueError(f"`name` must be one of the outputs {list(names)}. Received: {name!r}.")
        if len(names) == 1:
            return self
        j = names.index(name) if name in names else int(name)

        def one(value):
            if isinstance(value, LagrangeMultiplierTest):
                return LagrangeMultiplierTest._make([*(float(part[j]) for part in value[:4]), value.df])
            if not isinstance(value, np.ndarray) or value.shape[-1:] != (len(names),):
                return value
            return value[..., j] if value.ndim > 1 else float(value[j])

        shared = {"output_names", "nobs", "rank", "sample", "qq", "exact_rows", "notes"}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {key: one(value) for key, value in fields.items() if key not in shared}
        sample = {key: value if value.ndim == 1 else value[:, j] for key, value in self.sample.items()}
        return dataclasses.replace(
            self, output_names=(names[j],), sample=sample, qq=(self.qq[0], self.qq[1][:, j]), **changed
        )

    def to_frame(self):
        """Return the influential rows of one output as a `pandas.DataFrame`, the most influential first."""
        import pandas  # slow to import

        if len(self.output_names) > 1:
            return pandas.concat({name: self.output(name).to_frame() for name in self.output_names}, names=["output"])
        columns = {
            "cooks_distance": self.cooks_distance,
            "resid_studentized": self.resid_studentized,
            "leverage": self.leverage,
            "residual": self.residuals,
        }
        return pandas.DataFrame(columns, index=pandas.Index(self.rows, name="row"))

    def plot(self, axes=None):
        """Draw the four panels that R draws of a fit, of one output; return the Matplotlib Figure.

        Args:
            axes: four Axes; `None` makes a figure.
        """
        from keras_linreg import plots  # matplotlib is slow to import

        one = self._only()
        axes = plots.figure(panels=4, columns=2)[1] if axes is None else list(np.ravel(axes))
        sample = one.sample
        # The most influential rows are drawn whether or not they were.
        left = ~np.isin(one.rows, sample["rows"])
        more = {"rows": one.rows, "fitted": one.fitted, "residuals": one.residuals, "leverage": one.leverage}
        with np.errstate(invalid="ignore"):  # of a fit that is perfect to the last bit
            more["standardized"] = one.residuals / np.sqrt(one.scale * (1 - one.leverage))
        drawn = {key: np.concatenate([sample[key], values[left]]) for key, values in more.items()}
        place = {row: i for i, row in enumerate(drawn.pop("rows").tolist())}
        labels = {place[row]: str(row) for row in one.rows[:LABELS].tolist()}
        plots.diagnostics(axes, **drawn, rank=one.rank, quantiles=one.qq, labels=labels)
        return axes[0].figure

    def plot_actual_vs_predicted(self, ax=None):
        """Draw what was observed against what is predicted, of one output; return the Matplotlib Figure."""
        from keras_linreg import plots

        one = self._only()
        ax = plots.figure()[1][0] if ax is None else ax
        plots.actual_vs_predicted(ax, one.sample["y"], one.sample["fitted"], unit=one.output_names[0])
        return ax.figure

    def __str__(self) -> str:
        return summary.text_of_diagnostics(self)

    def __repr__(self) -> str:
        return summary.text_of_diagnostics(self)

    def _only(self) -> "Diagnostics":
        if len(self.output_names) > 1:
            raise ValueError(
                f"One output at a time can be drawn: call `.output(name)` first. Received: {list(self.output_names)}."
            )
        return self


def diagnose(estimate: Estimate, batches: Iterable[tuple], most_rows: int) -> Diagnostics:
    """Return the diagnostics of a fit, by one more pass over its rows; memory does not depend on how many there are.

    Args:
        estimate: of the fit.
        batches: `(x, y, sample_weight)` of its rows once more.
        most_rows: how many influential rows to name.
    """
    residuals, influence = residual_statistics.Residuals(estimate), residual_statistics.Influence(estimate, most_rows)
    sample, auxiliary = residual_statistics.Sample(estimate), residual_statistics.Auxiliary(estimate)
    read(estimate, batches, [residuals, influence, sample, auxiliary])

    def each(values):
        return squeeze_outputs(np.asarray(values))

    def test(values) -> LagrangeMultiplierTest | None:
        return None if values is None else LagrangeMultiplierTest._make([*map(each, values[:4]), values[4]])

    n, (skew, kurtosis) = estimate.nobs, residuals.shape()
    jarque_bera = n / 6 * (skew**2 + (kurtosis - 3) ** 2 / 4)
    notes = []
    if auxiliary.terms is None and auxiliary.width:
        notes.append(
            f"White's test is left out: its squares and products are {auxiliary.white_terms:,}, and at the most "
            f"{residual_statistics.MOST_WHITE_TERMS} are taken, or one less than there are rows."
        )
    if influence.exact_rows:
        notes.append(
            f"Rows of leverage 1: {influence.exact_rows:,}. A coefficient serves each of them alone, and neither "
            "Cook's distance nor a studentised residual is defined there."
        )
    if len(sample.kept["rows"]) < n:
        notes.append(f"Pictures show {len(sample.kept['rows']):,} rows, drawn at random.")
    return Diagnostics(
        output_names=estimate.output_names,
        nobs=n,
        rank=estimate.rank,
        scale=each(estimate.scale),
        mean=each(residuals.mean()),
        std=each(residuals.std()),
        quantiles=each(np.stack([q.at(PROBABILITIES) for q in residuals.quantiles], axis=-1)),
        durbin_watson=each(residuals.durbin_watson()),
        skew=each(skew),
        kurtosis=each(kurtosis),
        jarque_bera=each(jarque_bera),
        jarque_bera_pvalue=each(p_of_chi2(jarque_bera, 2)),
        breusch_pagan=test(auxiliary.breusch_pagan()),
        white=test(auxiliary.white()),
        **{key: each(part) for key, part in influence.result().items()},
        sample={key: value if value.ndim == 1 else each(value) for key, value in sample.kept.items()},
        qq=_normal_quantiles(residuals.standardized, each),
        exact_rows=influence.exact_rows,
        notes=tuple(notes),
    )


def _normal_quantiles(quantiles: list[Quantiles], each) -> tuple[np.ndarray, np.ndarray]:
    """Return normal quantiles, and those of the standardised residuals beside them."""
    count = max(quantiles[0].count, 1)
    points = min(count, QQ_POINTS)
    probabilities = (np.arange(points) + 0.5) / points
    if count > points:  # and the ends, which such pictures are looked at for
        probabilities = np.concatenate([[0.5 / count], probabilities, [1 - 0.5 / count]])
    observed = np.stack([q.at_plotting_positions(probabilities) for q in quantiles], axis=-1)
    return special.ndtri(probabilities), each(observed)

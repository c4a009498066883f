"""Diagnostics of a fit, from one more pass over its rows: residuals, tests of the assumptions, influential rows."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.inference import tables
from keras_linreg.inference.heteroscedasticity import (
    LagrangeMultiplierTest,
)
from keras_linreg.inference.labels import labels_of
from keras_linreg.inference.row_influence import RowsOfFit, check_outlier_arguments
from keras_linreg.inference.tables import number, p_value
from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

LABELLED_ROWS = 3
SHARED_FIELDS = ("output_names", "nobs", "rank", "sample", "outliers", "qq", "exact_rows", "notes", "rows_of_fit")


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Diagnostics:
    """What the rows of a fit tell about it. Residuals are weighted: times the root of the row's weight.

    For one output, figures are floats and arrays are `(m,)`. For k outputs they are `(k,)` and `(m, k)`, and
    `diagnostics.output(name)` has the diagnostics of one output.

    Attributes:
        output_names: k names.
        nobs, rank: the number of rows with a weight, and of parameters.
        scale: the variance of the residuals.
        mean, std: of the residuals.
        quantiles: their minimum, quartiles and maximum, `(5,)`: see `keras_linreg.inference.quantiles`.
        durbin_watson: about 2 if residuals do not depend on the row before them.
        skew, kurtosis: of the residuals; 0 and 3 for a normal distribution.
        jarque_bera, jarque_bera_pvalue: whether the residuals can be normal.
        breusch_pagan: whether squared residuals depend on the columns (Koenker's form); None without columns.
        white: whether they depend on the columns, their squares and products; None if these are too many.
        rows: the rows of largest Cook's distance, `(m,)`, counted from 0 in the order of the data that were fitted.
        row_labels: their labels in the user's table, `(m,)`; their numbers if they have none. Of rows in memory these
            count dropped rows; of a stream and of files they do not.
        cooks_distance, resid_studentized, leverage, residuals, fitted: of those rows; studentised externally.
        sample: rows drawn at random for the pictures, or all rows if they are few: arrays `rows`, `y`, `fitted`,
            `residuals`, `standardized` (internally studentised residuals) and `leverage`.
        outliers: the rows of largest studentised residual: arrays `(m,)` of `rows`, `student_resid`, `unadj_p` and
            `bonf_p`, as `outlier_test` shows them.
        qq: `(theoretical, standardized)` quantiles, of all rows.
        exact_rows: the number of rows of leverage 1: a coefficient fits each of them exactly.
        notes: which figures are missing, and why.

    References:
        Durbin, Watson (1950); Jarque, Bera, "Efficient tests for normality, homoscedasticity and serial independence of
        regression residuals" (1980); Breusch, Pagan (1979); Koenker (1981); White (1980); Cook (1977).
    """

    output_names: tuple[str, ...]
    nobs: int
    rank: int
    scale: Any
    mean: Any
    std: Any
    quantiles: Array
    durbin_watson: Any
    skew: Any
    kurtosis: Any
    jarque_bera: Any
    jarque_bera_pvalue: Any
    breusch_pagan: LagrangeMultiplierTest | None
    white: LagrangeMultiplierTest | None
    rows: Array
    row_labels: Array
    cooks_distance: Array
    resid_studentized: Array
    leverage: Array
    residuals: Array
    fitted: Array
    sample: dict[str, Array]
    outliers: dict[str, Array]
    qq: tuple[Array, Array]
    exact_rows: int
    notes: tuple[str, ...]
    rows_of_fit: RowsOfFit

    def output(self, name: str | int) -> "Diagnostics":
        """Return the diagnostics of one output.

        Args:
            name: the name of the output, or its number.
        """
        names = self.output_names
        if name not in names and name not in range(len(names)):
            raise ValueError(f"`name` must be one of the outputs {list(names)}. Received: {name!r}.")
        if len(names) == 1:
            return self
        j = names.index(name) if name in names else int(name)
        fields = (field.name for field in dataclasses.fields(self) if field.name not in SHARED_FIELDS)
        return dataclasses.replace(
            self,
            output_names=(names[j],),
            sample={key: part if part.ndim == 1 else part[:, j] for key, part in self.sample.items()},
            outliers={key: part[:, j] for key, part in self.outliers.items()},
            qq=(self.qq[0], self.qq[1][:, j]),
            **{field: _of_output(getattr(self, field), j) for field in fields},
        )

    def to_frame(self) -> "pandas.DataFrame":
        """Return a frame of the influential rows, the most influential first; several outputs one below the other."""
        import pandas  # slow to import

        if len(self.output_names) > 1:
            return pandas.concat({name: self.output(name).to_frame() for name in self.output_names}, names=["output"])
        columns = {
            "cooks_distance": self.cooks_distance,
            "resid_studentized": self.resid_studentized,
            "leverage": self.leverage,
            "residual": self.residuals,
        }
        return pandas.DataFrame(columns, index=_index(self.row_labels, "row"))

    def influence(self) -> "pandas.DataFrame | Iterator[pandas.DataFrame]":
        """Return how much each row of the fit moves it, from one more pass over the rows.

        Returns:
            A frame by the rows' labels, with statsmodels' names: `hat_diag` (leverage), `standard_resid` and
            `student_resid` (internally and externally studentised residuals), `cooks_d`, `dffits`, and `dfb_` and the
            name of each parameter (DFBETAS). Rows of weight 0 are left out. Of several outputs, the columns are pairs
            of quantity and output, but for `hat_diag`. Of a stream: an iterator of such frames, one for each block of
            rows.

        Raises:
            ValueError: the data were a generator, which cannot be read again.
        """
        return self.rows_of_fit.influence()

    def outlier_test(self, cutoff: float = 0.05, n_max: int = 10) -> "pandas.DataFrame":
        """Test whether the rows of largest studentised residual are outliers, with Bonferroni's correction, as R's car.

        Args:
            cutoff: rows of a larger corrected p-value are left out; the first row is there in any case.
            n_max: the largest number of rows, at most 100.

        Returns:
            A frame by the rows' labels: `student_resid`, `unadj_p` (two-sided, by t with one degree of freedom less
            than the residuals), `bonf_p` (times the number of rows, at most 1). Several outputs one below the other.

        Raises:
            ValueError: `cutoff` is no probability, or `n_max` no integer from 1 to 100.
        """
        import pandas  # slow to import

        check_outlier_arguments(cutoff, n_max)
        if len(self.output_names) > 1:
            frames = {name: self.output(name).outlier_test(cutoff, n_max) for name in self.output_names}
            return pandas.concat(frames, names=["output"])
        figures = {key: np.ravel(part) for key, part in self.outliers.items()}
        labels = _index(labels_of(figures.pop("rows"), self.rows_of_fit.labels), "row")
        chosen = (figures["bonf_p"] <= cutoff) | (np.arange(len(labels)) == 0)
        return pandas.DataFrame(figures, index=labels)[chosen].head(n_max)

    def plot(self, axes: Any = None) -> "Figure | SubFigure":
        """Draw the four panels that R draws of a fit, of one output, and return the Matplotlib Figure.

        Args:
            axes: four Axes; None makes a figure.
        """
        from keras_linreg import plots  # Matplotlib is slow to import

        one = self._single_output()
        axes = plots.figure(panels=4, columns=2)[1] if axes is None else list(np.ravel(axes))
        # The most influential rows are drawn even if they are not in the sample.
        is_missing = ~np.isin(one.rows, one.sample["rows"])
        with np.errstate(invalid="ignore", divide="ignore"):  # the fit is perfect to the last bit
            standardized = one.residuals / np.sqrt(one.scale * (1 - one.leverage))
        influential = {
            "rows": one.rows,
            "fitted": one.fitted,
            "residuals": one.residuals,
            "leverage": one.leverage,
            "standardized": standardized,
        }
        drawn = {key: np.concatenate([one.sample[key], part[is_missing]]) for key, part in influential.items()}
        positions = {row: i for i, row in enumerate(drawn.pop("rows").tolist())}
        labels = {
            positions[row]: str(label)
            for row, label in list(zip(one.rows.tolist(), one.row_labels, strict=True))[:LABELLED_ROWS]
        }
        plots.diagnostics(axes, **drawn, rank=one.rank, quantiles=one.qq, labels=labels)
        return axes[0].figure

    def plot_actual_vs_predicted(self, ax: "Axes | None" = None) -> "Figure | SubFigure":
        """Draw observed against predicted values of a sample of the rows, and return the Matplotlib Figure."""
        from keras_linreg import plots  # Matplotlib is slow to import

        one = self._single_output()
        ax = plots.figure()[1][0] if ax is None else ax
        plots.actual_vs_predicted(ax, one.sample["y"], one.sample["fitted"], unit=one.output_names[0])
        return ax.figure

    def __str__(self) -> str:
        return tables.with_notes([_text(self.output(name)) for name in self.output_names], self.notes)

    def __repr__(self) -> str:
        return str(self)

    def _single_output(self) -> "Diagnostics":
        if len(self.output_names) > 1:
            raise ValueError(
                f"One output at a time can be drawn: call `.output(name)` first. Received: {list(self.output_names)}."
            )
        return self


def _index(labels: Array, name: str) -> "pandas.Index":
    import pandas  # slow to import

    if labels.dtype == object and len(labels) and all(isinstance(label, tuple) for label in labels):
        return pandas.MultiIndex.from_tuples(labels.tolist())
    return pandas.Index(labels, name=name)


def _of_output(value: Any, j: int) -> Any:
    """Return output j of a field; its last axis is the outputs."""
    if isinstance(value, LagrangeMultiplierTest):
        return value.map(lambda figure: float(figure[j]))
    if value is None:
        return None
    return value[..., j] if value.ndim > 1 else float(value[j])


def _text(diagnostics: Diagnostics) -> str:
    """Return the tables of the diagnostics of one output."""
    facts = [
        (("Rows", f"{diagnostics.nobs:,}"), ("Durbin-Watson", number(diagnostics.durbin_watson, 4))),
        (("Mean of residuals", number(diagnostics.mean, 3)), ("Jarque-Bera", number(diagnostics.jarque_bera, 4))),
        (("Standard deviation", number(diagnostics.std)), ("  p-value", p_value(diagnostics.jarque_bera_pvalue))),
        (("Skewness", number(diagnostics.skew, 4)), *_fact("Breusch-Pagan", diagnostics.breusch_pagan)),
        (("Kurtosis (normal: 3)", number(diagnostics.kurtosis, 4)), *_fact("White", diagnostics.white)),
    ]
    title = tables.shortened(f"Diagnostics of the regression of {diagnostics.output_names[0]}", tables.WIDTH)
    quantiles = [("Residuals", [number(q, 4) for q in diagnostics.quantiles])]
    columns = (diagnostics.cooks_distance, diagnostics.resid_studentized, diagnostics.leverage, diagnostics.residuals)
    rows = [
        (f"row {visible(str(label))}", [number(column[i], 4) for column in columns])
        for i, label in enumerate(diagnostics.row_labels.tolist())
    ]
    return "\n".join(
        [
            tables.facts_table(title, facts),
            tables.table(("Min", "1Q", "Median", "3Q", "Max"), quantiles),
            tables.table(("Cook's distance", "studentised", "leverage", "residual"), rows),
        ]
    )


def _fact(name: str, test: LagrangeMultiplierTest | None) -> list[tuple[str, str]]:
    return [] if test is None else [(f"{name} p-value", p_value(test.lm_pvalue))]

"""Notes on a fit: the limits of its figures."""

import numpy as np

from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.tables import number
from keras_linreg.solvers import FEW_DIGITS
from keras_linreg.utils.text import visible

ROUNDING_ERROR = 1e-13  # of the total sum of squares: rounding alone leaves residuals of this size
SHOWN_NAMES = 8


def notes_on(estimate: Estimate, groups: int | None = None) -> tuple[str, ...]:
    """Return the limits of the figures of an estimate, a sentence or two each.

    Args:
        estimate: of the fit.
        groups: the number of groups of a clustered covariance; else None.
    """
    notes = []
    if estimate.missing is not None:
        notes.append(f"{estimate.missing}: they are left out.")
    if estimate.is_penalised:
        notes.append(
            "The fit is penalised: its coefficients are pulled towards zero, and the data do not tell how far. So it "
            "has no standard errors, tests or intervals. ExactLinearRegression.from_moments(model.moments).report() "
            "has them, for the fit without the penalty."
        )
    else:
        notes.extend(_notes_on_columns(estimate))
    if estimate.df_resid <= 0 and not estimate.is_penalised:
        notes.append(
            f"No degrees of freedom are left: {estimate.nobs} rows for {estimate.rank} coefficients. The data do not "
            "tell the variance of the errors."
        )
    elif ((estimate.ssr <= ROUNDING_ERROR * estimate.tss) & (estimate.tss > 0)).any():
        notes.append("The fit is perfect up to rounding: standard errors and tests describe rounding errors.")
    if (estimate.tss == 0).any():
        notes.append("An output is constant: there is nothing to explain.")
    if estimate.centred_tss is not None:
        notes.append(_note_on_centred_r_squared(estimate, estimate.centred_tss))
    if groups is not None and groups <= estimate.df_model:
        notes.append(f"{groups} groups are too few to test {estimate.df_model} columns together.")
    if estimate.fewest_digits < FEW_DIGITS:
        count = f"{estimate.fewest_digits:.0f}"
        notes.append(f"Only about {count} digits of the coefficients are sure: columns are nearly dependent.")
    return tuple(notes)


def _notes_on_columns(estimate: Estimate) -> list[str]:
    """Return a note that names the columns without a determined coefficient, if there are any."""
    names = [name for name, ok in zip(estimate.names, estimate.estimable, strict=True) if not ok]
    if not names:
        return []
    shown = ", ".join(map(visible, names[:SHOWN_NAMES]))
    shown += f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    if estimate.dropped:
        return [f"Aliased: {shown}. They depend on columns before them, or on the intercept, and are out of the model."]
    return [
        f"Not estimable: {shown}. Columns depend on each other, or on the intercept. These coefficients are those of "
        "the smallest kernel, one choice among many that fit as well."
    ]


def _note_on_centred_r_squared(estimate: Estimate, centred_tss: np.ndarray) -> str:
    """Return a note with the R-squared that statsmodels gives where the columns span the constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unexplained = estimate.ssr / centred_tss
        adjusted = (estimate.nobs - 1) / np.float64(estimate.df_resid) * unexplained
    figures = [
        f"{number(1 - part)} (adjusted {number(1 - other)})" for part, other in zip(unexplained, adjusted, strict=True)
    ]
    return (
        "The columns span the constant, though there is no bias. R-squared is uncentred all the same, as in R; "
        f"statsmodels centres it then: {', '.join(figures)}."
    )

"""Notes on a fit: the limits of its figures."""

from keras_linreg.inference.estimate import Estimate
from keras_linreg.solvers import FEW_DIGITS

ROUNDING_ERROR = 1e-13  # of the total sum of squares: rounding alone leaves residuals of this size
SHOWN_NAMES = 8


def notes_on(estimate: Estimate, groups: int | None = None) -> tuple[str, ...]:
    """Return the limits of the figures of an estimate, a sentence or two each.

    Args:
        estimate: of the fit.
        groups: the number of groups of a clustered covariance; else None.
    """
    notes = []
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
    shown = ", ".join(names[:SHOWN_NAMES])
    shown += f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    if estimate.dropped:
        return [f"Aliased: {shown}. They depend on columns before them, or on the intercept, and are out of the model."]
    return [
        f"Not estimable: {shown}. Columns depend on each other, or on the intercept. These coefficients are those of "
        "the smallest kernel, one choice among many that fit as well."
    ]

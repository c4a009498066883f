"""What to know of a fit before its figures are believed."""

from keras_linreg.inference.estimate import Estimate
from keras_linreg.solvers import FEW_DIGITS

PERFECT = 1e-13  # of the sum of squares: what rounding alone leaves as residuals
SHOWN_NAMES = 8


def of(estimate: Estimate, groups: int | None = None) -> tuple[str, ...]:
    """Return what limits the figures of an estimate, a sentence or two each.

    Args:
        estimate: of the fit.
        groups: of a clustered covariance, how many there are.
    """
    notes = []
    penalised = estimate.is_penalised
    if penalised:
        notes.append(
            "The fit is penalised: its coefficients are pulled towards zero by an amount that the data do not "
            "tell, so there are no standard errors, tests or intervals. ExactLinearRegression.from_moments("
            "model.moments).report() has those of the fit without the penalty."
        )
    lost = [name for name, there in zip(estimate.names, estimate.estimable, strict=True) if not there]
    if lost and not penalised:
        more = f" and {len(lost) - SHOWN_NAMES} more" if len(lost) > SHOWN_NAMES else ""
        shown = ", ".join(lost[:SHOWN_NAMES]) + more
        notes.append(
            f"Aliased: {shown}. They depend on columns before them, or on the intercept, and are out of the model."
            if estimate.dropped
            else f"Not estimable: {shown}. Columns depend on each other, or on the intercept; these coefficients "
            "are those of the smallest kernel, one choice among many that fit as well."
        )
    if estimate.df_resid <= 0 and not penalised:
        notes.append(
            f"No degrees of freedom are left: {estimate.nobs} rows for {estimate.rank} coefficients. The data do not tell "
            "the variance of the errors."
        )
    elif ((estimate.ssr <= PERFECT * estimate.tss) & (estimate.tss > 0)).any():
        notes.append("The fit is perfect up to rounding: standard errors and tests are of the rounding.")
    if (estimate.tss == 0).any():
        notes.append("An output is constant: there is nothing to explain.")
    if groups is not None and groups <= estimate.df_model:
        notes.append(f"{groups} groups are too few to test {estimate.df_model} columns together.")
    if estimate.digits < FEW_DIGITS:
        notes.append(
            f"Only about {estimate.digits:.0f} digits of the coefficients are sure: columns are nearly dependent."
        )
    return tuple(notes)

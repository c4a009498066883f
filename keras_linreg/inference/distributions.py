"""Quantiles and p-values of t, F, chi-squared and the normal distribution, and the coverage that users ask for."""

import numpy as np
from scipy import special

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster", "HAC")


def check_level(level: float) -> float:
    """Return a coverage as a float.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    is_number = isinstance(level, int | float | np.number) and not isinstance(level, np.complexfloating)
    if not is_number or not 0 < level < 1:
        hint = f". Write cov_type={level!r}" * (isinstance(level, str) and level in COV_TYPES)
        raise ValueError(
            f"`level` must be a coverage between 0 and 1, such as 0.95 (not an alpha). Received: level={level!r}{hint}."
        )
    return float(level)


def two_sided_quantile(level: float, df: float | None) -> float:
    """Return the number that the absolute value of t stays below with probability `level`.

    Args:
        level: a coverage.
        df: the degrees of freedom; None for the normal distribution.
    """
    tail = (1 - level) / 2
    return float(-special.ndtri(tail) if df is None else -special.stdtrit(df, tail))


def p_of_t(t: np.ndarray, df: float | None) -> np.ndarray:
    """Return the two-sided p-values of t statistics of `df` degrees of freedom; None for the normal distribution."""
    return 2 * (special.ndtr(-np.abs(t)) if df is None else special.stdtr(df, -np.abs(t)))


def p_of_f(f: np.ndarray, df_num: float, df_denom: float) -> np.ndarray:
    """Return the p-values of F statistics."""
    return special.fdtrc(df_num, df_denom, f)


def p_of_chi2(value: np.ndarray, df: float) -> np.ndarray:
    """Return the p-values of chi-squared statistics."""
    return special.chdtrc(df, value)

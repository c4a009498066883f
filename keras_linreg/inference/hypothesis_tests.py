"""Tests of hypotheses: restrictions one by one, all at once, and nested models compared."""

import dataclasses
from typing import Any

import numpy as np

from keras_linreg.inference import distributions, summary, wald
from keras_linreg.inference.constraints import parse
from keras_linreg.inference.covariance import squeeze_outputs
from keras_linreg.inference.distributions import check_level, p_of_chi2, p_of_f, p_of_t
from keras_linreg.inference.estimate import Estimate


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class TTest:
    """Restrictions tested one by one; arrays `(q,)`, of k outputs `(q, k)`.

    Attributes:
        restrictions: their texts.
        effect: what the combinations of the parameters are.
        sd: their standard errors.
        tvalue: how many standard errors they are from what the restrictions say.
        pvalue: two-sided.
        df_denom: the degrees of freedom of t; `None`: by the normal distribution.
        level: the coverage of `conf_int`.
    """

    restrictions: tuple[str, ...]
    effect: Any
    sd: Any
    tvalue: Any
    pvalue: Any
    df_denom: int | None
    level: float

    def conf_int(self, *, level=None):
        """Return the confidence limits of the combinations: `(q, 2)`, of k outputs `(q, 2, k)`."""
        level = self.level if level is None else check_level(level)
        reach = distributions.two_sided_quantile(level, self.df_denom) * self.sd
        return np.stack([self.effect - reach, self.effect + reach], axis=1)

    def __str__(self) -> str:
        return summary.text_of_t_test(self)

    __repr__ = __str__


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class WaldTest:
    """Restrictions tested all at once; of k outputs, the statistic and its p-value are `(k,)`.

    Attributes:
        restrictions: their texts.
        distribution: `"F"` or `"chi2"`.
        statistic: the value.
        pvalue: how likely one so large is where the restrictions hold.
        df_num: the number of restrictions.
        df_denom: the degrees of freedom of the residuals; `None` for chi-squared.
    """

    restrictions: tuple[str, ...]
    distribution: str
    statistic: Any
    pvalue: Any
    df_num: int
    df_denom: int | None

    @property
    def fvalue(self):
        """The statistic, of an F test."""
        if self.distribution != "F":
            raise AttributeError("A chi-squared test has no `fvalue`: see `statistic`, or call f_test.")
        return self.statistic

    def __str__(self) -> str:
        return summary.text_of_wald_test(self)

    __repr__ = __str__


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """Two nested models of the same data; of k outputs the figures are `(k,)`.

    Attributes:
        fvalue, f_pvalue: of the parameters that the smaller model lacks.
        lr_stat, lr_pvalue: twice the difference of the log-likelihoods, chi-squared.
        df_diff: how many parameters the smaller model lacks.
        df_denom: the degrees of freedom of the larger model's residuals.
    """

    fvalue: Any
    f_pvalue: Any
    lr_stat: Any
    lr_pvalue: Any
    df_diff: int
    df_denom: int

    def __str__(self) -> str:
        return summary.text_of_comparison(self)

    __repr__ = __str__


def t_test(estimate: Estimate, meat: np.ndarray | None, restrictions, df: int | None, level: float) -> TTest:
    """Test linear restrictions one by one.

    Args:
        estimate: of the fit.
        meat: of its covariance, as in `inference.covariance`.
        restrictions: as `restrictions.parse` takes them.
        df: the degrees of freedom of t; `None`: by the normal distribution.
        level: the coverage of the intervals that are printed.

    Raises:
        ValueError: a name that there is not, what is not linear, what the data do not determine.
    """
    matrix, value, texts = parse(restrictions, estimate.names)
    roots = wald.roots_of_combinations(estimate, matrix)
    effect = wald.values_of_combinations(estimate, matrix)
    middle = np.eye(roots.shape[1])[:, :, None] * estimate.scale if meat is None else meat
    sd = np.sqrt(np.einsum("im,mnk,in->ik", roots, middle, roots, optimize=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (effect - value[:, None]) / sd
    effect, sd, t, p = map(squeeze_outputs, (effect, sd, t, p_of_t(t, df)))
    return TTest(texts, effect, sd, t, p, df, level)


def wald_test(estimate: Estimate, meat: np.ndarray | None, restrictions, df_denom: int | None) -> WaldTest:
    """Test linear restrictions all at once; they must be independent.

    Args:
        estimate, meat, restrictions: as in `t_test`.
        df_denom: the denominator's degrees of freedom of F; `None`: by chi-squared.
    """
    matrix, value, texts = parse(restrictions, estimate.names)
    count = len(matrix)
    chi2 = wald.wald_statistic(estimate, matrix, value, meat)
    if df_denom is None:
        return WaldTest(texts, "chi2", squeeze_outputs(chi2), squeeze_outputs(p_of_chi2(chi2, count)), count, None)
    p = p_of_f(chi2 / count, count, df_denom)
    return WaldTest(texts, "F", squeeze_outputs(chi2 / count), squeeze_outputs(p), count, df_denom)


def compare(mine: Estimate, theirs: Estimate) -> Comparison:
    """Test a model against one that is nested in it, of the same data: by F, and by the likelihood ratio.

    Raises:
        ValueError: the other is not nested in it, or is of other data.
    """
    same = mine.output_names == theirs.output_names and mine.nobs == theirs.nobs
    if not same or abs(mine.log_weight - theirs.log_weight) > 1e-9 * (1 + abs(mine.log_weight)):
        raise ValueError(
            "Both models must be of the same rows and outputs. Received: "
            f"{theirs.nobs} rows of {', '.join(theirs.output_names)}, beside {mine.nobs} of "
            f"{', '.join(mine.output_names)}."
        )
    there, left = ({n for n, ok in zip(e.names, e.estimable, strict=True) if ok} for e in (mine, theirs))
    matrix = np.eye(len(mine.names))[[name in there - left for name in mine.names]]
    rule = "`restricted` must have some of this model's parameters, and fewer of them, on the same data."
    if left - there or not len(matrix) or len(matrix) != mine.rank - theirs.rank:
        raise ValueError(f"{rule} Received: {sorted(theirs.names)}, beside {sorted(mine.names)}.")
    difference = len(matrix)
    # What is explained more, rather than the difference of what is left, of which digits would be lost.
    gain = wald.wald_statistic(mine, matrix, np.zeros(difference)) * mine.scale
    if not np.allclose(mine.ssr + gain, theirs.ssr, rtol=1e-6, atol=0):
        raise ValueError(f"{rule} Received: a fit of other data.")
    with np.errstate(divide="ignore", invalid="ignore"):
        f, ratio = gain / difference / mine.scale, mine.nobs * np.log1p(gain / mine.ssr)
    f_p, ratio_p = p_of_f(f, difference, mine.df_resid), p_of_chi2(ratio, difference)
    f, f_p, ratio, ratio_p = map(squeeze_outputs, (f, f_p, ratio, ratio_p))
    return Comparison(f, f_p, ratio, ratio_p, difference, mine.df_resid)

"""Tests of hypotheses: restrictions one by one, restrictions all at once, and nested models.

A hypothesis is `matrix @ params == value`, with a row for each of q restrictions. The estimated combinations
`matrix @ params` have the covariance `matrix @ cov_params @ matrix.T`.

One restriction: `(effect - value) / standard_error` has a t distribution with the residual degrees of freedom, if the
errors are normal. With a robust covariance it is normal in large samples.

All restrictions: with `d = matrix @ params - value`, the Wald statistic

```python
d @ inv(matrix @ cov_params @ matrix.T) @ d
```

is chi-squared with q degrees of freedom in large samples. Divided by q it has an F distribution, if the errors are
normal.

Nested models: if the smaller model is true, its sum of squares is larger by `gain`, and `gain / q / scale` has the same
F distribution. The Gaussian log-likelihoods differ by `nobs / 2 * log(ssr_of_smaller / ssr_of_larger)`. Twice that is
the likelihood ratio, which is chi-squared with q degrees of freedom in large samples.

References:
    Greene, Econometric Analysis, sections 5.2 to 5.4 and 14.6.
"""

import dataclasses
from typing import Any

import numpy as np

from keras_linreg.inference import distributions, tables, wald
from keras_linreg.inference.constraints import Restrictions, parse_restrictions
from keras_linreg.inference.covariance import squeeze_outputs
from keras_linreg.inference.distributions import check_level, p_of_chi2, p_of_f, p_of_t
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.tables import as_list, number, p_value
from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Array

SAME_WEIGHTS = 1e-9  # how far the sums of the logarithms of the weights may differ
SAME_SSR = 1e-6


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class TTest:
    """Restrictions tested one by one; arrays `(q,)`, of k outputs `(q, k)`.

    Attributes:
        restrictions: their texts.
        effect: the estimated combinations of the parameters.
        sd: their standard errors.
        tvalue: the effects less the values of the restrictions, divided by the standard errors.
        pvalue: two-sided.
        df_denom: the degrees of freedom of t; None for the normal distribution.
        level: the coverage of `conf_int`.
    """

    restrictions: tuple[str, ...]
    effect: Array
    sd: Array
    tvalue: Array
    pvalue: Array
    df_denom: int | None
    level: float

    def conf_int(self, *, level: float | None = None) -> Array:
        """Return the confidence limits of the combinations: `(q, 2)`, of k outputs `(q, 2, k)`."""
        level = self.level if level is None else check_level(level)
        reach = distributions.two_sided_quantile(level, self.df_denom) * self.sd
        return np.stack([self.effect - reach, self.effect + reach], axis=1)

    def __str__(self) -> str:
        """Return a table for each output, with a row for each restriction."""
        head = ("value", *tables.estimate_head("z" if self.df_denom is None else "t", self.level))
        figures = np.stack([self.effect, self.sd, self.tvalue, self.pvalue], axis=1)
        figures = np.concatenate([figures, self.conf_int()], axis=1)
        outputs = [figures] if figures.ndim == 2 else [figures[:, :, j] for j in range(figures.shape[2])]
        return "\n\n".join(
            tables.table(
                head,
                [(text, tables.estimate_cells(*row)) for text, row in zip(self.restrictions, output, strict=True)],
                whole_names=True,
            )
            for output in outputs
        )

    __repr__ = __str__


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class WaldTest:
    """Restrictions tested all at once; of k outputs, the statistic and its p-value are `(k,)`.

    Attributes:
        restrictions: their texts.
        distribution: `"F"` or `"chi2"`.
        statistic: the value of the statistic.
        pvalue: the probability of a value so large if the restrictions hold.
        df_num: the number of restrictions.
        df_denom: the degrees of freedom of the residuals; None for chi-squared.
    """

    restrictions: tuple[str, ...]
    distribution: str
    statistic: Any
    pvalue: Any
    df_num: int
    df_denom: int | None

    @property
    def fvalue(self) -> Any:
        """The statistic, of an F test."""
        if self.distribution != "F":
            raise AttributeError("A chi-squared test has no `fvalue`: read `statistic`, or call f_test.")
        return self.statistic

    def __str__(self) -> str:
        """Return a line for each restriction, and one for the test of each output."""
        df = f"({self.df_num}, {self.df_denom})" if self.distribution == "F" else f"({self.df_num})"
        lines = [f"H0: {visible(restriction)}" for restriction in self.restrictions]
        for statistic, p in zip(as_list(self.statistic), as_list(self.pvalue), strict=True):
            lines.append(f"{self.distribution}{df} = {number(statistic)}, p = {p_value(p)}")
        return "\n".join(lines)

    __repr__ = __str__


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """Two nested models of the same data; of k outputs the figures are `(k,)`.

    Attributes:
        fvalue, f_pvalue: of the parameters that the smaller model lacks.
        lr_stat, lr_pvalue: the likelihood ratio: twice the difference of the log-likelihoods, chi-squared.
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
        """Return two lines for each output: the F test, and the likelihood ratio."""
        lines = []
        figures = map(as_list, (self.fvalue, self.f_pvalue, self.lr_stat, self.lr_pvalue))
        for f, f_p, ratio, ratio_p in zip(*figures, strict=True):
            lines.append(f"F({self.df_diff}, {self.df_denom}) = {number(f)}, p = {p_value(f_p)}")
            lines.append(f"Likelihood ratio: chi2({self.df_diff}) = {number(ratio)}, p = {p_value(ratio_p)}")
        return "\n".join(lines)

    __repr__ = __str__


def t_test(estimate: Estimate, meat: Array | None, restrictions: Restrictions, df: int | None, level: float) -> TTest:
    """Test linear restrictions one by one.

    Args:
        estimate: of the fit.
        meat: as in `covariance.covariance`.
        restrictions: as in `constraints.parse_restrictions`.
        df: the degrees of freedom of t; None for the normal distribution.
        level: the coverage of the intervals that are printed.

    Raises:
        ValueError: a name does not exist, an equation is not linear, or the data do not determine a combination.
    """
    matrix, value, texts = parse_restrictions(restrictions, estimate.names)
    roots = wald.roots_of_combinations(estimate, matrix)
    effect = wald.values_of_combinations(estimate, matrix)
    middle = np.eye(roots.shape[1])[:, :, None] * estimate.scale if meat is None else meat
    sd = np.sqrt(np.einsum("im,mnk,in->ik", roots, middle, roots, optimize=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (effect - value[:, None]) / sd
    effect, sd, t, p = map(squeeze_outputs, (effect, sd, t, p_of_t(t, df)))
    return TTest(texts, effect, sd, t, p, df, level)


def wald_test(estimate: Estimate, meat: Array | None, restrictions: Restrictions, df_denom: int | None) -> WaldTest:
    """Test linear restrictions all at once; they must be independent.

    Args:
        estimate, meat, restrictions: as in `t_test`.
        df_denom: the denominator's degrees of freedom of F; None for chi-squared.
    """
    matrix, value, texts = parse_restrictions(restrictions, estimate.names)
    q = len(matrix)
    chi2 = wald.wald_statistic(estimate, matrix, value, meat)
    if df_denom is None:
        return WaldTest(texts, "chi2", squeeze_outputs(chi2), squeeze_outputs(p_of_chi2(chi2, q)), q, None)
    p = p_of_f(chi2 / q, q, df_denom)
    return WaldTest(texts, "F", squeeze_outputs(chi2 / q), squeeze_outputs(p), q, df_denom)


def compare(larger: Estimate, smaller: Estimate) -> Comparison:
    """Test a model against a smaller one that is nested in it, of the same data: by F, and by the likelihood ratio.

    The gain is the larger model's Wald statistic of the parameters that the smaller model lacks, times the scale. The
    difference of the two sums of squares is the same number, but a small gain would lose its digits in it.

    Raises:
        ValueError: the smaller model is not nested in the larger one, or is of other data.
    """
    is_same_data = larger.output_names == smaller.output_names and larger.nobs == smaller.nobs
    if not is_same_data or abs(larger.log_weight - smaller.log_weight) > SAME_WEIGHTS * (1 + abs(larger.log_weight)):
        raise ValueError(
            "Both models must be of the same rows and outputs. Received: "
            f"{smaller.nobs} rows of {list(smaller.output_names)}, beside {larger.nobs} of {list(larger.output_names)}."
        )
    lacking = _estimable_names(larger) - _estimable_names(smaller)
    matrix = np.eye(len(larger.names))[[name in lacking for name in larger.names]]
    q = len(matrix)
    rule = "`restricted` must have some of this model's parameters, and fewer of them, on the same data."
    if _estimable_names(smaller) - _estimable_names(larger) or not q or q != larger.rank - smaller.rank:
        raise ValueError(f"{rule} Received: {sorted(smaller.names)}, beside {sorted(larger.names)}.")
    gain = wald.wald_statistic(larger, matrix, np.zeros(q)) * larger.scale
    if not np.allclose(larger.ssr + gain, smaller.ssr, rtol=SAME_SSR, atol=0):
        raise ValueError(f"{rule} Received: a fit of other data.")
    with np.errstate(divide="ignore", invalid="ignore"):
        f, ratio = gain / q / larger.scale, larger.nobs * np.log1p(gain / larger.ssr)
    f_p, ratio_p = p_of_f(f, q, larger.df_resid), p_of_chi2(ratio, q)
    f, f_p, ratio, ratio_p = map(squeeze_outputs, (f, f_p, ratio, ratio_p))
    return Comparison(f, f_p, ratio, ratio_p, q, larger.df_resid)


def _estimable_names(estimate: Estimate) -> set[str]:
    return {name for name, ok in zip(estimate.names, estimate.estimable, strict=True) if ok}

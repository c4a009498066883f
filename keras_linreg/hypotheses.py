"""What tests of hypotheses return: restrictions one by one, all at once, and nested models compared."""

import dataclasses
from typing import Any

import numpy as np

from keras_linreg import inference, tables


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
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
        reach = (
            inference.two_sided(self.level if level is None else inference.check_level(level), self.df_denom) * self.sd
        )
        return np.stack([self.effect - reach, self.effect + reach], axis=1)

    def __str__(self) -> str:
        return tables.text_of_t_test(self)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
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
        return tables.text_of_wald_test(self)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
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
        return tables.text_of_comparison(self)

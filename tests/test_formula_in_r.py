"""Formulas beside R: names, coefficients, errors, R-squared, predictions and their intervals on new rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import keras_linreg as klr

FIGURES = json.loads((Path(__file__).parent / "reference" / "formulas.json").read_text())
SPELLED_IN_R = {
    "Intercept": "(Intercept)",
    "C(k)": "factor(k)",
    "C(g, Sum)": "C(g, contr.sum)",
    "bs(a, df=5)": "bs(a, df = 5)",
    "bs(a, df=5, extrapolate=True)": "bs(a, df = 5)",
    "bs(a, knots=[4, 8], degree=2)": "bs(a, knots = c(4, 8), degree = 2)",
    "I(a ** 2)": "I(a^2)",
    "exp(b / 10)": "exp(b/10)",
}


def name_in_r(part):
    """R's name of a factor of a column: it numbers the contrasts of sums, and columns of splines from 1."""
    if not part.endswith("]"):
        return SPELLED_IN_R.get(part, part)
    factor, _, level = part[:-1].rpartition("[")
    if factor.startswith("bs("):
        level = str(int(level) + 1)
    if level.startswith("S."):
        level = str(["u", "v", "w"].index(level[2:]) + 1)
    return SPELLED_IN_R.get(factor, factor) + level.removeprefix("T.")


@pytest.mark.parametrize("case", FIGURES["cases"], ids=lambda case: f"{case['ours']} ({case['rows']})")
def test_a_formula_gives_the_figures_of_r(case):
    table, new = pd.DataFrame(FIGURES["d"]), pd.DataFrame(FIGURES[case["rows"]])
    model = klr.ExactLinearRegression(preprocessor=klr.Formula(case["ours"]))
    model.fit(table, sample_weight=table["w"] if "weights = w" in case["r"] else None, verbose=0)
    report = model.report()
    names = [frozenset(map(name_in_r, name.split(":"))) for name in report.params.index]
    order = [names.index(frozenset(name.split(":"))) for name in case["names"]]
    assert sorted(order) == list(range(len(names)))
    np.testing.assert_allclose(report.params.iloc[order], case["coefficients"], rtol=1e-9)
    np.testing.assert_allclose(report.bse.iloc[order], case["errors"], rtol=1e-9)
    figures = [report.rsquared, report.rsquared_adj, report.scale**0.5, report.fvalue]
    expected = [case[name] for name in ("r_squared", "r_squared_adj", "sigma", "f")]
    np.testing.assert_allclose(figures, expected, rtol=1e-9)
    intervals = model.predict_interval(new)
    np.testing.assert_allclose(model.predict(new, verbose=0).ravel(), case["predictions"], rtol=1e-9)
    np.testing.assert_allclose(intervals["obs_ci_lower"], case["lower"], rtol=1e-9)

"""Formulas over a table of statsmodels, which patsy and this package both read."""

import functools

import numpy as np
import pandas as pd
import statsmodels.api as sm

FORMULAS = [
    "income ~ age",
    "income ~ age + popul + educ",
    "income ~ party",
    "income ~ age + party + news",
    "income ~ age * party",
    "income ~ party * news",
    "income ~ party:news",
    "income ~ party + party:news",
    "income ~ age:party",
    "income ~ age + age:party",
    "income ~ 0 + age + party",
    "income ~ 0 + party:news",
    "income ~ party - 1",
    "income ~ 0 + age:party + news",
    "income ~ vote * age",
    "income ~ C(educ) + age",
    "income ~ C(educ) * vote",
    "income ~ C(party, Treatment('rep')) * age",
    "income ~ C(party, Treatment(reference='ind')) + news",
    "income ~ C(educ, Treatment(3)) + age",
    "income ~ C(party, Sum) + age",
    "income ~ C(party, Sum) * C(news, Sum)",
    "income ~ party / age",
    "income ~ party / news",
    "income ~ (age + party + news) ** 2",
    "income ~ (age + educ + party + vote) ** 3 - age:educ:party",
    "income ~ (age + popul) ** 2",
    "income ~ age * party * news",
    "income ~ news:party:vote + age",
    "income ~ I(age ** 2) + age",
    "income ~ I(age / 10) + I(age ** 2 / 100) + I(-popul + 2 * educ)",
    "np.log(income) ~ np.log(age) + party",
    "np.sqrt(income) ~ np.exp(age / 100) + np.log1p(popul) + np.abs(age - 45)",
    "income ~ Q('self lr') * party",
    "income ~ center(age) * scale(popul) + standardize(educ)",
    "income ~ I(center(age) ** 2) + scale(np.log(age))",
    "income ~ bs(age, df=5) + party",
    "income ~ bs(age, knots=[30, 50], degree=2) * vote",
    "income ~ bs(age, df=4, include_intercept=True) - 1",
    "income ~ bs(np.log(age), df=4, degree=1):party",
    "np.log(income) ~ age * party + C(educ) + np.log1p(popul) + vote:news",
]


@functools.cache
def survey():
    """The American national election study of 1996, with text, booleans, categories and a name of two words."""
    data = sm.datasets.anes96.load_pandas().data
    rng = np.random.default_rng(0)
    party = np.select([data["PID"] < 3, data["PID"] < 4], ["dem", "ind"], "rep")
    news = np.select([data["TVnews"] < 3, data["TVnews"] < 6], ["low", "medium"], "high")
    return pd.DataFrame(
        {
            "income": data["income"],
            "age": data["age"] + rng.random(len(data)).round(3),
            "popul": data["popul"],
            "educ": data["educ"].astype("int64"),
            "party": party,
            "news": pd.Categorical(news, ["low", "medium", "high", "never"]),
            "vote": data["vote"] == 1,
            "self lr": data["selfLR"],
        }
    )


def as_columns(table):
    """A table as a dict of arrays that TensorFlow takes."""
    text = {name for name, dtype in table.dtypes.items() if dtype.kind == "O"}
    return {name: table[name].to_numpy(object if name in text else None) for name in table}

"""R's formula, from the fit to the server: the model takes raw columns, and so does its graph.

    python examples/formula.py

Prints a report under statsmodels' names, the price of a house with its interval, and the answer of the served graph to
a row of raw columns. Writes formula_output/prices.png, model.keras and served/.
"""

import keras_linreg.utils.quiet  # first: TensorFlow then writes no log lines

# isort: split
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import keras_linreg as klr

OUTPUT = Path("formula_output")
CITIES = ["Oslo", "Paris", "Rome"]


def houses(rows=2000):
    """Houses whose price grows with the area at another rate in each city, and dips and rises with their age."""
    rng = np.random.default_rng(0)
    city = rng.choice(CITIES, rows)
    area, age = rng.uniform(30, 250, rows), rng.integers(0, 120, rows)
    rate = pd.Series({"Oslo": 0.006, "Paris": 0.009, "Rome": 0.005})[city].to_numpy()
    log_price = 12 + rate * area - 0.012 * age + 1e-4 * age**2 + rng.normal(0, 0.1, rows)
    return pd.DataFrame({"price": np.exp(log_price).round(), "area": area.round(1), "city": city, "age": age})


def main():
    """Fit, report, predict, save, load, serve."""
    OUTPUT.mkdir(exist_ok=True)
    table = houses()
    formula = klr.Formula("log(price) ~ area * C(city) + age + I(age ** 2)")
    model = klr.ExactLinearRegression(preprocessor=formula)
    picture = klr.callbacks.FitPlot(table, path=OUTPUT / "prices.png")  # the formula takes log(price) from the table
    model.fit(table, callbacks=[picture], verbose=0)
    formula.summary()
    print(model.report())

    row = pd.DataFrame({"area": [120.0], "city": ["Rome"], "age": [30]})
    interval = model.predict_interval(row)
    low, mean, high = (np.exp(interval[key][0]) for key in ("obs_ci_lower", "mean", "obs_ci_upper"))
    print(f"120 m² in Rome, 30 years old: {mean:,.0f}, in 95 of 100 cases between {low:,.0f} and {high:,.0f}")

    model.save(OUTPUT / "model.keras")
    loaded = keras.models.load_model(OUTPUT / "model.keras")
    is_same = np.array_equal(loaded.predict(row, verbose=0), model.predict(row, verbose=0))
    print("The loaded file predicts the same:", is_same)

    model.export(OUTPUT / "served", verbose=False)
    serve = tf.saved_model.load(str(OUTPUT / "served")).signatures["predict_interval"]
    request = {"area": [120.0], "city": ["Rome"], "age": [30.0]}
    answer = serve(**{name: tf.constant(value) for name, value in request.items()})
    print(f"The server answers {request} with exp({float(answer['mean'][0]):.4f})")
    try:
        serve(**{name: tf.constant(value) for name, value in {**request, "city": ["Atlantis"]}.items()})
    except tf.errors.InvalidArgumentError as error:
        refused = next(line for line in str(error).splitlines() if "Atlantis" in line)
        print("and refuses a city that it has not seen:", refused.partition(": ")[2].replace("\\", ""))


if __name__ == "__main__":
    main()

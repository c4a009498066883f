"""R's formulas as a Keras preprocessor: parsed, learned from data, computed in memory and in a graph.

- `parsing`: the text as terms, by formulaic's parser. `expressions`: the code of a factor, and its grammar.
- `categories`, `categorical`: columns as codes; levels, contrasts, look-ups. `numeric`, `transforms`, `quantiles`:
  functions of numbers, with a state or without.
- `coding`, `design`: the order of terms, and which columns they make. `frame`, `structure`: rows, and all factors.
- `layer`: `Formula`.
"""

from keras_linreg.formula.layer import Formula

__all__ = ["Formula"]

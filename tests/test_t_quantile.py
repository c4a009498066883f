"""The t quantile of the served graph is SciPy's."""

import numpy as np
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from keras_linreg.export.t_quantile import t_quantile

LEVELS = np.unique([*np.linspace(0.5, 0.999, 500), *(1 - np.geomspace(1e-12, 0.5, 500)), 0.999999])


@settings(max_examples=50)
@given(st.integers(1, 30) | st.floats(1, 9).map(lambda exponent: round(10**exponent)))
@example(1)
@example(10**9)
def test_it_is_scipys_for_any_degrees_of_freedom_and_any_level(df):
    quantiles = t_quantile(df)(tf.constant(LEVELS)).numpy()
    np.testing.assert_allclose(actual=quantiles, desired=stats.t.isf((1 - LEVELS) / 2, df), rtol=1e-8)


def test_for_one_and_two_degrees_of_freedom_it_is_the_formula():
    levels = np.array([0.5, 0.9, 0.999, 0.999999])
    one, two = (t_quantile(df)(tf.constant(levels)).numpy() for df in (1, 2))
    np.testing.assert_allclose(actual=one, desired=np.tan(np.pi / 2 * levels), rtol=1e-8)
    np.testing.assert_allclose(actual=two, desired=levels * np.sqrt(2 / (1 - levels**2)), rtol=1e-8)

"""Functions of a column that have learned: NumPy and TensorFlow compute the same, and the splines are SciPy's."""

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from keras_linreg.data.column_functions import BSplineBasis, Centring, OrthonormalPolynomials

numbers = st.floats(-50, 50).map(lambda value: round(value, 3))
columns = st.lists(numbers, min_size=1, max_size=20)
inner_knots = st.lists(st.integers(-199, 199).map(lambda tenths: tenths / 10), max_size=3)


def assert_same_in_numpy_and_tensorflow(function, x):
    in_numpy, in_tensorflow = function(x, np), function(tf.constant(x), tf)
    for ours, theirs in zip(in_numpy, in_tensorflow, strict=True):
        largest = np.nanmax(np.abs(ours), initial=1e-300)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12 * largest)
    return np.column_stack(in_numpy)


@hypothesis.settings(max_examples=30, derandomize=True)
@hypothesis.given(
    columns,
    st.lists(st.integers(-199, 199).map(lambda tenths: tenths / 10), max_size=3),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
def test_b_splines_are_those_of_scipy_within_the_boundary_and_beyond(x, inner, degree, has_first, extrapolates):
    knots = (*[-20.0] * (degree + 1), *sorted(inner), *[20.0] * (degree + 1))
    hypothesis.assume(degree or inner or has_first)  # else there is no column
    hypothesis.assume(np.diff(np.unique(knots)).min() > 1e-3)
    x = np.array([*x, -20.0, *inner, 20.0, np.nan])
    basis = assert_same_in_numpy_and_tensorflow(BSplineBasis(knots, degree, has_first, extrapolates), x)
    inside = ~np.isnan(x) if extrapolates else np.abs(x) <= 20
    expected = BSpline.design_matrix(x[inside], np.array(knots), degree, extrapolate=extrapolates).toarray()
    np.testing.assert_allclose(
        basis[inside], expected[:, 1 - has_first :], rtol=1e-9, atol=1e-9 * np.abs(expected).max()
    )
    assert np.isnan(basis[~inside]).all()


def test_a_number_that_float32_has_rounded_beyond_the_boundary_lies_on_it():
    basis = BSplineBasis((0.0, 0.0, 20.1, 20.1), 1, True, False)
    beyond = np.array([20.1 * (1 + 1e-7), 20.1 * (1 + 1e-6)])
    np.testing.assert_array_equal(basis(beyond, np)[1], [1.0, np.nan])


@hypothesis.settings(max_examples=15, derandomize=True)
@hypothesis.given(columns, st.lists(numbers, min_size=1, max_size=4))
def test_polynomials_and_centred_columns_are_the_same_in_numpy_and_tensorflow(x, alpha):
    x = np.array(x)
    polynomials = OrthonormalPolynomials(tuple(alpha), tuple(4.0**k for k in range(len(alpha) + 1)))
    columns = assert_same_in_numpy_and_tensorflow(polynomials, x)
    np.testing.assert_allclose(columns[:, 0], (x - alpha[0]) / 2)
    assert columns.shape == (len(x), len(alpha))
    np.testing.assert_allclose(assert_same_in_numpy_and_tensorflow(Centring(2.0, 4.0), x)[:, 0], (x - 2) / 4)

"""Pictures of contributions and of drift, by what they draw."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from keras_linreg import plots

SIZES = st.floats(-1e6, 1e6)


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.lists(SIZES, min_size=1, max_size=30), SIZES, st.integers(1, 12))
def test_a_waterfall_leads_from_the_baseline_to_the_prediction(values, baseline, most):
    _, (ax,) = plots.figure()
    plots.contributions(ax, [f"x{i}" for i in range(len(values))], values, baseline, most=most)
    bars = ax.patches
    assert len(bars) == min(len(values), most) and labels(ax)[0] == "baseline" and labels(ax)[-1] == "prediction"
    size = 1 + abs(baseline) + np.abs(values).sum()
    np.testing.assert_allclose(sum(bar.get_width() for bar in bars), sum(values), atol=1e-9 * size)
    np.testing.assert_allclose(bars[0].get_x(), baseline, atol=1e-9 * size)
    start = baseline
    for bar in bars:  # each begins where the one before it ends
        np.testing.assert_allclose(bar.get_x(), start, atol=1e-9 * size)
        start += bar.get_width()


def test_a_waterfall_names_the_largest_first_and_sums_up_the_others():
    _, (ax,) = plots.figure()
    plots.contributions(ax, ["a", "b", "c", "d"], [1.0, -4.0, 0.5, 2.0], most=3)
    assert labels(ax) == ["baseline", "b", "d", "2 others", "prediction"]
    assert ax.patches[-1].get_width() == pytest.approx(1.5)
    _, (ax,) = plots.figure()
    plots.contributions(ax, ["a", "b"], [[1.0, -4.0]], [3.0], errors=[[0.5, 1.0]])
    assert labels(ax) == ["baseline", "b", "a", "prediction"]


def test_a_summary_has_a_point_for_each_row_and_the_widest_column_on_top():
    values = np.random.default_rng(0).normal(size=(50, 3)) * [1, 5, 0]
    values[7] = np.nan
    _, (ax,) = plots.figure()
    plots.contributions(ax, ["a", "b", "c"], values)
    assert labels(ax) == ["b", "a", "c"]
    points = [collection.get_offsets() for collection in ax.collections]
    assert [len(offsets) for offsets in points] == [49, 49, 49]
    np.testing.assert_allclose(np.sort(points[0][:, 0]), np.sort(np.delete(values[:, 1], 7)))
    plots.contributions(plots.figure()[1][0], ["a"], np.zeros((0, 1)))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (dict(names=["a"], values=[1.0, 2.0]), "`values` must be of shape"),
        (dict(names=["a"], values=[1.0], most=0), "`most` must be"),
        (dict(names=["a"], values=[[1.0], [2.0]], errors=[1.0]), "`errors` are drawn of one row"),
        (dict(names=["a"], values=[1.0], errors=[1.0, 2.0]), "`errors` must be of shape"),
    ],
)
def test_contributions_that_do_not_fit_are_refused(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        plots.contributions(plots.figure()[1][0], **arguments)


def test_shifts_and_ratios_have_a_line_each_and_red_for_those_that_are_sure():
    _, (left, right) = plots.figure(2)
    plots.column_shifts(left, ["a", "b", "c"], [0.1, -2.0, np.nan], [0.5, 0.001, np.nan])
    plots.variance_ratios(right, ["a", "b", "c"], [1.0, 1e9, 0.0], [0.5, 0.001, np.nan])
    for ax in (left, right):
        assert labels(ax) == ["a", "b", "c"]
        ax.figure.canvas.draw()
    assert left.collections[1].get_facecolor()[1].tolist() != left.collections[1].get_facecolor()[0].tolist()
    with pytest.raises(ValueError, match="same number of columns"):
        plots.column_shifts(left, ["a"], [1.0, 2.0], [1.0, 1.0])

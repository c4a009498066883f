"""The pictures of a fit and of its training show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image

from keras_linreg import plots


@pytest.fixture
def ax():
    return Figure().subplots()


def points_of(ax, output=0):
    scatters = [c for c in ax.collections if isinstance(c, PathCollection)]
    return np.asarray(scatters[output].get_offsets())


def test_fitted_line_draws_the_points_and_the_line_in_order_of_x(ax):
    assert plots.fitted_line(ax, [3, 1, 2], [[6.0], [2.0], [5.0]], [3, 1, 2], [6.5, 2.5, 4.5], xlabel="a") is ax
    np.testing.assert_allclose(points_of(ax), [[3, 6], [1, 2], [2, 5]])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2.5, 4.5, 6.5])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_legend()) == ("a", "y", None)


def test_fitted_line_gives_each_output_its_colour_and_its_name(ax):
    y = np.arange(6.0).reshape(3, 2)
    plots.fitted_line(ax, [0, 1, 2], y, [0, 2], [[0, 1], [4, 5]], label=["left", "right"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [1, 5])
    np.testing.assert_allclose(points_of(ax, 1)[:, 1], y[:, 1])


def test_actual_vs_predicted_has_observations_on_x_equal_axes_and_their_diagonal(ax):
    plots.actual_vs_predicted(ax, [1.0, 2.0, 3.0], [[1.5], [2.5], [9.0]], unit="price")
    np.testing.assert_allclose(points_of(ax), [[1, 1.5], [2, 2.5], [3, 9]])
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlim()[0] < 1 and ax.get_xlim()[1] > 9
    (x0, y0), (x1, y1) = ax.lines[0].get_xy1(), ax.lines[0].get_xy2()
    assert (x0, x1) == (y0, y1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("actual price", "predicted price")
    assert ax.get_legend() is None


@pytest.mark.parametrize("outputs, legend", [(1, False), (2, True), (6, True), (7, False)])
def test_actual_vs_predicted_names_outputs_while_their_colours_can_be_told_apart(ax, outputs, legend):
    y = np.arange(3.0 * outputs).reshape(3, outputs)
    plots.actual_vs_predicted(ax, y, y)
    assert (ax.get_legend() is not None) == legend
    assert len(ax.collections) == outputs
    if legend:
        assert len({tuple(c.get_facecolor()[0][:3]) for c in ax.collections}) == outputs


@pytest.mark.parametrize(
    "loss, scale",
    [
        ([33.0, 4, 0.7], "log"),
        ([2.0, 1.5, 1.2], "linear"),
        ([33.0, 4, 0.0], "linear"),
        ([-5.0, 80, 3], "linear"),
    ],
)
def test_loss_curve_is_logarithmic_if_positive_losses_span_a_factor_of_ten(ax, loss, scale):
    plots.loss_curve(ax, [1, 2, 3], loss)
    assert ax.get_yscale() == scale
    np.testing.assert_allclose(ax.lines[0].get_ydata(), loss)


def test_loss_curve_shows_a_single_epoch_as_a_point(ax):
    plots.loss_curve(ax, [7], [0.5])
    assert ax.lines[0].get_marker() == "o"
    low, high = ax.get_xlim()
    assert low < 7 < high


def test_loss_curve_connects_the_epochs_with_a_finite_loss(ax):
    nan = float("nan")
    plots.loss_curve(ax, [1, 2, 3, 4], [4, 3, 2, np.inf], [nan, 5, nan, 4.5])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(ax.lines[1].get_xdata(), [2, 4])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]


def test_many_points_are_smaller_and_fainter_than_few(ax):
    x = np.arange(10_000.0)
    for n in (50, 10_000):
        plots.fitted_line(ax, x[:n], x[:n], [0, 1], [0, 1])
    few, many = ax.collections
    assert many.get_sizes()[0] < few.get_sizes()[0]
    assert many.get_alpha() < few.get_alpha() < 1


@pytest.mark.parametrize("name", ["price $ in $", "a$b", r"\frac", "_hidden", "x" * 500, "two\nlines"])
def test_any_column_name_can_be_a_label(name):
    picture, (left, right) = plots.figure(panels=2)
    plots.fitted_line(left, [1, 2], [1, 2], [1, 2], [1, 2], xlabel=name, label=name)
    plots.actual_vs_predicted(right, [[1, 2], [3, 4]], [[1, 2], [3, 4]], names=[name, "b"], unit=name)
    picture.canvas.draw()
    assert len(left.get_legend().get_texts()) == 1
    assert len(right.get_legend().get_texts()) == 2


@pytest.mark.parametrize(
    "draw, words",
    [
        (lambda ax: plots.fitted_line(ax, [1, 2], [1], [1], [1]), "`x` and `y`.*rows.*2 and 1"),
        (lambda ax: plots.fitted_line(ax, [1], [1], [1, 2], [1]), "`line_x` and `line_y`.*2 and 1"),
        (lambda ax: plots.fitted_line(ax, [1], [[1, 2]], [1], [1]), "`y` and `line_y`.*outputs.*2 and 1"),
        (lambda ax: plots.actual_vs_predicted(ax, [1, 2], [1]), "`y` and `predicted`.*2 and 1"),
        (lambda ax: plots.actual_vs_predicted(ax, [1], [[[1]]]), r"`predicted`.*\(1, 1, 1\)"),
        (lambda ax: plots.loss_curve(ax, [1, 2], [1]), "`epochs` and `loss`.*2 and 1"),
        (lambda ax: plots.loss_curve(ax, [1], [1], [1, 2]), "`epochs` and `val_loss`.*1 and 2"),
    ],
)
def test_an_error_names_the_arguments_that_differ_in_size(ax, draw, words):
    with pytest.raises(ValueError, match=words):
        draw(ax)


def test_padded_range_limits_the_reach_of_the_others_and_skips_values_that_are_not_finite():
    low, high = plots.padded_range([0, 10, np.nan], [5, 1e9, np.inf], reach=0.5)
    assert -2 < low < 0 and 15 < high < 17
    low, high = plots.padded_range([3.0, 3.0])
    assert low < 3 < high
    assert plots.padded_range([np.nan]) == (0, 1)


def test_save_gif_draws_each_step_and_shows_the_last_one_longer(tmp_path):
    picture, (ax,) = plots.figure()
    steps = (plots.fitted_line(ax.clear() or ax, [0, 1], [0, 1], [0, 1], [0, slope]) for slope in (0, 1, 2))
    plots.save_gif(tmp_path / "a.gif", picture, steps, dpi=50)
    with Image.open(tmp_path / "a.gif") as gif:
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
        assert gif.size == (275, 225)
    assert durations == [1000, 120, 2000]

"""The pictures of a report, of intervals and of diagnostics show the numbers of the fit."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

import keras_linreg as klr
from keras_linreg import plots
from keras_linreg.inference.diagnose import diagnose
from keras_linreg.inference.row_influence import RowsOfFit

RNG = np.random.default_rng(0)


def axes(panels=1):
    _, panels = plots.figure(panels=panels, columns=min(panels, 2))
    return panels if len(panels) > 1 else panels[0]


def drawn(ax):
    """Draw the figure, as `savefig` does, and return its texts."""
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.texts]


def test_coefficients_are_in_order_each_with_its_interval():
    ax = axes()
    params, limits = [1.0, -2.0, 0.1], [[0.5, 1.5], [-3.0, -1.0], [-1.0, 1.2]]
    plots.coefficients(ax, ["_a", "b$c", "a name of far more letters than fit"], params, limits, level=0.9)
    drawn(ax)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[1] == r"b\$c" and labels[0].strip() == "_a" and len(labels[2]) <= 24
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    assert "90 %" in ax.get_xlabel()
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(actual=segments[:, :, 0], desired=limits)
    np.testing.assert_allclose(actual=segments[:, 0, 1], desired=[0, 1, 2])
    colours = ax.collections[0].get_colors()
    assert (colours[0] == colours[1]).all() and (
        colours[0] != colours[2]
    ).any()  # an interval that holds zero is fainter


def test_a_coefficient_without_an_interval_is_a_hollow_point():
    ax = axes()
    plots.coefficients(ax, ["a", "b"], [1.0, 0.0], [[0.5, 1.5], [np.nan, np.nan]])
    assert len(ax.collections[0].get_segments()) == 1
    np.testing.assert_allclose(actual=ax.collections[2].get_offsets(), desired=[[0.0, 1.0]])
    np.testing.assert_allclose(actual=ax.collections[2].get_facecolors()[0], desired=[1, 1, 1, 1])


def test_bands_lie_between_their_limits_in_any_order_of_x():
    ax = axes()
    x = np.array([2.0, 0.0, 1.0])
    plots.bands(ax, x, mean_lower=x - 1, mean_upper=x + 1, obs_lower=x - 3, obs_upper=x + 3)
    for band, reach in zip(ax.collections, (3, 1), strict=True):
        for corner in ([0, -reach], [2, 2 - reach], [0, reach], [2, 2 + reach]):
            assert (np.abs(band.get_paths()[0].vertices - corner).max(axis=1) < 1e-12).any()


@pytest.mark.parametrize("draw", [plots.residuals_vs_fitted, plots.normal_qq, plots.scale_location])
def test_points_are_drawn_and_labelled(draw):
    ax = axes()
    x, y = RNG.normal(size=(2, 40))
    y[3] = np.nan  # a row of leverage 1
    draw(ax, x, y, labels={5: "5", 3: "3"})
    good = np.isfinite(y)
    expected = np.sqrt(np.abs(y)) if draw is plots.scale_location else y
    np.testing.assert_allclose(actual=ax.collections[0].get_offsets(), desired=np.stack([x, expected], 1)[good])
    assert drawn(ax) == ["5"]


def test_the_line_of_the_q_q_plot_goes_through_the_quartiles():
    ax = axes()
    y = np.sort(3 + 2 * RNG.normal(size=200))
    plots.normal_qq(ax, stats.norm.ppf((np.arange(200) + 0.5) / 200), y)
    (line,) = ax.lines
    quartiles = np.quantile(y, [0.25, 0.75])
    slope = np.diff(quartiles)[0] / np.diff(stats.norm.ppf([0.25, 0.75]))[0]
    np.testing.assert_allclose(actual=line.get_slope(), desired=slope)
    np.testing.assert_allclose(actual=line.get_xy1(), desired=(0, quartiles.mean()))


def test_the_trend_follows_a_parabola_and_a_few_points_have_none():
    x = np.linspace(-1, 1, 400)
    ax = axes()
    plots.residuals_vs_fitted(ax, x, x**2)
    trend = ax.lines[-1]
    assert len(ax.lines) == 2
    middle, end = np.interp([0.0, 1.0], *trend.get_data())
    assert middle < 0.25 and end > 0.7
    few = axes()
    plots.residuals_vs_fitted(few, x[:9], x[:9])
    assert len(few.lines) == 1


@pytest.mark.parametrize("rank", [2, 5])
def test_contours_are_where_cooks_distance_is_a_half_and_one(rank):
    ax = axes()
    plots.residuals_vs_leverage(ax, [0.1, 0.6, 0.7], [4.0, -4.0, 3.0], rank)
    contours = [line for line in ax.lines if line.get_linestyle() == "--" and len(line.get_xdata()) > 2]
    assert len(contours) == 4
    for line in contours:
        h, r = line.get_data()
        distance = r**2 / rank * h / (1 - h)
        assert (np.ptp(distance) < 1e-9 and distance[0] == pytest.approx(0.5, abs=1e-9)) or distance[
            0
        ] == pytest.approx(1)
    assert set(drawn(ax)) == {"0.5", "1"}


def test_no_contours_are_drawn_far_from_all_points():
    ax = axes()
    plots.residuals_vs_leverage(ax, np.full(50, 0.01), RNG.normal(size=50), 3)
    assert drawn(ax) == []


@pytest.mark.parametrize("labels", [None, {1: "row one"}])
def test_four_panels_of_a_fit(labels):
    four = axes(4)
    n = 30
    residuals = RNG.normal(size=n)
    panels = plots.diagnostics(four, np.arange(n), residuals, residuals / 2, np.full(n, 0.1), 2, labels=labels)
    assert [ax.get_title(loc="left") for ax in panels] == [
        "Residuals vs fitted",
        "Normal Q-Q",
        "Scale-location",
        "Residuals vs leverage",
    ]
    qq = panels[1].collections[0].get_offsets()
    np.testing.assert_allclose(actual=qq[:, 1], desired=np.sort(residuals / 2))
    np.testing.assert_allclose(actual=qq[:, 0], desired=stats.norm.ppf((np.arange(n) + 0.5) / n))
    assert all(("row one" in drawn(ax)) == (labels is not None) for ax in panels)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda ax: plots.coefficients(ax, ["a"], [1.0, 2.0], [[0, 1], [0, 1]]), "names"),
        (lambda ax: plots.coefficients(ax, ["a"], [1.0], [[0, 1], [0, 1]]), "conf_int"),
        (lambda ax: plots.bands(ax, [0.0], mean_lower=[0.0, 1.0], mean_upper=[0.0]), "mean_lower"),
        (lambda ax: plots.residuals_vs_fitted(ax, [0.0], [1.0, 2.0]), "fitted"),
        (lambda ax: plots.normal_qq(ax, [0.0], [1.0, 2.0]), "quantiles"),
        (lambda ax: plots.residuals_vs_leverage(ax, [0.0, 1.0], [[1.0, 2.0]], 2), "standardized"),
        (lambda ax: plots.diagnostics([ax], [0.0], [0.0], [0.0], [0.0], 1), "axes"),
    ],
)
def test_an_error_names_the_argument_that_differs_in_size(call, argument):
    with pytest.raises(ValueError, match=rf"`{argument}`.*Received"):
        call(axes())


# Of a model


@pytest.fixture(scope="module")
def stackloss():
    data = sm.datasets.stackloss.load_pandas()
    model = klr.ExactLinearRegression()
    model.fit(data.exog, data.endog, verbose=0)
    return model, data.exog, data.endog


def test_a_report_draws_its_coefficients(stackloss):
    report = stackloss[0].report(level=0.8)
    (without,) = report.plot().axes
    assert [label.get_text() for label in without.get_yticklabels()] == list(report.names[1:])
    (ax,) = report.plot(intercept=True).axes
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(actual=segments[:, :, 0], desired=report.conf_int())
    assert "80 %" in ax.get_xlabel()


def test_standardized_coefficients_are_those_of_standardized_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)) * [1e-3, 50] + [5, -2]
    y = np.stack([x @ [1e3, 0.1], x @ [-2e3, 0.03]], axis=1) + rng.normal(size=(60, 2))
    weight = rng.uniform(0.5, 2, 60)
    moments = klr.Moments.from_data(x, y, weight)
    axes = klr.RegressionReport.from_moments(moments).plot(standardized=True).axes

    def scaled(values):
        mean = np.average(values, axis=0, weights=weight)
        return (values - mean) / np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))

    expected = klr.RegressionReport.from_moments(klr.Moments.from_data(scaled(x), scaled(y), weight))
    for output, ax in enumerate(axes):
        assert ax.get_xlabel().startswith("standardized coefficient")
        assert [label.get_text() for label in ax.get_yticklabels()] == ["x0", "x1"]
        drawn = ax.collections[1].get_offsets()[:, 0]
        np.testing.assert_allclose(drawn, expected.params.iloc[1:, output], rtol=1e-9)
        ends = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
        limits = expected.output(output).conf_int().iloc[1:].to_numpy()
        np.testing.assert_allclose(ends, limits, rtol=1e-9)


def test_a_notebook_shows_a_picture_and_there_is_no_window(stackloss):
    picture = stackloss[0].report().plot()
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(AttributeError, match="no window. Save it by `.savefig"):
        picture.show()


def test_diagnostics_draw_the_panels_and_label_the_most_influential_rows(stackloss):
    model, x, y = stackloss
    batch = np.asarray(x), np.asarray(y)[:, None], None
    rows = RowsOfFit(model.fitted.estimate, lambda: iter([batch]))
    diagnostics = diagnose(rows, most_rows=4, sample_rows=12)
    four = diagnostics.plot().axes
    points = four[3].collections[0].get_offsets()
    assert 12 <= len(points) <= 16  # the sample, and the influential rows that it lacks
    names = [text for text in drawn(four[3]) if text not in ("0.5", "1")]
    assert names == [str(row) for row in diagnostics.rows[:3]]
    worst = points[np.abs(points[:, 0] - diagnostics.leverage[0]).argmin()]
    np.testing.assert_allclose(
        actual=worst[1] ** 2 / 4 * worst[0] / (1 - worst[0]), desired=diagnostics.cooks_distance[0]
    )
    (ax,) = diagnostics.plot_actual_vs_predicted().axes
    assert len(ax.collections[0].get_offsets()) == 12


@pytest.mark.parametrize("with_points", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_fit_of_one_feature_is_drawn_with_its_bands(with_points, use_bias):
    x = 5 + RNG.normal(size=50)
    y = 2 * x + RNG.normal(size=50)
    model = klr.ExactLinearRegression(use_bias=use_bias)
    model.fit(x, y, verbose=0)
    (ax,) = model.report().plot_line(*((x, y) if with_points else ())).axes
    grid, line = ax.lines[0].get_data()
    expected = model.predict_interval(grid)
    np.testing.assert_allclose(actual=line, desired=expected["mean"])
    band = ax.collections[2].get_paths()[0].vertices[:, 1]
    limits = [expected["mean_ci_lower"].min(), expected["mean_ci_upper"].max()]
    np.testing.assert_allclose(actual=[band.min(), band.max()], desired=limits)
    assert grid.min() < np.median(x) < grid.max()


def test_a_line_of_several_features_is_refused(stackloss):
    with pytest.raises(ValueError, match="one feature. Received: 3"):
        stackloss[0].report().plot_line()


def test_a_line_is_drawn_through_points_that_lack_some_numbers():
    x = np.arange(10.0)
    model = klr.ExactLinearRegression()
    model.fit(x, x + np.sin(x), verbose=0)
    x[3] = np.nan
    (ax,) = model.report().plot_line(x, np.arange(10.0)).axes
    assert np.isfinite(ax.lines[0].get_ydata()).all()
    for arguments in ((x, None), (None, x)):
        with pytest.raises(ValueError, match="`x` and `y` must be given together"):
            model.report().plot_line(*arguments)
    with pytest.raises(ValueError, match="`x` must have at least one finite number"):
        model.report().plot_line(np.full(3, np.nan), np.arange(3.0))


def test_a_perfect_fit_is_drawn_too():
    x = np.arange(10.0)
    model = klr.ExactLinearRegression()
    model.fit(x, 2 * x + 1, verbose=0)
    figure = model.diagnose((x, 2 * x + 1)).plot()
    figure.canvas.draw()
    assert len(figure.axes) == 4

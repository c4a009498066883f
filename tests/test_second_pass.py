"""A second pass accepts the rows of the fit, in any order and form, and refuses others; the model stays as it was."""

import contextlib
import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.inference.estimate import estimate_parameters
from keras_linreg.inference.second_pass import moments_tolerance, run_second_pass

N = 60


def table(seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 3)) * [1.0, 100.0, 0.01] + [0.0, 2000.0, 5.0]
    return x, x @ [2.0, 0.1, -30.0] + 4 + rng.normal(size=N), rng.uniform(0.1, 3.0, N)


def fitted(x, y=None, w=None, **options):
    model = klr.ExactLinearRegression(**options)
    model.fit(x, y, sample_weight=w, verbose=0)
    return model


@pytest.fixture(scope="module")
def rows():
    return table()


@pytest.fixture(scope="module")
def weighted(rows):
    return fitted(*rows)


@pytest.fixture(scope="module")
def plain(rows):
    return fitted(*rows[:2])


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def shuffled(array, column=None):
    order = np.random.default_rng(8).permutation(len(array))
    return array[order] if column is None else changed(array, (slice(None), column), array[order, column])


COUNT = rf"the same rows, with the same weights. Received: (at least )?\d+ rows, and the fit was of {N}[.,]"
MOMENTS = "the same rows, with the same weights. Received: as many rows, with other moments."
OTHERS = {
    "a row fewer": (lambda x, y, w: (x[1:], y[1:], w[1:]), COUNT),
    "a row more": (lambda *d: tuple(np.concatenate([part, part[:1]]) for part in d), COUNT),
    "all rows twice": (lambda *d: tuple(np.concatenate([part, part]) for part in d), COUNT),
    "another weight that is zero": (lambda x, y, w: (x, y, changed(w, 3, 0.0)), COUNT),
    "one row instead of another": (lambda *d: tuple(changed(part, 0, part[1]) for part in d), MOMENTS),
    "a column in another order": (lambda x, y, w: (shuffled(x, 1), y, w), MOMENTS),
    "two columns exchanged": (lambda x, y, w: (x[:, [1, 0, 2]], y, w), MOMENTS),
    "y in another order": (lambda x, y, w: (x, shuffled(y), w), MOMENTS),
    "y in another unit": (lambda x, y, w: (x, 1.001 * y, w), MOMENTS),
    "y moved": (lambda x, y, w: (x, y + 1e-3, w), MOMENTS),
    "y reversed": (lambda x, y, w: (x, -y, w), MOMENTS),
    "a column moved": (lambda x, y, w: (x + np.array([0.0, 0.01, 0.0]), y, w), MOMENTS),
    "a column scaled": (lambda x, y, w: (x * [1.0, 1.00001, 1.0], y, w), MOMENTS),
    "one value of x": (lambda x, y, w: (changed(x, (17, 2), x[17, 2] + 1e-5), y, w), MOMENTS),
    "one value of y": (lambda x, y, w: (x, changed(y, 5, y[5] + 1e-3), w), MOMENTS),
    "the residuals of another y": (lambda x, y, w: (x, np.random.default_rng(0).normal(size=N), w), MOMENTS),
    "weights left out": (lambda x, y, w: (x, y), MOMENTS),
    "weights doubled": (lambda x, y, w: (x, y, 2 * w), MOMENTS),
    "weights in another order": (lambda x, y, w: (x, y, shuffled(w)), MOMENTS),
    "one weight": (lambda x, y, w: (x, y, changed(w, 9, w[9] + 1e-5)), MOMENTS),
}
SECOND_PASSES = {
    "report, HC3": lambda model, data: model.report(cov_type="HC3", data=data),
    "report, nonrobust": lambda model, data: model.report(data=data),
    "report, cluster": lambda model, data: model.report(cov_type="cluster", data=data, groups=np.arange(N) % 9),
    "report, HAC": lambda model, data: model.report(cov_type="HAC", data=data, maxlags=2),
    "diagnose": lambda model, data: model.diagnose(data),
}
ALL_SECOND_PASSES = pytest.mark.parametrize("run", SECOND_PASSES.values(), ids=SECOND_PASSES)


def check_refused(model, run, case, rows):
    other_rows, message = OTHERS[case]
    report, weights = str(model.report()), [weight.copy() for weight in model.get_weights()]
    with pytest.raises(ValueError, match=f"`data` must be the data of the fit: {message}"):
        run(model, other_rows(*rows))
    assert str(model.report()) == report
    np.testing.assert_equal(actual=list(model.get_weights()), desired=weights)


@pytest.mark.parametrize("case", OTHERS)
def test_other_rows_are_refused_and_the_model_stays(case, weighted, rows):
    check_refused(weighted, SECOND_PASSES["report, HC3"], case, rows)


@pytest.mark.parametrize("case", ["a row fewer", "a row more", "y moved", "weights doubled"])
@ALL_SECOND_PASSES
def test_every_second_pass_refuses_other_rows(case, run, weighted, rows):
    check_refused(weighted, run, case, rows)


@pytest.mark.parametrize("size", [7, 20])
def test_a_stream_that_ran_dry_is_refused(size, weighted, rows):
    parts = (tuple(part[i : i + size] for part in rows) for i in range(0, N, size))
    weighted.report(cov_type="HC0", data=parts)
    with pytest.raises(ValueError, match="Received: an empty generator"):
        weighted.report(cov_type="HC0", data=parts)
    parts = (tuple(part[i : i + size] for part in rows) for i in range(0, N - size, size))
    with pytest.raises(ValueError, match=COUNT):
        weighted.report(cov_type="HC0", data=parts)


def test_a_stream_that_does_not_end_is_refused_once_it_has_more_rows_than_the_fit(weighted, rows):
    def endless():
        for _ in range(1000):
            yield rows
        raise RuntimeError("still being read")

    with pytest.raises(ValueError, match="the same rows, with the same weights. Received: "):
        weighted.report(cov_type="HC0", data=endless())


def test_weights_that_the_fit_had_not_are_refused(plain, rows):
    with pytest.raises(ValueError, match=MOMENTS):
        plain.report(cov_type="HC0", data=rows)
    ones = plain.report(cov_type="HC0", data=(*rows[:2], np.ones(N)))
    np.testing.assert_allclose(actual=ones.bse, desired=plain.report(cov_type="HC0", data=rows[:2]).bse, rtol=1e-12)


@pytest.mark.parametrize("use_bias", [True, False])
def test_other_data_are_refused_without_an_intercept_too(use_bias, rows):
    x, y, w = rows
    model = fitted(x, y, w, use_bias=use_bias)
    model.report(cov_type="HC1", data=rows)
    for other in ((x, y + 1e-3, w), (x, y, w * 1.001), (shuffled(x, 0), y, w)):
        with pytest.raises(ValueError, match=MOMENTS):
            model.report(cov_type="HC1", data=other)


def test_one_of_several_outputs_that_differs_is_refused(rows):
    x, y, _ = rows
    both = np.column_stack([1e9 * y, shuffled(y)])  # of very different sizes
    model = fitted(x, both, units=2)
    model.report(cov_type="HC0", data=(x, both))
    with pytest.raises(ValueError, match=MOMENTS):
        model.report(cov_type="HC0", data=(x, changed(both, (4, 1), both[4, 1] + 1e-3)))


@ALL_SECOND_PASSES
def test_the_same_rows_in_another_order_are_the_data_of_the_fit(run, weighted, rows):
    depends_on_order = run in (SECOND_PASSES["report, HAC"], SECOND_PASSES["diagnose"])
    with pytest.warns(UserWarning, match="another order") if depends_on_order else contextlib.nullcontext():
        run(weighted, tuple(map(shuffled, rows)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("how", ["arrays", "dataset"])
def test_low_precision_data_are_known_again_and_as_exact_as_their_values(dtype, how, rows):
    x, y, _ = rows
    x, y = (tf.cast(part, dtype) for part in ((x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()))
    data = (x, y) if how == "arrays" else tf.data.Dataset.from_tensor_slices((x, y)).batch(7)
    model = fitted(*data) if how == "arrays" else fitted(data)
    report = model.report(cov_type="HC3", data=data)
    x, y = (np.asarray(tf.cast(part, "float64")) for part in (x, y))
    expected = sm.OLS(y, sm.add_constant(x)).fit(method="pinv", cov_type="HC3")
    np.testing.assert_allclose(actual=report.bse, desired=expected.bse, rtol=1e-9)
    # float64 of the same values are the same data
    np.testing.assert_allclose(actual=model.report(cov_type="HC3", data=(x, y)).bse, desired=expected.bse, rtol=1e-9)
    with pytest.raises(ValueError, match=MOMENTS):
        model.report(cov_type="HC3", data=(x, shuffled(y)))


def test_float64_data_are_not_those_of_a_fit_of_float32_where_it_shows(rows):
    x, y, _ = rows
    model = fitted(x.astype("float32"), y.astype("float32"))
    report = model.report(cov_type="HC1", data=(x, y))  # within the rounding of what was fitted
    expected = sm.OLS(y, sm.add_constant(x)).fit(method="pinv", cov_type="HC1")
    np.testing.assert_allclose(actual=report.bse, desired=expected.bse, rtol=1e-4)


def test_columns_of_a_frame_are_known_by_name(rows):
    x, y, w = rows
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    model = fitted(frame, y, w)
    expected = model.report(cov_type="HC2", data=(frame, y, w)).bse
    actual = model.report(cov_type="HC2", data=(frame[["c", "a", "b"]], y, w)).bse
    np.testing.assert_array_equal(actual=actual, desired=expected)
    with pytest.raises(ValueError, match=MOMENTS):
        model.report(cov_type="HC2", data=(frame.to_numpy()[:, [2, 0, 1]], y, w))


def test_data_go_through_the_preprocessor_of_the_model(penguins, penguin_space):
    frame, y = penguins
    with pytest.warns(UserWarning, match="depend on the bias or columns before them"):
        model = fitted(dict(frame), y, preprocessor=penguin_space)
    report = model.report(cov_type="HC3", data=(dict(frame), y))
    design = penguin_space({name: tf.constant(frame[name].to_numpy()) for name in frame}).numpy().astype(float)
    kept = ~np.isnan(report.bse.to_numpy())
    expected = sm.OLS(y.to_numpy(), sm.add_constant(design[:, kept[1:]])).fit(method="pinv", cov_type="HC3")
    assert kept.sum() == 6  # the intercept, bill, and of three sites and three species two each
    np.testing.assert_allclose(actual=report.bse[kept], desired=expected.bse, rtol=1e-9)
    stream = tf.data.Dataset.from_tensor_slices((dict(frame), y)).batch(13)
    np.testing.assert_allclose(actual=model.report(cov_type="HC3", data=stream).bse, desired=report.bse, rtol=1e-11)
    np.testing.assert_allclose(
        actual=model.diagnose((dict(frame), y)).quantiles, desired=model.diagnose(stream).quantiles, rtol=1e-9
    )
    other = frame.assign(species=frame["species"].sample(frac=1, random_state=1).to_numpy())
    with pytest.raises(ValueError, match=MOMENTS):
        model.report(cov_type="HC3", data=(dict(other), y))


@pytest.mark.parametrize("run", [SECOND_PASSES["report, HC3"], SECOND_PASSES["diagnose"]], ids=["report", "diagnose"])
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("x alone", "`data` must be .x, y., .x, y, sample_weight. or a stream. Received: 1 elements"),
        ("four parts", "`data` must be .* Received: 4 elements"),
        ("too few columns", r"`x` must have the 3 columns that the model was built on. Received: shape .60, 2."),
        ("lengths that differ", "must have the same number of rows. Received: {'x': 60, 'y': 59}"),
        ("NaN in x", "1 of 60 rows have no value in 'x1'"),
        ("NaN in y", "1 of 60 rows have no value in 'y'"),
        ("no rows", "at least one row. Received: none"),
    ],
)
def test_data_that_cannot_be_fitted_cannot_be_read_again(run, case, message, plain, rows):
    x, y, _ = rows
    data = {
        "x alone": (x,),
        "four parts": (x, y, y, y),
        "too few columns": (x[:, :2], y),
        "lengths that differ": (x, y[:-1]),
        "NaN in x": (changed(x, (3, 1), np.nan), y),
        "NaN in y": (x, changed(y, 3, np.nan)),
        "no rows": (x[:0], y[:0]),
    }[case]
    with pytest.raises(ValueError, match=message):
        run(plain, data)
    assert np.isfinite(plain.report(cov_type="HC3", data=rows[:2]).bse).all()


def test_nan_in_rows_of_weight_zero_does_no_harm(rows):
    x, y, w = rows
    w = changed(w, [3, 40], 0.0)
    x, y = changed(x, 3, np.nan), changed(y, 40, np.inf)
    model = fitted(x, y, w)
    used = w > 0
    expected = sm.WLS(y[used], sm.add_constant(x[used]), w[used]).fit(method="pinv", cov_type="HC3")
    np.testing.assert_allclose(actual=model.report(cov_type="HC3", data=(x, y, w)).bse, desired=expected.bse, rtol=1e-9)
    assert 3 not in model.diagnose((x, y, w), k=N).rows


def test_a_bad_batch_of_a_stream_is_named(weighted, rows):
    parts = [tuple(part[i : i + 20] for part in rows) for i in range(0, N, 20)]
    parts[2] = (parts[2][0][:, :2], *parts[2][1:])
    with pytest.raises(ValueError, match="Batch 2"):
        weighted.report(cov_type="HC3", data=(part for part in parts))


def test_a_generator_may_overwrite_the_arrays_that_it_has_yielded(weighted, rows):
    expected = weighted.report(cov_type="HC3", data=rows).bse

    def parts():
        x, y, w = np.empty((5, 3)), np.empty(5), np.empty(5)
        for i in range(0, N, 5):
            for target, part in zip((x, y, w), rows, strict=True):
                target[:] = part[i : i + 5]
            yield x, y, w

    np.testing.assert_allclose(actual=weighted.report(cov_type="HC3", data=parts()).bse, desired=expected, rtol=1e-12)


def test_a_perfect_fit_knows_its_data_again():
    x = np.random.default_rng(0).normal(size=(30, 2))
    y = x @ [2.0, -1.0] + 3
    model = fitted(x, y)
    report = model.report(cov_type="HC0", data=(x, y))
    assert any("perfect up to rounding" in note for note in report.notes)
    with pytest.raises(ValueError, match=MOMENTS):
        model.report(cov_type="HC0", data=(x, shuffled(y)))


# Blocks, as accumulators get them


class BlockList:
    """An accumulator that keeps the blocks."""

    def __init__(self):
        self.blocks = []

    def contribution(self, block):
        return block

    def add(self, contribution):
        self.blocks.append(contribution)


def estimate_of(*rows, dtype="float64"):
    moments = klr.Moments.from_data(*rows)
    return estimate_parameters(moments.statistics, moments.solve(), dtype)


@pytest.mark.parametrize("block_numbers", [2**17, 10, 1])
def test_blocks_come_in_order_with_the_rows_that_have_a_weight(block_numbers, rows):
    x, y, w = rows
    w = changed(w, [0, 1, 2, 3, 30], 0.0)
    used = w > 0
    accumulator = BlockList()
    batches = [(x[:25], y[:25, None], w[:25]), (x[25:], y[25:, None], w[25:])]
    run_second_pass(estimate_of(x, y, w), batches, [accumulator], block_numbers)
    blocks = accumulator.blocks
    expected = sm.WLS(y[used], sm.add_constant(x[used]), w[used]).fit(method="pinv")
    whitened = sm.OLS(expected.model.wendog, expected.model.wexog).fit(method="pinv").get_influence()

    def whole(name):
        return np.concatenate([np.asarray(getattr(block, name)) for block in blocks if len(block.z)])

    assert sum(block.height for block in blocks) == N
    assert len(blocks) >= {2**17: 2, 10: N // 3, 1: N}[block_numbers]
    np.testing.assert_array_equal(actual=whole("row_numbers"), desired=np.flatnonzero(used))
    size = np.sqrt(expected.scale)
    for name, desired, atol in (
        ("residuals", expected.wresid, 1e-11 * size),
        ("fitted", expected.fittedvalues, 0),
        ("leverage", whitened.hat_matrix_diag, 0),
        ("root_weight", np.sqrt(w[used]), 0),
    ):
        np.testing.assert_allclose(actual=whole(name).ravel(), desired=desired, rtol=1e-9, atol=atol, err_msg=name)
    z = whole("z")
    np.testing.assert_allclose(actual=z.T @ z, desired=np.eye(4), rtol=0, atol=1e-12)


def test_an_error_of_an_accumulator_reaches_the_caller(rows):
    x, y, _ = rows

    class Broken(BlockList):
        def contribution(self, block):
            raise MemoryError("out of memory")

    with pytest.raises(MemoryError, match="out of memory"):
        run_second_pass(estimate_of(x, y), [(x, y[:, None], None)], [Broken()])


@pytest.mark.parametrize(("dtype", "least"), [("float64", 1e-8), ("float32", 1e-5), ("bfloat16", 1e-2)])
def test_the_tolerance_of_moments_grows_with_rounding_errors(dtype, least, rows):
    estimate = estimate_of(*rows, dtype=dtype)
    assert moments_tolerance(estimate) == least
    nearly_dependent = dataclasses.replace(estimate, scaled_condition_number=1e9)
    assert moments_tolerance(nearly_dependent) == max(least, 1e3 * 2.0**-53 * 1e9)


@pytest.mark.parametrize("gap", [1e-4, 1e-7, 1e-9])
def test_nearly_dependent_columns_are_known_again(gap, rows):
    x, y, _ = rows
    x = np.column_stack([x[:, 0], x[:, 0] + gap * 100 * x[:, 2], x[:, 1]])
    model = fitted(x, y)
    order = np.random.default_rng(3).permutation(N)
    in_order, shuffled_rows = (model.report(cov_type="HC1", data=(x[o], y[o])).bse for o in (np.arange(N), order))
    np.testing.assert_allclose(actual=shuffled_rows, desired=in_order, rtol=1e-6)


def test_a_model_under_a_small_penalty_still_refuses(rows):
    model = fitted(*rows[:2], kernel_regularizer=keras.regularizers.L2(1e-9))
    for run in SECOND_PASSES.values():
        with pytest.raises(ValueError, match="A penalised fit has no standard errors"):
            run(model, rows[:2])

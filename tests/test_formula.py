"""Formulas beside patsy and statsmodels: names, order, coefficients, standard errors, predictions on new rows."""

import warnings

import keras
import numpy as np
import pandas as pd
import patsy
import pytest
import statsmodels.formula.api as smf
import tensorflow as tf
from cases import quick_and_heavy
from formulaic import model_matrix
from formulas import FORMULAS, as_columns, survey
from loader_process import serve

import keras_linreg as klr

NEW = slice(3, 60, 7)
ILL_CONDITIONED = 1e6


def fit(formula, data=None):
    model = klr.ExactLinearRegression(preprocessor=klr.Formula(formula))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*depend", UserWarning)
        model.fit(survey() if data is None else data, verbose=0)
    return model


def dataset(rows=100):
    return tf.data.Dataset.from_tensor_slices(as_columns(survey())).batch(rows)


def patsy_names(formula):
    """The columns that patsy makes, without a level that no row has: this package drops unused categories."""
    data = survey().assign(news=survey()["news"].cat.remove_unused_categories())
    return data, patsy.dmatrices(formula, data, return_type="dataframe")


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_fits_reports_and_predicts_as_statsmodels_does(formula):
    data, (_, design) = patsy_names(formula)
    theirs = smf.ols(formula, data).fit()
    ours = fit(formula)
    report, new = ours.report(), survey().iloc[NEW]
    assert list(report.params.index) == list(design.columns)
    assert ours.use_bias == ("Intercept" in design.columns)
    np.testing.assert_allclose(ours.predict(survey(), verbose=0).ravel(), theirs.fittedvalues, rtol=1e-9, atol=1e-9)
    is_full = np.linalg.matrix_rank(design) == design.shape[1]
    if is_full and theirs.condition_number < ILL_CONDITIONED:
        scale = np.abs(theirs.params).max()
        np.testing.assert_allclose(report.params, theirs.params, rtol=1e-9, atol=1e-9 * scale)
        np.testing.assert_allclose(report.bse, theirs.bse, rtol=1e-9)
        np.testing.assert_allclose(ours.predict(new, verbose=0).ravel(), theirs.predict(data.iloc[NEW]), rtol=1e-9)


COVERING = [FORMULAS[i] for i in (21, 36, 40)]


def check_stream_and_file(formula, folder):
    plain = fit(formula, survey().assign(news=survey()["news"].astype(str)))  # a dataset declares no order of levels
    streamed = fit(formula, dataset())
    np.testing.assert_allclose(streamed.kernel, plain.kernel, rtol=1e-9, atol=1e-9 * np.abs(plain.kernel).max())
    ours = fit(formula)
    expected = ours.predict(survey(), verbose=0)
    np.testing.assert_allclose(ours.predict(dataset(), verbose=0), expected, rtol=1e-12)
    ours.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    np.testing.assert_array_equal(loaded.predict(survey(), verbose=0), expected)
    assert str(loaded.report()) == str(ours.report())


def check_served(formula, folder):
    ours = fit(formula)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The signatures take float32", UserWarning)
        ours.export(folder / "served", verbose=False)
    columns, new = as_columns(survey().iloc[NEW]), survey().iloc[NEW]
    request = {
        column.name: columns[column.name].astype(object if column.dtype == "string" else column.dtype)
        for column in ours.schema.inputs
    }
    served = serve(str(folder / "served"), "predict_interval", request)
    expected = ours.predict_interval(new)
    for key in ("mean", "mean_ci_lower", "obs_ci_upper"):
        np.testing.assert_allclose(served[key], expected[key], rtol=2e-4)
    np.testing.assert_allclose(
        serve(str(folder / "served"), "serving_default", request)["predictions"].ravel(), expected["mean"], rtol=2e-4
    )


@pytest.mark.parametrize("formula", quick_and_heavy(COVERING, COVERING[0]))
def test_a_stream_and_the_loaded_file_agree_with_the_table(formula, tmp_path):
    check_stream_and_file(formula, tmp_path)


@pytest.mark.parametrize("formula", [FORMULAS[40]])
def test_a_server_answers_as_predict_does(formula, tmp_path):
    check_served(formula, tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("formula", FORMULAS)
def test_every_formula_streams_loads_and_serves(formula, tmp_path):
    check_stream_and_file(formula, tmp_path)
    check_served(formula, tmp_path)


def test_contrasts_of_sums_without_their_main_effect_are_indicators_as_in_r():
    names = fit("income ~ age:C(party, Sum)").feature_names
    assert names == [f"age:C(party, Sum)[{level}]" for level in ("dem", "ind", "rep")]


def test_polynomials_are_those_of_formulaic():
    ours = fit("income ~ poly(age, 3) + party")
    theirs = model_matrix("poly(age, 3)", survey())
    design = np.asarray(ours.preprocessor({name: tf.constant(value) for name, value in as_columns(survey()).items()}))
    assert ours.feature_names[2:] == list(theirs.columns[1:])
    np.testing.assert_allclose(design[:, 2:], theirs.iloc[:, 1:], atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("income ~ log(age)", {"log(age)": np.log}),
        ("income ~ log10(age) + log1p(age)", {"log10(age)": np.log10, "log1p(age)": np.log1p}),
        ("income ~ sqrt(age) + abs(age)", {"sqrt(age)": np.sqrt, "abs(age)": np.abs}),
        ("income ~ I(log(age)*2)", {"I(log(age) * 2)": lambda age: np.log(age) * 2}),
        ("income ~ I( age**9 )", {"I(age ** 9)": lambda age: age**9}),
    ],
)
def test_functions_that_patsy_has_no_word_for_are_named_as_written(formula, columns):
    formula_ = klr.Formula(formula)
    formula_.adapt(survey())
    assert list(formula_.design_names) == list(columns)
    design = np.asarray(formula_({"age": tf.constant(survey()["age"])}))
    for i, function in enumerate(columns.values()):
        np.testing.assert_allclose(design[:, i], function(survey()["age"]), rtol=1e-14)


def test_backquotes_quote_and_a_caret_is_a_power_outside_of_i():
    assert fit("income ~ (`self lr` + party)^2").feature_names == [
        *("party[T.ind]", "party[T.rep]", "self lr", "self lr:party[T.ind]", "self lr:party[T.rep]")
    ]
    assert fit("income ~ log(`self lr`) + I(`self lr`**2)").feature_names == ["log(`self lr`)", "I(`self lr` ** 2)"]


def test_a_dot_is_every_column_but_the_response_and_those_that_weights_and_groups_name():
    table = survey().assign(weight=1.0)
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("log(income) ~ . - age"))
    model.fit(table, sample_weight="weight", verbose=0)
    assert set(model.schema.names) == {"popul", "educ", "party", "news", "vote", "self lr"}
    one_sided = klr.ExactLinearRegression(preprocessor=klr.Formula("."))
    one_sided.fit(table[["income", "age", "weight"]], "income", sample_weight="weight", verbose=0)
    assert one_sided.feature_names == ["age"]


def test_a_one_sided_formula_takes_y_as_usual():
    for y in ("income", survey()["income"], survey()["income"].to_numpy()):
        model = klr.ExactLinearRegression(preprocessor=klr.Formula("~ age + party"))
        model.fit(survey(), y, verbose=0)
        np.testing.assert_allclose(model.kernel, fit("income ~ age + party").kernel, rtol=1e-12)


def test_the_report_says_that_predictions_are_of_the_left_side():
    model = fit("log(income) ~ age")
    assert "Linear regression of log(income)" in str(model.report())
    assert model.moments.output_names == ("log(income)",)
    assert fit("log(income) ~ age", dataset()).moments.output_names == ("log(income)",)


def test_columns_that_no_row_determines_are_dropped_and_named():
    empty = survey()[~((survey()["party"] == "ind") & (survey()["news"] == "low"))]
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("income ~ party * news"))
    with pytest.warns(UserWarning, match=r"party\[T.ind\]:news"):
        model.fit(empty, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels says that the design is singular
        used = empty.assign(news=empty["news"].cat.remove_unused_categories())
        theirs = smf.ols("income ~ party * news", used).fit()
    np.testing.assert_allclose(model.predict(empty, verbose=0).ravel(), theirs.fittedvalues, rtol=1e-9)


def test_gradient_descent_reaches_the_exact_solution_behind_a_formula():
    formula = "income ~ scale(age) + party"
    model = klr.LinearRegression(preprocessor=klr.Formula(formula))
    model.compile(optimizer=keras.optimizers.SGD(0.3))
    model.fit(survey(), epochs=300, batch_size=len(survey()), verbose=0)
    np.testing.assert_allclose(model.kernel, fit(formula).kernel, rtol=1e-3)
    expected = model.predict(survey(), verbose=0)
    np.testing.assert_allclose(model.predict(dataset(), verbose=0), expected, rtol=1e-5)
    assert model.score(survey()) == pytest.approx(fit(formula).score(survey()), abs=1e-4)


def test_moments_of_a_table_and_a_formula_are_those_of_the_fit():
    formula = klr.Formula("income ~ age * party")
    moments = klr.Moments.from_data(survey(), preprocessor=formula)
    model = fit("income ~ age * party")
    np.testing.assert_array_equal(moments.solve().kernel, model.kernel)
    assert moments.output_names == ("income",)
    again = klr.ExactLinearRegression.from_moments(moments, preprocessor=formula)
    np.testing.assert_allclose(again.predict(survey(), verbose=0), model.predict(survey(), verbose=0), rtol=1e-12)
    with pytest.raises(ValueError, match=r"must make the columns that the moments are of, \['age'\]"):
        klr.ExactLinearRegression.from_moments(moments.select(["age"]), preprocessor=formula)


def test_a_report_and_diagnostics_take_the_table_once_more():
    model = fit("log(income) ~ age * party")
    theirs = smf.ols("np.log(income) ~ age * party", survey()).fit()
    robust = model.report(cov_type="HC1", data=survey())
    np.testing.assert_allclose(robust.bse, theirs.get_robustcov_results("HC1").bse, rtol=1e-9)
    clustered = model.report(cov_type="cluster", data=survey(), groups="educ")
    expected = theirs.get_robustcov_results("cluster", groups=survey()["educ"])
    np.testing.assert_allclose(clustered.bse, expected.bse, rtol=1e-9)
    assert model.diagnose(survey()).influence().shape[0] == len(survey())
    assert model.score(survey()) == pytest.approx(theirs.rsquared)


def test_weights_and_missing_rows_are_those_of_statsmodels():
    table = survey().assign(w=np.linspace(0.5, 2, len(survey())))
    table.loc[[3, 8], "age"] = np.nan
    table.loc[[5], "party"] = None
    table.loc[[6], "income"] = np.nan
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("income ~ age * party"), missing="drop")
    model.fit(table, sample_weight="w", verbose=0)
    theirs = smf.wls("income ~ age * party", table, weights=table["w"]).fit()
    np.testing.assert_allclose(model.report().params, theirs.params, rtol=1e-9)
    assert str(model.solution.missing) == "4 of 944 rows have no value in 'party' (1), 'age' (2) or 'income' (1)"
    predicted = model.predict(table.iloc[:9], verbose=0).ravel()
    assert np.flatnonzero(np.isnan(predicted)).tolist() == [3, 5, 8]


@pytest.mark.parametrize("library", ["polars", "pyarrow", "duckdb", "dict"])
def test_a_table_of_any_library_gives_the_same_fit(library):
    table = survey().assign(news=survey()["news"].astype(str))
    if library == "polars":
        polars = pytest.importorskip("polars")
        other = polars.from_pandas(table).with_columns(polars.col("party").cast(polars.Enum(["dem", "ind", "rep"])))
    elif library == "pyarrow":
        arrow = pytest.importorskip("pyarrow")
        other = arrow.Table.from_pandas(table.assign(party=pd.Categorical(table["party"])))
    elif library == "duckdb":
        other = pytest.importorskip("duckdb").from_df(table.astype({"party": object, "news": object}))
    else:
        other = {name: table[name].tolist() for name in table}
    formula = "income ~ age * party + news + C(educ) + vote"
    model, expected = fit(formula, other), fit(formula, table)
    assert model.feature_names == expected.feature_names
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=1e-12)
    np.testing.assert_allclose(model.predict(other, verbose=0), expected.predict(table, verbose=0), rtol=1e-12)

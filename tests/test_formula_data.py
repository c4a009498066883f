"""What formulas refuse, and what they learn from which rows: errors name the term, the column, the row, the level."""

import contextlib
import pickle
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import tensorflow as tf
from formulas import as_columns
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.formula import quantiles
from keras_linreg.formula.coding import codings, ordered

SHOPS = pd.DataFrame(
    {
        "y": [1.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 9.5],
        "a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5],
        "g": ["u", "v", "w", "u", "v", "w", "u", "v"],
        "year": [2001, 2002, 2003, 2003, 2001, 2001, 2002, 2002],
        "share": [0.1, 0.2, 0.1, 0.3, 0.2, 0.3, 0.1, 0.3],
    },
    index=list("ijklmnop"),
)


def exact(formula, **options):
    return klr.ExactLinearRegression(preprocessor=klr.Formula(formula), **options)


def fitted(formula, data=SHOPS, **options):
    model = exact(formula, **options)
    model.fit(data, verbose=0)
    return model


def batches(data=SHOPS, rows=3):
    return tf.data.Dataset.from_tensor_slices(as_columns(data)).batch(rows)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("y ~ Poly(a)", r"Poly\(\) is not known"),
        ("y ~ C(g, Helmert)", "contrasts are Treatment, Treatment.*Helmert"),
        ("y ~ C(g, Sum('u'))", "Sum takes no argument"),
        ("y ~ C(g, levels=['u'])", "no argument 'levels'"),
        ("y ~ C(a + 1)", r"a \+ 1 must be a column"),
        ("y ~ cr(a, df=3)", r"cr\(\) is not known"),
        ("y ~ te(a, y)", r"te\(\) is not known"),
        ("y ~ I(a ^ 2)", r"a power is \*\*"),
        ("y ~ I(a > 2)", "a > 2 is not known"),
        ("y ~ I(a % 2)", "a % 2 is not known"),
        ("y ~ I(a if a else a)", "is not known"),
        ("y ~ np.sin(a)", r"np.sin\(\) is not known"),
        ("y ~ log(a, 2)", "takes one argument"),
        ("y ~ I(bs(a, df=4))", "must be a factor of its own"),
        ("y ~ bs(a)", "df= or knots="),
        ("y ~ bs(a, df=2)", "df must be at least 3"),
        ("y ~ bs(a, df=4.5)", "df must be an integer"),
        ("y ~ bs(a, df=9, knots=[3])", "contradict"),
        ("y ~ bs(a, df=a)", "written out"),
        ("y ~ poly(a, 0)", "degree must be an integer of at least 1"),
        ("y ~ scale(a, ddof=1)", "no argument 'ddof'"),
        ("y ~ log(b.c)", "b.c is not known"),
        ("y ~ {a + 1}", r"I\(a \+ 1\)"),
        ("y ~ I(2)", "must name a column"),
    ],
)
def test_code_that_is_not_in_the_grammar_is_refused_with_the_grammar(formula, reason):
    with pytest.raises(ValueError, match=reason) as error:
        klr.Formula(formula)
    assert "A term may hold names of columns" in str(error.value)
    assert "Received: the term" in str(error.value)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        *[(5, "must be text"), ("", "must be text"), ("y ~ a | b", "`|`"), ("y ~ 2 * a", "literals")],
        *[("y ~ a +", "insuff"), ("y ~ log(a", "Expected"), ("y + a ~ g", "left side must be one column")],
        *[("a:g ~ y", "left side"), ("1 ~ a", "left side"), ("y ~ a ~ g", "~"), ("y ~ a %in% g", "%in%")],
        ("y ~ a:2", "I\\(2 \\* x\\)"),
    ],
)
def test_text_that_is_no_formula_is_refused(formula, reason):
    with pytest.raises(ValueError, match=reason) as error:
        klr.Formula(formula)
    assert str(error.value).startswith("`formula` must be")
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("y ~ b", r"columns that the formula names.*missing: \['b'\]"),
        ("y ~ I(g)", "column 'g' holds text, of which C"),
        ("g ~ a", "the left side must be numeric"),
        ("bs(y, df=4) ~ a", "the left side must be one column"),
        ("y ~ 1", "at least one column beside the intercept"),
        ("y ~ C(g, Treatment('zz'))", r"the reference level must be a level of 'g', \['u', 'v', 'w'\]. Received: 'zz'"),
        ("y ~ C(g, unseen='zz')", "unseen= must be a level"),
        ("y ~ I(log(a - 1))", "The term .* must be finite.*-inf of a = 1 in row 'i'"),
        ("y ~ poly(year, 3)", "more than 3 distinct numbers, and there are 3"),
        ("y ~ bs(a, knots=[99])", "between the boundary knots 1 and 8.5"),
        ("y ~ bs(log(I(a - 2)), df=4)", "must be finite"),
    ],
)
def test_formulas_that_do_not_suit_the_table_are_refused_and_nothing_is_learned(formula, reason):
    model = exact(formula)
    with pytest.raises(ValueError, match=reason):
        model.fit(SHOPS, verbose=0)
    assert not model.preprocessor.is_adapted and not model.built
    with contextlib.suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        klr.Moments.from_data(SHOPS, preprocessor=model.preprocessor)
    assert not model.preprocessor.is_adapted


def test_a_fit_that_fails_later_forgets_what_the_formula_has_learned():
    for model in (exact("y ~ a + g"), klr.LinearRegression(preprocessor=klr.Formula("y ~ a + g"))):
        with pytest.raises(ValueError, match="must hold levels"):
            model.fit(SHOPS, validation_data=(SHOPS.assign(g="x"), None), verbose=0)
        assert not model.preprocessor.is_adapted and not model.built
        model.fit(SHOPS.assign(g=["p", "q"] * 4), verbose=0)
        assert model.feature_names == ["g[T.q]", "a"]


@pytest.mark.parametrize("left", ["center(y)", "scale(y)", "I(2 * center(y))", "log(y)"])
def test_a_left_side_learns_from_the_rows_that_count(left, tmp_path):
    gaps = SHOPS.assign(y=[-1.0, 3.0, 2.0, 5.0, np.nan, 7.0, 6.0, 9.5], a=[np.nan, *SHOPS["a"][1:]])
    model = fitted(f"{left} ~ a", gaps, missing="drop")
    expected = smf.ols(f"{left.replace('log', 'np.log')} ~ a", gaps.dropna()).fit()
    np.testing.assert_allclose(model.report().params, expected.params, rtol=1e-10, atol=1e-12)
    assert model.report().output_names == (left,)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    robust = loaded.report(cov_type="HC1", data=gaps)
    expected = smf.ols(f"{left.replace('log', 'np.log')} ~ a", gaps.dropna()).fit(cov_type="HC1")
    np.testing.assert_allclose(robust.bse, expected.bse, rtol=1e-10)


@pytest.mark.parametrize("data", ["table", "stream"])
def test_a_level_that_was_not_seen_is_refused_by_column_and_value(data):
    model = fitted("y ~ a + C(g) + C(year)")
    for column, value in (("g", "Atlantis"), ("year", 1999)):
        other = SHOPS.assign(**{column: value})
        with pytest.raises(ValueError, match=rf"Column '{column}' of `x` must hold levels.*{value}"):
            model.predict(other if data == "table" else batches(other), verbose=0)


def test_unseen_levels_can_count_as_one_that_was_seen():
    model = fitted("y ~ a + C(g, unseen='v')")
    expected = model.predict(SHOPS.assign(g="v"), verbose=0)
    for other in (SHOPS.assign(g="x"), batches(SHOPS.assign(g="x"))):
        np.testing.assert_allclose(model.predict(other, verbose=0), expected, rtol=1e-12)


def test_levels_are_those_of_the_rows_that_are_kept_in_their_declared_order():
    table = SHOPS.assign(g=pd.Categorical(SHOPS["g"], ["w", "never", "v", "u"]))
    assert fitted("y ~ g", table).feature_names == ["g[T.v]", "g[T.u]"]
    table.loc[table["g"] == "v", "a"] = np.nan
    assert fitted("y ~ g + a", table, missing="drop").feature_names == ["g[T.u]", "a"]


def test_a_row_of_weight_zero_is_one_left_out_whatever_it_holds():
    table = pd.concat([SHOPS, SHOPS[:3].assign(g="never", a=[-1.0, np.nan, 99.0], y=-1.0)], ignore_index=True)
    weights = np.array([1.0] * 8 + [0.0] * 3)
    model = exact("log(y) ~ log(a) + g + bs(share, df=2, degree=2)")
    model.fit(table, sample_weight=weights, verbose=0)
    expected = fitted("log(y) ~ log(a) + g + bs(share, df=2, degree=2)")
    assert model.feature_names == expected.feature_names
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=1e-12)


def test_levels_are_matched_in_the_dtype_that_comes_in():
    model = fitted("y ~ C(year) + C(share) + a")
    expected = model.predict(SHOPS, verbose=0)
    assert model.feature_names[:2] == ["C(year)[T.2002]", "C(year)[T.2003]"]
    for dtypes in ({"year": float}, {"share": np.float32}, {"year": np.int32}, {"year": "Int64"}):
        np.testing.assert_allclose(model.predict(SHOPS.astype(dtypes), verbose=0), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="These are numbers"):
        model.predict(SHOPS.astype({"year": str}), verbose=0)
    with pytest.raises(ValueError, match=r"must hold levels.*2001.5"):
        model.predict(SHOPS.assign(year=2001.5), verbose=0)


def test_levels_of_awkward_kinds_are_read_as_what_they_are():
    flags = SHOPS.assign(flag=np.array([True, False, None, True, True, False, True, False], object))
    assert fitted("y ~ flag", flags, missing="drop").feature_names == ["flag[T.True]"]
    large = SHOPS.assign(shop=np.resize([2**60, 2**60 + 1], 8))
    assert fitted("y ~ C(shop)", large).feature_names == [f"C(shop)[T.{2**60 + 1}]"]
    with pytest.raises(ValueError, match="below 2\\*\\*63"):
        fitted("y ~ C(shop)", SHOPS.assign(shop=np.resize([1, 2**63 + 5], 8).astype("uint64")))
    micro = SHOPS.rename(columns={"a": "\N{MICRO SIGN}g"})  # which Python spells with a Greek mu
    assert fitted("y ~ log(\N{MICRO SIGN}g)", micro).feature_names == ["log(`\N{MICRO SIGN}g`)"]


def test_categories_named_by_numbers_are_factors():
    table = SHOPS.assign(year=pd.Categorical(SHOPS["year"], [2003, 2001, 2002]))
    assert fitted("y ~ year", table).feature_names == ["year[T.2001]", "year[T.2002]"]
    assert fitted("y ~ year").feature_names == ["year"]


def test_a_number_that_a_term_spoils_is_named_in_streams_too():
    with pytest.raises(ValueError, match=r"The term 'log\(a\)' of the formula must be finite.*-1"):
        exact("y ~ log(a)").fit(batches(SHOPS.assign(a=[-1.0, *SHOPS["a"][1:]])), verbose=0)
    with pytest.raises(ValueError, match=r"The term 'log\(y\)' of the formula must be finite"):
        fitted("log(y) ~ a").evaluate(batches(SHOPS.assign(y=-1.0)), verbose=0)


def test_outside_of_the_boundary_knots_rows_are_refused_or_go_on():
    outside = SHOPS.assign(a=[0.0, *SHOPS["a"][1:-1], 11.0])
    with pytest.raises(ValueError, match=r"bs\(a, knots=\[4\]\)'.*extrapolate=True.*a = 0 in row 'i'"):
        fitted("y ~ bs(a, knots=[4])").predict(outside, verbose=0)
    predicted = fitted("y ~ bs(a, knots=[4])").predict(batches(outside), verbose=0)
    assert np.isnan(predicted.ravel()).tolist() == [True, *[False] * 6, True]
    # Beyond the last knot R goes on with the last polynomial: here a cubic, through four of its points.
    on = fitted("y ~ bs(a, knots=[4], extrapolate=True)")
    inside = pd.DataFrame({"a": [4.5, 6.0, 7.0, 8.0]})
    cubic = np.polynomial.Polynomial.fit(inside["a"], on.predict(inside, verbose=0).ravel(), 3)
    np.testing.assert_allclose(on.predict(pd.DataFrame({"a": [11.0]}), verbose=0), [[cubic(11.0)]], rtol=1e-9)


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_a_row_lacks_a_value_where_a_column_that_the_formula_names_does(missing):
    table = SHOPS.assign(other=np.nan)
    table.loc["j", "a"] = np.nan
    table.loc["l", "g"] = ""
    table.loc["m", "y"] = np.nan
    for data in (table, batches(table)):
        model = exact("log(y) ~ a + g", missing=missing)
        if missing == "error":
            with pytest.raises(ValueError, match="no value"):
                model.fit(data, verbose=0)
            continue
        model.fit(data, verbose=0)
        assert model.solution.missing.columns == {"g": 1, "a": 1, "y": 1}
        np.testing.assert_allclose(model.kernel, fitted("log(y) ~ a + g", table.drop(list("jlm"))).kernel, rtol=1e-12)
        assert np.flatnonzero(np.isnan(model.predict(data, verbose=0))).tolist() == [1, 3]


def test_the_formula_decides_the_intercept():
    assert exact("y ~ 0 + a").use_bias is False
    assert exact("y ~ a").use_bias is True
    for formula, use_bias in (("y ~ 0 + a", True), ("y ~ a", False)):
        with pytest.raises(ValueError, match="the formula decides"):
            klr.LinearRegression(preprocessor=klr.Formula(formula), use_bias=use_bias)


def test_y_is_refused_beside_a_left_side():
    with pytest.raises(ValueError, match="`y` must be left out"):
        exact("y ~ a").fit(SHOPS, "y", verbose=0)
    with pytest.raises(ValueError, match="`y` is missing"):
        exact("~ a").fit(SHOPS, verbose=0)
    with pytest.raises(ValueError, match="must be a table or a dict"):
        exact("y ~ a").fit(np.ones((4, 2)), verbose=0)


def test_a_generator_is_fitted_after_adapt():
    model = exact("y ~ a + g")
    with pytest.raises(ValueError, match="must be adapted before it is fitted on a generator"):
        model.fit((SHOPS[i : i + 2] for i in range(0, 8, 2)), verbose=0)
    model.preprocessor.adapt(SHOPS)
    model.fit((SHOPS[i : i + 2] for i in range(0, 8, 2)), verbose=0)
    np.testing.assert_allclose(model.kernel, fitted("y ~ a + g").kernel, rtol=1e-12)


@pytest.mark.parametrize("formula", ["log(y) ~ a + g + C(year)", "log(y) ~ . - share", "~ a + g"])
def test_files_are_fitted_by_their_names_of_columns(formula, tmp_path):
    SHOPS.assign(w=1.0, other="x").drop(columns="other").to_parquet(tmp_path / "shops.parquet", index=False)
    path, target = str(tmp_path / "shops.parquet"), "y" if formula.startswith("~") else None
    model = exact(formula)
    model.fit(path, target, sample_weight="w", verbose=0)
    expected = exact(formula)
    expected.fit(SHOPS, target, verbose=0)
    assert model.feature_names == expected.feature_names
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=1e-12)
    predicted = np.concatenate([np.asarray(batch["prediction"]) for batch in model.predict(path)])
    np.testing.assert_allclose(predicted, expected.predict(SHOPS, verbose=0).ravel(), rtol=1e-12)
    assert model.moments.output_names == (("log(y)",) if target is None else ("y",))


@pytest.mark.parametrize("formula", ["y ~ I(center(a) ** 2) + g", "y ~ scale(center(a)) + C(year)", "y ~ bs(a, df=4)"])
def test_adapt_learns_the_same_from_a_table_and_from_a_stream(formula):
    one, other = klr.Formula(formula), klr.Formula(formula)
    one.adapt(SHOPS)
    other.adapt(batches())
    lines: list[str] = []
    one.summary(lines.append)
    other.summary(lines.append)
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    with pytest.raises(ValueError, match="missing"):
        one.adapt(SHOPS[["y"]])
    assert one.is_adapted  # as it was


def test_the_summary_tells_terms_levels_and_knots():
    formula = klr.Formula("y ~ bs(a, df=4) + C(g, unseen='u') + scale(a)")
    lines: list[str] = []
    formula.summary(lines.append)
    assert lines == [formula.formula, "  not adapted yet"]
    formula.adapt(SHOPS)
    lines.clear()
    formula.summary(lines.append)
    text = "\n".join(lines)
    assert "boundary knots 1 and 8.5, inner knots [4.5]" in text
    assert "3 levels ['u', 'v', 'w'], Treatment, reference 'u'; unseen levels count as 'u'" in text
    assert "mean 4.5625" in text
    assert "7 columns and an intercept" in text
    printed: list[str] = []
    klr.LinearRegression(preprocessor=formula).summary(print_fn=printed.append)
    assert printed[-len(lines) :] == lines


def test_a_later_fit_keeps_what_was_learned_and_copies_are_alike():
    model = fitted("y ~ scale(a) + g")
    model.fit(SHOPS[:5], verbose=0)
    assert "4.5625" in str(model.preprocessor.get_config()["state"])
    for copy in (pickle.loads(pickle.dumps(model)), keras.models.clone_model(model)):
        assert copy.preprocessor.design_names == model.preprocessor.design_names
        assert copy.preprocessor.get_config()["state"] == model.preprocessor.get_config()["state"]


def test_fit_plot_draws_what_the_left_side_says(tmp_path):
    plot = klr.callbacks.FitPlot(SHOPS, path=tmp_path / "fit.png")
    exact("log(y) ~ a + I(a ** 2)").fit(SHOPS, callbacks=[plot], verbose=0)
    axes = plot.figure().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "log(y)")
    with pytest.raises(ValueError, match="`y` must be given"):
        klr.ExactLinearRegression().fit(SHOPS[["a"]], SHOPS["y"], callbacks=[klr.callbacks.FitPlot(SHOPS)], verbose=0)


@settings(max_examples=20, derandomize=True)
@given(st.integers(2, 2000), st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_quantiles_of_a_stream_are_numpys(count, parts, seed, ties):
    values = np.random.default_rng(seed).normal(size=count)
    values = np.round(values) if ties else values
    numbers = quantiles.DistinctNumbers()
    for part in np.array_split(values, parts):
        numbers.add(part)
    shares = [0.0, 0.1, 0.25, 0.5, 2 / 3, 1.0]
    np.testing.assert_allclose(numbers.quantiles(shares), np.quantile(values, shares), rtol=1e-13, atol=1e-15)
    assert numbers.rank_error == 0


def test_quantiles_beyond_a_million_distinct_numbers_keep_their_bound(monkeypatch):
    monkeypatch.setattr(quantiles, "MOST_DISTINCT", 2000)
    monkeypatch.setattr(quantiles, "SKETCH_POINTS", 500)
    values = np.random.default_rng(0).exponential(size=30_000)
    numbers = quantiles.DistinctNumbers()
    for part in np.array_split(values, 40):
        numbers.add(part)
    assert 0 < numbers.rank_error < len(values) / 20
    assert numbers.total == len(values)
    shares = np.linspace(0, 1, 21)
    ranks = np.searchsorted(np.sort(values), numbers.quantiles(shares))
    assert np.abs(ranks - shares * len(values)).max() <= numbers.rank_error + 1


def test_the_rule_of_redundancy_is_patsys():
    def is_factor(code):
        return code in "abc"

    assert ordered([("a", "x"), ("x",), ("b",)], is_factor, False) == [[("b",)], [("x",), ("a", "x")]]
    assert codings([(), ("a",), ("a", "b")], is_factor) == [[{}], [{"a": False}], [{"a": True, "b": False}]]
    assert codings([("a",), ("b",)], is_factor) == [[{"a": True}], [{"b": False}]]


def test_a_large_design_is_never_written_and_predicts_as_its_rows_do():
    rng = np.random.default_rng(0)
    rows = 40_000
    table = pd.DataFrame({"a": rng.normal(size=rows), "g": rng.integers(0, 40, rows), "h": rng.integers(0, 30, rows)})
    table["y"] = table["a"] * table["g"] + table["h"] + rng.normal(size=rows)
    model = fitted("y ~ a * C(g) + C(h)", table)
    some = slice(0, 400)
    small = model.predict(table[some], verbose=0)
    np.testing.assert_allclose(model.predict(table, verbose=0)[some], small, rtol=1e-12)
    np.testing.assert_allclose(model.predict_interval(table)["mean"][some], small.ravel(), rtol=1e-12)
    gaps = table.assign(a=table["a"].where(table["a"] > -2))
    assert np.isnan(model.predict(gaps, verbose=0)).ravel().tolist() == gaps["a"].isna().tolist()
    stream = fitted("y ~ a * C(g) + C(h)", batches(table, 5000))
    np.testing.assert_allclose(stream.kernel, model.kernel, rtol=1e-9, atol=1e-9)
    robust = model.report(cov_type="HC1", data=table).bse, stream.report(cov_type="HC1", data=batches(table, 5000)).bse
    np.testing.assert_allclose(*robust, rtol=1e-9)


def test_an_explanation_of_a_formula_is_by_the_users_columns():
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"area": rng.gamma(5, 20, 80), "city": rng.choice(["Rome", "Oslo"], 80)})
    table["price"] = table["area"] + 0.01 * table["area"] ** 2 + 9 * (table["city"] == "Rome") + rng.normal(size=80)
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("price ~ area * city + I(area ** 2)"))
    model.fit(table, verbose=0)
    explained = model.explain(table.head(5))
    contributions = explained["contributions"]
    assert sorted(contributions) == ["area", "area:city", "city"]
    total = contributions.sum(axis=1) + np.ravel(explained["baseline"])
    np.testing.assert_allclose(total, model.predict(table.head(5), verbose=0)[:, 0], rtol=1e-12)

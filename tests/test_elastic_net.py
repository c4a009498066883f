"""ElasticNetRegression: the penalty chosen in one pass of fit, on all data that a linear model takes."""

import h5py
import keras
import keras_tuner
import numpy as np
import pandas as pd
import polars as pl
import pytest
import tensorflow as tf

import keras_linreg as klr
from keras_linreg import callbacks

RNG = np.random.default_rng(0)
ROWS = 400
X = RNG.standard_normal((ROWS, 6)) * np.arange(1, 7) + np.arange(6.0)
Y = X[:, 0] - 0.5 * X[:, 3] + 2 * RNG.standard_normal(ROWS)


@pytest.fixture(scope="module")
def model():
    model = klr.ElasticNetRegression(rule="1se", folds=5)
    model.fit(X, Y, verbose=0)
    return model


def fitted(*data, **arguments):
    model = klr.ElasticNetRegression(**{"folds": 5, **arguments})
    model.fit(*data, verbose=0)
    return model


def test_one_pass_chooses_the_columns_that_matter(model):
    np.testing.assert_array_equal(np.flatnonzero(model.kernel.numpy()), [0, 3])
    path = model.path
    assert isinstance(path, klr.RegularizationPath)
    assert model.l1 == path.l1[path.index_1se]
    assert model.l2 == 0
    np.testing.assert_allclose(model.kernel.numpy()[:, 0], path.kernels[path.index_1se, :, 0], rtol=1e-15)
    np.testing.assert_allclose(model.predict(X[:5], verbose=0)[:, 0], (X[:5] @ model.kernel.numpy() + model.bias)[:, 0])
    assert path.kkt_gap.max() <= 1e-10
    expected = klr.FoldMoments.from_data(X, Y, folds=5).elastic_net()
    np.testing.assert_array_equal(path.kernels, expected.kernels)


def test_the_history_has_the_curve():
    model = klr.ElasticNetRegression(folds=5, n_penalties=20)
    history = model.fit(X, Y, verbose=0, epochs=2)
    assert history.path is model.path
    assert len(history.history["cv_mean"]) == len(history.history["loss"]) == 2
    np.testing.assert_array_equal(history.history["cv_mean"][0], model.path.cv_mean)
    mse = np.mean((Y - model.predict(X, verbose=0)[:, 0]) ** 2)
    assert history.history["loss"][-1] == pytest.approx(mse, rel=1e-12)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(mse, rel=1e-12)
    assert model.score(X, Y) == pytest.approx(1 - mse / Y.var(), rel=1e-10)


def streams():
    yield tf.data.Dataset.from_tensor_slices((X, Y)).batch(48)
    yield ((X[i : i + 33], Y[i : i + 33]) for i in range(0, ROWS, 33))


def test_streams_tables_and_merged_days_choose_the_same(model):
    names = [f"x{j}" for j in range(6)]
    others = [fitted(data, rule="1se") for data in streams()]
    others.append(fitted(pd.DataFrame(X, columns=names), Y, rule="1se"))
    others.append(fitted(pl.DataFrame(X, schema=names).with_columns(y=Y), "y", rule="1se"))
    days = [
        klr.FoldMoments.from_data(X[a:b], Y[a:b], folds=5, first_row=a) for a, b in ((0, 100), (100, 250), (250, ROWS))
    ]
    others.append(klr.ElasticNetRegression.from_moments(sum(days), rule="1se"))
    for other in others:
        assert other.path.index_1se == model.path.index_1se
        np.testing.assert_allclose(other.kernel.numpy(), model.kernel.numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(other.bias.numpy(), model.bias.numpy(), rtol=1e-10)


def test_a_loaded_model_has_its_path_its_folds_and_its_choice(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.l1, loaded.l2, loaded.rule) == (model.l1, model.l2, "1se")
    np.testing.assert_array_equal(loaded.kernel.numpy(), model.kernel.numpy())
    np.testing.assert_array_equal(loaded.path.cv_mean, model.path.cv_mean)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert len(loaded.fold_moments.folds) == 5
    loaded.refit(rule="min").save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    assert (again.l1, again.rule) == (loaded.l1, "min")
    assert again.l1 == model.path.l1[model.path.index_min]


def test_another_point_and_another_path_need_no_data():
    model = fitted(X, Y)
    path = model.path
    assert model.refit(rule="1se") is model
    assert model.l1 == path.l1[path.index_1se]
    model.refit(l1=1.5 * path.l1[20])
    assert model.l1 == 1.5 * path.l1[20]
    assert model.path is path
    residuals = Y - model.predict(X, verbose=0)[:, 0]
    gradient = 2 * (X - X.mean(axis=0)).T @ residuals / ROWS / X.std(axis=0)
    active = model.kernel.numpy()[:, 0] != 0
    np.testing.assert_allclose(np.abs(gradient[active]), model.l1, rtol=1e-9)
    assert (np.abs(gradient) <= model.l1 * (1 + 1e-9)).all()
    model.refit(l1_ratio=[0.2, 0.9], rule="min")
    assert {one.l1_ratio for one in model.path.searched} == {0.2, 0.9}
    assert model.l2 == pytest.approx(model.l1 * (1 - model.path.l1_ratio) / (2 * model.path.l1_ratio))
    with pytest.raises(ValueError, match="`rule` must be None beside `l1`"):
        model.refit(rule="min", l1=0.1)
    with pytest.raises(ValueError, match="`rule`"):
        model.refit(rule="best")
    with pytest.raises(ValueError, match="`l1`"):
        model.refit(l1=-1.0)
    with pytest.raises(ValueError, match="must be fitted"):
        klr.ElasticNetRegression().refit(rule="min")


def test_one_penalty_reaches_the_objective_of_gradient_descent():
    l1, l2 = 0.3, 0.05
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    model = fitted(x, Y, l1=l1, l2=l2)

    def objective(kernel, bias):
        return np.mean((Y - x @ kernel - bias) ** 2) + l1 * np.abs(kernel).sum() + l2 * np.square(kernel).sum()

    tape = klr.LinearRegression(kernel_regularizer=keras.regularizers.L1L2(l1, l2))
    tape.compile(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.2, 60, 0.1)))
    tape.fit(x, Y, epochs=240, batch_size=ROWS, verbose=0, shuffle=False)
    best = objective(model.kernel.numpy()[:, 0], model.bias.numpy())
    assert objective(tape.kernel.numpy()[:, 0], tape.bias.numpy()) == pytest.approx(best, rel=1e-6)
    assert model.path.cv_mean is None
    assert model.fold_moments is None
    assert model.path.kkt_gap.max() <= 1e-10
    of_moments = klr.ElasticNetRegression.from_moments(klr.Moments.from_data(x, Y), l1=l1, l2=l2)
    np.testing.assert_allclose(of_moments.kernel.numpy(), model.kernel.numpy(), rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match="without folds"):
        model.path.index()


def test_a_report_has_no_p_values_and_says_why(model):
    report = model.report()
    assert np.isnan(report.pvalues).all()
    assert "The fit is penalised" in " ".join(report.notes)
    assert "penalised" in str(report)
    with pytest.raises(ValueError, match="penalised fit has no standard errors"):
        model.predict_interval(X)
    np.testing.assert_allclose(report.params.to_numpy()[1:], model.kernel.numpy()[:, 0])


def test_several_outputs_weights_missing_values_and_names():
    table = pd.DataFrame(X, columns=list("abcdef"))
    table.loc[::50, "b"] = np.nan
    targets = pd.DataFrame({"first": Y, "second": X[:, 4] + RNG.standard_normal(ROWS)})
    weights = RNG.random(ROWS)
    model = klr.ElasticNetRegression(units=2, folds=4, missing="drop", l1_ratio=0.9)
    model.fit(table, targets, sample_weight=weights, verbose=0)
    assert model.feature_names == list("abcdef")
    assert model.l1.shape == (2,)
    kept = table.notna().all(axis=1).to_numpy()
    folds = klr.FoldMoments.from_data(table[kept], targets[kept], folds=4, sample_weight=weights[kept])
    np.testing.assert_allclose(model.path.kernels, folds.elastic_net(0.9).kernels, rtol=1e-9, atol=1e-12)
    assert "first" in str(model.report())
    common = klr.ElasticNetRegression(units=2, folds=4, common=True, use_bias=False)
    common.fit(X, targets.to_numpy(), verbose=0)
    assert isinstance(common.l1, float)
    assert common.bias is None


def test_folds_and_groups_are_columns_of_the_table_and_no_features():
    table = pd.DataFrame(X, columns=list("abcdef")).assign(y=Y, shop=np.arange(ROWS) // 20, part=np.arange(ROWS) % 3)
    by_part = klr.ElasticNetRegression(folds="part", rule="1se")
    by_part.fit(table.drop(columns="shop"), "y", verbose=0)
    assert by_part.feature_names == list("abcdef")
    assert [fold.rows for fold in by_part.fold_moments.folds] == np.bincount(table["part"]).tolist()
    by_shop = klr.ElasticNetRegression(folds=4, groups="shop", rule="1se")
    by_shop.fit(table.drop(columns="part"), "y", verbose=0)
    assert sorted(fold.rows for fold in by_shop.fold_moments.folds) == [100] * 4
    with pytest.raises(ValueError, match=r"`folds` must be a column of `x`"):
        fitted(pd.DataFrame(X), Y, folds="nobody")


def test_a_copy_by_its_config_deals_the_same_rows():
    for dealing in ({"folds": np.arange(ROWS) % 5}, {"folds": 4, "groups": pd.Series(np.arange(ROWS) // 20)}):
        model = klr.ElasticNetRegression(rule="1se", **dealing)
        copy = klr.ElasticNetRegression.from_config(model.get_config())
        for one in (model, copy):
            one.fit(X, Y, verbose=0)
        assert copy.l1 == model.l1
        assert [fold.rows for fold in copy.fold_moments.folds] == [fold.rows for fold in model.fold_moments.folds]


def test_validation_split_leaves_the_folds_of_the_first_rows():
    model = klr.ElasticNetRegression(folds=np.arange(ROWS) % 5)
    history = model.fit(X, Y, validation_split=0.25, verbose=0)
    assert [fold.rows for fold in model.fold_moments.folds] == [60] * 5
    assert "val_loss" in history.history


def test_a_preprocessor_is_part_of_the_model(tmp_path):
    space = keras.utils.FeatureSpace(
        features={"a": keras.utils.FeatureSpace.float(), "city": keras.utils.FeatureSpace.string_categorical()},
        output_mode="concat",
    )
    cities = np.array(["Rome", "Oslo", "Bern", "Riga"])[np.arange(ROWS) % 4]
    table = {"a": X[:, 0].astype("float32"), "city": cities}
    space.adapt(tf.data.Dataset.from_tensor_slices(table))
    y = 2 * table["a"] + 3.0 * (cities == "Oslo") + 0.1 * RNG.standard_normal(ROWS)
    model = fitted(table, y, preprocessor=space, rule="1se")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(table, verbose=0), model.predict(table, verbose=0))
    assert model.score(table, y) > 0.99


def test_it_is_exported_drawn_and_put_inside_a_network(model, tmp_path):
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    answers = served(features=tf.constant(X[:3], tf.float32))["predictions"]
    np.testing.assert_allclose(answers, model.predict(X[:3], verbose=0), rtol=1e-5)
    assert (klr.publish(model, tmp_path / "models") / "saved_model.pb").exists()
    picture = tmp_path / "fit.png"
    fitted_again = klr.ElasticNetRegression(folds=3, n_penalties=10)
    fitted_again.fit(X, Y, verbose=0, callbacks=[callbacks.FitPlot(X, Y, path=picture)])
    assert picture.exists()
    outer = keras.Sequential([keras.Input((6,), dtype="float64"), model])
    np.testing.assert_allclose(outer(X[:4]), model.predict(X[:4], verbose=0))
    assert not outer.trainable_weights


def test_more_columns_than_rows_are_fitted_without_a_warning(tmp_path):
    wide = np.hstack([X[:60], np.random.default_rng(3).standard_normal((60, 80))])
    model = fitted(wide, X[:60, 0] + 0.3 * RNG.standard_normal(60), rule="1se")
    assert model.kernel.numpy()[0, 0] > 0.5
    assert model.solution.fewest_digits > 8
    assert model.path.kkt_gap.max() <= 1e-10
    model.save(tmp_path / "wide.keras")
    loaded = keras.models.load_model(tmp_path / "wide.keras")
    np.testing.assert_allclose(loaded.path.kernels, model.path.kernels, rtol=1e-10, atol=1e-13)


def test_a_choice_at_an_end_of_the_path_is_warned_of():
    noise = np.random.default_rng(8).standard_normal(ROWS)
    with pytest.warns(UserWarning, match="first penalty of the path"):
        fitted(X, noise, rule="1se")
    with pytest.warns(UserWarning, match="last penalty of the path"):
        fitted(X, X.sum(axis=1) + 1e-3 * noise, eps=0.5)


def test_a_fit_that_fails_leaves_the_model_as_it_was(model):
    before, path = model.get_weights(), model.path
    bad = X.copy()
    bad[7, 2] = np.inf
    with pytest.raises(ValueError, match="row 7"):
        model.fit(bad, Y, verbose=0)
    with pytest.raises(ValueError, match="must not be more than the rows"):
        model.fit(X[:4], Y[:4], verbose=0)
    assert model.path is path
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_that_are_set_have_no_path(model):
    other = fitted(X, Y)
    other.set_weights([np.ones((6, 1)), np.zeros(1)])
    assert other.path is None
    assert other.moments is None


BAD = [
    ({"l1_ratio": 0.0}, r"FoldMoments.ridge\(\)"),
    ({"rule": "best"}, "`rule`"),
    ({"folds": 1}, "`folds`"),
    ({"folds": [0, 2, 0, 2]}, "without a gap"),
    ({"folds": [0, 1, 1], "groups": "shop"}, "`groups` must be None"),
    ({"deal": "cards"}, "`deal`"),
    ({"n_penalties": -1}, "`n_penalties`"),
    ({"eps": 0}, "`eps`"),
    ({"penalty_factor": [-1.0]}, "`penalty_factor`"),
    ({"l1": -0.1}, "`l1`"),
    ({"l1": np.nan}, "`l1`"),
    ({"l1": 0.0, "l2": 0.0}, "must not both be 0"),
    ({"standardize": 1}, "`standardize`"),
    ({"dtype": "bfloat16"}, "`dtype`"),
    ({"feature_names": ["a"], "penalty_factor": {"b": 0}}, "'b'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        klr.ElasticNetRegression(**arguments)


def test_a_model_is_made_of_fold_moments_alone():
    folds = klr.FoldMoments.from_data(X, Y, folds=5)
    for moments, arguments in ((folds.moments, {}), (X, {}), (folds, {"units": 2}), (folds.select([]), {})):
        with pytest.raises(ValueError, match="moments"):
            klr.ElasticNetRegression.from_moments(moments, **arguments)


def test_a_damaged_file_of_folds_is_refused(model, tmp_path):
    path = tmp_path / "a.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        names = []
        file.visit(names.append)
        del file[next(name for name in names if name.endswith("moments_taken"))]
    other = fitted(X, Y)
    before = other.l1
    with pytest.raises(ValueError, match="penalties of an ElasticNetRegression"):
        other.load_weights(path)
    assert other.l1 == before


def test_folds_in_another_order_of_row_labels_are_refused():
    x, folds = pd.DataFrame(X), pd.Series(np.arange(len(X)) % 3)
    model = fitted(x, Y, folds=folds)
    assert klr.ElasticNetRegression.from_config(model.get_config()).get_config() == model.get_config()
    np.testing.assert_array_equal(model.kernel, fitted(x, Y, folds=folds.to_numpy()).kernel)
    for disordered in (folds[::-1], folds[::-1].to_frame()):
        with pytest.raises(ValueError, match="`x` and `folds` must have the same row labels"):
            fitted(x, Y, folds=disordered)


def test_a_search_of_keras_tuner_reads_no_data(tmp_path):
    folds = klr.FoldMoments.from_data(X, Y, folds=4)
    tuner = keras_tuner.RandomSearch(
        klr.HyperElasticNet(folds, columns=["x5", "x3"]),
        objective=keras_tuner.Objective("cv_mean", "min"),
        max_trials=8,
        seed=3,
        directory=tmp_path,
    )
    tuner.search(verbose=0)
    best = tuner.get_best_models()[0]
    values = tuner.get_best_hyperparameters()[0].values
    assert values["use x3"]
    assert best.kernel.numpy().any()
    assert tuner.oracle.get_best_trials()[0].score < 1.1 * folds.elastic_net().cv_mean.min()
    with pytest.raises(ValueError, match="`folds`"):
        klr.HyperElasticNet(X)
    with pytest.raises(ValueError, match="`columns`"):
        klr.HyperElasticNet(folds, columns=["nobody"])
    with pytest.raises(ValueError, match="one penalty"):
        klr.HyperElasticNet(folds, l1=0.1)


def test_the_pictures_of_a_path(model):
    axes = model.path.plot()
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert {"x0", "x3"} <= {text.get_text() for text in axes.texts}
    assert [line.get_label() for line in axes.lines if line.get_label() in ("min", "1se")] == ["min", "1se"]
    curve = model.path.plot_cv()
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), model.path.cv_mean)
    ridge = model.fold_moments.ridge(n_penalties=10)
    assert "l2" in ridge.plot().get_xlabel()
    assert "l2" in ridge.plot_cv().get_xlabel()
    with pytest.raises(ValueError, match="`output`"):
        model.path.plot(output=1)


def test_a_path_names_the_columns_that_it_selects(model):
    path, params = model.path, model.report().params.drop("Intercept")
    assert path.selected(model.rule) == list(params.index[params != 0])
    assert path.selected(0) == [] and path.selected(-1) != []
    frame = path.to_frame(coefficients=True)
    assert list(frame.columns) == list(path.feature_names)
    np.testing.assert_array_equal(frame, path.kernels[:, :, 0])
    axes = path.plot(standardized=True)
    assert axes.get_ylabel() == "standardized coefficient"
    drawn = max(np.abs(line.get_ydata()).max() for line in axes.lines if len(line.get_ydata()) == len(path))
    expected = np.abs(path.kernels[:, :, 0] * np.std(X, axis=0) / np.std(Y)).max()
    np.testing.assert_allclose(drawn, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="output"):
        path.selected(output=1)

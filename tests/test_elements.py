"""Datasets that no model can take are refused before a batch is read, or by the batch; nothing is trained on them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr

N = 40
RNG = np.random.default_rng(4)
X = RNG.normal(size=(N, 3))
Y = X.sum(axis=1) + RNG.normal(size=N)


def dataset(*parts, size=8):
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


def uneven(*parts):
    """One batch whose parts may have any number of rows."""
    specs = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in parts)
    return tf.data.Dataset.from_generator(lambda: iter([parts]), output_signature=specs)


@pytest.fixture(scope="module")
def exact():
    model = klr.ExactLinearRegression()
    model.fit(X, Y, verbose=0)
    return model


@pytest.fixture(scope="module")
def tape():
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    model.fit(X, Y, verbose=0)
    return model


ENTRIES = {
    "fit": lambda exact, tape, data: tape.fit(data, verbose=0),
    "exact fit": lambda exact, tape, data: klr.ExactLinearRegression().fit(data, verbose=0),
    "validation": lambda exact, tape, data: tape.fit(X, Y, validation_data=data, verbose=0),
    "validation of an exact fit": lambda exact, tape, data: klr.ExactLinearRegression().fit(
        X, Y, validation_data=data, verbose=0
    ),
    "evaluate": lambda exact, tape, data: tape.evaluate(data, verbose=0),
    "evaluate exactly": lambda exact, tape, data: exact.evaluate(data, verbose=0),
    "score": lambda exact, tape, data: exact.score(data),
    "report": lambda exact, tape, data: exact.report(cov_type="HC1", data=data),
    "moments": lambda exact, tape, data: klr.Moments.from_data(data),
}


@pytest.mark.parametrize(
    ("entry", "rows"),
    [
        *((entry, rows) for entry in ("fit", "exact fit") for rows in [(8, 1), (1, 8), (8, 8, 1), (8, 8, 7)]),
        *((entry, rows) for entry in ENTRIES if "fit" not in entry.split(" of ")[0] for rows in [(8, 1), (8, 8, 7)]),
    ],
    ids=str,
)
def test_batches_of_other_row_counts_are_refused_and_never_broadcast(exact, tape, entry, rows):
    parts = [part[:count] for part, count in zip((X, Y, np.ones(N)), rows, strict=False)]
    before = tape.get_weights()
    names = ("x", "y", "sample_weight")
    received = " ".join(f"{name}: {count}" for name, count in zip(names, rows, strict=False))
    with pytest.raises(ValueError, match=f"of a batch must have the same number of rows. Received: {received}"):
        ENTRIES[entry](exact, tape, uneven(*parts))
    if "validation" not in entry:
        for weight, old in zip(tape.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, old)


ENDLESS = {
    **{name: entry for name, entry in ENTRIES.items()},
    "predict": lambda exact, tape, data: exact.predict(data, verbose=0),
    "predict_interval": lambda exact, tape, data: exact.predict_interval(data),
}


@pytest.mark.parametrize("entry", ENDLESS)
def test_data_without_an_end_are_refused_with_what_to_do(exact, tape, entry):
    rule = r"`x` must end, or `steps_per_epoch`.*`.take\(n\)`.*Received: a tf.data.Dataset without an end"
    with pytest.raises(ValueError, match=rule):
        ENDLESS[entry](exact, tape, dataset(X, Y).repeat())


def test_a_file_of_csv_that_repeats_is_refused_and_some_of_its_batches_are_fitted(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.column_stack([X, Y]), delimiter=",", header="a,b,c,y", comments="")
    batches = tf.data.experimental.make_csv_dataset(str(tmp_path / "a.csv"), 8, label_name="y", shuffle=False)
    with pytest.raises(ValueError, match="without an end"):
        klr.ExactLinearRegression().fit(batches, verbose=0)
    model = klr.ExactLinearRegression()
    model.fit(batches.take(5), verbose=0)
    np.testing.assert_allclose(actual=model.kernel, desired=klr.Moments.from_data(X, Y).solve().kernel, rtol=1e-5)


def test_some_steps_of_data_without_an_end_are_read(exact, tape):
    endless = dataset(X, Y).repeat()
    model = klr.ExactLinearRegression()
    model.fit(endless, steps_per_epoch=5, validation_data=endless, validation_steps=2, verbose=0)
    np.testing.assert_allclose(actual=model.kernel, desired=exact.kernel, rtol=1e-9)
    assert exact.evaluate(endless, steps=5, verbose=0) == pytest.approx(exact.evaluate(X, Y, verbose=0), rel=1e-9)
    assert exact.predict(endless, steps=2, verbose=0).shape == (16, 1)
    tape.fit(endless, steps_per_epoch=2, verbose=0)


class WithoutLength(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return X, Y


def test_a_pydataset_without_a_length_is_endless():
    with pytest.raises(ValueError, match="a PyDataset whose `num_batches` is None without an end"):
        klr.Moments.from_data(WithoutLength())


ODD = {
    "a tuple of columns": (lambda: dataset((X[:, 0], X[:, 1]), Y), "stack the columns of x.*Received as `x`: tuple"),
    "a dict of targets": (lambda: dataset(X, {"y": Y}), "Received as `y`: dict"),
    "dicts in dicts": (lambda: dataset({"a": {"b": X}}, Y), "Received as Column 'a' of `x`: dict"),
    "ragged rows": (lambda: dataset(tf.ragged.constant([[1.0], [1.0, 2.0]]), Y[:2]), "as `x`: a ragged tensor"),
    "weights of two dimensions": (lambda: dataset(X, Y, X), r"`sample_weight` must be of shape \(batch,\)"),
    "four parts": (lambda: dataset(X, Y, Y, Y), "a tuple of 4 parts"),
    "complex numbers": (lambda: dataset(X.astype(complex), Y), "`x` must be real"),
    "complex targets": (lambda: dataset(X, Y.astype(complex)), "`y` must be real"),
    "weights of text": (lambda: dataset(X, Y, Y.astype(str)), "`sample_weight` must be numeric"),
    "single rows": (lambda: tf.data.Dataset.from_tensor_slices((X, Y)), r"call `.batch\(...\)` on it"),
    "empty dicts": (lambda: dataset(X, Y).map(lambda x, y: ({}, y)), "at least one column"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("model", [klr.LinearRegression, klr.ExactLinearRegression])
def test_elements_that_are_no_batches_of_numbers_are_refused(model, kind):
    data, message = ODD[kind]
    unbuilt = model()
    with pytest.raises(ValueError, match=message):
        unbuilt.fit(data(), verbose=0)
    assert not unbuilt.built


@pytest.mark.parametrize("bad", [X.astype(complex), tf.constant(X.astype(complex))], ids=["array", "tensor"])
def test_complex_numbers_are_refused_everywhere(exact, bad):
    for call in (lambda: exact.predict(bad, verbose=0), lambda: klr.Moments.from_data(bad, Y)):
        with pytest.raises(ValueError, match="`x` must be real"):
            call()
    with pytest.raises(ValueError, match="`y` must be real"):
        klr.Moments.from_data(X, bad[:, 0])


@pytest.mark.parametrize("empty", [{}, {"a": []}, np.empty((0, 3))], ids=["no columns", "no rows", "empty matrix"])
def test_nothing_to_predict_is_refused(exact, empty):
    with pytest.raises(ValueError, match="`x` must"):
        exact.predict(empty, verbose=0)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "averaged": lambda: keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", quick_and_heavy([3, 21], 21), ids=["first batch", "later batch"])
def test_a_stream_that_fails_leaves_an_unbuilt_model_unbuilt(optimizer, at):
    x = X.copy()
    x[at] = np.nan
    model = klr.LinearRegression()
    model.compile(optimizer=OPTIMIZERS[optimizer](), run_eagerly=True)
    with pytest.raises(ValueError, match="has no value in column 'x0'.*The model is as it was before"):
        model.fit(dataset(x, Y), verbose=0)
    assert not model.built and model.feature_names is None and not model.optimizer.built
    model.fit(X[:, :2], Y, verbose=0)  # other columns
    assert model.kernel.shape == (2, 1)
    fresh = klr.LinearRegression()
    fresh.compile(optimizer=OPTIMIZERS[optimizer](), run_eagerly=True)
    fresh.fit(X[:, :2], Y, verbose=0)
    assert len(model.optimizer.variables) == len(fresh.optimizer.variables)

"""Canaries: each private hook of Keras, KerasTuner and TensorFlow is where `keras_compat` expects it."""

import gc
import inspect
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_linreg.utils import keras_compat


def dense():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


X, Y = np.ones((8, 2)), np.ones((8, 1))


def test_keras_layer_tracker_unlock_lets_a_built_layer_add_variables_again():
    layer = keras.layers.Dense(1)
    layer.build((None, 2))
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        layer.add_weight(shape=(1,))
    keras_compat.unbuild(layer)
    assert not layer.built
    layer.add_weight(shape=(1,))


def test_keras_layer_untrack_variable_is_what_del_calls_before_it_collects_garbage():
    layer = keras.layers.Layer()
    layer.a, layer.b = layer.add_weight(shape=(2,), name="a"), layer.add_weight(shape=(2,), name="b")
    collections = gc.get_stats()[2]["collections"]
    keras_compat.delete_variable(layer, "b")
    assert gc.get_stats()[2]["collections"] == collections
    assert layer.variables == layer.trainable_variables == [layer.a] and not hasattr(layer, "b")
    del layer.a
    assert gc.get_stats()[2]["collections"] > collections
    assert layer.variables == []


@pytest.mark.parametrize("scaled", [False, True])
def test_keras_optimizer_variables_and_indices_are_what_a_build_adds(scaled):
    optimizer = keras.optimizers.Adam()
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    count = len(optimizer.variables)
    optimizer.build([keras.Variable(np.zeros(3))])
    built = len(optimizer.variables)
    keras_compat.unbuild_optimizer(optimizer, count)
    assert not optimizer.built
    other = keras.Variable(np.zeros(2))
    optimizer.build([other])
    assert len(optimizer.variables) == built
    optimizer.apply([keras.ops.ones(2)], [other])


def test_keras_model_initial_epoch_is_where_backup_and_restore_leaves_the_epoch(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    model = dense()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[backup, Interrupt()])
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[backup])
    assert keras_compat.initial_epoch(model) == 2  # two epochs had ended
    keras_compat.forget_initial_epoch(model)
    assert keras_compat.initial_epoch(model) is None
    assert len(model.fit(X, Y, epochs=3, verbose=0).history["loss"]) == 3


def test_keras_model_loss_tracker_averages_the_losses_of_evaluate():
    model = dense()
    keras_compat.average_losses_in_float64(model)
    tracker = next(metric for metric in model.metrics if metric.name == "loss")
    assert tracker.dtype == "float64"
    loss = model.evaluate(X, Y, batch_size=2, verbose=0)
    assert float(tracker.result()) == loss and tracker.result().dtype == tf.float64


def test_keras_fit_marks_its_own_calls_of_evaluate_by_use_cached_eval_dataset():
    class Model(keras.Sequential):
        def evaluate(self, *args, **kwargs):
            calls.append(keras_compat.is_call_of_fit(kwargs))
            return super().evaluate(*args, **kwargs)

    calls = []
    model = Model([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, validation_data=(X, Y), verbose=0)
    model.evaluate(X, Y, verbose=0)
    assert calls == [True, False]


def test_keras_trainer_maybe_symbolic_build_does_nothing_without_a_strategy():
    class Model(keras.Sequential):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            calls.append(iterator)
            super()._maybe_symbolic_build(iterator, data_batch)

    calls = []
    model = Model([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert calls, "fit calls _maybe_symbolic_build"
    assert list(inspect.signature(keras.Model._maybe_symbolic_build).parameters) == ["self", "iterator", "data_batch"]
    assert "if self._distribute_strategy is None" in inspect.getsource(keras.Model._maybe_symbolic_build)


def test_keras_tensorboard_should_trace_says_whether_it_profiles(tmp_path):
    for profiled, expected in ((0, False), (2, True)):
        callback = keras.callbacks.TensorBoard(tmp_path, profile_batch=profiled)
        assert keras_compat.profiles_batches(callback) is expected


def test_tensorflow_variables_are_copied_into_graphs_under_their_handle_name(tmp_path):
    variable = tf.Variable(1.0, name="before")
    assert getattr(variable, keras_compat.HANDLE_NAME) == "before:0"
    setattr(variable, keras_compat.HANDLE_NAME, "after:0")
    module = tf.Module()
    module.variable = variable
    function = tf.function(lambda: module.variable + 1.0, input_signature=[])
    module.f = function
    tf.saved_model.save(module, tmp_path / "saved", signatures={"f": function})
    content = (tmp_path / "saved" / "saved_model.pb").read_bytes()
    assert b"after" in content and b"before" not in content


def test_tensorflow_plain_variables_are_resource_variables_and_a_read_is_a_copy():
    variable = keras.Variable(np.ones(3))
    assert type(variable.value).__name__ == "ResourceVariable"
    read = keras_compat.variable_reader(variable)
    before = read()
    variable.assign(np.zeros(3))
    np.testing.assert_array_equal(before, np.ones(3))
    np.testing.assert_array_equal(read(), np.zeros(3))


def test_tensorflow_tells_by_text_alone_that_xla_cannot_compile():
    @tf.function(jit_compile=True)
    def of_strings(text):
        return tf.strings.length(text)

    with pytest.raises((tf.errors.OpError, ValueError)) as error:
        of_strings(tf.constant(["a"]))
    assert keras_compat.is_xla_error(error.value)
    assert not keras_compat.is_xla_error(ValueError("a rule of ours"))


def test_tensorflow_adds_a_signature_that_initialises_tables(tmp_path):
    module = tf.Module()
    keys = tf.lookup.KeyValueTensorInitializer(["a"], [1])
    module.table = tf.lookup.StaticHashTable(keys, -1)
    module.f = tf.function(lambda text: module.table.lookup(text), input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, tmp_path / "saved", signatures={"f": module.f})
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved" / "saved_model.pb").read_bytes())
    keys = sorted(saved.meta_graphs[0].signature_def)
    assert [key for key in keys if keras_compat.is_internal_signature(key)] == ["__saved_model_init_op"]


def test_keras_tuner_tells_fit_of_the_search_by_two_callbacks_and_scores_pass_through_populate_space(tmp_path):
    import keras_tuner

    class Model(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Float("rate", 0.1, 1.0)
            return dense()

        def fit(self, hp, model, *args, **kwargs):
            searches.append(keras_compat.current_search(kwargs["callbacks"]))
            tuners.extend(filter(None, map(keras_compat.tuner_of_callback, kwargs["callbacks"])))
            return model.fit(*args, **kwargs)

    searches, tuners = [], []
    tuner = keras_tuner.BayesianOptimization(Model(), objective="val_loss", max_trials=2, directory=tmp_path)
    keras_compat.replace_infinite_scores(tuner.oracle)
    assert hasattr(tuner.oracle.populate_space, "__wrapped__"), "the oracle's populate_space is replaced"
    tuner.search(X, Y, validation_data=(X, Y), verbose=0)
    assert searches[0].tuner is tuner and searches[0].trial.trial_id == "0"
    assert searches[0].checkpoint.endswith(".weights.h5") and searches[0].checkpoint.startswith(str(tmp_path))
    assert tuner in tuners
    assert not keras_compat.tuner_watches_batches(tuner)
    assert keras_compat.objective_parts(tuner.oracle.objective) == [tuner.oracle.objective]


@pytest.mark.filterwarnings("ignore:The optimal value found for dimension")  # scikit-learn's, on three points
@pytest.mark.parametrize(("is_replaced", "expected"), [(False, 0.0), (True, 5.0)])
def test_keras_tuner_takes_an_infinite_score_for_zero_unless_it_is_replaced(
    is_replaced, expected, tmp_path, monkeypatch
):
    import keras_tuner

    class Search(keras_tuner.BayesianOptimization):
        def run_trial(self, trial, **kwargs):
            trial.hyperparameters.Float("rate", 0.1, 1.0)
            return {"score": np.inf if trial.trial_id == "0" else 5.0}

    objective = keras_tuner.Objective("score", "min")
    search = Search(objective=objective, max_trials=3, num_initial_points=2, seed=1, directory=tmp_path)
    if is_replaced:
        keras_compat.replace_infinite_scores(search.oracle)
    targets = []
    fit = type(search.oracle.gpr).fit
    monkeypatch.setattr(type(search.oracle.gpr), "fit", lambda self, x, y: targets.append(y) or fit(self, x, y))
    search.search(verbose=0)
    assert targets[0].tolist() == [expected, 5.0]


def test_keras_tuner_objectives_that_are_summed_up_are_its_parts():
    import keras_tuner

    parts = [keras_tuner.Objective("loss", "min"), keras_tuner.Objective("val_loss", "min")]
    oracle = keras_tuner.oracles.RandomSearchOracle(objective=parts)
    assert keras_compat.objective_parts(oracle.objective)[1:] == oracle.objective.objectives


def test_keras_keeps_when_callbacks_save_where_the_loop_looks(tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "a.keras")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "b")
    assert checkpoint.save_freq == "epoch"
    assert backup.save_freq == "epoch"


def test_keras_defines_its_losses_metrics_and_optimizers_in_private_parts_that_name_them():
    keras_things = {
        "losses": keras.losses.Huber,
        "metrics": keras.metrics.Mean,
        "optimizers": keras.optimizers.schedules.CosineDecay,
        "regularizers": keras.regularizers.L2,
        "dtype_policies": keras.DTypePolicy,
    }
    for part, thing in keras_things.items():
        assert keras_compat.part_of_keras(thing) == part
    assert keras_compat.part_of_keras(keras.losses.huber) == "losses"
    assert keras_compat.part_of_keras(type("Huber", (keras.losses.Huber,), {})) is None


def test_keras_keeps_all_settings_of_a_loss_or_optimizer_in_its_attributes():
    loss = keras_compat.state_of_instance(keras.losses.Huber(0.25))
    assert 0.25 in [*loss.values(), *loss.get("_fn_kwargs", {}).values()]
    optimizer = keras.optimizers.SGD(0.1, momentum=0.75, clipnorm=2.5, weight_decay=0.125)
    optimizer.build([keras.Variable(np.ones(2))])
    state = keras_compat.state_of_instance(optimizer)
    assert {0.75, 2.5, 0.125} <= {value for value in state.values() if isinstance(value, float)}
    assert not {"_tracker", "_variables", "name"} & set(state)


def test_tensorflow_calls_a_traced_program_with_other_variables():
    a, b = tf.Variable(1.0), tf.Variable(5.0)

    @tf.function(autograph=False)
    def add(x):
        a.assign_add(x)
        return a.read_value()

    concrete = add.get_concrete_function(tf.TensorSpec([]))
    assert concrete.captured_inputs[0] is a.handle
    program = keras_compat.program_without_variables(concrete)
    with_b = keras_compat.program_with_variables(program, [b.handle])
    assert float(with_b(tf.constant(2.0))) == 7.0
    assert (float(a), float(b)) == (1.0, 7.0)


def test_every_hook_has_a_canary():
    names = [
        name
        for name, thing in vars(keras_compat).items()
        if inspect.isfunction(thing) and thing.__module__ == keras_compat.__name__ and not name.startswith("_")
    ]
    source = inspect.getsource(sys.modules[__name__])
    public = {
        "callback_list",
        "check_backend",
        "is_package_class",
        "is_package_method",
    }  # no private name is behind these
    assert [name for name in names if f"keras_compat.{name}" not in source and name not in public] == []


def test_keras_asks_before_it_overwrites_a_file(tmp_path, monkeypatch):
    prompts = []
    monkeypatch.setattr("builtins.input", lambda prompt: prompts.append(prompt) or "n")
    assert keras_compat.ask_to_overwrite(str(tmp_path / "model.keras")) is False
    assert "model.keras" in prompts[0]


def test_keras_writes_the_same_file_of_weights_to_memory(tmp_path):
    model = dense()
    (tmp_path / "memory.weights.h5").write_bytes(keras_compat.weights_file(model))
    model.save_weights(tmp_path / "disk.weights.h5")
    other = dense()
    for name in ("memory", "disk"):
        other.load_weights(tmp_path / f"{name}.weights.h5")
        np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_keras_load_model_is_one_function_under_all_its_names_and_is_wrapped_once():
    before = keras.models.load_model
    assert keras.saving.load_model is before and before.__module__ == keras_compat.__name__
    keras_compat.wrap_load_model(lambda function: pytest.fail("a second time"))
    assert keras.models.load_model is before

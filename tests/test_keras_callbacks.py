"""Every callback of the installed Keras works with the model; a new one fails here until it has a test."""

import keras
import numpy as np
import pytest
from cases import quick_and_heavy

import keras_linreg as klr

X = np.random.default_rng(0).normal(size=(64, 3))
Y = X @ [1.0, 2.0, 3.0] + 1
ABSTRACT = {"Callback", "CallbackList"}


def build(name, folder):
    """Return the callback, with the arguments that a user would give it."""
    shipped = keras.callbacks
    return {
        "BackupAndRestore": lambda: shipped.BackupAndRestore(folder / "backup"),
        "CSVLogger": lambda: shipped.CSVLogger(folder / "log.csv"),
        "EarlyStopping": lambda: shipped.EarlyStopping(patience=1, min_delta=1e9, restore_best_weights=True),
        "History": lambda: shipped.History(),
        "LambdaCallback": lambda: shipped.LambdaCallback(
            on_epoch_end=lambda epoch, logs: (folder / "seen").write_text(str(logs["val_loss"]))
        ),
        "LearningRateScheduler": lambda: shipped.LearningRateScheduler(lambda epoch, rate: rate / 2),
        "ModelCheckpoint": lambda: shipped.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        "OrbaxCheckpoint": lambda: shipped.OrbaxCheckpoint(folder / "orbax", save_freq="epoch"),
        "ProgbarLogger": lambda: shipped.ProgbarLogger(),
        "ReduceLROnPlateau": lambda: shipped.ReduceLROnPlateau(patience=1, min_delta=1e9, factor=0.1),
        "RemoteMonitor": lambda: shipped.RemoteMonitor(root="http://127.0.0.1:9"),
        "SwapEMAWeights": lambda: shipped.SwapEMAWeights(swap_on_epoch=True),
        "TensorBoard": lambda: shipped.TensorBoard(folder / "board", histogram_freq=1, update_freq="batch"),
        "TerminateOnNaN": lambda: shipped.TerminateOnNaN(),
    }[name]()


def effect(name, model, history, folder):
    """Return whether the callback had its effect."""
    losses = history["loss"]
    return {
        "BackupAndRestore": lambda: not (folder / "backup" / "latest.weights.h5").exists(),
        "CSVLogger": lambda: len((folder / "log.csv").read_text().splitlines()) == 5,
        "EarlyStopping": lambda: len(losses) == 2,
        "History": lambda: len(losses) == 4,
        "LambdaCallback": lambda: float((folder / "seen").read_text()) == history["val_loss"][-1],
        "LearningRateScheduler": lambda: np.isclose(float(model.optimizer.learning_rate), 0.05 / 16),
        "ModelCheckpoint": lambda: np.allclose(
            keras.models.load_model(folder / "best.keras").predict(X, verbose=0),
            model.predict(X, verbose=0),
            atol=1e-5,
        ),
        "OrbaxCheckpoint": lambda: any((folder / "orbax").iterdir()),
        "ProgbarLogger": lambda: True,
        "ReduceLROnPlateau": lambda: float(model.optimizer.learning_rate) < 0.05,
        "RemoteMonitor": lambda: True,
        "SwapEMAWeights": lambda: losses[-1] < losses[0],
        "TensorBoard": lambda: any((folder / "board").rglob("events*")),
        "TerminateOnNaN": lambda: len(losses) == 4,
    }[name]()


SHIPPED = sorted(
    name for name in dir(keras.callbacks) if isinstance(getattr(keras.callbacks, name), type) and name not in ABSTRACT
)


QUICK = ("BackupAndRestore", "EarlyStopping", "ModelCheckpoint", "LearningRateScheduler", "TensorBoard")


@pytest.mark.filterwarnings("ignore:Could not reach RemoteMonitor")  # there is no server at that port
@pytest.mark.parametrize("name", quick_and_heavy(SHIPPED, *QUICK))
def test_every_callback_of_keras_runs_and_has_its_effect(name, tmp_path):
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(0.05, use_ema=name == "SwapEMAWeights"))
    history = model.fit(
        X, Y, epochs=4, validation_split=0.25, shuffle=False, callbacks=[build(name, tmp_path)], verbose=0
    )
    assert effect(name, model, history.history, tmp_path)


def test_a_killed_fit_continues_from_its_backup(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def model():
        made = klr.LinearRegression()
        made.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
        return made

    killed, resumed, whole = model(), model(), model()
    with pytest.raises(KeyboardInterrupt):
        killed.fit(
            X,
            Y,
            epochs=4,
            shuffle=False,
            callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Kill()],
            verbose=0,
        )
    resumed.fit(X, Y, epochs=4, shuffle=False, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)], verbose=0)
    whole.fit(X, Y, epochs=4, shuffle=False, verbose=0)
    np.testing.assert_allclose(resumed.kernel, whole.kernel, rtol=1e-6)


def test_the_progress_bar_shows_the_loss(capsys):
    model = klr.LinearRegression()
    model.compile(metrics=["mae"])
    model.fit(X, Y, epochs=2, verbose=2)
    printed = capsys.readouterr().out
    assert "Epoch 2/2" in printed
    assert "loss:" in printed
    assert "mae:" in printed or "mean_absolute_error:" in printed

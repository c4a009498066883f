"""Tune learning rate, optimizer, batch size and penalty with KerasTuner, then save and export the best model.

python examples/tuning.py
"""

import keras_linreg.utils.quiet  # first: TensorFlow then writes no log lines

# isort: split
import tempfile
from pathlib import Path

import keras_tuner as kt
import numpy as np
from sklearn.datasets import load_diabetes

import keras_linreg as klr


def main() -> None:
    data = load_diabetes(as_frame=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data.iloc[order].reset_index(drop=True), data.target.iloc[order].reset_index(drop=True)

    tuner = kt.RandomSearch(
        klr.HyperLinearRegression(),
        objective="val_mean_squared_error",
        max_trials=8,
        seed=3,
        directory=tempfile.mkdtemp(),
    )
    tuner.search(x, y, epochs=20, validation_split=0.2, verbose=0)

    print("validation MSE  hyperparameters")
    trials = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.score)
    for trial in trials:
        settings = {
            name: f"{value:.3g}" if isinstance(value, float) else value
            for name, value in trial.hyperparameters.values.items()
        }
        print(f"{trial.score:14.1f}  {settings}")
    diverged = [trial for trial in trials if np.isinf(trial.score)]
    if diverged:
        print(f"\nWhy one of the {len(diverged)} diverged trials did: {diverged[0].message}")

    best = tuner.get_best_models()[0]
    folder = Path("tuning_output").resolve()
    folder.mkdir(exist_ok=True)
    best.save(folder / "tuned.keras")
    best.export(folder / "tuned", verbose=False)
    figure, (ax,) = klr.plots.figure()
    klr.plots.actual_vs_predicted(ax, y, best.predict(x, verbose=0)[:, 0], unit="progression")
    figure.savefig(folder / "tuned.png", dpi=100)
    print(f"\nIn {folder}: the best model (tuned.keras), the same for serving (tuned/), its picture (tuned.png)")


if __name__ == "__main__":
    main()

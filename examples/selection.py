"""Which columns matter: the lasso's path and its penalty, cross-validated in one pass, and what to do with it.

python examples/selection.py
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's word on its CPU is not for here

import numpy as np
from sklearn.datasets import load_diabetes

import keras_linreg as klr


def headline(text: str) -> None:
    print(f"\n{text}\n")


def main() -> None:
    folder = Path("selection_output")
    folder.mkdir(exist_ok=True)
    table = load_diabetes(as_frame=True, scaled=False)
    x, y = table.data, table.target.rename("progression")
    rng = np.random.default_rng(0)
    x = x.assign(**{f"noise {j}": rng.normal(size=len(x)) for j in range(20)})

    headline("1. The progression of diabetes on ten columns and twenty of noise: one pass, 10 folds, 100 penalties")
    model = klr.ElasticNetRegression(rule="1se")
    model.fit(x, y, verbose=0)
    path = model.path
    print(path)
    print(path.to_frame().iloc[:: len(path) // 10][["l1", "cv_mean", "cv_se", "df", "kkt_gap"]].round(4).to_string())

    headline("2. The columns that are left, and their coefficients in the columns' units")
    for name, weight in zip(model.feature_names, model.kernel.numpy()[:, 0], strict=True):
        if weight:
            print(f"{name:>10} {weight:9.4f}")

    headline("3. Another rule, another l1_ratio, some of the columns: no data are needed")
    model.refit(rule="min")
    print(f"rule 'min': l1 = {model.l1:.4g}, {np.count_nonzero(model.kernel)} columns")
    model.refit(l1_ratio=[0.5, 0.9, 1.0], rule="1se")
    print(f"the best of three values of l1_ratio: {model.path.l1_ratio}")
    ten = model.fold_moments.select(table.data.columns).elastic_net()
    print(f"without the noise: {ten}")
    model.refit(l1_ratio=1.0)

    headline("4. Ridge, from the same folds")
    ridge = model.fold_moments.ridge(data=(x, y))
    for name in ("cv_mean", "gcv", "loo"):
        best = int(np.argmin(getattr(ridge, name)))
        print(f"{name:>8}: l2 = {ridge.l2[best]:.4g}, {ridge.df[best]:.3g} effective coefficients")

    headline("5. A report has no p-values here, and says why")
    print(model.report().notes[0])

    path.plot().figure.savefig(folder / "path.png", dpi=150)
    path.plot_cv().figure.savefig(folder / "curve.png", dpi=150)
    model.save(folder / "model.keras")
    klr.publish(model, folder / "models")
    headline(f"Pictures and models are in {folder.resolve()}")
    for entry in sorted(folder.iterdir()):
        print(f"  {entry.name}{'/' * entry.is_dir()}")


if __name__ == "__main__":
    main()

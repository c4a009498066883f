"""What the data say, and how surely: a report, tests, robust errors, diagnostics, intervals, and their pictures.

python examples/inference.py
"""

import keras_linreg.utils.quiet  # first: TensorFlow then writes no log lines

# isort: split
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes

import keras_linreg as klr


def headline(text: str) -> None:
    print(f"\n{text}\n")


def main() -> None:
    folder = Path("inference_output")
    folder.mkdir(exist_ok=True)
    table = load_diabetes(as_frame=True, scaled=False)
    x, y = table.data, table.target.rename("progression")

    headline("1. The progression of diabetes in 442 patients on ten columns: one pass, and what it left behind")
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    report = model.report()
    print(report)

    headline("2. Tests: do the six blood serum values matter together? Do s1 and s2 cancel out?")
    print(report.f_test("s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0"))
    print(report.t_test("s1 + s2 = 0"))

    headline("3. The same without age and s6, from the moments alone: nothing is lost")
    smaller = model.moments.select([name for name in x if name not in ("age", "s6")])
    print(report.compare(klr.RegressionReport.from_moments(smaller)))

    headline("4. Errors that hold where the variance is not the same for all: a second pass over the rows")
    robust = model.report(cov_type="HC3", data=(x, y))
    print(robust)

    headline("5. The rows: are the assumptions fair, and which rows weigh most?")
    diagnostics = model.diagnose((x, y), k=5)
    print(diagnostics)

    headline("6. Three patients: the mean of all such patients, and the range of 95 of 100 of them")
    interval = model.predict_interval(x[:3])
    for i in range(3):
        print(
            f"   {interval['mean'][i]:6.1f}   mean {interval['mean_ci_lower'][i]:6.1f} to "
            f"{interval['mean_ci_upper'][i]:6.1f}   one patient {interval['obs_ci_lower'][i]:6.1f} to "
            f"{interval['obs_ci_upper'][i]:6.1f}   leverage {interval['leverage'][i]:.3f}"
        )

    one = klr.ExactLinearRegression()
    plot = klr.callbacks.FitPlot(x[["bmi"]], y, path=folder / "fit_plot.png")  # draws the bands of an exact model
    one.fit(x[["bmi"]], y, callbacks=[plot], verbose=0)
    pictures = {
        "coefficients": standardised(x, y).plot(),
        "diagnostics": diagnostics.plot(),
        "actual_vs_predicted": diagnostics.plot_actual_vs_predicted(),
        "line": one.report().plot_line(x["bmi"], y),
    }
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    headline(f"The pictures are in {folder.resolve()}: fit_plot, {', '.join(pictures)}")


def standardised(x, y) -> klr.RegressionReport:
    """Return the report of columns on one scale, whose coefficients can be drawn beside each other."""
    return klr.RegressionReport.from_moments(klr.Moments.from_data((x - x.mean()) / x.std(), y - np.mean(y)))


if __name__ == "__main__":
    main()

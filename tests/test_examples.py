"""The examples run alone, and the README's lines do what they say."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / script, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )


def loaded(script):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(path):
    """Return whether the file is a picture with something on it."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return min(pixels.shape) > 200 and pixels.std() > 5


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    result = run("quickstart.py", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert not re.search(r"absl::|WARNING|cuda", result.stdout + result.stderr), result.stderr
    return folder / "quickstart_output", result.stdout


@pytest.mark.heavy
def test_the_quickstart_leaves_what_it_names(quickstart):
    folder, said = quickstart
    assert f"Pictures and models are in {folder.resolve()}" in said
    named = {line.strip().rstrip("/") for line in said.split("Pictures and models are in")[1].splitlines()[1:]}
    assert named == {path.name for path in folder.iterdir()}
    pictures = {"coefficients.png", "line.gif", "line.png", "table.png"}
    assert named == {"history.csv", "model.keras", "served"} | pictures
    assert all(drawn(folder / picture) for picture in pictures)


@pytest.mark.heavy
def test_the_quickstart_prints_losses_and_weights_beside_the_optimum(quickstart):
    _, said = quickstart
    losses = [float(x) for line in re.findall(r"epochs .*? to .*?:(.*)", said)[:10] for x in line.split()]
    assert len(losses) == 100
    assert losses == sorted(losses, reverse=True)
    found, best = (
        np.array(re.search(rf"{name} +(\S+) +(\S+) +(\S+)", said).groups(), float)
        for name in ("after 100 epochs", "least squares")
    )
    np.testing.assert_allclose(found, best, atol=0.1)
    assert found[2] > best[2]


@pytest.mark.heavy
def test_the_quickstart_comes_to_least_squares_by_descent(quickstart):
    _, said = quickstart
    assert "Linear regression of progression" in said
    reached, exact = map(float, re.search(r"R2 (\S+), on the rows held out .* has (\S+)", said).groups())
    assert abs(reached - exact) < 0.03  # the fifth that is held out makes a difference


@pytest.mark.heavy
def test_fresh_processes_predict_the_same(quickstart):
    _, said = quickstart
    apart = [float(x) for x in re.findall(r"a fresh process loads .* predicts the same to (\S+)", said)]
    assert len(apart) == 2
    assert max(apart) < 1e-6


def wild(rows=90):
    """A table as people have them: a decimal comma, an umlaut, dates, names, gaps."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"Größe": rng.normal(170, 10, rows), "Stadt": rng.choice(["Köln", "Bonn"], rows), "leer": ""})
    frame["Datum"] = pd.date_range("2023-01-25", periods=rows).strftime("%d.%m.%Y")
    frame["Name"] = [f"P{i}" for i in range(rows)]
    frame["fest"] = 3
    frame["Gewicht kg"] = 0.8 * frame["Größe"] - 70 + 5 * (frame["Stadt"] == "Bonn") + rng.normal(0, 0.1, rows)
    frame.loc[[3, 9], "Größe"] = np.nan
    return frame


@pytest.mark.heavy
def test_the_selection_leaves_what_it_names(tmp_path):
    result = run("selection.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "selection_output"
    assert {path.name for path in folder.iterdir()} == {"curve.png", "model.keras", "models", "path.png"}
    assert all(drawn(folder / picture) for picture in ("curve.png", "path.png"))
    assert re.search(r"^ +bmi +5\.", result.stdout, re.MULTILINE)
    assert "no standard errors" in result.stdout


@pytest.mark.heavy
def test_the_quickstart_takes_a_csv_of_ones_own(tmp_path):
    wild().to_csv(tmp_path / "data.csv", sep=";", decimal=",", index=False, encoding="cp1252")
    result = run("quickstart.py", "data.csv", "--target", "Gewicht kg", "--output", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    r2 = float(re.search(r"the exact fit of all rows has (\S+)", result.stdout).group(1))
    assert r2 > 0.99
    assert "Stadt[T.Köln]" in result.stdout
    assert (tmp_path / "out" / "model.keras").exists()


CSV = {
    "semicolons, another encoding": {"sep": ";", "decimal": ",", "encoding": "cp1252"},
    "tabs": {"sep": "\t", "encoding": "utf-8"},
    "commas, a byte order mark": {"encoding": "utf-8-sig"},
    "UTF-16": {"encoding": "utf-16"},
}


@pytest.fixture(scope="module")
def quickstart_module():
    return loaded(ROOT / "examples" / "quickstart.py")


@pytest.mark.parametrize("kind", CSV)
def test_the_quickstart_reads_a_csv_from_the_wild_and_says_what_it_did(kind, tmp_path, quickstart_module, capsys):
    expected = wild()
    expected.to_csv(tmp_path / "data.csv", index=False, **CSV[kind])
    frame, target = quickstart_module.read_csv(tmp_path / "data.csv", "Gewicht kg")
    assert (list(frame), target) == (["Größe", "Stadt", "Datum", "Gewicht kg"], "Gewicht kg")
    np.testing.assert_allclose(frame["Größe"], expected["Größe"])
    np.testing.assert_array_equal(frame["Datum"], np.arange(len(frame)))
    said = capsys.readouterr().out
    for words in (
        "'Datum' holds dates",
        "since 2023-01-25",
        "'Stadt' is a category of 2 levels",
        "2 of 90 rows are drop",
    ):
        assert words in said
    for words in (
        "'leer' is left out, for it is empty",
        "'Name' is left out",
        "'fest' is left out, for it is constant",
    ):
        assert words in said
    assert ("is not UTF-8" in said) == (kind == "semicolons, another encoding")


GOOD = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) ** 2, "y": np.arange(20.0)})
BAD_CSV = {
    "no such file": (None, "y", "cannot be read: No such file"),
    "empty": ("", "y", "cannot be read as a CSV"),
    "binary": (b"PK\x03\x04\x00\x00", "y", "cannot be read as a CSV"),
    "no target named": (GOOD, None, "name the column to predict: --target COLUMN, one of 'a', 'b', 'y'"),
    "unknown target": (GOOD, "z", "has no column 'z'; its columns are 'a', 'b', 'y'"),
    "only the target": (GOOD[["y"]], "y", "has no column beside the target 'y'"),
    "text to predict": (GOOD.assign(y="red"), "y", "'y' must hold numbers; it holds values like ['red', 'red']"),
    "nothing to predict": (GOOD.assign(y=np.nan), "y", "'y' must hold numbers"),
    "infinite": (GOOD.assign(b=[np.inf, *range(19)]), "y", "infinite values in 'b'"),
    "nothing varies": (GOOD.assign(a=1.0, b=2.0), "y", "has no column beside the target"),
    "header only": ("a,b,y\n", "y", "has 0 rows"),
    "few rows": (GOOD[:5], "y", "has 5 rows"),
    "gaps everywhere": (GOOD.assign(a=[1.0, *[np.nan] * 19]), "y", "only 1 rows have a value in each column"),
    "constant target": (GOOD.assign(y=1.0), "y", "the target 'y' has one value only"),
}


@pytest.mark.parametrize("kind", BAD_CSV)
def test_the_quickstart_says_what_is_wrong_with_a_csv(kind, tmp_path, quickstart_module):
    content, target, why = BAD_CSV[kind]
    path = tmp_path / "data.csv"
    if isinstance(content, pd.DataFrame):
        content.to_csv(path, index=False)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as stopped:
        quickstart_module.read_csv(path, target)
    assert str(stopped.value).startswith("quickstart: ")
    assert why in str(stopped.value)


@pytest.mark.heavy
def test_the_pipelines_example_runs(tmp_path):
    result = run("pipelines.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    scores = [float(x) for x in re.findall(r"R2 (\S+) on 89 rows held out", result.stdout)]
    assert len(scores) == 6
    least_squares, *linear = [score for number, score in enumerate(scores) if number != 2]  # the third is a network
    np.testing.assert_allclose(linear, least_squares, atol=0.002)
    assert scores[2] > 0.3
    assert "WARNING" not in result.stderr
    assert drawn(tmp_path / "pipelines_output" / "pipelines.png")


@pytest.mark.heavy
def test_the_tuning_example_runs(tmp_path):
    result = run("tuning.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "the best model (tuned.keras)" in result.stdout
    assert drawn(tmp_path / "tuning_output" / "tuned.png")


@pytest.mark.heavy
def test_the_benchmark_of_exact_fits_prints_its_tables_and_draws_its_chart(tmp_path, monkeypatch, capsys):
    module = loaded(ROOT / "examples" / "benchmarks" / "exact_fit.py")
    monkeypatch.setattr(module, "SIZES", [(3000, 4), (2000, 6), (1000, 8)])
    monkeypatch.setattr(module, "SMALL_RUNS", 2)
    arguments = ["exact_fit.py", "--output", str(tmp_path), "--repeats", "1", "--skip-stream"]
    monkeypatch.setattr(sys, "argv", arguments)
    module.main()
    printed = capsys.readouterr().out
    assert re.search(r"1,000 x 8 float64", printed) and "Ratios of these medians" in printed
    assert drawn(tmp_path / "exact_fit.png")
    module.fit_stream(120_000)
    assert '"peak"' in capsys.readouterr().out


@pytest.mark.heavy
def test_the_inference_example_prints_its_reports_and_draws_its_pictures(tmp_path):
    result = run("inference.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Linear regression of progression") == 2
    assert max(map(len, result.stdout.splitlines()[:-2])) <= 80 + len(str(tmp_path))
    for name in ("fit_plot", "coefficients", "diagnostics", "actual_vs_predicted", "line"):
        assert drawn(tmp_path / "inference_output" / f"{name}.png")


@pytest.mark.heavy
def test_the_benchmark_of_inference_prints_its_ratios(monkeypatch, capsys):
    module = loaded(ROOT / "examples" / "benchmarks" / "inference.py")
    monkeypatch.setattr(sys, "argv", ["inference.py", "--rows", "3000", "--columns", "5", "--repeats", "1"])
    module.main()
    printed = capsys.readouterr().out
    assert printed.count("times as long") == 2
    differences = [float(line.split()[-1]) for line in printed.split("largest relative difference")[1].splitlines()[1:]]
    assert len(differences) == 3 and max(differences) < 1e-9


@pytest.mark.heavy
def test_the_formula_example_reports_predicts_and_serves(tmp_path):
    result = run("formula.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for said in (
        "Linear regression of log(price)",
        "area:C(c",
        "120 m² in Rome",
        "predicts the same: True",
        "Atlantis",
    ):
        assert said in result.stdout
    assert drawn(tmp_path / "formula_output" / "prices.png")


@pytest.mark.heavy
def test_the_benchmark_of_formulas_prints_its_ratios(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    benchmark = loaded(ROOT / "examples" / "benchmarks" / "formula.py")
    monkeypatch.setattr(benchmark.sys, "argv", ["formula.py"])
    benchmark.main()
    own, *others = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert len({line[-1] for line in (own, *others)}) == 1  # all fit the same slope
    assert all(float(line[3]) > 2 for line in others)


@pytest.mark.heavy
def test_the_serving_example_shows_requests_that_the_published_graph_answers(tmp_path):
    result = run("serving.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    said = result.stdout
    assert (tmp_path / "serving_output" / "models" / "progression" / "1" / "saved_model.pb").exists()
    bodies = [json.loads(text) for text in re.findall(r"curl -d '(.*)' ", said)]
    assert [sorted(set(body) - {"signature_name"}) for body in bodies] == [
        *(["instances"], ["inputs"], ["instances"], ["instances"], ["examples"])
    ]
    assert all(type(value) is float for value in bodies[-1]["examples"][0].values())
    served, own = said.split("What the model itself says")
    for key in ("mean", "mean_se", "mean_ci_lower", "obs_ci_upper", "leverage"):
        if "No Docker here" in said:
            found, expected = (re.search(rf"^ +{key} +\[(.*)\]$", text, re.MULTILINE)[1] for text in (served, own))
            np.testing.assert_allclose(*(np.array(text.split(), float) for text in (found, expected)), atol=2e-4)


@pytest.mark.heavy
def test_the_benchmark_of_serving_prints_its_ratios(monkeypatch, capfd):
    module = loaded(ROOT / "examples" / "benchmarks" / "serving.py")
    monkeypatch.setattr(sys, "argv", ["serving.py", "--rounds", "1", "--runs", "2", "--columns", "4"])
    module.main()
    lines = capfd.readouterr().out.splitlines()
    ratios = [float(line.split()[-1]) for line in lines[1:] if "explain takes" not in line]
    of_explain = re.findall(r"explain takes ([\d.]+) times", "\n".join(lines))
    assert len(ratios) == 2 * 2 * len(module.SIGNATURES) and min(ratios) > 0
    assert len(of_explain) == 2 * 2 and min(map(float, of_explain)) > 0


@pytest.mark.heavy
def test_the_benchmark_of_fit_prints_its_tables_and_draws_its_chart(tmp_path, monkeypatch, capsys, spared):
    module = loaded(ROOT / "examples" / "benchmarks" / "fit.py")
    monkeypatch.setattr(module, "JOBS", {"small": (200, 3, 32, 2)})
    monkeypatch.setattr(module, "make", lambda rows, columns, make=module.make: make(min(rows, 200), columns))
    monkeypatch.setattr(module, "TRIALS", 1)
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    monkeypatch.setattr(sys, "argv", ["fit.py", "--output", str(tmp_path), "--repeats", "1", "--quick"])
    module.main()
    said = capsys.readouterr().out
    assert re.search(r"small +first call +next call", said)
    found = re.findall(r"exact model +(\S+)", said)
    assert len(found) == 2 and all(float(seconds) > 0 for seconds in found)
    assert drawn(tmp_path / "fit.png")


# README


def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_first_commands_are_the_two_set_up_lines():
    blocks = re.findall(r"```bash\n(.*?)```", readme(), flags=re.DOTALL)
    commands = [line for line in readme().splitlines() if "pip install" in line and "&&" in line][:2]
    assert set(commands) <= {block.strip() for block in blocks}
    assert all(".venv" in command for command in commands)
    assert "examples/quickstart.py" in commands[0]
    assert "pytest" in commands[1]


def test_the_readmes_lines_run_in_order_and_print_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, ""
    for kind, block in re.findall(r"```(python|text)\n(.*?)```", readme(), flags=re.DOTALL):
        if kind == "text":
            assert printed.endswith(block)
            continue
        exec(compile(block, "README.md", "exec"), names)
        printed = capsys.readouterr().out
    assert names["version"] == tmp_path / "models" / "progression" / "1"
    for picture in ("fit", "coefficients"):
        assert drawn(tmp_path / f"{picture}.png")
    assert (tmp_path / "model.keras").exists()


def test_the_readme_has_at_most_1000_words_beside_its_code():
    assert len(re.sub(r"```.*?```", "", readme(), flags=re.DOTALL).split()) <= 1000


def test_every_file_that_the_readme_names_is_there():
    for path in re.findall(r"\]\(([^)#]+)\)|`(examples/[\w./]+)`", readme()):
        assert (ROOT / (path[0] or path[1])).exists(), path

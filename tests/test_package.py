"""The package as a whole: what importing it costs, what it refuses, that its examples in docstrings run."""

import ast
import doctest
import importlib
import importlib.metadata
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cases import quick_and_heavy

import keras_linreg as klr


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
        check=False,
    )


MOMENTS_ALONE = """
import sys, time
began = time.perf_counter()
import keras_linreg
keras_linreg.Moments
seconds = time.perf_counter() - began
import numpy as np
x = np.random.default_rng(0).normal(size=(200, 3))
def batches():
    for _ in range(3):
        yield x, x[:, 0], np.ones(200)
moments = keras_linreg.Moments.from_data(x, x[:, 0]) + keras_linreg.Moments.from_data(batches())
moments.solve(warn=False)
keras_linreg.Moments.from_data({"a": x[:, 0], "b": [1.0, 2.0] * 100}, x[:, 2]).select(["a"]).solve()
str(keras_linreg.RegressionReport.from_moments(moments))
monitor = keras_linreg.DriftMonitor(moments)
monitor.update(x, x[:, 0])
str(keras_linreg.DriftMonitor.from_bytes(monitor.to_bytes()).report())
slow = [name for name in ("tensorflow", "keras", "pandas", "matplotlib", "sklearn") if name in sys.modules]
import pathlib
status = pathlib.Path("/proc/self/status")  # the peak of getrusage is the parent's, too
lines = status.read_text().splitlines() if status.exists() else []
print(slow, round(seconds, 2), *(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
"""


def test_moments_and_their_report_need_neither_tensorflow_nor_keras_nor_pandas():
    result = run(MOMENTS_ALONE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("[] "), result.stdout
    *_, megabytes = result.stdout.split()
    assert float(megabytes) < 150  # some 60; with TensorFlow 700


@pytest.mark.parametrize(
    "imports",
    quick_and_heavy(
        [
            "import keras_linreg, keras",
            "import keras, keras_linreg",
            "import keras_linreg; keras_linreg.SquaredError; import keras",
            "import keras_linreg, tensorflow, keras",
            "import keras_linreg.utils.quiet, keras",
        ],
        "import keras_linreg, keras",
    ),
)
@pytest.mark.heavy
def test_keras_loads_a_model_after_import_of_the_package_alone_in_either_order_and_nothing_else_is_imported(imports):
    path = Path(__file__).parent / "reference" / "files_of_0_1_0" / "exact.keras"
    code = (
        f"{imports}; import sys; print(type(keras.models.load_model({str(path)!r})).__name__,"
        "[name for name in ('keras_linreg.plots', 'keras_tuner', 'tensorboard') if name in sys.modules])"
    )
    result = run(code)
    assert result.stdout.strip() == "ExactLinearRegression []", result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr


@pytest.mark.heavy
def test_another_backend_is_refused_when_a_model_is_asked_for_and_does_not_break_keras():
    code = (
        "import keras_linreg, keras\n"
        "assert keras_linreg.Moments\n"
        "try:\n    keras_linreg.LinearRegression\n"
        "except ImportError as error:\n    print(error)"
    )
    result = run(code, KERAS_BACKEND="numpy")
    assert result.returncode == 0, result.stderr
    assert "keras_linreg needs Keras's TensorFlow backend" in result.stdout
    assert "Received: backend='numpy'" in result.stdout


def test_every_public_name_is_there():
    for name in klr.__all__:
        assert getattr(klr, name) is not None
    assert set(klr.__all__) <= set(dir(klr))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = klr.nothing


def test_the_version_is_the_packages_own():
    assert klr.__version__ == importlib.metadata.version("keras_linreg")


PACKAGE = Path(klr.__file__).parent
ROOMS = [
    "utils",
    "linalg",
    "plots",
    "losses",
    "data",
    "formula",
    "sufficient_statistics",
    "solvers",
    "moments",
    "inference",
    "training",
    "export",
    "models",
    "drift",
    "spark",
    "callbacks",
    "tuner",
]
MODULES = ["keras_linreg", *(m.name for m in pkgutil.walk_packages(klr.__path__, "keras_linreg."))]
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}


def imported_modules(tree):
    """The modules of the package that a file imports, in full: `from keras_linreg.data import arrays` is of arrays."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_linreg":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def test_each_room_imports_only_rooms_above_it():
    for name, tree in TREES.items():
        room = name.split("/")[0].removesuffix(".py")
        if room == "__init__":
            continue
        above = ROOMS[: ROOMS.index(room) + 1]
        needed = {module.split(".")[1] for module in imported_modules(tree)}
        assert needed <= set(above), f"{name} imports {sorted(needed - set(above))}, which stand below {room}"


def test_no_file_imports_itself_through_others():
    def key(name):
        return "keras_linreg." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    needed = {}
    for name, tree in TREES.items():
        if name != "__init__.py":
            runtime = ast.Module([n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)], [])
            checks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
            for_types = {id(inner) for check in checks for inner in ast.walk(check)}
            runtime.body = [node for node in runtime.body if id(node) not in for_types]
            needed[key(name)] = set(imported_modules(runtime)) - {key(name)}
    while needed:
        free = [name for name, others in needed.items() if not others & needed.keys()]
        assert free, f"These import each other: {sorted(needed)}"
        needed = {name: others for name, others in needed.items() if name not in free}


OF_KERAS = """
    _tracker _loss_tracker _initial_epoch _maybe_symbolic_build _assert_compile_called _use_cached_eval_dataset
    _save_freq _should_trace _DefaultDistributionStrategy _handle_name _compile_loss _compile_metrics
"""
OF_NAMEDTUPLE = {"_make", "_replace", "_fields", "_asdict"}


def test_private_names_of_keras_are_touched_in_keras_compat_alone():
    private = re.compile(r"keras\.src|tensorflow\.python|(?<!\w)(" + "|".join(OF_KERAS.split()) + r")\b")
    touched = [name for name, source in SOURCES.items() if private.search(source)]
    assert touched == ["utils/keras_compat.py"]


def test_no_file_reaches_into_the_private_attributes_of_a_class_of_another_file():
    for name, tree in TREES.items():
        if name == "utils/keras_compat.py":
            continue
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        own = {node.attr for node in attributes if ast.unparse(node.value) in ("self", "cls", "super()")}
        own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)} | OF_NAMEDTUPLE
        for node in attributes:
            is_private = node.attr.startswith("_") and not node.attr.startswith("__")
            assert not is_private or node.attr in own, f"{name}:{node.lineno}: {ast.unparse(node)}"


def test_every_parameter_has_a_type():
    for name, tree in TREES.items():
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)):
            arguments = function.args
            each = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            bare = [a.arg for a in each if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
            assert not bare, f"{name}: {function.name} has {bare}"


def with_examples():
    for module in MODULES:
        path = module.removeprefix("keras_linreg").lstrip(".").replace(".", "/")
        source = SOURCES.get(f"{path}.py") or SOURCES[f"{path}/__init__.py".lstrip("/")]
        if ">>>" in source:
            examples = doctest.DocTestFinder().find(importlib.import_module(module), module)
            yield from (example for example in examples if example.examples)


@pytest.mark.parametrize("example", list(with_examples()), ids=lambda example: example.name)
def test_the_examples_in_docstrings_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


PUBLIC_WITH_EXAMPLES = [
    klr.DriftMonitor,
    klr.Formula,
    klr.LinearRegression,
    klr.SquaredError,
    klr.HyperLinearRegression,
    klr.callbacks.FitPlot,
]


@pytest.mark.parametrize("thing", PUBLIC_WITH_EXAMPLES, ids=lambda thing: thing.__name__)
def test_every_public_class_shows_an_example(thing):
    assert ">>>" in thing.__doc__


def test_the_readmes_table_of_versions_is_that_of_the_package_and_of_this_environment():
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| ([\w-]+) \| ([<>=.,\d]+) \|", readme, re.MULTILINE))
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {need.name: need.specifier for need in map(Requirement, project["dependencies"])}
    assert SpecifierSet(table.pop("Python")) == SpecifierSet(project["requires-python"])
    assert set(table) == {"tensorflow", "keras", "keras-tuner"}
    for name, versions in table.items():
        assert SpecifierSet(versions) == required[name], name
        assert importlib.metadata.version(name) in SpecifierSet(versions), name
    classified = {line.rpartition(" ")[2] for line in project["classifiers"] if "Python :: 3." in line}
    assert {
        version for version in classified if f"{version}.0" in SpecifierSet(project["requires-python"])
    } == classified
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in classified

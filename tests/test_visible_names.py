"""What is printed never controls the terminal, whatever the columns are called; the names themselves stay."""

import warnings

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.utils.text import visible

X = np.random.default_rng(0).normal(size=(30, 2))
Y = X.sum(axis=1) + np.sin(9 * X[:, 0])
HOSTILE = [
    "\x1b[31mred",
    "bell\x07",
    "nul\0",
    "\u202eright to left",
    "lone\ud800",
    "\x9b2J",
    "a\rb",
    "\x1b]0;title\x07",
]


def printed(names, target):
    """All texts that hold names."""
    x = np.column_stack([X, X[:, 0]]) if len(names) == 3 else X
    moments = klr.Moments.from_data(x, Y, feature_names=names)
    moments = klr.Moments(moments.feature_names, (target,), moments.rows, moments.dtype, moments.statistics)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = klr.ExactLinearRegression.from_moments(moments)
    report = model.report()
    quoted = f'"{names[0]}" = 0' if '"' not in names[0] else f"`{names[0]}` = 0"
    test, wald = report.t_test(quoted), report.f_test(quoted)
    texts = [str(report), repr(report), report._repr_html_(), repr(moments), str(test), str(wald), repr(model.solution)]
    return model, [*texts, str(model.diagnose((x, Y)))]


def assert_harmless(text):
    bad = {character for character in text if not (character.isprintable() or character == "\n")}
    assert not bad, (bad, text)
    text.encode()  # no lone surrogate


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_holds_what_controls_a_terminal_and_the_name_stays(name):
    model, texts = printed([name, "b", f"{name} again"], f"y{name}")
    for text in texts:
        assert_harmless(text)
    assert model.feature_names[0] == name
    assert model.report().to_frame().index[1] == name


@hypothesis.given(name=st.text(st.characters(), min_size=1, max_size=12))
@hypothesis.settings(max_examples=200, derandomize=True)
def test_a_visible_name_is_harmless_whatever_it_is_and_a_harmless_one_stays(name):
    assert_harmless(visible(name))
    if name.isprintable():
        assert visible(name) == " ".join(name.split())


def test_an_escape_shows_which_character_there_is():
    assert visible("a\x1bb\x07\0\u202e\ud800") == r"a\x1bb\x07\x00\u202e\ud800"
    assert visible("größe  in\u00a0cm\n") == "größe in cm"


def test_errors_and_warnings_about_columns_show_escapes(tmp_path, capsys):
    names = ["\x1b[31m\ud800", "b"]
    moments = klr.Moments.from_data(X, Y, feature_names=names)
    report = klr.RegressionReport.from_moments(moments)
    calls = [
        lambda: report.t_test("c = 0"),
        lambda: report.t_test([1, 2]),
        lambda: moments.select(["c"]),
        lambda: moments + klr.Moments.from_data(X, Y),
        lambda: klr.Moments.from_data(X * [np.nan, 1], Y, feature_names=names),
    ]
    for call in calls:
        with pytest.raises(ValueError) as error:
            call()
        assert_harmless(str(error.value))
    with pytest.raises(ValueError, match="names that UTF-8 can hold") as error:
        klr.ExactLinearRegression.from_moments(moments).export(tmp_path / "model")
    assert_harmless(str(error.value))
    moments = klr.Moments.from_data(X, Y, feature_names=["\x1b[31m", "b"])
    klr.ExactLinearRegression.from_moments(moments).export(tmp_path / "model")
    assert_harmless(capsys.readouterr().out)

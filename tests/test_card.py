"""The card beside a served model: for people, safe with any names, and a part of what `verify` checks."""

import html
import html.parser
import json
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from exported_models import solve, train
from loader_process import serve

import keras_linreg as klr
from keras_linreg.export import card_pictures
from keras_linreg.export import manifest as manifests

RNG = np.random.default_rng(1)
EVIL = [
    "<script>alert('x')</script>",
    '"><img src=x onerror=alert(1)>',
    "a & b",
    "</style></svg>",
    "localhost:8501/v1/models/MODEL_NAME",
    "url(https://example.org/x)",
]
FRAME = pd.DataFrame(RNG.normal(size=(60, len(EVIL))), columns=EVIL)
TARGET = FRAME.sum(axis=1) + RNG.normal(size=60)


class Page(html.parser.HTMLParser):
    """The elements of a page, the values of their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.words, self.open = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.values += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "line", "rect", "circle", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "rect", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(folder):
    page = Page((folder / "card.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


def commands(folder):
    """The requests to copy."""
    text = re.search(r"<pre>(curl.*?)</pre>", (folder / "card.html").read_text(encoding="utf-8"), re.DOTALL)[1]
    return html.unescape(text.replace("<i>", "").replace("</i>", "")).splitlines()


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    model = solve(FRAME, TARGET.rename("<b>price</b>"), name="house")
    return klr.publish(model, tmp_path_factory.mktemp("models") / "my house", warmup=FRAME[:2])


def test_names_of_columns_are_text_and_nothing_comes_from_elsewhere(version):
    page = read(version)
    assert page.tags <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "table", "tbody", "thead"),
        *("tr", "th", "td", "caption", "pre", "ul", "li", "br", "svg", "text", "line", "rect", "circle"),
    }
    assert not [value for _, name, value in page.values if name in ("src", "href", "style") or name.startswith("on")]
    text = " ".join(page.words)
    assert all(name in text for name in EVIL)
    style = re.search(r"<style>(.*?)</style>", (version / "card.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style


def test_the_card_says_when_on_how_many_rows_and_how_to_ask(version):
    text = " ".join(read(version).words)
    assert re.search(r"Version 1 of my house, published \d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    assert "60" in text and "R-squared" in text and "Residual standard error" in text
    assert len(commands(version)) == 5
    for command in commands(version):
        _, _, body, address = shlex.split(command)
        assert address.startswith("localhost:8501/v1/models/my%20house:")
        ((row,),) = [json.loads(body).get("instances") or json.loads(body)["examples"]]
        assert set(row) - {"level"} == set(EVIL)


def test_the_request_to_copy_is_one_that_the_served_graph_takes(version):
    (row,) = json.loads(shlex.split(commands(version)[0])[2])["instances"]
    answer = serve(version, "serving_default", {name: np.float32([value]) for name, value in row.items()})
    np.testing.assert_allclose(answer["predictions"], [[TARGET.mean()]], rtol=1e-3, atol=1e-3)


def test_characters_that_turn_text_around_are_escaped(tmp_path):
    frame = FRAME.iloc[:, :2].set_axis(["a\u202eb\x1b", "c"], axis=1)
    solve(frame, TARGET).export(tmp_path / "model", verbose=False)
    text = (tmp_path / "model" / "card.html").read_text(encoding="utf-8")
    assert "\u202e" not in text and "\x1b" not in text
    page = re.search(r"<pre>(curl.*?)</pre>", text, re.DOTALL)[1].splitlines()[0]
    (row,) = json.loads(shlex.split(html.unescape(page))[2])["instances"]
    assert list(row) == list(frame)


def test_verify_finds_a_card_that_was_changed_or_is_gone(version, tmp_path):
    assert "card.html" in klr.verify(version)["files"]
    for change, fault in ((lambda card: card.write_text("x"), "changed"), (lambda card: card.unlink(), "missing")):
        copy = tmp_path / fault
        shutil.copytree(version, copy)
        change(copy / "card.html")
        with pytest.raises(ValueError, match=f"card.html, which (was|is) {fault}"):
            klr.verify(copy)


def test_the_same_model_has_the_same_card_but_for_the_time(tmp_path):
    first, second = (tmp_path / name for name in "ab")
    for folder in (first, second):
        solve(FRAME, TARGET, name="house").export(folder, verbose=False)
    assert (first / "card.html").read_text() == (second / "card.html").read_text()
    assert "not published yet" in (first / "card.html").read_text()


def test_an_export_without_a_card_is_published_without_one(tmp_path):
    solve(FRAME, TARGET).export(tmp_path / "old", verbose=False)
    (tmp_path / "old" / "card.html").unlink()
    manifest = json.loads((tmp_path / "old" / "keras_linreg.json").read_text())
    manifests.write(tmp_path / "old", manifest)
    version = klr.publish(tmp_path / "old", tmp_path / "models")
    assert not (version / "card.html").exists() and klr.verify(version)["version"] == 1


@pytest.mark.parametrize("kind", ["frame", "exact, two outputs", "penalised", "exact, FeatureSpace"])
def test_models_of_every_kind_have_a_card(exported, kind):
    folder, _, model, _ = exported[kind]
    text = " ".join(read(folder).words)
    assert type(model).__name__ in text and "Limits" in text
    assert ("Standard deviation of each column" in text) == (kind != "frame")
    assert ("VIF" in text) == kind.startswith("exact")


def test_a_wide_model_has_a_card_of_a_page(tmp_path):
    x = RNG.normal(size=(300, 250)).astype("float32")
    model = train(x, x[:, 0])
    model.export(tmp_path / "wide", verbose=False)
    page = (tmp_path / "wide" / "card.html").read_text()
    assert "250 columns: too many for a page" in page and len(page) < 30_000


def test_a_formula_tells_its_levels_and_its_request_has_one_of_them(tmp_path):
    table = pd.DataFrame({"area": RNG.uniform(20, 90, 80), "city": np.resize(["Rome", "Oslo", "Bonn"], 80)})
    table["price"] = table["area"] + RNG.normal(size=80)
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("price ~ area + city"))
    model.fit(table, verbose=0)
    model.export(tmp_path / "formula", verbose=False)
    text = " ".join(read(tmp_path / "formula").words)
    assert "3 levels ['Bonn', 'Oslo', 'Rome']" in text and '"city": "Oslo"' in text


def test_pictures_stand_numbers_of_any_size():
    values = np.array([np.nan, 1e300, -1e-300, 0.0, np.inf])
    for picture in (
        card_pictures.bars("t", list("abcde"), np.abs(values)),
        card_pictures.intervals("t", list("abcde"), values, values - 1, values + 1),
        card_pictures.bars("t", [], np.zeros(0)),
        card_pictures.intervals("t", ["a"], np.zeros(1), np.zeros(1), np.zeros(1)),
    ):
        assert "nan" not in picture and "inf" not in picture.replace("infinite", "")

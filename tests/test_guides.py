"""Each guide runs as a reader pastes it, block by block, and prints what it says it prints."""

import contextlib
import io
import re
from pathlib import Path

import matplotlib
import pytest
from cases import quick_and_heavy
from spark_cluster import NEEDS_JAVA, alone, has_java

GUIDES = sorted((Path(__file__).parents[1] / "examples" / "guides").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def as_lines(text):
    """The lines of a text without trailing spaces and empty lines."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


QUICK = [path for path in GUIDES if path.stem in ("analyst", "numbers")]


@pytest.mark.parametrize("guide", quick_and_heavy(GUIDES, *QUICK), ids=lambda path: path.stem)
def test_a_guide_runs_and_prints_what_it_says(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    if guide.stem != "cluster":
        run(guide)
    elif not has_java():
        pytest.fail(NEEDS_JAVA)
    else:
        with alone():
            run(guide)


def run(guide):
    """Run the blocks of a guide in their order, and compare."""
    names, printed = {"__name__": "guide"}, None
    blocks = BLOCK.findall(guide.read_text(encoding="utf-8"))
    assert blocks
    for language, block in blocks:
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block, guide.name, "exec"), names)
            printed = output.getvalue()
        elif language == "text":
            assert as_lines(printed) == as_lines(block)

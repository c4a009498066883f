"""Which cases of a test run each time, and which in `.ci/run` alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def quick_and_heavy(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """Return all cases for `pytest.mark.parametrize`: the quick ones as they are, the others marked heavy."""
    cases = list(cases)
    assert set(quick) <= set(cases), set(quick) - set(cases)
    several = isinstance(cases[0], tuple)
    heavy = pytest.mark.heavy
    return [
        case if case in quick else pytest.param(*(case if several else (case,)), marks=heavy)  #
        for case in cases
    ]

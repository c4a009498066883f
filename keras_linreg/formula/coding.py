"""Which columns each term of a formula makes: their order, and the contrasts that make no column redundant.

Both follow patsy. Terms of the same numeric factors stand together, those of none first, and within such a group by
the number of their factors. A categorical factor gets an indicator for each level where the terms before it do not
span these already, and contrasts elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

Term = tuple[str, ...]
Subterm = dict[str, bool]  # categorical factors, and whether each has all its levels


def ordered(terms: Sequence[Term], is_categorical: Callable[[str], bool], has_intercept: bool) -> list[list[Term]]:
    """Return the terms in groups of the same numeric factors, in the order of the design; () is the intercept.

    Args:
        terms: of factors, without the intercept.
        is_categorical: tells a factor.
        has_intercept: whether () belongs to the first group.

    Example:
    >>> ordered([("x",), ("g",), ("g", "x")], lambda factor: factor == "g", True)
    [[(), ('g',)], [('x',), ('g', 'x')]]
    """
    groups: dict[frozenset[str], list[Term]] = {frozenset(): [()] if has_intercept else []}
    for term in terms:
        numeric = frozenset(factor for factor in term if not is_categorical(factor))
        groups.setdefault(numeric, []).append(term)
    return [sorted(group, key=len) for group in groups.values()]


def codings(terms: Sequence[Term], is_categorical: Callable[[str], bool]) -> list[list[Subterm]]:
    """Return for each term of a group the parts that it adds to the terms before it.

    A term of factors a and b spans the parts 1, a, b and a:b, of which only those that are new are kept: contrasts, as
    without the constant. A part then takes in another that has all its factors but one: that one gets all its levels.

    Args:
        terms: of the same numeric factors, in their order.
        is_categorical: tells a factor.

    References:
        The documentation of patsy, "From terms to matrices": its rule of redundancy, which mends R's.
    """
    used: set[frozenset[str]] = set()
    result = []
    for term in terms:
        categorical = [factor for factor in term if is_categorical(factor)]
        subterms: list[Subterm] = []
        for size in range(len(categorical) + 1):
            for factors in itertools.combinations(categorical, size):
                if frozenset(factors) not in used:
                    used.add(frozenset(factors))
                    subterms.append(dict.fromkeys(factors, False))
        while _absorb_one(subterms):
            pass
        result.append(subterms)
    return result


def _absorb_one(subterms: list[Subterm]) -> bool:
    """Let one part take in a shorter one; return whether there were two such."""
    for i, short in enumerate(subterms):
        for j in range(i + 1, len(subterms)):
            long = subterms[j]
            rest = [factor for factor in long if factor not in short]
            contains = all(long.get(factor) is is_full for factor, is_full in short.items())
            if len(rest) == 1 and len(long) == len(short) + 1 and contains and not long[rest[0]]:
                subterms[j] = {factor: is_full or factor == rest[0] for factor, is_full in long.items()}
                del subterms[i]
                return True
    return False

"""A drift report as text of at most 80 columns, as HTML, and as plain objects for JSON."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from keras_linreg.inference import tables
from keras_linreg.inference.tables import number, p_value
from keras_linreg.utils.text import visible

if TYPE_CHECKING:
    from keras_linreg.drift.report import DriftReport

HEAD = ("mean, fit", "now", "shift, sd", "P", "var. ratio", "P")
SHOWN_NAMES = 6

Table: TypeAlias = tuple[str, Sequence[str], list[tuple[str, list[str]]]]


def text(report: "DriftReport") -> str:
    """Return the tables of a report, and notes below."""
    facts = tables.facts_table(_title(report), _facts(report))
    blocks = [f"{facts}\n{tables.table(HEAD, _column_rows(report))}"]
    for title, head, rows in _outcome_tables(report):
        blocks.append(f"{title}\n{tables.table(head, rows)}")
    return tables.with_notes(blocks, notes(report))


def html_tables(report: "DriftReport") -> str:
    """Return the same for a notebook."""
    facts = "".join(
        "<tr>" + "".join(f"{_tag('th', name)}{_tag('td', value)}" for name, value in pair) + "</tr>"
        for pair in _facts(report)
    )
    parts = [f"<table>{_tag('caption', _title(report))}<tbody>{facts}</tbody></table>"]
    parts += [_html_table("", HEAD, _column_rows(report))]
    parts += [_html_table(*table) for table in _outcome_tables(report)]
    return "".join(parts) + f"<ul>{''.join(_tag('li', note) for note in notes(report))}</ul>"


def notes(report: "DriftReport") -> list[str]:
    """Return the limits of the figures: why p-values are missing, what was left out, what the covariance shows."""
    lines = []
    for key, what in (("shift_reason", "mean"), ("variance_reason", "variance")):
        reasons: dict[str, list[str]] = {}
        for column in report.columns:
            if reason := getattr(column, key):
                reasons.setdefault(reason, []).append(column.name)
        lines += [f"No test of the {what} of {_listed(names)}: {reason}." for reason, names in reasons.items()]
    if report.means.reason:
        lines.append(f"No test of all means together: {report.means.reason}.")
    for output in report.outcomes:
        tests = ("calibration", output.calibration_reason), ("residual variance", output.scale_reason)
        for what, reason in (*tests, ("coefficients", output.chow_reason)):
            if reason:
                lines.append(f"No test of the {what} of {visible(output.name)}: {reason}.")
    if report.missing.missing:
        lines.append(f"{report.missing}: left out.")
    if report.unseen.missing:
        lines.append(f"{report.unseen.missing:,} rows have a category that the fit does not know, in "
                     f"{_counted(report.unseen.columns)}.")  # fmt: skip
    return lines + _covariance_notes(report)


def plain(value: Any) -> Any:
    """Return figures as dicts, lists, numbers and text; None for a number that is not finite."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _title(report: "DriftReport") -> str:
    return f"Drift of {report.nobs:,} rows from the {report.fit_nobs:,} of the fit"


def _facts(report: "DriftReport") -> tables.Facts:
    means, leverage = report.means, report.leverage
    return [
        (("Rows given", f"{report.rows:,}"), ("Hotelling's T-squared", number(means.t_squared))),
        (("Rows without a value", f"{report.missing.missing:,}"), (_df(means), number(means.fvalue))),
        (("Rows of unseen categories", f"{report.unseen.missing:,}"), ("P-value of F", p_value(means.pvalue))),
        (("Mean leverage", number(leverage.mean, 3)), ("Times that of the fit", number(leverage.ratio, 4))),
    ]


def _df(means: Any) -> str:
    df = f"{means.df_denom:,.0f}" if math.isfinite(means.df_denom) else "?"
    return f"F ({means.df_num}, {df})"


def _column_rows(report: "DriftReport") -> list[tuple[str, list[str]]]:
    return [
        (
            column.name,
            [
                number(column.fit_mean, 4),
                number(column.mean if report.nobs else math.nan, 4),
                number(column.shift, 3),
                p_value(column.shift_pvalue_holm),
                number(column.variance_ratio, 3),
                p_value(column.variance_pvalue_holm),
            ],
        )
        for column in report.columns
    ]


def _outcome_tables(report: "DriftReport") -> list[Table]:
    """Return a table for each output."""
    made: list[Table] = []
    for one in report.outcomes:
        rows = [
            (
                "mean residual",
                [number(one.calibration), number(one.calibration_se, 4), p_value(one.calibration_pvalue)],
            ),
            ("residual variance, ratio", [number(one.scale_ratio), "", p_value(one.scale_pvalue)]),
            (f"Chow's F ({one.chow_df[0]}, {one.chow_df[1]})", [number(one.chow), "", p_value(one.chow_pvalue)]),
        ]
        title = f"Outcomes of {one.rows:,} rows: {tables.shortened(one.name, 40)}"
        made.append((title, ("", "std err", "P"), rows))
    return made


def _covariance_notes(report: "DriftReport") -> list[str]:
    change = report.covariance
    if change is None:
        return []
    low, high = (number(limit, 3) for limit in change.without_change)
    grown = [
        f"{number(direction.ratio, 3)} ({', '.join(visible(name) for name in direction.columns)})"
        for direction in change.largest
    ]
    return [
        f"The variance of combinations of columns has grown, at most, to {', '.join(grown)} times that of the fit, and "
        f"shrunk to {number(change.smallest.ratio, 3)} times. Without a change, samples of these sizes show some {low} "
        f"to {high}. This describes the covariance, and is no test."
    ]


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(visible, names[:SHOWN_NAMES]))
    return shown + f" and {len(names) - SHOWN_NAMES} more" * (len(names) > SHOWN_NAMES)


def _counted(columns: dict[str, int]) -> str:
    return ", ".join(f"{visible(name)} ({count:,})" for name, count in columns.items())


def _html_table(caption: str, head: Sequence[str], rows: list[tuple[str, list[str]]]) -> str:
    heads = "".join(_tag("th", cell) for cell in ("", *head))
    body = "".join(f"<tr>{_tag('th', name)}{''.join(_tag('td', c) for c in cells)}</tr>" for name, cells in rows)
    title = _tag("caption", caption) if caption else ""
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _tag(name: str, content: object) -> str:
    return f"<{name}>{html.escape(visible(content))}</{name}>"

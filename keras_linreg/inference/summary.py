"""A report as text of at most 80 columns, as HTML, as a data frame, and as plain objects for JSON."""

import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.inference import tables
from keras_linreg.inference.report_statistics import ReportStatistics
from keras_linreg.inference.tables import number, p_value
from keras_linreg.utils.text import visible

if TYPE_CHECKING:
    import pandas

SHARED_FIGURES = ("nobs", "df_model", "df_resid", "condition_number", "cov_type", "level", "groups", "maxlags")
FIGURES_OF_AN_OUTPUT = ("rsquared", "rsquared_adj", "fvalue", "f_pvalue", "llf", "aic", "bic", "scale", "ssr")


def text(report: ReportStatistics) -> str:
    """Return the tables of a report, one block for each output."""
    blocks = []
    for one in report.outputs():
        head, rows = _coefficient_table(one)
        blocks.append(f"{tables.facts_table(_title(one), _facts(one))}\n{tables.table(head, rows)}")
    return tables.with_notes(blocks, report.notes)


def html_tables(report: ReportStatistics) -> str:
    """Return the tables of a report for a notebook, two for each output."""
    parts = []
    for one in report.outputs():
        facts = "".join(
            "<tr>" + "".join(f"{_tag('th', name)}{_tag('td', value)}" for name, value in pair) + "</tr>"
            for pair in _facts(one)
        )
        head, rows = _coefficient_table(one)
        heads = "".join(_tag("th", cell) for cell in ("", *head))
        body = "".join(
            f"<tr>{_tag('th', name)}{''.join(_tag('td', cell) for cell in cells)}</tr>" for name, cells in rows
        )
        parts.append(
            f"<table>{_tag('caption', _title(one))}<tbody>{facts}</tbody></table>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        )
    notes = "".join(_tag("li", note) for note in report.notes)
    return "".join(parts) + (f"<ul>{notes}</ul>" if notes else "")


def frame(report: ReportStatistics) -> "pandas.DataFrame":
    """Return a frame with a row for each parameter; of several outputs, for each output and parameter."""
    import pandas  # slow to import

    frames = {}
    try:
        index = pandas.Index(report.names, name="parameter")
    except UnicodeEncodeError:  # pandas' own texts hold no lone surrogates
        index = pandas.Index(report.names, name="parameter", dtype=object)
    for one in report.outputs():
        frames[one.output_names[0]] = pandas.DataFrame(one.coefficients(), index=index)
    return next(iter(frames.values())) if len(frames) == 1 else pandas.concat(frames, names=["output"])


def plain_objects(report: ReportStatistics) -> dict[str, Any]:
    """Return all figures as dicts, lists, numbers and text; None for a number that is not finite."""
    outputs = {}
    for one in report.outputs():
        outputs[one.output_names[0]] = {
            **{key: getattr(one, key) for key in FIGURES_OF_AN_OUTPUT},
            "coefficients": frame(one).to_dict(orient="index"),
            "cov_params": one.cov_params().to_numpy().tolist(),
        }
    shared = {key: getattr(report, key) for key in SHARED_FIGURES}
    return _plain({**shared, "names": report.names, "notes": report.notes, "outputs": outputs})


def _title(report: ReportStatistics) -> str:
    covariances = {
        "nonrobust": "",
        "cluster": f", clustered by {report.groups} groups",
        "HAC": f", HAC({report.maxlags})",
    }
    title = tables.shortened(f"Linear regression of {report.output_names[0]}", 50)
    return title + covariances.get(report.cov_type, f", {report.cov_type}")


def _facts(report: ReportStatistics) -> tables.Facts:
    df = f" ({report.df_model}, {report.groups - 1 if report.groups else report.df_resid})"
    r_squared = "R-squared" if report.estimate.has_intercept else "R-squared (uncentred)"
    standard_error = math.sqrt(report.scale) if report.scale >= 0 else math.nan
    return [
        (("Rows", f"{report.nobs:,}"), (r_squared, number(report.rsquared))),
        (
            ("Residual degrees of freedom", f"{report.df_resid:,}"),
            (f"Adjusted {r_squared}", number(report.rsquared_adj)),
        ),
        (("Residual standard error", number(standard_error)), (f"F{df}", number(report.fvalue))),
        (("Log-likelihood", number(report.llf, 7)), ("P-value of F", p_value(report.f_pvalue))),
        (("AIC", number(report.aic, 7)), ("BIC", number(report.bic, 7))),
        (("Covariance", report.cov_type), ("Condition number", number(report.condition_number, 3))),
        (("Digits, at least", f"{report.estimate.fewest_digits:.1f}"),),
    ]


def _coefficient_table(report: ReportStatistics) -> tuple[tuple[str, ...], list[tuple[str, list[str]]]]:
    """Return the head and the rows of the table of coefficients."""
    letter = "t" if report.cov_type == "nonrobust" else "z"
    head = ("coef", *tables.estimate_head(letter, report.level), "VIF")
    estimate, rows = report.estimate, []
    params, *errors, vif = report.coefficients().values()
    figures = np.column_stack([params, *errors])
    for i, name in enumerate(report.names):
        if estimate.is_penalised:
            cells = [number(params[i])]
        elif estimate.estimable[i]:
            cells = [*tables.estimate_cells(*figures[i]), number(vif[i], 3)]
        else:
            cells = ["aliased"] if estimate.dropped else [number(params[i]), "n/a"]
        rows.append((name, cells))
    return head, rows


def _tag(name: str, content: object) -> str:
    return f"<{name}>{html.escape(visible(content))}</{name}>"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value

"""The card of a model: one page of HTML beside the served graph, for people.

It says when the model was published, on how many rows it was fitted, what it has learned, how it is asked, and where
its limits are. Everything is in the one file: pictures are SVG in the page, and no script, style or font is fetched.
Every name is escaped.
"""

import datetime
import html
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import TablePreprocessor
from keras_linreg.export import card_requests
from keras_linreg.export.card_pictures import bars, intervals
from keras_linreg.export.hashes import CARD
from keras_linreg.export.model_interface import ServableModel
from keras_linreg.inference import summary
from keras_linreg.inference.contributions import Contributions
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.report import RegressionReport
from keras_linreg.inference.tables import number
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Array, PathLike

MOST_PARAMETERS = 200  # of the tables of coefficients and of columns
UNPUBLISHED = '<p class="published">Exported, and not published yet.</p>'
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 0.8rem 0; font-size: 0.9rem; }
caption { text-align: left; color: #555; padding-bottom: 0.3rem; }
th, td { padding: 0.15rem 0.8rem 0.15rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #999; }
pre { background: #f5f5f5; padding: 0.6rem; font-size: 0.85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
.published { color: #555; margin-top: 0; overflow-wrap: anywhere; }
"""


def write(
    folder: PathLike,
    model: ServableModel,
    manifest: Mapping[str, Any],
    signatures: Mapping[str, Any],
    moments: Moments | None,
    estimate: Estimate | None,
    contributions: Contributions | None,
) -> None:
    """Write the card of a model into the folder of its SavedModel.

    Args:
        folder: the folder.
        model: the model.
        manifest: its manifest.
        signatures: the SignatureDefs, by key.
        moments: of the training data, or None if they are unknown.
        estimate: of the fit, or None if it has no standard errors.
        contributions: of the columns to predictions, or None if they are unknown.
    """
    sections = [
        ("The fit", _fit(manifest, moments, estimate)),
        ("What moves the predictions", _pictures(moments, estimate, contributions)),
        ("Coefficients", _coefficients(model, manifest, estimate)),
        ("What the formula has learned", _learned(model.preprocessor)),
        ("Ranges of the data", _ranges(manifest)),
        ("Ask it", card_requests.section(manifest, signatures)),
        ("Limits", _limits(manifest, moments, estimate)),
    ]
    body = "".join(f"<section><h2>{title}</h2>{content}</section>\n" for title, content in sections if content)
    title = escaped(f"{manifest['name']} ({manifest['model']})")
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{STYLE}</style></head>
<body><h1>{title}</h1>
{UNPUBLISHED}
{body}</body></html>
"""
    with tf.io.gfile.GFile(os.path.join(os.fspath(folder), CARD), "w") as file:
        file.write(page)


def complete(folder: PathLike, manifest: Mapping[str, Any], name: str, version: int) -> None:
    """Write the number of the version, the time and the name of the served model into the card of an export.

    A folder of an older version of this package has no card, and gets none.

    Args:
        folder: of the export, before it is renamed.
        manifest: its manifest.
        name: under which the model is served.
        version: the number.
    """
    path = os.path.join(os.fspath(folder), CARD)
    if not os.path.isfile(path):
        return
    with open(path, encoding="utf-8") as file:
        page = file.read()
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    line = escaped(f"Version {version} of {name}, published {now}. Hash of the model: {manifest['hash']}")
    page = page.replace(UNPUBLISHED, f'<p class="published">{line}</p>', 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page.replace(card_requests.UNNAMED, escaped(urllib.parse.quote(name))))


def escaped(text: object) -> str:
    """Return text for HTML."""
    return html.escape(visible(text))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; the first cell of a row names it."""
    heads = f"<thead><tr>{''.join(f'<th>{escaped(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(
        f"<tr><th>{escaped(first)}</th>{''.join(f'<td>{escaped(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<table>{heads}<tbody>{body}</tbody></table>"


def _fit(manifest: Mapping[str, Any], moments: Moments | None, estimate: Estimate | None) -> str:
    training = manifest["training"]
    facts: list[tuple[str, object]] = []
    if training is None or moments is None:
        facts.append(("Rows", "not known: a model trained by gradient descent keeps no moments of its data"))
    else:
        facts.append(("Rows", f"{training['rows']:,}"))
        if training["nobs"] != training["rows"]:
            facts.append(("Rows with a weight", f"{training['nobs']:,}"))
        if moments.missing is not None:
            facts.append(("Left out", str(moments.missing)))
    facts.append(("Columns of the design", f"{len(manifest['feature_names']):,}"))
    if estimate is not None:
        for one in RegressionReport(estimate).outputs():
            name = f" of {one.output_names[0]}" * (manifest["units"] > 1)
            facts.append((f"R-squared{name}", number(one.rsquared)))
            facts.append((f"Residual standard error{name}", number(float(np.sqrt(one.scale)))))
        facts.append(("Digits, at least", f"{estimate.fewest_digits:.1f}"))
    made = manifest["made_with"]
    facts.append(("Made with", ", ".join(f"{name} {version}" for name, version in made.items())))
    return _table((), facts)


def _pictures(moments: Moments | None, estimate: Estimate | None, contributions: Contributions | None) -> str:
    """Return the pictures: the spread of each column's contributions, and standardised coefficients."""
    parts = []
    if moments is not None and contributions is not None:
        spread = _spread_of_contributions(moments, contributions)
        for j, output in enumerate(moments.output_names):
            title = f"Standard deviation of each column's contribution to {output}, over the data of the fit"
            parts.append(bars(title, contributions.names, spread[:, j]))
    if estimate is not None:
        for one in RegressionReport(estimate).outputs():
            deviations, of_output = one.estimate.deviations
            figures, start = one.coefficients(), int(estimate.has_intercept)
            size = float(of_output[0])
            unit = deviations[start:] / size if size > 0 else np.full(len(deviations) - start, np.nan)
            title = f"Coefficients of {one.output_names[0]}: its sds for each sd of a column, with 95 % intervals"
            values = [unit * np.asarray(figures[key])[start:] for key in ("params", "ci_lower", "ci_upper")]
            parts.append(intervals(title, one.names[start:], *values))
    return "".join(parts)


def _spread_of_contributions(moments: Moments, contributions: Contributions) -> Array:
    """Return the standard deviations `(g, k)` of the contributions of groups, over the data of the fit."""
    statistics, p = moments.statistics, len(moments.feature_names)
    factor = as_doubledouble(statistics.factor).hi[:p, :p]
    sums = np.square(np.einsum("ij,jgk->igk", factor, contributions.weights)).sum(axis=0)
    return np.sqrt(sums / float(statistics.weight.hi))


def _coefficients(model: ServableModel, manifest: Mapping[str, Any], estimate: Estimate | None) -> str:
    names = manifest["feature_names"]
    if len(names) > MOST_PARAMETERS:
        return f"<p>{len(names):,} columns: too many for a page. They are in the model's report.</p>"
    if estimate is not None:
        return summary.html_tables(RegressionReport(estimate))
    outputs = [f"output {j}" for j in range(manifest["units"])] if manifest["units"] > 1 else ["coefficient"]
    kernel = np.asarray(model.kernel)
    rows = [(name, *(number(float(value)) for value in kernel[i])) for i, name in enumerate(names)]
    if model.bias is not None:
        rows.insert(0, ("Intercept", *(number(float(value)) for value in np.asarray(model.bias))))
    return f"{_table(('', *outputs), rows)}<p>Without standard errors: see the limits below.</p>"


def _ranges(manifest: Mapping[str, Any]) -> str:
    training = manifest["training"]
    if training is None:
        return ""
    columns = [*training["features"], *training["outputs"]]
    if len(columns) > MOST_PARAMETERS:
        return f"<p>{len(columns):,} columns: their means and standard deviations are in the manifest.</p>"
    rows = []
    for column in columns:
        mean, sd = column["mean"], column["standard_deviation"]
        ends = (mean - 2 * sd, mean + 2 * sd) if mean is not None and sd is not None else (None, None)
        rows.append((column["name"], *(number(value) for value in (mean, sd, *ends))))
    return _table(("", "mean", "standard deviation", "mean - 2 sd", "mean + 2 sd"), rows)


def _limits(manifest: Mapping[str, Any], moments: Moments | None, estimate: Estimate | None) -> str:
    """Return where the model ends, as a list."""
    lines = ["Coefficients describe how the outcomes of these data go with the columns. They are no causes."]
    training = manifest["training"]
    if training is not None and "leverage_threshold" in training:
        lines.append(
            f"A row of leverage above {number(training['leverage_threshold'], 3)} is far from the data of the fit: "
            "`extrapolates` of predict_interval says so."
        )
    if estimate is None:
        lines.append("The model has no standard errors, and no intervals: it is penalised, was trained by gradient "
                     "descent, or has no degrees of freedom left.")  # fmt: skip
    else:
        lines.append("Intervals take the errors for independent, of one variance, and those of a row for normal.")
        lines += RegressionReport(estimate).notes
    if moments is None:
        lines.append("The ranges of its data are not known, so nobody can tell which rows extrapolate.")
    lines.append("Numbers that are missing or infinite, and the empty text, answer NaN.")
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>"


def _learned(preprocessor: Any) -> str:
    """Return what a formula has learned, as text; nothing for other preprocessors."""
    if not isinstance(preprocessor, TablePreprocessor):
        return ""
    lines: list[str] = []
    preprocessor.summary(lambda line: lines.append(re.sub(r"\s+$", "", str(line))))
    return f"<pre>{html.escape(chr(10).join(map(visible, lines)))}</pre>"

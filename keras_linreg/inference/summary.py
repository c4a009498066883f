"""Reports as text of at most 80 columns, and as HTML."""

import html as escaping
import math
import textwrap

WIDTH = 80
NAME_WIDTH = 24


def text(report) -> str:
    """Return the table of a report, a block an output."""
    blocks = [_block(report.output(j)) for j in range(len(report.output_names))]
    notes = [line for note in report.notes for line in _wrapped(f"* {note}")]
    return "\n".join(["\n\n".join(blocks), *notes])


def html(report) -> str:
    """Return the tables of a report for a notebook."""
    parts = []
    for j in range(len(report.output_names)):
        one = report.output(j)
        facts = "".join(
            "<tr>" + "".join(f"<th>{_escape(name)}</th><td>{_escape(value)}</td>" for name, value in pair) + "</tr>"
            for pair in _facts(one)
        )
        head, rows = _coefficients(one)
        body = "".join(
            f"<tr><th>{_escape(name)}</th>" + "".join(f"<td>{_escape(cell)}</td>" for cell in cells) + "</tr>"
            for name, cells in rows
        )
        heads = "".join(f"<th>{_escape(cell)}</th>" for cell in ("", *head))
        parts.append(
            f"<table><caption>{_escape(_title(one))}</caption><tbody>{facts}</tbody></table>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        )
    notes = "".join(f"<li>{_escape(note)}</li>" for note in report.notes)
    return "".join(parts) + (f"<ul>{notes}</ul>" if notes else "")


def text_of_t_test(test) -> str:
    """Return the table of restrictions tested one by one."""
    letter = "z" if test.df_denom is None else "t"
    head = ("value", "std err", letter, f"P>|{letter}|", *_limits(test.level))
    limits = test.conf_int()
    lines = []
    for j in range(1 if test.effect.ndim == 1 else test.effect.shape[1]):
        columns = [part if part.ndim == 1 else part[:, j] for part in (test.effect, test.sd, test.tvalue, test.pvalue)]
        ends = limits if limits.ndim == 2 else limits[:, :, j]
        rows = [
            (name, _cells(*(column[i] for column in columns), *ends[i])) for i, name in enumerate(test.restrictions)
        ]
        lines.append(_table(head, rows))
    return "\n\n".join(lines)


def text_of_wald_test(test) -> str:
    """Return restrictions tested at once, in lines."""
    df = f"({test.df_num}, {test.df_denom})" if test.distribution == "F" else f"({test.df_num})"
    lines = [f"H0: {restriction}" for restriction in test.restrictions]
    pairs = zip(_listed(test.statistic), _listed(test.pvalue), strict=True)
    return "\n".join([*lines, *(f"{test.distribution}{df} = {_number(f)}, p = {_p_value(p)}" for f, p in pairs)])


def text_of_comparison(comparison) -> str:
    """Return the comparison of two models, in lines."""
    lines = []
    parts = (comparison.fvalue, comparison.f_pvalue, comparison.lr_stat, comparison.lr_pvalue)
    for f, f_p, ratio, ratio_p in zip(*map(_listed, parts), strict=True):
        lines.append(f"F({comparison.df_diff}, {comparison.df_denom}) = {_number(f)}, p = {_p_value(f_p)}")
        lines.append(f"Likelihood ratio: chi2({comparison.df_diff}) = {_number(ratio)}, p = {_p_value(ratio_p)}")
    return "\n".join(lines)


def text_of_diagnostics(diagnostics) -> str:
    """Return the tables of diagnostics, a block an output."""
    blocks = []
    for name in diagnostics.output_names:
        one = diagnostics.output(name)
        facts = [
            (("Rows", f"{one.nobs:,}"), ("Durbin-Watson", _number(one.durbin_watson, 4))),
            (("Mean of residuals", _number(one.mean, 3)), ("Jarque-Bera", _number(one.jarque_bera, 4))),
            (("Standard deviation", _number(one.std)), ("  p-value", _p_value(one.jarque_bera_pvalue))),
            (("Skewness", _number(one.skew, 4)), *_lm("Breusch-Pagan", one.breusch_pagan)),
            (("Kurtosis (normal: 3)", _number(one.kurtosis, 4)), *_lm("White", one.white)),
        ]
        spread = _table(("Min", "1Q", "Median", "3Q", "Max"), [("Residuals", [_number(q, 4) for q in one.quantiles])])
        head = ("Cook's distance", "studentised", "leverage", "residual")
        columns = (one.cooks_distance, one.resid_studentized, one.leverage, one.residuals)
        rows = [(f"row {row}", [_number(c[i], 4) for c in columns]) for i, row in enumerate(one.rows.tolist())]
        title = shortened(f"Diagnostics of the regression of {name}", WIDTH)
        blocks.append("\n".join([text_of_facts(title, facts), spread, _table(head, rows)]))
    notes = [line for note in diagnostics.notes for line in _wrapped(f"* {note}")]
    return "\n".join(["\n\n".join(blocks), *notes])


def _lm(name: str, test) -> list[tuple[str, str]]:
    return [(f"{name} p-value", _p_value(test.lm_pvalue))] if test else []


def text_of_facts(title: str, facts: list[tuple]) -> str:
    """Return pairs of names and values, two pairs a line."""
    half = (WIDTH - 4) // 2
    lines = [title, "=" * WIDTH]
    for pair in facts:
        lines.append("    ".join(f"{name}{value:>{half - len(name)}}" for name, value in pair).rstrip())
    return "\n".join([*lines, "-" * WIDTH])


def _block(report) -> str:
    head, rows = _coefficients(report)
    return f"{text_of_facts(_title(report), _facts(report))}\n{_table(head, rows)}"


def _title(report) -> str:
    how = {"nonrobust": "", "cluster": f", clustered by {report.groups} groups", "HAC": f", HAC({report.maxlags})"}
    return shortened(f"Linear regression of {report.output_names[0]}", 50) + how.get(
        report.cov_type, f", {report.cov_type}"
    )


def _facts(report) -> list[tuple]:
    df = f" ({report.df_model}, {report.groups - 1 if report.groups else report.df_resid})"
    r_squared = "R-squared" if report.estimate.has_intercept else "R-squared (uncentred)"
    scale = math.sqrt(report.scale) if report.scale >= 0 else math.nan
    return [
        (("Rows", f"{report.nobs:,}"), (r_squared, _number(report.rsquared))),
        (
            ("Residual degrees of freedom", f"{report.df_resid:,}"),
            (f"Adjusted {r_squared}", _number(report.rsquared_adj)),
        ),
        (("Residual standard error", _number(scale)), (f"F{df}", _number(report.fvalue))),
        (("Log-likelihood", _number(report.llf, 7)), ("P-value of F", _p_value(report.f_pvalue))),
        (("AIC", _number(report.aic, 7)), ("BIC", _number(report.bic, 7))),
        (("Covariance", report.cov_type), ("Condition number", _number(report.condition_number, 3))),
    ]


def _coefficients(report) -> tuple[tuple, list]:
    letter = "t" if report.cov_type == "nonrobust" else "z"
    head = ("coef", "std err", letter, f"P>|{letter}|", *_limits(report.level), "VIF")
    estimate = report.estimate
    limits, rows = report.conf_int(), []
    each = (report.params, report.bse, report.tvalues, report.pvalues)
    for i, name in enumerate(report.names):
        if estimate.estimable[i] or estimate.is_penalised:
            vif = "" if math.isnan(report.vif[i]) else _number(report.vif[i], 3)
            cells = [*_cells(*(column[i] for column in each), *limits[i]), vif]
            cells = cells if not estimate.is_penalised else cells[:1]
        else:
            cells = ["aliased"] if estimate.dropped else [_number(report.params[i]), "n/a"]
        rows.append((name, cells))
    return head, rows


def _cells(value, error, t, p, lower, upper) -> list[str]:
    return [_number(value), _number(error, 4), _number(t, 4), _p_value(p), _number(lower, 4), _number(upper, 4)]


def _limits(level: float) -> tuple[str, str]:
    tail = (1 - level) / 2
    return f"[{tail:.3g}", f"{1 - tail:.6g}]"


def _table(head: tuple, rows: list) -> str:
    names = [shortened(name, NAME_WIDTH) for name, _ in rows]
    widths = [
        max(map(len, column)) for column in zip(head, *(_padded(cells, len(head)) for _, cells in rows), strict=True)
    ]
    first = max(map(len, names), default=0)
    room = WIDTH - first - sum(widths)
    if room < len(widths):  # names give way: figures do not
        names = [shortened(name, max(first - (len(widths) - room), 8)) for name, _ in rows]
        first = max(map(len, names))
        room = WIDTH - first - sum(widths)
    gap = max(1, min(3, room // len(widths)))
    line = "-" * WIDTH

    def row(name: str, cells) -> str:
        padded = "".join(f"{cell:>{width + gap}}" for cell, width in zip(cells, widths, strict=True))
        return f"{name:<{first}}{padded}".rstrip()

    body = [row(name, _padded(cells, len(head))) for name, (_, cells) in zip(names, rows, strict=True)]
    return "\n".join([row("", head), line, *body, line])


def _padded(cells: list, count: int) -> list:
    return cells + [""] * (count - len(cells))


def shortened(name: str, width: int) -> str:
    """Return a name of at most so many characters, the middle left out: both ends tell columns apart."""
    name = " ".join(str(name).split())
    if len(name) <= width:
        return name
    head = width // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def _number(value, digits: int = 5) -> str:
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if -4 <= power < max(digits, 6):
        return f"{value:.{max(digits - 1 - power, 0)}f}"
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _p_value(p) -> str:
    if math.isnan(p):
        return ""
    return f"{p:.4f}" if p >= 1e-3 else f"{p:.1e}".replace("e-0", "e-") if p > 0 else "0"


def _listed(values) -> list:
    return values.tolist() if hasattr(values, "tolist") else [values]


def _wrapped(note: str) -> list[str]:
    return textwrap.wrap(note, WIDTH, subsequent_indent="  ")


def _escape(value: str) -> str:
    return escaping.escape(str(value))

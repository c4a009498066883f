"""Reports as frames, and as plain objects ready for JSON."""

import math
from typing import Any

import numpy as np

SHARED = ("nobs", "df_model", "df_resid", "condition_number", "cov_type", "level", "groups", "maxlags")
FIGURES = ("rsquared", "rsquared_adj", "fvalue", "f_pvalue", "llf", "aic", "bic", "scale", "ssr")


def frame(report):
    """Return a `pandas.DataFrame`: a row a parameter; of several outputs, a row an output and parameter."""
    import pandas  # slow to import

    frames = {}
    for name in report.output_names:
        one = report.output(name) if len(report.output_names) > 1 else report
        lower, upper = one.conf_int().T
        columns = {
            "params": one.params,
            "bse": one.bse,
            "tvalues": one.tvalues,
            "pvalues": one.pvalues,
            "ci_lower": lower,
            "ci_upper": upper,
            "vif": one.vif,
        }
        frames[name] = pandas.DataFrame(columns, index=pandas.Index(report.names, name="parameter"))
    return next(iter(frames.values())) if len(frames) == 1 else pandas.concat(frames, names=["output"])


def plain(report) -> dict[str, Any]:
    """Return all figures as plain Python objects; what is not finite is `None`."""
    outputs = {}
    for name in report.output_names:
        one = report.output(name)
        outputs[name] = {
            **{key: getattr(one, key) for key in FIGURES},
            "coefficients": frame(one).to_dict(orient="index"),
            "cov_params": one.cov_params().tolist(),
        }
    shared = {key: getattr(report, key) for key in SHARED}
    return _plain({**shared, "names": report.names, "notes": report.notes, "outputs": outputs})


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value

"""What each of the user's columns contributes to a prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.inference.estimate import Estimate
from keras_linreg.utils.types import Array

if TYPE_CHECKING:
    import pandas

Groups = Sequence[tuple[str, Sequence[int]]]  # names of groups, each with its columns of the design


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Splits predictions into a baseline and what groups of columns contribute.

    With the means of the fit, the coefficients w, and the columns j of a group,

    ```python
    contribution = sum((x[j] - mean[j]) * w[j] for j in group)
    prediction = baseline + sum(contributions)
    ```

    The baseline is the prediction at the means. Where no group is an interaction of others, and the columns are
    independent, these are the Shapley values of the groups (Lundberg and Lee 2017, "A Unified Approach to Interpreting
    Model Predictions", Corollary 1). The standard error of a contribution is that of its coefficients; the means count
    as known.

    Attributes:
        names: of the g groups.
        centre: `(2, p)`: the means, and the part of them that float64 cannot hold.
        weights: `(p, g, k)`: the coefficients of the columns of each group, and 0 elsewhere.
        baseline: `(k,)`.
        factor: `(p, q)`: `sum(square((x - mean) @ factor) @ membership)` is the variance of contributions over that of
            the residuals; None if the fit has no errors.
        membership: `(q, g)`, of zeros and ones.
        deviation: `(k,)`: the standard deviations of the residuals.
    """

    names: tuple[str, ...]
    centre: Array
    weights: Array
    baseline: Array
    factor: Array | None
    membership: Array
    deviation: Array

    def of(self, x: Array) -> dict[str, Array]:
        """Return contributions `(n, g, k)`, baseline and predictions `(n, k)`, errors `(n, g, k)`, of rows `(n, p)`."""
        rows = (np.asarray(x, np.float64) - self.centre[0]) - self.centre[1]
        groups_and_units = self.weights.shape[1:]
        contributions = (rows @ self.weights.reshape(rows.shape[1], -1)).reshape(-1, *groups_and_units)
        baseline = np.broadcast_to(self.baseline, (len(rows), len(self.baseline)))
        parts = {"contributions": contributions}
        if self.factor is not None:
            variance = np.square(rows @ self.factor) @ self.membership
            parts["contribution_se"] = np.sqrt(variance)[:, :, None] * self.deviation
        return {**parts, "baseline": baseline, "predictions": baseline + contributions.sum(axis=1)}

    def frame(self, parts: dict[str, Array], labels: Any, output_names: Sequence[str]) -> pandas.DataFrame:
        """Return what `of` returned as a frame by pairs of quantity and group, and of several outputs the output."""
        import pandas  # slow to import

        columns = {}
        for quantity, values in parts.items():
            by_group = values if values.ndim == 3 else values[:, None]
            for g, group in enumerate(self.names if values.ndim == 3 else ("",)):
                for i, output in enumerate(output_names):
                    key = (quantity, group, output) if len(output_names) > 1 else (quantity, group)
                    columns[key] = by_group[:, g, i]
        names = ["quantity", "group", "output"][: 3 if len(output_names) > 1 else 2]
        frame = pandas.DataFrame(columns, index=labels)
        frame.columns = pandas.MultiIndex.from_tuples(list(columns), names=names)
        return frame


def split(
    estimate: Estimate, mean: Array, kernel: Array, baseline: Array, groups: Groups, has_errors: bool
) -> Contributions:
    """Return the contributions of groups of columns.

    Args:
        estimate: of the fit.
        mean: `(2, p)`: the means of the columns, and the part of them that float64 cannot hold.
        kernel: `(p, k)`.
        baseline: `(k,)`: the predictions at the means.
        groups: names of groups, each with its columns of the design.
        has_errors: whether the variance of the errors can be estimated.
    """
    features = len(kernel)
    weights = np.zeros((features, len(groups), kernel.shape[1]))
    factor, membership = np.zeros((features, features)), np.zeros((features, len(groups)))
    root = estimate.root[int(estimate.has_intercept) :]
    for g, (_, columns) in enumerate(groups):
        columns = list(columns)
        weights[columns, g], membership[columns, g] = kernel[columns], 1.0
        if has_errors:
            triangle = np.asarray(
                np.linalg.qr(root[columns].T, mode="r")
            ).T  # the covariance of these columns alone is its square
            factor[np.ix_(columns, columns[: triangle.shape[1]])] = triangle
    return Contributions(
        names=tuple(name for name, _ in groups),
        centre=mean,
        weights=weights,
        baseline=baseline,
        factor=factor if has_errors else None,
        membership=membership,
        deviation=np.sqrt(estimate.scale) if has_errors else np.full(kernel.shape[1], np.nan),
    )

"""Coordinates: rows of the design in an orthonormal basis, where leverage is a sum of squares."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """Maps rows of the p features to rows of an orthonormal basis of the design, of m coordinates.

    ```python
    z = concatenate([[level], (x - centre)[kept] @ inverse])  # level: with an intercept
    ```

    Over the rows of the fit, the weighted sum of `outer(z, z)` is the identity.

    Attributes:
        level: the root of one over the sum of the weights, `None` without an intercept.
        centre: `(2, p)`: the means, and the part of them that float64 cannot hold; zeros without an intercept.
        kept: mask `(p,)` of the columns that do not depend on others.
        inverse: `(r, r)`, upper triangular: the inverse of the factor of the kept columns.
        shares: `(r, d)`: each of the d other columns as a combination of the kept ones, centred.
        tolerance: the part of a column's size that may be left of it if it depends on others.
        size: `(d,)`: the size of each column that depends on others.
    """

    level: float | None
    centre: np.ndarray
    kept: np.ndarray
    inverse: np.ndarray
    shares: np.ndarray
    tolerance: float
    size: np.ndarray

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the coordinates `(n, m)` of rows `(n, p)`."""
        return self.of_centred(self.centred(x))

    def of_centred(self, centred: np.ndarray) -> np.ndarray:
        """Return the coordinates `(n, m)` of rows less the means, `(n, p)`."""
        start = 0 if self.level is None else 1
        z = np.empty((len(centred), start + len(self.inverse)))
        if self.level is not None:
            z[:, 0] = self.level
        columns = slice(None) if self.kept.all() else self.kept
        np.matmul(centred[:, columns], self.inverse, out=z[:, start:])
        return z

    def centred(self, x: np.ndarray) -> np.ndarray:
        """Return the rows less the means, in float64."""
        centred = np.subtract(x, self.centre[0], dtype=np.float64)
        return centred - self.centre[1] if self.centre[1].any() else centred

    def keep_dependence(self, x: np.ndarray) -> np.ndarray:
        """Return the mask `(n,)` of rows in which the columns depend on each other as they do in the data."""
        if self.kept.all():
            return np.ones(len(x), bool)
        centred = self.centred(x)
        rest = np.abs(centred[:, ~self.kept] - centred[:, self.kept] @ self.shares)
        reach = np.abs(centred[:, self.kept]) @ np.abs(self.shares) + self.size
        return (rest <= 100 * self.tolerance * reach).all(axis=1)

"""FoldMoments: the moments of each fold of the rows, from one pass; penalties are chosen from them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from keras_linreg.data import Reader, checked_names, default_names, default_output_names, preprocessing
from keras_linreg.moments import folds_file
from keras_linreg.moments.checks import check_name_of_bias, naming_columns
from keras_linreg.moments.cross_validation import Folds, Settings, search
from keras_linreg.moments.dealing import Dealer, check_folds
from keras_linreg.moments.fold_accumulator import FoldAccumulator
from keras_linreg.moments.moments import Moments
from keras_linreg.moments.path_arguments import check_factors, check_grid, check_l1_ratio
from keras_linreg.moments.regularization_path import RegularizationPath
from keras_linreg.moments.ridge_path import check_ridge_grid, leave_one_out, ridge
from keras_linreg.moments.sparse_rows import batches_to_reduce
from keras_linreg.moments.user_folds import check_dealt, dealer_of, labels_to_read, naming_folds
from keras_linreg.utils.arguments import check_count, check_flag
from keras_linreg.utils.files import path_text, replace_file
from keras_linreg.utils.types import Data, PathLike
from keras_linreg.utils.warnings import warn_user

LARGEST_GAP = 1e-10


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class FoldMoments:
    """The moments of all rows, and of each of K folds of them: all that the choice of a penalty needs.

    Rows are dealt to folds while one pass reads them. What all folds but one say is a difference of moments, and the
    error on a fold follows from its moments. So cross-validated paths need no second look at the data: they can be
    repeated with another rule, another `l1_ratio`, or some of the columns when the data are gone.

    `a + b` are the fold moments of the rows of both: fold k of the one and fold k of the other are fold k.

    Attributes:
        moments: of all rows.
        folds: of each fold, K of them.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 5))
    >>> y = 2 * x[:, 0] - x[:, 3] + rng.normal(size=200)
    >>> path = klr.FoldMoments.from_data(x, y, folds=5).elastic_net()
    >>> path.df[path.index_1se]
    np.int64(2)
    """

    moments: Moments
    folds: tuple[Moments, ...]

    @classmethod
    def from_data(
        cls,
        x: Data,
        y: Data = None,
        folds: Any = 10,
        deal: str = "runs",
        groups: Data = None,
        seed: int = 0,
        sample_weight: Data = None,
        feature_names: Iterable[str] | None = None,
        missing: str = "error",
        preprocessor: Any = None,
        first_row: int = 0,
    ) -> "FoldMoments":
        """Return the fold moments of arrays, a table, a dict of columns, or a stream of batches, read once.

        Args:
            x, y, sample_weight, feature_names, missing, preprocessor: as in `Moments.from_data`.
            folds: how many folds, at least 2; or the fold of each row, integers `(n,)` from 0 to K - 1 without a gap;
                or the name of a column of the table x that holds them.
            deal: `"runs"`: folds are runs of consecutive rows, short ones first, up to 4096 rows. `"stripes"`: every
                K-th row. `"random"`: a draw for each row. The fold of a row depends on its number and on `seed` alone:
                not on batches, and not on threads.
            groups: a label for each row `(n,)`, an iterable of batches of labels, or the name of a column of the
                table. Rows of one label stay in one fold. Parts of the data that are to be added must agree on the
                fold of a label: give them `folds` as integers instead.
            seed: of the draws, an integer.
            first_row: the number of the first row. Parts of the data, each with its own, are dealt as the whole.

        Raises:
            ValueError: data that cannot be fitted; fewer than 2 folds; fewer rows, or groups, than folds.
            MemoryError: the columns are too many for their cross-products.
        """
        preprocessing.check(preprocessor)
        check_folds(folds, deal, seed)
        check_count("first_row", first_row, least=0, optional=False)
        reader = Reader(
            None, "float64", checked_names(feature_names), preprocessor, missing=missing, drops_in_graph=False
        )
        with naming_folds(folds):
            prepared = reader.prepare(x, y, sample_weight, fitting=True, groups=labels_to_read(folds, groups))
        dealer = dealer_of(folds, deal, seed, prepared, first_row)
        accumulator = None
        for batch in batches_to_reduce(prepared):
            if accumulator is None:
                features = tuple(reader.schema.feature_names if reader.schema else default_names(batch[0].shape[1]))
                outputs = prepared.output_names or default_output_names(batch[1].shape[1])
                accumulator = FoldAccumulator(len(features), len(outputs), dealer)
            with naming_columns(features, outputs, prepared):
                accumulator.update(*batch)
        if accumulator is None:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        with naming_columns(features, outputs, prepared):
            missing_rows = prepared.missing_rows(accumulator.rows)
            statistics = accumulator.result()
            total = Moments(features, outputs, accumulator.rows, accumulator.coarsest, statistics, missing_rows)
            return cls.of(accumulator, total, dealer)

    @classmethod
    def of(cls, accumulator: FoldAccumulator, total: Moments, dealer: Dealer | None) -> "FoldMoments":
        """Return the fold moments of the batches that an accumulator took.

        Args:
            accumulator: of the batches.
            total: the moments of all their rows.
            dealer: that dealt all rows; None if they are a part of the rows, where a fold may have none.

        Raises:
            ValueError: a fold has no rows, or the user's folds are of more rows.
        """
        names, rows = (total.feature_names, total.output_names), accumulator.rows_of_folds
        if dealer is not None:
            check_dealt(dealer, rows)
        statistics = accumulator.result_of_folds()
        folds = [Moments(*names, int(n), total.dtype, one) for n, one in zip(rows, statistics, strict=True)]
        return cls(total, tuple(folds))

    def __repr__(self) -> str:
        return f"<FoldMoments of {self.moments.rows} rows in {len(self.folds)} folds: {self.moments!r}>"

    def __add__(self, other: "FoldMoments") -> "FoldMoments":
        """Return the fold moments of the rows of both; columns are matched by name.

        Raises:
            ValueError: they have other columns, or another number of folds.
        """
        if not isinstance(other, FoldMoments):
            return NotImplemented
        if len(self.folds) != len(other.folds):
            raise ValueError(
                "Fold moments can be added where their numbers of folds are the same. "
                f"Received: {len(self.folds)} and {len(other.folds)} folds."
            )
        folds = tuple(a + b for a, b in zip(self.folds, other.folds, strict=True))
        return FoldMoments(self.moments + other.moments, folds)

    def __radd__(self, other: object) -> Any:
        """Let `sum` start from its 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def select(self, features: Iterable[str] | None = None, outputs: Iterable[str] | None = None) -> "FoldMoments":
        """Return the fold moments of some of the columns, as `Moments.select` does."""
        features = features if features is None or isinstance(features, str) else list(features)
        outputs = outputs if outputs is None or isinstance(outputs, str) else list(outputs)
        return FoldMoments(
            self.moments.select(features, outputs), tuple(fold.select(features, outputs) for fold in self.folds)
        )

    def elastic_net(
        self,
        l1_ratio: Any = 1.0,
        n_penalties: int = 100,
        eps: float = 1e-3,
        standardize: bool = True,
        penalty_factor: Any = None,
        positive: bool = False,
        use_bias: bool = True,
        common: bool = False,
        l1: Any = None,
    ) -> RegularizationPath:
        """Return the path of the lasso or elastic net with its cross-validated errors.

        Args:
            l1_ratio: in (0, 1], scikit-learn's; 1 is the lasso. Several values are searched.
            n_penalties: L, how many penalties: from the smallest at which all coefficients are zero, down to `eps`
                times as much.
            eps: in (0, 1).
            standardize: whether column j pays by its standard deviation, so that units do not matter.
            penalty_factor: a number for each column, in order or a dict by name: 0 for a column that pays nothing.
                They are not rescaled.
            positive: whether no coefficient may be negative.
            use_bias: whether to fit an intercept.
            common: whether several outputs share one path of penalties, and one choice.
            l1: the penalties themselves, in place of `n_penalties` and `eps`.

        Raises:
            ValueError: on an argument that is none of the above; a fold without weight.

        Warns:
            UserWarning: a solution is off the conditions of the minimum.
        """
        ratios, grid = check_l1_ratio(l1_ratio), check_grid(n_penalties, eps, l1)
        settings = self.settings(standardize, penalty_factor, positive, use_bias, common)
        path = search(self.training(settings.use_bias), ratios, grid, settings)
        if not (path.kkt_gap <= LARGEST_GAP).all():
            warn_user(f"The path is solved to {path.kkt_gap.max():.0e} of the largest gradient alone.")
        return path

    def ridge(
        self,
        l2: Any = None,
        n_penalties: int = 100,
        standardize: bool = True,
        penalty_factor: Any = None,
        use_bias: bool = True,
        data: Data = None,
    ) -> RegularizationPath:
        """Return the ridge path with its cross-validated errors, generalised cross-validation and degrees of freedom.

        Several outputs share the path. All folds are fitted with the same sum of penalties, as scikit-learn's `RidgeCV`
        does: `path.alphas` is `rows * units * l2`.

        Args:
            l2: the penalties; None for `n_penalties` of them that the data tell.
            n_penalties, standardize, use_bias: as in `elastic_net`.
            penalty_factor: as in `elastic_net`; none may be 0.
            data: `(x, y)`, `(x, y, sample_weight)` or a stream of these rows, for `path.loo`: the errors of rows on
                fits without them, exactly. They are read once, in bounded memory.

        Raises:
            ValueError: on an argument that is none of the above; other data.
        """
        grid = check_ridge_grid(l2)
        check_grid(n_penalties, 0.5)
        settings = self.settings(standardize, penalty_factor, False, use_bias, True)
        if not settings.factors.all():
            raise ValueError(f"`penalty_factor` of a ridge path must be positive. Received: {penalty_factor!r}.")
        training = self.training(settings.use_bias)
        path = ridge(training, grid, int(n_penalties), settings)
        if data is None:
            return path
        names = self.moments.feature_names
        reader = Reader(
            len(self.moments.output_names), "float64", None if names == default_names(len(names)) else names
        )
        batches = reader.prepare_packed(data, "data").dense_batches()
        return dataclasses.replace(path, loo=leave_one_out(training, path, batches, settings))

    def save(self, filepath: PathLike) -> None:
        """Write the fold moments to a file, without pickles; it is there whole or not at all."""
        with replace_file(path_text("filepath", filepath)) as unfinished, open(unfinished, "wb") as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, filepath: PathLike) -> "FoldMoments":
        """Return the fold moments that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not one of fold moments.
        """
        with open(path_text("filepath", filepath), "rb") as file:
            data = file.read()
        try:
            return cls(*folds_file.from_bytes(data))
        except ValueError as error:
            raise ValueError(
                f"`filepath` must be a file that FoldMoments.save wrote. Received: {filepath} ({error})."
            ) from None

    def to_bytes(self) -> bytes:
        """Return what `save` writes."""
        return folds_file.to_bytes(self.moments, self.folds)

    @classmethod
    def from_bytes(cls, data: bytes) -> "FoldMoments":
        """Return the fold moments that `to_bytes` returned.

        Raises:
            ValueError: the bytes are something else.
        """
        try:
            return cls(*folds_file.from_bytes(data))
        except ValueError as error:
            raise ValueError(f"`data` must be bytes of FoldMoments.to_bytes. Received: others ({error}).") from None

    def settings(self, standardize: Any, penalty_factor: Any, positive: Any, use_bias: Any, common: Any) -> Settings:
        """Return how coefficients pay, checked.

        Raises:
            ValueError: one of the arguments is none.
        """
        factors = check_factors(penalty_factor, self.moments.feature_names)
        flags = {"standardize": standardize, "positive": positive, "use_bias": use_bias, "common": common}
        return Settings(factors=factors, **{name: check_flag(name, value) for name, value in flags.items()})

    def training(self, use_bias: bool) -> Folds:
        """Return the training sets of the folds.

        Raises:
            ValueError: a fold has no row with a weight; there is no column; a column has the name of the bias.
        """
        check_name_of_bias(self.moments.feature_names, use_bias)
        if not self.moments.feature_names:
            raise ValueError("A path needs at least one column. Received: no features.")
        empty = [k for k, fold in enumerate(self.folds) if not fold.nobs]
        if empty:
            raise ValueError(f"Each fold must have a row whose weight is not zero. Received: none in folds {empty}.")
        return Folds(self.moments, self.folds, use_bias)

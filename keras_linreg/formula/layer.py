"""Formula: R's formulas as a Keras preprocessor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data.kinds import is_dataset, is_py_dataset, is_stream
from keras_linreg.data.missing import find
from keras_linreg.data.packing import unpack_batch
from keras_linreg.data.preprocessing import float32_spoils
from keras_linreg.data.schema import Column
from keras_linreg.data.table_preprocessor import TableInputs, TablePreprocessor, forgetting_on_error
from keras_linreg.data.tables import Table, as_table
from keras_linreg.formula.expressions import Expression
from keras_linreg.formula.parsing import DOT, ParsedFormula, parse
from keras_linreg.formula.structure import Structure, factor_of, kinds_of
from keras_linreg.utils.types import Data


@keras.saving.register_keras_serializable(package="keras_linreg")
class Formula(keras.Layer, TablePreprocessor):
    """R's formula as a preprocessor: from the columns of a table to the design, in memory, in streams and when served.

    ```python
    klr.ExactLinearRegression(preprocessor=klr.Formula("log(price) ~ area * C(city) + I(age ** 2)")).fit(table)
    ```

    The columns of the design, their order and their names are those of statsmodels' formulas (patsy): text, booleans
    and categories are factors with treatment contrasts, `C(year)` makes a factor of numbers. The left side may be left
    out: then `fit` takes y as usual. Columns that the formula does not name are ignored.

    - `a + b`, `a:b`, `a * b`, `a / b`, `(a + b) ** 2` or `^ 2`, `- a`, `0` or `- 1` for no intercept, `.` for all
      other columns, `` `quoted names` `` or `Q("quoted names")`.
    - `I(a ** 2 + b)`; `log`, `log1p`, `log10`, `exp`, `sqrt`, `abs`, also spelled `np.log`.
    - `C(a)`, `C(a, Treatment("level"))`, `C(a, Sum)`; `C(a, unseen="level")` takes new levels for a known one.
    - `center(x)`, `scale(x)`, `poly(x, degree)`, `bs(x, df=4)`, `bs(x, knots=[1, 2], degree=3, extrapolate=True)`.

    Levels, means and knots are learned from the first data that a model is fitted on, or by `adapt`; a later fit keeps
    them. Levels are those of the rows that are fitted: categories in their declared order, others sorted.

    Args:
        formula: the text.
        **kwargs: `name`, as for every Keras layer.

    Raises:
        ValueError: it is no formula; the error names the term, and lists the grammar.

    Example:
    >>> import keras_linreg as klr
    >>> table = {"y": [1.0, 2.0, 4.0, 7.0], "a": [1.0, 2.0, 3.0, 4.0], "g": ["u", "v", "u", "v"]}
    >>> model = klr.ExactLinearRegression(preprocessor=klr.Formula("y ~ a + g"))
    >>> history = model.fit(table, verbose=0)
    >>> model.report().params.round(2).to_dict()
    {'Intercept': -1.5, 'g[T.v]': 0.0, 'a': 2.0}
    """

    def __init__(self, formula: str, state: Mapping[str, Any] | None = None, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float64", "autocast": False})
        self.tables: list[Any] = []  # an attribute, so that a SavedModel holds them
        self.formula = formula
        self._structure: Structure | None = None
        if state is None:
            self._parsed = parse(formula)
            for code in _codes(self._parsed):
                factor_of(Expression(code))  # refuses code that is not in the grammar
        else:
            self._restore(state)
        self.built = True

    def __repr__(self) -> str:
        return f"<Formula {self.formula!r}{'' if self.is_adapted else ', not adapted'}>"

    # Learning

    def adapt(self, data: Data) -> None:
        """Learn levels, means and knots; rows without a value in a column that the formula names are left out.

        Args:
            data: a table, dict of columns, or a stream of batches: of tables, or of tuples that begin with one. A
                stream must be one that can be read again if the formula has a transform of a transform.

        Raises:
            ValueError: the data have no such columns, or a term cannot be learned from them.
        """
        before = self._parsed, self._structure
        self.forget()
        try:
            self.learn(lambda: self._frames(data))
        except BaseException:
            self._parsed, self._structure = before
            raise

    def _frames(self, data: Data) -> Iterator[TableInputs]:
        """Yield the rows of data that have all values."""
        batches = data if is_stream(data) else [data]
        if is_py_dataset(data):
            batches = (data[i] for i in range(data.num_batches))
        for batch in batches:
            x = unpack_batch(batch)[0] if is_stream(data) else batch
            if is_dataset(data):
                x = {name: column.numpy() for name, column in x.items()} if isinstance(x, Mapping) else x
            table = as_table(x, "data")
            if table is None:
                raise ValueError(f"`data` must be a table, or batches of tables. Received: {type(x).__name__}.")
            has_target = self._parsed.response is not None and set(self._response_columns) <= set(table.columns)
            frame = self.read(table, with_target=has_target)
            found = find(frame.all_masks())
            yield frame if found is None else frame.keep(~found.rows)

    def learn(self, batches: Callable[[], Iterable[TableInputs]]) -> None:
        """Learn from rows of this formula, `read` and without missing values; it may read them several times."""
        with forgetting_on_error(self):
            frames: Any = batches
            if self._structure is None:
                first = next(iter(frames()), None)  # tells the kinds of the columns
                if first is None:
                    raise ValueError("`data` must hold at least one batch. Received: none.")
            assert self._structure is not None
            self._structure.learn(frames)
            self.tables = self._structure.tables()

    def forget(self) -> None:
        """Be as before anything was learned."""
        self._structure = None
        self._parsed = parse(self.formula)

    def read(self, table: Table, with_target: bool) -> TableInputs:
        """Return the rows of a table."""
        if self._structure is None:
            parsed = self._parsed
            if parsed.has_dot:
                others = [name for name in table.columns if name not in self._response_columns]
                parsed = parse(self.formula, others)
            known = [
                column for code in _codes(parsed) for column in Expression(code).columns if column in table.columns
            ]
            needed = [column for term in parsed.terms for code in term for column in Expression(code).columns]
            kinds, declared = kinds_of(table, dict.fromkeys([*needed, *known]))
            self._structure = Structure(parsed, kinds, declared)
        return self._structure.read(table, with_target)

    @property
    def _response_columns(self) -> tuple[str, ...]:
        return () if self._parsed.response is None else Expression(self._parsed.response).columns

    # What a model asks

    @property
    def is_adapted(self) -> bool:
        """Whether it has learned."""
        return self._structure is not None and self._structure.plan is not None

    @property
    def has_intercept(self) -> bool:
        """Whether the formula has an intercept."""
        return self._parsed.has_intercept

    @property
    def response_name(self) -> str | None:
        """The left side, such as "log(price)"; None without one."""
        return None if self._parsed.response is None else Expression(self._parsed.response).name

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns that the formula names, those of the left side too; () while `.` stands for unknown ones."""
        parsed = self._parsed if self._structure is None else self._structure.parsed
        if parsed.has_dot:
            return ()
        return tuple(dict.fromkeys(column for code in _codes(parsed) for column in Expression(code).columns))

    @property
    def spoiled_columns(self) -> tuple[str, ...]:
        """The columns of numbers that float32 would spoil: neighbouring numbers lie too far apart."""
        spread = self.structure.spread
        means, deviations = np.array(list(spread.values())).reshape(-1, 2).T
        return tuple(np.array(list(spread), object)[float32_spoils(means, deviations)])

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that predictions need, with the dtypes of a served graph."""
        return self.structure.inputs

    @property
    def design_names(self) -> tuple[str, ...]:
        """The names of the columns of the design, as statsmodels has them."""
        plan = self.structure.plan
        assert plan is not None
        return plan.names

    @property
    def design_groups(self) -> list[tuple[str, list[int]]]:
        """The columns of the user, each with the design's columns that come of it, by number."""
        plan = self.structure.plan
        assert plan is not None
        return plan.groups

    def graph_design(self, columns: Mapping[str, tf.Tensor], checks: bool) -> tf.Tensor:
        """Return the design of a batch, float64; a row without a value is NaN."""
        return self.structure.graph_design(columns, checks, refuses_missing=False)

    def graph_target(self, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the left side of a batch, float64 `[batch, 1]`."""
        return self.structure.graph_target(columns)

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the design `(n, p)` of columns `(n,)`, as a server computes it.

        A missing number makes a row of NaN. A missing category, or one that was not seen, is an error.
        """
        return self.structure.graph_design(inputs, checks=False, refuses_missing=True)

    @property
    def structure(self) -> Structure:
        """The factors, and the plan of the design, after it has learned."""
        if self._structure is None or self._structure.plan is None:
            raise ValueError(f"The formula must learn from data first: call `adapt(data)`, or fit. Received: {self!r}.")
        return self._structure

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print the formula with what it has learned: levels, means, knots, and the columns of the design."""
        print_fn(self.formula)
        if not self.is_adapted:
            print_fn("  not adapted yet")
            return
        structure = self.structure
        for factor in structure.factors.values():
            described = factor.describe()
            print_fn(f"  {factor.name}: {described}" if described else f"  {factor.name}")
        names = self.design_names
        print_fn(f"  {len(names)} columns{' and an intercept' * self.has_intercept}: {', '.join(names)}")

    # Files

    def get_config(self) -> dict[str, Any]:
        """Return the formula, and what it has learned."""
        return {**super().get_config(), "formula": self.formula, "state": self._state()}

    def _state(self) -> dict[str, Any] | None:
        if not self.is_adapted:
            return None
        structure, parsed = self.structure, self.structure.parsed
        return {
            "response": parsed.response,
            "terms": [list(term) for term in parsed.terms],
            "has_intercept": parsed.has_intercept,
            "kinds": structure.kinds,
            "declared": sorted(structure.declared),
            "spread": {name: list(pair) for name, pair in structure.spread.items()},
            "factors": {code: factor.state() for code, factor in structure.factors.items()},
            "transforms_of_response": None if structure.response is None else structure.response.state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take what `_state` returned; formulaic is not needed."""
        terms = tuple(tuple(term) for term in state["terms"])
        self._parsed = ParsedFormula(state["response"], terms, bool(state["has_intercept"]))
        self._structure = Structure(self._parsed, state["kinds"], state["declared"])
        for code, factor in self._structure.factors.items():
            factor.set_state(state["factors"][code])
        if self._structure.response is not None:
            self._structure.response.set_state(state["transforms_of_response"])
        self._structure.spread = {name: (mean, deviation) for name, (mean, deviation) in state["spread"].items()}
        self._structure.make_plan()
        self.tables = self._structure.tables()


def _codes(parsed: ParsedFormula) -> Iterator[str]:
    """Yield the codes of the factors and of the response, but for `.`."""
    if parsed.response is not None:
        yield parsed.response
    for term in parsed.terms:
        yield from (code for code in term if code != DOT)

"""Clustered errors: the scores of a group are added, wherever its rows lie, before they are multiplied.

Each partition sends one score a group. Spark brings the scores of some groups together by a hash of the label, a bucket
at a time; there they are added, group by group, in the order of the partitions. Of a bucket one matrix travels on.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.sandwich import ClusterMeat, clustered_meat, sum_of_squares
from keras_linreg.inference.second_pass import SameRowsCheck, accumulate_blocks
from keras_linreg.spark.fit import PartitionReader, arrays_of, pack, sums_of, unpack
from keras_linreg.spark.frame import selected
from keras_linreg.spark.partitions import MESSAGE, PartitionTask, in_order, message_batch
from keras_linreg.utils.types import Array, Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BUCKETS = 64
SCORE, MEAT = "score", "meat"  # kinds of messages
SENT_AT_ONCE = 10_000  # groups
UNHASHABLE = ("array", "map", "struct", "variant", "vector", "matrix")


def cluster_meat(estimate: Estimate, reader: PartitionReader, df: DataFrame, groups: str) -> tuple[Array, int]:
    """Return the meat `(m, m, k)` of clustered errors, and the number of groups.

    Args:
        estimate: of the fit.
        reader: of its rows.
        df: has them.
        groups: the name of the column of labels.

    Raises:
        ValueError: the column is not there, or a row has no label; the rows are not those of the fit; there are fewer
            than two groups.
    """
    from pyspark.sql import functions as F

    if df.columns.count(groups) != 1:
        raise ValueError(f"`groups` must be a column of `df`, {df.columns}. Received: {groups!r}.")
    kind = df.schema.fields[df.columns.index(groups)].dataType
    if kind.typeName() in UNHASHABLE or kind.simpleString() in UNHASHABLE:
        raise ValueError(f"`groups` must be a column of text, numbers or dates. Received: {kind.simpleString()}.")
    names = list(dict.fromkeys([*reader.names, groups]))
    scores = selected(df, names).mapInArrow(
        GroupScores(names, estimate, reader, groups), f"{MESSAGE}, number int, label string"
    )
    is_score = F.col("kind") == SCORE
    bucket = F.when(is_score, F.pmod(F.xxhash64("label"), F.lit(BUCKETS))).otherwise(-1 - F.col("part"))
    shape = estimate.rank, len(estimate.ssr)
    messages = scores.groupBy(bucket.cast("int")).applyInArrow(
        lambda key, table: add_scores(shape, key, table), MESSAGE
    )
    check, squares, count = SameRowsCheck(estimate), np.zeros((shape[0], *shape)), 0
    for message in in_order(messages):
        arrays = unpack(message.data)
        if message.kind == MEAT:
            squares, count = squares + arrays["squares"], count + int(arrays["groups"])
        else:
            check.add(sums_of(arrays))
    check.refuse_other_rows()
    return clustered_meat(estimate, count, squares), count


@dataclasses.dataclass(frozen=True)
class GroupScores:
    """Runs on a worker: from the record batches of a partition to a score a group, and the sums that compare rows.

    Attributes:
        names: of the columns.
        estimate: of the fit.
        reader: of its rows.
        groups: the name of the column of labels.
    """

    names: list[str]
    estimate: Estimate
    reader: PartitionReader
    groups: str

    def __call__(self, batches: Any) -> Iterator[Any]:
        """Yield a message of the sums, and one a group with its label."""
        import pyarrow

        labels, codes, check = Labels(), collections.deque[Array](), SameRowsCheck(self.estimate)
        meat = ClusterMeat(self.estimate, (codes.popleft() for _ in itertools.count()))

        def work(named: Iterator[Any], part: int) -> bytes:
            def read() -> Iterator[Batch]:
                for rows in self.reader.rows(named, lambda batch: labels.codes(batch.column(self.groups))):
                    codes.append(labelled(np.asarray(rows.groups)))
                    yield arrays_of(rows)

            accumulate_blocks(self.estimate, read(), [check, meat])
            return pack(check.total._asdict())

        for batch in PartitionTask(self.names, work)(batches):
            yield _with_label(batch, [0], [None])
            part = batch.column(0)[0].as_py()
        numbers, scores = meat.group_scores if not batch.column(2)[0].is_valid else ((), ())
        for start in range(0, len(numbers), SENT_AT_ONCE):
            some = slice(start, start + SENT_AT_ONCE)
            texts = [labels.texts[number] for number in numbers[some]]
            data = pyarrow.array([score.tobytes() for score in scores[some]], pyarrow.binary())
            yield _with_label(message_batch(part, data, kind=SCORE), list(range(start, start + len(texts))), texts)


class Labels:
    """Numbers the labels of groups, in the order in which they appear.

    Attributes:
        texts: a text for each label, which differs from that of any other label of the column.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[Any, int] = {}

    def codes(self, column: Any) -> Array:
        """Return the numbers `(n,)` of the labels of a column of Arrow, -1 where there is none."""
        encoded = column.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        known = [value for value in values if value == value]  # NaN is not itself
        for value in known:
            if value not in self._codes:
                self._codes[value] = len(self._codes)
                self.texts.append(repr(value + 0.0 if isinstance(value, float) else value))  # -0.0 is 0.0
        codes = [self._codes[value] if value == value else -1 for value in values]
        return np.array([*codes, -1], int)[np.asarray(encoded.indices.fill_null(len(codes)))]


def labelled(codes: Array) -> Array:
    """Return the numbers of labels.

    Raises:
        ValueError: a row has no label; rows that were left out do not count.
    """
    if (codes < 0).any():
        raise ValueError("`groups` must have a label for each row. Received: missing values.")
    return codes


def add_scores(shape: tuple[int, int], bucket: Any, table: Any) -> Any:
    """Run on a worker: return a message, a table of one row: the sum of the squared scores of the groups of a bucket.

    Args:
        shape: m and k, of a score.
        bucket: its number, a tuple of one scalar of Arrow.
        table: of the messages with the scores. Any other message goes on as it is.
    """
    import pyarrow

    if table.column("kind")[0].as_py() != SCORE:
        return table.select(list(range(len(MESSAGE.split(",")))))
    table = table.sort_by([("part", "ascending"), ("number", "ascending")])
    values = np.frombuffer(b"".join(table.column("data").to_pylist())).reshape(-1, *shape)
    encoded = table.column("label").combine_chunks().dictionary_encode()
    sums = np.zeros((len(encoded.dictionary), *shape))
    np.add.at(sums, np.asarray(encoded.indices), values)
    data = pack({"squares": sum_of_squares(sums), "groups": len(sums)})
    batch = message_batch(bucket[0].as_py(), pyarrow.array([data], pyarrow.binary()), kind=MEAT)
    return pyarrow.Table.from_batches([batch])


def _with_label(batch: Any, numbers: list[int], labels: list[str | None]) -> Any:
    """Return a batch of messages with the places of groups in their partition, and labels."""
    import pyarrow

    columns = [*batch.columns, pyarrow.array(numbers, pyarrow.int32()), pyarrow.array(labels, pyarrow.string())]
    return pyarrow.RecordBatch.from_arrays(columns, names=[*batch.schema.names, "number", "label"])

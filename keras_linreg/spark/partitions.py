"""Work on each partition where its rows are: one message comes back of each, and messages have an order.

A worker imports this file. It needs keras_linreg with NumPy, SciPy and pyarrow, and loads no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_linreg.utils.threads import limit_threads

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MESSAGE = "part int, data binary, error string, kind string"
ERRORS: dict[str, type[Exception]] = {"ValueError": ValueError, "MemoryError": MemoryError}
FAN_IN = 16  # messages that are merged into one
LEVELS = 2  # of merging: 10,000 partitions bring 40 messages to the driver
Work = Callable[[Iterator[Any], int], "bytes | None"]


class Message(NamedTuple):
    """What came back of a partition: its number, the bytes, and what they are if a stage sends several things."""

    part: int
    data: bytes
    kind: str | None = None


@dataclasses.dataclass(frozen=True)
class PartitionTask:
    """Runs on a worker: from the record batches of a partition to one message.

    An error that the user can mend travels as a message. So a bad cell does not cost three more attempts of the task,
    and its text is not buried in a stack trace.

    Attributes:
        names: of the columns, as the user has them.
        work: returns the bytes of the message, or None for none.
    """

    names: Sequence[str]
    work: Work

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the message, a record batch of one row."""
        import pyarrow
        from pyspark import TaskContext

        task = TaskContext.get()
        part, threads = (0, 1) if task is None else (task.partitionId(), max(1, task.cpus()))
        unread = iter(batches)
        named = (pyarrow.RecordBatch.from_arrays(batch.columns, names=list(self.names)) for batch in unread)
        try:
            with limit_threads(threads):
                data = self.work(named, part)
        except (ValueError, MemoryError) as error:
            for _ in unread:  # Spark waits until all is read
                pass
            kind = "MemoryError" if isinstance(error, MemoryError) else "ValueError"
            yield _error(part, f"Partition {part}: {error}", kind)
        else:
            if data is not None:
                yield message_batch(part, pyarrow.array([data], pyarrow.binary()))


def merge_messages(merge: Callable[[list[bytes]], bytes], table: Any) -> Any:
    """Run on a worker: return one message, a table of one row, for those of neighbouring partitions.

    Args:
        merge: returns the bytes of several messages in their order as those of one.
        table: of the messages. An error goes on alone.
    """
    import pyarrow

    rows = sorted(table.to_pylist(), key=lambda row: row["part"])
    bad = [row for row in rows if row["error"] is not None]
    part = rows[0]["part"] // FAN_IN
    if bad:
        return pyarrow.Table.from_batches([_error(part, bad[0]["error"], bad[0]["kind"])])
    with limit_threads(1):
        data = merge([row["data"] for row in rows])
    return pyarrow.Table.from_batches([message_batch(part, pyarrow.array([data], pyarrow.binary()))])


def run(
    frame: DataFrame,
    names: Sequence[str],
    work: Work,
    merge: Callable[[list[bytes]], bytes] | None = None,
) -> list[Message]:
    """Do some work on each partition, and return the messages in the order of the partitions.

    Args:
        frame: the columns.
        names: of them, for the work.
        work: as in `PartitionTask`.
        merge: if messages are large: merges those of neighbouring partitions on the workers before they travel.

    Raises:
        ValueError, MemoryError: of the first partition where the work raised one.
    """
    from pyspark.sql import functions as F

    messages = frame.mapInArrow(PartitionTask(tuple(names), work), MESSAGE)
    if merge is not None:
        for _ in range(LEVELS):
            group = F.floor(F.col("part") / F.lit(FAN_IN)).cast("int")
            messages = messages.groupBy(group).applyInArrow(lambda table: merge_messages(merge, table), MESSAGE)
    return in_order(messages)


def in_order(messages: DataFrame) -> list[Message]:
    """Return messages in the order of the partitions.

    Raises:
        ValueError, MemoryError: the first of them is an error.
    """
    rows = sorted(messages.collect(), key=lambda row: row["part"])
    for row in rows:
        if row["error"] is not None:
            raise ERRORS[row["kind"]](row["error"])
    return [Message(row["part"], bytes(row["data"]), row["kind"]) for row in rows]


def message_batch(part: int, data: Any, error: str | None = None, kind: str | None = None) -> Any:
    """Return messages of a partition as a record batch: data is an array of binaries, and the rest is the same."""
    import pyarrow

    columns = [
        pyarrow.array([part] * len(data), pyarrow.int32()),
        data,
        pyarrow.array([error] * len(data), pyarrow.string()),
        pyarrow.array([kind] * len(data), pyarrow.string()),
    ]
    return pyarrow.RecordBatch.from_arrays(columns, names=["part", "data", "error", "kind"])


def _error(part: int, text: str, kind: str) -> Any:
    import pyarrow

    return message_batch(part, pyarrow.nulls(1, pyarrow.binary()), text, kind)

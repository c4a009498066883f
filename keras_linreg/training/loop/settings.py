"""LoopSettings: when a model runs in blocks of steps, and how large the blocks are."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class LoopSettings:
    """When a model runs in blocks of steps, and how large the blocks are.

    A model has them as `model.loop_settings`. The results do not depend on them, but for rounding.

    Attributes:
        enabled: whether to run blocks at all; if not, Keras runs every step.
        compile_after_seconds: a block is compiled once the fits so far take so many seconds in Keras's loop, by an
            estimate: compilation takes about as long. Until then its steps run one by one.
        chunk_numbers: how many numbers of `x` are prepared at a time, so that they stay in the processor's cache.
        max_step_numbers: the most numbers of `x` in one step. Keras runs larger steps: its overhead is small beside
            them, and a block would keep copies of two of them.
        max_sparse_step_numbers: the same for a sparse `x`, with all its zeros.
        gather_above_numbers: the rows of a step with more numbers of `x` are gathered from the user's own memory,
            inside the block: a copy of them would take longer than the training.
        long_epoch_steps: an epoch of at least so many steps is cut into blocks if it has a progress bar, so that the
            bar moves.
        long_epoch_blocks: the number of these blocks.
        first_read_batches: how many batches of a stream are read at first; later, as many as `read_seconds` allow.
        read_seconds: how long a stream is read before the training goes on, so that the progress bar moves.
        compile_after_row: a block for one batch size of a stream is compiled after so many such batches in a row;
        compile_after_total: or after so many of them in all, if a block holds fewer than `compile_after_row` steps.
    """

    enabled: bool = True
    compile_after_seconds: float = 0.25
    chunk_numbers: int = 2**19
    max_step_numbers: int = 2**25
    max_sparse_step_numbers: int = 2**20
    gather_above_numbers: int = 2**14
    long_epoch_steps: int = 2000
    long_epoch_blocks: int = 20
    first_read_batches: int = 32
    read_seconds: float = 0.5
    compile_after_row: int = 8
    compile_after_total: int = 32

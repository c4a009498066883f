"""The output of a notebook cell, with a picture that changes during the training."""

import io
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCREEN_DPI = 90
MIN_SECONDS = 0.5  # between two pictures
SHARE_OF_TIME = 0.1  # of the training's time, for drawing


class NotebookOutput:
    """A place in the output of a notebook cell: each new picture replaces the last one."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._next_time = 0.0

    def is_due(self) -> bool:
        """Return whether a new picture now leaves most of the time to the training."""
        return time.monotonic() >= self._next_time

    def show(self, draw: Callable[[], "Figure"]) -> None:
        """Show the Figure that `draw` returns."""
        from IPython.display import Image, display

        start = time.monotonic()
        buffer = io.BytesIO()
        draw().savefig(buffer, format="png", dpi=SCREEN_DPI)
        image = Image(data=buffer.getvalue(), format="png")
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
        now = time.monotonic()
        self._next_time = now + max(MIN_SECONDS, (now - start) * (1 - SHARE_OF_TIME) / SHARE_OF_TIME)


def open_notebook(live: bool | str) -> NotebookOutput | None:
    """Return the output of the notebook that runs this process, or None.

    Args:
        live: False: never; `"auto"`: if there is a notebook; True: in any IPython shell.

    Raises:
        ValueError: `live` is True, and there is no IPython shell.
    """
    # A notebook has imported IPython already.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and live is not False else None
    if live is True and shell is None:
        raise ValueError(
            '`live=True` needs a notebook (an IPython shell); `"auto"` shows the picture only if there is one. '
            "Received: live=True outside of IPython."
        )
    is_shown = shell is not None and (live is True or hasattr(shell, "kernel"))
    return NotebookOutput() if is_shown else None

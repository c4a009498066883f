"""Let two folders change places in one step: Linux and macOS can, Python has no function for it."""

import ctypes
import os
import sys

AT_FDCWD = -100
RENAME_EXCHANGE = RENAME_SWAP = 2


def exchange(a: str, b: str) -> bool:
    """Let two paths of one file system change places, in one step; return False where the system cannot."""
    if os.name == "nt":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(a), os.fsencode(b)
    try:
        if sys.platform == "darwin":
            return libc.renamex_np(first, second, RENAME_SWAP) == 0
        return libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0
    except AttributeError:  # an older C library
        return False

"""`lawm`, ended by SIGTERM when the process that started it is gone: a grid leaves no orphans.

python -m lawm.benchmarks.tethered_command PARENT fit --config ...
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def main() -> None:
    """Take the first argument, the parent's process id, and run lawm with the others."""
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    runpy.run_module("lawm", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

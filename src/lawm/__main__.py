"""`python -m lawm` is the same as `lawm`."""

from __future__ import annotations

import sys

from lawm.cli import main

if __name__ == "__main__":
    sys.exit(main())

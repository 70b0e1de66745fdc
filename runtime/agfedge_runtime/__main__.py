"""``python -m agfedge_runtime``: the command ``agfedge-runtime``."""

from __future__ import annotations

import sys

from agfedge_runtime.cli import main

if __name__ == "__main__":
    sys.exit(main())

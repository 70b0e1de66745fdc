"""``python -m agfedge_runtime``: the command ``agfedge-runtime``."""

from __future__ import annotations

import sys

try:
    from agfedge_runtime.cli import main
except ModuleNotFoundError as missing:  # numpy, which everything needs
    sys.exit(f"agfedge-runtime: the package {missing.name} is not installed: pip install {missing.name}")

if __name__ == "__main__":
    sys.exit(main())

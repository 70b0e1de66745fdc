"""`python -m agfedge`, which torchrun starts: the command `agfedge`."""

import sys

from agfedge.cli import main

if __name__ == "__main__":
    sys.exit(main())

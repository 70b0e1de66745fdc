"""Makes what the tests have too importable here: the modules of tests/helpers. Import it before them."""

from __future__ import annotations

import sys
from pathlib import Path

HELPERS = Path(__file__).resolve().parents[1] / "tests" / "helpers"
sys.path.insert(0, str(HELPERS))

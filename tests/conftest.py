"""One thread for the small networks of the tests: more only wait for each other, above all on a busy machine."""

from __future__ import annotations

import os

# Before torch is imported; commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

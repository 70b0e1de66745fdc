"""What is left of a team when its processes go: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# torch.export imports torch._dynamo, which binds the group that it finds.
LEAVING = """
import weakref

import torch.distributed

from agfedge.base.distributed import team

with team() as us:
    import torch._dynamo

    group = weakref.ref(torch.distributed.group.WORLD)
    assert us.size == 2
assert group() is None, "the group outlived the team"
"""


# A group that is left over has threads, and they abort now and then a process that ends.
def test_no_group_outlives_its_team(tmp_path: Path) -> None:
    script = tmp_path / "leaving.py"
    script.write_text(LEAVING)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]

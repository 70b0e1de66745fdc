"""``agfedge logs`` through a real OpenSSH server."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from agfedge.targets.logs import follow, read_logs
from agfedge.targets.ssh.target import SshTarget
from ssh_server import SshServer

pytestmark = pytest.mark.slow


def test_logs_are_read_and_followed_on_one_connection(server: SshServer, make_device: Callable[[], Path]) -> None:
    device = make_device()
    (device / "logs").mkdir()
    path = device / "logs" / "decisions.jsonl"
    path.write_text('{"row": 0}\n{"row": 1}\n')
    target = SshTarget.connect(f"device:{device}")

    found = read_logs(target, 1)
    assert [json.loads(each) for each in found.lines] == [{"row": 1}]

    path.rename(path.with_name("decisions.jsonl.1"))
    path.write_text('{"row": 2}\n')
    assert list(islice(follow(target, found.place), 1)) == ['{"row": 2}']

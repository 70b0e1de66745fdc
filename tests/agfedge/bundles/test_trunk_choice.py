"""`agfedge export --share-trunk auto`: a few places are tried, and the cheapest cascade is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge_runtime import Bundle

pytestmark = pytest.mark.slow

NETWORK = "agfedge.demo.network:digits_net"


@pytest.fixture(scope="module")
def folder(beside_digits: Path) -> Path:
    return beside_digits


def test_the_cheapest_of_a_few_trunks_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    arguments = [
        *("export", "--model", NETWORK, "--weights", str(folder / "heavy.safetensors"), "--json"),
        *("--data", str(folder / "digits"), "--out", str(folder / "bundle"), "--share-trunk", "auto"),
        *("--keep", "0.25", "--epochs", "2", "--learning-rate", "0.003", "--epsilon", "0.05", "--score", "l1"),
    ]
    assert main(arguments) == 0
    trials = json.loads(capsys.readouterr().out)["trunks"]
    assert trials[0]["trunk"] == "none"
    assert len(trials) >= 2
    best = min(trials, key=lambda each: each["expected"])["trunk"]
    trunk = Bundle.open(folder / "bundle").manifest.experts.trunk
    assert (trunk is None) == (best == "none")

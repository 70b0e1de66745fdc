from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.cli.deploy import add_parser
from agfedge.deploy.stages import STAGES
from agfedge_runtime.bundle import Bundle
from agfedge_runtime.errors import InputError


@pytest.fixture
def bundle(write_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "bundle")


def command(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["deploy", *argv])
    return int(arguments.run(arguments))


def test_the_table_has_a_row_a_stage(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(bundle.path), str(tmp_path / "device")) == 0

    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(STAGES)
    assert bundle.digest[:12] in out
    assert err == ""


def test_json_is_the_whole_deployment(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(bundle.path), str(tmp_path / "device"), "--json") == 0

    value = json.loads(capsys.readouterr().out)
    assert value["bundle_digest"] == bundle.digest
    assert (tmp_path / "device" / "current").readlink() == Path("releases", value["release"])


def test_what_names_no_host_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="names no host"):
        command(str(bundle.path), "a;user@jetson")

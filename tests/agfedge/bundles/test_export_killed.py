"""An export that is killed or interrupted while it writes leaves the whole old bundle, or the whole new one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge_runtime import Bundle
from workshop import Workshop

pytestmark = pytest.mark.slow

# Each case runs in a fork of one process that has imported everything: it dies at a known point, without any waiting.
NURSERY = """
import json, os, signal, sys
import agfedge.bundles.bundling, agfedge.bundles.exporting, agfedge_runtime.atomic as atomic
from agfedge.cli import main

# A shell starts background jobs with interrupts ignored, and Python then leaves them so.
signal.signal(signal.SIGINT, signal.default_int_handler)

def die_in(module, name, signal_name, *, before, target):
    original = getattr(module, name)
    def dying(*arguments, **options):
        if target is not None and not any(str(each) == target for each in arguments):
            return original(*arguments, **options)
        if before:
            os.kill(os.getpid(), getattr(signal, signal_name))
        value = original(*arguments, **options)
        os.kill(os.getpid(), getattr(signal, signal_name))
        return value
    setattr(module, name, dying)

POINTS = {
    "golden answers": (agfedge.bundles.bundling, "golden_bytes", True),
    "before the switch": (atomic, "replace_folder", True),
    "after the switch": (atomic, "_exchange", False),
}
cases = json.load(sys.stdin)
assert main([*cases[0][3], f"--out={cases[0][2]}-first"]) == 0  # what is imported late is imported here, once
print(flush=True)
for point, signal_name, out, argv in cases:
    child = os.fork()
    if child == 0:
        module, name, before = POINTS[point]
        die_in(module, name, signal_name, before=before, target=None if module is not atomic else out)
        code = main(argv)
        sys.stderr.flush()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
"""
CASES = [
    ("golden answers", "SIGKILL", "old"),
    ("before the switch", "SIGKILL", "old"),
    ("after the switch", "SIGKILL", "new"),
    ("before the switch", "SIGINT", "old"),
    ("after the switch", "SIGINT", "new"),
]


@dataclass(frozen=True)
class Killed:
    """What the killed exports left, one folder a case."""

    workshop: Workshop
    folder: Path
    codes: list[int]
    stderr: str

    def out(self, point: str, signal_name: str) -> Path:
        return self.folder / f"{point.replace(' ', '-')}-{signal_name}" / "bundle"


@pytest.fixture(scope="module")
def killed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    made = Killed(workshop, tmp_path_factory.mktemp("killed"), [], "")
    cases = []
    for point, signal_name, _ in CASES:
        out = made.out(point, signal_name)
        shutil.copytree(workshop.bundle, out)
        cases.append(
            (point, signal_name, str(out), workshop.export(out, seed=5, score="l1"))
        )  # autograd cannot be forked
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NURSERY],
        input=json.dumps(cases),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "helpers")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    codes = [json.loads(line) for line in done.stdout.rpartition("\n\n")[2].splitlines()]
    assert len(codes) == len(CASES), done.stderr
    return Killed(workshop, made.folder, codes, done.stderr)


@pytest.mark.parametrize(("point", "signal_name", "kept"), CASES)
def test_what_is_left_is_whole(killed: Killed, point: str, signal_name: str, kept: str) -> None:
    left = Bundle.open(killed.out(point, signal_name))  # checks every digest
    is_old = left.digest == killed.workshop.printed["digest"]
    assert ("old" if is_old else "new") == kept
    assert left.manifest.provenance["seed"] == (0 if is_old else 5)


def test_a_killed_process_dies_of_it_and_an_interrupted_one_says_so_in_one_line(killed: Killed) -> None:
    assert killed.codes == [-9, -9, -9, 130, 130]
    said = [line for line in killed.stderr.splitlines() if not line.startswith("agfedge: export: ")]
    assert said == ["agfedge: interrupted; nothing is left half-written"] * 2


@pytest.mark.parametrize("point", ["before the switch", "after the switch"])
def test_the_next_export_works_and_sweeps_up(killed: Killed, point: str) -> None:
    out = killed.out(point, "SIGKILL")
    assert [each.name for each in out.parent.iterdir()] != ["bundle"], "something was left behind"
    assert main([*killed.workshop.export(out, seed=6), "--json"]) == 0
    assert sorted(each.name for each in out.parent.iterdir()) == ["bundle", "bundle.toml"]
    assert Bundle.open(out).manifest.provenance["seed"] == 6


def test_an_interrupt_sweeps_up_at_once(killed: Killed) -> None:
    out = killed.out("before the switch", "SIGINT")
    assert [each.name for each in out.parent.iterdir()] == ["bundle"]

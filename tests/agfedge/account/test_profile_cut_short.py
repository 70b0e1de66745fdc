"""`agfedge profile` that is cut short: what came is kept, told of in one line, and can be looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import DeployError
from agfedge.targets.local import LocalTarget
from agfedge.targets.stages import deploy
from agfedge_runtime import Bundle
from agfedge_runtime.profile.samples import Samples
from workshop import Workshop

pytestmark = pytest.mark.slow

# The record's head and its section, and so many decisions.
KEPT = 5
Lose = Callable[[BaseException, int], None]


@pytest.fixture
def bundle(workshop: Workshop, tmp_path: Path) -> Bundle:
    shutil.copytree(workshop.bundle, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


@pytest.fixture
def lose(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Has a target that fails in some way after so many lines."""
    device = LocalTarget(tmp_path / "device")
    deploy(bundle.path, device)

    def lose(error: BaseException, lines: int) -> None:
        class Lost(LocalTarget):
            def stream(self, argv, on_line, *, env=None):
                came: list[str] = []
                super().stream(argv, came.append, env=env)
                for line in came[:lines]:
                    on_line(line)
                raise error

        monkeypatch.setattr("agfedge.targets.opening.open_target", lambda spec: Lost(tmp_path / "device"))

    return lose


def profile(bundle: Bundle, *words: str) -> int:
    return main(["profile", str(bundle.path), "--on", "device", "--decisions", "20", *words])


def test_a_device_that_is_lost_is_one_line_that_says_where_its_samples_are(
    bundle: Bundle, tmp_path: Path, lose: Lose, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(DeployError("the connection failed: Broken pipe"), 2 + KEPT)
    out = tmp_path / "samples.json"
    assert profile(bundle, "--out", str(out)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"agfedge: the measurement on {tmp_path / 'device'} was cut short: the connection failed: Broken pipe; {KEPT} "
        f"decisions are in {out}, marked incomplete: agfedge profile {bundle.path} --from-samples {out}\n"
    )
    samples = Samples.from_json(out.read_text())
    assert (len(samples), samples.complete) == (KEPT, False)
    assert not (tmp_path / "samples.json.partial").exists()


def test_without_a_file_to_write_they_are_beside_the_bundle(
    bundle: Bundle, tmp_path: Path, lose: Lose, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(DeployError("gone"), 2 + KEPT)
    assert profile(bundle) == 1
    assert f"{KEPT} decisions are in {tmp_path / 'bundle.profile.json'}" in capsys.readouterr().err
    assert len(Samples.from_json((tmp_path / "bundle.profile.json").read_text())) == KEPT


def test_a_device_that_is_lost_before_its_first_decision_leaves_nothing(
    bundle: Bundle, tmp_path: Path, lose: Lose, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(DeployError("gone"), 2)
    assert profile(bundle, "--out", str(tmp_path / "samples.json")) == 1
    assert capsys.readouterr().err == f"agfedge: {tmp_path / 'device'}: gone\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "device"]


def test_an_interruption_keeps_what_came(
    bundle: Bundle, tmp_path: Path, lose: Lose, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(KeyboardInterrupt(), 2 + KEPT)
    out = tmp_path / "samples.json"
    assert profile(bundle, "--out", str(out)) == 130
    assert capsys.readouterr().err.startswith(f"agfedge: interrupted; {KEPT} decisions are in {out}, marked incomplete")
    assert not Samples.from_json(out.read_text()).complete


def test_samples_that_are_not_complete_are_accounted_for_and_say_so_first(
    bundle: Bundle, tmp_path: Path, lose: Lose, capsys: pytest.CaptureFixture[str]
) -> None:
    lose(DeployError("gone"), 2 + KEPT)
    out = tmp_path / "samples.json"
    profile(bundle, "--out", str(out))
    capsys.readouterr()
    assert main(["profile", str(bundle.path), "--from-samples", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"INVALID: the run was cut short after {KEPT} decisions")
    assert main(["profile", str(bundle.path), "--from-samples", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False


def test_samples_of_another_bundle_or_of_nothing_are_one_line(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "samples.json"
    assert main(["profile", str(bundle.path), "--decisions", "3", "--out", str(out)]) == 0
    capsys.readouterr()
    document = json.loads(out.read_text())
    (tmp_path / "other.json").write_text(json.dumps({**document, "bundle_digest": "ab" * 32}))
    (tmp_path / "broken.json").write_text(out.read_text()[:100])
    for words, part in (
        (("--from-samples", str(tmp_path / "other.json")), "measured on bundle abababababab, asked for"),
        (("--from-samples", str(tmp_path / "broken.json")), "not plain JSON"),
        (("--from-samples", str(tmp_path / "missing.json")), "cannot be read: No such file"),
        (("--from-samples", str(out), "--out", "x"), "--from-samples measures nothing; leave them out"),
    ):
        assert main(["profile", str(bundle.path), *words]) == 1
        told = capsys.readouterr().err
        assert part in told
        assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--rate", "0"), "--rate is 0: expected inputs a second, above 0"),
        (("--batch", "1"), "--batch is 1: expected 2 or more"),
        (("--decisions", "0"), "--decisions is 0: expected 1 or more"),
        (("--time=-1s",), "--time is -1: expected 0 or more"),
        (("--queue", "3"), "--queue is 3 without a rate"),
        (("--decisions", "1", "--precision", "fp16"), "fp16"),
        (("--decisions", "1", "--backend", "abacus"), "got the backend 'abacus'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], part: str
) -> None:
    assert main(["profile", str(bundle.path), *words]) == 1
    told = capsys.readouterr().err
    assert part in told
    assert told.count("\n") == 1

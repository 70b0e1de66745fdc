"""`--config`: a TOML file sets flags; what is wrong in it is one line with its place."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path

import pytest

import agfedge
from agfedge.cli import app, main
from agfedge.commands.arguments import command_line, to_toml
from agfedge_runtime import Bundle
from workshop import Workshop


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "given.toml"


def pruned(workshop: Workshop, capsys: pytest.CaptureFixture[str], *options: object) -> dict:
    assert main(["prune", str(workshop.bundle / "heavy.onnx"), *map(str, options), "--json", "-q"]) == 0
    return json.loads(capsys.readouterr().out)


def kept(found: dict) -> list[int]:
    return [group["kept"] for group in found["groups"]]


def test_a_file_sets_flags(workshop: Workshop, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[prune]\nkeep = 0.25\nalign = 4\n")
    typed = pruned(workshop, capsys, "--keep", 0.25, "--align", 4)
    assert kept(pruned(workshop, capsys, "--config", config)) == kept(typed)
    assert kept(typed) != kept(pruned(workshop, capsys))


def test_what_is_typed_wins(workshop: Workshop, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[prune]\nkeep = 0.25\n")
    typed = pruned(workshop, capsys, "--keep", 0.75)
    assert kept(pruned(workshop, capsys, "--config", config, "--keep", 0.75)) == kept(typed)


def test_a_flag_may_be_spelt_with_hyphens_or_underscores_and_be_off(
    workshop: Workshop, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("drop-branches", "drop_branches"):
        config.write_text(f'[prune]\ncheck = false\nbudget = 0.6\nof = "macs"\n{name} = false\n')
        assert pruned(workshop, capsys, "--config", config)["check"] is None


def test_a_file_may_give_everything(workshop: Workshop, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(f'[inspect]\nmodel = "{workshop.bundle / "heavy.onnx"}"\n')
    assert main(["inspect", "--config", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[prune]\nkeep = 0.5\n\nexclud = ['a']\n",
            "line 4: prune has no option 'exclud' (did you mean exclude",
        ),
        ("[export]\nkeep = 1\n[prune]\n'score-by' = 'l1'\n", "given.toml, line 4: prune has no option 'score-by'"),
        ("[export]\nkeep = 0.5\n", "given.toml configures [export]: expected a table [prune]"),
        ("keep = 0.5\n", "given.toml configures [keep]: expected a table [prune]"),
        ("", "given.toml configures nothing: expected a table [prune]"),
        ("[prune\n", "given.toml is no TOML: "),
        ("[prune]\nexclude = []\n", "line 2: exclude is an empty list: give a value, or leave it out"),
        ("[prune]\nkeep = 'half'\n", 'given.toml: unable to convert "half" into float'),
        ("[prune]\nkeep = 0\n", "--keep is 0.0: expected a share in (0, 1]"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(
    config: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(text)
    assert main(["prune", "model.onnx", "--config", str(config)]) in (1, 2)
    out, err = capsys.readouterr()
    assert told in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "model.onnx", "--config", "nowhere.toml"]) == 1
    assert capsys.readouterr().err == "agfedge: --config nowhere.toml: no such file\n"


def test_a_file_is_forgotten_by_the_next_command(
    workshop: Workshop, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[prune]\nkeep = 0.25\n")
    plain = pruned(workshop, capsys)
    pruned(workshop, capsys, "--config", config)
    assert kept(pruned(workshop, capsys)) == kept(plain)


def test_an_export_writes_the_file_that_repeats_it(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert main([*workshop.export(out, mean="0.5", seed=3), "-q"]) == 0
    text = (tmp_path / "bundle.toml").read_text()
    assert "mean = [\n    0.5,\n]" in text
    assert "\nseed = 3\n" in text
    assert main(["export", "--config", str(tmp_path / "bundle.toml"), "--out", str(tmp_path / "again"), "-q"]) == 0
    assert Bundle.open(tmp_path / "again").manifest.files == Bundle.open(out).manifest.files


def test_what_is_as_by_default_is_not_in_the_file() -> None:
    arguments = {"model": "m.onnx", "out": Path("o.onnx"), "keep": 0.5, "exclude": ("a", "b"), "check": False}
    defaults = {name: each.default for name, each in signature(agfedge.prune).parameters.items()}
    text = to_toml(agfedge.prune, {**defaults, **arguments})
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "[prune]",
        'model = "m.onnx"',
        'out = "o.onnx"',
        "keep = 0.5",
        "exclude = [",
        '    "a",',
        '    "b",',
        "]",
        "check = false",
    ]
    assert command_line(agfedge.prune, {**defaults, **arguments}) == (
        "agfedge prune m.onnx o.onnx --keep 0.5 --exclude a --exclude b --no-check"
    )


def test_what_no_file_can_name_is_in_none() -> None:
    assert to_toml(agfedge.inspect, {"model": object(), "plan": None, "report": None, "all": False}) is None
    export = {name: each.default for name, each in signature(agfedge.export).parameters.items()}
    given = {**export, "model": "m:f", "data": "d", "out": "o"}
    assert "precision" not in str(to_toml(agfedge.export, {**given, "precision": []}))  # as by default
    assert to_toml(agfedge.export, {**given, "patience": None}) is None  # never stop early: no file can say so


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands_and_flags(shell: str) -> None:
    script = app.generate_completion(shell=shell)
    assert "prune" in script
    assert "target-precision" in script


def test_a_missing_package_is_one_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("agfedge.targets.rollback.roll_back", lambda *_: missing("onnx_graphsurgeon.ir"))
    assert main(["rollback", "x"]) == 1
    assert capsys.readouterr().err == (
        "agfedge: the package onnx_graphsurgeon is needed here and not installed: pip install onnx-graphsurgeon\n"
    )
    monkeypatch.setattr("agfedge.targets.rollback.roll_back", lambda *_: missing("agfedge_export.channels.rules"))
    assert main(["rollback", "x"]) == 1
    assert "this installation of agfedge is incomplete" in capsys.readouterr().err

"""`agfedge-runtime run --service`: a unit of systemd that says what was typed, and taking it away again."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agfedge_runtime
from agfedge_runtime import cli
from agfedge_runtime.errors import InputError
from agfedge_runtime.stream import service
from agfedge_runtime.stream.service import quote, unit_text
from fake_opencv import FakeOpenCV

ANALYZE = shutil.which("systemd-analyze")
RELEASE, NEXT = "0123456789abcdef", "fedcba9876543210"
WORDS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"))
# Stands in for systemctl: notes what it was asked, and answers as `answer` says.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {folder}/asked
cat {folder}/said >&2 2>/dev/null
exit $(cat {folder}/code)
"""


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def words_of(text: str, is_command: bool) -> list[str]:
    """A line's words as systemd reads them: systemd.syntax(7) for quotes and escapes, then `%`, then `$`."""
    words, at = [], 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        word, quoted = "", False
        while at < len(text) and (quoted or text[at] != " "):
            if text[at] == '"':
                quoted = not quoted
                at += 1
            elif text[at] == "\\":
                at, char = escaped(text, at + 1)
                word += char
            else:
                assert quoted or text[at] not in "';"
                word += text[at]
                at += 1
        assert not quoted
        words.append(word)
    assert not any(re.search("%(?!%)", word.replace("%%", "")) for word in words)
    words = [word.replace("%%", "%") for word in words]
    if is_command:
        assert not any("$" in word.replace("$$", "") for word in words)
        words = [word.replace("$$", "$") for word in words]
    return words


def escaped(text: str, at: int) -> tuple[int, str]:
    if text[at] == "x":
        return at + 3, chr(int(text[at + 1 : at + 3], 16))
    return at + 1, {"n": "\n", "t": "\t", "\\": "\\", '"': '"'}[text[at]]


def lines_of(unit: str, key: str) -> list[str]:
    return [line.split("=", 1)[1] for line in unit.split("\n") if line.startswith(f"{key}=")]


def command_of(unit: str) -> list[str]:
    (line,) = lines_of(unit, "ExecStart")
    return words_of(line, is_command=True)


def environment_of(unit: str) -> dict[str, str]:
    pairs = [words_of(line, is_command=False) for line in lines_of(unit, "Environment")]
    return dict(word.split("=", 1) for (word,) in pairs)


def verify(unit: str, folder: Path) -> str:
    """What systemd says of a unit: nothing if it reads it all."""
    if ANALYZE is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    path = folder / "verified.service"
    path.write_text(unit)
    done = subprocess.run([ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False, timeout=60)
    return "\n".join(line for line in done.stderr.splitlines() if str(path) in line or path.name in line)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home of the test's own, without what this shell was told; and an OpenCV."""
    monkeypatch.setitem(sys.modules, "cv2", FakeOpenCV())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "PYTHONPATH", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def systemctl(tmp_path, monkeypatch) -> Path:
    """A folder whose `asked` is what systemctl was asked; it succeeds unless `code` and `said` are changed."""
    folder = tmp_path / "systemctl"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL.format(folder=folder))
    (folder / "systemctl").chmod(0o755)
    (folder / "code").write_text("0")
    (folder / "said").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def device(tiny, tmp_path) -> Path:
    """A target's folder with the runtime and a bundle in two releases, as a deploy leaves it."""
    folder = tmp_path / "a device's $folder 100%"
    bundle = tiny.bundle().path
    for release in (RELEASE, NEXT):
        (folder / "releases" / release / "runtime").mkdir(parents=True)
        package = Path(agfedge_runtime.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, folder / "releases" / release / "runtime" / "agfedge_runtime", ignore=ignored)
        shutil.copytree(bundle, folder / "releases" / release / "bundle")
    (folder / "current").symlink_to(f"releases/{RELEASE}")
    (folder / "inputs").mkdir()
    np.save(folder / "inputs" / "a.npy", tiny.mixed())
    return folder


def test_the_unit_says_what_was_typed(tiny, device, home, systemctl, capsys):
    bundle = device / "current" / "bundle"
    typed = ("--source", device / "inputs", "--threads", 2, "--decisions", 4, "--log-files", 3)

    assert run("run", bundle, *typed, "--service") == 0

    path = home / ".config" / "systemd" / "user" / "agfedge.service"
    unit = path.read_text()
    assert unit.startswith(
        "# Written by agfedge-runtime run --service agfedge; --remove-service agfedge takes it away\n"
    )
    program, dash_m, module, command, given, *options = command_of(unit)
    assert [program, dash_m, module, command] == [sys.executable, "-m", "agfedge_runtime", "run"]
    assert given == str(bundle)
    assert options == [
        f"--source={device}/inputs", "--backend=auto", "--precision=fp32", "--threads=2", "--decisions=4",
        f"--log={device}/logs/decisions.jsonl", "--log-bytes=10000000", "--log-files=3",
        f"--health={device}/health.json",
    ]  # fmt: skip
    assert (systemctl / "asked").read_text().splitlines() == [
        "--user daemon-reload", "--user enable agfedge.service", "--user restart agfedge.service",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "systemctl --user status agfedge" in out
    assert "loginctl enable-linger" in out
    assert f"{device}/logs/decisions.jsonl" in out


def test_systemd_finds_no_fault_with_it(device, home, systemctl, tmp_path):
    assert run("run", device / "current" / "bundle", "--source", device / "inputs", "--service") == 0
    assert verify((home / ".config/systemd/user/agfedge.service").read_text(), tmp_path) == ""


def test_what_the_unit_says_runs_and_follows_the_switch(device, home, systemctl):
    code = "import sys; from agfedge_runtime.cli import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, "run", "current/bundle", "--source", "inputs", "--service", "gate-3"]
    own = {"PYTHONPATH": f"{device}/current/runtime", "PWD": str(device), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **own}
    subprocess.run(argv, cwd=device, env=environment, check=True, capture_output=True)
    unit = (home / ".config/systemd/user/gate-3.service").read_text()
    told = environment_of(unit)
    assert told == {"PYTHONPATH": f"{device}/current/runtime", "PYTHONDONTWRITEBYTECODE": "1"}

    (place,) = lines_of(unit, "WorkingDirectory")
    for release in (RELEASE, NEXT):
        (device / "current").unlink()
        (device / "current").symlink_to(f"releases/{release}")
        argv = command_of(unit)
        done = subprocess.run(argv, cwd=place, env={"PATH": "/usr/bin", **told}, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads((device / "health.json").read_text())["release"] == release
    rows = (device / "logs" / "decisions.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 6
    assert not list(device.rglob("__pycache__"))


def test_a_shell_that_stands_in_the_link_keeps_it(device, home, systemctl, monkeypatch):
    monkeypatch.chdir(device / "current")
    monkeypatch.setenv("PWD", str(device / "current"))

    assert run("run", "bundle", "--source", "0", "--service") == 0

    command = command_of((home / ".config/systemd/user/agfedge.service").read_text())
    assert command[4:6] == [f"{device}/current/bundle", "--source=0"]
    assert f"--health={device}/health.json" in command


def test_a_bundle_of_a_release_keeps_its_log_outside_of_it(device, home, systemctl):
    assert run("run", device / "releases" / RELEASE / "bundle", "--source", "0", "--service") == 0
    command = command_of((home / ".config/systemd/user/agfedge.service").read_text())
    assert f"--health={device}/health.json" in command


def test_what_the_command_needs_of_the_shell_goes_along(device, home, systemctl, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "mine::/theirs")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/lib64")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 0
    told = environment_of((home / ".config/systemd/user/agfedge.service").read_text())
    runtime = Path(agfedge_runtime.__file__).parents[1]
    assert told.pop("PYTHONPATH").split(":") == [str(runtime), str(tmp_path / "mine"), "/theirs"]
    assert told == {
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64", "XDG_CACHE_HOME": "/cache", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def test_nobody_else_may_write_to_the_unit(device, systemctl, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    before = os.umask(0)
    try:
        assert run("run", device / "current" / "bundle", "--source", "0", "--service", "gate.service") == 0
    finally:
        assert os.umask(before) == 0
    path = tmp_path / "config" / "systemd" / "user" / "gate.service"
    for place in (path, *path.parents[:3]):
        assert not stat.S_IMODE(place.stat().st_mode) & 0o022
    assert "UMask=0022" in path.read_text().splitlines()


def test_json_says_the_same(device, home, systemctl, capsys):
    assert run("run", device / "current" / "bundle", "--source", "0", "--service", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "service": "agfedge",
        "unit": f"{home}/.config/systemd/user/agfedge.service",
        "log": f"{device}/logs/decisions.jsonl",
        "health": f"{device}/health.json",
        "started": True,
    }


def test_without_systemd_the_unit_is_written_and_one_line_says_what_is_missing(device, home, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(home))
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 1
    assert (home / ".config/systemd/user/agfedge.service").exists()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the unit is written, but the service does not run: there is no systemctl here" in err


def test_a_manager_that_cannot_be_reached_is_one_line(device, systemctl, capsys):
    (systemctl / "code").write_text("1")
    (systemctl / "said").write_text("Failed to connect to bus:\nNo medium found\n")
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "systemctl --user daemon-reload: Failed to connect to bus: No medium found; where systemd runs" in err


def test_a_bundle_that_cannot_be_trusted_becomes_no_service(device, home, systemctl, capsys):
    (device / "current" / "bundle" / "heavy.onnx").write_bytes(b"")
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 1
    assert "heavy.onnx: got 0 bytes" in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--backend", "abacus"), "got the backend 'abacus', expected one of"),
        (("--log-files", 1), "expected 2 or more of 1 byte or more"),
        (("--precision", "fp16"), "fp16"),
        (("--source", "nowhere"), "nowhere: is no folder, video or camera"),
    ],
)
def test_what_would_never_run_becomes_no_service(device, home, systemctl, capsys, wrong, told):
    assert run("run", device / "current" / "bundle", "--source", device / "inputs", *wrong, "--service") == 1
    assert told in capsys.readouterr().err
    assert not home.exists()


def test_a_camera_without_opencv_becomes_no_service(device, home, systemctl, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 1
    assert "sudo apt-get install python3-opencv" in capsys.readouterr().err
    assert not home.exists()


def test_a_second_time_replaces_the_options(device, home, systemctl):
    for source in "01":
        assert run("run", device / "current" / "bundle", "--source", source, "--service") == 0
    assert "--source=1" in command_of((home / ".config/systemd/user/agfedge.service").read_text())


def test_a_service_of_somebody_else_stays(device, home, systemctl, capsys):
    path = home / ".config" / "systemd" / "user" / "agfedge.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\n")
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 1
    assert "is a service of somebody else" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        run("run", "--remove-service")
    assert caught.value.code == 1
    assert path.read_text() == "[Service]\n"


@pytest.mark.parametrize("name", ["a b", "../x", "", "x@", "-x"])
def test_a_name_that_no_service_can_have_is_refused(device, systemctl, capsys, name):
    assert run("run", device / "current" / "bundle", "--source", "0", f"--service={name}") == 1
    assert "got the service name" in capsys.readouterr().err


def test_it_is_taken_away(device, home, systemctl, capsys):
    assert run("run", device / "current" / "bundle", "--source", "0", "--service", "gate") == 0
    (systemctl / "asked").unlink()
    capsys.readouterr()

    with pytest.raises(SystemExit) as caught:
        run("run", "--remove-service", "gate")

    assert caught.value.code == 0
    assert not (home / ".config/systemd/user/gate.service").exists()
    assert (systemctl / "asked").read_text().splitlines() == [
        "--user disable --now gate.service", "--user daemon-reload",
    ]  # fmt: skip
    assert capsys.readouterr().out == f"removed {home}/.config/systemd/user/gate.service\n"


def test_what_is_not_there_cannot_be_taken_away(home, capsys):
    with pytest.raises(SystemExit) as caught:
        run("run", "--remove-service")
    assert caught.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("agfedge-runtime: ")
    assert "there is no such service" in err
    assert err.count("\n") == 1


@given(st.lists(WORDS, max_size=4), st.dictionaries(st.from_regex("[A-Z_]{1,8}", fullmatch=True), WORDS, max_size=3))
def test_every_word_is_read_back_as_it_was(words, environment):
    unit = unit_text("test", ["/usr/bin/python3", *words], environment)
    assert command_of(unit) == ["/usr/bin/python3", *words]
    assert environment_of(unit) == environment
    assert all(line.isprintable() or min(line) >= " " for line in unit.split("\n") if line)


def test_systemd_reads_hard_words_too(tmp_path):
    hard = ["a b", "$HOME", "${x}", "$$", "%h", '"', "'", "\\", "\n", "\t", "\x1b", ";", "", "\u00e9\u4e2d", "{", "#"]
    assert verify(unit_text("hard % words", [sys.executable, *hard], {"X": " ".join(hard)}), tmp_path) == ""


@pytest.mark.parametrize("word", ["\udcff", "a\x00b"])
def test_what_no_unit_can_hold_is_refused(word):
    with pytest.raises(InputError):
        quote(word)


@pytest.mark.parametrize("program", ["python3", "/a'b", '/a"b', "/a\\b", "/a$b", "/a\nb"])
def test_a_program_that_systemd_would_refuse_is_refused(program):
    with pytest.raises(InputError, match="use a Python that lies elsewhere"):
        unit_text("test", [program], {})


def test_a_systemctl_that_never_answers_is_told(device, systemctl, capsys, monkeypatch):
    (systemctl / "systemctl").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(service, "_SYSTEMCTL_S", 0.2)
    assert run("run", device / "current" / "bundle", "--source", "0", "--service") == 1
    assert "timed out" in capsys.readouterr().err

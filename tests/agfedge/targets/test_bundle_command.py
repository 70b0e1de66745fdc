from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agfedge.cli import main
from agfedge_runtime.bundle.bundle import SIGNATURE_NAME, Bundle
from ssh_keys import MISSING, SshKey

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SETSID = shutil.which("setsid")
PHRASE = "open sesame"


@pytest.fixture
def key(tmp_path: Path) -> SshKey:
    return SshKey.make(tmp_path / "key")


@pytest.fixture
def signers(key: SshKey, tmp_path: Path) -> str:
    (tmp_path / "signers").write_text(key.allowed())
    return str(tmp_path / "signers")


def test_sign_then_verify_says_who_signed(
    bundle: Bundle, key: SshKey, signers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", str(bundle.path), "--key", str(key.path)]) == 0
    assert main(["verify", str(bundle.path), "--signers", signers]) == 0

    out, err = capsys.readouterr()
    named = f"{bundle.path} ({bundle.digest[:12]})"
    assert out.splitlines() == [
        f"{named}: signed with the ED25519 key {key.fingerprint}",
        f"{named}: 4 digests equal; signed by jane@example.com with the ED25519 key {key.fingerprint}",
    ]
    assert err == ""


def test_verify_without_a_list_says_what_that_is_worth(
    bundle: Bundle, key: SshKey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundle.path)]) == 0
    assert main(["sign", str(bundle.path), "--key", str(key.path)]) == 0
    assert main(["verify", str(bundle.path)]) == 0

    unsigned, _, signed = capsys.readouterr().out.splitlines()
    assert unsigned.endswith(": 4 digests equal; not signed, so that nothing says who made it")
    assert signed.endswith(f"key {key.fingerprint}, whoever holds it: --signers says whom to trust")


def test_json_says_the_same(bundle: Bundle, key: SshKey, signers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", str(bundle.path), "--key", str(key.path), "--json"]) == 0
    signed = json.loads(capsys.readouterr().out)
    assert main(["verify", str(bundle.path), "--signers", signers, "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)

    expected = {
        "bundle": str(bundle.path),
        "digest": bundle.digest,
        "files": 4,
        "key": f"ED25519 key {key.fingerprint}",
    }
    assert signed == {**expected, "principal": None}
    assert verified == {**expected, "principal": "jane@example.com"}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_what_does_not_verify_is_one_line_on_stderr(
    bundle: Bundle, signers: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundle.path), "--signers", signers, *flags]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"agfedge: {bundle.path}: the bundle has no signature: sign it with `agfedge sign {bundle.path} --key KEY`\n"
    )


def test_a_revoked_key_is_refused(
    bundle: Bundle, key: SshKey, signers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", str(bundle.path), "--key", str(key.path)]) == 0
    argv = ["verify", str(bundle.path), "--signers", signers, "--revoked", str(key.public)]
    assert main(argv) == 1
    assert "which is revoked" in capsys.readouterr().err


def test_other_thresholds_are_not_what_was_signed(bundle: Bundle, key: SshKey, tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (200, 2, 2, 1), np.uint8)
    np.savez(tmp_path / "fresh.npz", x=x, y=(x[:, 0, 1, 0] < 128).astype(np.int64))
    assert main(["sign", str(bundle.path), "--key", str(key.path)]) == 0
    folder, data = str(bundle.path), str(tmp_path / "fresh.npz")

    assert main(["calibrate", folder, "--data", data, "--out", folder, "--epsilon", "0.5", "--json"]) == 0

    made = Bundle.open(bundle.path)
    assert made.digest != bundle.digest
    assert made.signature is None


@pytest.mark.parametrize("argv", [["sign", "x"], ["burn", "x"], ["verify"]])
def test_usage_is_told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith("agfedge: ")


@pytest.mark.skipif(SETSID is None, reason="no setsid here: apt-get install util-linux")
@pytest.mark.parametrize(("typed", "code"), [(PHRASE, 0), ("guess", 1)])
def test_a_passphrase_is_asked_for_on_the_terminal(bundle: Bundle, tmp_path: Path, typed: str, code: int) -> None:
    key = SshKey.make(tmp_path / "locked", passphrase=PHRASE)
    argv = [
        str(SETSID),
        "--ctty",
        "--wait",
        sys.executable,
        "-m",
        "agfedge",
        "sign",
        str(bundle.path),
    ]
    host, terminal = pty.openpty()
    with subprocess.Popen([*argv, "--key", str(key.path)], stdin=terminal, stdout=terminal, stderr=terminal) as signing:
        os.close(terminal)
        said = ""
        while "passphrase" not in said:
            said += os.read(host, 1 << 12).decode()
        os.write(host, f"{typed}\n".encode())
        said = ""
        while chunk := read_some(host):
            said += chunk
    os.close(host)

    assert signing.returncode == code
    assert (bundle.path / SIGNATURE_NAME).exists() is (code == 0)
    assert (key.fingerprint if code == 0 else "incorrect passphrase") in said
    assert "Traceback" not in said


def read_some(host: int) -> str:
    """Reads what a terminal shows; nothing once everybody has left it, which Linux tells by an error."""
    try:
        return os.read(host, 1 << 12).decode()
    except OSError:
        return ""

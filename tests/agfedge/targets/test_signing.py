"""A signature counts when one of the allowed signers made it of this manifest, as a bundle's; all else is told."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets.signing import SignatureError, sign_bundle, verify_bundle
from agfedge_runtime.bundle.bundle import SIGNATURE_NAME, Bundle
from agfedge_runtime.errors import BundleDigestError, BundleError, InputError
from agfedge_runtime.releases.signature import SignatureVerdict, check_signature
from ssh_keys import MISSING, SshKey, agent_with, keygen

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

WriteBundle = Callable[..., Bundle]
RELEASE = "0123456789abcdef"
NAMESPACE = "agfedge-bundle"


@pytest.fixture(scope="module")
def jane(tmp_path_factory: pytest.TempPathFactory) -> SshKey:
    return SshKey.make(tmp_path_factory.mktemp("jane") / "key")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> SshKey:
    return SshKey.make(tmp_path_factory.mktemp("mallory") / "key")


@pytest.fixture
def bundle(write_tiny_bundle: WriteBundle, tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle").path


@pytest.fixture
def signers(jane: SshKey, tmp_path: Path) -> Path:
    path = tmp_path / "signers"
    path.write_text(f"# who may sign\n\n{jane.allowed()}")
    return path


@pytest.fixture
def target(bundle: Path, signers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target's folder with the bundle as a release, and the working folder as on a target."""
    folder = tmp_path / "target"
    shutil.copytree(bundle, folder / "releases" / RELEASE / "bundle")
    shutil.copy(signers, folder / "allowed_signers")
    (folder / "allowed_signers").chmod(0o644)
    monkeypatch.chdir(folder)
    return folder


def in_release(target: Path, name: str) -> Path:
    return target / "releases" / RELEASE / "bundle" / name


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def problem() -> str:
    """Why the target refuses its release."""
    found = check_signature(RELEASE)
    assert (found.required, found.signer) == (True, None)
    told = found.problem
    assert isinstance(told, str)
    assert len(told.splitlines()) == 1
    return told


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signed_bundle_opens_and_says_who_signed(bundle: Path, tmp_path: Path, kind: str) -> None:
    key, signers = SshKey.make(tmp_path / "key", kind), tmp_path / "signers"
    signers.write_text(key.allowed("jane@example.com"))

    made = sign_bundle(bundle, key.path)

    opened = Bundle.open(bundle)
    assert opened.signature == bundle / SIGNATURE_NAME
    assert opened.signature.read_bytes().startswith(b"-----BEGIN SSH SIGNATURE-----\n")
    found = verify_bundle(bundle, signers)
    assert (found.principal, found.digest, found.files) == ("jane@example.com", opened.digest, 4)
    assert found.key == made.key == f"{kind.upper()} key {key.fingerprint}"


def test_what_others_sign_with_ssh_keygen_alone_counts_as_well(bundle: Path, signers: Path, jane: SshKey) -> None:
    jane.sign(bundle / "manifest.json", NAMESPACE)

    assert verify_bundle(bundle, signers).principal == "jane@example.com"


def test_without_a_list_any_whole_signature_or_none_will_do(bundle: Path, mallory: SshKey) -> None:
    assert verify_bundle(bundle).key is None
    sign_bundle(bundle, mallory.path)
    found = verify_bundle(bundle)
    assert (found.principal, found.key) == (None, f"ED25519 key {mallory.fingerprint}")
    (bundle / SIGNATURE_NAME).write_text("nonsense")
    with pytest.raises(SignatureError, match="the signature cannot be read"):
        verify_bundle(bundle)


def test_a_second_signature_takes_the_place_of_the_first(bundle: Path, jane: SshKey, mallory: SshKey) -> None:
    sign_bundle(bundle, mallory.path)
    sign_bundle(bundle, jane.path)

    assert verify_bundle(bundle).key == f"ED25519 key {jane.fingerprint}"
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


def test_a_key_that_the_agent_holds_is_named_by_its_public_half(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SshKey.make(tmp_path / "key")
    with agent_with(key) as socket:
        key.path.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        assert sign_bundle(bundle, key.public).key == f"ED25519 key {key.fingerprint}"
        (bundle / SIGNATURE_NAME).unlink()

    with pytest.raises(InputError, match=r"did not sign with it: .*[Nn]o private key found"):
        sign_bundle(bundle, key.public)


def test_an_altered_bundle_is_not_signed(bundle: Path, jane: SshKey) -> None:
    flip(bundle / "light.onnx", -1)

    with pytest.raises(BundleDigestError):
        sign_bundle(bundle, jane.path)
    assert not (bundle / SIGNATURE_NAME).exists()


def test_a_key_that_is_not_there_is_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: there is no such key: give a private SSH key, or a public one"):
        sign_bundle(bundle, tmp_path / "absent")


def test_a_file_that_is_no_key_is_told_and_nothing_is_left(bundle: Path, signers: Path) -> None:
    with pytest.raises(InputError, match="signers: ssh-keygen did not sign with it: ") as caught:
        sign_bundle(bundle, signers)
    assert len(str(caught.value).splitlines()) == 1
    assert not (bundle / SIGNATURE_NAME).exists()


def test_a_key_that_others_may_read_is_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    key = SshKey.make(tmp_path / "key")
    key.path.chmod(0o644)

    with pytest.raises(InputError, match=r"did not sign with it: Permissions 0644 for .* are too open\.") as caught:
        sign_bundle(bundle, key.path)
    assert "@" not in str(caught.value)


def test_a_place_that_is_taken_is_told(bundle: Path, jane: SshKey) -> None:
    (bundle / SIGNATURE_NAME).mkdir()

    with pytest.raises(InputError, match=r"manifest\.json\.sig: cannot be written: Is a directory"):
        sign_bundle(bundle, jane.path)
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


def test_every_principal_of_a_key_is_found(bundle: Path, jane: SshKey, tmp_path: Path) -> None:
    sign_bundle(bundle, jane.path)
    signers = tmp_path / "signers"
    for line, principal in [
        (jane.allowed("!eve@example.com,*@example.com"), "*@example.com"),
        (jane.allowed("ci,jane"), "ci"),
        (jane.allowed('"Jane Doe"'), "Jane Doe"),
        (jane.allowed(options=f'namespaces="git,{NAMESPACE}"'), "jane@example.com"),
        (jane.allowed(options='valid-after="20200101",valid-before="20990101"'), "jane@example.com"),
    ]:
        signers.write_text(line)
        assert verify_bundle(bundle, signers).principal == principal


def test_a_certificate_counts_where_its_authority_is_allowed(bundle: Path, mallory: SshKey, tmp_path: Path) -> None:
    key, signers = SshKey.make(tmp_path / "key"), tmp_path / "signers"
    keygen("-q", "-s", mallory.path, "-I", "id", "-n", "ci@example.com", key.public)
    # A certificate signs by the key that lies beside it.
    sign_bundle(bundle, tmp_path / "key-cert.pub")
    signers.write_text(mallory.allowed("*@example.com", "cert-authority"))

    found = verify_bundle(bundle, signers)
    assert (found.principal, found.key) == ("ci@example.com", f"ED25519-CERT key {key.fingerprint}")
    signers.write_text(mallory.allowed("*@other.com", "cert-authority"))
    with pytest.raises(SignatureError, match="which is not allowed"):
        verify_bundle(bundle, signers)


NOT_ALLOWED = r"the bundle is signed with the ED25519 key SHA256:\S+, which is not allowed: sign it with a key of"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('valid-before="20200101"', r"of their list, line 1: key has expired"),
        ('valid-after="20990101"', r"of their list, line 1: key is not yet valid"),
        (
            'namespaces="git"',
            r'of their list, line 1: key is not permitted for use in signature namespace "agfedge-bundle"',
        ),
        ("valid-before=soon", r"of their list, line 1: bad options"),
        ("nonsense", r"of their list, line 1: bad options"),
    ],
)
def test_a_line_that_does_not_let_its_key_sign_is_named(
    bundle: Path, jane: SshKey, tmp_path: Path, options: str, reason: str
) -> None:
    sign_bundle(bundle, jane.path)
    (tmp_path / "signers").write_text(jane.allowed(options=options))

    with pytest.raises(SignatureError, match=rf"{NOT_ALLOWED}.* \(.*{reason}"):
        verify_bundle(bundle, tmp_path / "signers")


def test_a_signer_who_is_not_listed_is_told_by_the_key(bundle: Path, signers: Path, mallory: SshKey) -> None:
    sign_bundle(bundle, mallory.path)

    with pytest.raises(SignatureError, match=NOT_ALLOWED) as caught:
        verify_bundle(bundle, signers)
    assert mallory.fingerprint in str(caught.value)


@pytest.mark.parametrize("content", ["", "\0\xff", "nonsense\n", "# nobody\n"])
def test_a_list_that_allows_nobody_is_told(bundle: Path, jane: SshKey, tmp_path: Path, content: str) -> None:
    sign_bundle(bundle, jane.path)
    (tmp_path / "signers").write_text(content)

    with pytest.raises(SignatureError, match=NOT_ALLOWED):
        verify_bundle(bundle, tmp_path / "signers")


def test_a_revoked_key_does_not_count(
    bundle: Path, signers: Path, jane: SshKey, mallory: SshKey, tmp_path: Path
) -> None:
    sign_bundle(bundle, jane.path)
    krl = tmp_path / "krl"
    keygen("-k", "-f", krl, mallory.public)
    assert verify_bundle(bundle, signers, krl).principal == "jane@example.com"

    for revoked in (jane.public, krl):
        keygen("-k", "-u", "-f", krl, jane.public)
        with pytest.raises(SignatureError, match=r"signed by jane@example.com with the ED25519 key .* is revoked"):
            verify_bundle(bundle, signers, revoked)


@pytest.mark.parametrize("given", [{"signers": "absent"}, {"revoked": "absent"}])
def test_a_list_that_is_not_there_is_told(bundle: Path, signers: Path, jane: SshKey, given: dict[str, str]) -> None:
    sign_bundle(bundle, jane.path)

    with pytest.raises(InputError, match=r"^absent: cannot be read: No such file"):
        verify_bundle(bundle, **{"signers": signers, **given})


def test_revoked_keys_without_allowed_ones_are_refused(bundle: Path, jane: SshKey) -> None:
    with pytest.raises(InputError, match="give --signers too"):
        verify_bundle(bundle, revoked=jane.public)


def test_a_bundle_without_a_signature_is_refused(bundle: Path, signers: Path) -> None:
    with pytest.raises(SignatureError, match=r"the bundle has no signature: sign it with `agfedge sign "):
        verify_bundle(bundle, signers)


def test_a_signature_of_another_bundle_is_refused(
    bundle: Path, signers: Path, jane: SshKey, write_tiny_bundle: WriteBundle, tmp_path: Path
) -> None:
    other = write_tiny_bundle(tmp_path / "other", confidence=0.9).path
    sign_bundle(other, jane.path)
    shutil.copy(other / SIGNATURE_NAME, bundle)

    with pytest.raises(SignatureError, match="the signature is not of this manifest"):
        verify_bundle(bundle, signers)


def test_a_signature_for_something_else_is_refused(bundle: Path, signers: Path, jane: SshKey) -> None:
    jane.sign(bundle / "manifest.json", "git")

    with pytest.raises(SignatureError, match="for something else than the namespace agfedge-bundle"):
        verify_bundle(bundle, signers)


def test_a_flipped_byte_anywhere_in_the_signature_is_refused(bundle: Path, signers: Path, jane: SshKey) -> None:
    sign_bundle(bundle, jane.path)
    path = bundle / SIGNATURE_NAME
    whole = path.read_bytes()
    # Line ends are no part of what is signed.
    for offset in [at for at in (*range(0, len(whole), 7), len(whole) - 2) if whole[at : at + 1] != b"\n"]:
        flip(path, offset)
        with pytest.raises(SignatureError) as caught:
            verify_bundle(bundle, signers)
        assert len(str(caught.value).splitlines()) == 1, offset
        path.write_bytes(whole)


def test_a_manifest_that_was_altered_and_still_reads_is_not_the_one_that_was_signed(
    bundle: Path, signers: Path, jane: SshKey, target: Path
) -> None:
    sign_bundle(bundle, jane.path)
    whole = (bundle / "manifest.json").read_bytes()
    assert b'"name": "tiny"' in whole
    (bundle / "manifest.json").write_bytes(whole.replace(b'"name": "tiny"', b'"name": "tinz"'))

    with pytest.raises(SignatureError, match="the manifest was altered"):
        verify_bundle(bundle, signers)
    for name in ("manifest.json", SIGNATURE_NAME):
        shutil.copy(bundle / name, in_release(target, name))
    assert "the manifest was altered" in problem()


def test_a_target_without_a_list_asks_for_no_signature(target: Path) -> None:
    (target / "allowed_signers").unlink()

    assert check_signature(RELEASE) == SignatureVerdict(required=False)


def test_a_target_with_a_list_names_who_signed(target: Path, bundle: Path, jane: SshKey) -> None:
    sign_bundle(bundle, jane.path)
    shutil.copy(bundle / SIGNATURE_NAME, in_release(target, SIGNATURE_NAME))

    signer = f"jane@example.com (ED25519 key {jane.fingerprint})"
    assert check_signature(RELEASE) == SignatureVerdict(required=True, signer=signer)
    assert sorted(path.name for path in target.iterdir()) == ["allowed_signers", "releases"]


def test_a_target_with_a_list_refuses_what_is_not_signed(target: Path) -> None:
    assert problem().startswith("the bundle has no signature, and this target has a file allowed_signers: sign it with")


def test_a_target_with_a_list_refuses_who_is_not_in_it(target: Path, bundle: Path, mallory: SshKey) -> None:
    sign_bundle(bundle, mallory.path)
    shutil.copy(bundle / SIGNATURE_NAME, in_release(target, SIGNATURE_NAME))

    assert mallory.fingerprint in problem()


def test_a_target_knows_revoked_keys(target: Path, bundle: Path, jane: SshKey) -> None:
    sign_bundle(bundle, jane.path)
    shutil.copy(bundle / SIGNATURE_NAME, in_release(target, SIGNATURE_NAME))
    shutil.copy(jane.public, target / "revoked_keys")

    assert "which is revoked" in problem()
    (target / "revoked_keys").chmod(0o664)
    assert "revoked_keys there can be written by others" in problem()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_list_that_others_may_write_is_no_list(target: Path, mode: int) -> None:
    (target / "allowed_signers").chmod(mode)

    assert problem() == "allowed_signers there can be written by others than its owner: chmod go-w allowed_signers"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_list_of_somebody_else_is_no_list(target: Path) -> None:
    os.chown(target / "allowed_signers", 12345, 12345)

    assert "allowed_signers there belongs to another user" in problem()


@pytest.mark.parametrize(
    ("put", "told"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "is a link, expected a plain file"),
        (lambda path: path.symlink_to("nowhere"), "is a link, expected a plain file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "is a special file, expected a plain one"),
        (lambda path: path.write_bytes(b"#" * (2**24 + 1)), "is larger than 16777216 bytes"),
    ],
    ids=["a link", "a link to nothing", "a folder", "a pipe", "a file of absurd size"],
)
@pytest.mark.parametrize("name", ["allowed_signers", "revoked_keys", SIGNATURE_NAME])
def test_what_is_no_plain_file_on_a_target_is_refused(
    target: Path, bundle: Path, jane: SshKey, name: str, put: Callable[[Path], object], told: str
) -> None:
    shutil.copy(jane.sign(bundle / "manifest.json", NAMESPACE), in_release(target, SIGNATURE_NAME))
    place = in_release(target, name) if name == SIGNATURE_NAME else target / name
    place.unlink(missing_ok=True)
    umask = os.umask(0o022)
    try:
        put(place)
    finally:
        os.umask(umask)

    assert told in problem()


@pytest.fixture
def keygen_that_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an ssh-keygen first that complains so, as old ones do; none at all for an empty complaint."""

    def install(complaint: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        if complaint:
            program = f"#!{sys.executable}\nimport sys\nsys.exit({complaint!r})\n"
            (folder / "ssh-keygen").write_text(program)
            (folder / "ssh-keygen").chmod(0o755)

    return install


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        ("", "there is no ssh-keygen to .*: sudo apt install openssh-client"),
        ("unknown option -- Y\nusage: ssh-keygen [-q]", "ssh-keygen is too old for signatures, which need OpenSSH 8.2"),
        ("ssh-keygen: invalid option -- 'Y'", "ssh-keygen is too old for signatures"),
        ('Unsupported operation for -Y: "find-principals"', "ssh-keygen is too old for signatures"),
    ],
)
def test_an_ssh_keygen_that_is_missing_or_too_old_is_told_with_what_to_install(
    target: Path,
    bundle: Path,
    signers: Path,
    jane: SshKey,
    keygen_that_says: Callable[[str], None],
    complaint: str,
    told: str,
) -> None:
    sign_bundle(bundle, jane.path)
    shutil.copy(bundle / SIGNATURE_NAME, in_release(target, SIGNATURE_NAME))
    keygen_that_says(complaint)

    with pytest.raises(InputError, match=told):
        sign_bundle(bundle, jane.path)
    with pytest.raises(SignatureError, match=told):
        verify_bundle(bundle, signers)
    assert "ssh-keygen" in problem()


def test_the_errors_of_a_signature_are_those_of_a_bundle() -> None:
    assert issubclass(SignatureError, BundleError)


@pytest.mark.slow
def test_a_target_that_asks_for_signatures_runs_and_goes_back_to_nothing_else(
    bundle: Path,
    signers: Path,
    jane: SshKey,
    mallory: SshKey,
    tmp_path: Path,
    write_tiny_bundle: WriteBundle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    device, other = tmp_path / "device", write_tiny_bundle(tmp_path / "other", confidence=0.9).path
    assert main(["deploy", str(bundle), str(device), "--quiet"]) == 0
    unsigned = os.readlink(device / "current")
    shutil.copy(signers, device / "allowed_signers")
    (device / "allowed_signers").chmod(0o644)

    assert main(["deploy", str(other), str(device), "--quiet"]) == 1
    sign_bundle(other, mallory.path)
    assert main(["deploy", str(other), str(device), "--quiet"]) == 1
    assert os.readlink(device / "current") == unsigned
    without, not_allowed = capsys.readouterr().err.splitlines()
    assert "the bundle has no signature, and this target has a file allowed_signers" in without
    assert f"the bundle is signed with the ED25519 key {mallory.fingerprint}, which is not allowed" in not_allowed

    sign_bundle(other, jane.path)
    assert main(["deploy", str(other), str(device), "--quiet"]) == 0
    assert "jane@example.com" in capsys.readouterr().out
    signed = os.readlink(device / "current")
    assert signed != unsigned
    assert main(["rollback", str(device)]) == 1
    assert "the bundle has no signature" in capsys.readouterr().err
    assert os.readlink(device / "current") == signed

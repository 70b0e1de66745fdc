"""A bundle is one folder that is whole, unchanged and closed, or it is refused."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from agfedge_runtime import Bundle
from agfedge_runtime.bundle.bundle import MAX_SIGNATURE_BYTES, SIGNATURE_NAME, write_bundle
from agfedge_runtime.errors import (
    BundleDigestError,
    BundleError,
    BundleKeyError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    BundleVersionError,
    InputError,
)


def test_a_written_bundle_opens(tiny):
    written = tiny.bundle(extra={"notes/report.html": b"<p>"})
    opened = Bundle.open(written.path)
    assert opened == written
    assert sorted(opened.manifest.files) == ["heavy.onnx", "light.onnx", "notes/report.html", "prior.onnx"]
    assert opened.file("notes/report.html").read_bytes() == b"<p>"


def test_the_digest_is_that_of_the_manifest(tiny):
    bundle = tiny.bundle()
    assert bundle.digest == hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()


def test_the_same_content_makes_the_same_bytes(tiny):
    first, second = tiny.bundle(name="first"), tiny.bundle(name="second", confidence=np.float64(0.75))
    assert first.digest == second.digest


def test_an_integer_threshold_makes_the_same_bytes_as_a_float(tiny):
    assert tiny.bundle(name="first", confidence=1).digest == tiny.bundle(name="second", confidence=1.0).digest


def test_files_can_be_given_by_path(tiny, tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(b"abc" * 10**6)
    bundle = tiny.bundle(extra={"big.bin": source})
    assert Bundle.open(bundle.path).manifest.files["big.bin"].size == 3 * 10**6


def test_a_source_that_is_not_there_is_told_and_nothing_is_written(tiny, tmp_path):
    with pytest.raises(InputError, match=r"absent\.bin: cannot be copied into the bundle"):
        tiny.bundle(extra={"big.bin": tmp_path / "absent.bin"})
    assert list(tmp_path.iterdir()) == []


def test_an_unsafe_name_is_refused_before_anything_is_written(tiny, tmp_path):
    with pytest.raises(BundlePathError):
        tiny.bundle(extra={"../outside": b""})
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_no_reader_would_accept_is_not_written(tiny, tmp_path):
    with pytest.raises(BundleKeyError, match=r"experts\.heavy\.file"):
        write_bundle(tmp_path / "bundle", tiny.manifest(), {"light.onnx": tiny.light(), "prior.onnx": tiny.prior()})
    assert list(tmp_path.iterdir()) == []


def test_a_new_bundle_takes_the_place_of_an_old_one(tiny, tmp_path):
    old = tiny.bundle(confidence=0.5, extra={"only-in-the-old.txt": b""})
    new = tiny.bundle(confidence=0.6)
    assert new.digest != old.digest
    assert Bundle.open(old.path).digest == new.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_with_other_things_is_not_replaced(tiny, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"not empty and holds no manifest\.json"):
        tiny.bundle()
    assert (tmp_path / "bundle" / "thesis.tex").read_text() == "years of work"


def test_what_the_bundle_does_not_have_is_told(tiny):
    with pytest.raises(BundleMissingFileError, match=r"has no 'report\.html'"):
        tiny.bundle().file("report.html")


def test_a_link_to_a_bundle_opens_and_later_switches_do_not_matter(tiny, tmp_path):
    bundle = tiny.bundle()
    link = tmp_path / "current"
    link.symlink_to("bundle")
    opened = Bundle.open(link)
    link.unlink()
    assert opened.file("light.onnx").read_bytes() == bundle.file("light.onnx").read_bytes()


def test_no_such_folder(tmp_path):
    with pytest.raises(BundleMissingFileError, match="got no folder"):
        Bundle.open(tmp_path / "absent")


def test_a_folder_without_manifest(tmp_path):
    with pytest.raises(BundleMissingFileError, match=r"has no manifest\.json"):
        Bundle.open(tmp_path)


def test_a_missing_file(tiny):
    path = tiny.bundle().path
    (path / "heavy.onnx").unlink()
    with pytest.raises(BundleMissingFileError, match=r"'heavy\.onnx' is missing"):
        Bundle.open(path)


@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_file(tiny, verify):
    path = tiny.bundle().path
    data = (path / "heavy.onnx").read_bytes()
    (path / "heavy.onnx").write_bytes(data[:-1])
    with pytest.raises(BundleDigestError, match=f"got {len(data) - 1} bytes, expected {len(data)}"):
        Bundle.open(path, verify=verify)


def test_an_altered_file(tiny):
    path = tiny.bundle().path
    data = bytearray((path / "heavy.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "heavy.onnx").write_bytes(data)
    with pytest.raises(BundleDigestError, match="got sha256"):
        Bundle.open(path)
    assert Bundle.open(path, verify=False).path == path


@pytest.mark.parametrize("name", ["added.txt", "folder/added.txt", ".hidden"])
def test_a_file_that_is_not_listed(tiny, name):
    path = tiny.bundle().path
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(b"")
    with pytest.raises(BundlePathError, match=r"is not listed in manifest\.json"):
        Bundle.open(path)


def test_a_link_in_place_of_a_file(tiny, tmp_path):
    path = tiny.bundle().path
    (path / "heavy.onnx").rename(tmp_path / "elsewhere.onnx")
    (path / "heavy.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundlePathError, match=r"'heavy\.onnx' is a link"):
        Bundle.open(path)


def test_a_link_in_place_of_a_folder(tiny, tmp_path):
    path = tiny.bundle(extra={"notes/report.html": b"<p>"}).path
    (path / "notes").rename(tmp_path / "elsewhere")
    (path / "notes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundlePathError, match="'notes' is a link"):
        Bundle.open(path)


def test_a_link_in_place_of_the_manifest(tiny, tmp_path):
    path = tiny.bundle().path
    (path / "manifest.json").rename(tmp_path / "elsewhere.json")
    (path / "manifest.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundlePathError, match=r"manifest\.json: got a link"):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["manifest.json", "heavy.onnx"])
def test_a_pipe_in_place_of_a_file_is_refused_without_reading_it(tiny, name):
    path = tiny.bundle().path
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(BundlePathError):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"schema": 7}, BundleVersionError),
        ({"surprise": 1}, BundleKeyError),
        ({"files": {"../../etc/passwd": {"size": 1, "sha256": "0" * 64}}}, BundlePathError),
        ({"files": {"light.onnx": {"size": 2**40, "sha256": "0" * 64}}}, BundleSizeError),
    ],
)
def test_a_manifest_that_cannot_be_trusted(tiny, change, error):
    path = tiny.bundle().path
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(json.dumps({**json.loads(text), **change}))
    with pytest.raises(error):
        Bundle.open(path)


def test_a_manifest_that_is_not_utf8(tiny):
    path = tiny.bundle().path
    (path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleKeyError, match="not UTF-8"):
        Bundle.open(path)


def test_a_manifest_of_absurd_size_is_not_read_whole(tiny):
    path = tiny.bundle().path
    with open(path / "manifest.json", "r+b") as file:
        file.truncate(2**34)
    with pytest.raises(BundleSizeError):
        Bundle.open(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tiny):
    path = tiny.bundle().path
    (path / "heavy.onnx").chmod(0)
    with pytest.raises(BundleError, match="check its permissions"):
        Bundle.open(path)


@pytest.mark.parametrize("verify", [True, False])
def test_a_signature_may_lie_beside_the_manifest(tiny, verify):
    bundle = tiny.bundle()
    assert bundle.signature is None
    (bundle.path / SIGNATURE_NAME).write_bytes(b"s" * MAX_SIGNATURE_BYTES)
    opened = Bundle.open(bundle.path, verify=verify)
    assert opened == bundle
    assert opened.signature == bundle.path / "manifest.json.sig"


@pytest.mark.parametrize(
    "name", ["light.onnx.sig", "manifest.json.sig2", "notes/manifest.json.sig", "MANIFEST.JSON.SIG"]
)
def test_no_other_signature_may(tiny, name):
    path = tiny.bundle(extra={"notes/report.html": b""}).path
    (path / name).write_bytes(b"s")
    with pytest.raises(BundlePathError, match=r"is not listed in manifest\.json"):
        Bundle.open(path)


def test_a_signature_of_absurd_size_is_refused(tiny):
    path = tiny.bundle().path
    (path / SIGNATURE_NAME).write_bytes(b"s" * (MAX_SIGNATURE_BYTES + 1))
    with pytest.raises(BundleSizeError, match=r"manifest\.json\.sig: larger than 65536 bytes, so it is no signature"):
        Bundle.open(path)


@pytest.mark.parametrize("put", [lambda path: path.symlink_to("manifest.json"), os.mkfifo])
def test_a_signature_is_a_plain_file(tiny, put):
    path = tiny.bundle().path
    put(path / SIGNATURE_NAME)
    with pytest.raises(BundlePathError, match=r"'manifest\.json\.sig' is a link or special file"):
        Bundle.open(path)


def test_a_signature_cannot_be_listed_in_what_it_signs(tiny, tmp_path):
    with pytest.raises(BundlePathError, match=r"got manifest\.json\.sig, which cannot be listed in what it signs"):
        tiny.bundle(extra={SIGNATURE_NAME: b"s"})
    assert list(tmp_path.iterdir()) == []
    path = tiny.bundle(extra={"manifest.json.txt": b"s"}).path
    (path / "manifest.json.txt").rename(path / SIGNATURE_NAME)
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace("manifest.json.txt", SIGNATURE_NAME))
    with pytest.raises(BundlePathError, match="cannot be listed"):
        Bundle.open(path)


def test_a_new_bundle_drops_the_signature_of_the_old_one(tiny):
    old = tiny.bundle(confidence=0.5)
    (old.path / SIGNATURE_NAME).write_bytes(b"s")
    assert tiny.bundle(confidence=0.6).signature is None

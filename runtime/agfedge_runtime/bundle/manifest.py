"""manifest.json: what a bundle holds and how its two experts are chained (schema 2).

`Manifest` and the dataclasses that it holds are the file's layout: each attribute is a key, each nested class an
object. Reading is strict, so that a runtime never guesses at what a newer or damaged manifest meant. Writing is
deterministic.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Mapping, Union

import numpy as np

from agfedge_runtime.bundle.layout import (
    COST_UNITS,
    Costs,
    Expert,
    Experts,
    FileRecord,
    InputSpec,
    Preprocessing,
    Trunk,
)
from agfedge_runtime.bundle.precisions import FULL_PRECISION, PRECISIONS, Accuracy, Precision, read_precisions
from agfedge_runtime.bundle.router import (
    CONFIDENCE_BINS,
    CONFIDENCE_KINDS,
    Branch,
    ConfidenceRule,
    Guarantee,
    PriorRule,
    Reference,
    Router,
    keys_of,
)
from agfedge_runtime.errors import (
    BundleKeyError,
    BundlePathError,
    BundleSizeError,
    BundleVersionError,
    InputError,
)
from agfedge_runtime.strict_json import Document, Fields, shorten

__all__ = [
    "CONFIDENCE_BINS",
    "CONFIDENCE_KINDS",
    "COST_UNITS",
    "FULL_PRECISION",
    "MANIFEST_NAME",
    "MAX_FILE_BYTES",
    "MAX_MANIFEST_BYTES",
    "MAX_PATH_LENGTH",
    "PRECISIONS",
    "SCHEMA",
    "Accuracy",
    "Branch",
    "ConfidenceRule",
    "Costs",
    "Expert",
    "Experts",
    "FileRecord",
    "Guarantee",
    "InputSpec",
    "Manifest",
    "Precision",
    "Preprocessing",
    "PriorRule",
    "Reference",
    "Router",
    "Scalar",
    "Trunk",
    "check_file_path",
]

SCHEMA = 2
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_FILE_BYTES = 8 * 2**30
MAX_PATH_LENGTH = 1024
Scalar = Union[str, int, float, bool, None]

_DOCUMENT = Document(MANIFEST_NAME, BundleKeyError, "export the bundle again")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """A whole manifest.

    Attributes:
        name: what the user calls the model.
        input: the experts' input.
        classes: the label of each output column, distinct.
        precisions: the experts and their router in each precision, fp32 among them.
        costs: estimated costs.
        provenance: where the bundle comes from: free keys, scalar values.
        files: every file but the manifest by its relative POSIX path; `write_bundle` fills it in.
        schema: the layout's version.
    """

    name: str
    input: InputSpec
    classes: tuple[str, ...]
    precisions: Mapping[str, Precision]
    costs: Costs
    provenance: Mapping[str, Scalar] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def experts(self) -> Experts:
        """The experts in fp32."""
        return self.precisions[FULL_PRECISION].experts

    @property
    def router(self) -> Router:
        """The router in fp32."""
        return self.precisions[FULL_PRECISION].router

    def in_precision(self, precision: str) -> Precision:
        """The graphs and thresholds of a precision.

        Raises:
            InputError: the bundle has no graphs of that precision.
        """
        if precision not in self.precisions:
            known = ", ".join(name for name in PRECISIONS if name in self.precisions)
            raise InputError(
                f"got the precision {shorten(precision)}, the bundle has {known}; "
                f"export it with --precision for {' or '.join(PRECISIONS[1:])}"
            )
        return self.precisions[precision]

    @property
    def lowest_precision(self) -> str:
        """The lowest precision that the bundle has."""
        return next(name for name in reversed(PRECISIONS) if name in self.precisions)

    def to_json(self) -> str:
        """The manifest as text: sorted keys, one space of indent, a newline at the end.

        Raises:
            InputError: a number is NaN or infinite.
        """
        try:
            text = json.dumps(
                dataclasses.asdict(self),
                sort_keys=True,
                indent=1,
                ensure_ascii=False,
                allow_nan=False,
                default=_plain,
            )
        except ValueError as error:
            raise InputError(f"the manifest cannot be written: {error}; every number must be finite") from error
        return text + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest strictly.

        Raises:
            BundleVersionError: a schema other than 2.
            BundleKeyError: not JSON, or a key that is unknown, missing or mistyped.
            BundlePathError: a file's path is not a plain relative POSIX path inside the bundle.
            BundleSizeError: the text or a declared file is larger than any that agfedge writes.
        """
        if len(text) > MAX_MANIFEST_BYTES:
            raise BundleSizeError(f"manifest.json: larger than {MAX_MANIFEST_BYTES} bytes; export the bundle again")
        return _manifest(_DOCUMENT.parse(text))


def check_file_path(path: str) -> None:
    """Refuse what could leave the bundle's folder, or hide in it.

    Raises:
        BundlePathError: `path` is not relative POSIX, has empty, ``.`` or ``..`` parts, a backslash or a
            control character, is longer than any that agfedge writes, or is the manifest's own.
    """
    parts = path.split("/")
    unsafe = any(part in ("", ".", "..") for part in parts) or "\\" in path or any(ord(c) < 32 for c in path)
    if unsafe or path == MANIFEST_NAME or len(path) > MAX_PATH_LENGTH:
        raise BundlePathError(
            f"manifest.json: files: got the path {shorten(path)}, expected a relative one inside the bundle, "
            "such as light.onnx; do not use this bundle unless you know where it comes from"
        )


def _plain(value: object) -> Scalar:
    """NumPy's scalars as Python's, for json."""
    if isinstance(value, np.generic):
        plain: Scalar = value.item()
        return plain
    raise TypeError(f"a manifest cannot hold a {type(value).__name__}")


def _manifest(value: object) -> Manifest:
    _check_schema(value)
    top = _DOCUMENT.fields(value, "", keys_of(Manifest))
    manifest = Manifest(
        name=top.text("name"),
        input=_input(top.fields("input", keys_of(InputSpec))),
        classes=_classes(top),
        precisions=read_precisions(_DOCUMENT, top.mapping("precisions")),
        costs=_costs(top.fields("costs", keys_of(Costs))),
        provenance=_provenance(top.mapping("provenance")),
        files=_files(top.mapping("files")),
    )
    _check_graphs(manifest)
    return manifest


def _check_graphs(manifest: Manifest) -> None:
    costs, trunk, outputs = manifest.costs, manifest.experts.trunk, _outputs(manifest.router)
    for name, precision in manifest.precisions.items():
        path = f"precisions.{name}"
        for key, file in precision.files.items():
            if file not in manifest.files:
                _DOCUMENT.fail(f"{path}.{key}", f"{shorten(file)} is not among the files")
        if (precision.experts.trunk is None) != (trunk is None):
            _DOCUMENT.fail(f"{path}.experts.trunk", "expected a trunk in every precision, or in none")
        if _outputs(precision.router) != outputs:
            _DOCUMENT.fail(f"{path}.router", f"expected the prior and the confidence of {FULL_PRECISION}, got others")
    if trunk is None and (costs.heavy, costs.trunk) != (1.0, 0.0):
        _DOCUMENT.fail(
            "costs.heavy" if costs.heavy != 1.0 else "costs.trunk",
            f"expected heavy 1.0 and trunk 0.0 where no trunk is shared, got {costs.heavy!r} and {costs.trunk!r}",
        )


def _outputs(router: Router) -> tuple[object, ...]:
    """What the graphs answer to a router, whatever its thresholds."""
    prior = None if router.prior is None else (router.prior.kind, router.prior.output)
    return prior, dataclasses.replace(router.confidence, threshold=0.0)


def _check_schema(value: object) -> None:
    """Look at the version before anything else: the keys of another version are not unknown, but unread."""
    found = _DOCUMENT.mapping(value, "")
    if "schema" not in found:
        _DOCUMENT.fail("schema", "missing")
    schema = _DOCUMENT.integer(found["schema"], "schema")
    if schema != SCHEMA:
        raise BundleVersionError(
            f"manifest.json: got schema {schema}, this release reads schema {SCHEMA}; "
            + ("export the bundle again" if schema < SCHEMA else "install the release of agfedge that wrote the bundle")
        )


def _input(fields: Fields) -> InputSpec:
    preprocessing = fields.fields("preprocessing", keys_of(Preprocessing))
    return InputSpec(
        name=fields.text("name"),
        shape=_shape(fields),
        dtype=fields.choice("dtype", ("uint8", "float32")),
        layout=fields.choice("layout", ("NHWC", "NCHW", "any")),
        preprocessing=Preprocessing(
            image=preprocessing.flag("image"),
            scale=preprocessing.number("scale"),
            mean=preprocessing.numbers("mean"),
            std=preprocessing.numbers("std"),
        ),
    )


def _shape(fields: Fields) -> tuple[int | None, ...]:
    path, sizes = fields.at("shape"), fields.array("shape")
    if len(sizes) < 2 or sizes[0] is not None:
        _DOCUMENT.fail(path, f"expected null (the batch), then at least one size, got {shorten(sizes)}")
    # Backends hold a dimension in an int32.
    return (None, *(_DOCUMENT.integer(size, path, 1, 2**31 - 1) for size in sizes[1:]))


def _classes(fields: Fields) -> tuple[str, ...]:
    classes = fields.texts("classes")
    if not classes or len(set(classes)) < len(classes):
        _DOCUMENT.fail("classes", f"expected distinct names, got {shorten(list(classes))}")
    return classes


def _costs(fields: Fields) -> Costs:
    return Costs(
        light=fields.number("light", minimum=0.0),
        prior=fields.number("prior", minimum=0.0),
        overhead=fields.number("overhead", minimum=0.0),
        trunk=fields.number("trunk", minimum=0.0),
        heavy=fields.number("heavy", minimum=0.0),
        unit=fields.choice("unit", COST_UNITS),
    )


def _provenance(values: Mapping[str, object]) -> dict[str, Scalar]:
    return {key: _scalar(value, f"provenance.{key}") for key, value in values.items()}


def _scalar(value: object, path: str) -> Scalar:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if not isinstance(value, str):
        _DOCUMENT.fail(path, f"expected text, a number, true, false or null, got {shorten(value)}")
    return _DOCUMENT.text(value, path)


def _files(values: Mapping[str, object]) -> dict[str, FileRecord]:
    for path in values:
        check_file_path(path)
        _check_no_file_above(path, values)
    return {path: _file_record(value, f"files.{path}") for path, value in values.items()}


def _check_no_file_above(path: str, files: Mapping[str, object]) -> None:
    parts = path.split("/")
    for end in range(1, len(parts)):
        if "/".join(parts[:end]) in files:
            raise BundlePathError(
                f"manifest.json: files: {shorten(path)} lies in a folder that is itself listed as a file; "
                "export the bundle again"
            )


def _file_record(value: object, path: str) -> FileRecord:
    fields = _DOCUMENT.fields(value, path, keys_of(FileRecord))
    size, sha256 = fields.integer("size"), fields.text("sha256")
    if size > MAX_FILE_BYTES:
        raise BundleSizeError(
            f"manifest.json: key {fields.at('size')}: got {size} bytes, expected at most {MAX_FILE_BYTES}; "
            "export the bundle again"
        )
    if not _SHA256.fullmatch(sha256):
        _DOCUMENT.fail(fields.at("sha256"), f"expected 64 hexadecimal digits, got {shorten(sha256)}")
    return FileRecord(size, sha256)

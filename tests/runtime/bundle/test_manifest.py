"""A manifest is read strictly: each defect has its own error, and nothing else ever escapes."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge_runtime.bundle.manifest import MAX_MANIFEST_BYTES, FileRecord, Manifest
from agfedge_runtime.errors import (
    BundleError,
    BundleKeyError,
    BundlePathError,
    BundleSizeError,
    BundleVersionError,
    InputError,
)

RECORD = {"size": 3, "sha256": "0" * 64}
VALID = {
    "schema": 2,
    "name": "tiny",
    "files": {name: dict(RECORD) for name in ("light.onnx", "heavy.onnx", "prior.onnx", "notes/report.html")},
    "input": {
        "name": "x",
        "shape": [None, 8, 8, 1],
        "dtype": "uint8",
        "layout": "NHWC",
        "preprocessing": {"image": True, "scale": 0.0625, "mean": [0.5], "std": [0.25]},
    },
    "classes": ["zero", "één"],
    "precisions": {
        "fp32": {
            "experts": {
                "light": {"file": "light.onnx", "macs": 10, "parameters": 3},
                "heavy": {"file": "heavy.onnx", "macs": 100, "parameters": 30},
                "trunk": None,
            },
            "router": {
                "prior": {"kind": "edges", "file": "prior.onnx", "output": "prior", "threshold": 0.5},
                "confidence": {
                    "kind": "max_probability",
                    "output": "confidence",
                    "threshold": 0.75,
                    "temperature": 1.5,
                },
                "guarantee": {
                    "method": "hoeffding",
                    "epsilon": 0.01,
                    "delta": 0.05,
                    "samples": 550,
                    "losses": 2,
                    "gains": 1,
                },
                "reference": None,
            },
            "golden": None,
            "accuracy": None,
            "flip_rate": 0.0,
        }
    },
    "costs": {"unit": "macs", "prior": 0.001, "light": 0.1, "overhead": 0.0, "heavy": 1.0, "trunk": 0.0},
    "provenance": {"seed": 0, "tool": "agfedge 0.1.0", "ratio": 0.5, "dirty": False, "commit": None},
}

FULL = VALID["precisions"]["fp32"]
FULL_KEY = "precisions/fp32"
REFERENCE = {"samples": 100, "early": 0.1, "late": 0.25, "confidence": [1] * 15 + [15] * 5}


def place(document: dict[str, object], path: str) -> tuple[dict[str, object], str]:
    """The object that holds the key at a path such as ``files/light.onnx/size``, and the key."""
    *parents, last = path.split("/")
    for parent in parents:
        document = document[parent]
    return document, last


def changed(path: str, value: object) -> str:
    """The valid manifest as text, with one value replaced or added."""
    document = copy.deepcopy(VALID)
    node, key = place(document, path)
    node[key] = value
    return json.dumps(document)


def removed(path: str) -> str:
    """The valid manifest as text, without one key."""
    document = copy.deepcopy(VALID)
    node, key = place(document, path)
    del node[key]
    return json.dumps(document)


def test_reading_and_writing_come_back_to_the_same_text():
    manifest = Manifest.from_json(json.dumps(VALID))
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert json.loads(text) == VALID
    assert text == json.dumps(VALID, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def test_what_is_read_is_typed():
    manifest = Manifest.from_json(changed(f"{FULL_KEY}/router/confidence/threshold", 1))
    assert manifest.input.row_shape == (8, 8, 1)
    assert manifest.files["light.onnx"] == FileRecord(3, "0" * 64)
    assert isinstance(manifest.router.confidence.threshold, float)


def test_a_router_may_have_no_prior_or_no_prior_threshold():
    assert Manifest.from_json(changed(f"{FULL_KEY}/router/prior", None)).router.prior is None
    assert Manifest.from_json(changed(f"{FULL_KEY}/router/prior/threshold", None)).router.prior.threshold is None


def test_a_router_may_hold_what_calibration_saw():
    reference = Manifest.from_json(changed(f"{FULL_KEY}/router/reference", REFERENCE)).router.reference
    assert (reference.samples, reference.early, reference.late) == (100, 0.1, 0.25)
    assert reference.confidence == tuple(REFERENCE["confidence"])


@pytest.mark.parametrize("kind", ["max_probability", "margin", "entropy", "energy"])
def test_every_kind_of_confidence_is_read(kind):
    assert Manifest.from_json(changed(f"{FULL_KEY}/router/confidence/kind", kind)).router.confidence.kind == kind


def test_numpy_scalars_are_written_as_plain_numbers():
    manifest = Manifest.from_json(json.dumps(VALID))
    odd = dataclasses.replace(manifest, provenance={"n": np.int64(3), "r": np.float32(0.5)})
    assert Manifest.from_json(odd.to_json()).provenance == {"n": 3, "r": 0.5}


def test_nan_is_not_written():
    manifest = Manifest.from_json(json.dumps(VALID))
    odd = dataclasses.replace(manifest, provenance={"r": float("nan")})
    with pytest.raises(InputError, match="finite"):
        odd.to_json()


@pytest.mark.parametrize("schema", [0, 1, 99])
def test_another_schema_is_a_version_error_whatever_else_changed(schema):
    text = json.dumps({"schema": schema, "novelty": True})
    with pytest.raises(BundleVersionError, match=f"got schema {schema}, this release reads schema 2"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    "path",
    [
        "extra",
        "input/extra",
        f"{FULL_KEY}/experts/extra",
        f"{FULL_KEY}/experts/light/extra",
        f"{FULL_KEY}/router/prior/extra",
        "files/light.onnx/extra",
    ],
)
def test_an_unknown_key_is_named(path):
    with pytest.raises(BundleKeyError, match=f"key {path.replace('/', '.')}: unknown"):
        Manifest.from_json(changed(path, 1))


@pytest.mark.parametrize(
    "path", ["schema", "classes", f"{FULL_KEY}/router/guarantee/epsilon", "files/heavy.onnx/sha256"]
)
def test_a_missing_key_is_named(path):
    with pytest.raises(BundleKeyError, match=f"key {path.replace('/', '.')}: missing"):
        Manifest.from_json(removed(path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "1"),
        ("schema", True),
        ("name", ""),
        ("name", 3),
        ("name", "\ud800"),
        ("input", []),
        ("input/shape", [None]),
        ("input/shape", [1, 8, 8]),
        ("input/shape", [None, 0]),
        ("input/shape", [None, 2.0]),
        ("input/dtype", "int8"),
        ("input/layout", "CHWN"),
        ("input/preprocessing/mean", 0.5),
        ("input/preprocessing/std", ["1"]),
        ("classes", []),
        ("classes", ["same", "same"]),
        (f"{FULL_KEY}/experts/light/macs", -1),
        (f"{FULL_KEY}/experts/light/macs", 1.5),
        (f"{FULL_KEY}/experts/light/file", "absent.onnx"),
        (f"{FULL_KEY}/router/prior/threshold", "0.5"),
        (f"{FULL_KEY}/router/confidence/threshold", None),
        (f"{FULL_KEY}/router/guarantee/losses", -1),
        (f"{FULL_KEY}/router/guarantee/samples", True),
        (f"{FULL_KEY}/router/confidence/kind", "mood"),
        (f"{FULL_KEY}/router/reference", 3),
        (f"{FULL_KEY}/router/reference", {**REFERENCE, "confidence": [1] * 19}),
        (f"{FULL_KEY}/router/reference", {**REFERENCE, "confidence": [1] * 21}),
        (f"{FULL_KEY}/router/reference", {**REFERENCE, "confidence": [6] * 20}),
        (f"{FULL_KEY}/router/reference", {**REFERENCE, "confidence": [0.5] * 20}),
        (f"{FULL_KEY}/router/reference", {**REFERENCE, "early": 0.9}),
        (f"{FULL_KEY}/router/reference", {**REFERENCE, "samples": 0}),
        (f"{FULL_KEY}/experts/trunk", {}),
        ("costs/trunk", 0.5),
        ("costs/unit", "joule"),
        ("costs/heavy", 2.0),
        ("costs/light", -0.1),
        ("provenance/seed", [0]),
        ("files/light.onnx/sha256", "ABC"),
        ("files/light.onnx/size", -1),
    ],
)
def test_a_mistyped_key_is_named(path, value):
    with pytest.raises(BundleKeyError, match=path.replace("/", r"\.")):
        Manifest.from_json(changed(path, value))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside",
        "a/../../outside",
        "a//b",
        "./a",
        "a/",
        "",
        "a\\b",
        "a\0b",
        "a\nb",
        "manifest.json",
        "light.onnx/below",
    ],
)
def test_an_unsafe_path_is_refused(path):
    files = {**VALID["files"], path: RECORD}
    with pytest.raises(BundlePathError):
        Manifest.from_json(json.dumps({**VALID, "files": files}))


def test_a_file_of_absurd_size_is_refused():
    with pytest.raises(BundleSizeError, match=r"light\.onnx\.size"):
        Manifest.from_json(changed("files/light.onnx/size", 8 * 2**30 + 1))


def test_a_manifest_of_absurd_size_is_refused():
    with pytest.raises(BundleSizeError):
        Manifest.from_json(" " * (MAX_MANIFEST_BYTES + 1))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 30, "-" + "9" * 5000])
def test_a_number_that_json_or_a_double_cannot_hold_is_refused(number):
    text = json.dumps(VALID).replace("0.0625", number)
    with pytest.raises(BundleKeyError):
        Manifest.from_json(text)


def test_a_duplicated_key_is_refused():
    text = json.dumps(VALID).replace('"dtype"', '"dtype": "float32", "dtype"')
    with pytest.raises(BundleKeyError, match="'dtype' appears twice"):
        Manifest.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"schema": 2}', "\ufeff{}"])
def test_malformed_text_is_refused(text):
    with pytest.raises(BundleKeyError):
        Manifest.from_json(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["light.onnx", "../up", "uint8", "NHWC", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated_manifests(draw: st.DrawFn) -> str:
    """The valid manifest after a few changes somewhere in its tree, then perhaps to its text."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(0, 3))):
        mutate(draw, document)
    text = json.dumps(document)
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.text(max_size=3)) + text[cut + draw(st.integers(0, 3)) :]
    return text


def mutate(draw: st.DrawFn, node: object) -> None:
    """Replace, remove or add one value, at any depth."""
    while isinstance(node, (dict, list)) and node:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], (dict, list)) and node[key] and draw(st.integers(0, 3)):
            node = node[key]
            continue
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del node[key]
        elif action == "add" and isinstance(node, dict):
            node[draw(st.text(max_size=5))] = draw(JSON)
        else:
            node[key] = draw(JSON)
        return


def outcome(text: str) -> Manifest | BundleError:
    try:
        return Manifest.from_json(text)
    except BundleError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(mutated_manifests())
def test_any_mutation_is_read_or_refused_with_a_bundle_error(text):
    found = outcome(text)
    if isinstance(found, Manifest):
        assert Manifest.from_json(found.to_json()) == found
    else:
        assert type(found) is not BundleError
        assert len(str(found).splitlines()) == 1


def half(**changes: object) -> dict:
    """The same graphs and router in fp16, on files that are listed."""
    accuracy = {"light": 0.9, "heavy": 0.95, "cascade": 0.94, "samples": 100}
    return {**copy.deepcopy(FULL), "golden": "notes/report.html", "accuracy": accuracy, "flip_rate": 0.01, **changes}


def with_precisions(**precisions: object) -> str:
    return json.dumps({**VALID, "precisions": {"fp32": FULL, **precisions}})


def experts(**files: str) -> dict:
    made = copy.deepcopy(FULL["experts"])
    for name, file in files.items():
        made[name]["file"] = file
    return made


def test_precisions_come_back_to_the_same_text():
    made = Manifest.from_json(with_precisions(fp16=half(), int8=half()))
    assert Manifest.from_json(made.to_json()) == made
    assert made.precisions["int8"].accuracy.cascade == 0.94
    assert made.lowest_precision == "int8"


def test_a_precision_has_its_own_files_and_thresholds():
    router = copy.deepcopy(FULL["router"])
    router["confidence"]["threshold"] = 0.5
    router["prior"]["threshold"] = None
    made = Manifest.from_json(with_precisions(fp16=half(experts=experts(light="notes/report.html"), router=router)))
    found = made.in_precision("fp16")
    assert found.experts.light.file == "notes/report.html"
    assert found.experts.light.macs == made.experts.light.macs
    assert found.router.confidence.threshold == 0.5
    assert found.router.prior.threshold is None
    assert made.in_precision("fp32").router == made.router


def test_a_precision_that_is_not_there_is_told_with_those_that_are():
    made = Manifest.from_json(with_precisions(fp16=half()))
    with pytest.raises(InputError, match="got the precision 'int8', the bundle has fp32, fp16; export it with"):
        made.in_precision("int8")


def test_fp32_must_be_among_the_precisions():
    with pytest.raises(BundleKeyError, match=r"key precisions\.fp32: missing"):
        Manifest.from_json(json.dumps({**VALID, "precisions": {"fp16": half()}}))


def other_router(**changes: object) -> dict:
    router = copy.deepcopy(FULL["router"])
    router["confidence"].update(changes)
    return router


TRUNK = {"file": "light.onnx", "macs": 1, "parameters": 1, "outputs": ["features"]}


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("fp8", half(), "precisions: got the precision 'fp8', expected of fp32, fp16, int8"),
        ("fp16", 3, "precisions.fp16"),
        ("fp16", half(experts=experts(light="other.onnx")), "precisions.fp16.experts.light.file"),
        ("fp16", half(experts=experts(heavy="")), "precisions.fp16.experts.heavy.file"),
        ("fp16", half(experts={**experts(), "trunk": TRUNK}), "precisions.fp16.experts.trunk"),
        ("fp16", half(golden="golden.npz"), "precisions.fp16.golden"),
        ("fp16", half(flip_rate=-0.1), "precisions.fp16.flip_rate"),
        ("fp16", half(accuracy={}), "precisions.fp16.accuracy.light: missing"),
        ("fp16", half(router=other_router(output="other")), "precisions.fp16.router: expected the prior"),
        ("fp16", half(router=other_router(temperature=2.0)), "precisions.fp16.router: expected the prior"),
        ("fp16", half(router={**FULL["router"], "prior": None}), "precisions.fp16.router: expected the prior"),
        ("fp16", half(more=1), "precisions.fp16.more: unknown"),
    ],
)
def test_a_precision_that_does_not_fit_is_named(name: str, value: object, key: str):
    with pytest.raises(BundleKeyError, match=f"key {key}"):
        Manifest.from_json(with_precisions(**{name: value}))

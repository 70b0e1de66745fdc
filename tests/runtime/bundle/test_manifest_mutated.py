"""2,000 mutated manifests: each is refused by a documented error, or is a bundle that opens, runs and prints as one."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.golden import golden_bytes
from agfedge_runtime.bundle.manifest import (
    Accuracy,
    ConfidenceRule,
    Costs,
    Expert,
    Experts,
    Guarantee,
    InputSpec,
    Manifest,
    Precision,
    Preprocessing,
    PriorRule,
    Reference,
    Router,
    Trunk,
)
from agfedge_runtime.cascade.verify import record_golden
from agfedge_runtime.cli import main
from agfedge_runtime.errors import (
    AgfedgeError,
    BundleDigestError,
    BundleError,
    BundleGoldenError,
    BundleKeyError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    BundleVersionError,
)

DOCUMENTED = (
    BundleDigestError,
    BundleGoldenError,
    BundleKeyError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    BundleVersionError,
)
GRAPHS = {
    "trunk": """g (uint8[N,2,2,1] x) => (float[N,4] features) <float full = {256.0}> {
      flat = Flatten<axis=1>(x) bytes = Cast<to=1>(flat) features = Div(bytes, full) }""",
    "prior": """g (float[N,4] features) => (float[N] prior)
      <int64[1] last = {1}, float[4,1] third = {0.0, 0.0, 1.0, 0.0}> {
      column = MatMul(features, third) prior = Squeeze(column, last) }""",
    "light": """g (float[N,4] features) => (float[N,2] probabilities, float[N] confidence)
      <int64[1] last = {1}, float[2] base = {0.0, 1.0}, float[4,2] a = {1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}> {
      picked = MatMul(features, a) probabilities = Add(picked, base)
      confidence = ReduceMax<keepdims=0>(probabilities, last) }""",
    "heavy": """g (float[N,4] features) => (float[N,2] probabilities)
      <float[2] base = {0.0, 1.0}, float[4,2] b = {0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0}> {
      picked = MatMul(features, b) probabilities = Add(picked, base) }""",
}
INPUTS = np.random.default_rng(0).integers(0, 256, (6, 2, 2, 1), np.uint8)


def whole_manifest() -> Manifest:
    """A manifest with all that one can have."""
    router = Router(
        PriorRule("third", "prior.onnx", "prior", 0.5),
        ConfidenceRule("max_probability", "confidence", 0.75, 1.5),
        Guarantee("hoeffding", 0.01, 0.05, 550, 3, 1),
        Reference(100, 0.1, 0.25, (1,) * 15 + (15,) * 5),
    )
    accuracy = Accuracy(0.9, 0.95, 0.94, 100)
    precisions = {"fp32": Precision(experts_in(""), router, "golden.npz", accuracy)}
    for name, threshold in (("fp16", 0.25), ("int8", None)):
        prior = PriorRule("third", f"{name}/prior.onnx", "prior", threshold)
        other = dataclasses.replace(router, prior=prior, reference=None)
        precisions[name] = Precision(experts_in(f"{name}/"), other, f"{name}/golden.npz", accuracy, 0.01)
    return Manifest(
        name="tiny",
        input=InputSpec("x", (None, 2, 2, 1), "uint8", "NHWC", Preprocessing(True, 1 / 256, (0.0,), (1.0,))),
        classes=("zero", "één"),
        precisions=precisions,
        costs=Costs(0.1, 0.01, trunk=0.5, heavy=0.5),
        provenance={"seed": 0, "tool": "agfedge", "ratio": 0.5, "dirty": False, "commit": None},
    )


def experts_in(folder: str) -> Experts:
    trunk = Trunk(f"{folder}trunk.onnx", 40, 4, ("features",))
    return Experts(Expert(f"{folder}light.onnx", 8, 8), Expert(f"{folder}heavy.onnx", 80, 80), trunk)


def write_whole(folder: Path) -> Bundle:
    """A bundle of that manifest, whose precisions share their graphs."""
    graphs = {
        f"{name}.onnx": onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> {text}').SerializeToString()
        for name, text in GRAPHS.items()
    }
    files = {f"{prefix}{name}": graph for prefix in ("", "fp16/", "int8/") for name, graph in graphs.items()}
    files |= {f"{prefix}golden.npz": b"" for prefix in ("", "fp16/", "int8/")}
    draft = write_bundle(folder, whole_manifest(), files)
    for precision, name in (("fp32", "golden.npz"), ("fp16", "fp16/golden.npz"), ("int8", "int8/golden.npz")):
        with Cascade.open(draft, monitor=False, precision=precision) as cascade:
            files[name] = golden_bytes(record_golden(cascade, INPUTS))
    return write_bundle(folder, whole_manifest(), files)


@dataclasses.dataclass(frozen=True)
class Workplace:
    """A bundle whose manifest is replaced again and again, its manifest as it was, and inputs in a file."""

    bundle: Path
    manifest: bytes
    inputs: Path

    def refused(self, manifest: bytes) -> BundleError | None:
        """Opens the bundle with another manifest; returns why not."""
        (self.bundle / "manifest.json").write_bytes(manifest)
        with within_a_second():
            try:
                Bundle.open(self.bundle)
            except BundleError as error:
                return error
        return None

    def check(self, manifest: bytes) -> bool:
        """Whether a manifest is accepted; what is refused, or accepted, must be so as documented."""
        error = self.refused(manifest)
        if error is None:
            self._use()
            return True
        assert isinstance(error, DOCUMENTED)
        assert str(error)
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        return False

    def _use(self) -> None:
        bundle = Bundle.open(self.bundle, verify=False)
        assert Manifest.from_json(bundle.manifest.to_json()) == bundle.manifest
        with contextlib.suppress(AgfedgeError), Cascade.open(bundle) as cascade:
            cascade(INPUTS[:1])
        folder = str(self.bundle)
        for argv in (
            ["verify", folder],
            ["verify", folder, "--precision", "fp16", "--json"],
            ["run", folder, str(self.inputs)],
            ["run", folder, str(self.inputs), "--precision", "int8", "--json"],
        ):
            with within_a_second():
                said(argv)


def said(argv: list[str]) -> None:
    """Runs a command of the device: it answers, or refuses in one line."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(argv)
    assert code in (0, 1)
    assert err.getvalue().count("\n") == (0 if out.getvalue() else 1)
    out.getvalue().encode("utf-8")


@contextlib.contextmanager
def within_a_second() -> Iterator[None]:
    """Of this process's own time, however busy the machine is."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 1.0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("mutated")
    np.savez(folder / "inputs.npz", x=INPUTS)
    bundle = write_whole(folder / "bundle")
    return Workplace(bundle.path, (bundle.path / "manifest.json").read_bytes(), folder / "inputs.npz")


class Pairs(list):
    """A JSON object that may have a key twice."""


class Raw(str):
    """Text that stands in JSON as it is."""

    __slots__ = ()


def parse(text: bytes) -> Pairs:
    return json.loads(text, object_pairs_hook=lambda pairs: Pairs([key, value] for key, value in pairs))


def render(node: object) -> str:
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {render(value)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(render, node)) + "]"
    return json.dumps(node)


Place = tuple[list, int]


def places(node: object) -> Iterator[Place]:
    """Every value of a tree, as a container and an index: those of an object are pairs."""
    for index, each in enumerate(node if isinstance(node, list) else ()):
        yield node, index
        yield from places(each[1] if isinstance(node, Pairs) else each)


def value_at(place: Place) -> object:
    node, index = place
    return node[index][1] if isinstance(node, Pairs) else node[index]


def put(place: Place, value: object) -> None:
    node, index = place
    node[index] = [node[index][0], value] if isinstance(node, Pairs) else value


ODD = [
    *(None, True, False, 0, -0.0, 1, -1, 0.5, 2, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30, 1e308),
    *(Raw(text) for text in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "01", "1.", ".5", "+1", "-")),
    *(Raw(text) for text in ("9" * 5000, "0." + "1" * 10**5, "1e-" + "9" * 1000, "", "undefined", "'single'", '"\\x"')),
    *(Raw(text) for text in ('"\x00"', '"\n"', '"\\ud800"', '"\\ud83d\\ude00"', "/* */ 1", "[1,]", "{,}", '{"a"}')),
    *("", " ", "x" * 10**5, "\u202e", "\u2028", "\x1b[2J", "é" * 300, "\x00", "a\nb", "%s%n{0}", "../../etc/passwd"),
    *("/etc/passwd", "light.onnx", "heavy.onnx", "fp16/light.onnx", "manifest.json", "manifest.json.sig", "x", "prior"),
    *("confidence", "features", "probabilities", "uint8", "float32", "NCHW", "fp16", "entropy", "latency", "0" * 64),
    *([], [[]], Pairs(), [None], [1, 2, 3], [[[[[[]]]]]], Pairs([["a", 1], ["a", 2]]), [0.5] * 1000, [None, 2**31 - 1]),
    *([None, 2, 2, 1], [None, 4], [None, 2**31 - 1, 2**31 - 1], ["zero"] * 2, [str(n) for n in range(3)]),
]  # fmt: skip
KEYS = [
    "",
    "a",
    "trunk",
    "prior",
    "fp16",
    "fp32",
    "__class__",
    "size",
    "light.onnx",
    "../up",
    "/up",
    "é",
    "\x00",
    "x" * 300,
]


def replace(draw: st.DrawFn, place: Place, _: list[Place]) -> None:
    put(place, copy.deepcopy(draw(st.sampled_from(ODD))))


def delete(draw: st.DrawFn, place: Place, _: list[Place]) -> None:
    del place[0][place[1]]


def duplicate(draw: st.DrawFn, place: Place, _: list[Place]) -> None:
    place[0].insert(draw(st.integers(0, len(place[0]))), copy.deepcopy(place[0][place[1]]))


def rename(draw: st.DrawFn, place: Place, all_places: list[Place]) -> None:
    node, index = place
    if isinstance(node, Pairs):
        node[index] = [draw(st.sampled_from(KEYS) | st.text(max_size=4)), node[index][1]]


def swap(draw: st.DrawFn, place: Place, all_places: list[Place]) -> None:
    other = draw(st.sampled_from(all_places))
    # Copies: a value that holds the other one would otherwise hold itself.
    mine, its = copy.deepcopy(value_at(place)), copy.deepcopy(value_at(other))
    put(other, mine)
    if place[1] < len(place[0]):
        put(place, its)


def nest(draw: st.DrawFn, place: Place, _: list[Place]) -> None:
    depth = draw(st.sampled_from([1, 2, 30, 300, 5000, 50_000]))
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"a": ', "}"), ("[", "")]))
    put(place, Raw(opening * depth + render(value_at(place)) + closing * depth))


def retype(draw: st.DrawFn, place: Place, _: list[Place]) -> None:
    """A number as text, text as a list, a list as an object: what a careless writer makes of it."""
    value = value_at(place)
    if isinstance(value, Pairs):
        put(place, [each for _, each in value])
    elif isinstance(value, list):
        put(place, Pairs([str(index), each] for index, each in enumerate(value)))
    else:
        put(place, draw(st.sampled_from([str(value), [value], Pairs([["value", value]]), value is None])))


def vary(draw: st.DrawFn, place: Place, _: list[Place]) -> None:
    """Another value of the same type, which a reader may accept."""
    value = value_at(place)
    if isinstance(value, bool) or value is None:
        put(place, not value)
    elif isinstance(value, int):
        put(place, draw(st.integers(-1, 2**63)))
    elif isinstance(value, float):
        put(place, draw(st.floats(allow_nan=False, allow_infinity=False)))
    elif isinstance(value, str) and not isinstance(value, Raw):
        put(place, draw(st.text(max_size=20)))
    elif isinstance(value, list) and value:
        value.pop(draw(st.integers(0, len(value) - 1)))


CHANGES: tuple[Callable[[st.DrawFn, Place, list[Place]], None], ...] = (
    replace, delete, duplicate, rename, swap, nest, retype, vary, vary, vary,
)  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn, manifest: bytes) -> bytes:
    """The manifest with one to three changes of its tree, or of its bytes."""
    count = draw(st.integers(1, 3))
    if draw(st.integers(0, 3)) == 0:
        return mutated_bytes(draw, manifest, count)
    tree = parse(manifest)
    for _ in range(count):
        found = list(places(tree))
        if found:
            draw(st.sampled_from(CHANGES))(draw, draw(st.sampled_from(found)), found)
    return render(tree).encode("utf-8", "surrogatepass")


def mutated_bytes(draw: st.DrawFn, data: bytes, count: int) -> bytes:
    for _ in range(count):
        at, to = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        kind = draw(st.sampled_from(["flip", "insert", "delete", "cut", "repeat", "move", "encode"]))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif kind == "insert":
            data = (
                data[:at]
                + draw(st.binary(max_size=4) | st.sampled_from([b"\xef\xbb\xbf", b"\x00", b"{", b'"']))
                + data[at:]
            )
        elif kind == "delete":
            data = data[:at] + data[min(to, at + 8) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "repeat":
            data = data[:to] + data[at:]
        elif kind == "move":
            data = data[:at] + data[to:] + data[at:to]
        elif kind == "encode":
            data = data.decode("utf-8", "replace").encode(
                draw(st.sampled_from(["utf-16", "utf-32", "latin-1", "utf-8-sig"])), "replace"
            )
    return data


def test_the_manifest_itself_is_accepted_and_has_all_that_there_is(workplace: Workplace) -> None:
    assert workplace.check(workplace.manifest)
    found = json.loads(workplace.manifest)
    assert set(found) == {each.name for each in dataclasses.fields(Manifest)}
    full = found["precisions"]["fp32"]
    assert None not in (full["experts"]["trunk"], full["router"]["prior"], full["router"]["reference"])


@pytest.mark.slow
@pytest.mark.parametrize(("count", "each"), [(300, 8), pytest.param(2000, 100, marks=pytest.mark.full)])
def test_mutated_manifests_are_refused_as_documented_or_run(workplace: Workplace, count: int, each: int) -> None:
    outcomes = {True: 0, False: 0}

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(mutations(workplace.manifest))
    def check(manifest: bytes) -> None:
        outcomes[workplace.check(manifest)] += 1

    check()
    assert sum(outcomes.values()) >= count
    # Else they would test one side alone.
    assert min(outcomes.values()) >= each


@pytest.mark.parametrize("path", ["classes", "files/light.onnx"])
def test_nesting_is_refused_at_every_depth(path: str, workplace: Workplace) -> None:
    """Reading, checking and telling each have a depth at which they give up."""
    tree = json.loads(workplace.manifest)
    *above, last = path.split("/")
    node = tree
    for key in above:
        node = node[key]
    node[last] = "@"
    text = json.dumps(tree)
    limit = sys.getrecursionlimit()
    for depth in range(limit - 200, limit + 10):
        for opening, closing in (("[", "]"), ('{"a": ', "}")):
            nested = text.replace('"@"', opening * depth + "1" + closing * depth)
            with pytest.raises(BundleKeyError) as caught:
                Manifest.from_json(nested)
            assert str(caught.value).isprintable()


def test_a_path_of_absurd_length_is_refused_at_once(workplace: Workplace) -> None:
    tree = json.loads(workplace.manifest)
    tree["files"]["a/" * 30_000 + "b"] = tree["files"]["light.onnx"]
    error = workplace.refused(json.dumps(tree).encode())
    assert isinstance(error, BundlePathError)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 15_000_000},
        {"classes": [f"c{number}" for number in range(300_000)]},
        {"provenance": {f"k{number}": None for number in range(100_000)}},
        {"x" * 15_000_000: None},
        {"costs": "\n" * 7_000_000},
    ],
    ids=["name", "classes", "provenance", "key", "text that grows when shown"],
)
def test_a_manifest_as_large_as_can_be_is_read_at_once(workplace: Workplace, change: dict[str, object]) -> None:
    error = workplace.refused(json.dumps({**json.loads(workplace.manifest), **change}).encode())
    assert error is None or len(str(error)) < 1000

"""`agfedge search`: its options, what it prints and what it writes. The search itself is replaced by given points."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import agfedge
from agfedge.allocate import AllocationRequest, GroupChoice
from agfedge.cli import main
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.study.search import SearchRequest, SearchResult
from agfedge.study.search.request import DEPTHS, KEEPS
from agfedge.subject.origin import Origin
from agfedge_runtime import Bundle
from asking import search_request
from search_points import done, failed, rejected
from workshop import NETS, Workshop

POINTS = (done("keep0.5-none", 0.6, 0.95), done("keep0.25-none", 0.4, 0.94), rejected("keep0.9-none"), failed("x"))
ARGUMENTS = ("search", "--model", "m:f", "--data", "d")


class Bench:
    """Runs the command; keeps what the search was asked for."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.points = POINTS
        self.requests: list[SearchRequest] = []
        self.accepted: list[tuple[str, str]] = []
        self.bundled: object = None

    def search(self, request: SearchRequest) -> SimpleNamespace:
        """Stands for the class `Search`."""
        self.requests.append(request)
        self.out.mkdir(exist_ok=True)
        return SimpleNamespace(run=self.result, result=self.result, accept=self.accept, is_done=self.is_done)

    def result(self) -> SearchResult:
        return SearchResult(self.requests[-1], self.points, "multiply-accumulates", ("one was left out",))

    def is_done(self, name: str, bundle: str) -> bool:
        return name != "best"

    def accept(self, name: str, bundle: str) -> object:
        self.accepted.append((name, bundle))
        return self.bundled

    def run(self, *options: str) -> int:
        return main([*ARGUMENTS, "--out", str(self.out), *options])

    def asked(self, *options: str) -> SearchRequest:
        assert self.run(*options) == 0
        return self.requests[-1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path / "out")
    monkeypatch.setattr("agfedge.study.search.Search", made.search)
    return made


def test_what_is_not_given_is_as_the_request_has_it(bench: Bench) -> None:
    assert bench.asked() == search_request(origin=Origin("m:f", "d"), out=str(bench.out))


def test_every_option_reaches_the_request(bench: Bench) -> None:
    request = bench.asked(
        *("--weights", "w.pt", "--mean", "0.5", "--std", "0.25", "--keep", "0.5,0.25", "--align", "8"),
        *("--share-trunk", "none,layer1", "--light", "a.onnx", "--light", "b.onnx", "--score", "l1"),
        *("--epochs", "3", "--patience", "2", "--exclude", "conv1", "--exclude", "head", "--per-layer", "p.toml"),
        *("--costs", "macs", "--time-limit", "1.5h", "--epsilon", "0.01", "--delta", "0.1", "--seed", "7"),
    )
    assert request == search_request(
        origin=Origin("m:f", "d", "w.pt", (0.5,), (0.25,)),
        out=str(bench.out),
        amounts=(AllocationRequest(keep=0.5, align=8), AllocationRequest(keep=0.25, align=8)),
        trunks=("none", "layer1"),
        lights=("a.onnx", "b.onnx"),
        score="l1",
        recovery=Recovery(epochs=3, patience=2, seed=7),
        choice=GroupChoice(("conv1", "head"), per_layer="p.toml"),
        depths=(),
        costs="macs",
        time_limit_s=5400.0,
        bound=Bound(0.01, 0.1),
    )


@pytest.mark.parametrize(
    ("options", "amounts"),
    [
        ((), tuple(AllocationRequest(keep=keep) for keep in KEEPS)),
        (("--keep", "0.5"), (AllocationRequest(keep=0.5),)),
        (
            ("--budget", "0.3,0.2", "--of", "macs"),
            (AllocationRequest(budget=0.3, of="macs"), AllocationRequest(budget=0.2, of="macs")),
        ),
        (
            ("--keep", "0.5", "--budget", "0.3", "--of", "macs", "--floor", "0.2"),
            (AllocationRequest(keep=0.5), AllocationRequest(budget=0.3, of="macs", floor=0.2)),
        ),
        (
            ("--keep", "0.5", "--budget", "0.3", "--allocation", "global", "--floor", "0.2"),
            (
                AllocationRequest(keep=0.5, allocation="global", floor=0.2),
                AllocationRequest(budget=0.3, allocation="global", floor=0.2),
            ),
        ),
        (("--keep", "none", "--light", "a.onnx"), ()),
    ],
)
def test_each_width_and_each_budget_is_an_amount(bench: Bench, options: tuple[str, ...], amounts: tuple) -> None:
    found = bench.asked(*options).amounts
    assert found == amounts
    for each in found:
        each.check()  # none is refused


def test_what_is_part_of_a_budget_stays_where_there_is_none(bench: Bench) -> None:
    (amount,) = bench.asked("--keep", "0.5", "--of", "macs").amounts
    assert amount.of == "macs"  # and is refused with the request


@pytest.mark.parametrize(
    ("options", "depths", "widths"),
    [
        ((), DEPTHS, len(KEEPS)),
        (("--keep", "0.5"), (), 1),
        (("--depth", "0.4,0.3"), (0.4, 0.3), 0),
        (("--depth", "0.4", "--keep", "0.5"), (0.4,), 1),
        (("--budget", "0.3", "--of", "macs"), (), 1),
    ],
)
def test_a_depth_stands_beside_widths(
    bench: Bench, options: tuple[str, ...], depths: tuple[float, ...], widths: int
) -> None:
    request = bench.asked(*options)
    assert (request.depths, len(request.amounts)) == (depths, widths)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("0.5m", 30)])
def test_a_duration_has_a_unit(bench: Bench, text: str, seconds: float) -> None:
    assert bench.asked("--time-limit", text).time_limit_s == seconds


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--time-limit", "90"), 1, "--time-limit is '90': expected a duration such as 90s, 30m or 2h"),
        (("--time-limit", "-5s"), 2, "--time-limit"),
        (("--keep", "half"), 1, "--keep is half: expected shares such as 0.5,0.25, or none"),
        (("--budget", "none"), 2, "Invalid value for --budget: could not convert string to float: 'none'"),
    ],
)
def test_options_that_cannot_be_read_are_refused(
    bench: Bench, options: tuple[str, ...], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(*options) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--accept", "best"), "agfedge: --accept is one of two options: give --bundle FOLDER as well\n"),
        (("--bundle", "b"), "agfedge: --bundle is one of two options: give --accept NAME as well\n"),
    ],
)
def test_a_point_and_its_bundle_go_together(
    bench: Bench, options: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(*options) == 1
    assert capsys.readouterr().err == told
    assert bench.requests == []


def test_torchrun_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert bench.run() == 1
    assert capsys.readouterr().err == (
        "agfedge: agfedge search is one process, this is one of 2: start it without torchrun\n"
    )
    assert bench.requests == []


def test_the_table_and_what_it_means_are_printed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2].startswith("keep0.25-none *")
    assert "\nkeep0.9-none rejected: a light pass alone costs more than the best\n" in out
    assert "\nbest: keep0.25-none, at 0.400 " in out
    assert "\nestimates: from 400 rows" in out
    assert "\ncosts: multiply-accumulates\n" in out
    assert f"\nwritten: {bench.out}/search.md, .json, .svg, .png\n" in out
    assert out.endswith("the same command with --accept best (or another point) and --bundle FOLDER makes its bundle\n")
    assert err == "agfedge: WARNING: one was left out\n"


def test_the_reports_are_written(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run() == 0
    assert sorted(path.name for path in bench.out.iterdir()) == [
        f"search.{end}" for end in ("json", "md", "png", "svg")
    ]
    assert json.loads((bench.out / "search.json").read_text())["best"] == "keep0.25-none"
    assert "![Accuracy against expected cost](search.svg)" in (bench.out / "search.md").read_text()
    assert "* Warning: one was left out." in (bench.out / "search.md").read_text()


def test_the_same_points_write_the_same_reports(bench: Bench) -> None:
    assert bench.run() == 0
    before = {path.name: path.read_bytes() for path in bench.out.iterdir()}
    assert bench.run() == 0
    assert {path.name: path.read_bytes() for path in bench.out.iterdir()} == before


def test_json_is_alone_on_stdout(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["out"], document["best"], document["accepted"]) == (str(bench.out), "keep0.25-none", None)
    assert len(document["points"]) == len(POINTS)


@pytest.fixture(scope="module")
def bundled(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = workshop.folder
    return agfedge.export(
        f"{NETS}:Residual",
        folder / "stripes.npz",
        tmp_path_factory.mktemp("accepted") / "bundle",
        weights=folder / "weights.pt",
        epochs=0,
        epsilon=0.05,
        delta=0.1,
    )


def test_an_accepted_point_becomes_a_bundle(bench: Bench, bundled: object, capsys: pytest.CaptureFixture[str]) -> None:
    bench.bundled = bundled
    assert bench.run("--accept", "keep0.5-none", "--bundle", "b") == 0
    assert bench.accepted == [("keep0.5-none", "b")]
    out = capsys.readouterr().out
    assert "\nwritten: " in out
    assert out.splitlines()[-1].startswith(f"bundle: {bundled.bundle.path} (")


def test_an_accepted_bundle_is_in_the_json(bench: Bench, bundled: object, capsys: pytest.CaptureFixture[str]) -> None:
    bench.bundled = bundled
    assert bench.run("--accept", "best", "--bundle", "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accepted"]["digest"] == bundled.bundle.digest


@pytest.mark.slow
def test_the_way_of_a_small_network_from_the_search_to_a_bundle(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        *("search", "--model", f"{NETS}:Residual", "--weights", str(workshop.folder / "weights.pt")),
        *("--data", str(workshop.folder / "stripes.npz"), "--out", str(tmp_path / "out"), "--keep", "0.75,0.5"),
        *("--share-trunk", "none", "--epochs", "0", "--costs", "macs", "--epsilon", "0.05", "--delta", "0.1"),
    ]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "keep0.75-none" in first
    assert "costs: multiply-accumulates\n" in first
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("search.*")}
    assert main([*command, "--json", "--accept", "keep0.5-none", "--bundle", str(tmp_path / "bundle")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("search.*")} == before
    assert document["accepted"]["digest"] == Bundle.open(tmp_path / "bundle").digest

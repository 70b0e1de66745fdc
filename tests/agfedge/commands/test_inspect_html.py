"""`agfedge inspect MODEL.onnx`: the page for people, and the table that sums up what stays whole."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest

from agfedge.cli import main
from agfedge.light.model_report import by_reason
from agfedge_export import KeptWhole
from pruning import build

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in its order; collects texts by tag, and every attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    body = "a = Conv(x, w1, b1)  r = Relu(a)  c = Conv(r, w2)  g = acme.Own(c)  y = Conv(g, w3)"
    shapes = {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (6, 8, 1, 1), "w3": (4, 6, 1, 1)}
    onnx.save(build(body, shapes), path)
    return path


@pytest.fixture
def page(model: Path, tmp_path: Path) -> Page:
    assert main(["inspect", str(model), "--report", str(tmp_path / "page.html")]) == 0
    return Page((tmp_path / "page.html").read_text())


def test_the_page_lists_every_group_with_what_is_at_stake(page: Page) -> None:
    assert page.texts["b"] == ["w1"]
    assert any("MMACs, " in text for text in page.texts["span"])
    assert any("parameters, " in text for text in page.texts["span"])
    assert any("8 channels" in text for text in page.texts["summary"])


def test_the_page_lists_every_member_and_every_axis_that_stays_whole(page: Page) -> None:
    cells = page.texts["td"]
    assert {"w1", "b1", "produces", "consumes"} <= set(cells)
    assert any("no rule for Own" in cell for cell in cells)


def test_the_page_asks_nothing_of_the_network(page: Page) -> None:
    assert not {name for name, _ in page.attributes} & {"src", "href", "action", "srcset", "data"}
    assert all("url(" not in text and "@import" not in text for text in page.texts["style"])
    assert all("fetch" not in text and "http" not in text for text in page.texts["script"])


def test_the_page_fits_a_telephone_and_paper(page: Page) -> None:
    assert ("content", "width=device-width, initial-scale=1") in page.attributes
    assert any("@media print" in text and "overflow-x: auto" in text for text in page.texts["style"])


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    model = build("a = Conv(x, w1)  y = Conv(a, w2)", {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)})
    evil = "<script>alert('$x')</script>"
    model.graph.initializer[0].name = model.graph.node[0].input[1] = evil
    model.graph.node[1].name = "</table><b>"
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["inspect", str(tmp_path / "m.onnx"), "--report", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text())
    assert page.texts["b"] == [evil]
    assert page.texts["td"].count(evil) == 2
    assert "</table><b>" in page.texts["td"]
    assert len(page.texts["script"]) == 1


def test_the_same_model_gives_the_same_page(model: Path, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        assert main(["inspect", str(model), "--report", str(tmp_path / name)]) == 0
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_model_without_groups_has_a_page(tmp_path: Path) -> None:
    onnx.save(build("y = Relu(x)", {}), tmp_path / "m.onnx")
    assert main(["inspect", str(tmp_path / "m.onnx"), "--report", str(tmp_path / "page.html")]) == 0
    assert any("0 groups" in text for text in Page((tmp_path / "page.html").read_text()).texts["p"])


def test_the_page_comes_with_json_too(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model), "--report", str(tmp_path / "page.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["name"] == "w1"
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize("target", ["nowhere/page.html", ".", "net.onnx"])
def test_a_page_that_cannot_be_written_is_one_line(
    model: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    assert main(["inspect", str(model), "--report", str(model.parent / target)]) == 1
    assert capsys.readouterr().err.startswith("agfedge: --report ")
    assert model.read_bytes() == before


def test_a_bundle_has_its_own_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path), "--report", str(tmp_path / "page.html")]) == 1
    assert "report.html" in capsys.readouterr().err


# -- what stays whole, summed up --------------------------------------------------------------------------------


def kept(reason: str, number: int = 0) -> KeptWhole:
    return KeptWhole(f"w{number}", 1, f"node{number}", reason)


def test_reasons_are_counted_the_most_frequent_first() -> None:
    found = by_reason([kept("rare", 0), kept("often", 1), kept("often", 2), kept("often", 2)])
    assert [(each.text, each.axes, each.nodes, each.first.tensor) for each in found] == [
        ("often", 3, 2, "w1"),
        ("rare", 1, 1, "w0"),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("relu_1 has no channels that can be removed", "mean has no channels that can be removed"),
        ("/layer1/Conv_output_0 has no channels", "/layer2.0/Conv_output_0 has no channels"),
        (
            "a zeroed channel reaches Conv as 0.0341, not as zero",
            "a zeroed channel reaches Conv as -1.2e-05, not as zero",
        ),
        ("onnx::Conv_12 is computed", "onnx::Conv_13 is computed"),
    ],
)
def test_reasons_that_differ_in_a_name_or_a_number_are_one(one: str, other: str) -> None:
    assert len(by_reason([kept(one), kept(other)])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no rule for GroupNorm32", "no rule for GroupNorm16"),
        ("Conv sums over axis 1", "Conv sums over axis 2"),
        ("Softmax runs across these channels", "ArgMax runs across these channels"),
        ("no rule for Own of domain acme.v1", "no rule for Other of domain acme.v1"),
    ],
)
def test_reasons_that_differ_in_an_operator_or_an_axis_are_two(one: str, other: str) -> None:
    assert len(by_reason([kept(one), kept(other)])) == 2


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A model of 30 convolutions whose channels all run into an unknown operator."""
    body = "".join(f"a{n} = Conv(x, w{n})  g{n} = acme.Own(a{n})  " for n in range(30))
    names = ", ".join(f"g{n}" for n in range(30))
    path = tmp_path / "many.onnx"
    onnx.save(build(f"{body} y = Sum({names})", {f"w{n}": (4, 3, 1, 1) for n in range(30)}), path)
    return path


def test_many_axes_that_stay_whole_are_summed_up(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(many)]) == 0
    printed = capsys.readouterr().out
    assert "axes; --all lists them" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("no rule for Own")]
    assert [row[-5:] for row in rows] == [["30", "30", "w0", "axis", "0"]]


def test_all_lists_each(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(many), "--all"]) == 0
    assert sum("no rule for Own" in line for line in capsys.readouterr().out.splitlines()) == 30


def test_a_few_axes_are_listed_each(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "no rule for Own of domain acme" in printed
    assert "--all" not in printed

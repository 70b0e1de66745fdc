"""The page in a real browser: a telephone, a dark screen, a wide one, and paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agfedge.reports.page import report_page
from agfedge.reports.runs import MeasuredRun
from browser import Browser
from workshop import Workshop

SCREENSHOTS = Path(__file__).resolve().parents[3] / "build" / "screenshots"
SECTIONS = [
    "Cost against accuracy", "Latency by branch", "Measured minus expected", "The four costs", "Kept channels",
    "Power over time", "Experts and cascade", "Branches", "The terms of the difference", "What a decision costs",
    "Escalation", "Engines", "Did pruning save time?", "Predicted and measured", "Energy", "Other loads",
    "Device and software", "How this was made",
]  # fmt: skip
PLOTS = ["Cost against", "Latency by", "Reconciliation", "Four costs", "Kept channels", "The device over time"]
SCREENS = pytest.mark.parametrize(
    ("screen", "width", "dark"), [("360", 360, False), ("360-dark", 360, True), ("1280", 1280, False)]
)


@pytest.fixture(scope="module")
def pages(profile: MeasuredRun, slower: MeasuredRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    texts = {
        "profile": report_page([profile], (), "agfedge report before.json bundle"),
        "long names": report_page([replace(each, name=each.name * 12) for each in (profile, slower)]),
        "compared": report_page(
            [profile, slower], ("these are two machines",), "agfedge report before.json after.json"
        ),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@SCREENS
@pytest.mark.parametrize("name", ["profile", "compared", "long names"])
def test_the_page_fits_the_screen_and_says_nothing_on_the_console(
    opened: Browser, pages: dict[str, Path], name: str, screen: str, width: int, dark: bool
) -> None:
    opened.open(pages[name], width, dark)
    assert opened.complaints() == []
    assert opened.too_wide() == []
    opened.screenshot(SCREENSHOTS / f"report-{name.replace(' ', '-')}-{screen}.png")


@pytest.mark.parametrize("name", ["profile", "compared"])
def test_the_page_asks_for_nothing_but_itself(opened: Browser, pages: dict[str, Path], name: str) -> None:
    opened.open(pages[name])
    assert opened.requests() == [pages[name].as_uri()]


@SCREENS
def test_the_page_of_a_bundle_is_as_good(
    opened: Browser, workshop: Workshop, screen: str, width: int, dark: bool
) -> None:
    page = workshop.bundle / "report.html"
    opened.open(page, width, dark)
    assert opened.complaints() == []
    assert opened.too_wide() == []
    assert opened.requests() == [page.as_uri()]
    assert [each.label.split(".")[0] for each in opened.figures()] == ["Kept channels"]
    opened.screenshot(SCREENSHOTS / f"bundle-{screen}.png")


def test_every_section_and_every_plot_is_there(opened: Browser, pages: dict[str, Path]) -> None:
    opened.open(pages["profile"])
    assert opened.headings() == SECTIONS
    figures = opened.figures()
    assert [each.label.split(".")[0][: len(name)] for each, name in zip(figures, PLOTS, strict=True)] == PLOTS
    assert all(each.width > 300 and each.height > 80 for each in figures)


def test_profiles_side_by_side_have_every_plot_too(opened: Browser, pages: dict[str, Path]) -> None:
    opened.open(pages["compared"])
    assert len(opened.figures()) == len(PLOTS) - 1  # the four costs stand in the table
    assert opened.headings()[0] == SECTIONS[0]
    assert "Side by side" in opened.headings()


@pytest.mark.parametrize("name", ["profile", "compared", "long names"])
def test_texts_of_plots_are_readable_on_a_telephone_and_lie_apart(
    opened: Browser, pages: dict[str, Path], name: str
) -> None:
    opened.open(pages[name])
    for each in opened.figures():
        assert each.text_px >= 9, each.label
        assert each.overlapping == [], each.label
        assert each.cut == [], each.label


def test_a_dark_screen_has_light_ink(opened: Browser, pages: dict[str, Path]) -> None:
    colours = []
    for dark in (False, True):
        opened.open(pages["profile"], dark=dark)
        colours.append(opened.script("return getComputedStyle(document.querySelector('figure text')).fill"))
    assert colours == ["rgb(27, 31, 36)", "rgb(230, 232, 235)"]


def test_the_page_prints(opened: Browser, pages: dict[str, Path]) -> None:
    opened.open(pages["profile"], 1280)
    paper = opened.pdf()
    assert paper.startswith(b"%PDF")
    assert len(paper) > 20_000

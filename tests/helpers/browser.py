"""A headless Chromium that opens a file as a telephone, a screen or paper would show it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
)  # fmt: skip
# What of the page is wider than the screen, but for what scrolls in a box of its own.
_TOO_WIDE = """
return [...document.body.querySelectorAll("*")]
  .filter(each => !each.closest(".wide > *") && each.getBoundingClientRect().right > innerWidth + 0.5)
  .map(each => each.outerHTML.slice(0, 120));
"""
_FIGURES = """
return [...document.querySelectorAll("figure > svg")].map(svg => {
  const box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].filter(each => each.textContent.trim());
  const boxes = texts.map(each => each.getBoundingClientRect());
  const touches = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  const pairs = [];
  for (let i = 0; i < texts.length; i++)
    for (let j = 0; j < i; j++)
      if (touches(boxes[i], boxes[j])) pairs.push([texts[i].textContent, texts[j].textContent]);
  return {
    label: svg.getAttribute("aria-label"), width: box.width, height: box.height, overlapping: pairs,
    text_px: Math.min(...texts.map(each => parseFloat(getComputedStyle(each).fontSize) * box.width
      / svg.viewBox.baseVal.width)),
    cut: texts.filter((each, i) => boxes[i].left < box.left - 1 || boxes[i].right > box.right + 1)
      .map(each => each.textContent),
  };
});
"""


@dataclass(frozen=True)
class Figure:
    """A figure as it is shown: pixels, its label, and texts that lie on each other or are cut off."""

    label: str
    width: float
    height: float
    text_px: float
    overlapping: list[list[str]]
    cut: list[str]


class Browser:
    """One page at a time."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    def open(self, page: Path, width: int = 360, dark: bool = False) -> None:
        """Opens a file anew, on a screen so many pixels wide; what was logged before is forgotten."""
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        for log in ("browser", "performance"):
            self._driver.get_log(log)
        self._driver.get(page.as_uri())

    def script(self, code: str) -> object:
        """Runs JavaScript that returns something."""
        return self._driver.execute_script(code)

    def complaints(self) -> list[str]:
        """What stands on the console."""
        return [str(entry["message"]) for entry in self._driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that the page asked for, itself included."""
        events = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        return [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]

    def headings(self) -> list[str]:
        """The sections' titles."""
        found = self._driver.execute_script("return [...document.querySelectorAll('h2')].map(each => each.innerText)")
        return [str(each) for each in found]

    def too_wide(self) -> list[str]:
        """Elements that reach beyond the screen, and the page itself where it can be moved sideways."""
        found = [str(each) for each in self._driver.execute_script(_TOO_WIDE)]
        wider = self._driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
        return [*found, *(["the page"] if wider else [])]

    def figures(self) -> list[Figure]:
        """The plots."""
        return [Figure(**each) for each in self._driver.execute_script(_FIGURES)]

    def pdf(self) -> bytes:
        """The page on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(self._driver.execute_cdp_cmd("Page.printToPDF", paper)["data"])

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        whole = {"format": "png", "captureBeyondViewport": True}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._driver.execute_cdp_cmd("Page.captureScreenshot", whole)["data"]))


def why_not() -> str | None:
    """Why there is no browser here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {' and no '.join(missing)} here: apt-get install chromium chromium-driver"
    return None


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Starts the browser; `profile` is an empty folder for what it keeps."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    # Named, so that selenium looks for no driver of its own in the network.
    driver = Chrome(options, ChromeService(str(shutil.which("chromedriver"))))
    try:
        yield Browser(driver)
    finally:
        driver.quit()

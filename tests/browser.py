"""A real browser for the tests, and what they measure in it.

Debian's chromium with its own driver, headless, by Selenium, which fetches neither. Every measure
returns what is wrong, in words, and an empty list where nothing is; ``test_browser.py`` shows each
of them a page that is wrong on purpose. What runs in the page stands in ``browser.js``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from axe_selenium_python import Axe
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

PROGRAMS = ("chromium", "chromedriver")
DESKTOP = (1280, 900)
PHONE = (360, 800)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_MEASURES = Path(__file__).with_name("browser.js").read_text(encoding="utf-8")
_MORE_STOPS = 5  # a region may begin or cease to scroll while the page is laid out
_LIMIT = 300  # seconds for a page, and for a script in it: machines may be busy

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root and many containers have none; only files of our own are opened
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    f"--window-size={DESKTOP[0]},{DESKTOP[1]}",
)


def find_browser() -> dict[str, str]:
    """Return the paths of the browser and its driver; skip where there is none, but fail in CI."""
    paths = {name: shutil.which(name) for name in PROGRAMS}
    absent = [name for name, path in paths.items() if path is None]
    if absent:
        reason = (
            f"No {' and no '.join(absent)} on the path: the report is not opened in a browser. "
            "Install Debian's (apt-get install chromium chromium-driver)."
        )
        if os.environ.get("CI"):
            pytest.fail(f"{reason} In CI these tests are never skipped.")
        pytest.skip(reason)
    return {name: path for name, path in paths.items() if path is not None}


@contextlib.contextmanager
def running_browser() -> Iterator[Chrome]:
    """Start the browser, and end it whatever happens."""
    paths = find_browser()
    options = ChromeOptions()
    options.binary_location = paths["chromium"]
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(paths["chromedriver"]))
    try:
        driver.set_page_load_timeout(_LIMIT)
        driver.set_script_timeout(_LIMIT)
        yield driver
    finally:
        driver.quit()


def show(
    driver: Chrome,
    page: Path,
    size: tuple[int, int] = DESKTOP,
    *,
    dark: bool = False,
    zoom: int = 1,
    media: str = "screen",
) -> None:
    """Open a file as a person with this screen would: size in CSS pixels before the zoom.

    Widths up to 500 are phones: they honour the page's own viewport, and have 980 pixels without.
    """
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width // zoom,
            "height": height // zoom,
            "deviceScaleFactor": zoom,
            "mobile": width <= 500,
        },
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
    driver.get_log("browser"), driver.get_log("performance")  # of the page before
    driver.get(page.as_uri())


def open_details(driver: Chrome) -> None:
    """Unfold everything that is folded."""
    driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true;")


def console(driver: Chrome) -> list[str]:
    """Return what the page wrote on the console: errors, warnings, refusals of its policy."""
    return [f"{entry['level']}: {entry['message']}" for entry in driver.get_log("browser")]


def requests(driver: Chrome) -> list[str]:
    """Return the address of everything that was asked for since :func:`show`; data: is inline."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return [address for address in asked if not address.startswith("data:")]


def audit(driver: Chrome) -> dict[str, list[str]]:
    """Return what axe-core finds: ``violations``, and what it could not decide, ``incomplete``.

    Each as ``"impact rule: help; where"``. All rules of WCAG 2.2 A and AA and its best practices.
    Pictures are emptied first: to a reader they are one image with words, to axe many thousand
    elements. So this is the last that is asked of a page. Left out of what is undecided are the
    colours of cells that are scrolled out of their region, or under its first column: those of
    their neighbours are decided.
    """
    driver.execute_script(_MEASURES + "emptyPictures();")
    axe = Axe(driver)
    axe.inject()
    options = json.dumps({"runOnly": RULES, "resultTypes": ["violations", "incomplete"]})
    found = axe.run(options=options)
    undecided = [_finding(rule) for rule in found["incomplete"]]
    return {
        "violations": [_finding(rule) for rule in found["violations"]],
        "incomplete": [words for words in undecided if "partially obscured" not in words],
    }


def _finding(rule: Mapping[str, Any]) -> str:
    places = [" ".join(map(str, node["target"])) for node in rule["nodes"]]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    why = rule["nodes"][0].get("failureSummary", "").replace("\n", " ")
    where = "; ".join(places[:5])
    return f"{rule['impact']} {rule['id']}: {rule['help']}; {where}{more}; {why}"


def wider_than_screen(driver: Chrome) -> list[str]:
    """Return what makes the page scroll sideways: the document, and what sticks out of it."""
    return driver.execute_script(_MEASURES + "return widerThanScreen();")


def small_text(driver: Chrome, least: float = 12.0) -> list[str]:
    """Return visible text below `least` CSS pixels as it is seen, SVG and zoomed-out pages too."""
    return driver.execute_script(_MEASURES + "return smallText(arguments[0]);", least)


def faint_picture_text(driver: Chrome, least: float = 4.5) -> list[str]:
    """Return text in SVG pictures whose contrast with what is behind it is below `least`."""
    return driver.execute_script(_MEASURES + "return faintPictureText(arguments[0]);", least)


def cut_text(driver: Chrome) -> list[str]:
    """Return elements that hide part of their text: it does not fit, and they do not scroll."""
    return driver.execute_script(_MEASURES + "return cutText();")


def space_text(driver: Chrome) -> None:
    """Set the text spacing that a page must bear (WCAG 2.2, success criterion 1.4.12)."""
    driver.execute_script(_MEASURES + "spaceText();")


def picture_faults(driver: Chrome) -> list[str]:
    """Return pictures that are not drawn, say nothing in words, or say the same as another."""
    return driver.execute_script(_MEASURES + "return pictureFaults();")


def press_tab_to_the_end(driver: Chrome) -> dict[str, Any]:
    """Press Tab from the top until the focus leaves the page, a few times more than it should take.

    Returns ``stops``, each with its ``name``, ``ring`` (contrast of the focus ring with what is
    behind it, 0 where there is no ring of 2 pixels) and ``shown`` (on screen); ``missed``, the
    names of what a keyboard should reach and did not; ``left``, whether the page was left at last,
    to nowhere or to its top.
    """
    places = driver.execute_script(_MEASURES + "return watchFocus();")
    press(driver, *[Keys.TAB] * places)
    for _ in range(_MORE_STOPS):
        press(driver, Keys.TAB)
        found = driver.execute_script("return window.finishFocus();")
        if found["left"]:
            break
    return found


def vision(driver: Chrome, deficiency: str = "none") -> None:
    """Show the page as it is seen with a deficiency, by its name in the DevTools protocol."""
    driver.execute_cdp_cmd("Emulation.setEmulatedVisionDeficiency", {"type": deficiency})


def press(driver: Chrome, *keys: str) -> None:
    """Press keys one after another, where the focus is."""
    ActionChains(driver, duration=0).send_keys(*keys).perform()

"""The report as a person meets it: opened in a browser, at a desk and on a phone, by day and night.

The fit is simulated, and its names hold markup: patients of four trials, arms of a fifth.
"""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from browser import (
    DESKTOP,
    PHONE,
    audit,
    console,
    cut_text,
    faint_picture_text,
    open_details,
    picture_faults,
    press,
    press_tab_to_the_end,
    requests,
    show,
    small_text,
    space_text,
    wider_than_screen,
)
from report_fits import ODD_LABEL, ODD_POPULATION, ODD_TRIAL

pytestmark = pytest.mark.xdist_group("report")  # its page is made once

VIEWS = [
    pytest.param(DESKTOP, False, id="desktop, day"),
    pytest.param(PHONE, True, id="phone, night"),
]

BETWEEN = (660, 800)
"""Too narrow for some tables, too wide for cards."""
CUT = """return [...document.querySelectorAll('.scroll:not(.picture)')]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"""
FIRST_WORDS = """const box = document.querySelector('#summary + .box'); return {
    verdict: box.innerText, ends: box.getBoundingClientRect().bottom + scrollY,
    height: document.documentElement.scrollHeight}"""


@pytest.fixture(scope="module")
def page(odd_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(odd_text, encoding="utf-8")
    return path


def test_nothing_is_fetched_run_or_complained_of(browser, page):
    show(browser, page)
    assert console(browser) == []
    assert requests(browser) == [page.as_uri()]
    assert browser.execute_script("return typeof window.pwned") == "undefined"
    assert browser.execute_script("return document.querySelectorAll('script').length") == 0
    open_details(browser)
    words = browser.execute_script("return document.body.innerText")
    for name in (ODD_TRIAL, ODD_POPULATION, ODD_LABEL):
        assert name in words or name[:1].upper() + name[1:] in words


@pytest.mark.parametrize(("size", "dark"), VIEWS)
def test_the_audit_finds_nothing(browser, page, size, dark):
    show(browser, page, size, dark=dark)
    open_details(browser)
    assert faint_picture_text(browser) == []
    assert audit(browser) == {"violations": [], "incomplete": []}


@pytest.mark.parametrize(("size", "dark"), VIEWS)
def test_everything_fits_and_can_be_read(browser, page, size, dark):
    show(browser, page, size, dark=dark)
    open_details(browser)
    assert wider_than_screen(browser) == []
    assert small_text(browser) == []
    assert picture_faults(browser) == []
    space_text(browser)
    assert wider_than_screen(browser) == []
    assert cut_text(browser) == []


@pytest.mark.parametrize("zoom", [2, 4])
def test_nothing_is_lost_enlarged(browser, page, zoom):
    show(browser, page, DESKTOP, zoom=zoom)
    open_details(browser)
    assert wider_than_screen(browser) == []
    assert cut_text(browser) == []


@pytest.mark.parametrize(("size", "dark"), VIEWS)
def test_the_keyboard_reaches_everything(browser, page, size, dark):
    show(browser, page, size, dark=dark)
    open_details(browser)
    found = press_tab_to_the_end(browser)
    assert "Skip" in found["stops"][0]["name"]
    assert found["missed"] == []
    assert [stop for stop in found["stops"] if not stop["shown"] or stop["ring"] < 3] == []
    assert found["left"]


@pytest.mark.parametrize(("size", "dark"), VIEWS)
def test_no_column_of_a_table_is_cut(browser, page, size, dark):
    show(browser, page, size, dark=dark)
    open_details(browser)
    assert browser.execute_script(CUT) == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_fit_that_did_not_converge_is_one_screen_with_the_rest_folded(browser, page, size):
    show(browser, page, size)
    seen = browser.execute_script(FIRST_WORDS)
    assert "NOT converged" in seen["verdict"]
    assert seen["ends"] < 2 * size[1]  # on a phone the list of contents alone is half a screen
    assert seen["height"] < 12 * size[1]
    open_details(browser)
    assert browser.execute_script(FIRST_WORDS)["height"] > 3 * seen["height"]


def test_the_skip_link_and_wide_tables_work_by_keyboard(browser, page):
    show(browser, page, BETWEEN)
    open_details(browser)
    press(browser, Keys.TAB, Keys.ENTER)
    assert browser.execute_script("return location.hash") == "#main"
    assert browser.execute_script("return document.querySelector('#main').matches(':target')")
    wide = """return [...document.querySelectorAll('[role=region][tabindex="0"]')]
        .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)"""
    region = browser.execute_script(wide)[0]
    browser.execute_script("arguments[0].focus()", region)
    press(browser, *[Keys.ARROW_RIGHT] * 3)
    moved = "return arguments[0].scrollLeft > 0"
    assert WebDriverWait(browser, 10).until(lambda here: here.execute_script(moved, region))
    folded = browser.execute_script("return document.querySelector('summary')")
    if folded:
        before = folded.get_property("parentElement").get_property("open")
        browser.execute_script("arguments[0].focus()", folded)
        press(browser, Keys.SPACE)
        assert folded.get_property("parentElement").get_property("open") != before


def test_print_shows_what_is_folded(browser, page):
    show(browser, page, media="print")
    hidden = """return [...document.querySelectorAll('details > :not(summary)')]
        .filter(e => !e.checkVisibility({contentVisibilityAuto: true})).length"""
    assert browser.execute_script(hidden) == 0

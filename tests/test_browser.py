"""The browser of the tests, and what its measures find in good pages and in bad ones."""

import re

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from browser import (
    PHONE,
    audit,
    console,
    cut_text,
    faint_picture_text,
    find_browser,
    picture_faults,
    press,
    press_tab_to_the_end,
    requests,
    show,
    small_text,
    space_text,
    wider_than_screen,
)

pytestmark = pytest.mark.xdist_group("browser")  # started once

STYLE = """
:root { color-scheme: light dark; }
body { margin: 1rem; font: 16px/1.5 sans-serif; background: Canvas; color: CanvasText; }
a { color: LinkText; }
.wide { overflow-x: auto; max-width: 100%; }
.skip:not(:focus) { position: absolute; left: -999px; }
a:focus-visible, .wide:focus-visible { outline: 3px solid #06c; }
"""
PICTURE = (
    '<svg role="img" aria-label="A line that rises" viewBox="0 0 300 100" width="300">'
    '<path d="M0 90L300 10" stroke="currentColor"/><text x="9" y="20" fill="currentColor" '
    'font-size="14">BMI</text></svg>'
)
GOOD = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><a class="skip" href="#main">Skip to content</a>
<main id="main"><h1>A page</h1><p>Some words.</p>{PICTURE}
<div class="wide" tabindex="0" role="region" aria-label="Numbers"><table><caption>Numbers</caption>
<tr>{"".join(f'<th scope="col">column_{i}</th>' for i in range(30))}</tr>
<tr>{"<td>1</td>" * 30}</tr></table></div>
<p>See <a href="#main">the top</a>.</p></main></body></html>"""


@pytest.fixture
def open_page(browser, tmp_path):
    """Return a function that opens the good page with parts of it replaced."""

    def function(old="", new="", **how):
        if old:
            assert old in GOOD
        page = tmp_path / "page.html"
        page.write_text(GOOD.replace(old, new, 1) if old else GOOD, encoding="utf-8")
        show(browser, page, **how)
        return browser

    return function


def test_a_good_page_has_no_faults(open_page):
    for how in ({}, {"size": PHONE}, {"dark": True}, {"zoom": 2}):
        driver = open_page(**how)
        assert console(driver) == []
        assert [address.rpartition("/")[2] for address in requests(driver)] == ["page.html"]
        assert wider_than_screen(driver) == []
        assert small_text(driver) == []
        assert picture_faults(driver) == []
        assert faint_picture_text(driver) == []
        space_text(driver)
        assert cut_text(driver) == []
        assert audit(open_page(**how)) == {"violations": [], "incomplete": []}
    found = press_tab_to_the_end(open_page())
    assert [stop["name"].split()[0] for stop in found["stops"]] == ["a", "div", "a"]
    assert all(stop["ring"] >= 3 and stop["shown"] for stop in found["stops"])
    assert found["missed"] == []
    assert found["left"]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<p>Some words", '<p style="color: #888">Some words', "serious color-contrast"),
        ('lang="en"', "", "serious html-has-lang"),
        ('aria-label="A line that rises"', "", "serious svg-img-alt"),
        ("<h1>A page</h1>", "<h1>A page</h1><h3>Deep</h3>", "moderate heading-order"),
        ("Some words.", "<a href='#main'></a>", "serious link-name"),
        ("<title>A page</title>", "", "serious document-title"),
    ],
)
def test_the_audit_sees(open_page, old, new, rule):
    found = audit(open_page(old, new))["violations"]
    assert [finding for finding in found if finding.startswith(rule)], found


def test_the_audit_sees_the_colours_of_the_night_alone(open_page):
    night = "@media (prefers-color-scheme: dark) { p { color: #333 } } </style>"
    assert audit(open_page("</style>", night))["violations"] == []
    (finding,) = audit(open_page("</style>", night, dark=True))["violations"]
    assert "color-contrast" in finding


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('class="wide" ', "", "table 'Numbers"),
        ("<p>Some words", '<p style="width: 1400px">Some words', "p 'Some words.' ends at 1416"),
        ("Some words", "W" * 300, "the page is"),
    ],
)
def test_a_page_that_scrolls_sideways_is_seen(open_page, old, new, words):
    for size in ((1280, 900), PHONE):
        assert words in " ".join(wider_than_screen(open_page(old, new, size=size)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<p>Some", '<p style="font-size: 11px">Some', "11.0 px: p 'Some words.'"),
        ('font-size="14"', 'font-size="11"', "11.0 px: text 'BMI'"),
        ('width="300"', 'width="200"', "9.3 px: text 'BMI'"),
        ('<meta name="viewport" content="width=device-width, initial-scale=1">', "", "px: h1"),
    ],
)
def test_small_text_is_seen_in_pictures_and_on_phones(open_page, old, new, words):
    found = small_text(open_page(old, new, size=PHONE))
    assert [text for text in found if words in text], found


@pytest.mark.parametrize(
    ("old", "new", "contrast"),
    [
        ('fill="currentColor" ', 'fill="#888" ', "3.5: text 'BMI'"),
        ("<path", '<rect width="300" height="100" fill="#333"/><path', "1.7: text 'BMI'"),
        ('<path d="M0 90L300 10"', '<path fill="#000" d="M0 0V90H300V0"', "1.0: text 'BMI'"),
    ],
)
def test_faint_text_in_pictures_is_seen(open_page, old, new, contrast):
    assert faint_picture_text(open_page(old, new)) == [contrast]


@pytest.mark.parametrize("overflow", ["hidden", "clip", "visible"])
def test_text_that_is_cut_is_seen_once_it_is_spaced(open_page, overflow):
    box = (
        f'<p style="font-family: monospace; width: 12ch; height: 1.5em; overflow: {overflow}">Some'
    )
    driver = open_page("<p>Some", box)
    assert cut_text(driver) == []
    space_text(driver)
    assert cut_text(driver) == ["p 'Some words.'"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('aria-label="A line that rises"', "", "picture 1 has no words"),
        ("<p>Some", f"{PICTURE}<p>Some", "picture 2 says what picture 1 says"),
        ('width="300"', 'width="0"', "picture 1 is not drawn"),
        ("<p>Some", '<img alt="gone" src="data:image/png;base64,AAAA"><p>', "1 is not drawn"),
        (PICTURE, "", "there are no pictures"),
    ],
)
def test_faults_of_pictures_are_seen(open_page, old, new, words):
    assert words in " ".join(picture_faults(open_page(old, new)))


def test_faults_of_the_keyboard_are_seen(open_page):
    found = press_tab_to_the_end(open_page(".wide:focus-visible", ".wide:focus"))
    assert min(stop["ring"] for stop in found["stops"]) >= 3
    found = press_tab_to_the_end(open_page("outline: 3px solid #06c", "outline: none"))
    assert max(stop["ring"] for stop in found["stops"]) == 0
    found = press_tab_to_the_end(open_page("3px solid #06c", "3px solid #eee"))
    assert max(stop["ring"] for stop in found["stops"]) < 3
    found = press_tab_to_the_end(open_page("left: -999px;", "left: -999px} .skip {position: fixed;"
                                           "top: -99px;"))  # fmt: skip
    assert not found["stops"][0]["shown"]
    hurdle = (
        "<script>onkeydown = event => event.target.className && event.preventDefault()</script>"
    )
    found = press_tab_to_the_end(open_page("</body>", f"{hurdle}</body>"))
    assert [name[0] for name in found["missed"]] == ["d", "a"]
    assert not found["left"]


def test_keys_scroll_a_wide_table(open_page):
    driver = open_page(size=PHONE)
    driver.execute_script("document.querySelector('.wide').focus()")
    press(driver, *[Keys.ARROW_RIGHT] * 3)
    moved = "return document.querySelector('.wide').scrollLeft > 0"
    assert WebDriverWait(driver, 10).until(lambda here: here.execute_script(moved))


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("<script>console.warn('careful')</script>", "WARNING.*careful"),
        ("<script>nonesuch()</script>", "SEVERE.*nonesuch is not defined"),
        ("<img alt='' src='gone.png'>", "SEVERE.*gone.png"),
    ],
)
def test_the_console_and_requests_are_seen(open_page, new, words):
    driver = open_page("</body>", f"{new}</body>")
    assert re.search(words, " ".join(console(driver)))
    asked = [address.rpartition("/")[2] for address in requests(driver)]
    assert asked == ["page.html", *re.findall(r"gone\.png", new)]


def test_without_a_browser_tests_are_skipped_but_never_in_ci(monkeypatch):
    monkeypatch.setattr("browser.shutil.which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium chromium-driver"):
        find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"No chromium and no chromedriver.*never skip"):
        find_browser()

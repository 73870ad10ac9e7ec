"""Names from outside: control characters shown as escapes, wherever a name becomes words."""

from __future__ import annotations

import io

import matplotlib.figure
import pandas as pd
import pytest
from rich.table import Table

import ketpredict as kp
from ketpredict.errors import EvidenceWarning
from ketpredict.figure_names import show_names_as_they_are
from ketpredict.report import _environment
from ketpredict.terminal import PlainConsole
from ketpredict.visible import one_line, visible
from ketpredict.wording import arm_words, plain_words, population_words, trial_words
from tiny_fit import handmade_posterior

ESC, BELL, RIGHT_TO_LEFT, SURROGATE = "\x1b", "\x07", "\u202e", "\udce9"
HIDDEN = (ESC, BELL, RIGHT_TO_LEFT, SURROGATE, "\x00", "\x7f", "\x9b", "\u2028", "\u2066", "\ufeff")
EVIL = f"a{ESC}[31mb{BELL}c\nd{RIGHT_TO_LEFT}e [bold]$x_1$"


def assert_harmless(text: str) -> None:
    assert not set(HIDDEN) & set(text)


@pytest.mark.parametrize("sign", HIDDEN)
def test_what_cannot_be_seen_is_shown_as_an_escape(sign):
    shown = visible(f"a{sign}b")
    assert shown.isascii()
    assert shown.startswith("a\\")
    assert shown.encode().decode("unicode_escape").encode("utf-16", "surrogatepass") == (
        f"a{sign}b".encode("utf-16", "surrogatepass")
    )


@pytest.mark.parametrize("name", ["Zürich", "試験", "نمی‌خواهم", "a b", "–−×²", "👩‍⚕️"])
def test_names_of_any_language_stay_as_they_are(name):
    assert visible(name) == one_line(name) == name


def test_line_breaks_stay_in_texts_and_not_in_names():
    assert visible("a\nb\tc") == "a\nb\tc"
    assert one_line("a\nb\tc") == "a\\nb\\tc"


@pytest.mark.parametrize("words", [arm_words, population_words, trial_words, plain_words])
def test_a_name_in_words_is_one_line_with_nothing_hidden(words):
    found = words(EVIL)
    assert_harmless(found)
    assert "\n" not in found
    assert "\\x1b[31mb\\x07c\\nd\\u202ee" in found


def test_errors_and_warnings_show_names_with_nothing_hidden():
    table = pd.DataFrame({"trial": [EVIL], "bmi": [EVIL]})
    classifier = kp.KetamineResponseClassifier.from_posterior(handmade_posterior())
    with pytest.raises(kp.DataError) as caught:
        classifier.predict_proba(table)
    assert_harmless(str(caught.value))
    assert "\n" not in str(caught.value)
    with pytest.warns(EvidenceWarning) as told:
        classifier.predict_proba(pd.DataFrame({"bmi": [30.0], EVIL: ["x"]}))
    assert_harmless(str(told[0].message))
    assert "\n" not in str(told[0].message)


def test_the_console_writes_names_literally():
    console = PlainConsole(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    table = Table("name", box=None)
    table.add_row(EVIL)
    console.print(table, EVIL, "[/nothing] :smile:")
    written = console.file.getvalue()
    assert_harmless(written)
    assert "[bold]$x_1$" in written
    assert "[/nothing] :smile:" in written


def test_a_page_shows_names_with_nothing_hidden():
    page = _environment().from_string("<p>{{ name }}</p>").render(name=EVIL + "<b>")
    assert_harmless(page)
    assert "&lt;b&gt;" in page


def test_pictures_show_names_with_nothing_hidden_and_no_mathematics():
    figure = matplotlib.figure.Figure()
    axes = figure.add_subplot(title=EVIL)
    bad_mathematics = EVIL + r"$\nothing{"
    axes.set_yticks([0.0, 1.0], [EVIL, bad_mathematics])
    axes.set_xticks([0.0])
    axes.set_xticklabels([EVIL])
    show_names_as_they_are(figure)
    page = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(page, format="svg")
    assert_harmless(page.getvalue())
    assert page.getvalue().count("$x_1$") == 4

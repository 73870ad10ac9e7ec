"""The report: well-formed, self-contained, escaped; its numbers are those of the functions."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import ketpredict as kp
from ketpredict import report
from ketpredict.cli import app
from ketpredict.decision import EVERYBODY, decision_curve
from ketpredict.errors import ConvergenceWarning, DataError
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.left_out_measures import left_out_measures
from ketpredict.loo import leave_one_out
from ketpredict.marginal_effects import effects_table
from ketpredict.posterior import load_posterior
from ketpredict.prior_families import Prior
from ketpredict.report import report_page, write_report
from ketpredict.report_evidence import told_table
from ketpredict.report_literature import effects_table_of, refused_counts_table
from ketpredict.report_model import prior_table, priors_words, unchosen_priors
from ketpredict.report_pictures import drawing, picture
from ketpredict.report_summary import decision_words, discrimination_words, summary_lines
from ketpredict.report_tables import Table, interval, number
from ketpredict.report_validation import fit_identity, read_validation
from ketpredict.stored_design import design_of
from ketpredict.summary import population_table, slope_table
from ketpredict.tables import records
from ketpredict.tripod import AUTHOR, ITEMS, checklist
from ketpredict.validation_measures import concordance
from ketpredict.wording import percent, percent_range, signed, trial_words
from report_fits import ODD_LABEL, ODD_TRIAL, thinned, verdict

pytestmark = pytest.mark.xdist_group("report")  # its pages are made once

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A page taken apart; a tag that is not closed in its order is an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.rows = [], [], {}, {}
        self.table = None
        self.feed(text)
        self.close()
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))
        if tag == "table":
            self.table = attributes["id"]
            self.rows[self.table] = []
        elif tag == "tr" and self.table:
            self.rows[self.table].append([])
        elif tag in ("td", "th") and self.table:
            self.rows[self.table][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        found = self.open.pop()[0]
        assert found == tag, f"{tag} closes {found}"
        if tag == "table":
            self.table = None

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data
        tag = self.open[-1][0] if self.open else ""
        self.texts[tag] = self.texts.get(tag, "") + data
        if self.table and any(name in ("td", "th") for name, _ in self.open):
            self.rows[self.table][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def cells(self, table):
        """Return the body of a table as a DataFrame of texts."""
        heading, *body = self.rows[f"table-{table}"]
        return pd.DataFrame(body, columns=[cell.strip() for cell in heading]).map(str.strip)


@pytest.fixture(scope="module")
def odd_page(odd_text):
    return Page(odd_text)


@pytest.fixture(scope="module")
def plain(simulated_fits, tmp_path_factory):
    """Return a converged fit with one predictor, its file, and the page that the command writes."""
    folder = tmp_path_factory.mktemp("report")
    posterior = verdict(thinned(simulated_fits["bare"]))
    file = posterior.save(folder / "fit.nc")
    output = folder / "report.html"
    result = CliRunner().invoke(app, ["report", str(file), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "not for treatment decisions" in result.stdout
    return posterior, file, Page(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def arms_only():
    """Return an approximated fit of published arms alone, without predictors."""
    data = kp.simulate(trials=3, patients=30, published_trials=3, predictors=(), random_state=5)
    spec = data.spec.with_predictors(())
    settings = SamplerSettings(inference="laplace", draws=200, chains=2, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(*prepare(spec, data.evidence(), {}), settings)


@pytest.fixture(scope="module")
def arms_text(arms_only):
    """Return the page of the arms, and what was said while it was made."""
    told = []
    return report_page(arms_only, progress=told.append), told


@pytest.fixture(scope="module")
def arms_page(arms_text):
    return Page(arms_text[0])


@pytest.fixture(params=["odd", "plain", "arms"])
def page(request):
    if request.param == "plain":
        return request.getfixturevalue("plain")[2]
    return request.getfixturevalue(f"{request.param}_page")


def test_identifiers_are_unique_and_what_refers_to_them_is_there(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    asked = [a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")]
    for _, attributes in page.tags:
        asked += attributes.get("aria-labelledby", "").split()
        asked += re.findall(r"url\(#([^)]*)\)", " ".join(filter(None, attributes.values())))
    assert len(asked) > 20
    assert set(asked) <= set(ids)


def test_nothing_is_loaded_or_run(page):
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert "src" not in attributes
        if "href" in attributes and tag == "a":
            assert attributes["href"].startswith(("#", "https://doi.org/"))
        elif "href" in attributes:
            assert attributes["href"].startswith("#")
        assert "url(" not in attributes.get("style", "").replace("url(#", "")
    assert "url(" not in page.texts["style"]
    assert "@import" not in page.texts["style"]
    policy = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    ]


def test_headings_landmarks_and_tables_can_be_followed(page):
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert max(np.diff(levels)) == 1
    assert [len(page.all(tag)) for tag in ("main", "header", "nav", "footer")] == [1, 1, 1, 1]
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in page.all("th"))
    regions = [a for a in page.all("div") if a.get("role") == "region"]
    assert len(regions) == len(page.all("table")) + len(page.all("figure"))
    assert all(a["tabindex"] == "0" for a in regions)
    assert len({a["aria-label"] for a in regions}) == len(regions)


def test_every_picture_says_what_is_seen(page):
    pictures, figures = page.all("svg"), page.all("figure")
    assert len(pictures) == 2 * len(figures) >= 10  # at a desk and on a phone: one is shown
    labels = {a["aria-labelledby"] for a in pictures}
    words = {page.texts[label] for label in labels}
    assert len(words) == len(labels) == len(figures)
    for text in words:
        assert len(text) > 60
        assert re.search(r"\d", text)
    assert all(a["role"] == "img" and "height" not in a for a in pictures)
    captions = len(page.all("figcaption"))
    assert captions == len(figures)


def test_names_with_markup_stay_text(odd_page):
    assert "script" not in {tag for tag, _ in odd_page.tags}
    words = ODD_TRIAL[:1].upper() + ODD_TRIAL[1:]
    assert words in set(odd_page.cells("trials")["Trial"])
    assert f"A message on {ODD_TRIAL}." in odd_page.texts["li"]
    # In the pictures too: the trial among the labels of rows, the population with its dollars.
    assert words in odd_page.texts["text"]
    assert "$x^$" in odd_page.texts["text"]
    assert ODD_LABEL in set(odd_page.cells("slopes")["Predictor"])


def test_slopes_and_probabilities_are_those_of_the_functions(odd_page, odd):
    shown, expected = odd_page.cells("slopes"), slope_table(odd, 0.9)
    assert list(shown["Slope"]) == [signed(value) for value in expected["slope"]]
    ends = zip(expected["lower"], expected["upper"], strict=True)
    assert list(shown["Interval"]) == [f"{signed(low)} to {signed(high)}" for low, high in ends]
    shown, expected = odd_page.cells("probabilities"), population_table(odd, 0.9)
    assert list(shown["Probability"]) == [percent(value) for value in expected["probability"]]
    for heading, name in (("In one new trial", "trial"), ("Averaged over trials", "average")):
        ends = zip(expected[f"{name}_lower"], expected[f"{name}_upper"], strict=True)
        assert list(shown[heading]) == [percent_range(low, high) for low, high in ends]
    shown, expected = odd_page.cells("average-effects"), effects_table(odd, 0.9)
    assert list(shown["Marginal odds ratio"]) == [number(x) for x in expected["odds_ratio"]]


def test_every_outcome_stands_in_the_table_of_trials(odd_page, odd):
    shown = odd_page.cells("trials")
    units = design_of(odd).units
    assert shown["n"].astype(float).sum() == units.n.sum()
    assert shown["Responders"].astype(float).sum() == units.responders.sum()
    share = shown["Responders"].astype(float) / shown["n"].astype(float)
    assert list(shown["Share"]) == [percent(value) for value in share]


@pytest.mark.draws
def test_missing_predictors_are_counted_as_in_the_callers_table():
    names = ("bmi", "family_history_aud", "bdnf")
    data = kp.simulate(
        trials=3, patients=12, published_trials=1, predictors=names, missing=0.3,
        missing_blocks={"trial_2": ["bdnf"]}, random_state=8,
    )  # fmt: skip
    settings = SamplerSettings(inference="laplace", draws=100, chains=2, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        references = {predictor.name: predictor for predictor in data.predictors}
        posterior = fit(*prepare(data.spec, data.evidence(), references), settings)
    patients = data.evidence().participants
    assert patients["bdnf"].isna().any()
    rows = {row[0]: row for row in told_table(posterior).rows}
    for trial, group in patients.groupby("trial"):
        cells = rows[str(trial).replace("_", " ").capitalize()]
        assert cells[1] == f"{len(group)}"
        for place, name in enumerate(names, start=3):
            told = group[name].notna().sum()
            assert cells[place] == (f"{told} of {len(group)} patients" if told else "none")


def test_a_fit_that_did_not_converge_says_so_first(odd_page, plain):
    text = odd_page.texts["main"]
    assert "NOT converged: R-hat above 1.01: intercept." in text
    assert "not to be trusted" in text
    assert text.index("NOT converged") < text.index("Data, trial by trial")
    assert "FAILED" in set(odd_page.cells("gates")["Verdict"])
    good = plain[2].texts["main"]
    assert "NOT converged" not in good
    assert "not to be trusted" not in good
    assert "Converged: worst R-hat 1.0000" in good


def test_the_reader_learns_which_priors_nobody_chose(plain):
    posterior = plain[0]
    count = len(posterior.spec.priors)
    default = dataclasses.replace(posterior, spec=kp.load_spec("published"))
    assert len(unchosen_priors(default)) == count
    assert f"all {count} are the defaults" in priors_words(default)
    changed = kp.load_spec("published").with_priors(intercept=Prior("normal", (0.0, 2.0)))
    mine = dataclasses.replace(posterior, spec=changed)
    assert set(changed.priors) - set(unchosen_priors(mine)) == {"intercept"}
    assert f"Nobody chose {count - 1} of {count}" in priors_words(mine)
    assert priors_words(mine).endswith("Chosen for this fit: intercept.")
    row = prior_table(mine).rows[list(changed.priors).index("intercept")]
    assert row[2] == "normal(0, 2)"
    assert row[3] == "chosen; the default is normal(0, 1)"


def test_the_checklist_has_every_row_once_and_the_author_keeps_what_is_theirs(page):
    parts = [rows for name, rows in page.rows.items() if name.startswith("table-tripod-")]
    rows = [row for part in parts for row in part[1:]]
    numbers = [row[0] for row in rows]
    assert numbers == [item.number for item in ITEMS]
    assert len(numbers) == 52
    whole = [int(re.match(r"\d+", name).group()) for name in numbers]
    assert sorted(set(whole)) == list(range(1, 28))
    assert whole == sorted(whole)
    letters = {n: "".join(x[-1] for x in numbers if int(re.match(r"\d+", x).group()) == n
                          and x[-1].isalpha()) for n in range(1, 28)}  # fmt: skip
    assert {n: text for n, text in letters.items() if text} == {
        3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc",
        23: "ab", 27: "abc",
    }  # fmt: skip
    status = {row[0]: row[4].strip() for row in rows}
    for name in ("17", "18a", "18b", "18c", "18d", "19", "6a", "6b", "5b"):
        assert AUTHOR in status[name]
    said = {row[0]: row[5] for row in rows}
    assert all(len(words.strip()) > 10 for words in said.values())


def test_no_answer_of_the_checklist_is_of_an_unknown_row(odd, left_out):
    from ketpredict.report_checklist import answers

    for validation in (None, left_out):
        found = answers(odd, validation)
        assert set(found) <= {item.number for item in ITEMS}
        assert len(checklist(found)) == len(ITEMS)


def test_arms_alone_without_predictors_by_an_approximation(arms_page, arms_only):
    text = arms_page.texts["main"]
    assert "The model has no predictors" in text
    assert "No patient is given one by one" in text
    assert "table-slopes" not in arms_page.rows
    measures = set(arms_page.cells("convergence")["Measure"])
    assert measures == {"Pareto k", "effective draws"}
    assert "R-hat" not in arms_page.rows["table-parameters"][0]
    assert "laplace" in text
    assert len(arms_page.cells("trials")) == len(design_of(arms_only).units)


def test_weights_that_are_no_counts_are_said_not_to_be_checked(arms_only):
    units = arms_only.groups["constant_data"]
    halved = {**units, "n": units["n"] * 0.75, "responders": units["responders"] * 0.75}
    groups = {name: g for name, g in arms_only.groups.items() if name != "posterior_predictive"}
    posterior = dataclasses.replace(arms_only, groups={**groups, "constant_data": halved})
    text = report_page(posterior)
    assert "This fit could not be checked" in text
    assert "whole" in text
    assert 'id="table-gates"' not in text


def test_validation_makes_the_way_to_the_page_by_its_file(odd, left_out, odd_page, tmp_path):
    path = tmp_path / "validation.json"
    path.write_text(json.dumps({"fit": fit_identity(odd), **left_out.as_table()}))
    found = read_validation(path, odd)
    assert (found.by, found.method, found.prob) == ("trial", "importance", 0.9)
    for name in ("pooled", "trials", "folds", "units"):
        assert records(getattr(found, name)) == records(getattr(left_out, name))
    shown = odd_page.cells("validation-pooled")
    assert list(shown["Pooled"]) == [number(value) for value in left_out.pooled["estimate"]]
    folds = odd_page.cells("validation-folds")
    assert len(folds) == len(odd.coords["trial"])
    assert "Leave-one-trial-out was not given" not in odd_page.texts["main"]
    failed = (left_out.folds["pareto_k"] > 0.7).sum()
    assert f"Pareto k above 0.7 in {failed} of {len(folds)}" in odd_page.texts["main"]


def test_validation_of_something_else_is_refused(odd, left_out, plain, tmp_path):
    path = tmp_path / "validation.json"
    with pytest.raises(DataError, match=r"cannot be read: No such file"):
        read_validation(path, odd)
    path.write_text("hello")
    with pytest.raises(DataError, match="is not JSON"):
        read_validation(path, odd)
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"lacks by, fit, folds.*ketpredict validate FIT --json"):
        read_validation(path, odd)
    path.write_text(json.dumps({"fit": fit_identity(odd), **left_out.as_table()}))
    with pytest.raises(DataError, match="is of another fit"):
        read_validation(path, plain[0])
    path.write_text(json.dumps({"fit": fit_identity(odd), **left_out.as_table(), "units": 3}))
    with pytest.raises(DataError, match="cannot be used"):
        read_validation(path, odd)
    whole = {"fit": fit_identity(odd), **left_out.as_table()}
    path.write_text(json.dumps({**whole, "folds": [{"fold": "a"}]}))
    with pytest.raises(DataError, match=r"'folds' lacks joint_error, joint_log_score, method"):
        read_validation(path, odd)
    path.write_text(json.dumps({**whole, "method": "guess"}))
    with pytest.raises(DataError, match="its method is 'guess'"):
        read_validation(path, odd)


def test_a_page_without_validation_says_how_to_make_one(plain):
    text = plain[2].texts["main"]
    assert "Leave-one-trial-out was not given to this report" in text
    assert "ketpredict validate fit.nc --json" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output", "{here}/report.pdf"], "expected a name ending in .html or .htm"),
        (["--output", "{here}/no/report.html"], "There is no folder"),
        (["--output", "{here}/r.html", "--prob", "2"], "--prob is 2"),
        (["--output", "{here}/r.html", "--validation", "{here}/none.json"], "no such file"),
        ([], "--output"),
    ],
)
def test_the_command_refuses_before_any_work(plain, tmp_path, monkeypatch, words, expected):
    monkeypatch.setattr(report, "report_page", never)
    filled = [word.format(here=tmp_path) for word in words]
    result = CliRunner().invoke(app, ["report", str(plain[1]), *filled])
    assert result.exit_code == 2
    assert expected in result.stderr
    assert list(tmp_path.iterdir()) == []


def never(*_args, **_settings):
    raise AssertionError("the work began")


def test_the_function_refuses_before_any_work(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "report_page", never)
    with pytest.raises(DataError, match="it is a folder"):
        write_report(plain[0], tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        write_report(plain[0], tmp_path / "no" / "report.html")
    bare = dataclasses.replace(plain[0], groups={"posterior": plain[0].groups["posterior"]})
    with pytest.raises(DataError, match="does not hold the data"):
        write_report(bare, tmp_path / "report.html")
    with pytest.raises(DataError):
        write_report(plain[0], tmp_path / "report.html", prob=1.5)


def test_a_report_is_written_whole_or_not_at_all(plain, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("the old one")

    def half(*_paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "report_page", lambda *_: "the new one")
    with monkeypatch.context() as broken:
        broken.setattr("ketpredict.writing.os.replace", half)
        with pytest.raises(DataError, match="No space left on device"):
            write_report(plain[0], path)
    assert path.read_text() == "the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert write_report(plain[0], path) == path
    assert path.read_text() == "the new one"


def test_progress_is_told_in_order(arms_text):
    told = arms_text[1]
    assert told[0].startswith("Checks")
    assert told[-1].startswith("Page")


def test_the_same_figure_gives_the_same_bytes_and_another_name_other_identifiers():
    def make(name):
        with drawing():
            figure = Figure(figsize=(4, 3))
            axes = figure.subplots()
            axes.plot([0, 1], [0, 2], clip_on=True)
            axes.set_title("<b>&amp; $\\frac$")
            figure.suptitle("A title")
            figure.text(0.1, 0.01, "A caption\nof two lines")
            return picture(figure, name, "what is seen")

    first, again, other = make("one"), make("one"), make("two")
    assert first == again
    assert (first.title, first.caption) == ("A title", "A caption of two lines")
    assert "A caption" not in first.svg
    assert "&lt;b&gt;&amp;amp; $\\frac$" in first.svg
    ids = [set(re.findall(r'\bid="([^"]*)"', one.svg)) for one in (first, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]*)\)", first.svg)) <= ids[0]
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", first.svg)]
    view = float(re.search(r'viewBox="0 0 ([\d.]+)', first.svg).group(1))
    assert min(sizes) * first.width / view >= 12.0


def test_columns_of_numbers_are_told_from_columns_of_words():
    rows = (("1", "12 of 30", "−3 to 4", "24 h", "none"), ("2", "–", "<0.01", "x", "3"))
    table = Table("t", "caption", ("a", "b", "c", "d", "e"), rows)
    assert table.numeric == (False, True, True, False, True)
    assert not Table("t", "caption", ("a", "b"), ()).numeric[1]
    assert number(-0.001) == "0.00"
    assert number(float("nan")) == "–"
    assert interval(-1.0, float("inf")) == "−1.00 to infinite"


def test_each_published_effect_stands_beside_what_leaving_it_out_does(published_fit):
    from ketpredict.literature import effects_left_out

    posterior = published_fit.fit_
    left = effects_left_out(posterior)
    labels = {predictor.name: predictor.label for predictor in posterior.predictors}
    shown = {tuple(row[place] for place in (0, 1, 3)): row
             for row in effects_table_of(posterior, left).rows}  # fmt: skip
    assert len(shown) == len(left) > 10
    for one in left.to_dict("records"):
        cohort, rest = one["effect"].split(": ", 1)
        hours = rest.split(" at ")[1].removesuffix(" h") if " at " in rest else "–"
        row = shown[labels[one["predictor"]], trial_words(cohort), hours]
        assert row[7] == signed(one["slope_left_out"])
        assert row[8] == signed(one["shift"])
    refused = refused_counts_table(posterior).rows
    fates = posterior.facts["effects"]
    assert sum(int(row[1]) for row in refused) == len(fates) - len(left)
    order = [row[0] for row in effects_table_of(posterior, left).rows]
    assert order == sorted(order, key=list(labels.values()).index)


def test_patients_left_out_are_measured_as_by_hand(odd):
    found = leave_one_out(odd)
    table = left_out_measures(found, 0.9).set_index(["trial", "measure"])
    events = found.events[(found.events["kind"] == "patients") & found.events["active"]]
    assert set(table.index.get_level_values(0)) == set(events["trial"])
    for trial, rows in events.groupby("trial"):
        people = [
            (row["responders"], row["probability_left_out"])
            for row in rows.to_dict("records")
            for _ in range(round(row["times"]))
        ]
        brier = sum((y - p) ** 2 for y, p in people) / len(people)
        assert table.loc[(trial, "brier"), "estimate"] == pytest.approx(brier)
        assert table.loc[(trial, "brier"), "n"] == len(people)
        pairs = [(p > q) + 0.5 * (p == q) for y, p in people for z, q in people if y > z]
        measured = table.loc[(trial, "c_statistic"), "estimate"]
        if np.isnan(measured):
            assert table.loc[(trial, "c_statistic"), "reason"]
        else:
            assert measured == pytest.approx(sum(pairs) / len(pairs))
        known = (rows["times"] * (rows["responders"] - rows["probability"]) ** 2).sum()
        assert table.loc[(trial, "brier"), "apparent"] == pytest.approx(known / len(people))


def test_leaving_out_alone_puts_a_c_statistic_below_chance():
    """What the note of the table says: predictions that are the mean of the others have c = 0."""
    response = np.repeat([1.0, 0.0], [6, 23])
    mean_of_others = (response.sum() - response) / (len(response) - 1)
    assert concordance(response, mean_of_others[None]).tolist() == [0.0]
    assert concordance(response, np.full((1, 29), response.mean())).tolist() == [0.5]


def test_the_summary_says_what_the_curve_and_the_data_say(odd, odd_page, arms_only):
    curve = decision_curve(leave_one_out(odd))
    everybody = curve[curve["population"] == EVERYBODY]
    worthless = everybody.assign(net_benefit=-1.0)
    assert "at no threshold" in decision_words(worthless)
    best = everybody["treat_all"].clip(lower=0.0) + 0.1
    assert "at 100 % of the thresholds" in decision_words(everybody.assign(net_benefit=best))
    text = odd_page.texts["main"]
    assert decision_words(curve) in text
    units = design_of(odd).units
    single = units.is_arm == 0
    responders, n = units.responders[single].sum(), units.n[single].sum()
    assert f"{responders:g} responders in {n:g} outcomes of single patients" in text
    assert "No patient is given one by one" in summary_lines(arms_only, None)[2]
    near = (units.hours >= 12) & (units.hours <= 48) & (units.threshold == 50)
    assert f"{percent(units.n[near].sum() / units.n.sum())} of all outcomes are of" in text
    chance = {"measure": "c_statistic", "trial": "trial_1", "lower": 0.49}
    assert "do not show" in discrimination_words(pd.DataFrame([chance]))
    sure = pd.DataFrame([chance, {**chance, "trial": "trial_2", "lower": 0.51}])
    assert "in 1 of 2 trials with single patients (Trial 2)" in discrimination_words(sure)


def test_a_loaded_fit_makes_the_same_page_to_the_last_byte(arms_text, arms_only, tmp_path):
    path = arms_only.save(tmp_path / "fit.nc")
    assert report_page(load_posterior(path)) == arms_text[0]


def test_the_estimator_hands_its_fit_to_the_report(plain, tmp_path, monkeypatch):
    _, file, _ = plain
    told = {}

    def noted(posterior, path, **options):
        told.update(options, posterior=posterior)
        return path

    monkeypatch.setattr("ketpredict.report.write_report", noted)
    model, output = kp.load(file), tmp_path / "report.html"
    assert model.report(output, prob=0.8) == output
    assert told == {"posterior": model.fit_, "prob": 0.8, "validation": None}

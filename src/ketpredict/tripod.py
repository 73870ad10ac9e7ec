"""The TRIPOD+AI checklist of a fit: what the software knows, and what its author must state.

Collins et al. 2024, BMJ 385:e078378 (doi:10.1136/bmj-2023-078378), 27 items in 52 rows. Items are
paraphrased; the wording that counts is that of the statement. Numbers, topics and applicability
were checked against the table of the statement (PMC11019967, CC BY 4.0). Filling in a row says
where an answer stands, not that a study is good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

FILLED, IN_PART, AUTHOR = "filled in", "in part", "author must state"
"""How far the software knows the answer of a row."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One row of the checklist.

    Parameters
    ----------
    number : str
        As in the statement, such as ``12c``.
    part, topic : str
    asks : str
        What the row asks for, in our words.
    applies : str
        To development (D), to evaluation (E), or to both (D;E).
    """

    number: str
    part: str
    topic: str
    asks: str
    applies: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a report says to one row.

    Parameters
    ----------
    status : str
        :data:`FILLED`, :data:`IN_PART` or :data:`AUTHOR`.
    words : str
    section : str
        Anchor of the section that holds it; empty if there is none.
    """

    status: str
    words: str
    section: str = ""


def _items() -> tuple[Item, ...]:
    rows = [line.strip().split(" | ") for line in _ROWS.strip().splitlines()]
    return tuple(Item(*row) for row in rows)


_ROWS = """
1 | Title | Title | Title names development or evaluation of a prediction model, population and outcome | D;E
2 | Abstract | Abstract | Abstract by the checklist for abstracts | D;E
3a | Introduction | Background | Clinical context, diagnostic or prognostic, rationale, existing models | D;E
3b | Introduction | Background | Target population, purpose within care, intended users | D;E
3c | Introduction | Background | Known health inequalities between sociodemographic groups | D;E
4 | Introduction | Objectives | Objectives: development, validation or both | D;E
5a | Methods | Data | Sources of data for development and evaluation, why these, how representative | D;E
5b | Methods | Data | Dates: start and end of accrual, end of follow-up | D;E
6a | Methods | Participants | Setting, number and place of centres | D;E
6b | Methods | Participants | Eligibility criteria | D;E
6c | Methods | Participants | Treatments received and how they were handled | D;E
7 | Methods | Data preparation | Pre-processing and quality checks, alike across groups or not | D;E
8a | Methods | Outcome | Outcome and time horizon, how and when assessed, why this one | D;E
8b | Methods | Outcome | Who assessed a subjective outcome: qualification and demography | D;E
8c | Methods | Outcome | Blinding of the assessment of the outcome | D;E
9a | Methods | Predictors | How initial predictors were chosen, any pre-selection | D
9b | Methods | Predictors | Definition of all predictors, how and when measured, blinding | D;E
9c | Methods | Predictors | Who assessed subjective predictors: qualification and demography | D;E
10 | Methods | Sample size | How the study size came about and whether it suffices | D;E
11 | Methods | Missing data | How missing data were handled; reasons for leaving data out | D;E
12a | Methods | Analysis | How data were used for development and evaluation, any partition | D
12b | Methods | Analysis | How predictors were handled: form, scale, transformation | D
12c | Methods | Analysis | Type of model, rationale, all steps of building, internal validation | D
12d | Methods | Analysis | Heterogeneity of parameters and performance across clusters | D;E
12e | Methods | Analysis | Measures and plots of performance, and why these | D;E
12f | Methods | Analysis | Any updating of the model after evaluation | E
12g | Methods | Analysis | How predictions were calculated in the evaluation | E
13 | Methods | Class imbalance | Methods for class imbalance, if used, and recalibration after them | D;E
14 | Methods | Fairness | Approaches to fairness, and why these | D;E
15 | Methods | Model output | What the model puts out; any classification and its thresholds | D
16 | Methods | Training and evaluation | Differences between data of development and of evaluation | D;E
17 | Methods | Ethical approval | Ethics committee, informed consent or its waiver | D;E
18a | Open science | Funding | Source of funding, role of funders | D;E
18b | Open science | Conflicts of interest | Conflicts of interest of all authors | D;E
18c | Open science | Protocol | Where the protocol is, or that there was none | D;E
18d | Open science | Registration | Register and number, or that it was not registered | D;E
18e | Open science | Data sharing | Availability of the data | D;E
18f | Open science | Code sharing | Availability of the code of the analysis | D;E
19 | Patient and public involvement | Involvement | Involvement of patients and public at any stage, or none | D;E
20a | Results | Participants | Flow of participants, with and without the outcome, follow-up | D;E
20b | Results | Participants | Characteristics by source: dates, predictors, treatments, size, events, missing data | D;E
20c | Results | Participants | Distribution of predictors and outcome against the development data | E
21 | Results | Model development | Participants and outcome events in each analysis | D;E
22 | Results | Model specification | The full model so that others can predict and evaluate; restrictions | D
23a | Results | Model performance | Performance with intervals, also in key subgroups | D;E
23b | Results | Model performance | Heterogeneity of performance across clusters, if examined | D;E
24 | Results | Model updating | Results of updating, with later performance | E
25 | Discussion | Interpretation | Overall interpretation, fairness, objectives, earlier studies | D;E
26 | Discussion | Limitations | Limitations and their effects on bias, uncertainty, generalisability | D;E
27a | Discussion | Usability | Poor or missing input: how to assess and handle it in use | D
27b | Discussion | Usability | Whether users handle inputs, and what expertise they need | D
27c | Discussion | Usability | Next steps for research: applicability and generalisability | D;E
"""  # noqa: E501
ITEMS = _items()

_AUTHORS = {
    "1": "The author words the title.",
    "2": "The author writes the abstract; its numbers stand in the summary.",
    "3a": "The software knows nothing of context and earlier models.",
    "3b": "The software is for research; purpose and users are the author's to state.",
    "3c": "No sociodemographic group is known to the software beyond the columns it was given.",
    "4": "The author states the objectives.",
    "5b": "No dates are among the data.",
    "6a": "Neither setting nor centres are among the data.",
    "6b": "Eligibility criteria are those of each trial; the citations lead to them.",
    "8b": "Assessors are not among the data.",
    "9a": "Whoever named the predictors says why. The software selects none.",
    "9c": "Assessors are not among the data.",
    "14": "No approach to fairness was used. The author states whether any group was looked at.",
    "17": "The software cannot know of approval or consent.",
    "18a": "The software cannot know it.",
    "18b": "The software cannot know it.",
    "18c": "The software cannot know it.",
    "18d": "The software cannot know it.",
    "19": "The software cannot know it.",
    "25": "The author interprets; nothing here is advice on treatment.",
    "27c": "The author states it; intervals for one new trial say how far results may carry.",
}


def checklist(found: Mapping[str, Answer]) -> tuple[tuple[Item, Answer], ...]:
    """Return every row of the checklist with its answer.

    Parameters
    ----------
    found : mapping of str to Answer
        What the report knows, by number. All other rows are the author's.
    """
    rest = "The author states it."
    return tuple(
        (item, found.get(item.number) or Answer(AUTHOR, _AUTHORS.get(item.number, rest)))
        for item in ITEMS
    )

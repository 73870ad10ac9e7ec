"""Tables of a report: which priors the answers lean on."""

from __future__ import annotations

from ketpredict.importance import PARETO_LIMIT
from ketpredict.power_scaling import LIMIT
from ketpredict.prior_sensitivity import (
    NAMES,
    UNTOLD,
    PriorSensitivity,
    named,
    value_words,
)
from ketpredict.report_tables import Row, Table, number, table_of
from ketpredict.wording import signed

_MARK = " *"


def sensitivity_table(found: PriorSensitivity) -> Table:
    """Return the sensitivity of every answer to every component."""
    components = found.components
    rows = []
    for _, own in found.table.groupby(["section", "answer"], sort=False):
        cells = own.set_index("component").loc[components]
        label = named(own.iloc[0].to_dict())
        values = [
            f"{number(value, 3)}{_MARK if leans else ''}"
            for value, leans in zip(cells["sensitivity"], cells["leans"], strict=True)
        ]
        rows.append((label[:1].upper() + label[1:], *values))
    headings = [NAMES[name][:1].upper() + NAMES[name][1:] for name in components]
    return Table(
        "prior-sensitivity",
        "Sensitivity of each answer to scaling each block of priors, the published effects and "
        "the outcomes",
        ("Answer", *headings),
        tuple(rows),
        "How far the distribution of an answer moves, for a doubling of the power of one "
        "component, all else as it is (cumulative Jensen-Shannon distance; Kallioinen and others "
        f"2024, Stat Comput 34:57).{_MARK}: {LIMIT:g} and above, and more than chance reaches with "
        "these draws: the answer leans on these priors or on the published effects. A large number "
        "under outcomes is as it should be: the data speak.",
    )


def leaning_table(found: PriorSensitivity) -> Table | None:
    """Return every answer that leans on a component, and where that takes it; None if none does."""
    frame = found.table[found.table["leans"]]
    if frame.empty:
        return None
    frame = frame.sort_values("sensitivity", ascending=False, kind="stable")
    return table_of(
        frame,
        "leaning",
        "Answers that lean on a prior or on the published effects, and where these take them",
        (
            ("Answer", _answer),
            ("Leans on", lambda row: NAMES[str(row["component"])]),
            ("Sensitivity", lambda row: number(row["sensitivity"], 3)),
            ("Half as strong", lambda row: value_words(dict(row), "weaker")),
            ("As it is", lambda row: value_words(dict(row), "now")),
            ("Twice as strong", lambda row: value_words(dict(row), "stronger")),
            ("SDs for a doubling", lambda row: f"{signed(row['shift'])} ± {row['error']:.2f}"),
        ),
        "Means of the answer with the component to the power 1/2, 1 and 2, by weighting draws: of "
        "a normal prior the SD times 1.4, as it is, and divided by 1.4. Slopes and scales are on "
        f"the latent scale. {UNTOLD}: too far for weights (Pareto k above {PARETO_LIMIT}). SDs for "
        "a doubling: the rate at the priors as they are, with its Monte Carlo error.",
    )


def _answer(row: Row) -> str:
    label = named(dict(row))
    return label[:1].upper() + label[1:]

"""Tables of print for the priors that the answers of a fit lean on."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ketpredict.power_scaling import LIMIT
from ketpredict.prior_sensitivity import ALL, EFFECTS, OUTCOMES, PriorSensitivity

_HEADINGS = {
    ALL: "all\npri-\nors",
    "level": "\n\nlevel",
    "scales": "\nvari-\nation",
    "arms": "\narm\nclass",
    "threshold": "SD of\nim-\nprov.",
    "slopes": "size\nof\nslope",
    "predictors": "pre-\ndic-\ntors",
    "effect_scales": "eff-\nects'\nSD",
    EFFECTS: "publ.\neff-\nects",
    OUTCOMES: "\nout-\ncomes",
}
_LABEL, _CELL = 20, 6


def sensitivity_print(found: PriorSensitivity) -> Group:
    """Return what to print of :func:`ketpredict.prior_sensitivity.prior_sensitivity`."""
    parts: list[Any] = [_table(found, show_header=True)]
    for section, rows in found.table.groupby("section", sort=False):
        printed = _table(found, show_header=False)
        for answer, own in rows.groupby("answer", sort=False):
            cells = own.set_index("component").loc[found.components]
            pairs = zip(cells["sensitivity"], cells["leans"], strict=True)
            name = str(own["predictor"].iloc[0]).replace("_", " ")
            printed.add_row(name or str(answer), *(_cell(v, leans=leans) for v, leans in pairs))
        parts += [Text(str(section), style="bold"), printed]
    parts.append(
        Text(
            f"\n* {LIMIT:g} and above, and more than chance reaches: the answer leans on these "
            "priors, or on the published effects."
        )
    )
    return Group(*parts, *(Text(line) for line in found.lines()))


def _table(found: PriorSensitivity, *, show_header: bool) -> Table:
    """Return an empty table whose columns are as wide in every section."""
    printed = Table(box=None, padding=0, pad_edge=False, show_header=show_header)
    printed.add_column("", width=_LABEL, overflow="fold")
    for name in found.components:
        printed.add_column(_HEADINGS[name], width=_CELL, justify="right", no_wrap=True)
    return printed


def _cell(value: float, *, leans: bool) -> str:
    """Return a sensitivity with three decimals, ``.051*``: two would hide which side of 0.05."""
    return f"{value:.3f}{'*' if leans else ' '}".removeprefix("0")

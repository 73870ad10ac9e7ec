"""Write the tables of published predictor effects into ``docs/evidence.md``.

Run ``python scripts/effects_page.py``; ``--check`` writes nothing and exits with 1 when the page
differs from what the data and the published model give. ``--literature`` also writes what these
effects did to the fit that ships with the package (a minute: it samples without them).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from ketpredict.conversions import COUNTS, KIND_NAMES
from ketpredict.design import Design
from ketpredict.evidence import load_evidence
from ketpredict.fitting import prepare
from ketpredict.literature import literature
from ketpredict.predictors import load_predictors
from ketpredict.published import load_fit
from ketpredict.spec import load_spec

PAGE = Path(__file__).resolve().parents[1] / "docs" / "evidence.md"
START, END = "<!-- effects: start -->", "<!-- effects: end -->"


def tables(design: Design) -> str:
    """Return the counts and the table of what enters."""
    fates, effects = design.effect_fates, design.effects
    used = [fate for fate in fates if fate["used"]]
    reasons = Counter(
        fate["why"].partition(":")[0] if ":" in fate["why"] else "not in the published model"
        for fate in fates
        if not fate["used"]
    )
    lines = [
        f"Of {len(fates)} rows {len(used)} enter the published fit. The others carry their reason:",
        "",
        "| reason | rows |",
        "|---|---|",
        *(f"| `{reason}` | {count} |" for reason, count in reasons.most_common()),
        "",
        "What enters, positive meaning more improvement:",
        "",
        "| row | cohort | predictor | hours | n | compared with | value | SE | power |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for i, fate in enumerate(used):
        hours = "?" if fate["hours"] is None else f"{fate['hours']:g}"
        error = f"{effects.standard_error[i]:.3f}"
        if effects.kind[i] == COUNTS:
            a, b, c, d = effects.counts[i]
            value, error = f"{a:g}/{b:g} against {c:g}/{d:g}", ""
        elif np.isnan(effects.statistic[i]):
            low, high = effects.lower[i], effects.upper[i]
            value = f"above {low:.2f}" if math.isinf(high) else f"{low:.2f} to {high:.2f}"
        else:
            value = f"{effects.statistic[i]:.3f}"
            if effects.positive[i] != 1.0:
                value = f"± {value} (+ with weight {effects.positive[i]:g})"
        kind = KIND_NAMES[effects.kind[i]]
        lines.append(
            f"| {fate['row']} | {fate['cohort']} | `{fate['predictor']}` | {hours} | "
            f"{fate['n']:g} | {kind} | {value} | {error} | {fate['power']:g} |"
        )
    return "\n".join(lines)


def what_they_did() -> str:
    """Return the slopes of the shipped fit with and without the literature, and what matters."""
    found = literature(load_fit())
    lines = [
        "| predictor | effects | patients behind | slope with (90 %) | without (90 %) | worth in "
        "patients | sensitivity |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found.slopes.to_dict("records"):
        pairs = [
            f"{row[f'slope{e}']:.2f} ({row[f'lower{e}']:.2f} to {row[f'upper{e}']:.2f})"
            for e in ("", "_without")
        ]
        worth = f"{row['effective_patients']:.0f} ({row['effective_lower']:.0f} to "
        worth += f"{row['effective_upper']:.0f})"
        lines.append(
            f"| `{row['predictor']}` | {row['effects']} | {row['patients']} | {pairs[0]} | "
            f"{pairs[1]} | {worth} | {row['sensitivity']:.3f} |"
        )
    most = found.effects.sort_values("shift", key=abs, ascending=False).head(3)
    named = "; ".join(
        f"{row['effect']} ({row['shift']:+.2f} SD, k {row['pareto_k']:.2f})"
        for row in most.to_dict("records")
    )
    lines += [
        "",
        f"Left out one at a time, these would move the slope of their predictor most: {named}.",
    ]
    return "\n".join(lines)


def placed(text: str, start: str, end: str, content: str) -> str:
    """Return the page with something between two of its marks."""
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content}\n{end}{after}"


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--literature", action="store_true")
    options = parser.parse_args()
    design, _ = prepare(load_spec("published"), load_evidence(), load_predictors())
    text = PAGE.read_text(encoding="utf-8")
    new = placed(text, START, END, tables(design))
    if options.check:
        print("docs/evidence.md is " + ("up to date" if new == text else "out of date"))
        return int(new != text)
    if options.literature:
        new = placed(new, "<!-- literature: start -->", "<!-- literature: end -->", what_they_did())
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

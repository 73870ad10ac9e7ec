"""What must hold between the columns of a row, and between rows.

A :class:`Rule` becomes a pandera check of the whole table and carries the words of its message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

_SCORES = ("baseline_score", "endpoint_score")
_OUTCOMES = frozenset({"response", "improvement", "endpoint_score"})
_IMPROVEMENT_ROUNDING = 1.0
_THRESHOLD_ROUNDING = 0.5
_RATIOS = frozenset({"odds_ratio", "risk_ratio", "rate_ratio", "hazard_ratio", "or", "rr", "hr"})
_CORRELATIONS = frozenset(
    {"correlation", "pearson_r", "spearman_r", "spearman_rho", "kendall_tau", "partial_r", "r"}
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What must hold between the columns of a row.

    Parameters
    ----------
    name : str
    columns : tuple of str
        The rule applies where the table has them all; the first is the one reported.
    holds : callable
        Takes the table and returns a boolean for each row; True where a cell is missing.
    describe : callable
        Takes the table and a row and returns what is wrong; ``{name}`` stands for a column.
    """

    name: str
    columns: tuple[str, ...]
    holds: Callable[[pd.DataFrame], pd.Series]
    describe: Callable[[pd.DataFrame, int], str]


def participant_rules(frame: pd.DataFrame) -> list[Rule]:
    """Return the rules for participants that a table with these columns must hold."""
    rules = [
        Rule("scores agree", ("improvement", *_SCORES), _improvement_agrees, _improvement_found),
        Rule("response by scores", ("response", *_SCORES), _scores_agree, _scores_found),
        Rule("response", ("response", "improvement"), _response_agrees, _response_found),
    ]
    if "participant" in frame and _OUTCOMES & set(frame):
        names = ("participant", "trial", "arm", "hours", "period")
        rules.append(_unique(frame, tuple(name for name in names if name in frame)))
    if "endpoint_score" in frame and "baseline_score" not in frame:
        rules.append(_no_baseline())
    return _applicable(rules, frame)


def arm_rules(frame: pd.DataFrame) -> list[Rule]:
    """Return the rules for arms that a table with these columns must hold."""
    rules = [
        Rule(
            "responders and n",
            ("responders", "n"),
            lambda arms: ~(arms["responders"] > arms["n"]),
            lambda arms, row: (
                f"{{responders}} is {arms['responders'][row]:g} but {{n}} is {arms['n'][row]:g}; "
                "expected responders from 0 to n."
            ),
        ),
        _unique(frame, ("trial", "arm", "hours")),
    ]
    rules += [_not_fraction(str(name)) for name in frame if str(name).endswith("_pct")]
    return _applicable(rules, frame)


def association_rules(frame: pd.DataFrame) -> list[Rule]:
    """Return the rules for associations that a table with these columns must hold."""
    rules = [
        Rule(
            "interval",
            ("estimate", "ci_low", "ci_high"),
            lambda table: (
                ~(
                    (table["ci_low"] > table["estimate"])
                    | (table["estimate"] > table["ci_high"])
                    | (table["ci_low"] > table["ci_high"])
                )
            ),
            lambda table, row: (
                f"{{estimate}} is {table['estimate'][row]:g}, its interval runs from "
                f"{table['ci_low'][row]:g} to {table['ci_high'][row]:g}; expected the estimate "
                "inside the interval."
            ),
        ),
        _statistic("ratio", _RATIOS, lambda value: value > 0, "above 0"),
        _statistic("correlation", _CORRELATIONS, lambda value: value.abs() <= 1, "from -1 to 1"),
    ]
    return _applicable(rules, frame)


def _applicable(rules: Sequence[Rule], frame: pd.DataFrame) -> list[Rule]:
    return [rule for rule in rules if set(rule.columns) <= set(frame)]


def _score_improvement(frame: pd.DataFrame) -> pd.Series:
    baseline = frame["baseline_score"].where(frame["baseline_score"] > 0)
    return 100.0 * (baseline - frame["endpoint_score"]) / baseline


def _threshold(frame: pd.DataFrame) -> pd.Series:
    if "threshold" in frame:
        return frame["threshold"].fillna(50.0)
    return pd.Series(50.0, index=frame.index)


def _improvement_agrees(frame: pd.DataFrame) -> pd.Series:
    difference = (frame["improvement"] - _score_improvement(frame)).abs()
    return ~(difference > _IMPROVEMENT_ROUNDING)


def _improvement_found(frame: pd.DataFrame, row: int) -> str:
    return (
        f"{{improvement}} is {frame['improvement'][row]:g}, but {_from_scores(frame, row)}; "
        f"expected them to agree within {_IMPROVEMENT_ROUNDING:g} point."
    )


def _from_scores(frame: pd.DataFrame, row: int) -> str:
    return (
        f"{{baseline_score}} {frame['baseline_score'][row]:g} and {{endpoint_score}} "
        f"{frame['endpoint_score'][row]:g} make {_score_improvement(frame)[row]:.1f} percent"
    )


def _scores_agree(frame: pd.DataFrame) -> pd.Series:
    reached = _score_improvement(frame) - _threshold(frame)
    return _same_response(frame["response"], reached, 1e-9)


def _scores_found(frame: pd.DataFrame, row: int) -> str:
    return (
        f"{{response}} is {frame['response'][row]:g}, but {_from_scores(frame, row)}; "
        f"{_response_rule(frame, row)}"
    )


def _response_agrees(frame: pd.DataFrame) -> pd.Series:
    # Within rounding of the threshold a printed improvement does not tell who responded.
    reached = frame["improvement"] - _threshold(frame)
    return _same_response(frame["response"], reached, _THRESHOLD_ROUNDING)


def _response_found(frame: pd.DataFrame, row: int) -> str:
    return (
        f"{{response}} is {frame['response'][row]:g}, but {{improvement}} is "
        f"{frame['improvement'][row]:g} percent; {_response_rule(frame, row)}"
    )


def _response_rule(frame: pd.DataFrame, row: int) -> str:
    return (
        f"a response is an improvement of {_threshold(frame)[row]:g} percent or more. Correct "
        "one of them, or leave one column out."
    )


def _same_response(response: pd.Series, reached: pd.Series, rounding: float) -> pd.Series:
    wrong = ((response == 1) & (reached < -rounding)) | ((response == 0) & (reached > rounding))
    at_threshold = (rounding < 0.1) & (response == 0) & (reached.abs() <= rounding)
    return ~(wrong | at_threshold)


def _no_baseline() -> Rule:
    return Rule(
        "endpoint without baseline",
        ("endpoint_score",),
        lambda frame: frame["endpoint_score"].isna(),
        lambda frame, row: (
            f"{{endpoint_score}} is {frame['endpoint_score'][row]:g}, but the table has no "
            "column baseline_score; add it, or leave the scores out."
        ),
    )


def _unique(frame: pd.DataFrame, columns: tuple[str, ...]) -> Rule:
    """Return the rule that no two rows agree in all columns; rows with none named may."""

    def holds(table: pd.DataFrame) -> pd.Series:
        return ~table.duplicated(list(columns)) | table[columns[0]].isna()

    def describe(table: pd.DataFrame, row: int) -> str:
        keys = table[list(columns)]
        same = (keys.eq(keys.loc[row]) | (keys.isna() & keys.loc[row].isna())).all(axis=1)
        first = int(np.flatnonzero(same.to_numpy())[0])
        names = [f"{{{name}}}" for name in columns]
        listed = ", ".join(names[:-1]) + (f" and {names[-1]}" if len(names) > 1 else names[0])
        return f"the same {listed} as row {first + 1}; expected one row for each. Keep one."

    return Rule("one row for each", columns, holds, describe)


def _not_fraction(column: str) -> Rule:
    """Return the rule that a percentage is not written as a fraction.

    One person of n is 100/n percent: less than half of that, and below 1, is no person at all.
    """

    def holds(frame: pd.DataFrame) -> pd.Series:
        share = frame[column]
        return ~((share > 0) & (share < 1) & (share < 50 / frame["n"].where(frame["n"] > 0)))

    def describe(frame: pd.DataFrame, row: int) -> str:
        return (
            f"{{{column}}} is {frame[column][row]:g} with {{n}} {frame['n'][row]:g}, less than "
            "one person; expected a percentage, not a fraction (42, not 0.42)."
        )

    return Rule(f"{column} as a percentage", (column, "n"), holds, describe)


def _statistic(
    word: str, statistics: frozenset[str], possible: Callable[[pd.Series], pd.Series], range_: str
) -> Rule:
    """Return the rule that the estimate is possible for its statistic."""

    def holds(frame: pd.DataFrame) -> pd.Series:
        estimate = frame["estimate"]
        concerned = frame["statistic"].astype(str).str.casefold().isin(statistics)
        return ~(concerned & estimate.notna() & ~possible(estimate))

    def describe(frame: pd.DataFrame, row: int) -> str:
        return (
            f"{{estimate}} is {frame['estimate'][row]:g}, but {{statistic}} is "
            f"'{frame['statistic'][row]}'; expected a {word} {range_}."
        )

    return Rule(f"estimate of a {word}", ("estimate", "statistic"), holds, describe)

"""Arms and their classes: those that the package knows, and those that a table brings."""

from __future__ import annotations

import pandas as pd

from ketpredict.errors import DataError
from ketpredict.resources import data_path
from ketpredict.spec import ARM_CLASSES
from ketpredict.tables import read_table


def load_arm_classes() -> pd.DataFrame:
    """Return the arms that the package knows, indexed by name."""
    table = read_table(data_path("arm_classes.csv")).set_index("arm")
    table["repeated"] = table["repeated"].astype(str).str.lower() == "true"
    return table


def arm_classes(
    known: pd.DataFrame, arms: pd.DataFrame, participants: pd.DataFrame
) -> pd.DataFrame:
    """Return the class of every arm; an arm that the package does not know must bring its own.

    Parameters
    ----------
    known : DataFrame indexed by arm
        From :func:`load_arm_classes`.
    arms, participants : DataFrame
        Tables with ``arm``; for arms that are not known also ``arm_class``, and ``repeated`` where
        the arm is a repeated course.

    Raises
    ------
    DataError
        An arm without a class, an unknown class, or two of them for one arm.
    """
    found = _brought(arms, participants)
    names = set(arms["arm"]) | set(participants["arm"])
    problems = []
    unknown = sorted(names - set(known.index) - set(found))
    if unknown:
        problems.append(f"Unknown arms: {', '.join(unknown)}.")
    wrong = sorted({one for classes, _ in found.values() for one in classes} - set(ARM_CLASSES))
    if wrong:
        problems.append(f"Unknown arm classes: {', '.join(wrong)}.")
    for arm, (classes, _) in found.items():
        mine = classes | ({str(known.loc[arm, "arm_class"])} if arm in known.index else set())
        if len(mine) > 1:
            problems.append(f"Arm '{arm}' has the classes {', '.join(sorted(mine))}; one is right.")
    if problems:
        raise DataError(
            f"{' '.join(problems)} Known arms: {', '.join(sorted(known.index))}. For another arm "
            f"add a column arm_class with one of {', '.join(ARM_CLASSES)}."
        )
    new = {
        arm: {"arm_class": next(iter(classes)), "repeated": repeated, "label": arm}
        for arm, (classes, repeated) in found.items()
        if arm not in known.index
    }
    extra = pd.DataFrame.from_dict(new, orient="index")
    return known if extra.empty else pd.concat([known, extra])


def _brought(*tables: pd.DataFrame) -> dict[str, tuple[set[str], bool]]:
    """Return the classes that tables give their arms, and whether any row is a repeated course."""
    found: dict[str, tuple[set[str], bool]] = {}
    for table in tables:
        if "arm_class" not in table:
            continue
        named = table[table["arm_class"].notna()]
        for arm, rows in named.groupby("arm"):
            classes, repeated = found.get(str(arm), (set(), False))
            course = "repeated" in rows and bool((rows["repeated"].astype(float) == 1.0).any())
            found[str(arm)] = (classes | set(rows["arm_class"].astype(str)), repeated or course)
    return found

"""Write the table of ``docs/scikit-learn.md``: scikit-learn's checks on the real model.

Run ``uv run python scripts/estimator_checks.py`` (a minute). The page's text stands here, the
results are those of this run.
"""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version
from pathlib import Path

from sklearn.utils.estimator_checks import check_estimator

import ketpredict as kp

PAGE = Path(__file__).parents[1] / "docs" / "scikit-learn.md"
START, END = "<!-- checks: start -->", "<!-- checks: end -->"


def main() -> None:
    """Run all checks and write the table between the page's marks."""
    estimator = kp.KetamineResponseClassifier(
        evidence=None, draws=60, tune=150, chains=1, target_accept=0.8, random_state=0
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kp.KetpredictWarning)  # few draws do not converge
        results = check_estimator(estimator, on_skip=None, on_fail=None)
    seconds = time.perf_counter() - started
    passed = [result for result in results if result["status"] == "passed"]
    lines = [
        f"{len(passed)} of {len(results)} passed in {seconds:.0f} s, with scikit-learn "
        f"{version('scikit-learn')}; none is marked as expected to fail. The estimator: "
        "`KetamineResponseClassifier(evidence=None, draws=60, tune=150, chains=1, "
        "target_accept=0.8)`, the real model and the real sampler.",
        "",
        "| Check | Result |",
        "|---|---|",
        *(f"| `{result['check_name']}` | {_words(result)} |" for result in results),
    ]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{'\n'.join(lines)}\n{END}{after}", encoding="utf-8")
    print(f"{len(passed)} of {len(results)} passed; written: {PAGE}")


def _words(result: dict[str, object]) -> str:
    if result["status"] == "passed":
        return "passed"
    return f"{result['status']}: {' '.join(str(result['exception']).split())}"


if __name__ == "__main__":
    main()

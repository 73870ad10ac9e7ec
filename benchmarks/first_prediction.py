"""From the start of Python to the first prediction of one patient, in fresh processes.

Run ``uv run python benchmarks/first_prediction.py [--fit FILE] [--runs 9]``. Two roads: the light
one (``response_probability`` of a mapping of arrays, both intervals) and the classifier
(``load`` and ``predict_proba`` of a DataFrame). Each figure is the median of fresh processes on
this machine, files already in the disk cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

_CLOCK = """
import json, sys, time
started = float(sys.argv[1])
marks = {}
def mark(name):
    marks[name] = time.time() - started
mark("python")
"""
_END = "\nmark('first prediction')\nprint(json.dumps(marks))\n"
ROADS = {
    "response_probability, mapping of arrays, both intervals": """
import numpy as np
import scipy.special, h5py
mark("NumPy, scipy.special, h5py")
import ketpredict as kp
patient = {"population": np.array(["unipolar_depression"]), "bmi": np.array([31.0])}
kp.response_probability(patient, fit=sys.argv[2])
""",
    "load, predict_proba of a DataFrame": """
import numpy as np
import scipy.special, h5py
mark("NumPy, scipy.special, h5py")
import pandas as pd
import sklearn.base, sklearn.utils.validation
mark("pandas, scikit-learn")
import ketpredict as kp
patient = pd.DataFrame({"population": ["unipolar_depression"], "bmi": [31.0]})
kp.load(sys.argv[2]).predict_proba(patient)
""",
}


def one_run(code: str, fit: str) -> dict[str, float]:
    """Return the seconds since the start of one fresh process, by mark."""
    command = [sys.executable, "-c", _CLOCK + code + _END, str(time.time()), fit]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print the median of each mark for both roads."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fit", default="published", help="a saved fit, or 'published'")
    parser.add_argument("--runs", type=int, default=9, help="fresh processes for each road")
    options = parser.parse_args()
    for road, code in ROADS.items():
        one_run(code, options.fit)  # fills the disk cache
        runs = [one_run(code, options.fit) for _ in range(options.runs)]
        print(f"{road} (median of {options.runs}, slowest in brackets)")
        for name in runs[0]:
            values = [run[name] for run in runs]
            print(f"  {name:28} {statistics.median(values):6.2f} s  ({max(values):.2f})")


if __name__ == "__main__":
    main()

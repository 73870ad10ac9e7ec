"""Hierarchical Bayesian prediction of antidepressant response to ketamine.

For research; not for treatment decisions.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "ConvergenceError": "errors",
    "ConvergenceWarning": "errors",
    "DataError": "errors",
    "Evidence": "evidence",
    "EvidenceWarning": "errors",
    "ExtrapolationWarning": "errors",
    "KetamineResponseClassifier": "classifier",
    "KetpredictError": "errors",
    "KetpredictWarning": "errors",
    "ModelSpec": "spec",
    "Prior": "prior_families",
    "ResponseProbability": "light",
    "SavedFitError": "errors",
    "Simulation": "simulation",
    "SpecificationError": "errors",
    "TableProblem": "errors",
    "combine": "evidence",
    "compare": "comparison",
    "leave_one_trial_out": "leave_out",
    "load": "classifier",
    "load_evidence": "evidence",
    "load_spec": "spec",
    "make_evidence": "evidence",
    "predict_file": "streaming",
    "predict_frame": "cluster",
    "response_probability": "light",
    "simulate": "simulation",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    """Load the module of a public name when the name is first used: imports are dear."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ketpredict' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ketpredict.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names, also those not loaded yet."""
    return sorted(__all__)

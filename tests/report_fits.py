"""Fits for tests of the report: names full of markup, few draws, a verdict of the test's choice."""

from __future__ import annotations

import dataclasses

ODD_TRIAL = "<script>window.pwned = true</script>"
ODD_POPULATION = 'all & "none" <i>$x^$</i>'
ODD_LABEL = 'Body "mass" & <b onmouseover="window.pwned = true">index</b>'


def renamed(posterior):
    """Return a fit whose first trial, population and predictor have names with markup in them."""

    def new(name):
        return {first: ODD_TRIAL, population: ODD_POPULATION}.get(name, name)

    first, population = posterior.coords["trial"][0], posterior.coords["population"][0]
    coords = {
        dim: [new(label) for label in labels] if dim in ("trial", "law", "population") else labels
        for dim, labels in posterior.coords.items()
    }
    basis = [
        {**entry, "population": new(entry["population"])} for entry in posterior.facts["basis"]
    ]
    predictors = list(posterior.predictors)
    predictors[0] = dataclasses.replace(predictors[0], label=ODD_LABEL)
    facts = {**posterior.facts, "basis": basis, "messages": [f"A message on {ODD_TRIAL}."]}
    return dataclasses.replace(posterior, coords=coords, facts=facts, predictors=tuple(predictors))


def thinned(posterior, step=4):
    """Return a fit with every so many of its draws: a page of it takes less time."""
    groups = {
        name: {variable: values[:, ::step] for variable, values in group.items()}
        if name in ("posterior", "posterior_predictive", "sample_stats", "log_likelihood", "prior")
        else group
        for name, group in posterior.groups.items()
    }
    return dataclasses.replace(posterior, groups=groups)


def verdict(posterior, problems=()):
    """Return a fit that says of itself that it converged, or why not."""
    found = {**posterior.facts["diagnostics"], "problems": list(problems), "rhat": 1.0}
    found |= {"ess_bulk": 900.0, "ess_tail": 900.0, "divergences": 0}
    facts = {**posterior.facts, "diagnostics": found}
    return dataclasses.replace(posterior, facts=facts)

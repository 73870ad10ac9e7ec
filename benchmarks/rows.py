"""One row of a benchmark in one fresh process: fits a table and writes what it measured as JSON.

The drivers (``standard_work.py``, ``scaling.py``) start it; by hand:

    uv run --group benchmark python benchmarks/rows.py a --table work.npz --report row.json
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import (
    CLOCK,
    FIT_STAGES,
    GradientCounter,
    Stopwatch,
    collected_warnings,
    effective_sizes,
    hide_packages,
    import_all,
    means_and_sds,
    peak_mebibytes,
)
from work import Work

SLOPES = ("slope", "predictive_slope")
SCALES = (
    "population_scale",
    "trial_scale",
    "treatment_scale",
    "arm_scale",
    "slope_scale",
    "across_scale",
    "predictor_between_scale",
)
BAMBI_PREDICTORS = ("bmi", "family_history_aud", "suicide_attempt_history")
BAMBI_SCALES = ("1|trial_sigma", "1|population_sigma")
BENCHMARK_PACKAGES = ("bambi", "formulae", "jax", "jaxlib", "seaborn", "sparse")
"""What the dependency group brings: hidden from the rows that do not need it."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How every row samples."""

    chains: int
    draws: int
    tune: int
    cores: int
    target_accept: float
    seed: int

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``nutpie.sample``."""
        return {**dataclasses.asdict(self), "progress_bar": False, "save_warmup": False}


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What a row leaves: where to find draws, and how to draw once more without a clock."""

    posterior: Any
    slopes: tuple[str, ...]
    scales: tuple[str, ...]
    diagnostics: Any
    again: Callable[[], Any]


def fit_by_kernel(work: Work, sampling: Sampling, watch: Stopwatch) -> Fitted:
    """Fit the package's estimator by the compiled kernel, on these patients alone (a)."""
    import_all(("numpy", "numba", "pandas", "sklearn.base", "xarray", "arviz", "pymc", "nutpie"))
    import ketpredict.classifier
    import ketpredict.compiled
    import ketpredict.fitting

    table = _frame(work)
    response = table.pop("response")
    made = []
    draw = ketpredict.compiled.draw_compiled

    def draw_and_keep(density: Any, **options: Any) -> Any:
        made[:] = [(density, options), draw(density, **options)]
        return made[1]

    ketpredict.compiled.draw_compiled = draw_and_keep
    watch.watch(ketpredict.compiled, "compile_design", "compile")
    watch.watch(ketpredict.compiled, "draw_compiled", "sample")
    watch.watch(ketpredict.fitting, "diagnose", "diagnose")
    watch.stage("build")
    fitted = ketpredict.classifier.KetamineResponseClassifier(
        evidence=None,
        predictors=work.predictors,
        draws=sampling.draws,
        tune=sampling.tune,
        chains=sampling.chains,
        cores=sampling.cores,
        target_accept=sampling.target_accept,
        random_state=sampling.seed,
    ).fit(table, response)
    watch.stage(None)
    if not made:
        raise RuntimeError("The estimator did not fit by the compiled kernel.")
    (density, options), tree = made
    return Fitted(
        tree["posterior"].to_dataset(),
        SLOPES,
        SCALES,
        fitted.fit_.facts["diagnostics"],
        lambda: draw(density, **options),
    )


def fit_by_graph(work: Work, sampling: Sampling, watch: Stopwatch, **backend: str) -> Fitted:
    """Fit the package's PyMC graph of the same design through nutpie (b)."""
    import_all(("numpy", "numba", "pandas", "sklearn.base", "xarray", "arviz", "pymc", "nutpie"))
    if backend:
        import_all(("jax", "pytensor.link.jax.dispatch"))
    from ketpredict.diagnostics import diagnose
    from ketpredict.evidence import make_evidence
    from ketpredict.fitting import prepare
    from ketpredict.graph import build
    from ketpredict.predictors import Predictor, load_predictors
    from ketpredict.sampling import parameter_names
    from ketpredict.spec import load_spec

    table = _frame(work)
    watch.stage("build")
    references = dict(load_predictors())
    for name in work.predictors:
        if name not in references:
            references[name] = Predictor.from_column(name, table[name].to_numpy())
    evidence = make_evidence(participants=table, references=references, predictors=work.predictors)
    spec = load_spec("published").with_predictors(work.predictors)
    design, _ = prepare(spec, evidence, references)
    model = build(design)
    # As the package's own fits by the graph: what is as long as the data is not kept.
    kept: dict[str, Any] = {**backend, "var_names": parameter_names(model)}
    return _sample_model(model, sampling, watch, diagnose, kept)


def fit_by_graph_in_jax(
    work: Work, sampling: Sampling, watch: Stopwatch, gradient: str = "pytensor"
) -> Fitted:
    """Fit the same graph through nutpie's JAX backend (c)."""
    return fit_by_graph(work, sampling, watch, backend="jax", gradient_backend=gradient)


def fit_sampled_cells(
    work: Work, sampling: Sampling, watch: Stopwatch, *, standardised: bool
) -> Fitted:
    """Fit the PyMC model that samples every missing cell as a parameter (d)."""
    import_all(("numpy", "numba", "pandas", "sklearn.base", "xarray", "arviz", "pymc", "nutpie"))
    from sampled_cells import build_sampled_cells

    from ketpredict.diagnostics import diagnose

    watch.stage("build")
    model = build_sampled_cells(work, standardised=standardised)
    return _sample_model(model, sampling, watch, diagnose, {})


def fit_by_bambi(work: Work, sampling: Sampling, watch: Stopwatch) -> Fitted:
    """Fit Bambi on the complete columns: three predictors, arm, trial and population (e)."""
    import_all(("numpy", "numba", "pandas", "sklearn.base", "xarray", "arviz", "pymc", "nutpie"))
    import bambi
    import nutpie

    from ketpredict.diagnostics import diagnose

    table = _frame(work)[["response", "trial", "population", "arm", *BAMBI_PREDICTORS]]
    table["bmi"] = (table["bmi"] - 28.0) / 6.0
    watch.watch(nutpie, "compile_pymc_model", "compile")
    watch.watch(nutpie, "sample", "sample")
    watch.stage("build")
    fixed = " + ".join(("arm", *BAMBI_PREDICTORS))
    model = bambi.Model(
        f"response ~ {fixed} + (1|trial) + (1|population)",
        table,
        family="bernoulli",
        link="probit",
    )
    model.build()
    options: dict[str, Any] = {
        "draws": sampling.draws,
        "tune": sampling.tune,
        "chains": sampling.chains,
        "cores": sampling.cores,
        "random_seed": sampling.seed,
        "nuts": {"target_accept": sampling.target_accept},
        "progressbar": False,
        "compute_convergence_checks": False,  # ours follow, as in every row
        "inference_method": "nutpie",
    }
    tree = model.fit(**options)
    watch.stage("diagnose")
    verdict = diagnose(tree)
    watch.stage(None)
    return Fitted(
        tree["posterior"].to_dataset(),
        BAMBI_PREDICTORS,
        BAMBI_SCALES,
        dataclasses.asdict(verdict),
        lambda: model.fit(**options),
    )


def _sample_model(
    model: Any, sampling: Sampling, watch: Stopwatch, diagnose: Any, options: dict[str, Any]
) -> Fitted:
    """Compile and sample a PyMC model through nutpie, under the clock."""
    import nutpie

    watch.stage("compile")
    compiled = nutpie.compile_pymc_model(model, **options)
    if "backend" in options:
        # JAX compiles at the first call: one draw, so that it counts as compiling.
        nutpie.sample(compiled, draws=1, tune=1, chains=1, seed=0, progress_bar=False)
    watch.stage("sample")
    tree = nutpie.sample(compiled, **sampling.options())
    watch.stage("diagnose")
    cells = [name for name in tree["posterior"].data_vars if "missing_cell" in str(name)]
    tree["posterior"] = tree["posterior"].to_dataset().drop_vars(cells)  # a favour: not diagnosed
    verdict = diagnose(tree)
    watch.stage(None)
    return Fitted(
        tree["posterior"].to_dataset(),
        SLOPES,
        SCALES,
        dataclasses.asdict(verdict),
        lambda: nutpie.sample(compiled, **sampling.options()),
    )


def _frame(work: Work) -> Any:
    """Return the table as a DataFrame."""
    import pandas as pd

    return pd.DataFrame(work.columns)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to do the work.

    Parameters
    ----------
    label : str
    fit : callable
    options : dict
        Further arguments of `fit`.
    shows : tuple of str
        Packages of the dependency group that the row needs.
    target_accept : float, optional
        Where it is not that of the other rows.
    states : tuple of str
        With which compilation caches it runs.
    caches_of : str, optional
        The row whose caches it uses.
    """

    label: str
    fit: Callable[..., Fitted]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    shows: tuple[str, ...] = ()
    target_accept: float | None = None
    states: tuple[str, ...] = ("cold", "warm")
    caches_of: str | None = None


ROWS = {
    "a": Row("ketpredict, the estimator, by its compiled kernel", fit_by_kernel),
    "a95": Row(
        "ketpredict at its default target_accept",
        fit_by_kernel,
        target_accept=0.95,
        states=("warm",),
        caches_of="a",
    ),
    "b": Row("PyMC graph of the package, missing cells averaged out, nutpie numba", fit_by_graph),
    "c": Row(
        "the same graph, nutpie JAX",
        fit_by_graph_in_jax,
        {"gradient": "pytensor"},
        ("jax", "jaxlib"),
    ),
    "c2": Row(
        "the same graph, nutpie JAX, gradient by JAX",
        fit_by_graph_in_jax,
        {"gradient": "jax"},
        ("jax", "jaxlib"),
    ),
    "d": Row(
        "PyMC model that samples every missing cell, nutpie numba",
        fit_sampled_cells,
        {"standardised": False},
    ),
    "d2": Row(
        "the same model, missing cells standardised, nutpie numba",
        fit_sampled_cells,
        {"standardised": True},
    ),
    "e": Row(
        "Bambi on complete cases, 3 predictors, nutpie numba",
        fit_by_bambi,
        shows=("bambi", "formulae", "seaborn", "sparse"),
    ),
}


def measure(row: Row, arguments: argparse.Namespace, watch: Stopwatch) -> None:
    """Fit one row and fill the stopwatch's report."""
    watch.stage("import")
    sampling = Sampling(
        chains=arguments.chains,
        draws=arguments.draws,
        tune=arguments.tune,
        cores=arguments.cores,
        target_accept=row.target_accept or arguments.target_accept,
        seed=arguments.seed,
    )
    work = Work.load(arguments.table)
    counter = GradientCounter(with_tuning=arguments.count == "inside")
    with collected_warnings() as messages:
        fitted = row.fit(work, sampling, watch, **row.options)
    stages, report = watch.report["stages"], watch.report
    report["process"] = time.time() - arguments.started if arguments.started else None
    report["fit"] = sum(stages.get(stage, 0.0) for stage in FIT_STAGES)
    report["peak_mebibytes"] = peak_mebibytes()
    report["sampling"] = dataclasses.asdict(sampling)
    report["warnings"] = [text[:200] for text in messages if "Convergence" in text]
    report["gradients_kept"] = counter.kept()
    report["gradients"] = counter.all()
    report["finished"] = True
    watch.write()  # what follows is not timed and must not be lost to a time limit
    report["slope_ess"] = effective_sizes(fitted.posterior, fitted.slopes)
    report["scale_ess"] = effective_sizes(fitted.posterior, fitted.scales)
    report["slope"] = means_and_sds(fitted.posterior, "slope")
    report["diagnostics"] = fitted.diagnostics
    watch.write()
    if arguments.count == "after":
        counter.with_tuning = True
        fitted.again()
        report["gradients"] = counter.all()
        watch.write()


def main() -> None:
    """Read the command line and measure one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--target-accept", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--started", type=float, help="time.time() when the process began, for its whole duration"
    )
    parser.add_argument(
        "--count",
        choices=("inside", "after", "never"),
        default="never",
        help="count the gradients of tuning too: in the timed run, in a second run, or not",
    )
    arguments = parser.parse_args()
    row = ROWS[arguments.row]
    hide_packages(tuple(name for name in BENCHMARK_PACKAGES if name not in row.shows))
    measure(row, arguments, Stopwatch(arguments.report, CLOCK))


if __name__ == "__main__":
    sys.exit(main())

"""A fitted posterior as one frozen value, and its file.

The file is NetCDF-4 with one group for each DataTree group, so that ArviZ and xarray open it, plus
a metadata text (JSON) and a closing line with the SHA-256 of everything before it. Reading needs
NumPy and h5py; nothing in a file is ever executed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ketpredict.errors import SavedFitError
from ketpredict.parts import single_level, slope_parts
from ketpredict.predictor_law import Draws, with_absent
from ketpredict.predictors import Predictor
from ketpredict.saved_fit_checks import (
    READABLE_FORMATS,
    array_problems,
    layout_problems,
    metadata_problems,
    spec_problems,
)
from ketpredict.saved_fit_file import METADATA as _METADATA
from ketpredict.saved_fit_file import TRAILER_LENGTH as _TRAILER_LENGTH
from ketpredict.saved_fit_file import Declared, SavedFile, in_memory, opened
from ketpredict.saved_fit_file import closing_line as _trailer
from ketpredict.saved_fit_numbers import contents_digest
from ketpredict.short_form import ShortForm
from ketpredict.spec import ModelSpec, parse_spec
from ketpredict.without_patients import without_patients
from ketpredict.writing import check_target, write_whole

FORMAT = 4
__all__ = [
    "EFFECTS_GROUP",
    "FORMAT",
    "_TRAILER_LENGTH",
    "Posterior",
    "_trailer",
    "load_posterior",
]
EFFECTS_GROUP = "log_likelihood_effects"
"""Group of a DataTree with the log likelihood of published effects, which are not the outcomes."""


@dataclasses.dataclass(frozen=True, repr=False)
class Posterior(ShortForm):
    """Posterior draws and everything that a prediction needs to know about the fit.

    Parameters
    ----------
    groups : mapping of str to mapping of str to ndarray
        Group, variable, values. ``groups["posterior"]["slope"]`` has shape
        (chain, draw, predictor).
    dims : mapping of str to tuple of str
        Dimensions of each variable after chain and draw.
    coords : mapping of str to list
        Labels of each dimension.
    spec : ModelSpec
    predictors : tuple of Predictor
        With the reference scale that the fit used.
    trial_values : ndarray of shape (trial, predictor)
        Mean or rate that each trial reports; NaN where it reports none.
    facts : dict
        Plain facts: ``arm_class``, ``repeated_arm``, ``basis`` (what each population rests on),
        ``ranges``, ``diagnostics``, ``provenance``, ``messages``, ``effects`` (each published one,
        used or not, and why), ``left_out`` (parts that the data could not tell apart, and why),
        ``estimator``.
    """

    groups: Mapping[str, Mapping[str, np.ndarray]]
    dims: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, list[Any]]
    spec: ModelSpec
    predictors: tuple[Predictor, ...]
    trial_values: np.ndarray
    facts: dict[str, Any]

    @property
    def n_draws(self) -> int:
        """Number of draws, all chains together."""
        chains, draws = self.groups["posterior"]["intercept"].shape[:2]
        return int(chains * draws)

    @property
    def problems(self) -> tuple[str, ...]:
        """What the convergence diagnostics found wrong; empty when nothing was."""
        return tuple(self.facts["diagnostics"]["problems"])

    @property
    def left_out(self) -> dict[str, str]:
        """Parts that the data could not tell apart, with why (:mod:`ketpredict.parts`)."""
        return dict(self.facts.get("left_out", {}))

    @property
    def slope_parts(self) -> tuple[str, ...]:
        """Parts of a slope that the fit has, in the order of ``slope_scale``."""
        return slope_parts(self.spec, self.left_out)

    @functools.cached_property
    def announced(self) -> set[str]:
        """What this process has said of the fit already: each thing is said once."""
        return set()

    def _headline(self) -> str:
        names = ("population", "trial", "arm", "predictor")
        counts = {name: len(self.coords[name]) for name in names}
        words = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items())
        verdict = "NOT converged" if self.problems else "no problem found by its diagnostics"
        return f"Fit of model '{self.spec.name}': {words}; {self.n_draws:,} draws, {verdict}"

    @functools.cached_property
    def parameters(self) -> dict[str, np.ndarray]:
        """Draws of every variable with chains joined, (draw, ...), ready for the equations.

        Populations and trials have a closing level of zeros: the effect of one not yet seen, whose
        variation enters as variance.
        """
        joined = {
            name: values.reshape(values.shape[0] * values.shape[1], *values.shape[2:])
            for name, values in self.groups["posterior"].items()
        }
        # A prior keeps nothing of single trials: there the level of zeros is the only one.
        count, trials = len(joined["intercept"]), len(self.coords["trial"])
        for name in ("trial_effect", "treatment_deviation"):
            joined.setdefault(name, np.zeros((count, trials)))
        joined.setdefault("trial_slope", np.zeros((count, trials, len(self.predictors))))
        for name in ("population_effect", "trial_effect", "treatment_deviation"):
            joined[name] = np.pad(joined[name], ((0, 0), (0, 1)))
        for name in ("population_slope", "trial_slope"):
            joined[name] = np.pad(joined[name], ((0, 0), (0, 1), (0, 0)))
        return with_absent(joined, self.predictors, len(self.coords["trial_cell"]))

    @functools.cached_property
    def draws(self) -> Draws:
        """The draws as the averages over what is not known take them."""
        return Draws(
            self.parameters,
            self.predictors,
            self.spec.link,
            self.slope_parts,
            single_level(self.left_out),
        )

    @functools.cached_property
    def worked_out(self) -> dict[str, np.ndarray]:
        """Arrays that other modules worked out from the draws, by name; no part of the file."""
        return {}

    def to_datatree(self) -> Any:
        """Return an ArviZ DataTree with the groups and their labelled dimensions.

        As they are kept. PyMC needs more: give it ``posterior_`` of the estimator
        (:func:`ketpredict.sampled_variables.with_sampled_variables`).
        ``log_likelihood`` is that of the responders alone, where the fit keeps it; published
        effects stand in ``log_likelihood_effects``, so that nobody takes them for the outcomes.
        """
        groups = dict(self.groups)
        pointwise = dict(groups.pop("log_likelihood", {}))
        effects = pointwise.pop("effects", None)
        if pointwise:
            groups["log_likelihood"] = pointwise
        if effects is not None:
            groups[EFFECTS_GROUP] = {"effects": effects}
        return self._tree(groups)

    def _tree(self, groups: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
        import xarray as xr

        tree = {}
        for group, variables in groups.items():
            arrays = {}
            for name, values in variables.items():
                own = self.dims.get(name, ())
                lead = ("chain", "draw")[: values.ndim - len(own)]
                arrays[name] = ((*lead, *own), values)
            used = {dim for dims, _ in arrays.values() for dim in dims}
            coords: dict[str, Any] = {
                dim: self.coords[dim] for dim in sorted(used) if dim in self.coords
            }
            for axis, dim in enumerate(("chain", "draw")):
                if dim in used:
                    size = next(v.shape[axis] for d, v in arrays.values() if dim in d)
                    coords[dim] = np.arange(size)
            tree[group] = xr.Dataset(arrays, coords=coords)
        return xr.DataTree.from_dict(tree)

    def metadata(self) -> str:
        """Return the JSON text that the file carries beside the draws."""
        text = json.dumps(
            {
                "format": FORMAT,
                "spec": self.spec.as_table(),
                "predictors": [predictor.to_dict() for predictor in self.predictors],
                "dims": {name: list(dims) for name, dims in self.dims.items()},
                "coords": dict(self.coords),
                "trial_values": [
                    [None if np.isnan(value) else value for value in row]
                    for row in self.trial_values.tolist()
                ],
                "facts": self.facts,
            },
            allow_nan=False,
        )
        told = json.loads(text)
        return json.dumps(told | {"digest": contents_digest(told, self.groups)})

    def without_patients(self) -> Posterior:
        """Return the fit without the rows of its patients; itself where there are none.

        The draws are the same, and so is every prediction. See
        :mod:`ketpredict.without_patients` for the rule.

        Raises
        ------
        SavedFitError
            A predictor's own scale would tell the values of fewer than five patients.
        """
        shared = without_patients(
            self.groups, self.dims, self.coords, self.predictors, self.trial_values, self.facts
        )
        return self if shared is None else dataclasses.replace(self, **vars(shared))

    def save(self, path: str | Path, *, patients: bool = True) -> Path:
        """Write the fit to one file, whole or not at all.

        Parameters
        ----------
        path : str or Path
        patients : bool
            A whole file holds **every patient's predictors and outcome**, as checks, validation,
            updates and the report need them. With ``patients=False`` they are left out, with all
            that may quote them (:meth:`without_patients`): such a file predicts, explains and
            tells effects as the whole one does, to the last bit, and refuses what needs patients.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        SavedFitError
            The fit is none that could be loaded again, for one because draws are not finite; a file
            that was there is kept.
        DataError
            The file cannot be written, and is as it was.
        """
        if not patients:
            return self.without_patients().save(path)
        check_target(path)
        path = Path(path)
        body = self._content()
        try:
            _taken(in_memory(body), path)
        except SavedFitError as error:
            raise SavedFitError(
                f"'{path}' was not written, since it could not be loaded again. {error}"
            ) from error
        return write_whole(path, body, _trailer(body))

    def _content(self) -> bytes:
        """Return the file without its closing line, made in memory: HDF5 itself writes no file."""
        tree = self._tree(self.groups)
        tree.attrs["ketpredict_format"] = FORMAT
        tree[_METADATA] = _metadata_group(self.metadata())
        encoding = {
            f"/{group}": {
                name: {"zlib": True, "complevel": 4, "shuffle": True}
                for name, values in variables.items()
                if values.dtype.kind in "fiub" and values.size
            }
            for group, variables in self.groups.items()
        }
        with _on_this_machine():
            return bytes(tree.to_netcdf(engine="h5netcdf", encoding=encoding))


def _on_this_machine() -> AbstractContextManager[Any]:
    """Return a context in which xarray asks no Dask cluster for a lock on this memory."""
    dask = sys.modules.get("dask")  # nothing here needs it: where it is in use, it is there
    return dask.config.set(scheduler="synchronous") if dask else contextlib.nullcontext()


def load_posterior(path: str | Path) -> Posterior:
    """Return the fit in a file, checked from its first byte to its last.

    Raises
    ------
    SavedFitError
        No such file, a file of another program, a damaged or truncated file, or a format that this
        version does not read, contents that are not those of a fit; the message says which.
    """
    return _taken(opened(Path(path)), Path(path))


def _taken(source: AbstractContextManager[SavedFile], path: Path) -> Posterior:
    """Return the fit that a file holds; whatever else a file can hold is an error of ours."""
    try:
        with source as file:
            return _parse(file, path)
    except SavedFitError:
        raise
    # HDF5, JSON, the specification, the predictors.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise SavedFitError(_no_fit(path, error)) from None


def _metadata_group(text: str) -> Any:
    import xarray as xr

    return xr.DataTree(xr.Dataset({"json": ((), text)}))


def _parse(file: SavedFile, path: Path) -> Posterior:
    metadata = file.metadata
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if found not in READABLE_FORMATS:
        raise SavedFitError(
            f"Saved fit '{path}' has format {found}; this version of ketpredict reads "
            f"formats {' and '.join(map(str, READABLE_FORMATS))}. Fit again, or read it "
            "with the version that wrote it."
        )
    _refuse(path, metadata_problems(metadata))
    spec = parse_spec(metadata["spec"], source=path.name)
    _refuse(path, spec_problems(spec, metadata))
    shapes = _variables(file.declared, metadata)
    _refuse(path, layout_problems(metadata, shapes))
    groups = {
        group: {name: file.array(group, name) for name in variables}
        for group, variables in shapes.items()
    }
    _refuse(path, array_problems(metadata, groups))
    said = metadata.get("digest") if found == FORMAT else None
    if said is not None and said != contents_digest(metadata, groups):
        _refuse(path, ["they were changed after they were saved"])
    return _posterior(metadata, spec, groups)


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise SavedFitError(_no_fit(path, "; ".join(problems[:3]) + more))


def _no_fit(path: Path, reason: object) -> str:
    words = " ".join(str(reason).split()).rstrip(".")
    return f"Saved fit '{path}' is whole, but its contents are not those of a fit: {words}."


def _variables(
    declared: Mapping[str, Mapping[str, Declared]], metadata: Mapping[str, Any]
) -> dict[str, dict[str, Declared]]:
    """Return what a file declares without its dimensions, which HDF5 stores as variables too."""
    named = {dim for own in metadata["dims"].values() for dim in own}
    labels = {*metadata["coords"], *named, "chain", "draw"}
    return {
        group: {name: one for name, one in variables.items() if name not in labels}
        for group, variables in declared.items()
    }


def _posterior(
    metadata: Mapping[str, Any], spec: ModelSpec, groups: Mapping[str, Mapping[str, np.ndarray]]
) -> Posterior:
    coords = metadata["coords"]
    values = [[np.nan if v is None else v for v in row] for row in metadata["trial_values"]]
    predictors = tuple(Predictor.from_dict(entry) for entry in metadata["predictors"])
    return Posterior(
        groups=groups,
        dims={name: tuple(dims) for name, dims in metadata["dims"].items()},
        coords=coords,
        spec=spec,
        predictors=predictors,
        trial_values=np.array(values, dtype=float).reshape(len(coords["trial"]), len(predictors)),
        facts=metadata["facts"],
    )

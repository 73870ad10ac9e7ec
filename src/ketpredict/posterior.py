"""A fitted posterior as one frozen value, and its file.

The file is NetCDF-4 with one group for each DataTree group, so that ArviZ and xarray open it, plus
a metadata text (JSON) and a closing line with the SHA-256 of everything before it. Reading needs
NumPy and h5py; nothing in a file is ever executed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ketpredict.errors import SavedFitError
from ketpredict.predictor_law import Draws, with_absent
from ketpredict.predictors import Predictor
from ketpredict.saved_fit_checks import READABLE_FORMATS, array_problems, metadata_problems
from ketpredict.spec import ModelSpec, parse_spec
from ketpredict.writing import check_target, write_whole

FORMAT = 4
_METADATA = "metadata"
_TRAILER = b"\nketpredict sha256 "
_TRAILER_LENGTH = len(_TRAILER) + 64 + 1


@dataclasses.dataclass(frozen=True)
class Posterior:
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
        used or not, and why), ``estimator``.
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
        return Draws(self.parameters, self.predictors, self.spec.link, self.spec.slope_parts())

    def to_datatree(self) -> Any:
        """Return an ArviZ DataTree with the groups and their labelled dimensions."""
        import xarray as xr

        tree = {}
        for group, variables in self.groups.items():
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
        return json.dumps(
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

    def save(self, path: str | Path) -> Path:
        """Write the fit to one file, whole or not at all.

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
        check_target(path)
        path = Path(path)
        body = self._content()
        try:
            _parse(body, path)
        except SavedFitError as error:
            raise SavedFitError(
                f"'{path}' was not written, since it could not be loaded again. {error}"
            ) from error
        return write_whole(path, body, _trailer(body))

    def _content(self) -> bytes:
        """Return the file without its closing line, made in memory: HDF5 itself writes no file."""
        tree = self.to_datatree()
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
        return bytes(tree.to_netcdf(engine="h5netcdf", encoding=encoding))


def load_posterior(path: str | Path) -> Posterior:
    """Return the fit in a file, checked from its first byte to its last.

    Raises
    ------
    SavedFitError
        No such file, a file of another program, a damaged or truncated file, or a format that this
        version does not read, contents that are not those of a fit; the message says which.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise SavedFitError(f"Saved fit '{path}' cannot be read: {reason}.") from None
    body, trailer = content[:-_TRAILER_LENGTH], content[-_TRAILER_LENGTH:]
    if not trailer.startswith(_TRAILER):
        raise SavedFitError(
            f"'{path}' is not a whole ketpredict fit: its closing checksum is missing. It was "
            "written by another program or cut short."
        )
    if trailer != _trailer(body):
        raise SavedFitError(f"Saved fit '{path}' is damaged: its contents and checksum differ.")
    return _parse(body, path)


def _trailer(content: bytes) -> bytes:
    return _TRAILER + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _metadata_group(text: str) -> Any:
    import xarray as xr

    return xr.DataTree(xr.Dataset({"json": ((), text)}))


def _parse(body: bytes, path: Path) -> Posterior:
    import h5py

    try:
        with h5py.File(io.BytesIO(body), "r") as file:
            metadata = json.loads(file[_METADATA]["json"].asstr()[()])
            found = metadata.get("format") if isinstance(metadata, dict) else None
            if found not in READABLE_FORMATS:
                raise SavedFitError(
                    f"Saved fit '{path}' has format {found}; this version of ketpredict reads "
                    f"formats {' and '.join(map(str, READABLE_FORMATS))}. Fit again, or read it "
                    "with the version that wrote it."
                )
            problems = metadata_problems(metadata)
            groups = {} if problems else _groups(file, metadata)
        problems = problems or array_problems(metadata, groups)
        if problems:
            more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
            raise SavedFitError(_no_fit(path, "; ".join(problems[:3]) + more))
        return _posterior(metadata, groups, path)
    except SavedFitError:
        raise
    # Whatever a file can hold that no fit does: HDF5, JSON, the specification, the predictors.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
    ) as error:
        raise SavedFitError(_no_fit(path, error)) from None
    except ValueError as error:
        raise SavedFitError(_no_fit(path, error)) from None


def _no_fit(path: Path, reason: object) -> str:
    words = " ".join(str(reason).split()).rstrip(".")
    return f"Saved fit '{path}' is whole, but its contents are not those of a fit: {words}."


def _groups(file: Any, metadata: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    named = {dim for own in metadata["dims"].values() for dim in own}
    labels = {*metadata["coords"], *named, "chain", "draw"}  # HDF5 stores a dimension as a dataset
    return {
        group: {name: _values(data) for name, data in file[group].items() if name not in labels}
        for group in file
        if group != _METADATA
    }


def _posterior(
    metadata: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]], path: Path
) -> Posterior:
    coords = metadata["coords"]
    values = [[np.nan if v is None else v for v in row] for row in metadata["trial_values"]]
    predictors = tuple(Predictor.from_dict(entry) for entry in metadata["predictors"])
    names = [predictor.name for predictor in predictors]
    if names != coords["predictor"]:
        raise SavedFitError(_no_fit(path, f"predictors {names} are labelled {coords['predictor']}"))
    return Posterior(
        groups=groups,
        dims={name: tuple(dims) for name, dims in metadata["dims"].items()},
        coords=coords,
        spec=parse_spec(metadata["spec"], source=path.name),
        predictors=predictors,
        trial_values=np.array(values, dtype=float).reshape(len(coords["trial"]), len(predictors)),
        facts=metadata["facts"],
    )


def _values(dataset: Any) -> np.ndarray:
    values = np.asarray(dataset[()])
    if values.dtype == np.float32:  # how the published fit keeps its draws; nothing computes in it
        return values.astype(np.float64)
    return values.astype(bool) if dataset.attrs.get("dtype") == "bool" else values

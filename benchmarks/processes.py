"""Fresh processes: one for each run of each row, with its own compilation caches."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FINISHED, ENDED, FAILED = "finished", "did not finish", "failed"


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of one process.

    Parameters
    ----------
    outcome : {"finished", "did not finish", "failed"}
    process : float
        Seconds from the start of Python to the end of the fit, imports included.
    report : dict
        What the process measured of itself, as far as it came.
    complaint : str
        The last line of a process that failed.
    """

    outcome: str
    process: float
    report: dict[str, Any]
    complaint: str = ""

    @property
    def finished(self) -> bool:
        """Whether the fit was done; figures of the draws may still be missing."""
        return self.outcome == FINISHED

    def seconds(self, stage: str) -> float | None:
        """Return the seconds of a stage, of the ``fit`` or of the whole ``process``."""
        if stage == "process":
            return self.process
        if stage == "fit":
            return self.report.get("fit")
        return self.report.get("stages", {}).get(stage)


def end_children_too() -> None:
    """Make a terminated driver end the process that it waits for and remove its caches."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


def run_row(
    row: str, table: Path, caches: Path, options: dict[str, Any], limit: float, count: str
) -> Run:
    """Return one run of a row of ``rows.py`` in a fresh process.

    Parameters
    ----------
    caches : Path
        Folder of all compilation caches; empty for a cold run.
    options : dict
        Arguments of ``rows.py`` by name.
    limit : float
        Seconds after which the process is ended.
    count : {"inside", "after", "never"}
        Whether to count the gradients of tuning.
    """
    with tempfile.TemporaryDirectory(prefix="ketpredict-benchmark-") as folder:
        report, complaints = Path(folder) / "report.json", Path(folder) / "stderr.txt"
        options = options | {"count": count, "table": table, "report": report}
        arguments = [sys.executable, str(HERE / "rows.py"), row]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        start = time.perf_counter()
        arguments += ["--started", str(time.time())]
        with complaints.open("w") as stream:
            code = _run_to_end(arguments, _environment(caches), stream, limit)
        elapsed = time.perf_counter() - start
        found = json.loads(report.read_text()) if report.exists() else {}
        lines = complaints.read_text(errors="replace").strip().splitlines()
    if found.get("finished"):
        return Run(FINISHED, found["process"], found)
    if code is None:
        return Run(ENDED, elapsed, found)
    return Run(FAILED, elapsed, found, lines[-1] if lines else f"exit code {code}")


def import_seconds(statement: str, hidden: tuple[str, ...], repeats: int) -> float | None:
    """Return the median seconds of an import in fresh processes, or None where it fails."""
    hide = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); "
        f"from measure import hide_packages; hide_packages({hidden!r}); "
    )
    program = (
        f"{hide if hidden else ''}import time; start = time.perf_counter(); {statement}; "
        "print(time.perf_counter() - start)"
    )
    seconds = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        if done.returncode:
            return None
        seconds.append(float(done.stdout.split()[-1]))
    return statistics.median(seconds)


def _environment(caches: Path) -> dict[str, str]:
    """Return an environment with every compilation cache in one folder.

    One BLAS thread: two chains run at once on two cores, and more threads only slow each other.
    """
    caches.mkdir(parents=True, exist_ok=True)
    return os.environ | {
        "NUMBA_CACHE_DIR": str(caches / "numba"),
        "PYTENSOR_FLAGS": f"base_compiledir={caches / 'pytensor'}",
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _run_to_end(
    arguments: list[str], environment: dict[str, str], stream: Any, limit: float
) -> int | None:
    """Return the exit code, or None for a process that had to be ended."""
    with subprocess.Popen(
        arguments, env=environment, stdout=stream, stderr=stream, start_new_session=True
    ) as process:
        try:
            return process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

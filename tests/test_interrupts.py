"""Ctrl-C and SIGTERM: real processes and real signals, each sent at an observable sign."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import nutpie
import pytest
import xarray as xr

import ketpredict as kp
from ketpredict import fitting
from ketpredict.errors import KetpredictError
from ketpredict.fitting import SamplerSettings, redraw
from ketpredict.sampling import sample_with_nutpie
from ketpredict.side_by_side import side_by_side
from ketpredict.stopping import Stop, Stopped, check_stop
from ketpredict.workers import bounded_cores, thread_pool, usable_cores, work_off
from tiny_fit import handmade_posterior

pytestmark = pytest.mark.any_draws
PATIENCE = 120.0
"""Seconds to wait for a sign of a process on a machine that does much else."""
DRIVER = """
import importlib, pathlib, sys
from ketpredict import leaving

leaving.leave_on_signals()
sign, module, name, *words = sys.argv[1:]
place = importlib.import_module(module)
original = getattr(place, name)

def shown(*arguments, **options):
    found = original(*arguments, **options)
    pathlib.Path(sign).touch()
    return found

setattr(place, name, shown)
sys.argv = ["ketpredict", *words]
from ketpredict.__main__ import main

main()
"""


@pytest.fixture(scope="module")
def simulation():
    return kp.simulate(
        trials=5, patients=12, predictors=("bmi",), within_range=True, random_state=1
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, simulation):
    """Return a folder with patients, a fit to them by few draws, and one made by hand."""
    found = tmp_path_factory.mktemp("interrupts")
    simulation.participants.to_csv(found / "patients.csv", index=False)
    classifier = kp.KetamineResponseClassifier(
        evidence=None, inference="laplace", predictors=["bmi"], draws=50, chains=2, random_state=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior = classifier.fit(simulation.participants).fit_
    # Refits are made as the fit was: long ones, by NUTS.
    sampler = dataclasses.asdict(SamplerSettings(draws=1200, tune=250, seed=1))
    posterior.facts["provenance"]["sampler"] = sampler
    posterior.save(found / "fit.nc")
    handmade_posterior().save(found / "tiny.nc")
    rows = "\n".join(f"p{i},{20 + i % 997 / 50}" for i in range(300_000))
    (found / "many.csv").write_text(f"participant,bmi\n{rows}\n")
    return found


def start(folder, *command, **options):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
        **options,
    )


def wait_for(condition):
    """Return when a condition holds, or fail."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(group):
    """Return whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def stop_at(process, sign, number):
    """Send a signal when a condition holds, and return what the process said on standard error."""
    try:
        wait_for(lambda: sign() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        os.kill(process.pid, number)
        _, told = process.communicate(timeout=PATIENCE)
        wait_for(lambda: ended(process.pid))
    finally:
        process.kill()
        process.communicate()
    return told


def assert_stopped(process, told, number):
    assert process.returncode == 128 + number
    errors = [line for line in told.splitlines() if not line.startswith("ketpredict: warning")]
    assert len(errors) == 1, told
    assert errors[0].startswith("ketpredict: error: ")


def hidden(folder):
    return list(folder.rglob(".*"))


NOWHERE = ("ketpredict.leaving", "leave_on_signals")
SAMPLING = ("nutpie", "sample")
COMMANDS = {
    "imports": (NOWHERE, signal.SIGINT, ["check", "fit.nc"]),
    "fit": (
        SAMPLING,
        signal.SIGINT,
        ["fit", "patients.csv", "--evidence", "none", "--predictors", "bmi", "--draws", "1000000",
         "--output", "old.nc"],
    ),
    "validate": (SAMPLING, signal.SIGINT, ["validate", "fit.nc", "--output", "validation"]),
    "report": (
        ("ketpredict.report", "_checks"), signal.SIGTERM,
        ["report", "fit.nc", "--output", "old.html"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_at_once_in_one_line_and_leaves_nothing(folder, tmp_path, name):
    place, number, words = COMMANDS[name]
    olds = [folder / word for word in words if word.startswith("old")]
    for old in olds:
        old.write_text("old")
    sign = tmp_path / "sign"
    process = start(folder, "-c", DRIVER, sign, *place, *words)
    told = stop_at(process, sign.exists, number)
    assert_stopped(process, told, number)
    assert hidden(folder) == []
    assert all(old.read_text() == "old" for old in olds)
    validation = folder / "validation"
    assert not validation.exists() or os.listdir(validation) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_half_written_file_goes_with_its_writer_or_with_the_next(folder, number):
    target = folder / "old.csv"
    target.write_text("old")
    words = ["predict", "many.csv", "--fit", "tiny.nc", "--output", target]
    process = start(folder, "-m", "ketpredict", *words)
    told = stop_at(process, lambda: hidden(folder), number)
    assert target.read_text() == "old"
    if number == signal.SIGKILL:
        assert len(hidden(folder)) == 1
        few = folder / "few.csv"
        few.write_text("bmi\n30\n")
        kp.predict_file(folder / "tiny.nc", few, target)
    else:
        assert_stopped(process, told, number)
    assert hidden(folder) == []


COMPILING = """
import os, pathlib, signal, sys
from ketpredict import compilation

compilation._may_start = lambda: True
child = compilation._start(["arms", "law_forward", "effects"])
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""


def test_the_compiling_child_goes_with_a_parent_that_is_killed(folder, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    sign = tmp_path / "sign"
    process = start(folder, "-c", COMPILING, sign, env=environment)
    stop_at(process, sign.exists, signal.SIGKILL)  # which waits until all of the group are gone


ROADS = """
import json, os, signal, sys, threading, time, warnings

warnings.simplefilter("ignore")
import nutpie, pandas as pd
import ketpredict as kp
from ketpredict import compiled, fitting, sampling
from ketpredict.stopping import held_back, passed_on

table = pd.read_csv("patients.csv")
told = {}


def interrupt(place, name, after=0):
    "Let a function be interrupted once, from outside, when it was called so often."
    original, calls = getattr(place, name), []

    def begun(*arguments, **options):
        found = original(*arguments, **options)
        calls.append(1)
        if len(calls) == 1 + after:
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
        return found

    setattr(place, name, begun)
    return lambda: setattr(place, name, original)


def outcome(function):
    try:
        function()
    except KeyboardInterrupt as error:
        return type(error).__name__
    return "returned"


def new(**options):
    options = {"draws": 20, "tune": 20, "chains": 2, **options}
    return kp.KetamineResponseClassifier(
        evidence=None, predictors=["bmi"], random_state=1, **options
    )


known = new().fit(table)
before = known.predict_proba(table)
columns = list(known.feature_names_in_)
restore = interrupt(nutpie, "sample")
known.set_params(draws=1_000_000)
told["fit"] = outcome(lambda: known.fit(table.assign(more=1.0).drop(columns="more").iloc[:, ::-1]))
restore()
told["former state"] = bool(
    (known.predict_proba(table) == before).all() and list(known.feature_names_in_) == columns
)
restore = interrupt(nutpie, "sample")
never = new(draws=1_000_000)
told["first fit"] = outcome(lambda: never.fit(table))
restore()
told["unfitted"] = not any(name.endswith("_") for name in vars(never))
for inference in ("laplace", "pathfinder"):
    restore = interrupt(compiled.CompiledDensity, "log_density", after=20)
    told[inference] = outcome(lambda: new(inference=inference, draws=200_000).fit(table))
    restore()
restore = interrupt(nutpie, "sample", after=1)
told["validate"] = outcome(lambda: kp.leave_one_trial_out(kp.load("fit.nc").fit_, n_jobs=2))
restore()


def swallow(*_, **__):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return whole  # as PyMC's samplers do
    return None


whole = fitting._sampled
tree = []
fitting._sampled = lambda *arguments: tree.append(whole(*arguments)) or tree[-1]
new().fit(table)
whole = tree[-1]
fitting._sampled = swallow
told["swallowed"] = outcome(lambda: new().fit(table))


def imported():
    with passed_on(), held_back():
        signal.raise_signal(signal.SIGINT)
        told["import finished"] = True


told["import"] = outcome(imported)
told["handler"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
time.sleep(0.5)
begun = time.process_time()
time.sleep(0.5)
told["idle"] = time.process_time() - begun < 0.25
print(json.dumps(told))
"""


def test_an_interrupt_passes_on_to_the_caller_by_every_road(folder):
    process = start(folder, "-c", ROADS)
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    told = json.loads(out)
    # A refit may end in a thread's own word for it; the caller sees that of its own.
    assert told == {
        "fit": "KeyboardInterrupt",
        "former state": True,
        "first fit": "KeyboardInterrupt",
        "unfitted": True,
        "laplace": "KeyboardInterrupt",
        "pathfinder": "KeyboardInterrupt",
        "validate": "KeyboardInterrupt",
        "swallowed": "KeyboardInterrupt",
        "import finished": True,
        "import": "KeyboardInterrupt",
        "handler": True,
        "idle": True,
    }


def trace(chains, draws, wrong=None):
    values = np.zeros((chains, draws))
    if wrong is not None:
        values[0, -1] = wrong
    data = xr.Dataset({"intercept": (("chain", "draw"), values)})
    return xr.DataTree.from_dict({"posterior": data, "sample_stats": data})


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (trace(2, 7), "2 chains of 7 draws instead of 2 of 9"),
        (trace(1, 9), "1 chains of 9 draws instead of 2 of 9"),
        (trace(2, 0), "2 chains of 0 draws"),
        (trace(2, 9, np.nan), "'intercept' are not finite"),
        (trace(2, 9, np.inf), "'intercept' are not finite"),
    ],
)
def test_a_trace_that_is_not_whole_is_no_fit(monkeypatch, found, told):
    monkeypatch.setattr(fitting, "_sampled", lambda *_: found)
    with pytest.raises(KetpredictError, match=told):
        redraw(None, SamplerSettings(draws=9, chains=2))


class Sampler:
    """A sampler in the background that never ends by itself."""

    def __init__(self, ends=()):
        self.ends, self.cancelled = list(ends), False

    def wait(self, timeout):
        raise self.ends.pop(0) if self.ends else TimeoutError

    def cancel(self):
        self.cancelled = True


@pytest.mark.parametrize("ends", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_nutpie_is_waited_for_and_ended_with_its_caller(monkeypatch, ends):
    sampler = Sampler([TimeoutError(), ends()])
    monkeypatch.setattr(nutpie, "sample", lambda *_, **__: sampler)
    with pytest.raises(ends):
        sample_with_nutpie(None)
    assert sampler.cancelled


def test_nutpie_in_a_thread_ends_when_its_caller_does(monkeypatch):
    sampler = Sampler()
    monkeypatch.setattr(nutpie, "sample", lambda *_, **__: sampler)
    begun = threading.Event()

    def fail():
        begun.wait(PATIENCE)
        raise LookupError

    def together(pool):
        running = pool.submit(lambda: begun.set() or sample_with_nutpie(None))
        pool.submit(running.done)
        fail()

    with pytest.raises(LookupError), thread_pool(1) as pool:
        together(pool)
    assert sampler.cancelled


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_no_thread_of_a_pool_works_on(error):
    ran = []

    def endless():
        ran.append("begun")
        while True:
            check_stop()
            time.sleep(0.01)

    def work(pool):
        pool.submit(endless)
        pool.submit(ran.append, "never")
        wait_for(lambda: ran)
        raise error

    with pytest.raises(error), thread_pool(1) as pool:
        work(pool)
    assert ran == ["begun"]


def test_the_word_reaches_threads_of_threads():
    ended = threading.Event()

    def inner():
        begun.set()
        try:
            while True:
                check_stop()
                time.sleep(0.01)
        finally:
            ended.set()

    def outer():
        work_off([inner, inner], cores=2)

    def work(pool):
        pool.submit(outer)
        begun.wait(PATIENCE)
        raise LookupError

    begun = threading.Event()
    with pytest.raises(LookupError), thread_pool(1) as pool:
        work(pool)
    assert ended.is_set()


def test_an_error_of_one_task_ends_the_others_before_it_is_told():
    running = []

    def task(fails):
        if fails:
            wait_for(lambda: running)
            raise LookupError
        running.append(1)
        try:
            while True:
                check_stop()
                time.sleep(0.01)
        finally:
            running.append(2)

    before = threading.active_count()
    with pytest.raises(LookupError):
        side_by_side(task, [(False,), (True,)], n_jobs=-1 if usable_cores() > 1 else 2)
    assert running == [1, 2]
    wait_for(lambda: threading.active_count() <= before)


def test_a_stop_travels_to_another_process():
    stop = pickle.loads(pickle.dumps(Stop()))  # noqa: S301
    assert stop.run(int, "3") == 3
    stop.ask_and_wait()
    with pytest.raises(Stopped):
        stop.run(int, "3")


@pytest.mark.parametrize("cores", [0, -1, 1.5, True, "2"])
def test_a_number_of_cores_that_is_none_is_refused(cores, folder):
    with pytest.raises(KetpredictError, match="cores is"):
        bounded_cores(cores)
    with pytest.raises(KetpredictError, match="cores is"):
        SamplerSettings(cores=cores)
    with pytest.raises(KetpredictError, match="cores is"):
        kp.predict_file(folder / "tiny.nc", folder / "many.csv", folder / "x.csv", cores=cores)


def test_threads_are_bounded_whatever_is_asked_for():
    assert bounded_cores(10**6) == usable_cores()
    together = []

    def piece():
        together.append(threading.active_count())
        time.sleep(0.01)

    before = threading.active_count()
    work_off([piece] * 50, cores=10**6)
    side_by_side(lambda: piece(), [()] * 50, n_jobs=10**6)
    # joblib has three threads of its own for its pool.
    assert max(together) <= before + usable_cores() + 3


@pytest.mark.parametrize("name", ["draws", "tune", "chains"])
@pytest.mark.parametrize("value", [0, -3, 2.0, True, None])
def test_numbers_that_no_sampler_takes_are_refused(name, value):
    with pytest.raises(KetpredictError, match=f"{name} is"):
        SamplerSettings(**{name: value})
    with pytest.raises(KetpredictError, match=f"{name} is"):
        kp.KetamineResponseClassifier(**{name: value}).fit()


@pytest.mark.parametrize("seed", [-1, 2**40, 1.5, "a"])
def test_a_seed_that_begins_nothing_is_our_error(seed, folder):
    with pytest.raises(KetpredictError, match="random_state is"):
        kp.KetamineResponseClassifier(random_state=seed).fit()
    if seed == 2**40:  # NumPy's newer generators begin from it
        return
    fitted = kp.load(folder / "tiny.nc")
    with pytest.raises(KetpredictError, match="seed is"):
        fitted.sample_outcomes({"bmi": [30.0]}, seed=seed)
    with pytest.raises(KetpredictError, match="random_state is"):
        kp.simulate(random_state=seed)
    with pytest.raises(KetpredictError, match="seed is"):
        kp.load("published").update({"trial": ["x"]}, seed=seed)

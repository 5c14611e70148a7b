"""What belongs to the whole process is after each public function as it was before, threads too."""

import contextlib
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import xearthformer as xef
from tests.test_attributes import NEW, SCORES, Data, rain
from xearthformer.cli import main
from xearthformer.cli.files import write_file

METHODS = {"sprog": None, "steps": 2, "anvil": None, "linda": None}


@pytest.fixture(scope="module")
def data():
    return Data()


def state():
    """All of the process that a library could change by the way, as text."""
    drawn = np.random.get_state()
    return {
        "streams": (id(sys.stdout), id(sys.stderr)),
        "NumPy": (drawn[0], drawn[1].tobytes(), *drawn[2:], np.geterr(), np.get_printoptions()),
        "filters of warnings": [*warnings.filters],
        "torch": (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dask": repr(dask.config.config),
        "xarray": {k: v for k, v in xr.get_options().items() if k != "file_cache_maxsize"},
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }


@pytest.mark.parametrize("name", {**NEW, **SCORES})
def test_a_function_leaves_the_process_as_it_was(data, name):
    if name in ("extrapolate", "steps"):
        pytest.importorskip("pysteps")
    function = {**NEW, **SCORES}[name]
    function(data)  # what is imported on the way is others'
    before = state()
    function(data)
    after = state()
    assert {k: v for k, v in after.items() if v != before[k]} == {}


def test_extrapolations_in_threads_leave_stdout_and_numpys_generator_alone(capsys):
    pytest.importorskip("pysteps")
    np.random.seed(1)
    expected = np.random.random(200)
    np.random.seed(1)
    da, stdout, filters = rain(), sys.stdout, [*warnings.filters]
    stop, seen = threading.Event(), set()

    def run(method):
        return xef.extrapolate(da, method=method, members=METHODS[method], lead=1).values

    def look():
        while not stop.is_set():
            seen.add(sys.stdout)

    with ThreadPoolExecutor(5) as pool:
        looking = pool.submit(look)
        try:
            for running in [pool.submit(run, method) for method in [*METHODS] * 2]:
                with contextlib.suppress(UserWarning):
                    running.result()
        finally:
            stop.set()
        looking.result()
    assert seen == {stdout} and sys.stdout is stdout and warnings.filters == filters
    np.testing.assert_array_equal(np.random.random(200), expected)
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(run("steps"), run("steps"))


def test_pysteps_of_the_users_own_still_speaks_and_seeds(capsys):
    pytest.importorskip("pysteps")
    xef.extrapolate(rain(), method="sprog", lead=1)
    from pysteps import nowcasts

    frames = np.log10(rain().values[:3] + 0.01) * 10
    motion = np.zeros((2, *frames.shape[1:]))
    nowcasts.get_method("sprog")(frames, motion, 1, precip_thr=-10.0)
    assert "S-PROG" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error():
    """As of `xearthformer packs show lim | head -1`."""
    code = "from xearthformer.cli import main; raise SystemExit(main(['packs', 'show', 'lim']))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.Popen([sys.executable, "-c", code], **pipes)
    done.stdout.close()
    said = done.stderr.read()
    assert (done.wait(), said) == (141, "")


LOADED = """
import sys
class Finder:
    def find_spec(self, name, *_):
        if name == "WHEN":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
sys.argv[0] = "COMMAND"
from xearthformer.cli import main
"""


@pytest.mark.parametrize("when", ["xearthformer.accessor", "xearthformer.cli.files"])
@pytest.mark.parametrize("command", ["/usr/bin/xearthformer", "/home/me/notebook.py"])
def test_ctrl_c_while_the_command_is_loaded(when, command):
    code = LOADED.replace("WHEN", when).replace("COMMAND", command)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    own = command.endswith("xearthformer")
    assert (done.returncode == 130, done.stderr == "xearthformer: interrupted\n") == (own, own)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(stream, tmp_path, monkeypatch):
    """As of a service; Python has None for it."""
    da = rain().to_dataset(name="rain")
    monkeypatch.setattr(sys, stream, None)
    write_file(da, tmp_path / "rain.nc")
    assert (tmp_path / "rain.nc").is_file() and main(["packs", "list"]) == 0
    xef.forecast(da["rain"], "persistence", lead=1)

"""How fast the networks are, plain and fused, and what a forecast costs around them.

    make bench        or        python benchmarks/speed.py [--runs 5] [--only sevir,enso-paper]
    ... --reference PATH

All times are medians of runs in turns, in one process, with untrained weights: CPU, float32, eager,
two threads. What the numbers were, and what was expected, is in benchmarks/README.md.
--reference names a Python file of another implementation's (it is run): its function
`network(preset)` returns a module that takes input of shape (B, T, H, W, C) to a forecast.
"""

import argparse
import copy
import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import xearthformer as xef
from xearthformer.fields import windows
from xearthformer.inference import engine
from xearthformer.models import build
from xearthformer.models.earthformer.earthformer import PRESETS
from xearthformer.models.earthformer.fused import fuse, is_faster
from xearthformer.models.layers import parallel
from xearthformer.packs.card import Card, ModelSpec, PixelGrid
from xearthformer.packs.published import PUBLISHED


@dataclass(frozen=True)
class Case:
    """A network at a batch size."""

    preset: str
    batch: int
    overhead: float  # of a forecast over the bare network, at most
    extras: bool = False  # whether --extras runs it in bf16 and compiled


CASES = {
    "sevir": Case("sevir", 1, 1.05, extras=True),
    "enso-paper": Case("enso-paper", 16, 1.15),
}
CPU = engine.Settings("cpu", 1)
BATCHES, MOST_MACS = (1, 4, 16, 64), 5e11  # what would take longer is left out
CUTS_PER_SECOND = 5000


Other = Callable[[str], nn.Module]  # another implementation's networks, by preset


# What is measured.


def medians(runs: int, *tasks: Callable[[], object]) -> list[float]:
    """Seconds of each task, medians of runs in turns after one that isn't counted."""
    times: list[list[float]] = [[] for _ in tasks]
    for run in range(runs + 1):
        for task, spent in zip(tasks, times, strict=True):
            start = time.perf_counter()
            task()
            if run:
                spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in times]


def network(preset: str) -> nn.Module:
    """An untrained network for inference, the same at every call."""
    torch.manual_seed(0)
    return build("earthformer", preset).eval().requires_grad_(False)


def windows_of(preset: str, batch: int) -> Tensor:
    """Random input (B, T, H, W, C)."""
    shape = PRESETS[preset].input_shape
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(1))


def macs(model: nn.Module, x_BTHWC: Tensor) -> float:
    """Multiply-adds of one sample."""
    formulas = {torch.ops.aten.baddbmm_: _baddbmm_flops}

    def count(_: int) -> int:
        with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
            model(x_BTHWC[:1])
        return counter.get_total_flops()

    # a counter sees its own thread alone, and what is a part itself runs in one thread
    return parallel.each(count, range(2))[0] / 2


def _baddbmm_flops(shape: Sequence[int], a: Sequence[int], b: Sequence[int], **_: object) -> int:
    return 2 * a[0] * a[1] * a[2] * b[2]


def peaks(runs: int) -> dict[str, float]:
    """GFLOP/s of a large matrix product, and of a 3x3 convolution of 64 channels."""
    a = torch.rand(2048, 2048)
    x = torch.rand(1, 64, 256, 256).to(memory_format=torch.channels_last)
    w = torch.rand(64, 64, 3, 3).to(memory_format=torch.channels_last)
    product, convolution = medians(runs, lambda: a @ a, lambda: F.conv2d(x, w, padding=1))
    return {
        "matrix product": 2 * 2048**3 / product / 1e9,
        "convolution": 2 * 9 * 64 * 64 * 256**2 / convolution / 1e9,
    }


def in_strips(self: nn.Conv2d, x_FCHW: Tensor) -> Tensor:
    """A 3x3 convolution 16 rows at a time: in float64 a CPU copies its input nine times."""
    y_FCHW = x_FCHW.new_empty(len(x_FCHW), self.out_channels, *x_FCHW.shape[2:])
    for x_CHW, y_CHW in zip(F.pad(x_FCHW, (1, 1, 1, 1)), y_FCHW, strict=True):
        for row in range(0, y_CHW.shape[1], 16):
            strip = F.conv2d(x_CHW[:, row : row + 18], self.weight, self.bias)
            y_CHW[:, row : row + 16] = strip
    return y_FCHW


def exact(model: nn.Module, x_BTHWC: Tensor) -> Tensor:
    """The plain network's answer in float64."""
    model = copy.deepcopy(model).double()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.forward = in_strips.__get__(module)
    return model(x_BTHWC.double())


def deviation(y: Tensor, expected: Tensor) -> str:
    """Largest and root mean square difference, in standard deviations of what was expected."""
    difference = (y.double() - expected) / expected.std()
    return f"{difference.abs().max():.1e} largest, {difference.square().mean().sqrt():.1e} rms"


def peak_memory(case: Case, kind: str) -> float:
    """GB that a fresh Python needs at most, over what it has after its imports."""
    command = [sys.executable, __file__, "--memory", case.preset, str(case.batch), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(preset: str, batch: int, kind: str) -> None:
    """In a fresh Python: build, run three times, print the peak."""
    before = peak_so_far()
    model = network(preset)
    model = fuse(model) if kind == "fused" else model
    x_BTHWC = windows_of(preset, batch)
    for _ in range(3):
        model.predict(x_BTHWC)
    print(peak_so_far() - before)


def peak_so_far() -> float:
    """Largest resident memory of this process, GB. On Linux; `getrusage` counts its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def pack_and_data(case: Case, folder: Path) -> tuple[xef.Pack, xr.DataArray, list]:
    """An untrained pack, data on its grid, and as many inits as the case has samples."""
    model, about = network(case.preset), PUBLISHED[case.preset]
    card = Card(
        name=case.preset,
        version="0",
        model=ModelSpec(name="earthformer", config={}),
        output=about["input"],
        history=model.in_len,
        reach=model.out_len,
        **about,
    )
    pack = xef.save_pack(folder / case.preset, model, card)
    grid, frames = card.grid, model.in_len + case.batch - 1
    freq = "MS" if card.time_step == "month" else card.time_step
    times = xr.date_range("2000-01-01", periods=frames, freq=freq)
    values = np.random.default_rng(0).random((frames, *grid.shape), dtype=np.float32)
    if isinstance(grid, PixelGrid):
        sides = {"y": grid.height, "x": grid.width}
        coords = {d: (d, 1000.0 * np.arange(size), {"units": "m"}) for d, size in sides.items()}
    else:
        coords = {"lat": grid.latitude, "lon": grid.longitude}
    da = xr.DataArray(values, dims=("time", *coords), coords={"time": times, **coords})
    da.attrs = {"units": card.input.units}
    if card.input.difference:
        da.attrs["units_metadata"] = "temperature: difference"
        da.attrs["standard_name"] = card.input.standard_name
    return pack, da, list(times[model.in_len - 1 :])


# What is printed.


def verdict(value: float, bars: Sequence[float], more_is_better: bool = True) -> str:
    """Whether a number meets each of its bars."""
    sign, word = (1, "at least") if more_is_better else (-1, "at most")
    marks = (f"{word} {bar:g}: {'yes' if sign * value >= sign * bar else 'NO'}" for bar in bars)
    return ", ".join(marks)


def report_network(case: Case, runs: int, limit: dict[str, float], other: Other | None) -> None:
    """Plain and fused side by side: time, arithmetic, memory, and distance from float64."""
    plain, x_BTHWC = network(case.preset), windows_of(case.preset, case.batch)
    fused = fuse(plain)
    ways = [partial(plain.predict, x_BTHWC), partial(fused.predict, x_BTHWC)]
    if other is not None:
        ways.append(partial(other(case.preset).eval(), x_BTHWC))
    seconds = medians(runs, *ways)
    expected = exact(plain, x_BTHWC[:1])
    print(f"\n{case.preset}, batch {case.batch}")
    for name, model, spent in zip(("plain", "fused"), (plain, fused), seconds[:2], strict=True):
        work = macs(model, x_BTHWC) * case.batch
        rate = 2 * work / spent / 1e9
        shares = ", ".join(f"{rate / most:.0%} of a {kind}'s" for kind, most in limit.items())
        print(
            f"  {name:<8}      {spent:7.2f} s   {work / 1e9:6.1f} GMAC   {rate:4.0f} GFLOP/s, "
            f"{shares}\n                {peak_memory(case, name):7.2f} GB peak   "
            f"off float64: {deviation(model.predict(x_BTHWC[:1]), expected)}"
        )
    print(f"  fused is      {seconds[0] / seconds[1]:7.2f} times as fast as plain")
    if other is not None:
        plain_gain, fused_gain = (seconds[2] / spent for spent in seconds[:2])
        print(
            f"  reference     {seconds[2]:7.2f} s; times as fast: plain {plain_gain:.2f}, "
            f"fused {fused_gain:.2f}"
        )


def report_choice(runs: int) -> None:
    """Plain and fused at each preset, and which of them a forecast takes (`is_faster`)."""
    print("\nms a window, plain and fused, one thread of torch's in each part")
    for preset, config in PRESETS.items():
        plain = network(preset)
        fused, words = fuse(plain), []
        for batch in BATCHES:
            if batch > 1 and macs(plain, windows_of(preset, 1)) * batch > MOST_MACS:
                continue
            run = partial(engine.predict, x_BTHWC=windows_of(preset, batch), lead=plain.out_len)
            settings = replace(CPU, batch_size=batch)
            both = medians(runs, *(partial(run, net, settings=settings) for net in (plain, fused)))
            words.append(f"{batch}: " + " ".join(f"{1000 * one / batch:.1f}" for one in both))
        print(f"  {preset:<12}{'fused' if is_faster(config) else 'plain':<7}{'   '.join(words)}")


def report_extras(case: Case, runs: int) -> None:
    """The other ways to run it: products in bfloat16, and the plain network by torch.compile."""
    plain, x_BTHWC = network(case.preset), windows_of(case.preset, case.batch)
    expected = exact(plain, x_BTHWC[:1])
    compiled = copy.copy(plain)
    compiled.predict = torch.compile(plain.predict, fullgraph=True)
    half = replace(CPU, batch_size=case.batch, precision="bf16")
    full = replace(half, precision="float32")
    ways = {
        "plain, bf16": (plain, half),
        "fused, bf16": (fuse(plain), half),
        "compiled": (compiled, full),
        "compiled, bf16": (compiled, half),
    }
    for name, (model, settings) in ways.items():
        run = partial(engine.predict, model, x_BTHWC, model.out_len, settings)
        start = time.perf_counter()
        drift = deviation(run()[:1], expected)
        first = time.perf_counter() - start
        (spent,) = medians(runs, run)
        print(f"  {name:<14}{spent:7.2f} s   ({first:.0f} s at first)   off float64: {drift}")


def report_cuts(runs: int) -> None:
    """Windows of 600 months."""
    history, *shape = PRESETS["enso-paper"].input_shape[:3]
    values = np.random.default_rng(0).random((600, *shape), dtype=np.float32)
    coords = {"time": xr.date_range("1960-01", periods=600, freq="MS")}
    coords |= {"y": np.arange(shape[0]), "x": np.arange(shape[1])}
    da = xr.DataArray(values, dims=("time", "y", "x"), coords=coords)
    positions = np.arange(history - 1, 600)
    (spent,) = medians(runs, lambda: windows.cut_windows(da, history, positions).compute())
    rate = len(positions) / spent
    print(f"\nwindows cut     {rate:7.0f} a second ({verdict(rate, [CUTS_PER_SECOND])})")


def report_forecast(case: Case, runs: int) -> None:
    """A forecast of data in memory, against its network alone."""
    with tempfile.TemporaryDirectory() as folder:
        pack, da, inits = pack_and_data(case, Path(folder))
        model, x_BTHWC = (
            engine.load(pack, engine.Settings("cpu", 1)),
            windows_of(case.preset, case.batch),
        )
        bare, whole = medians(
            runs,
            lambda: model.predict(x_BTHWC),
            lambda: xef.forecast(
                da, pack, init=inits, device="cpu", batch_size=case.batch, progress=False
            ),
        )
    bar = verdict(whole / bare, [case.overhead], more_is_better=False)
    print(
        f"forecast        {whole:7.2f} s for {case.batch} of {case.preset}, "
        f"{whole / bare:.3f} of its network ({bar})"
    )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(CASES), help="networks, with commas between")
    parser.add_argument("--extras", action="store_true", help="SEVIR in bf16 and compiled too")
    parser.add_argument("--reference", help="a Python file with another implementation's networks")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        preset, batch, kind = args.memory
        return measure_memory(preset, int(batch), kind)
    other = runpy.run_path(args.reference)["network"] if args.reference else None
    limit = peaks(5 * args.runs)
    print(f"{args.threads} threads, float32, eager; medians of {args.runs} runs in turns")
    print("measured peaks: " + ", ".join(f"{v:.0f} GFLOP/s in a {k}" for k, v in limit.items()))
    cases = [CASES[name] for name in args.only.split(",")]
    for case in cases:
        report_network(case, args.runs, limit, other)
        if args.extras and case.extras:
            report_extras(case, min(args.runs, 3))
    if args.extras:
        report_choice(args.runs)
    report_cuts(args.runs)
    for case in cases:
        report_forecast(case, args.runs)


if __name__ == "__main__":
    main()

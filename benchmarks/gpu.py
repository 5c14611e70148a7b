"""The published networks on a GPU: float32 as it comes, bfloat16, and bfloat16 compiled.

    python benchmarks/gpu.py [--batch 8] [--runs 10] [--only sevir,enso-paper]

Prints samples a second, the share of the largest matrix product's rate that is reached in the same
precision, peak memory, and the distance from float32. Input and output count: they go to the GPU
and come back.
"""

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from speed import CASES, deviation, macs, medians, network, windows_of

from xearthformer.inference import engine

SIDE = 8192  # of the matrices whose product says what the GPU can do
WAYS = {"float32": ("float32", False), "bf16": ("bf16", False), "bf16, compiled": ("bf16", True)}


def peak(device: str, precision: str, runs: int) -> float:
    """GFLOP/s of a large matrix product."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.rand(SIDE, SIDE, device=device, dtype=dtype)
    (spent,) = medians(runs, partial(finished, lambda: a @ a))
    return 2 * SIDE**3 / spent / 1e9


def finished(task: Callable[[], object]) -> object:
    """Do a task to its end: a GPU's work goes on when the call has come back."""
    done = task()
    torch.cuda.synchronize()
    return done


def report(preset: str, batch: int, device: str, runs: int) -> None:
    """A row for each way to run a network."""
    plain = network(preset)
    work = 2 * macs(plain, windows_of(preset, 1)) / 1e9
    x_BTHWC, exact = windows_of(preset, batch), None
    print(f"\n{preset}, batch {batch}: {work:.0f} GFLOP a sample")
    for name, (precision, compile) in WAYS.items():
        model = copy.deepcopy(plain).to(device)
        if compile:
            model.predict = torch.compile(model.predict, fullgraph=True)
        settings = replace(engine.Settings(device, batch), precision=precision)
        run = partial(engine.predict, model, x_BTHWC, model.out_len, settings)
        y = run()
        exact = y.double() if exact is None else exact
        torch.cuda.reset_peak_memory_stats()
        (spent,) = medians(runs, partial(finished, run))
        memory = torch.cuda.max_memory_allocated() / 2**30
        share = work * batch / spent / peak(device, precision, runs)
        print(
            f"  {name:<15}{batch / spent:8.1f} samples a second   {share:4.0%} of a matrix "
            f"product's   {memory:5.1f} GB   off float32: {deviation(y, exact)}"
        )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", default=",".join(CASES), help="networks, with commas between")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch finds no GPU here: nothing to measure")
        return
    print(f"{torch.cuda.get_device_name()}, medians of {args.runs} runs")
    for preset in args.only.split(","):
        report(preset, args.batch, "cuda", args.runs)


if __name__ == "__main__":
    main()

"""Train the pack nowcast-radar: how likely which rain is, on radar composites.

    python examples/fit_nowcast.py radar_*.nc --steps 8000 --out fitted/nowcast-radar
    python examples/fit_nowcast.py radar_*.nc --without radar_rmi_20210704 --out fitted/without-rmi

Any radar record that `xef.open_radar` reads, of pixels of about 1 km, will do; an hour is enough.
Frames are moved to where the last one of a forecast is once, before training. A GPU holds all of
them, compiles the network and computes in bfloat16; the log says how many crops a second and which
share of its rate that is, for which the rate is given as --peak, in TFLOP/s.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import xearthformer as xef
from xearthformer.models.layers import flow
from xearthformer.models.nowcast.nowcast import PRESETS, Nowcast
from xearthformer.packs.card import Card, ModelSpec, PixelGrid, Training, Variable
from xearthformer.packs.pack import is_taken
from xearthformer.packs.scale import Scale

STEP = "5min"
LEAST = 0.1  # mm/h: the least rain that counts
CODE = 0.015  # normalised rain that one step of a code stands for; 0 is none, UNSEEN not seen
UNSEEN = 255
SIZE, EDGE = 160, 8  # pixels of a crop, of which the outermost count for nothing
FUTURE = 4  # frames that a window has to forecast at least
SHORTEST = 8  # frames of a record, of which the first four are the past
GRID = 16  # pixels from one square to the next
STRIDE = 2  # of the pixels that a step's loss is taken at: neighbours are alike
LEADS = 3  # of a step
DRY = 0.03  # share of the crops without rain that is kept
BRIGHTER = 0.3  # standard deviation of the logarithm of a factor that all rain of a crop takes
HIDDEN = 0.3  # share of crops of which a side is hidden: what lies beyond an edge is to be learnt
WAYS = "cpu", "cuda"

DATA = (
    'Radar composites of rain: MeteoSwiss ("Source: MeteoSwiss"), FMI, KNMI, RMI and OPERA (CC BY '
    "4.0), NOAA MRMS (public domain), as pysteps-data and the services give them"
)
REFERENCES = [
    "Pulkkinen et al., Geosci. Model Dev. 12 (2019), for S-PROG",
    "Bowler et al., Q. J. R. Meteorol. Soc. 132 (2006), for the noise of STEPS",
]


@dataclass(frozen=True)
class Record:
    """The windows of one record, at rest: past (N, T, H, W) and future (N, L, H, W), as codes."""

    name: str
    past: Tensor
    future: Tensor


def normalised(rain: np.ndarray) -> Tensor:
    """Rain in mm/h as the network sees it; NaN stays."""
    return torch.from_numpy(np.log10(np.maximum(rain, LEAST) / LEAST).astype(np.float32))


def coded(x: Tensor) -> Tensor:
    """Normalised rain as bytes."""
    code = (x / CODE).round().clamp(0, UNSEEN - 1)
    return torch.where(x.isnan(), UNSEEN, code).to(torch.uint8)


def decoded(code: Tensor) -> Tensor:
    """The inverse of `coded`."""
    return torch.where(code == UNSEEN, torch.nan, CODE * code.float())


def frames_of(path: str) -> np.ndarray:
    """All frames of a record in mm/h, five minutes apart."""
    rain = xef.open_radar(path).load().transpose("time", ...)
    if rain["time"].diff("time").min() < np.timedelta64(5, "m"):
        rain = xef.to_step(rain, STEP)
    if min(rain.shape[1:]) < SIZE or len(rain) < SHORTEST:
        least = f"{SHORTEST} frames of {SIZE} x {SIZE} pixels or more"
        raise ValueError(f"{path}: expected {least}, found {' x '.join(map(str, rain.shape))}")
    return rain.to_numpy()


def at_rest(name: str, frames: np.ndarray, model: Nowcast) -> Record:
    """Cut a record into windows, moved along the motion to where the last past frame is."""
    unit = flow.COARSE
    frames = frames[:, : frames.shape[1] // unit * unit, : frames.shape[2] // unit * unit]
    pasts, futures = [], []
    for now in range(model.in_len, len(frames) - FUTURE + 1):
        window = normalised(frames[now - model.in_len : now + model.out_len])[None]
        past, future = window[:, : model.in_len], window[:, model.in_len :]
        still, motion = model.at_rest(past)
        future = flow.future_to_lagrangian(future, motion)
        missing = model.out_len - future.shape[1]
        future = F.pad(future, (0, 0, 0, 0, 0, missing), value=torch.nan)
        pasts.append(coded(still[0]))
        futures.append(coded(future[0]))
    print(f"{name}: {len(pasts)} windows of {frames.shape[1]} x {frames.shape[2]}", flush=True)
    return Record(name, torch.stack(pasts), torch.stack(futures))


def places(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Window, row and column of the squares to train on (S, 3), and a cumulated weight of each.

    Squares are taken where it rains more often than elsewhere, by what is seen at the init.
    """
    last = record.past[:, -1:].cpu()
    share = lambda where: F.avg_pool2d(where.float(), SIZE, GRID)[:, 0].numpy()  # noqa: E731
    wet, seen = share((last > 0) & (last < UNSEEN)), share(last < UNSEEN)
    weight = np.where(seen > 0.3, np.minimum(1, DRY + 6 * wet), 0)
    return np.argwhere(weight > 0) * [1, GRID, GRID], np.cumsum(weight[weight > 0])


def crop(record: Record, place: np.ndarray, leads: np.ndarray, turn: int) -> tuple[Tensor, Tensor]:
    """A square of a window and of its future, normalised; one of eight ways to turn it."""
    n, row, column = (int(at) for at in place)
    rows, columns = slice(row, row + SIZE), slice(column, column + SIZE)
    pair = record.past[n, :, rows, columns], record.future[n, leads.tolist(), rows, columns]
    past, future = (torch.rot90(decoded(each), turn % 4, (1, 2)) for each in pair)
    return (past.flip(2), future.flip(2)) if turn >= 4 else (past, future)


def hide(past_THW: Tensor, rng: np.random.Generator) -> None:
    """Take a side of a crop out of sight."""
    depth = int(rng.integers(16, SIZE - 48))
    side = (slice(None, depth), slice(-depth, None))[rng.integers(2)]
    past_THW[(slice(None), side) if rng.random() < 0.5 else (..., side)] = torch.nan


def batches(
    records: list[Record], size: int, rng: np.random.Generator, leads: int
) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Past (B, T, H, W) and future (B, LEADS, H, W) of some crops, and which leads these are.

    Records count alike, however long; in each, squares by their weight.
    """
    squares = [places(record) for record in records]
    while True:
        some = np.sort(rng.choice(leads, LEADS, replace=False))
        pairs = []
        for of in rng.integers(len(records), size=size):
            at, weight = squares[of]
            place = at[np.searchsorted(weight, rng.uniform(0, weight[-1]))]
            pairs.append(crop(records[of], place, some, int(rng.integers(8))))
        past, future = (torch.stack(each) for each in zip(*pairs, strict=True))
        factor = torch.from_numpy(rng.normal(0, BRIGHTER / np.log(10), (size, 1, 1, 1))).to(past)
        past, future = (torch.where(x > 0, (x + factor).clamp(min=0), x) for x in (past, future))
        future = torch.where(past[:, -1:].isnan(), torch.nan, future)
        future[..., :EDGE, :] = future[..., -EDGE:, :] = torch.nan
        future[..., :EDGE] = future[..., -EDGE:] = torch.nan
        for one in past:
            if rng.random() < HIDDEN:
                hide(one, rng)
        yield past, future, some.tolist()


def train(model: Nowcast, records: list[Record], args: argparse.Namespace) -> None:
    """Adam with a learning rate that falls as a cosine; the mean of late weights is kept."""
    rng, device = np.random.default_rng(args.seed), args.device
    model.to(device).train()
    loss_of = torch.compile(model.loss_at_rest) if device == "cuda" else model.loss_at_rest
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.02)
    rate = lambda n: min(1, (n + 1) / 100) * (1 + np.cos(np.pi * n / args.steps)) / 2  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    mean = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    cost = 3 * flops(model) / 1e12 if args.peak else 0.0  # of a crop: backward is twice forward
    started, losses = time.perf_counter(), []
    records = [Record(each.name, each.past.to(device), each.future.to(device)) for each in records]
    drawn = batches(records, args.batch, rng, model.out_len)
    for step, (past, future, leads) in zip(range(1, args.steps + 1), drawn, strict=False):
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_of(past, future, leads, STRIDE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean.update_parameters(model)
        losses.append(loss.detach())
        if step % 100 == 0 or step == args.steps:
            crops = step * args.batch / (time.perf_counter() - started)
            recent = torch.stack(losses[-100:]).mean()
            used = f", {crops * cost / args.peak:.1%} of the machine's rate" if args.peak else ""
            print(f"{step}: loss {recent:.4f}, {crops:.1f} crops a second{used}", flush=True)
    model.load_state_dict(mean.module.state_dict())
    model.cpu().eval().requires_grad_(False)


def flops(model: Nowcast) -> float:
    """Operations of the network on one crop."""
    from torch.utils.flop_counter import FlopCounterMode

    shape, device = (1, model.in_len, SIZE, SIZE), next(model.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.network(torch.zeros(shape, device=device), torch.ones(shape, device=device))
    return counter.get_total_flops()


# --- the pack


def card(model: Nowcast, events: list[str], notes: str) -> Card:
    """The card of a pack with these weights."""
    rain = Variable(
        standard_name="rainfall_rate",
        units="mm h-1",
        valid_min=0.0,
        valid_max=1000.0,
        missing="allowed",
        scale=Scale(factor=10.0, floor=LEAST),
    )
    config = {key: list(v) if isinstance(v, tuple) else v for key, v in vars(model.config).items()}
    return Card(
        name="nowcast-radar",
        version="4",
        title="How likely which rain is, along its motion: one field or members, 5-minute radar",
        model=ModelSpec(name="nowcast", config=config),
        inputs={"rainfall_rate": rain},
        outputs=["rainfall_rate"],
        grid=PixelGrid(height=64, width=64, spacing=1000.0, larger="whole"),
        time_step=STEP,
        context=model.in_len,
        lead=model.out_len,
        training=Training(
            data=DATA,
            events=events,
            licence="Source: MeteoSwiss; KNMI, FMI, RMI and OPERA CC BY 4.0; MRMS public domain",
            notes=notes,
        ),
        references=REFERENCES,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--without", nargs="*", default=[], help="names of files to leave out")
    parser.add_argument("--start", help="a pack to go on from")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=WAYS, default="cpu")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the machine")
    parser.add_argument("--out", default="fitted/nowcast-radar")
    args = parser.parse_args()
    if is_taken(Path(args.out)):  # before hours of training
        parser.error(f"{args.out} is there already: give another --out")
    files = [path for path in args.files if Path(path).stem not in args.without]
    torch.manual_seed(args.seed)
    model = xef.open_pack(args.start).model() if args.start else Nowcast(PRESETS["radar"])
    model.requires_grad_(True)
    records = [at_rest(Path(path).stem, frames_of(path), model) for path in files]
    train(model, records, args)
    notes = f"{args.steps} steps of {args.batch} crops, learning rate {args.rate}, seed {args.seed}"
    if args.start:
        notes += f", from {args.start}"
    events = sorted(record.name for record in records)
    print(xef.save_pack(args.out, model, card(model, events, notes)))


if __name__ == "__main__":
    main()

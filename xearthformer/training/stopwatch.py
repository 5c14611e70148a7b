"""How long a training step takes, written down as a run goes: a resumed run knows it too."""

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

SECONDS = "seconds.csv"
COLUMNS = ["epoch", "steps", "seconds", "threads", "device"]
WARM_UP = 3  # steps of a process that are left out, where an epoch has more


class Stopwatch(Callback):
    """Writes a line an epoch: the median time of its steps, forward, backward and update.

    The first steps of a process, in which torch makes its plans, don't count. An epoch that is run
    anew after a kill replaces its line.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SECONDS
        self.marks: list[Any] = []
        self.warm = False

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.marks.append(_mark(trainer))

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.marks.append(_mark(trainer))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        pairs = zip(self.marks[::2], self.marks[1::2], strict=True)
        took = [_between(begin, end) for begin, end in pairs]
        counted = took if self.warm else took[WARM_UP:] or took
        lines = [line for line in _lines(self.path) if int(line["epoch"]) < trainer.current_epoch]
        found = len(counted), f"{median(counted):.6g}", torch.get_num_threads()
        values = trainer.current_epoch, *found, trainer.strategy.root_device.type
        lines.append(dict(zip(COLUMNS, values, strict=True)))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(lines)
        self.marks, self.warm = [], True


@dataclass(frozen=True)
class Pace:
    """Seconds a training step, on how many threads of what."""

    seconds: float
    threads: int
    device: str


def pace(folder: Path) -> Pace:
    """The median over the epochs of a run; threads and device are those of the last."""
    lines = _lines(folder / SECONDS)
    last = lines[-1]
    seconds = median(float(line["seconds"]) for line in lines)
    return Pace(seconds, int(last["threads"]), last["device"])


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _mark(trainer: Any) -> Any:
    """A moment; on a GPU, which runs behind, one in its own queue."""
    if trainer.strategy.root_device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(begin: Any, end: Any) -> float:
    """Seconds between two moments."""
    if isinstance(begin, float):
        return end - begin
    end.synchronize()
    return begin.elapsed_time(end) / 1000

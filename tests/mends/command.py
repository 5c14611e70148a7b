"""What the command line tells its user to type, typed there."""

import contextlib
import io
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from mends import data
from mends.typed import scope
from xearthformer.cli import main

WITHOUT = "the same without "


@dataclass(frozen=True)
class Command:
    """A command that is refused, and what is right of the file or the text that it gives then."""

    file: str  # the data, an expression
    words: str  # FILE and OUT stand for the paths
    right: str = "np.isfinite(answer.to_dataarray()).any()"
    out: str = "out.nc"


RAIN = "rainfall(40, side=(32, 32))"
SEA = "absolute(48, step=2)"
FORECAST = "forecast FILE --pack {} -o OUT"
VERIFY = "verify FILE --packs persistence --lead 2"
SAID = "'persistence' in said"

COMMANDS = {
    "an anomaly": Command(SEA, FORECAST.format("damped-persistence --lead 2")),
    "an anomaly, verify": Command(
        SEA,
        "verify FILE --packs damped-persistence --lead 1",
        "'mse' in said.lower() or 'rmse' in said.lower()",
    ),
    "a period": Command(SEA, FORECAST.format("damped-persistence --lead 2 --anomaly 1981 2010")),
    "a lead": Command(
        "absolute()", FORECAST.format("persistence --lead 0"), "(answer.sst == 17).all()"
    ),
    "a lead as a duration": Command(
        "absolute()", FORECAST.format("persistence --lead 30min"), "(answer.sst == 17).all()"
    ),
    "an init": Command(
        "absolute()",
        FORECAST.format("persistence --lead 2 --init 2030-01"),
        "(answer.sst == 17).all()",
    ),
    "a device": Command(
        "anomalies(36, step=2)", FORECAST.format("damped-persistence --lead 2 --device gpu")
    ),
    "a batch": Command(
        "absolute()",
        FORECAST.format("persistence --lead 2 --batch-size 0"),
        "(answer.sst == 17).all()",
    ),
    "members": Command(
        "anomalies(36, step=2)",
        FORECAST.format("lim --lead 2 --members 0"),
        "answer.sizes['member'] == 1",
    ),
    "a seed": Command(
        "anomalies(36, step=2)",
        FORECAST.format("lim --lead 2 --members 2 --seed -1"),
        "answer.sizes['member'] == 2",
    ),
    "thresholds": Command(
        "anomalies(36, step=2)",
        FORECAST.format("lim --lead 2 --members 2 --window 3"),
        "'probability' in answer",
    ),
    "quantiles": Command(
        "anomalies(36, step=2)",
        FORECAST.format("lim --lead 2 --members 2 --quantiles 10 90"),
        "answer.sizes['quantile'] == 2",
    ),
    "a variable": Command(
        "xr.Dataset({'a': absolute(), 'b': absolute()})",
        FORECAST.format("persistence --lead 2"),
        "list(answer) == ['a']",
    ),
    "codes": Command(
        "rainfall().where(lambda a: a.x > 900, -1)",
        FORECAST.format("persistence"),
        "answer.rain_rate.isnull().any()",
    ),
    "a step": Command(RAIN, VERIFY + " --step 0s", SAID),
    "scores": Command(RAIN, VERIFY + " --scores csy", SAID),
    "a reference": Command(RAIN, VERIFY + " --reference lim", SAID),
    "thresholds of none": Command("absolute()", VERIFY + " --scores csi", SAID),
    "a square": Command(RAIN, VERIFY + " --square 50 --thresholds 5", SAID),
    "surroundings": Command(RAIN, VERIFY + " --surroundings 4 --thresholds 5", SAID),
    "known": Command(RAIN, VERIFY + " --known 0.5", SAID),
    "labels": Command(RAIN, VERIFY + " --by wet", "'under 5 %, ' in said or 'over 20 %, ' in said"),
    "a block": Command(
        "rainfall(60, side=(32, 32))", VERIFY + " --block 20min", "'blocks of 20min' in said"
    ),
    "a map": Command(
        "rainfall().drop_vars('crs').drop_attrs(deep=False).assign_attrs(units='mm h-1')",
        FORECAST.format("persistence --lead 2"),
        out="out.tif",
    ),
    "an error": Command(
        "absolute()", "hindcast FILE --pack persistence -o OUT --lead 2 --chunks 0", out="out.zarr"
    ),
    "a folder to keep": Command(
        "rainfall(6, side=(32, 32))",
        "watch FOLDER --pack SMALL -o OUT --once --lead 1 --keep 0",
        "True",
        out="out",
    ),
}


def _run(words: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def type_command(command: Command, folder: Path) -> str:
    """Return the hint of a command, which has served as typed."""
    names = scope()
    made = eval(command.file, names)
    made = made if isinstance(made, xr.Dataset) else made.to_dataset()
    made.to_netcdf(folder / "in.nc")
    places = {"FILE": folder / "in.nc", "OUT": folder / command.out, "FOLDER": folder}
    if "SMALL" in command.words:
        places["SMALL"] = data.small().path
    words = [str(places.get(word, word)) for word in shlex.split(command.words)]
    status, _, err = _run(words)
    assert status == 2, f"served as it is, or broken ({status}): {words} {err}"
    hint = err.strip().rpartition("try ")[2]
    typed = _typed(hint)
    assert typed, f"nothing to type in: {err}"
    again = _without(words, typed[0][0]) if hint.startswith(WITHOUT) else [*words, *typed[0]]
    status, said, wrong = _run(again)
    assert status == 0, f"{err}\n   typed {again}\n     got {wrong}"
    answer = None
    made = [Path(word) for before, word in zip(again, again[1:], strict=False) if before == "-o"]
    if made and made[-1].suffix in (".nc", ".zarr"):
        answer = xr.open_dataset(made[-1], decode_timedelta=True)
    right = eval(command.right, {**names, "answer": answer, "said": said, "np": np})
    assert bool(right), f"{err}\n   typed {again}\n     got {answer} {said}"
    return hint


def _typed(hint: str) -> list[list[str]]:
    """Return the options in a hint, up to the words that follow."""
    found = []
    for part in hint.removeprefix(WITHOUT).replace("; or ", ", or ").split(", or "):
        words = shlex.split(part.split(", ")[0])
        for stop in ("or", "if", "where"):
            words = words[: words.index(stop)] if stop in words else words
        if words and words[0].startswith("-"):
            found.append(words)
    return found


def _without(words: list[str], option: str) -> list[str]:
    at = words.index(option)
    end = next((k for k in range(at + 1, len(words)) if words[k].startswith("-")), len(words))
    return words[:at] + words[end:]

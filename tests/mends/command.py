"""What the command line tells its user to type, typed there."""

import contextlib
import io
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from mends import data
from mends.typed import scope
from xearthformer.cli import main
from xearthformer.cli.hints import in_shell

WITHOUT = "the same without "
OPTION = re.compile("--?[a-z]")


@dataclass(frozen=True)
class Command:
    """A command that is refused, and what is right of the file or the text that it gives then."""

    file: str  # the data, an expression
    words: str  # FILE and OUT stand for the paths
    right: str = "np.isfinite(answer.to_dataarray()).any()"
    out: str = "out.nc"
    dots: dict[str, str] = field(default_factory=dict)  # what the user puts in their place

    more: int = 0  # further errors that may follow, whose options are typed too

    def typed(self, folder: Path) -> list[str]:
        """Return what is said, which has served when typed."""
        return type_command(self, folder)

    def said(self, hint: str) -> str:
        """Return a hint in the words of the command line."""
        return in_shell(hint, shlex.split(self.words)[0])


RAIN = "rainfall(40, side=(32, 32))"
SEA = "absolute(48, step=2)"
WARM = "(tropics() + 20).drop_attrs(deep=False).assign_attrs(SST)"
FORECAST = "forecast FILE --pack {} -o OUT"
VERIFY = "verify FILE --packs persistence --lead 2"
LIM = FORECAST.format("lim --lead 2 --members 2")
XRO = "verify FILE --lead {} --init 1992-01/1992-03 --packs {}"
SAID = "'persistence' in said"
STILL = "(answer.sst == 17).all()"  # of the last month of `absolute()`
WATCH = "watch FOLDER --pack SMALL -o {} --once --lead 1 "
WIDE = "rainfall(4, side=(32, 32)).drop_vars('crs').drop_attrs(deep=False).assign_attrs(units='mm h-1')"
BARE = "rainfall().drop_vars('crs').drop_attrs(deep=False).assign_attrs(units='mm h-1')"
NINO = "'Nino3.4 index' in said and 'xro' in said"
DAMPED = "answer.sst.attrs['climatology_period'] == '2000-01/2003-12'"
WET = "list(folder.glob('**/*.nc'))"

CASES = {
    "cli.files:check_anomaly": [
        Command(SEA, FORECAST.format("damped-persistence --lead 2"), DAMPED),
        Command(SEA, "verify FILE --packs damped-persistence --lead 1", "'338400' in said"),
    ],
    "cli.files:pick_raster": [
        Command("ocean()", FORECAST.format("TWO"), "np.allclose(answer.sst, 10)", "out.h5")
    ],
    "climate.climatology:_bounds": [
        Command(SEA, FORECAST.format("damped-persistence --lead 2 --anomaly 1981 2010"), DAMPED)
    ],
    "fields.time_axis:count_steps": [
        Command("absolute()", FORECAST.format("persistence --lead 0"), STILL),
        Command("absolute()", FORECAST.format("persistence --lead 30min"), STILL),
    ],
    "fields.windows:_positions": [
        Command("absolute()", FORECAST.format("persistence --lead 2 --init 2030-01"), STILL)
    ],
    "inference.engine:settings": [
        Command("absolute()", FORECAST.format("persistence --lead 2 --device gpu"), STILL)
    ],
    "errors:whole_number": [
        Command("absolute()", FORECAST.format("persistence --lead 2 --batch-size 0"), STILL),
        Command(
            "anomalies(36, step=2)",
            FORECAST.format("lim --lead 2 --members 0"),
            "answer.sizes['member'] == 1",
        ),
        Command("anomalies(36, step=2)", LIM + " --seed -1", "answer.sst.attrs['seed'] == 0"),
        Command(
            "absolute()",
            "hindcast FILE --pack persistence -o OUT --lead 2 --chunks 0",
            "answer.sst[-1, 0, 0, 0] == 17",
            "out.zarr",
        ),
        Command("rainfall(6, side=(32, 32))", WATCH.format("OUT") + "--keep 0", WET, "out"),
    ],
    "verification.request:check": [
        Command(
            "anomalies(36, step=2)",
            LIM + " --window 3",
            "answer.probability.threshold.values.tolist() == [0.5, 1, 5]",
        ),
        Command(
            "anomalies(36, step=2)",
            LIM + " --quantiles 0.5",
            "answer['quantile'].item() == 0.5",
            "out.h5",
        ),
    ],
    "verification.products:quantiles": [
        Command(
            "anomalies(36, step=2)",
            LIM + " --quantiles 10 90",
            "answer['quantile'].values.tolist() == [0.1, 0.9]",
        )
    ],
    "verification.products:mean_and_spread": [
        Command(
            "anomalies(36, step=2)",
            FORECAST.format("lim --lead 2 --members 1 --mean"),
            "answer.sst_mean.attrs['members'] == 50 and (answer.sst_spread > 0).any()",
        )
    ],
    "fields.quantities:find_variable": [
        Command(
            "xr.Dataset({'a': absolute(), 'b': absolute()})",
            FORECAST.format("persistence --lead 2"),
            "list(answer) == ['a'] and (answer.a == 17).all()",
        )
    ],
    "fields.codes:__call__": [
        Command(
            "rainfall().where(lambda a: a.x > 900, -1)",
            FORECAST.format("persistence"),
            "answer.rain_rate[0, 0, 0].isnull().sum() == 1 and answer.rain_rate.max() == 14",
        )
    ],
    "verification.regimes:labels_of": [
        Command(RAIN, VERIFY + " --by wet", "'under 5 %, ' in said or 'over 20 %, ' in said")
    ],
    "verification.confidence:check_block": [
        Command(
            "rainfall(60, side=(32, 32))", VERIFY + " --block 20min", "'blocks of 20min' in said"
        )
    ],
    "inference.time_step:_microseconds": [Command(RAIN, VERIFY + " --step 0s", SAID)],
    "verification.scores:check_names": [Command(RAIN, VERIFY + " --scores csy", SAID)],
    "verification.verify:_check": [Command("absolute()", VERIFY + " --scores csi", SAID)],
    "comparison.compare:_check_packs": [
        Command(RAIN, "verify FILE --lead 2 --packs persistence persistence", SAID)
    ],
    "comparison.compare:_check_rows": [Command(RAIN, VERIFY + " --reference lim", SAID)],
    "comparison.square:find_square": [
        Command(RAIN, VERIFY + " --square 50 --thresholds 5", "'square' in said")
    ],
    "comparison.compare:_square": [
        Command(RAIN, VERIFY + " --surroundings 4 --thresholds 5", "'square' in said")
    ],
    "comparison.compare:_block_sums": [Command(RAIN, VERIFY + " --known 0.5", SAID)],
    "datasets.radar.geotiff:check_map": [
        Command(BARE, FORECAST.format("persistence --lead 2"), "answer.rain_rate.max() == 14", out)
        for out in ("out.tif", "out.h5")
    ]
    + [Command(WIDE, WATCH.format("OUT") + "--format tif", WET, "out")],
    # a fit takes seconds: one command that is refused three times
    "cli.score:verify_file": [
        Command(WARM, XRO.format(3, "persistence --fit 1980 1991"), NINO, more=1)
    ],
    "cli.score:_check_xro": [
        Command("tropics()", XRO.format(2, "xro"), SAID + " and 'xro' not in said", more=1),
    ],
    "cli.score:_data": [
        Command(RAIN, VERIFY + " --variable rain_rate --step 10min", SAID),
    ],
    "cli.watch:_check": [
        Command("rainfall(6, side=(32, 32))", WATCH.format("FOLDER"), WET),
    ],
}


def _run(words: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def type_command(command: Command, folder: Path) -> list[str]:
    """Return the hints of a command, which have served as typed."""
    names = scope()
    made = eval(command.file, names)
    made = made if isinstance(made, xr.Dataset) else made.to_dataset()
    made.to_netcdf(folder / "in.nc")
    places = {"FILE": folder / "in.nc", "OUT": folder / command.out, "FOLDER": folder}
    packs = {"SMALL": data.small, "TWO": data.two}
    places |= {word: make().path for word, make in packs.items() if word in command.words}
    words = [str(places.get(word, word)) for word in shlex.split(command.words)]
    status, said, err = _run(words)
    assert status, f"served as it is: {words}"
    hints: list[str] = []
    while status and len(hints) <= command.more:
        assert status == 2 or "; try " in err, f"broken ({status}): {words} {err}"
        hints.append(err.strip().rpartition("try ")[2])
        typed = _typed(hints[-1])
        assert typed, f"nothing to type in: {err}"
        before, words = err, _with(words, typed[0], hints[-1].startswith(WITHOUT))
        status, said, err = _run(words)
    assert status == 0, f"{before}\n   typed {words}\n     got {err}"
    answer = None
    made = [Path(word) for before, word in zip(words, words[1:], strict=False) if before == "-o"]
    if made and made[-1].suffix in (".nc", ".zarr"):
        answer = xr.open_dataset(made[-1], decode_timedelta=True)
    right = eval(command.right, {**names, "answer": answer, "said": said, "folder": folder})
    assert bool(right), f"{before}\n   typed {words}\n     got {answer} {said}"
    return hints


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


def _with(words: list[str], option: list[str], without: bool) -> list[str]:
    """Return a command with an option in place of the one that it had, or without it."""
    if option[0] in words:
        at = words.index(option[0])
        end = next((k for k in range(at + 1, len(words)) if OPTION.match(words[k])), len(words))
        words = words[:at] + words[end:]
    return words if without else [*words, *option]

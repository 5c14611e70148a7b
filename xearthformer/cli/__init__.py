"""The command `xearthformer`: forecast, hindcast, verify, table, train, packs, catalog, demo.

Each command is a function; what it needs is imported when it runs: a list of packs is quick.
"""

import sys
import time
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser

from ..datasets.local import open_file
from .catalog import check_entries, list_entries, show_entry
from .files import check_target, find_data, parse_inits, write_file
from .score import icar_enso_scores, sevir_scores, verify_file

# What the user can mend: a line on stderr and exit status 2, no traceback.
USER_ERRORS = (ArgumentError, ValueError, KeyError, TypeError, OSError, ImportError)
LONG = 6  # items of a list that `packs show` prints whole

# Arguments whose form on the command line a signature can't say, by command and parameter.
OUTPUT: dict[str, Any] = {"flags": ["-o", "--output"], "required": True}
INIT: dict[str, Any] = {"flags": ["--init"], "nargs": "+", "metavar": "TIME"}
STARTS = (
    "where forecasts start: times such as 1997-06; all from A to B as A/B, every Nth as A/B/N; "
)
ANOMALY: dict[str, Any] = {
    "flags": ["--anomaly"],
    "nargs": 2,
    "metavar": ("FIRST", "LAST"),
    "help": "take the anomaly from the monthly climatology of these years first",
}
COMPILE: dict[str, Any] = {
    "flags": ["--compile"],
    "action": "store_true",
    "help": "have torch compile the network: a minute or more, for many forecasts on a GPU",
}
PACKS: dict[str, Any] = {"flags": ["--packs"], "nargs": "+", "required": True, "metavar": "PACK"}
SCORED = "packs by name, folder or file"
FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "forecast": {
        "init": {**INIT, "help": f"{STARTS}the latest when not given"},
        "anomaly": ANOMALY,
        "compile": COMPILE,
        "output": {**OUTPUT, "metavar": "OUT", "help": "file.nc or store.zarr to write"},
        "overwrite": {
            "flags": ["--overwrite"],
            "action": "store_true",
            "help": "replace OUT if it is there",
        },
    },
    "hindcast": {
        "init": {**INIT, "help": f"{STARTS}every possible time when not given"},
        "anomaly": ANOMALY,
        "compile": COMPILE,
        "output": {**OUTPUT, "metavar": "STORE", "help": "Zarr store to write: a folder or a URL"},
    },
    "verify": {
        "packs": {**PACKS, "help": f"{SCORED}; pysteps is extrapolation along the optical flow"},
        "init": {**INIT, "help": f"{STARTS}every possible time when not given"},
        "anomaly": ANOMALY,
        "thresholds": {
            "flags": ["--thresholds"],
            "nargs": "+",
            "type": float,
            "metavar": "VALUE",
            "help": "what makes an event, in the data's units",
        },
        "by_lead": {
            "flags": ["--by-lead"],
            "action": "store_true",
            "help": "print CSI at each lead too",
        },
        "output": {
            "flags": ["-o", "--output"],
            "metavar": "OUT",
            "help": "file.nc or store.zarr for the scores",
        },
    },
    "sevir": {"packs": {**PACKS, "help": SCORED}},
    "icar-enso": {"packs": {**PACKS, "help": SCORED}},
    "convert": {
        "checkpoint": {
            "flags": ["checkpoint"],
            "nargs": "+",
            "metavar": "FILE",
            "help": "a .pt or .ckpt file of tensors; of PreDiff all three",
        },
        "output": {**OUTPUT, "metavar": "DIR", "help": "folder, or .safetensors file, to write"},
    },
    "train": {
        "overrides": {
            "flags": ["overrides"],
            "nargs": "*",
            "metavar": "KEY=VALUE",
            "default": [],
            "help": "entries to use in place of the file's, such as recipe.epochs=3",
        }
    },
}


# --- the commands


def forecast_file(
    input: str,
    *,
    pack: str,
    output: str,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    init: Sequence[str] | None = None,
    lead: int | str | None = None,
    members: int | None = None,
    seed: int = 0,
    sampler: str = "dpm++",
    steps: int | None = None,
    sigmas: float | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    compile: bool = False,
    overwrite: bool = False,
) -> None:
    """Forecast a NetCDF file or Zarr store with a pack, and write the same kind of file.

    Parameters
    ----------
    input : str
        What to read: any file that xarray opens, or a Zarr store (.zarr).
    pack : str
        A name from `packs list`, a folder, a .safetensors file, or hf://owner/name.
    output : str
        What to write: file.nc or store.zarr.
    variable : str
        Variable to forecast; the one that the pack asks for when not given.
    anomaly : (str, str)
        First and last year of the climatology to take the anomaly from.
    init : list of str
        Where forecasts start; A/B stands for all times from A to B, A/B/N for every Nth.
    lead : int
        How far: time steps, or a duration such as 60min; the pack's reach when not given.
    members : int
        Of a pack that samples: how many; one when not given.
    seed : int
        Of their noise.
    sampler : str
        dpm++, ddim or ddpm.
    steps : int
        Of the sampler; 20, 50 or 1000 when not given.
    sigmas : float
        Anticipated intensity, in standard deviations from the pack's climatology.
    device : str
        auto, cpu, cuda, ...
    precision : str
        bf16 is faster, and less exact.
    compile : bool
        Have torch compile the network.
    overwrite : bool
        Replace the output if it is there.
    """
    started = time.perf_counter()
    target = check_target(output, overwrite)
    from ..packs.pack import open_pack

    opened = open_pack(pack)
    with open_file(input) as ds:
        da = find_data(ds, opened, variable, anomaly)
        from ..inference.forecast import forecast

        how: dict[str, Any] = {"device": device, "precision": precision, "compile": compile}
        how |= _draws(members, seed, sampler, steps, sigmas)
        fc = forecast(da, opened, init=parse_inits(init), lead=lead, **how)
        write_file(fc.to_dataset().assign_attrs({"Conventions": "CF-1.8", **ds.attrs}), target)
    sizes = _sizes(fc)
    print(f"{target}: {sizes} of {fc.name} by {opened.card.name}, {_took(started)}")


def hindcast_file(
    input: str,
    *,
    pack: str,
    output: str,
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    init: Sequence[str] | None = None,
    lead: int | str | None = None,
    members: int | None = None,
    seed: int = 0,
    sampler: str = "dpm++",
    steps: int | None = None,
    sigmas: float | None = None,
    chunks: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    compile: bool = False,
) -> None:
    """Forecast from many inits into a Zarr store; killed and called again, go on where it stopped.

    Parameters
    ----------
    input : str
        What to read: any file that xarray opens, or a Zarr store (.zarr).
    pack : str
        A name from `packs list`, a folder, a .safetensors file, or hf://owner/name.
    output : str
        Zarr store to write or to go on with: a folder, or a URL such as s3://bucket/name.zarr.
    variable : str
        Variable to forecast; the one that the pack asks for when not given.
    anomaly : (str, str)
        First and last year of the climatology to take the anomaly from.
    init : list of str
        Where forecasts start; A/B stands for all times from A to B, A/B/N for every Nth.
    lead : int
        How far: time steps, or a duration such as 60min; the pack's reach when not given.
    members : int
        Of a pack that samples: how many; one when not given.
    seed : int
        Of their noise.
    sampler : str
        dpm++, ddim or ddpm.
    steps : int
        Of the sampler; 20, 50 or 1000 when not given.
    sigmas : float
        Anticipated intensity, in standard deviations from the pack's climatology.
    chunks : int
        Inits a Zarr chunk; one when not given.
    on_error : str
        raise stops at an init that can't be forecast, skip leaves it NaN and goes on.
    device : str
        auto, cpu, cuda, ...
    precision : str
        bf16 is faster, and less exact.
    compile : bool
        Have torch compile the network.
    """
    started = time.perf_counter()
    if output.endswith((".nc", ".zip")):
        raise ValueError(f"output: expected a Zarr store (a folder or a URL), found {output}")
    from ..packs.pack import open_pack

    opened = open_pack(pack)
    with open_file(input) as ds:
        da = find_data(ds, opened, variable, anomaly)
        from ..hindcasts.hindcast import hindcast

        how: dict[str, Any] = {"device": device, "precision": precision, "compile": compile}
        how |= {"chunks": chunks, "on_error": on_error}
        how |= _draws(members, seed, sampler, steps, sigmas)
        span = slice(None) if init is None else parse_inits(init)
        # a variable that the pack finds by itself brings the file's attributes with it
        data = da if variable else da.to_dataset().assign_attrs(ds.attrs)
        done = hindcast(data, opened, output, init=span, lead=lead, **how)
    sizes = _sizes(done)
    print(f"{output}: {sizes} of {da.name} by {opened.card.name}, {_took(started)}")
    if "incomplete" in done.attrs:
        print(done.attrs["incomplete"])


def train_from_file(config: str, overrides: Sequence[str] = ()) -> None:
    """Train as a configuration file says: a model, or the models of a table; goes on after a kill.

    Parameters
    ----------
    config : str
        A YAML file with the arguments of xearthformer.training.config.train_from_config, or, when
        it has an entry `models`, of xearthformer.comparison.train_table.train_table.
    overrides : list of str
        Entries to use in place of the file's.
    """
    if not Path(config).is_file():
        raise FileNotFoundError(f"no configuration file {config}")
    from ..comparison.train_table import train_table
    from ..training.config import call_with_entries, train_from_config

    entries = _entries(Path(config).read_text(), overrides)
    command: Callable[..., Any] = train_table if "models" in entries else train_from_config
    made = call_with_entries(command, entries)
    print(made.text() if "models" in entries else f"{made.path}: {made!r}")


def list_packs() -> None:
    """List the packs at hand: those that ship with the package, and those of installed packages."""
    from ..packs import pack

    titles = pack.list_packs()
    width = max(map(len, titles), default=0)
    for name, title in titles.items():
        print(f"{name:{width}}  {title}")


def show_pack(name: str) -> None:
    """Show the card of a pack: what goes in, what comes out, what it was made from.

    Parameters
    ----------
    name : str
        A name from `packs list`, a folder, a .safetensors file, or hf://owner/name.
    """
    from ..packs.pack import open_pack

    pack = open_pack(name)
    lines = [*_lines(pack.card.model_dump(exclude_none=True)), ("path", str(pack.path))]
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        print(f"{key:{width}}  {value}")


def convert_checkpoint(checkpoint: Sequence[str], *, preset: str, output: str) -> None:
    """Turn a published checkpoint into a pack; nothing in the checkpoint is executed.

    Parameters
    ----------
    checkpoint : list of str
        A .pt or .ckpt file: a bare state dict, or Lightning's; of PreDiff all three.
    preset : str
        Its published configuration: enso, sevir, sevir-lr, nbody, prediff-sevir-lr.
    output : str
        Folder, or .safetensors file, to write.
    """
    from ..packs.published import convert

    pack = convert(checkpoint, preset, output)
    print(f"{pack.path}: {pack!r}")


def run_demo(folder: str = "demo") -> None:
    """Forecast ten years of simulated sea surface temperature, print the skill, draw a picture.

    Parameters
    ----------
    folder : str
        Where the picture goes.
    """
    from .demo import demo

    demo(Path(folder))


# The functions' names are theirs alone: jsonargparse looks each up in the package, and would find,
# and load, the package's own `forecast`.
COMMANDS: dict[str, Callable[..., int | None] | dict[str, Callable[..., int | None]]] = {
    "forecast": forecast_file,
    "hindcast": hindcast_file,
    "verify": verify_file,
    "table": {"sevir": sevir_scores, "icar-enso": icar_enso_scores},
    "train": train_from_file,
    "packs": {"list": list_packs, "show": show_pack, "convert": convert_checkpoint},
    "catalog": {"list": list_entries, "show": show_entry, "check": check_entries},
    "demo": run_demo,
}
ABOUT = {
    "catalog": "List, show and check the sources of data that are known by name.",
    "packs": "List, show and convert packs.",
    "table": "Score packs as the papers do, beside the papers' results.",
}


# --- what the commands share


def _draws(
    members: int | None, seed: int, sampler: str, steps: int | None, sigmas: float | None
) -> dict[str, Any]:
    """The options of a pack that samples, as `forecast` takes them."""
    from ..inference.guidance import anticipated_intensity

    told = None if sigmas is None else anticipated_intensity(sigmas=sigmas)
    draws: dict[str, Any] = {"members": members, "seed": seed, "sampler": sampler, "steps": steps}
    return {**draws, "guidance": told}


def _sizes(fc: Any) -> str:
    """How many inits, leads and members, in words.

    >>> import xarray as xr
    >>> _sizes(xr.DataArray(range(3), dims="init").expand_dims(lead=2))
    '3 x 2 (init x lead)'
    """
    dims = [dim for dim in ("init", "lead", "member") if dim in fc.dims]
    return f"{' x '.join(str(fc.sizes[dim]) for dim in dims)} ({' x '.join(dims)})"


def _entries(text: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The entries of a YAML text, some of them overridden.

    >>> _entries("recipe: {epochs: 9, seed: 1}", ["recipe.epochs=3", "pack=mine"])
    {'recipe': {'epochs': 3, 'seed': 1}, 'pack': 'mine'}
    """
    entries = yaml.safe_load(text)
    if not isinstance(entries, dict):
        raise ValueError(f"expected a YAML mapping of entries, found {type(entries).__name__}")
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"expected KEY=VALUE, found {override!r}")
        *folders, key = path.split(".")
        place = entries
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = yaml.safe_load(value)
    return entries


def _lines(card: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A card as keys and short values; long lists are cut."""
    for key, value in card.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{prefix}{key}.")
        elif isinstance(value, list) and len(value) > LONG:
            ends = "" if isinstance(value[0], str) else f"{value[0]}, {value[1]} .. {value[-1]} "
            yield f"{prefix}{key}", f"{ends}({len(value)})"
        elif value != [] and value != "":
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{key}", text


def _took(started: float) -> str:
    return f"{time.perf_counter() - started:.1f} s"


# --- the parser


def parser() -> ArgumentParser:
    """The whole command line, made from the functions above."""
    from .. import __version__

    top = ArgumentParser(
        prog="xearthformer",
        description="Earthformer and PreDiff for labelled data.",
        version=__version__,
    )
    _add_commands(top, COMMANDS, "command")
    return top


def _add_commands(parent: ArgumentParser, commands: dict[str, Any], dest: str) -> None:
    subcommands = parent.add_subcommands(dest=dest, title="commands", description="")
    for name, command in commands.items():
        if isinstance(command, dict):
            child = ArgumentParser(description=ABOUT[name])
            subcommands.add_subcommand(name, child, help=" | ".join(command))
            _add_commands(child, command, "action")
            continue
        about = (command.__doc__ or "").splitlines()[0]
        child = ArgumentParser(description=about)
        forms = FORMS.get(name, {})
        child.add_function_arguments(command, as_group=False, as_positional=True, skip=set(forms))
        for form in forms.values():
            options = dict(form)
            child.add_argument(*options.pop("flags"), **options)
        subcommands.add_subcommand(name, child, help=about)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status, 2 for what the user can mend."""
    settings = parser().parse_args(argv).as_dict()
    name = settings["command"]
    command, arguments = COMMANDS[name], settings[name]
    if isinstance(command, dict):
        action = arguments["action"]
        command, arguments = command[action], arguments.get(action)
    try:
        return command(**(arguments or {})) or 0
    except USER_ERRORS as error:
        print(f"xearthformer: error: {_one_line(error)}", file=sys.stderr)
        return 2


def _one_line(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = [line.strip() for line in (text or type(error).__name__).splitlines()]
    return "; ".join(line for line in lines if line)

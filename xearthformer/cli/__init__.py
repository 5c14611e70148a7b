"""The command `xearthformer`, and the commands in it: forecast, hindcast, watch, verify, ...

Each command is a function, and its arguments are made from the function's signature. What a command
needs is imported when it runs: a list of packs is quick.
"""

import dataclasses
import inspect
import os
import re
import reprlib
import sys
from argparse import SUPPRESS, ArgumentError
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from jsonargparse import ArgumentParser

from ..errors import did_you_mean, mismatch, printable
from ..interrupted import say_interrupted
from ..verification.request import Products
from .catalog import check_entries, list_entries, show_entry
from .entries import load_yaml, read_text
from .files import Radar
from .forecast import forecast_file, hindcast_file
from .help import SHELLS, PrintCompletion, with_examples
from .hints import in_shell
from .score import icar_enso_scores, sevir_scores, verify_file
from .watch import watch_folder

# What the user can mend: one line on stderr and exit status 2, no traceback.
# RuntimeError is what netCDF4 raises on a full disk and for a damaged file.
USER_ERRORS = (
    *(ArgumentError, ValueError, KeyError, TypeError, OSError, ImportError),
    *(RuntimeError, EOFError, ArithmeticError, MemoryError),
)
CLOSED = 141  # the exit status of shells for a closed pipe
KEY_WIDTH = 40  # of the first column of `packs show`

Command = Callable[..., int | None]
Argument = dict[str, Any]  # the keywords of ArgumentParser.add_argument, and "flags"
# Parameters of commands that hold several options, one for each of their fields.
GROUPS: dict[str, type] = {"products": Products, "radar": Radar}

# Types of the options of a forecast on the command line; the defaults and the words are those of
# `inference.options.Options`. Guidance has no words: `--sigmas` stands for it.
OPTION_TYPES: dict[str, Any] = {
    "lead": str | None,  # as it is: of YAML, 1:30 is the number 90
    "members": int | None,
    "seed": int,
    "sampler": str,
    "steps": int | None,
    "device": str,
    "batch_size": int | Literal["auto"],
    "precision": Literal["float32", "bf16"],
    "compile": bool,
    "beyond": Literal["climatology", "nan"],
}

# --- arguments in another form than a signature tells, by the name of the parameter

STARTS = "start of forecasts: times such as 1997-06; all from A to B as A/B, every Nth as A/B/N; "
SWITCH: Argument = {"action": "store_true"}
SHARED: dict[str, Argument] = {
    "input": {
        "flags": ["input"],
        "nargs": "+",
        "metavar": "FILE",
        "help": "any file that xarray opens, a Zarr store (.zarr), or a pattern; several files "
        "follow one another in time or hold other variables",
    },
    "pack": {
        "flags": ["--pack"],
        "required": True,
        "help": "a name from `packs list`, a folder, a .safetensors file, or hf://owner/name",
    },
    "variable": {
        "flags": ["--variable"],
        "help": "variable to forecast; the one that the pack asks for when not given",
    },
    "anomaly": {
        "flags": ["--anomaly"],
        "nargs": 2,
        "metavar": ("FIRST", "LAST"),
        "help": "take the anomaly from the monthly climatology of these years first",
    },
    "init": {
        "flags": ["--init"],
        "nargs": "+",
        "metavar": "TIME",
        "help": f"{STARTS}every possible time when not given",
    },
    "sigmas": {
        "flags": ["--sigmas"],
        "type": float,
        "help": "anticipated intensity, in standard deviations from the pack's climatology",
    },
    "exceed": {
        "flags": ["--exceed"],
        "nargs": "+",
        "type": float | str,
        "default": (),
        "metavar": "THRESHOLD",
        "help": "write the probability that members reach these thresholds, in the data's units or "
        "with their own ('5 mm/h'), in place of the members",
    },
    "window": {
        "flags": ["--window"],
        "type": float | str,
        "metavar": "WIDTH",
        "help": "width of the neighbourhoods of --exceed: pixels, or a length such as '16 km'",
    },
    "anywhere": {
        "flags": ["--anywhere"],
        **SWITCH,
        "help": "of a neighbourhood, the probability that any pixel reaches the threshold, not the "
        "mean of its pixels",
    },
    "quantiles": {
        "flags": ["--quantiles"],
        "nargs": "+",
        "type": float,
        "default": (),
        "metavar": "Q",
        "help": "write these quantiles of the members, from 0 to 1, in their place",
    },
    "mean": {
        "flags": ["--mean"],
        **SWITCH,
        "help": "write the mean of the members and their standard deviation, in their place",
    },
    "accumulate": {
        "flags": ["--accumulate"],
        "metavar": "PERIOD",
        "help": "write the rain of each such period, as 1h, in mm; what else is asked for is of it",
    },
    "with_members": {
        "flags": ["--with-members"],
        **SWITCH,
        "help": "write the members next to what is made of them",
    },
    "overwrite": {"flags": ["--overwrite"], **SWITCH, "help": "replace OUT if it is there"},
    "packs": {
        "flags": ["--packs"],
        "nargs": "+",
        "required": True,
        "metavar": "PACK",
        "help": "packs by name, folder or file",
    },
    "device": {"flags": ["--device"], "default": "auto", "help": "auto, cpu, cuda, ..."},
    "output": {"flags": ["-o", "--output"], "required": True, "metavar": "OUT"},
    "step": {
        "flags": ["--step"],
        "metavar": "PERIOD",
        "help": "bring radar frames to this time step first, along their motion, such as 5min",
    },
    "zr": {
        "flags": ["--zr"],
        "nargs": 2,
        "type": float,
        "metavar": ("A", "B"),
        "help": "of Z = A R**B, for reflectivity that doesn't say its own",
    },
    "missing": {
        "flags": ["--missing"],
        "nargs": "+",
        "type": float,
        "metavar": "CODE",
        "help": "numbers in radar files that stand for nothing seen, such as -1",
    },
    "zero_below": {
        "flags": ["--zero-below"],
        "type": float,
        "metavar": "RATE",
        "help": "less rain than this in radar files, in mm/h, is none",
    },
    "skip_broken": {
        "flags": ["--skip-broken"],
        **SWITCH,
        "help": "leave out radar files that are broken, or unlike the others",
    },
}
FORMS: dict[str, dict[str, Argument]] = {
    "forecast": {
        "init": {**SHARED["init"], "help": f"{STARTS}the latest when not given"},
        "output": {
            **SHARED["output"],
            "help": "file.nc, store.zarr, file.tif (GeoTIFF, one per init and lead, and product if "
            "there are several) or file.h5 (ODIM) to write",
        },
    },
    "hindcast": {
        "on_error": {
            "flags": ["--on-error"],
            "choices": ["raise", "skip"],
            "default": "raise",
            "help": "raise stops at an init that can't be forecast, skip leaves it NaN and goes on",
        },
        "output": {**SHARED["output"], "help": "Zarr store to write or go on with: folder or URL"},
    },
    "verify": {
        "packs": {
            **SHARED["packs"],
            "help": "packs by name, folder or file; by pysteps: pysteps (extrapolation by optical "
            "flow), sprog, steps, anvil, linda; xro the recharge oscillator (of Nino3.4 alone)",
        },
        "fit": {
            "flags": ["--fit"],
            "nargs": 2,
            "metavar": ("FIRST", "LAST"),
            "help": "years that xro is fitted to",
        },
        "thresholds": {
            "flags": ["--thresholds"],
            "nargs": "+",
            "type": float,
            "metavar": "VALUE",
            "help": "what makes an event, in the data's units",
        },
        "window": {
            "flags": ["--window", "--scale"],  # --scale: the old name, for one version
            "type": float | str,
            "default": "16 km",
            "metavar": "WIDTH",
            "help": "width of the neighbourhoods of FSS: pixels, or a length",
        },
        "scores": {
            "flags": ["--scores"],
            "nargs": "+",
            "default": [],
            "metavar": "SCORE",
            "help": "further scores to print, such as far ets hss mae sal_structure",
        },
        "by_lead": {"flags": ["--by-lead"], **SWITCH, "help": "print CSI at each lead too"},
        "fss_table": {
            "flags": ["--fss-table"],
            **SWITCH,
            "help": "print FSS by threshold and width, from 1 to 64 pixels, too",
        },
        "output": {
            "flags": ["-o", "--output"],
            "metavar": "OUT",
            "help": "file.nc or store.zarr for the scores",
        },
    },
    "check": {
        "data_root": {
            "flags": ["--data-root"],
            "help": "folder or address of a copy of your own, not of where entries are published",
        },
    },
    "convert": {
        "checkpoint": {
            "flags": ["checkpoint"],
            "nargs": "+",
            "metavar": "FILE",
            "help": "a .pt or .ckpt file of tensors; of PreDiff all three",
        },
        "output": {**SHARED["output"], "help": "folder, or .safetensors file, to write"},
    },
    "watch": {
        "output": {**SHARED["output"], "help": "folder for forecasts, made if it isn't there"},
        "picture": {"flags": ["--picture"], **SWITCH, "help": "draw each forecast too"},
        "once": {"flags": ["--once"], **SWITCH, "help": "forecast from what is there, and stop"},
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


# --- the commands that have no file of their own


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
    entries = _entries(read_text(config), overrides)
    from ..comparison.train_table import train_table
    from ..training.config import call_with_entries, train_from_config

    if "models" in entries:
        print(call_with_entries(train_table, entries).text())
    else:
        pack = call_with_entries(train_from_config, entries)
        print(f"{pack.path}: {pack!r}")


def list_packs() -> None:
    """List the packs at hand: those that ship with the package, and those of installed packages."""
    from ..packs import pack

    titles = pack.list_packs()
    width = max(map(len, titles), default=0)
    for name, title in titles.items():
        print(f"{name:{width}}  {title}")


def show_pack(name: str) -> None:
    """Show the card of a pack: what goes in, what comes out, what it was trained on.

    Parameters
    ----------
    name : str
        A name from `packs list`, a folder, a .safetensors file, or hf://owner/name.
    """
    from ..packs.pack import open_pack

    pack = open_pack(name)
    lines = [*pack.card.rows(), ("path", str(pack.path))]
    # a long key pushes its own value alone to the right
    width = min(max(len(key) for key, _ in lines), KEY_WIDTH)
    for key, value in lines:
        print(f"{key:{width}}  {value}")


def convert_checkpoint(
    checkpoint: Sequence[str],
    *,
    preset: str,
    output: str,
    config: str | None = None,
    overwrite: bool = False,
) -> None:
    """Turn a published checkpoint into a pack; nothing in the checkpoint is executed.

    Parameters
    ----------
    checkpoint : list of str
        A .pt or .ckpt file: a bare state dict, or Lightning's; of PreDiff all three.
    preset : str
        Its published configuration: enso, sevir, sevir-lr, nbody, prediff-sevir-lr.
    output : str
        Folder, or .safetensors file, to write.
    config : str
        YAML file of an Earthformer of your own, on the preset's data: its section `model`.
    """
    from ..packs.published import convert

    own = None if config is None else _model_section(Path(config))
    pack = convert(checkpoint, preset, output, own, overwrite=overwrite)
    print(f"{pack.path}: {pack!r}")


def _model_section(path: Path) -> dict[str, object]:
    """Return the section `model` of a YAML file."""
    found = load_yaml(read_text(path), str(path))
    section = found.get("model") if isinstance(found, dict) else None
    if not isinstance(section, dict):
        listed = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        hint = "the configuration that the checkpoint was trained with"
        raise mismatch("a YAML file with a section model", f"{path}: {listed}", hint)
    return section


def run_demo(folder: str = "demo") -> None:
    """Forecast ten years of simulated sea surface temperature, print the skill, draw a picture.

    Parameters
    ----------
    folder : str
        Where the picture goes.
    """
    from .demo import demo

    demo(Path(folder))


# The functions have names of their own: jsonargparse looks each up in the package, and would find,
# and load, the package's own `forecast`.
COMMANDS: dict[str, Command | dict[str, Command]] = {
    "forecast": forecast_file,
    "hindcast": hindcast_file,
    "watch": watch_folder,
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


def _entries(text: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the entries of a YAML text, some of them overridden.

    >>> _entries("recipe: {epochs: 9, seed: 1}", ["recipe.epochs=3", "pack=mine"])
    {'recipe': {'epochs': 3, 'seed': 1}, 'pack': 'mine'}
    """
    entries = load_yaml(text, "the configuration")
    if not isinstance(entries, dict):
        raise ValueError(f"expected a YAML mapping of entries, found {type(entries).__name__}")
    for name in entries:
        if not isinstance(name, str):
            raise mismatch("names of entries", f"{name!r}", "the file without it")
    for override in overrides:
        path, equals, value = override.partition("=")
        *folders, key = path.split(".")
        if not equals or not all((*folders, key)):
            raise mismatch("KEY=VALUE", f"{override!r}", "KEY.KEY=VALUE for a key in a section")
        place = entries
        for folder in folders:
            if place.get(folder) is None:  # not there, or an empty section
                place[folder] = {}
            place = place[folder]
            if not isinstance(place, dict):
                found = f"{override!r}, where {folder} is {reprlib.repr(place)}"
                raise mismatch("KEY of entries in entries", found, f"{folder}=VALUE as a whole")
        place[key] = load_yaml(value, f"the value of {path}")
    return entries


# --- the parser


class Parser(ArgumentParser):
    """A parser that says what is wrong in one line; the usage of a command can take twenty."""

    @property
    def default_env(self) -> bool:
        """Whether the environment gives options too; jsonargparse lets a variable decide it."""
        return self._default_env

    @default_env.setter
    def default_env(self, _: bool) -> None:
        self._default_env = False

    def format_help(self, *formatter: Any) -> str:
        words = self.prog.replace("[options] ", "").split()
        return with_examples(super().format_help(*formatter), " ".join(words[1:]))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser = getattr(ex, "subcommand_parser", None) or self
        words = "; ".join(map(str.strip, message.splitlines()))
        if option := re.search(r"unrecognized arguments: (--\S+)", words):
            words += did_you_mean(option[1], parser._option_string_actions)
        if choice := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", words):
            words += did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        prog = parser.prog.replace(" [options]", "")
        self.exit(2, printable(f"xearthformer: error: {words}; see {prog} --help") + "\n")


def parser(words: Sequence[str] | None = None) -> ArgumentParser:
    """Return the parser of the whole command line, or as much of it as these words need.

    Signatures and docstrings are read of the commands named in them alone: that of all takes as
    long as to import xarray.
    """
    from .. import __version__

    top = Parser(
        prog="xearthformer",
        description="Earthformer and PreDiff for labelled data.",
        version=__version__,
    )
    top.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        default=SUPPRESS,
        help="print a script for the shell's tab key, which completes commands, options, packs and "
        "files, and exit",
    )
    _add_commands(top, COMMANDS, "command", words)
    return top


def _add_commands(
    parent: ArgumentParser,
    commands: Mapping[str, Command | dict[str, Command]],
    dest: str,
    words: Sequence[str] | None,
) -> None:
    subcommands = parent.add_subcommands(dest=dest, title="commands", description="")
    for name, command in commands.items():
        is_named = words is None or name in words
        if isinstance(command, dict):
            child = Parser(description=ABOUT[name])
            subcommands.add_subcommand(name, child, help=" | ".join(command))
            if is_named:
                _add_commands(child, command, "action", words)
            continue
        about = (command.__doc__ or "").partition("\n")[0]
        child = Parser(description=about)
        if not is_named:
            subcommands.add_subcommand(name, child, help=about)
            continue
        parameters = _parameters(command)
        forms = {key: form for key, form in SHARED.items() if key in parameters}
        forms |= FORMS.get(name, {})
        child.add_function_arguments(
            command, as_group=False, as_positional=True, skip={*forms, *GROUPS, "options"}
        )
        for form in forms.values():
            keywords = dict(form)
            child.add_argument(*_spellings(*keywords.pop("flags")), **keywords)
        if "options" in parameters:
            _add_options(child)
        subcommands.add_subcommand(name, child, help=about)


def _parameters(command: Command) -> list[str]:
    """Return the parameters of a command, and the fields of those that hold several options."""
    parameters = [*inspect.signature(command).parameters]
    fields = (dataclasses.fields(GROUPS[name]) for name in parameters if name in GROUPS)
    return [*parameters, *(field.name for group in fields for field in group)]


def _add_options(child: ArgumentParser) -> None:
    """Add the options of a forecast: one definition serves Python and the command line."""
    from ..inference.options import Options, descriptions

    words = descriptions()
    for field in dataclasses.fields(Options):
        if field.name in OPTION_TYPES:
            kind = SWITCH if field.name == "compile" else {"type": OPTION_TYPES[field.name]}
            flags = _spellings(f"--{field.name.replace('_', '-')}")
            child.add_argument(*flags, default=field.default, help=words.get(field.name), **kind)


def _spellings(*flags: str) -> list[str]:
    """Return flags as they are and with _ between words: both are read.

    >>> _spellings("-o", "--on-error")
    ['-o', '--on-error', '--on_error']
    """
    under = [re.sub(r"(?<=\w)-", "_", flag) for flag in flags]
    return list(dict.fromkeys([*flags, *under]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for errors that the user can mend."""
    name = ""
    try:
        words = sys.argv[1:] if argv is None else list(argv)
        # a shell's completion is of all of them
        named = None if any(word.startswith("--print") for word in words) else words
        settings = parser(named).parse_args(words).as_dict()
        name = settings["command"]
        command, arguments = COMMANDS[name], settings[name]
        if isinstance(command, dict):
            action = arguments["action"]
            command, arguments = command[action], arguments.get(action)
        status = command(**_grouped(command, arguments or {})) or 0
        if sys.stdout is not None:  # closed, as of some services
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        return CLOSED
    except USER_ERRORS as error:
        print(f"xearthformer: error: {_one_line(error, name)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        interrupted = say_interrupted()
        if argv is None:  # a process of the command's own: Python would wait for its threads
            if sys.stdout is not None:
                sys.stdout.flush()
            os._exit(interrupted)
        return interrupted


def _grouped(command: Command, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command, with options that belong together as one."""
    given = dict(arguments)
    for name in [name for name in inspect.signature(command).parameters if name in GROUPS]:
        fields = [field.name for field in dataclasses.fields(GROUPS[name])]
        given[name] = GROUPS[name](**{field: given.pop(field) for field in fields})
    return given


def _one_line(error: Exception, command: str = "") -> str:
    """Return an error in one line, its hint in the words of the command line."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if text.startswith("NetCDF: "):
        text += ": a file that is read may be damaged, or the disk full"
    if isinstance(error, UnicodeEncodeError):  # of a name, in a locale of few letters
        text += ": with PYTHONUTF8=1 in the environment every letter is read and printed"
    lines = [line.strip() for line in (text or type(error).__name__).splitlines()]
    if lines[-1].startswith("try "):
        lines[-1] = f"try {in_shell(lines[-1].removeprefix('try '), command)}"
    return printable("; ".join(line for line in lines if line))

"""What helps to type: examples for each command, and completion by the shell's tab key."""

import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Any

# By command: each line is read as the command line would read it (tests/cli/test_help.py).
EXAMPLES: dict[str, tuple[str, ...]] = {
    "forecast": (
        "xearthformer forecast sst.nc --anomaly 1981 2010 --pack enso-ersst --members 50 -o fc.nc",
        "xearthformer forecast radar --pack nowcast-radar --members 20 --exceed 5 10 -o chances.nc",
    ),
    "hindcast": (
        "xearthformer hindcast sst.nc --anomaly 1981 2010 --pack enso-ersst -o hindcast.zarr",
    ),
    "watch": (
        "xearthformer watch radar --pack nowcast-radar -o nowcasts --format tif --keep 12",
        "xearthformer watch radar --pack nowcast-radar -o nowcasts --once --picture",
    ),
    "verify": (
        "xearthformer verify sst.nc --anomaly 1981 2010 --packs persistence lim --init 2000/2009",
        "xearthformer verify radar --packs pysteps nowcast-radar --by-lead --reference pysteps",
    ),
    "table sevir": ("xearthformer table sevir --data s3://sevir --packs persistence sevir",),
    "table icar-enso": (
        "xearthformer table icar-enso --data icar_enso_2021 --packs persistence icar-enso",
    ),
    "train": (
        "xearthformer train examples/train_tiny.yaml",
        "xearthformer train examples/table_enso.yaml recipe.epochs=3 folder=short",
    ),
    "packs list": ("xearthformer packs list",),
    "packs show": ("xearthformer packs show enso-ersst",),
    "packs convert": (
        "xearthformer packs convert earthformer_icarenso2021.pt --preset enso -o icar-enso",
        "xearthformer packs convert vae.pt unet.pt align.pt --preset prediff-sevir-lr -o prediff",
    ),
    "catalog list": ("xearthformer catalog list",),
    "catalog show": ("xearthformer catalog show ersst_v5",),
    "catalog check": ("xearthformer catalog check --only nbody",),
    "demo": ("xearthformer demo --folder pictures",),
}

PATHS = {"checkpoint", "config", "data", "data_root", "folder", "input", "output"}
PACKS = {"name", "pack", "packs"}
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # shtab's own
SHELLS = tuple(FILES)
# What shtab 1.13 writes, and what completes as the parser reads.
COMPLETES = {
    "(null)": "()",  # the one word that is known of "a number, or none"
    '"(*):': '"*:',  # zsh: of several files the second as well
    "'p/*/()/'": "'p/*/f/'",  # tcsh: the same
}


def with_examples(text: str, command: str) -> str:
    """Return the help of a command with its examples below."""
    lines = EXAMPLES.get(command, ())
    title = "example" if len(lines) == 1 else "examples"
    return "\n".join([text, f"{title}:", *(f"  {line}" for line in lines), ""]) if lines else text


class PrintCompletion(Action):
    """Print a script that makes the tab key of a shell know commands, options, packs and files."""

    def __call__(
        self,
        parser: Any,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from ..packs.pack import list_packs

        names = [*list_packs()]
        for action in _arguments(parser):
            if action.dest in PATHS:
                action.complete = FILES  # type: ignore[attr-defined]
            elif action.dest in PACKS:
                action.choices = names
        script = parser.get_completion_script(f"shtab-{values}")
        for written, completes in COMPLETES.items():
            script = script.replace(written, completes)
        print(script)
        sys.exit()  # the parser is of no more use


def _arguments(parser: ArgumentParser) -> Iterator[Action]:
    """Yield the arguments of a parser and of its subcommands."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                yield from _arguments(child)
        else:
            yield action

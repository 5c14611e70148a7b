"""Hints of the package, which are in Python, in the words of the command line."""

import re
import shlex
from collections.abc import Callable

Words = dict[str, str | Callable[[re.Match[str]], str]]  # patterns, and what stands for them

QUOTED = r"""['"]([^'"]+)['"]"""
PERIOD = rf"\({QUOTED}, {QUOTED}\)"
TEXTS = "batch_size|window|device|sampler|precision|step|beyond|on_error|format|reference|block"
PYTHON_TO_SHELL: Words = {
    r"\bda\.earthformer\.forecast\(\.\.\., members=(\d+)\)": r"--members \1",
    rf"\w+\.earthformer\.anomaly\(climatology={PERIOD}\)": r"--anomaly \1 \2",
    rf"^{PERIOD}": r"--anomaly \1 \2",  # a period alone is that of the anomaly asked for
    # a stamp may hold a blank, between the date and the time
    rf"\binit=slice\({QUOTED}, (?:{QUOTED}|None)(?:, (\d+))?\)": lambda m: (
        f"--init {shlex.quote('/'.join([m[1], m[2] or '', *filter(None, [m[3]])]))}"
    ),
    rf"\binit={QUOTED}": lambda m: f"--init {shlex.quote(m[1])}",
    r"\bthresholds=\[([^]]*)\]": lambda m: f"--thresholds {m[1].replace(',', '')}",
    r"\bscores=\[([^]]*)\]": lambda m: f"--scores {re.sub('[^0-9a-z_ ]', '', m[1])}",
    r"\b(init|chunks)=None": r"the same without --\1",
    rf"(?<![/\w])({TEXTS})={QUOTED}": lambda m: f"--{m[1].replace('_', '-')} {shlex.quote(m[2])}",
    r"(?<![/\w])(lead|members|seed|steps|batch_size|window|keep)=(\d+)": lambda m: (
        f"--{m[1].replace('_', '-')} {m[2]}"
    ),
    r"products=xef\.Products\(exceed=\[([^]]*)\]\)": lambda m: f"--exceed {m[1].replace(',', '')}",
    r"\bproducts=None": "the same without --with-members",
    r"ds\.drop_vars\(.*\), to keep (\w+)": r"--variable \1",
    r"fc\.earthformer\.exceedance\(\[([^]]*)\]\)": lambda m: f"--exceed {m[1].replace(',', '')}",
    r"fc\.earthformer\.quantiles\(\[([^]]*)\]\)": lambda m: f"--quantiles {m[1].replace(',', '')}",
    rf"fc\.earthformer\.accumulate\({QUOTED}\)": r"--accumulate \1",
    rf"\.earthformer\.exceedance\({QUOTED}\)": lambda m: f" --exceed {shlex.quote(m[1])}",
    r", anywhere=True": " --anywhere",
    r"xef\.list_packs\(\)": "xearthformer packs list",
}
PYTHON = re.compile(r"(da|data|ds|fc|np|obs|rain|xef|xr)( = |[.[])")  # how a line of it begins
# Which data, and options that had been given.
OPENED = r"""(?:"[^"]*"|\w+)(?:, (?:zr=\([^()]*\)|zero_below=[\d.]+))*"""
# The same of one command, where the option is.
OF_RADAR: Words = {
    rf"xef\.to_step\(\w+, {QUOTED}\)": r"--step \1",
    r"xef\.open_radar\([^()]*, zr=\(([\d.]+), ([\d.]+)\)\)": r"--zr \1 \2",
    # .inf, as YAML has it, which arguments are read as
    rf"xef\.open_radar\({OPENED}, missing=\(?([-\w., ]+)\)?\)": lambda m: (
        f"--missing {m[1].replace('np.', '.').replace(',', '')}"
    ),
    rf"xef\.open_radar\({OPENED}, zero_below=([\d.]+)\)": r"--zero-below \1",
    rf"xef\.open_radar\({OPENED}, on_error=\"skip\"\)": "--skip-broken",
}
COMMAND_TO_SHELL: dict[str, Words] = {
    "packs": {r"\boverwrite=True": "--overwrite"},
    "forecast": OF_RADAR,
    "hindcast": OF_RADAR,
    "watch": OF_RADAR,
    "verify": {
        **OF_RADAR,
        r"\b(square|surroundings)=(\d+)": r"--\1 \2",
        r"\bknown=None": "the same without --known",
        r"\bknown=([\d.]+)": r"--known \1",
        r"\bmethod=\"extrapolation\"": "--packs pysteps",
        rf"\bmethod={QUOTED}(?:, (?:or )?members=None)?": r"--packs \1",
        r"\b(scores|packs)=\[([^]]*)\]": lambda m: (
            f"--{m[1]} {shlex.join(re.findall(QUOTED, m[2]))}"
        ),
        r"\bconfidence=([\d.]+)": r"--confidence \1",
        r"\bby=xef\.(\w+)(?:, or labels as a DataArray \(init,\))?": r"--by \1",
        r'\breference="([^"]+)"': lambda m: f"--reference {shlex.quote(m[1])}",
    },
}

# A training's arguments are entries of its file, and overrides in YAML.
PYTHON_TO_YAML: Words = {
    rf"^{PERIOD}": r"anomaly: [\1, \2], in the section data",
    r"(?<![\w.])(size|stride|beyond|checks|least)=": r"crop.\1=",
    r"=\(start, end\)": "='[START, END]'",
    r"^(\w+)=None": r"\1=null",
    r"\bstart=None": "start=null",
    r'train\("([\w-]+)", \.\.\.\)': r"model.name=\1",
    r"^data=data\[0\], extra=\(\), or": "one entry of data and no extra, or",
}


def in_shell(hint: str, command: str = "") -> str:
    """Return a hint in the words of the command line.

    >>> in_shell('da.earthformer.anomaly(climatology=("1981", "2010")), of the absolute values')
    '--anomaly 1981 2010, of the absolute values'
    >>> in_shell('window="16 km", or a number of pixels'), in_shell("lead=3 or more")
    ("--window '16 km', or a number of pixels", '--lead 3 or more')
    >>> in_shell('("1990", "1999")'), in_shell("thresholds=[0.5, 1, 5]")
    ('--anomaly 1990 1999', '--thresholds 0.5 1 5')
    >>> in_shell('xef.to_step(da, "5min")', "verify"), in_shell("stage=None", "train")
    ('--step 5min', 'stage=null')
    >>> in_shell("init=slice('1990', '2001', 12)"), in_shell("init=slice('1990', None)")
    ('--init 1990/2001/12', '--init 1990/')
    >>> in_shell('init="2000-01-01 00:05:00"')
    "--init '2000-01-01 00:05:00'"

    What only Python can do is said to be that:

    >>> in_shell("da.where(da > -5), for land that is NaN")
    "in Python, on the file's data: da.where(da > -5), for land that is NaN"
    """
    table = COMMAND_TO_SHELL.get(command, {}) | PYTHON_TO_SHELL
    for pattern, words in (PYTHON_TO_YAML if command == "train" else table).items():
        hint = re.sub(pattern, words, hint)
    return f"in Python, on the file's data: {hint}" if PYTHON.match(hint) else hint

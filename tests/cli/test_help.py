"""Help ends with examples that can be typed, and the tab key completes what there is."""

import shlex
import shutil
import subprocess

import pytest

import xearthformer as xef
from xearthformer.cli import COMMANDS, main, parser
from xearthformer.cli.help import EXAMPLES, SHELLS

NAMES = [
    f"{name} {action}".strip()
    for name, command in COMMANDS.items()
    for action in (command if isinstance(command, dict) else [""])
]


def printed(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", NAMES)
def test_help_ends_with_examples(command, capsys):
    lines = printed(capsys, *command.split(), "--help").splitlines()
    assert lines[-len(EXAMPLES[command]) :] == [f"  {line}" for line in EXAMPLES[command]]


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_can_be_typed(line):
    program, *words = shlex.split(line)
    assert program == "xearthformer" and len(line) <= 98  # of a page's 100 columns
    assert parser().parse_args(words)["command"] == words[0]


def test_the_parser_of_a_command_has_its_options_alone():
    words = ["forecast", "a.nc", "--pack", "lim", "-o", "b.nc"]
    assert parser(words).parse_args(words)["forecast"]["pack"] == "lim"
    of_another = parser(["packs", "list"])
    assert "forecast" in of_another.format_help()  # by its name
    with pytest.raises(SystemExit):
        of_another.parse_args(words)


def test_examples_are_of_commands():
    assert sorted(EXAMPLES) == sorted(NAMES)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell, capsys):
    pytest.importorskip("shtab")
    script = printed(capsys, "--print-completion", shell)
    assert "--batch-size" in script and "nowcast-radar" in script
    assert "(null)" not in script  # the one word that zsh and tcsh would type after --lead
    assert shell != "zsh" or '"*:any file that xarray opens' in script  # each of several
    assert shell != "tcsh" or script.rstrip().endswith("'p/*/f/'")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_reads_its_script(shell, capsys, tmp_path):
    pytest.importorskip("shtab")
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    (tmp_path / "completion").write_text(printed(capsys, "--print-completion", shell))
    done = subprocess.run([shell, "-n", tmp_path / "completion"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_options_packs_and_files(capsys, tmp_path):
    pytest.importorskip("shtab")
    (tmp_path / "completion").write_text(printed(capsys, "--print-completion", "bash"))
    (tmp_path / "sst.nc").touch()
    typed = ["packs show enso", "forecast ss", "hindcast a.nc --prec", "forecast --precision b"]
    ask = "\n".join(
        f"COMP_WORDS=(xearthformer {words}); COMP_CWORD={len(words.split())}\n"
        'COMPREPLY=(); _shtab_xearthformer; echo "${COMPREPLY[@]}"'
        for words in typed
    )
    done = subprocess.run(
        ["bash", "-c", f"source ./completion\n{ask}"], cwd=tmp_path, capture_output=True, text=True
    )
    packs = [name for name in xef.list_packs() if name.startswith("enso")]
    assert done.stdout.splitlines() == [" ".join(packs), "sst.nc", "--precision", "bf16"]

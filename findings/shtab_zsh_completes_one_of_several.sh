#!/usr/bin/env bash
# In zsh, shtab completes the first of several files, and the first of several values, alone.
#
# shtab 1.13.0, Python 3.11, Linux; zsh 5.9.
#
# `nargs="+"` and `nargs="*"` are argparse's words for "one or more" and "any number", so a good guess is
# that a script of shtab's completes each of them. In the specifications of zsh's `_arguments` that is
# `*:message:action`, or for an option `*` before its name or a message for each value. shtab writes
# `(*):message:action`: there `(*)` is the list of what this argument excludes, and the rest is the
# specification of one argument, so that nothing is completed after the first file. An option with
# `nargs="+"` gets the message of one value; its second is completed as if it were the first positional.
# The script for bash completes all of them.
#
# Output seen:
#     "(*):files:_files"
#     "--names[names]:names:(a b)"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q shtab==1.13.0
venv/bin/python - <<'PY' | tee seen
import argparse

import shtab

parser = argparse.ArgumentParser("tool")
parser.add_argument("files", nargs="+").complete = shtab.FILE
parser.add_argument("--names", nargs="+", choices=["a", "b"], help="names")
for line in reversed(shtab.complete(parser, "zsh").splitlines()):
    if ":files:" in line or ":names:" in line:
        print(line.strip())
PY
grep -qxF '"(*):files:_files"' seen && grep -qxF '"--names[names]:names:(a b)"' seen ||
    { echo "it has changed"; exit 1; }

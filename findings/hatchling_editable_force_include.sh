#!/usr/bin/env bash
# An editable install by hatchling copies what `force-include` names to where nothing finds it.
#
# hatchling 1.33.0, pip 26.3, Python 3.11, Linux.
#
# A project keeps a folder `tables/` beside its package and has hatchling put it inside the package
# in the wheel:
#
#     [tool.hatch.build.targets.wheel.force-include]
#     "tables" = "demo/tables"
#
# From a wheel, importlib.resources finds demo/tables. A good guess is that an editable install
# either links the folder too or leaves it out. It does neither: it *copies* the folder to
# site-packages/demo/tables, while the package itself is imported from the checkout, through a .pth
# file. So site-packages holds a folder `demo` without an __init__.py, which the regular package of
# the same name hides: the copy is installed, listed in RECORD, stale as soon as the checkout is
# edited, and out of reach of importlib.resources.
#
# Output seen (found by importlib.resources, copied to site-packages, what the copy says after an edit):
#     wheel:    True True first
#     editable: False True first
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p project/demo project/tables
echo '"""A package."""' > project/demo/__init__.py
echo 'first' > project/tables/table.txt
cat > project/pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling==1.33.0"]
build-backend = "hatchling.build"
[project]
name = "demo"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["demo"]
[tool.hatch.build.targets.wheel.force-include]
"tables" = "demo/tables"
TOML
cat > look.py <<'PY'
import importlib.resources as r
import pathlib
import sysconfig

copy = pathlib.Path(sysconfig.get_path("purelib")) / "demo" / "tables" / "table.txt"
found = r.files("demo").joinpath("tables", "table.txt").is_file()
print(found, copy.is_file(), copy.is_file() and copy.read_text().strip())
PY
for kind in wheel editable; do
  python3 -m venv "$kind"
  "$kind/bin/pip" install -q pip==26.3
  if [ "$kind" = wheel ]; then "$kind/bin/pip" install -q ./project; else "$kind/bin/pip" install -q -e ./project; fi
done
echo 'second' > project/tables/table.txt
wheel=$(wheel/bin/python look.py)
editable=$(editable/bin/python look.py)
echo "wheel:    $wheel"
echo "editable: $editable"
[ "$wheel" = "True True first" ] || { echo "a wheel no longer holds the folder where it is found"; exit 1; }
[ "$editable" = "False True first" ] || { echo "an editable install treats the folder otherwise now"; exit 1; }

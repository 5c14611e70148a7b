#!/usr/bin/env bash
# The ecCodes wheel and pyproj: imported in one order, pyproj knows no projection by its code.
#
# eccodes 2.50.0 (eccodeslib 2.50.0.33), pyproj 3.7.2, Python 3.11, Linux.
#
# Who opens GRIB with cfgrib has the ecCodes wheel, and who has projections has pyproj; each wheel
# brings a PROJ of its own. A good guess is that two wheels don't see each other's libraries. They
# do: after `import eccodes`, which xarray itself makes when it looks for an engine and finds cfgrib,
# pyproj comes up without its database: it warns that it can't set the database's path, and every
# EPSG code is an error ("no database context specified"). With pyproj imported first all is well.
#
# Output seen:
#     pyproj first: ETRS89 / TM35FIN(E,N)
#     eccodes first: CRSError
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q pyproj==3.7.2 eccodes==2.50.0 eccodeslib==2.50.0.33
cat > look.py <<'PY'
import os
import sys
import warnings

warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    __import__(name)
import pyproj

try:
    print(f"{sys.argv[1]} first:", pyproj.CRS("EPSG:3067").name, flush=True)
except pyproj.exceptions.CRSError as error:
    print(f"{sys.argv[1]} first:", type(error).__name__, flush=True)
os._exit(0)
PY
{ venv/bin/python look.py pyproj eccodes; venv/bin/python look.py eccodes pyproj; } | tee seen
cat > expected <<'TXT'
pyproj first: ETRS89 / TM35FIN(E,N)
eccodes first: CRSError
TXT
diff expected seen

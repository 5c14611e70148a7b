#!/usr/bin/env bash
# Two packages that register one engine name with xarray: which one opens a file is chance.
#
# xarray 2026.9.0, Python 3.11, Linux.
#
# xradar registers the engine `odim` (radar volumes). Another package that reads other ODIM files
# (composites) might register `odim` too. A good guess is that xarray refuses, takes the one that
# was installed first, or asks both `guess_can_open`. It does neither: it warns, and takes the first
# of `list(set(entry_points))`, in the order of the hashes of strings, which Python draws anew for
# each process. So the same script, on the same machine, opens the file by one package today and by
# the other tomorrow. The warning names the one that was drawn; with PYTHONHASHSEED fixed it stays.
#
# Output seen (which of two packages opened the file, of 16 processes):
#     one 9
#     two 7
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q xarray==2026.9.0
site=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for name in one two; do
  cat > "$site/$name.py" <<PY
import xarray as xr


class Backend(xr.backends.BackendEntrypoint):
    def open_dataset(self, filename_or_obj, *, drop_variables=None):
        return xr.Dataset(attrs={"by": "$name"})
PY
  info="$site/$name-1.dist-info"
  mkdir "$info"
  printf 'Metadata-Version: 2.1\nName: %s\nVersion: 1\n' "$name" > "$info/METADATA"
  printf '[xarray.backends]\nradar = %s:Backend\n' "$name" > "$info/entry_points.txt"
done
for seed in $(seq 7 22); do
  PYTHONHASHSEED=$seed venv/bin/python -W ignore -c \
    'import xarray as xr; print(xr.open_dataset("file", engine="radar").attrs["by"])'
done | sort | uniq -c | awk '{print $2, $1}' | tee seen
[ "$(wc -l < seen)" = 2 ] || { echo "one of the two is always taken"; exit 1; }

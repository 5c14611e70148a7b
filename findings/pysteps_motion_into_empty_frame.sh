#!/usr/bin/env bash
# pysteps' Lucas-Kanade: showers are followed into a frame that is empty, even one of NaN.
#
# pysteps 1.21.5, opencv-python-headless 5.0.0.93, numpy 2.4.6, Python 3.11, Linux.
#
# dense_lucaskanade pools the vectors of every pair of frames, masks NaN, and leaves out a pair in
# which it finds no features. So a good guess is that a frame without rain (a radar that failed, and
# reports "no echo" or nothing) costs vectors and nothing else: the pair that begins with it has no
# features. But the pair that ends with it has: those of the frame before, which are tracked into
# nothing, and what the tracker returns for them, up to half the domain away, counts as motion. A
# whole frame of NaN is filled for the tracker, and does the same. What is left of it once outliers
# are taken out turns the motion of the whole domain, and nothing warns. Without the frame, the pairs
# that are left give the right motion.
#
# Below, twelve showers move 3 pixels a frame along x and 0 along y, for four frames of which the last
# but one is lost. Output seen (longest vector in pixels, then the median motion along x and y; of all
# frames, with a dry one, with one of NaN, of the first two alone):
#     all 6.0, 3.1 0.0; dry 49.8, 2.6 -1.1; nan 49.8, 2.6 -1.1; first two 3.7, 3.1 0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q pysteps==1.21.5 opencv-python-headless==5.0.0.93 numpy==2.4.6
cat > look.py <<'PY'
import contextlib
import io
import warnings

import numpy as np

warnings.simplefilter("ignore")
with contextlib.redirect_stdout(io.StringIO()):
    from pysteps.motion.lucaskanade import dense_lucaskanade as motion

rng = np.random.default_rng(0)
y, x = np.mgrid[:96, :96]
where = rng.uniform(10, 86, (12, 2))
rain = np.array(
    [sum(8 * np.exp(-((y - a) ** 2 + (x - b - 3 * t) ** 2) / 40) for a, b in where) for t in range(4)]
)
frames = np.where(rain < 0.1, -15, 10 * np.log10(np.maximum(rain, 0.1)))
dry, nan = frames.copy(), frames.copy()
dry[-2], nan[-2] = -15, np.nan
seen = []
for name, given in (("all", frames), ("dry", dry), ("nan", nan), ("first two", frames[:2])):
    longest = np.hypot(*motion(given, dense=False)[1].T).max()
    along_x, along_y = (round(float(np.median(each)), 1) + 0.0 for each in motion(given))
    seen.append(f"{name} {longest:.1f}, {along_x} {along_y}")
print("; ".join(seen))
PY
v/bin/python look.py | tee seen
cat > expected <<'TXT'
all 6.0, 3.1 0.0; dry 49.8, 2.6 -1.1; nan 49.8, 2.6 -1.1; first two 3.7, 3.1 0.0
TXT
diff expected seen || { echo "it is another now"; exit 1; }

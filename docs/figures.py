"""The figures beside the gallery: those of "How it works", and those that Start's code draws.

python docs/figures.py FOLDER
python docs/figures.py docs/_static front    # the picture of the README, which is committed
"""

import contextlib
import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
INK, PALE, ACCENT = "#333333", "#dfe8f1", "#c0392b"


def cuboids() -> Figure:
    """Which elements attend to one another: three frames of 8 x 8, one colour per cuboid."""
    import torch

    from xearthformer.models.layers.cuboid import Cuboid

    shape = 3, 8, 8
    cuts = {
        "local\n1 x 4 x 4": Cuboid((1, 4, 4)),
        "shifted\nby 2 x 2": Cuboid((1, 4, 4), shift=(0, 2, 2)),
        "dilated\n1 x 4 x 4": Cuboid((1, 4, 4), "ddd"),
        "axial: time\n3 x 1 x 1": Cuboid((3, 1, 1)),
        "axial: height\n1 x 8 x 1": Cuboid((1, 8, 1)),
        "axial: width\n1 x 1 x 8": Cuboid((1, 1, 8)),
    }
    fig, axes = plt.subplots(3, len(cuts), figsize=(11, 5.6), layout="constrained")
    place = torch.arange(float(np.prod(shape))).reshape(1, *shape, 1)
    for column, (name, cuboid) in zip(axes.T, cuts.items(), strict=True):
        grid = cuboid.on(shape)
        owner = np.empty(shape).ravel()
        for m, members in enumerate(grid.cut(place)[0, :, :, 0].long().numpy()):
            owner[members] = m
        for t, ax in enumerate(column):
            colours = "tab20" if owner.max() < 24 else "nipy_spectral"
            ax.imshow(owner.reshape(shape)[t], cmap=colours, vmin=0, vmax=owner.max())
            ax.set(xticks=np.arange(8) - 0.5, yticks=np.arange(8) - 0.5)
            ax.tick_params(labelbottom=False, labelleft=False, length=0)
            ax.grid(color="white", linewidth=0.8)
        column[0].set_title(name, fontsize=11)
    for t, ax in enumerate(axes[:, 0]):
        ax.set_ylabel(f"frame {t + 1}")
    return fig


def global_vectors() -> Figure:
    """Four cuboids that don't see one another, and a global vector that all of them do."""
    fig, ax = _blank(9, 3.2)
    for k in range(4):
        _box(ax, 1 + 2.3 * k, 0.2, 1.7, 0.9, f"cuboid {k + 1}\nattends within")
        x = 1.85 + 2.3 * k
        ax.annotate("", (x, 1.2), (5.3, 2.3), arrowprops={"arrowstyle": "<->", "color": ACCENT})
    _box(ax, 4.0, 2.3, 2.6, 0.7, "global vectors G", colour="#f6dedb")
    ax.set(xlim=(0.8, 9.9), ylim=(0, 3.1))
    return fig


def hierarchy() -> Figure:
    """The encoder goes down, the decoder comes up and reads the memory of each level."""
    fig, ax = _blank(9, 4)
    left = [
        ("frames in", 0, 3.2),
        ("stem, coarser", 0.5, 2.4),
        ("cuboid self-attention", 1.0, 1.6),
        ("the same, half the grid,\ntwice the channels", 1.5, 0.6),
    ]
    right = [
        ("frames out", 7, 3.2),
        ("stem, mirrored", 6.5, 2.4),
        ("cuboid cross-attention", 6.0, 1.6),
        ("the same,\ncoarsest first", 5.5, 0.6),
    ]
    for boxes in (left, right):
        for text, x, y in boxes:
            _box(ax, x, y, 2.2, 0.62, text)
        going = pairs(boxes) if boxes is left else pairs(boxes[::-1])
        for (_, x0, y0), (_, x1, y1) in going:
            down = y1 < y0
            start, end = (
                (x0 + 1.1, y0 + (0 if down else 0.62)),
                (x1 + 1.1, y1 + (0.62 if down else 0)),
            )
            ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK})
    for (_, x0, y0), (_, x1, _) in list(zip(left, right, strict=True))[2:]:
        ax.annotate(
            "",
            (x1, y0 + 0.31),
            (x0 + 2.2, y0 + 0.31),
            arrowprops={"arrowstyle": "->", "color": ACCENT},
        )
        ax.text((x0 + 2.2 + x1) / 2, y0 + 0.38, "memory", ha="center", color=ACCENT, fontsize=9)
    ax.set(xlim=(-0.1, 9.3), ylim=(0.4, 4))
    return fig


def front() -> Figure:
    """What the package does, at a glance: a plume of El Niño, and an hour of rain."""
    import xearthformer as xef

    sst = xef.synthetic_sst(years=50, start="1960-01")["sst"]
    ssta = sst.earthformer.anomaly(climatology=("1970", "1999"))
    fc = ssta.earthformer.forecast("enso-ersst", members=50)
    rain = xef.synthetic_storms(seed=7, size=192)["rain_rate"].isel(event=5).load()
    hour = rain.earthformer.forecast("nowcast-radar", init=rain["time"].values[[12]])

    fig = plt.figure(figsize=(13, 5.6), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[1.3, 1])
    fc.earthformer.plot.plume(obs=ssta.sel(time=slice("2006", None)), ax=left.subplots())
    hour.earthformer.plot.frames(rain, lead=["15min", "30min", "60min"], figure=right)
    return fig


def pairs(items: list) -> list:
    return list(zip(items[:-1], items[1:], strict=True))


def diffusion() -> Figure:
    """A frame of rain on its way to noise, by the schedule of the published denoiser."""
    import xearthformer as xef
    from xearthformer.models.prediff.samplers import BETAS, STEPS

    rain = xef.synthetic_storms(seed=7, size=96)["rain_rate"].isel(event=5, time=12).values
    clean = np.log10(np.maximum(rain, 0.1))
    clean = (clean - clean.mean()) / clean.std()
    beta = np.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, STEPS) ** 2
    kept = np.cumprod(1 - beta)  # alpha bar
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    fig, axes = plt.subplots(1, 5, figsize=(10, 2.4), layout="constrained")
    for ax, t in zip(axes, (0, 100, 300, 600, 999), strict=True):
        frame = kept[t] ** 0.5 * clean + (1 - kept[t]) ** 0.5 * noise
        ax.imshow(frame, origin="lower", cmap="Blues", vmin=-1.5, vmax=2.5)
        ax.set(xticks=[], yticks=[], title=f"t = {t}")
    return fig


def palindrome() -> Figure:
    """The way of the data: each step in has its inverse out."""
    fig, ax = _blank(10, 2.6)
    way_in = "your\narray", "units,\norder", "pack's\ngrid", "scaled", "tensor"
    way_out = "labelled\nforecast", "your units,\nyour order", "your\ngrid", "in units", "tensor"
    for y, words in ((1.5, way_in), (0, way_out)):
        for k, text in enumerate(words):
            _box(ax, 1.8 * k, y, 1.35, 0.8, text)
            if k:
                ends = (1.8 * k, y + 0.4), (1.8 * k - 0.45, y + 0.4)
                end, start = ends if y else ends[::-1]
                ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK})
    _box(ax, 9.0, 0.75, 1.35, 0.8, "model", colour="#f6dedb")
    style = {"arrowstyle": "->", "color": ACCENT}
    ax.annotate("", (9.3, 1.6), (8.6, 1.9), arrowprops=style)
    ax.annotate("", (8.6, 0.4), (9.3, 0.7), arrowprops=style)
    ax.set(xlim=(-0.1, 10.5), ylim=(-0.1, 2.4))
    return fig


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    fig, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.set_axis_off()
    return fig, ax


def _box(
    ax: Axes, x: float, y: float, width: float, height: float, text: str, colour: str = PALE
) -> None:
    ax.add_patch(
        plt.Rectangle((x, y), width, height, facecolor=colour, edgecolor=INK, linewidth=0.8)
    )
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9, color=INK)


FIGURES: tuple[Callable[[], Figure], ...] = (
    cuboids,
    global_vectors,
    hierarchy,
    diffusion,
    palindrome,
)


def run_page(page: Path, folder: Path) -> None:
    """Run the Python of a page in a folder, which gets the pictures that the code saves."""
    code = "\n".join(
        re.findall(r"^```python\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE)
    )
    with contextlib.chdir(folder):
        exec(compile(code, str(page), "exec"), {})


def draw(figure: Callable[[], Figure], folder: Path) -> None:
    """Draw a figure into a folder, under its own name."""
    drawn = figure()
    drawn.savefig(folder / f"{figure.__name__}.png", dpi=110)
    plt.close(drawn)


def draw_all(folder: Path) -> None:
    """Draw every figure into a folder, unless it has been by the same code and the same Start."""
    folder.mkdir(exist_ok=True)
    start, stamp = HERE / "start.md", folder / ".drawn"
    code = hashlib.sha256(Path(__file__).read_bytes() + start.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == code:
        return
    for figure in FIGURES:
        draw(figure, folder)
    run_page(start, folder)
    stamp.write_text(code)


if __name__ == "__main__":
    if sys.argv[2:] == ["front"]:
        draw(front, Path(sys.argv[1]))
    else:
        draw_all(Path(sys.argv[1]))

"""The papers' tables: packs scored on SEVIR and on ICAR-ENSO as there, next to what they report.

Sums are kept event by event, or model by model, so that a whole test set needs no more memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from ..errors import mismatch
from ..fields.tiles import Axis, Tiles
from ..inference.engine import Progress, progress_bar
from ..inference.forecast import forecast
from ..packs.card import PixelGrid
from ..packs.pack import Pack, open_pack
from ..packs.published import ICAR_GRID, ICAR_SST_RANGE
from ..packs.scale import Scale
from ..verification.align import align, match_cells
from ..verification.base import Measure
from ..verification.deterministic import MOMENTS
from ..verification.enso import enso_pairs, icar_nino34, skill_of
from ..verification.scores import score
from ..verification.sums import sum_pairs
from ..verification.verify import SEVIR_THRESHOLDS, statistics

# Frames of an event, those in and out of a window, and between the windows of an event.
SEVIR_FRAMES, SEVIR_IN, SEVIR_OUT, SEVIR_STRIDE = 49, 13, 12, 12
SEVIR_STEP = np.timedelta64(300, "s")
ENSO_IN, ENSO_OUT = 12, 14  # months
SSIM_SIDE = 11  # pixels of the window of SSIM

COST = ["parameters (M)", "GFLOPs"]  # GFLOPs are multiply-adds of a forecast, as in the paper
SEVIR_COLUMNS = [*COST, "CSI-M", "CSI-219", "CSI-181", "MSE (1e-3)"]
ENSO_COLUMNS = [*COST, "C-Nino3.4-M", "C-Nino3.4-WM", "MSE (1e-4)"]
FRAME_COLUMNS = [*COST, "MSE (1e-3)", "MAE (1e-2)", "SSIM"]
DIGITS = {"parameters (M)": 1, "GFLOPs": 1, "MSE (1e-4)": 3}  # 4 in other columns
NAN = float("nan")

# Gao et al., Earthformer, NeurIPS 2022, on the test sets.
SEVIR_PAPER = {
    "Persistence": (NAN, NAN, 0.2613, 0.0526, 0.0969, 11.5338),
    "UNet": (16.6, 33, 0.3593, 0.0577, 0.1580, 4.1119),
    "ConvLSTM": (14.0, 527, 0.4185, 0.1288, 0.2482, 3.7532),
    "PredRNN": (46.6, 328, 0.4080, 0.1312, 0.2324, 3.9014),
    "PhyDNet": (13.7, 701, 0.3940, 0.1288, 0.2309, 4.8165),
    "E3D-LSTM": (35.6, 523, 0.4038, 0.1239, 0.2270, 4.1702),
    "Rainformer": (184.0, 170, 0.3661, 0.0831, 0.1670, 4.0272),
    "Earthformer w/o global": (13.1, 257, 0.4356, 0.1572, 0.2716, 3.7002),
    "Earthformer": (15.1, 257, 0.4419, 0.1791, 0.2848, 3.6957),
}
ENSO_PAPER = {
    "Persistence": (NAN, NAN, 0.3221, 0.447, 4.581),
    "UNet": (12.1, 0.4, 0.6926, 2.102, 2.868),
    "ConvLSTM": (14.0, 11.1, 0.6955, 2.107, 2.657),
    "PredRNN": (23.8, 85.8, 0.6492, 1.910, 3.044),
    "PhyDNet": (3.1, 5.7, 0.6646, 1.965, 2.708),
    "E3D-LSTM": (12.9, 99.8, 0.7040, 2.125, 3.095),
    "Rainformer": (19.2, 1.3, 0.7106, 2.153, 3.043),
    "Earthformer w/o global": (6.6, 23.6, 0.7239, 2.214, 2.550),
    "Earthformer": (7.6, 23.9, 0.7329, 2.259, 2.546),
}


def sevir_table(
    events: xr.DataArray, packs: Sequence[str], device: str = "auto", progress: Progress = "auto"
) -> pd.DataFrame:
    """Score packs on SEVIR: three windows per event, 13 frames in and 12 out.

    Parameters
    ----------
    events : DataArray (event, time, y, x)
        VIL in 0..255, 49 frames per event, as `open_sevir(split="test")["vil"]` gives it; read one
        event at a time.
    packs, device, progress
        As in `enso_table`.

    Returns
    -------
    DataFrame
        One row per pack, then those of the paper: parameters, multiply-adds of a forecast, CSI of
        everything pooled (mean over the six thresholds, at 219, at 181), and mean square error of
        VIL / 255. NaN where there is none.

    Raises
    ------
    ValueError
        Other dims, or another number of frames; data that a pack cannot serve.
    """
    if events.dims[:2] != ("event", "time") or events.sizes["time"] != SEVIR_FRAMES:
        raise mismatch(
            f"events (event, time, y, x) of {SEVIR_FRAMES} frames",
            str(dict(events.sizes)),
            'xef.open_sevir(root, split="test")["vil"]',
        )
    opened = open_packs(packs, SEVIR_IN)
    # One clock for all: the frames of some events are off the full five minutes.
    time = np.datetime64("2019-06-01", "s") + np.arange(SEVIR_FRAMES) * SEVIR_STEP
    inits = list(time[SEVIR_IN - 1 : SEVIR_FRAMES - SEVIR_OUT : SEVIR_STRIDE])
    totals: dict[str, xr.Dataset] = {}
    for event in _one_by_one(events.drop_vars("time", errors="ignore"), progress):
        frames = event.assign_coords(time=time).load()
        for name, pack in opened.items():
            fc = forecast(frames, pack, init=inits, lead=SEVIR_OUT, device=device, progress=False)
            sums = statistics(fc, frames, ["mse", "csi"], thresholds=SEVIR_THRESHOLDS).sum("init")
            sums = sums.drop_vars([*sums.coords.keys() - {"threshold"}])
            totals[name] = totals[name] + sums if name in totals else sums
    rows = {}
    for name, total in totals.items():
        scores = score(total)
        csi = [scores["csi_pooled"].sel(threshold=at).item() for at in (219, 181)]
        mse = scores["mse_pooled"].item() / 255**2
        price = cost(opened[name], events.shape[-2:], SEVIR_OUT)
        rows[name] = (*price, scores["csi_m_pooled"].item(), *csi, mse * 1e3)
    return _with_paper(rows, SEVIR_PAPER, SEVIR_COLUMNS)


def enso_table(
    simulations: xr.DataArray,
    packs: Sequence[str],
    device: str = "auto",
    progress: Progress = "auto",
) -> pd.DataFrame:
    """Score packs on ICAR-ENSO: the forecasts from every month, 12 months in and 14 out.

    Parameters
    ----------
    simulations : DataArray (model, time, lat, lon)
        Monthly SST anomaly on the 5-degree grid or more of it, as `open_icar_enso` gives it; read
        one model at a time. A month that a model does not have is missing in all cells.
    packs : sequence of str
        Anything that `open_pack` opens.
    device, progress
        As in `xearthformer.compare`.

    Returns
    -------
    DataFrame
        One row per pack, then those of the paper: parameters, multiply-adds of a forecast, the mean
        correlation of Nino3.4 and its weighted mean (see `enso_skill`), and the mean square error
        of the scaled anomaly, over the cells that a pack forecasts.

    Raises
    ------
    ValueError
        Other dims, another grid; data that a pack cannot serve.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import xearthformer as xef
    >>> coords = {
    ...     "model": ["noise"],
    ...     "time": xr.date_range("2000-01", periods=40, freq="MS"),
    ...     "lat": np.arange(-55.0, 61.0, 5.0),
    ...     "lon": np.arange(0.0, 360.0, 5.0),
    ... }
    >>> values = np.random.default_rng(0).normal(size=(1, 40, 24, 72)).astype("f4")
    >>> attrs = {"standard_name": "sea_surface_temperature", "units": "degC"}
    >>> attrs["units_metadata"] = "temperature: difference"
    >>> simulations = xr.DataArray(values, coords, name="sst", attrs=attrs)
    >>> table = xef.enso_table(simulations, ["persistence"])
    >>> table.index[[0, 1]].tolist(), table.columns[-1]
    ([('here', 'persistence'), ('paper', 'Persistence')], 'MSE (1e-4)')
    """
    if simulations.dims != ("model", "time", "lat", "lon"):
        raise mismatch(
            "simulations (model, time, lat, lon)",
            str(simulations.dims),
            'xef.open_icar_enso(folder)["sst"]',
        )
    opened = open_packs(packs, ENSO_IN)
    records = (
        on_icar_grid(model).dropna("time", how="all")
        for model in _one_by_one(simulations, progress)
    )
    rows = {
        name: (*cost(opened[name], ICAR_GRID.shape, ENSO_OUT), *scores)
        for name, scores in enso_scores(records, opened, device).items()
    }
    return _with_paper(rows, ENSO_PAPER, ENSO_COLUMNS)


def enso_scores(
    records: Iterable[xr.DataArray], packs: Mapping[str, Pack], device: str = "auto"
) -> dict[str, tuple[float, float, float]]:
    """Return C-Nino3.4-M, C-Nino3.4-WM and MSE (1e-4) of packs, from every month of records.

    Parameters
    ----------
    records : iterable of DataArray (time, lat, lon)
        Monthly SST anomaly on the 5-degree grid of the benchmark, used one at a time.
    packs : mapping of names to Packs
        That need 12 months of context at most.
    device : str
        Where packs run.
    """
    pairs: dict[str, list[xr.Dataset]] = {name: [] for name in packs}
    errors = {name: np.zeros(2) for name in packs}  # squares, weights
    for sst in records:
        inits = list(sst["time"].values[ENSO_IN - 1 : -ENSO_OUT])
        for name, pack in packs.items():
            fc = forecast(sst, pack, init=inits, lead=ENSO_OUT, device=device, progress=False)
            pairs[name].append(enso_pairs(icar_nino34(fc), icar_nino34(sst)))
            sums = sum_pairs(*align(fc, sst), Measure((MOMENTS,)))  # every cell counts the same
            errors[name] += sums["ee"].sum().item(), sums["weight"].sum().item()
    sst_range = ICAR_SST_RANGE[1] - ICAR_SST_RANGE[0]
    scores = {}
    for name, (squares, weights) in errors.items():
        skill = skill_of(xr.concat(pairs[name], "init", coords="minimal", compat="override"))
        means = skill["correlation_mean"].item(), skill["correlation_weighted_mean"].item()
        scores[name] = (*means, float(squares / weights) / sst_range**2 * 1e4)
    return scores


def frame_scores(
    records: Sequence[xr.DataArray],
    packs: Mapping[str, Pack],
    context: int,
    lead: int,
    scale: Scale,
    device: str = "auto",
) -> dict[str, tuple[float, float, float]]:
    """Return MSE (1e-3), MAE (1e-2) and SSIM of packs, over all forecasts from records.

    Parameters
    ----------
    records : sequence of DataArray (time, y, x)
        Without missing values, 11 pixels or more along a side.
    packs : mapping of names to Packs
    context, lead : int
        Number of frames before a forecast, as many as any pack needs, and of frames forecast.
    scale : Scale
        The errors are those of scaled values. SSIM is torchmetrics' (Gaussian window of 11 pixels),
        its dynamic range that of all observations; a mean over frames.
    device : str
        Where packs run.

    Raises
    ------
    ValueError
        Missing values; smaller frames.
    ImportError
        torchmetrics is not installed.
    """
    ssim = check_frames(records)
    scaled = [scale.apply(record.to_numpy().astype("f4")) for record in records]
    data_range = float(max(x.max() for x in scaled) - min(x.min() for x in scaled))
    sums = {name: np.zeros(4) for name in packs}  # squares, absolute errors, similarities, frames
    for record, x_TYX in zip(records, scaled, strict=True):
        inits = list(record["time"].values[context - 1 : -lead])
        targets = np.arange(len(inits))[:, None] + context + np.arange(lead)  # (init, lead)
        y_NYX = torch.from_numpy(x_TYX[targets]).flatten(0, 1)  # N = init x lead
        for name, pack in packs.items():
            fc = forecast(record, pack, init=inits, lead=lead, device=device, progress=False)
            values = scale.apply(fc.transpose("init", "lead", *record.dims[1:]).to_numpy())
            v_NYX = torch.from_numpy(values.astype("f4")).flatten(0, 1)
            errors = (v_NYX - y_NYX).double()
            images = v_NYX[:, None], y_NYX[:, None]  # one channel
            similar_N = ssim(*images, data_range=data_range, reduction="none").double()
            squares, absolutes = errors.square().sum().item(), errors.abs().sum().item()
            sums[name] += squares, absolutes, similar_N.sum().item(), similar_N.numel()
    pixels = y_NYX[0].numel()
    return {
        name: (squares / n / pixels * 1e3, absolutes / n / pixels * 1e2, similar / n)
        for name, (squares, absolutes, similar, n) in sums.items()
    }


def check_frames(records: Sequence[xr.DataArray]) -> Callable[..., torch.Tensor]:
    """Check that `frame_scores` can score records; return torchmetrics' SSIM."""
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise ImportError(
            "SSIM needs torchmetrics, which isn't installed: pip install 'xearthformer[train]'"
        ) from error
    for record in records:
        missing, (height, width) = int(record.isnull().sum()), record.shape[1:]
        if missing:
            raise mismatch("frames without missing values", f"{missing} missing", "da.fillna(...)")
        if min(height, width) < SSIM_SIDE:
            expected = f"frames of {SSIM_SIDE} pixels a side or more"
            raise mismatch(expected, f"{height} x {width}", "larger frames")
    return structural_similarity_index_measure


def text(table: pd.DataFrame) -> str:
    """Return a table to print, with a dash where there is no number."""
    formats = {name: f"{{:.{DIGITS.get(name, 4)}f}}".format for name in table}
    return table.to_string(na_rep="-", formatters=formats)


def open_packs(packs: Sequence[str], context: int) -> dict[str, Pack]:
    """Return packs by name; an error for none, or for one that needs more frames of context."""
    opened = {name: open_pack(name) for name in packs}
    for name, pack in opened.items():
        if pack.card.context > context:
            raise mismatch(
                f"packs that need {context} frames at most, as a forecast is given",
                f"{name}, which needs {pack.card.context}",
                "another pack",
            )
    if not opened:
        raise mismatch("packs to score", "none", 'packs=["persistence"]')
    return opened


def on_icar_grid(sst: xr.DataArray) -> xr.DataArray:
    """Return the benchmark's cells, of the whole 5-degree grid or of these alone, in memory."""
    cells = xr.Dataset(coords={"lat": ICAR_GRID.latitude, "lon": ICAR_GRID.longitude})
    try:
        sst = match_cells(cells, match_cells(cells, sst, "lat"), "lon")
    except ValueError as error:
        raise mismatch(
            "the 5-degree grid of ICAR-ENSO, 55S to 60N and 95E to 330E",
            f"lat {sst['lat'].values[[0, -1]]}, lon {sst['lon'].values[[0, -1]]}",
            'xef.open_icar_enso(folder)["sst"]',
        ) from error
    # In C order however they were selected: the order of memory is that of sums, to the last bit.
    return sst.copy(data=np.ascontiguousarray(sst.to_numpy()))


def cost(pack: Pack, shape: tuple[int, ...], lead: int) -> tuple[float, float]:
    """Return millions of parameters, and 1e9 multiply-adds of a forecast; NaN if none are learned.

    `shape` is that of the data, which a pack of pixels covers in tiles.
    """
    card, model = pack.card, pack.model()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not parameters:
        return NAN, NAN
    height, width = card.grid.shape if card.grid else shape
    runs = -(-lead // card.lead)  # rounded up: the model reads its own output
    if isinstance(card.grid, PixelGrid):
        runs *= len(Tiles(Axis(shape[0], height), Axis(shape[1], width)))
    with FlopCounterMode(display=False) as counter:
        model.predict(torch.zeros(1, card.context, height, width, 1))
    return parameters / 1e6, runs * counter.get_total_flops() / 2e9  # a multiply-add is two


def _one_by_one(data: xr.DataArray, progress: Progress) -> Iterator[xr.DataArray]:
    """Yield the parts of data along its first dim, and show how many are through."""
    dim = data.dims[0]
    with progress_bar(data.sizes[dim], str(dim), progress) as bar:
        for i in range(data.sizes[dim]):
            yield data.isel({dim: i})
            bar.update()


def _with_paper(
    rows: Mapping[str, tuple[float, ...]],
    paper: Mapping[str, tuple[float, ...]],
    columns: list[str],
) -> pd.DataFrame:
    """Return rows computed here above those of the paper."""
    keys = [("here", name) for name in rows] + [("paper", name) for name in paper]
    index = pd.MultiIndex.from_tuples(keys, names=["results", "model"])
    return pd.DataFrame([*rows.values(), *paper.values()], index, columns)

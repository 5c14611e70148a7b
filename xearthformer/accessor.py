"""`da.earthformer` and `ds.earthformer`: doors to functions that stand on their own."""

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from .fields.windows import InitLike
    from .inference.engine import Precision, Progress
    from .inference.guidance import Guidance
    from .models.prediff.samplers import Sampler
    from .packs.pack import Pack

T = TypeVar("T", xr.Dataset, xr.DataArray)


class Plots:
    """Pictures of a forecast: `fc.earthformer.plot`; see `xearthformer.plots.maps`."""

    def __init__(self, obj: xr.Dataset | xr.DataArray) -> None:
        self._obj = obj

    def plume(
        self,
        obs: xr.Dataset | xr.DataArray | None = None,
        *,
        index: str = "nino3.4",
        quantiles: "Sequence[float] | None" = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """An index of every init over that of the observations: see `xearthformer.plots.maps.plume`."""
        from .climate import regions
        from .plots import maps as plot

        observed = None if obs is None else regions.index(plot.array(obs), index)
        found = regions.index(plot.array(self._obj), index)
        return plot.plume(found, observed, quantiles=quantiles, ax=ax)

    def field(
        self,
        obs: xr.Dataset | xr.DataArray | None = None,
        *,
        init: Any = None,
        lead: Any = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Maps of one init beside what was observed: see `xearthformer.plots.maps.field`."""
        from .plots import maps as plot

        observed = None if obs is None else plot.array(obs)
        return plot.field(plot.array(self._obj), observed, init=init, lead=lead, figure=figure)

    def frames(
        self,
        obs: xr.Dataset | xr.DataArray | None = None,
        *,
        init: Any = None,
        lead: Any = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Frames of a nowcast below those observed: see `xearthformer.plots.frames.frames`."""
        from .plots import frames as plot_nowcast
        from .plots import maps as plot

        observed = None if obs is None else plot.array(obs)
        forecast = plot.array(self._obj)
        return plot_nowcast.frames(forecast, observed, init=init, lead=lead, figure=figure)

    def csi(
        self,
        obs: xr.Dataset | xr.DataArray,
        *,
        thresholds: "Sequence[float] | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Critical success index by lead: see `xearthformer.plots.frames.by_lead`."""
        from .plots import frames as plot_nowcast
        from .plots import maps as plot
        from .verification import verify as verification

        forecast = plot.array(self._obj)
        found = verification.verify(forecast, obs, ["csi"], thresholds=thresholds)
        name = str(forecast.attrs.get("pack", "forecast"))
        return plot_nowcast.by_lead({name: found}, figure=figure)

    def stamps(
        self,
        obs: xr.Dataset | xr.DataArray | None = None,
        *,
        init: Any = None,
        lead: Any = None,
        columns: int = 7,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Members beside what was observed: see `xearthformer.plots.ensemble.stamps`."""
        from .plots import ensemble
        from .plots import maps as plot

        observed = None if obs is None else plot.array(obs)
        return ensemble.stamps(
            plot.array(self._obj), observed, init=init, lead=lead, columns=columns, figure=figure
        )

    def exceedance(
        self,
        threshold: float,
        obs: xr.Dataset | xr.DataArray | None = None,
        *,
        init: Any = None,
        lead: Any = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Shares of members from a threshold on: see `xearthformer.plots.ensemble.exceedance`."""
        from .plots import ensemble
        from .plots import maps as plot

        observed = None if obs is None else plot.array(obs)
        return ensemble.exceedance(
            plot.array(self._obj), threshold, observed, init=init, lead=lead, figure=figure
        )

    def rank_histogram(
        self,
        obs: xr.Dataset | xr.DataArray,
        *,
        lead: Any = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Where the truth lies among members: see `xearthformer.plots.ensemble.rank_histogram`."""
        from .plots import ensemble
        from .plots import maps as plot
        from .verification import verify as verification

        forecast = plot.array(self._obj)
        found = verification.verify(forecast, obs, ["rank_histogram"]).compute()
        label = str(forecast.attrs.get("pack", ""))
        return ensemble.rank_histogram(found, lead=lead, ax=ax, label=label)


@xr.register_dataset_accessor("earthformer")
@xr.register_dataarray_accessor("earthformer")
class EarthformerAccessor(Generic[T]):
    """Forecasts and climate statistics of labelled data; see the functions of the same names."""

    def __init__(self, obj: T) -> None:
        self._obj: T = obj

    def forecast(
        self,
        pack: "str | Pack",
        *,
        init: "InitLike" = None,
        lead: "int | str | np.timedelta64 | None" = None,
        members: int | None = None,
        seed: int = 0,
        sampler: "str | Sampler" = "dpm++",
        steps: int | None = None,
        guidance: "Guidance | Sequence[Guidance] | None" = None,
        device: str = "auto",
        batch_size: int | Literal["auto"] = "auto",
        precision: "Precision" = "float32",
        compile: bool = False,
        chunks: int | Literal["auto"] = "auto",
        progress: "Progress" = "auto",
    ) -> T:
        """Forecast with a pack: see `xearthformer.forecast`."""
        from .inference.forecast import forecast

        return forecast(
            self._obj,
            pack,
            init=init,
            lead=lead,
            members=members,
            seed=seed,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            device=device,
            batch_size=batch_size,
            precision=precision,
            compile=compile,
            chunks=chunks,
            progress=progress,
        )

    def climatology(self, period: tuple[str, str] | None = None) -> T:
        """Monthly means over a period: see `xearthformer.climatology`."""
        from .climate.climatology import climatology

        return climatology(self._obj, period)

    def anomaly(self, climatology: tuple[str, str] | T = ("1981", "2010")) -> T:
        """Departure from a monthly climatology: see `xearthformer.anomaly`."""
        from .climate.climatology import anomaly

        return anomaly(self._obj, climatology)

    def index(self, name: str) -> T:
        """A climate index such as "nino3.4": see `xearthformer.index`."""
        from .climate.regions import index

        return index(self._obj, name)

    def running_mean(self, n: int, dim: str | None = None) -> T:
        """Centred mean over n steps: see `xearthformer.running_mean`."""
        from .climate.climatology import running_mean

        return running_mean(self._obj, n, dim)

    def verify(
        self,
        obs: xr.Dataset | xr.DataArray,
        scores: "Sequence[str] | None" = None,
        *,
        thresholds: "Sequence[float] | None" = None,
        scale: float | str | None = None,
    ) -> xr.Dataset:
        """Score this forecast against observations: see `xearthformer.verify`."""
        from .verification.verify import verify

        return verify(self._obj, obs, scores, thresholds=thresholds, scale=scale)

    @property
    def plot(self) -> Plots:
        """Pictures of a forecast: `plot.plume(obs=...)`, `plot.frames(obs=...)` and others."""
        return Plots(self._obj)

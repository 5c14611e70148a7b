"""`fc.earthformer.plot`: doors to the pictures of this room.

Each method imports what it needs when it is called: matplotlib is an extra.
"""

from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from ..climate.regions import Region
    from ..fields.windows import InitLike

Data = xr.Dataset | xr.DataArray


class Plots:
    """Pictures of a forecast: `fc.earthformer.plot`.

    Every method takes the observations as `obs`: the same variable with a time dim, as a DataArray
    or a Dataset. Pictures are drawn by matplotlib (extra `plot`).
    """

    def __init__(self, obj: Data) -> None:
        self._obj = obj

    def _indices(
        self, obs: Data | None, name: "str | Region"
    ) -> tuple[xr.DataArray, xr.DataArray | None]:
        """Return an index of the forecast and of the observations."""
        from ..climate.indices import index
        from ..verification.align import pick_indexed, pick_variable

        forecast = pick_indexed(self._obj)
        observed = None if obs is None else pick_variable(obs, forecast.name)
        line = None if observed is None else index(observed, name)
        return index(forecast, name, observed), line

    def plume(
        self,
        obs: Data | None = None,
        *,
        index: "str | Region" = "nino3.4",
        quantiles: "Sequence[float] | None" = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw a climate index of every init as a line, over that of the observations.

        Parameters
        ----------
        obs : DataArray or Dataset, optional
            Observations (time, y, x).
        index : str or Region
            What `da.earthformer.index` knows.
        quantiles : sequence of float, optional
            Bands of an ensemble. Default: bands for ten members or more, else one line per member.
        ax : Axes, optional
            Where to draw. Default: new axes.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=4, members=2)
        >>> ax = fc.earthformer.plot.plume(obs=ssta)
        >>> ax.figure.savefig("plume.png")  # doctest: +SKIP
        """
        from . import maps

        forecast, line = self._indices(obs, index)
        return maps.plume(forecast, line, quantiles=quantiles, ax=ax)

    def categories(
        self,
        obs: Data | None = None,
        *,
        index: "str | Region" = "nino3.4",
        init: "InitLike" = None,
        thresholds: "Sequence[float] | None" = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw the probabilities of La Nina, neutral and El Nino by season, as stacked bars.

        Parameters
        ----------
        obs : DataArray or Dataset, optional
            Observations (time, y, x): a dot in the category that came.
        index : str or Region
            What `da.earthformer.index` knows.
        init : label, optional
            Default: the latest.
        thresholds : sequence of float, optional
            As in `categories`.
        ax : Axes, optional
            Where to draw. Default: new axes.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=4, members=2)
        >>> ax = fc.earthformer.plot.categories()
        >>> [label.get_text() for label in ax.get_legend().get_texts()]
        ['El Niño, from 0.5 °C', 'neutral', 'La Niña, to −0.5 °C']
        """
        from . import seasons

        forecast, line = self._indices(obs, index)
        return seasons.categories(forecast, line, init=init, thresholds=thresholds, ax=ax)

    def skill_by_season(
        self,
        obs: Data,
        score: str = "correlation",
        *,
        index: "str | Region" = "nino3.4",
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw the skill of an index, of the mean of members, by target season and lead.

        Parameters
        ----------
        obs : DataArray or Dataset
            Observations (time, y, x).
        score : str
            "correlation" or "rmse".
        index : str or Region
            What `da.earthformer.index` knows.
        ax : Axes, optional
            Where to draw. Default: new axes.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> past = ssta.earthformer.forecast("lim", init=slice("1991", "1991"), lead=4)
        >>> ax = past.earthformer.plot.skill_by_season(ssta)
        """
        from ..verification.enso import enso_seasons
        from . import panels, seasons

        forecast, line = self._indices(obs, index)
        assert line is not None  # obs is
        if "member" in forecast.dims:
            forecast = forecast.mean("member", skipna=False, keep_attrs=True)
        label = f"{panels.index_label(forecast)}{panels.str_pack(forecast)}, 3-month means"
        return seasons.skill_by_season(enso_seasons(forecast, line), score, ax=ax, label=label)

    def skill_map(
        self,
        obs: Data,
        score: str = "correlation",
        *,
        lead: "int | Sequence[int] | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw maps of the anomaly correlation of all inits, of means over three months, by lead.

        Parameters
        ----------
        obs : DataArray or Dataset
            Observations (time, y, x).
        score : str
            "correlation" or "rmse".
        lead, figure
            As in `field`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> past = ssta.earthformer.forecast("lim", init=slice("1991", "1991"), lead=4)
        >>> figure = past.earthformer.plot.skill_map(ssta, lead=[1, 2])
        """
        from ..verification.align import pick_variable
        from ..verification.skill import skill_map
        from . import maps, panels

        forecast = pick_variable(self._obj)
        label = f"{panels.variable_name(forecast)}{panels.str_pack(forecast)}, 3-month means"
        scores = skill_map(forecast, obs)
        return maps.skill(scores, score, lead=lead, figure=figure, label=label)

    def field(
        self,
        obs: Data | None = None,
        *,
        init: "InitLike" = None,
        lead: "int | str | Sequence[int] | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw maps of one init by lead, next to what was observed.

        Parameters
        ----------
        obs : DataArray or Dataset, optional
            Observations (time, y, x).
        init : label, optional
            Default: the latest.
        lead : label or list of labels, optional
            Default: a few of all leads.
        figure : Figure or SubFigure, optional
            Where to draw. Default: a new figure.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> past = ssta.earthformer.forecast("lim", init=slice("1991", "1991"), lead=4)
        >>> figure = past.earthformer.plot.field(ssta, init="1991-06", lead=[1, 4])
        """
        from . import maps

        return maps.field(self._obj, obs, init=init, lead=lead, figure=figure)

    def frames(
        self,
        obs: Data | None = None,
        *,
        init: "InitLike" = None,
        lead: "int | str | Sequence[int] | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw the frames of a nowcast below those observed, the context before them.

        Parameters
        ----------
        obs, init, lead, figure
            As in `field`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> fc = rain.earthformer.forecast("persistence", init=rain["time"][[3]], lead=6)
        >>> figure = fc.earthformer.plot.frames(rain, lead=["10min", "30min"])
        """
        from . import frames

        return frames.frames(self._obj, obs, init=init, lead=lead, figure=figure)

    def csi(
        self,
        obs: Data,
        *,
        thresholds: "Sequence[float] | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw the critical success index by lead, one panel per threshold.

        Parameters
        ----------
        obs : DataArray or Dataset
            Observations (time, y, x).
        thresholds : sequence of float, optional
            Default: as in `verify`.
        figure : Figure or SubFigure, optional
            Where to draw. Default: a new figure.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> fc = rain.earthformer.forecast("persistence", init=rain["time"][[3]], lead=6)
        >>> figure = fc.earthformer.plot.csi(rain, thresholds=[1, 5])
        """
        from ..verification.align import pick_variable
        from ..verification.verify import verify
        from . import frames

        forecast = pick_variable(self._obj)
        scores = verify(forecast, obs, ["csi"], thresholds=thresholds)
        name = str(forecast.attrs.get("pack", "forecast"))
        return frames.by_lead({name: scores}, figure=figure)

    def fss(
        self,
        obs: Data,
        *,
        window: "Sequence[float | str] | None" = None,
        thresholds: "Sequence[float] | None" = None,
        lead: "int | str | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw the fractions skill score by scale and threshold, as a table.

        Parameters
        ----------
        obs : DataArray or Dataset
            Observations (time, y, x).
        window : sequence of float or str, optional
            Widths of the neighbourhoods: pixels, or lengths such as "16 km". Default: 1, 2, 4 and
            so on to 64 pixels, or to the shorter side of the domain.
        thresholds : sequence of float, optional
            Default: as in `verify`.
        lead : label, optional
            Default: all leads together.
        figure : Figure or SubFigure, optional
            Where to draw. Default: a new figure.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> fc = rain.earthformer.forecast("persistence", init=rain["time"][[3]], lead=6)
        >>> figure = fc.earthformer.plot.fss(rain, window=["4 km", "16 km"], thresholds=[1, 5])
        """
        from ..fields.axes import find_grid
        from ..verification.align import pick_variable
        from ..verification.verify import verify
        from . import scores

        forecast = pick_variable(self._obj)
        side = min(forecast.sizes[dim] for dim in find_grid(forecast))
        widths = [2**k for k in range(7) if 2**k <= side] if window is None else list(window)
        names = ["fss", "base_rate"]
        table = verify(forecast, obs, names, thresholds=thresholds, window=widths).compute()
        if "member" in table.dims:
            table = table.mean("member", keep_attrs=True)
        name = str(forecast.attrs.get("pack", ""))
        return scores.fss({name: table}, lead=lead, figure=figure)

    def reliability(
        self,
        obs: Data,
        *,
        thresholds: "Sequence[float] | None" = None,
        lead: "int | str | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw how often an event came of which so many members forecast it.

        Parameters
        ----------
        obs : DataArray or Dataset
            Observations (time, y, x).
        thresholds : sequence of float, optional
            Default: as in `verify`.
        lead : label, optional
            Default: all leads together.
        figure : Figure or SubFigure, optional
            Where to draw. Default: a new figure.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> now = rain["time"][[3]]
        >>> ens = rain.earthformer.forecast("nowcast-radar", init=now, members=2, lead=2)
        >>> figure = ens.earthformer.plot.reliability(rain, thresholds=[1])
        """
        from ..verification.align import pick_variable
        from ..verification.verify import verify
        from . import scores

        forecast = pick_variable(self._obj)
        table = verify(forecast, obs, ["reliability"], thresholds=thresholds).compute()
        label = str(forecast.attrs.get("pack", ""))
        return scores.reliability(table, lead=lead, figure=figure, label=label)

    def stamps(
        self,
        obs: Data | None = None,
        *,
        init: "InitLike" = None,
        lead: "int | str | None" = None,
        columns: int | None = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw every member of one init and lead as a small map, next to what was observed.

        Parameters
        ----------
        obs, init, lead, figure
            As in `field`, for a single lead. Default: the last.
        columns : int, optional
            Number of maps per row. Default: 7, or fewer where they are wide.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> now = rain["time"][[3]]
        >>> ens = rain.earthformer.forecast("nowcast-radar", init=now, members=2, lead=2)
        >>> figure = ens.earthformer.plot.stamps(rain, lead="10min")
        """
        from . import ensemble

        return ensemble.stamps(self._obj, obs, init=init, lead=lead, columns=columns, figure=figure)

    def exceedance(
        self,
        threshold: float,
        obs: Data | None = None,
        *,
        init: "InitLike" = None,
        lead: "int | str | Sequence[int] | None" = None,
        figure: "Figure | SubFigure | None" = None,
    ) -> "Figure | SubFigure":
        """Draw maps of the share of members that reach a threshold.

        Parameters
        ----------
        threshold : float
            In the forecast's units.
        obs, init, lead, figure
            As in `field`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> now = rain["time"][[3]]
        >>> ens = rain.earthformer.forecast("nowcast-radar", init=now, members=2, lead=2)
        >>> figure = ens.earthformer.plot.exceedance(1, rain, lead=["5min", "10min"])
        """
        from . import ensemble

        return ensemble.exceedance_maps(
            self._obj, threshold, obs, init=init, lead=lead, figure=figure
        )

    def rank_histogram(
        self, obs: Data, *, lead: "int | str | None" = None, ax: "Axes | None" = None
    ) -> "Axes":
        """Draw how often the observation falls between which members.

        Parameters
        ----------
        obs : DataArray or Dataset
            Observations (time, y, x).
        lead : label, optional
            Default: all leads together.
        ax : Axes, optional
            Where to draw. Default: new axes.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> now = rain["time"][[3]]
        >>> ens = rain.earthformer.forecast("nowcast-radar", init=now, members=2, lead=2)
        >>> figure = ens.earthformer.plot.rank_histogram(rain)
        """
        from ..verification.align import pick_variable
        from ..verification.verify import verify
        from . import ensemble

        forecast = pick_variable(self._obj)
        ensemble.check_ensemble(forecast)
        scores = verify(forecast, obs, ["rank_histogram"]).compute()
        label = str(forecast.attrs.get("pack", ""))
        return ensemble.rank_histogram(scores, lead=lead, ax=ax, label=label)

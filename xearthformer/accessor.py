"""`da.earthformer` and `ds.earthformer`: doors to functions that stand on their own.

Each method imports what it needs when it is called, so that importing the package stays quick.
"""

import functools
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import xarray as xr

from .errors import renamed
from .inference.options import documented
from .plots.methods import Plots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    import numpy as np

    from .climate.regions import Region
    from .fields.time_axis import LeadLike
    from .fields.windows import InitLike
    from .inference.engine import Progress
    from .inference.guidance import Guidance
    from .inference.options import Beyond, Precision
    from .models.prediff.samplers import Sampler
    from .packs.pack import Pack

T = TypeVar("T", xr.Dataset, xr.DataArray)
Data = xr.Dataset | xr.DataArray


@xr.register_dataset_accessor("earthformer")
@xr.register_dataarray_accessor("earthformer")
class EarthformerAccessor(Generic[T]):
    """Forecasts, climate statistics, scores and pictures of labelled data.

    Each method is a function of the same name in `xearthformer`, whose documentation says more.
    """

    def __init__(self, obj: T) -> None:
        self._obj: T = obj

    def __repr__(self) -> str:
        """Return which pack forecast this, from when, how far and where it is known."""
        from .fields.summary import summary

        return "\n".join(f"{name:10}  {text}" for name, text in summary(self._obj))

    def _repr_html_(self) -> str:
        """Return the same as a table, for notebooks."""
        from .fields.summary import summary
        from .html import html_table

        kind = "Forecast" if "lead" in self._obj.dims else "Data"
        return html_table(kind, summary(self._obj))

    @documented
    def forecast(
        self,
        pack: "str | Pack",
        *,
        init: "InitLike" = None,
        lead: "LeadLike | None" = None,
        members: int | None = None,
        seed: int = 0,
        sampler: "str | Sampler" = "dpm++",
        steps: int | None = None,
        guidance: "Guidance | Sequence[Guidance] | None" = None,
        device: str = "auto",
        batch_size: int | Literal["auto"] = "auto",
        precision: "Precision" = "float32",
        compile: bool = False,
        beyond: "Beyond" = "climatology",
        chunks: int | Literal["auto"] = "auto",
        progress: "Progress" = "auto",
    ) -> T:
        """Forecast this data with a pack: `xearthformer.forecast`.

        Parameters
        ----------
        pack : str or Pack
            A pack, or anything `open_pack` opens.
        init : label, slice or list of labels, optional
            Last time step that a forecast may see. Default: the latest. A slice takes every time in
            it that has the context the pack needs.
        {options}
        chunks : int or "auto"
            Number of inits that are read, forecast and returned together. It never changes a
            number.
        progress : bool or "auto"
            Whether to show a progress bar for data in memory. "auto": after two seconds, on
            a terminal or in a notebook.

        Returns
        -------
        DataArray or Dataset, as given
            Dims init, lead, member (generative packs), then the data's own spatial dims. Lazy when
            the data is.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=6, members=2)  # from the latest month
        >>> fc.dims, fc.sizes["lead"]
        (('init', 'lead', 'member', 'lat', 'lon'), 6)
        """
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
            beyond=beyond,
            chunks=chunks,
            progress=progress,
        )

    def climatology(self, period: tuple[str, str] | None = None) -> T:
        """Return the mean of each calendar month: `xearthformer.climatology`.

        Parameters
        ----------
        period : (start, end), optional
            Years or months, both included, such as ("1981", "2010"). Default: the whole record.

        Returns
        -------
        DataArray or Dataset (month, ...), as given

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> sst.earthformer.climatology(("1990", "1992"))["month"].values
        array([ 1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12])
        """
        from .climate.climatology import climatology

        return climatology(self._obj, period)

    def anomaly(self, climatology: tuple[str, str] | T = ("1981", "2010")) -> T:
        """Return the departure from a monthly climatology: `xearthformer.anomaly`.

        Parameters
        ----------
        climatology : (start, end), or what `climatology` returned
            A period to take the climatology of, both ends included, or a climatology.

        Returns
        -------
        DataArray or Dataset, as given
            Marked as a difference by its attribute `units_metadata`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> ssta.attrs["climatology_period"], ssta.attrs["units_metadata"]
        ('1990-01/1992-12', 'temperature: difference')
        """
        from .climate.climatology import anomaly

        return anomaly(self._obj, climatology)

    def rebase(self, period: tuple[str, str]) -> T:
        """Return anomalies against another period: `xearthformer.rebase`.

        Parameters
        ----------
        period : (start, end)
            Years or months of these anomalies, both included, such as ("1981", "2010").

        Returns
        -------
        DataArray or Dataset, as given

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> ssta.earthformer.rebase(("1991", "1992")).attrs["climatology_period"]
        '1991-01/1992-12'
        """
        from .climate.baseline import rebase

        return rebase(self._obj, period)

    def index(self, name: "str | Region", reference: Data | None = None) -> T:
        """Return a climate index, such as an area-weighted mean: `xearthformer.index`.

        Parameters
        ----------
        name : str or Region
            A region such as "nino3.4", however spelt, a box of your own, or "oni",
            "relative_nino3.4", "pdo", "amo"; an unknown name is an error that lists all.
        reference : DataArray or Dataset, optional
            Observations that "oni", "relative_nino3.4" and "pdo" of a forecast are fitted to.

        Returns
        -------
        DataArray or Dataset, as given
            Without the spatial dims.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> nino34 = ssta.earthformer.index("nino3.4")
        >>> nino34.name, nino34.dims
        ('nino3.4', ('time',))
        """
        from .climate.indices import index

        return index(self._obj, name, reference)

    def running_mean(self, n: int, dim: str | None = None) -> T:
        """Return the centred mean over n steps: `xearthformer.running_mean`.

        Parameters
        ----------
        n : int
            Number of steps.
        dim : str, optional
            Default: `lead` for a forecast, else the time dim.

        Returns
        -------
        DataArray or Dataset, as given

        Examples
        --------
        >>> import numpy as np, xarray as xr, xearthformer
        >>> fc = xr.DataArray([0.0, 3.0, 6.0, 0.0], dims="lead")
        >>> fc.earthformer.running_mean(3).values
        array([nan,  3.,  3., nan])
        """
        from .climate.climatology import running_mean

        return running_mean(self._obj, n, dim)

    def seasonal_mean(self, months: int = 3) -> T:
        """Return means over the months from each lead, or time, on: `xearthformer.seasonal_mean`.

        Parameters
        ----------
        months : int
            Length of a season.

        Returns
        -------
        DataArray or Dataset, as given
            With the coordinate `season`, such as "DJF".

        Examples
        --------
        >>> import xarray as xr, xearthformer
        >>> time = xr.date_range("2000-11", periods=4, freq="MS")
        >>> rain = xr.DataArray([0.0, 3.0, 6.0, 0.0], {"time": time}, ("time",))
        >>> mean = rain.earthformer.seasonal_mean()
        >>> mean.values, mean["season"].values
        (array([3., 3.]), array(['NDJ', 'DJF'], dtype='<U3'))
        """
        from .verification.seasonal import seasonal_mean

        return seasonal_mean(self._obj, months)

    def categories(
        self,
        name: "str | Region" = "nino3.4",
        *,
        thresholds: "Sequence[float] | None" = None,
        months: int = 3,
    ) -> xr.DataArray:
        """Return the probabilities of La Nina, neutral and El Nino: `xearthformer.categories`.

        Parameters
        ----------
        name : str or Region
            The index to take of fields.
        thresholds : sequence of float, optional
            Edges of the categories, in the forecast's units. Default: -0.5 and 0.5 degC.
        months : int
            Length of a season.

        Returns
        -------
        DataArray ([init,] lead, category)
            Shares of the members.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=4, members=2)
        >>> chances = fc.earthformer.categories("nino3.4")
        >>> chances["category"].values, chances.sum("category").values
        (array(['La Nina', 'neutral', 'El Nino'], dtype='<U7'), array([[1., 1.]]))
        """
        from .verification.seasonal import categories

        return categories(self._obj, name, thresholds=thresholds, months=months)

    def terciles(
        self, obs: Data, *, period: tuple[str, str] | None = None, months: int = 3
    ) -> xr.DataArray:
        """Return the probabilities of below, near and above normal: `xearthformer.terciles`.

        Parameters
        ----------
        obs : DataArray or Dataset (time, [y, x])
            The record whose terciles are the edges.
        period : (start, end), optional
            Years of it that count. Default: all.
        months : int
            Length of a season.

        Returns
        -------
        DataArray (init, lead, category, [y, x])
            Shares of the members.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=4, members=2)
        >>> nino34, observed = (da.earthformer.index("nino3.4") for da in (fc, ssta))
        >>> chances = nino34.earthformer.terciles(observed)
        >>> chances["category"].values, chances.sum("category").values
        (array(['below normal', 'near normal', 'above normal'], dtype='<U12'), array([[1., 1.]]))
        """
        from .verification.terciles import terciles

        return terciles(self._obj, obs, period=period, months=months)

    def rpss(
        self,
        obs: Data,
        reference: Data | None = None,
        *,
        period: tuple[str, str] | None = None,
        months: int = 3,
    ) -> xr.Dataset:
        """Return the ranked probability skill score of terciles: `xearthformer.rpss`.

        Parameters
        ----------
        obs, period, months
            As in `terciles`.
        reference : DataArray or Dataset, optional
            A forecast to compare with. Default: climatology.

        Returns
        -------
        Dataset (lead, [y, x])

        Examples
        --------
        >>> import numpy as np, xarray as xr, xearthformer
        >>> time = xr.date_range("1990-01", periods=49, freq="MS")
        >>> observed = xr.DataArray(np.arange(49) // 12 % 3 + 0.0, {"time": time}, ("time",))
        >>> valid = ("init", "lead"), time.values[12:48, None]
        >>> coords = {"init": time[11:47], "lead": [1], "valid_time": valid}
        >>> fc = xr.DataArray(observed.values[12:48, None], coords, ("init", "lead"))  # what came
        >>> fc.expand_dims(member=2).earthformer.rpss(observed, months=1)["rpss"].values
        array([1.])
        """
        from .verification.terciles import rpss

        return rpss(self._obj, obs, reference, period=period, months=months)

    def correct_bias(self, hindcast: Data, obs: Data) -> T:
        """Return this forecast less the mean error of a hindcast: `xearthformer.correct_bias`.

        Parameters
        ----------
        hindcast : DataArray or Dataset (init, lead, [member,] [y, x])
            Past forecasts by the same pack, from the same calendar months.
        obs : DataArray or Dataset (time, [y, x])
            What came.

        Returns
        -------
        DataArray or Dataset, as given
            Corrected by lead and calendar month; a forecast's own year does not count.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xearthformer
        >>> time = xr.date_range("2000-01", periods=48, freq="MS")
        >>> observed = xr.DataArray(np.zeros(48), {"time": time}, ("time",))
        >>> valid = ("init", "lead"), time.values[1:37:12, None]
        >>> coords = {"init": time[:36:12], "lead": [1], "valid_time": valid}
        >>> hindcast = xr.DataArray([[1.0], [2.0], [6.0]], coords, ("init", "lead"))
        >>> corrected = hindcast.earthformer.correct_bias(hindcast, observed)
        >>> corrected.values.ravel()  # 1 - (2 + 6) / 2, ...
        array([-3. , -1.5,  4.5])
        """
        from .verification.bias import correct_bias

        return correct_bias(self._obj, hindcast, obs)

    def exceedance(
        self,
        threshold: "float | str | Sequence[float | str]",
        *,
        window: float | str | None = None,
        anywhere: bool = False,
    ) -> xr.DataArray:
        """Return the share of members that reach a threshold: `xearthformer.exceedance`.

        Parameters
        ----------
        threshold : float or str, or a list of them
            In the forecast's units, or with its own: "5 mm/h".
        window : float or str, optional
            Width of a neighbourhood around each pixel: pixels, or a length such as "16 km".
        anywhere : bool
            False: the mean share of the neighbourhood's pixels. True: the share of members with the
            event at any pixel of it.

        Returns
        -------
        DataArray
            With the dim threshold, for a list, in place of member.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xearthformer
        >>> lead = np.array([30, 60], "m8[m]").astype("m8[ns]")
        >>> fc = xr.DataArray([[6.0, 12.0], [0.0, 2.0]], {"lead": lead}, ("member", "lead"))
        >>> fc = fc.assign_attrs(units="mm h-1")
        >>> fc.earthformer.exceedance("2 mm/h").values
        array([0.5, 1. ])
        """
        from .verification.products import exceedance

        return exceedance(self._obj, threshold, window=window, anywhere=anywhere)

    def quantiles(self, q: "float | Sequence[float]") -> xr.DataArray:
        """Return quantiles of the members: `xearthformer.quantiles`.

        Parameters
        ----------
        q : float or list of float
            From 0 to 1.

        Returns
        -------
        DataArray
            With the dim quantile, for a list, in place of member.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xearthformer
        >>> lead = np.array([30, 60], "m8[m]").astype("m8[ns]")
        >>> fc = xr.DataArray([[6.0, 12.0], [0.0, 2.0]], {"lead": lead}, ("member", "lead"))
        >>> fc = fc.assign_attrs(units="mm h-1")
        >>> fc.earthformer.quantiles(0.5).values
        array([3., 7.])
        """
        from .verification.products import quantiles

        return quantiles(self._obj, q)

    def accumulate(self, period: "str | timedelta | np.timedelta64") -> xr.DataArray:
        """Return the rain of successive periods of a forecast, in mm: `xearthformer.accumulate`.

        Parameters
        ----------
        period : str
            Such as "1h".

        Returns
        -------
        DataArray
            With a lead for the end of each period; members stay.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xearthformer
        >>> lead = np.array([30, 60], "m8[m]").astype("m8[ns]")
        >>> fc = xr.DataArray([[6.0, 12.0], [0.0, 2.0]], {"lead": lead}, ("member", "lead"))
        >>> fc = fc.assign_attrs(units="mm h-1")
        >>> fc.earthformer.accumulate("1h").values.ravel()  # half an hour at each rate
        array([9., 1.])
        """
        from .verification.products import accumulate

        return accumulate(self._obj, period)

    @renamed(scale="window")
    def verify(
        self,
        obs: Data,
        scores: "Sequence[str] | None" = None,
        *,
        thresholds: "Sequence[float] | None" = None,
        window: "float | str | Sequence[float | str] | None" = None,
        known: float | None = None,
        reference: Data | None = None,
        by: str | xr.DataArray | None = None,
        confidence: float | None = None,
        block: int | str | None = None,
    ) -> xr.Dataset:
        """Score this forecast against observations: `xearthformer.verify`.

        Parameters
        ----------
        obs : DataArray or Dataset (time, [y, x])
            The same variable on the same cells, or more of them. Units are converted.
        scores : sequence of str, optional
            Names of scores; an unknown one is an error that lists all. Default: errors; events
            where there are thresholds; for an ensemble also the scores of all members together.
        thresholds : sequence of float, optional
            An event is a value of at least this, in the forecast's units. Default: those common for
            rain rate and for SEVIR's VIL, else none.
        window : float or str, optional
            Width of the neighbourhoods of the fractions skill score: pixels, or a length such as
            "16 km"; of several widths a table by scale.
        known : float, optional
            Only pixels count of which at least this share stems from what was seen, such as 0.5.
        reference : DataArray or Dataset, optional
            Another forecast, that the skill is against.
        by : str or DataArray, optional
            A label of each init that scores are grouped by: a coordinate along init, or labels such
            as `xearthformer.wet_area(obs)`.
        confidence : float, optional
            Level of confidence intervals, such as 0.9.
        block : int or str, optional
            Length of the blocks of inits that these are from, such as "3h". Default: the longest
            lead.

        Returns
        -------
        Dataset
            Each score by lead, and over all leads with the suffix `_pooled`; the skill against the
            reference with `_skill`, the ends of intervals with `_low` and `_high`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(seed=7, size=64, frames=13)["rain_rate"][0].load()
        >>> fc = rain.earthformer.forecast("persistence", init=rain["time"][[3]], lead=6)
        >>> scores = fc.earthformer.verify(rain, ["csi", "mse"], thresholds=[1])
        >>> scores["csi"].dims, scores.attrs["pairs"]
        (('lead', 'threshold'), '6 of 6 frames from 1 init')
        """
        from .verification.verify import verify

        return verify(
            self._obj,
            obs,
            scores,
            thresholds=thresholds,
            window=window,
            known=known,
            reference=reference,
            by=by,
            confidence=confidence,
            block=block,
        )

    def to_climpred(self) -> xr.Dataset:
        """Return this forecast, or these observations, as climpred takes them.

        Returns
        -------
        Dataset
            For `climpred.HindcastEnsemble`, or its `add_observations`: `xearthformer.to_climpred`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=4, members=2)
        >>> fc.earthformer.index("nino3.4").earthformer.to_climpred()["nino3.4"].dims
        ('init', 'lead', 'member')
        """
        from .verification.climpred import to_climpred

        return to_climpred(self._obj)

    def to_weatherbench(self) -> xr.Dataset:
        """Return this forecast, or these observations, as WeatherBench-X takes them.

        Returns
        -------
        Dataset
            For `PredictionsFromXarray`, or `TargetsFromXarray`: `xearthformer.to_weatherbench`.

        Examples
        --------
        >>> import xearthformer as xef
        >>> rain = xef.synthetic_storms(events=1, frames=4, size=64)["rain_rate"].isel(event=0)
        >>> fc = rain.earthformer.forecast("persistence", lead=2)
        >>> fc.earthformer.to_weatherbench()["rain_rate"].dims
        ('init_time', 'lead_time', 'y', 'x')
        """
        from .verification.weatherbench import to_weatherbench

        return to_weatherbench(self._obj)

    @property
    def plot(self) -> Plots:
        """Pictures of a forecast: `plot.plume(obs=...)`, `plot.frames(obs=...)` and others.

        Examples
        --------
        >>> import xearthformer as xef
        >>> sst = xef.synthetic_sst(years=3, start="1990-01")["sst"]
        >>> ssta = sst.earthformer.anomaly(climatology=("1990", "1992"))
        >>> fc = ssta.earthformer.forecast("lim", lead=4, members=2)
        >>> fc.earthformer.plot.plume(obs=ssta).get_ylabel()
        'nino3.4 index (°C)'
        """
        return Plots(self._obj)


def _on_leaves(method: "Callable[..., xr.Dataset]") -> "Callable[..., xr.DataTree]":
    """Return a method of a Dataset's accessor as one of a tree's, applied to each Dataset."""

    @functools.wraps(method)
    def mapped(self: "TreeAccessor", *args: object, **kwargs: object) -> xr.DataTree:
        def one(ds: xr.Dataset) -> xr.Dataset:
            return method(EarthformerAccessor(ds), *args, **kwargs) if ds.data_vars else ds

        out: xr.DataTree = xr.map_over_datasets(one, self._tree)
        return out

    return mapped


@xr.register_datatree_accessor("earthformer")
class TreeAccessor:
    """Forecasts and climate statistics of a tree of Datasets (models, scenarios), one by one.

    Each method takes what the method of a Dataset takes, and returns a tree.
    """

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    forecast = _on_leaves(EarthformerAccessor.forecast)
    climatology = _on_leaves(EarthformerAccessor.climatology)
    anomaly = _on_leaves(EarthformerAccessor.anomaly)
    index = _on_leaves(EarthformerAccessor.index)

"""What notebooks show of packs, forecasts and catalogue entries: right, escaped, not computed."""

import dataclasses
import re

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.catalog import CatalogReader

SCRIPT = "<script>alert(1)</script>"


def rows(html: str) -> dict[str, str]:
    """The rows of the one table in there."""
    pairs = re.findall(r"<tr><th[^>]*>(.*?)</th><td[^>]*>(.*?)</td></tr>", html, re.DOTALL)
    return {name.replace("<wbr>", ""): text for name, text in pairs}


def rain(**labels) -> xr.DataArray:
    """A forecast of two leads, of whose values 3 in 4 and 1 in 2 are known."""
    coords = {
        "init": pd.to_datetime(["2020-06-01 12:00"]),
        "lead": pd.to_timedelta([5, 60], "min"),
        "known": (("init", "lead", "x"), np.array([[[1, 1, 1, 0], [1, 0, 1, 0]]], "f4")),
    }
    attrs = {"units": "mm h-1", "pack": "nowcast-radar", "pack_version": "4"}
    values = np.zeros((1, 2, 4), "f4")
    return xr.DataArray(values, coords | labels, ("init", "lead", "x"), "rain_rate", attrs)


def test_a_pack_shows_its_card():
    shown = rows(xef.open_pack("lim")._repr_html_())
    assert shown["name"] == "lim" and shown["context"] == "12"
    assert shown["grid.latitude"].endswith("(31)")


def test_a_card_of_others_stays_text():
    pack = xef.open_pack("persistence")
    card = pack.card.model_copy(update={"title": SCRIPT, "references": [SCRIPT]})
    html = dataclasses.replace(pack, card=card)._repr_html_()
    assert "<script" not in html and html.count("&lt;script&gt;alert(1)") == 3  # twice as title


def test_a_forecast_shows_who_when_and_what_is_known():
    assert rows(rain().earthformer._repr_html_()) == {
        "variable": "rain_rate (init: 1, lead: 2, x: 4) mm h-1",
        "pack": "nowcast-radar 4",
        "init": "2020-06-01 12:00:00",
        "lead": "5 to 60 min (2)",
        "known": "75% at the first lead, 50% at the last",
    }
    assert "pack        nowcast-radar 4\n" in repr(rain().earthformer)


def test_names_and_attributes_of_data_stay_text():
    html = rain().rename(SCRIPT).assign_attrs(units=SCRIPT, pack=SCRIPT).earthformer._repr_html_()
    assert "<script" not in html and html.count("&lt;script&gt;") == 3


def test_members_months_and_many_inits():
    labels = {
        "init": xr.date_range("2000-01", periods=24, freq="MS", use_cftime=True),
        "lead": ("lead", [1, 2, 3], {"units": "months"}),
        "member": [0, 1],
    }
    sizes = {"init": 24, "lead": 3, "member": 2}
    fc = xr.Dataset({"sst": (sizes, np.zeros((24, 3, 2)), {"pack": "lim"})}, labels)
    fc["valid_time"] = fc["init"]  # its ends are what counts
    shown = rows(fc.set_coords("valid_time").earthformer._repr_html_())
    assert shown["init"] == "2000-01-01 to 2001-12-01 (24)"
    assert shown["lead"] == "1 to 3 months (3)"
    assert shown["valid_time"] == "2000-01-01 to 2001-12-01"
    assert (shown["member"], shown["pack"]) == ("2", "lim")
    one = rows(fc.isel(init=0, lead=0).earthformer._repr_html_())
    assert (one["init"], one["lead"]) == ("2000-01-01", "1 month")


def test_nothing_is_computed_to_be_shown():
    def never():
        raise AssertionError("computed")

    known = dask.array.from_delayed(dask.delayed(never)(), (1, 2, 4), "f4")
    fc = rain(known=(("init", "lead", "x"), known))
    assert rows(fc.earthformer._repr_html_())["known"] == "not loaded"


def test_data_without_a_forecast_is_shown_as_data():
    html = xr.Dataset({"a": ("t", [1.0])}).earthformer._repr_html_()
    assert html.startswith("<strong>Data</strong>") and rows(html) == {"variable": "a (t: 1)"}
    assert rows(xr.DataArray(0.0).earthformer._repr_html_()) == {"variable": "without a name ()"}


def test_a_catalogue_entry_shows_whose_it_is_and_where():
    catalog = xef.open_catalog()
    shown = rows(catalog["ersst_v5"]._repr_html_())
    assert shown["licence"] == "NOAA (US Government), public domain"
    assert shown["address"].startswith("https://psl.noaa.gov/")
    assert "data_root" in shown["read"]
    assert rows(catalog["synthetic_sst"]._repr_html_())["read"] == ".read()"
    assert "<script" not in CatalogReader(metadata={"title": SCRIPT, "a": SCRIPT})._repr_html_()

"""Boxes, weights and indices, with the arithmetic of each in sight."""

import numpy as np
import pytest
import xarray as xr

from xearthformer.climate.regions import REGIONS, Region, index, region_mean

ANOMALY = {"units": "degC", "long_name": "SST anomaly", "units_metadata": "temperature: difference"}


def globe(step=2.0, lon0=0.0, values=None):
    """A global field that holds each cell's longitude in [0, 360), or `values(lat, lon)`."""
    lat = np.arange(-90 + step / 2, 90, step)
    lon = np.arange(lon0, lon0 + 360, step)
    da = xr.DataArray(
        np.zeros((lat.size, lon.size)),
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": lon},
        ("lat", "lon"),
        "ssta",
        ANOMALY,
    )
    return (da + (values(da.lat, da.lon) if values else da.lon % 360)).rename("ssta")


def strip(values, lon, lat=(-5.0, 5.0)):
    """One row of values at `lon`, twice: south and north of the equator."""
    lon = np.asarray(lon, float)
    return xr.DataArray([values, values], {"lat": list(lat), "lon": lon}, ("lat", "lon"))


def test_edges_cut_cells_by_hand():
    # cells 0-10, 10-20, 20-30; the box 5-25 takes 5, 10, 5 degrees: (5*1 + 10*2 + 5*6) / 20
    da = strip([1.0, 2, 6], [5, 15, 25])
    assert region_mean(da, Region(-5, 5, 5, 25)).item() == pytest.approx(55 / 20)


def test_latitudes_count_by_area():
    # cells 0-30 N and 30-60 N; the box 0-60: weights sin 30 = 1/2 and sin 60 - sin 30
    da = xr.DataArray(
        [[0.0] * 4, [1.0] * 4], {"lat": [15.0, 45.0], "lon": [0, 90, 180, 270]}, ("lat", "lon")
    )
    expected = (np.sqrt(3) / 2 - 0.5) / (np.sqrt(3) / 2)
    assert region_mean(da, Region(0, 60, 0, 90)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", REGIONS)
def test_a_constant_is_its_own_mean_in_every_region(name):
    da = globe(values=lambda lat, lon: 3.0)
    assert region_mean(da, name).item() == pytest.approx(3.0)


CONVENTIONS = {
    "0..360": lambda da: da,
    "-180..180": lambda da: da.assign_coords(lon=(da.lon + 180) % 360 - 180).sortby("lon"),
    "-180..180 unsorted": lambda da: da.assign_coords(lon=(da.lon + 180) % 360 - 180),
    "descending": lambda da: da[::-1, ::-1],
    "from 20E": lambda da: da.roll(lon=-10, roll_coords=True),
    "transposed": lambda da: da.T,
    "other names": lambda da: da.rename(lat="latitude", lon="nav_lon"),
    "lazy": lambda da: da.chunk(lat=30, lon=50),
    "a region": lambda da: da.sel(lat=slice(-30, 30)),
    "over Greenwich": lambda da: da.isel(lon=[*range(150, 180), *range(40)]),
    "over Greenwich, sorted": lambda da: da.isel(lon=[*range(40), *range(150, 180)]),
}


WITHOUT_PACIFIC = ("over Greenwich", "over Greenwich, sorted")


@pytest.mark.parametrize(
    "form, name",
    [(form, "tsa") for form in CONVENTIONS]
    + [(form, "nino3.4") for form in CONVENTIONS if form not in WITHOUT_PACIFIC],
)
def test_every_convention_gives_the_same_mean(form, name):
    da = globe(values=lambda lat, lon: np.cos(np.radians(lon)) + lat)
    out = region_mean(CONVENTIONS[form](da), name)
    assert (out.chunks is not None) == (form == "lazy")
    np.testing.assert_allclose(out, region_mean(da, name), rtol=1e-12)


def test_over_greenwich_by_hand():
    # 30W-10E on cells 10 degrees wide: 330..340 (335), 345, 355, 5; the mean of their sines
    da = globe(10.0, 5.0, lambda lat, lon: np.sin(np.radians(lon)))
    expected = np.mean(np.sin(np.radians([335, 345, 355, 5])))
    assert region_mean(da, "tsa").item() == pytest.approx(expected)


def test_land_does_not_count():
    da = strip([1.0, np.nan, 6], [5, 15, 25])
    assert region_mean(da, Region(-5, 5, 0, 30)).item() == pytest.approx(3.5)
    assert np.isnan(region_mean(da * np.nan, Region(-5, 5, 0, 30)))


def test_bounds_of_the_cells_come_before_halfway():
    ds = strip([1.0, 3.0], [5, 15]).to_dataset(name="a")
    ds["lon"].attrs["bounds"] = "lon_bnds"
    ds["lon_bnds"] = ("lon", "nv"), [[0.0, 8.0], [8.0, 20.0]]
    # 8 degrees of 1 and 12 of 3
    assert region_mean(ds, Region(-5, 5, 0, 20))["a"].item() == pytest.approx((8 + 36) / 20)


@pytest.mark.parametrize(
    "bounds", [[[358.0, 0], [0, 2]], [[358.0, 360], [2, 0]], [[-2.0, 0], [0, 2]]]
)
def test_bounds_that_cross_zero(bounds):
    ds = strip([1.0, 3.0], [359, 1]).to_dataset(name="a")
    ds["lon"].attrs["bounds"] = "lon_bnds"
    ds["lon_bnds"] = ("lon", "nv"), bounds
    assert region_mean(ds, Region(-5, 5, 359, 1))["a"].item() == pytest.approx(2.0)


def test_other_dims_coordinates_dtype_and_attributes_stay():
    da = globe(5.0).astype("f4").expand_dims(init=[0, 1], lead=[1, 2, 3], member=[0, 1])
    valid = (("init", "lead"), np.zeros((2, 3)))
    out = region_mean(da.transpose("lat", "init", "lon", ...).assign_coords(valid=valid), "nino3.4")
    assert out.sizes == {"init": 2, "lead": 3, "member": 2} and out.dtype == "f4"
    assert set(out.coords) == {"init", "lead", "member", "valid"}
    assert {**out.attrs, **ANOMALY} == out.attrs and out.attrs["region"] == "5S-5N, 170W-120W"
    assert out.name == "ssta"


def test_index():
    out = index(globe(), "Niño 3.4")
    assert out.name == "nino3.4" and out.item() == pytest.approx(215.0)  # the middle of 190..240
    assert out.attrs["long_name"] == "nino3.4 index of SST anomaly"
    assert out.attrs["units"] == "degC" and out.attrs["region"] == "5S-5N, 170W-120W"


def test_indices_that_are_differences():
    assert index(globe(), "iod").item() == pytest.approx(60.0 - 100.0)  # west minus east
    assert index(globe(), "DMI").name == "iod"
    # centre 165E-140W: 192.5; east 110W-70W: 270; west 125E-145E: 135
    assert index(globe(), "emi").item() == pytest.approx(192.5 - 0.5 * 270 - 0.5 * 135, abs=0.01)
    assert (
        index(globe(), "emi").attrs["region"].startswith("+1 emi_centre (10S-10N, 165E-140W) -0.5")
    )


def test_a_dataset_keeps_its_variables():
    ds = globe().to_dataset().assign(n=1)
    out = index(ds, "nino3")
    assert isinstance(out, xr.Dataset) and set(out) == {"ssta", "n"}
    assert out["ssta"].item() == pytest.approx(240.0)


@pytest.mark.parametrize(
    "spelling, name",
    [("NINO3.4", "nino3.4"), ("nino34", "nino3.4"), ("Nino-3", "nino3"), ("niño 1+2", "nino1+2"),
     ("nino12", "nino1+2"), ("n4", "nino4"), ("TNA", "tna"), ("wtio", "iod_west"),
     ("IOD east", "iod_east")],
)  # fmt: skip
def test_names_however_spelt(spelling, name):
    assert index(globe(), spelling).name == name


BAD = {
    "unknown": (lambda: index(globe(), "nino5"), r"one of nino3.4, .*\n.*'nino5'\n.*try \"nino"),
    "nothing like it": (
        lambda: index(globe(), "qqq"),
        r"a box: xearthformer.Region\(",
    ),
    "too far north": (
        lambda: index(globe().sel(lat=slice(0, 80)), "nino3.4"),
        "covers 5S-5N, 170W-120W\n.*cells from 0 to 80 N",
    ),
    "cut by half a cell": (
        lambda: index(globe().sel(lon=slice(192, 300)), "nino3.4"),
        "covers .*\n.*191 to 301 E",
    ),
    "elsewhere": (lambda: index(globe().sel(lon=slice(0, 90)), "nino3.4"), "covers"),
    "a sum is no region": (lambda: region_mean(globe(), "iod"), "'iod'"),
    "one cell": (lambda: region_mean(globe()[:, :1], "tna"), "2 cells or more along lon"),
    "curvilinear": (
        lambda: index(
            xr.DataArray(np.zeros((2, 2)), {"lat": (("y", "x"), np.zeros((2, 2)))}, ("y", "x")),
            "nino3",
        ),
        "curvilinear",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_mean(case):
    make, message = BAD[case]
    with pytest.raises(ValueError, match=f"(?s)^expected .*{message}"):
        make()


def test_words_for_boxes():
    assert str(REGIONS["nino4"]) == "5S-5N, 160E-150W"
    assert str(REGIONS["atl3"]) == "3S-3N, 20W-0"
    assert str(Region(0, 10, 170, 180)) == "0-10N, 170E-180E"
    assert Region(0, 1, 0, 360).width == 360.0

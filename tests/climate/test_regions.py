"""Boxes, weights and indices, with the arithmetic of each in sight."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xearthformer
from xearthformer.climate.ocean import open_ocean
from xearthformer.climate.regions import REGIONS, Region, cell_areas, index, region_mean

ANOMALY = {"units": "degC", "long_name": "SST anomaly", "units_metadata": "temperature: difference"}


def globe(step=2.0, lon0=0.0, values=None):
    """A global field of a hundredth of each cell's longitude in [0, 360), or `values(lat, lon)`."""
    lat = np.arange(-90 + step / 2, 90, step)
    lon = np.arange(lon0, lon0 + 360, step)
    da = xr.DataArray(
        np.zeros((lat.size, lon.size)),
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": lon},
        ("lat", "lon"),
        "ssta",
        ANOMALY,
    )
    return (da + (values(da.lat, da.lon) if values else da.lon % 360 / 100)).rename("ssta")


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
    assert out.name == "nino3.4" and out.item() == pytest.approx(2.15)  # the middle of 190..240
    assert out.attrs["long_name"] == "nino3.4 index of SST anomaly"
    assert out.attrs["units"] == "degC" and out.attrs["region"] == "5S-5N, 170W-120W"


def test_indices_that_are_differences():
    assert index(globe(), "iod").item() == pytest.approx(0.6 - 1.0)  # west minus east
    assert index(globe(), "DMI").name == "iod"
    # centre 165E-140W: 192.5; east 110W-70W: 270; west 125E-145E: 135
    expected = (192.5 - 0.5 * 270 - 0.5 * 135) / 100
    assert index(globe(), "emi").item() == pytest.approx(expected, abs=1e-4)
    assert (
        index(globe(), "emi").attrs["region"].startswith("+1 emi_centre (10S-10N, 165E-140W) -0.5")
    )


def test_a_dataset_keeps_its_variables():
    ds = globe().to_dataset().assign(n=1)
    out = index(ds, "nino3")
    assert isinstance(out, xr.Dataset) and set(out) == {"ssta", "n"}
    assert out["ssta"].item() == pytest.approx(2.4)


@pytest.mark.parametrize(
    "spelling, name",
    [("NINO3.4", "nino3.4"), ("nino34", "nino3.4"), ("Nino-3", "nino3"), ("niño 1+2", "nino1+2"),
     ("nino12", "nino1+2"), ("n4", "nino4"), ("TNA", "tna"), ("wtio", "iod_west"),
     ("IOD east", "iod_east")],
)  # fmt: skip
def test_names_however_spelt(spelling, name):
    assert index(globe(), spelling).name == name


# --- curvilinear grids


def curved(da, bounds=False):
    """The same cells with 2-D latitude and longitude, as a DataArray, or a Dataset with bounds."""
    lat, lon = (each.drop_vars(("lat", "lon")) for each in xr.broadcast(da["lat"], da["lon"]))
    out = da.drop_vars(("lat", "lon")).assign_coords(nav_lat=lat, nav_lon=lon)
    out = out.rename(lat="y", lon="x")
    if not bounds:
        return out
    step = float(da["lon"][1] - da["lon"][0]) / 2
    ds = out.to_dataset(name="tos")
    for name, signs in (("nav_lat", [-1, -1, 1, 1]), ("nav_lon", [-1, 1, 1, -1])):
        ds[f"bounds_{name}"] = ds[name] + xr.DataArray(signs, dims="nvertex") * step
    return ds


@pytest.mark.parametrize("name", ["nino3.4", "tsa", "nino1+2"])
def test_a_curvilinear_grid_has_the_same_indices(name):
    da = globe(5.0, values=lambda lat, lon: np.cos(np.radians(lon)) + lat / 10)
    expected = index(da, name).item()
    exact = index(curved(da, bounds=True), name)
    assert list(exact) == ["tos"]  # bounds have no index
    assert exact["tos"].item() == pytest.approx(expected, abs=1e-9)
    assert index(curved(da), name).item() == pytest.approx(expected, abs=0.03)  # by points
    lazy = index(curved(da, bounds=True).chunk(x=10), name)["tos"]
    assert lazy.chunks is not None and float(lazy) == pytest.approx(expected)


def test_cells_of_a_curvilinear_grid_count_by_the_area_that_stands_next_to_them():
    # cells of 10 degrees with their centres at 5N and 15N; the second has three times the area
    da = strip([1.0] * 4, [5, 15, 25, 35], lat=(5.0, 15.0)) * xr.DataArray([1.0, 2.0], dims="lat")
    ds = curved(da).to_dataset(name="tos")
    ds["areacello"] = ("y", "x"), [[1.0] * 4, [3.0] * 4]
    box = Region(0, 20, 10, 30)
    assert region_mean(ds, box)["tos"].item() == pytest.approx((1 + 3 * 2) / 4)
    # with bounds: the box holds half of the upper cells
    ds = curved(da, bounds=True).assign(areacello=ds["areacello"])
    half = np.diff(np.sin(np.radians([10, 15]))) / np.diff(np.sin(np.radians([10, 20])))
    expected = (1 + 3 * 2 * half) / (1 + 3 * half)
    assert region_mean(ds, Region(0, 15, 10, 30))["tos"].item() == pytest.approx(expected.item())


def test_columns_of_a_halo_count_once_by_their_areas():
    """As on NEMO's grids: the columns at the seam are there twice."""
    da = globe(5.0, values=lambda lat, lon: np.cos(np.radians(lon)) + lat / 10)
    halo = da.isel(lon=[-2, -1, *range(da.sizes["lon"]), 0, 1])
    boxes = Region(-10, 10, 350, 20), Region(-10, 10, 340, 360)
    for own in boxes:
        found = []
        for each in (da, halo):
            ds = curved(each).to_dataset(name="tos")
            rows = np.cos(np.radians(each["lat"].values))
            ds["areacello"] = ("y", "x"), rows[:, None] * np.ones(each.sizes["lon"])
            found.append(region_mean(ds, own)["tos"].item())
        assert found[1] == pytest.approx(found[0], abs=1e-9)


def test_areas_of_curvilinear_cells():
    da = globe(5.0)
    ratio = cell_areas(curved(da)) / cell_areas(da).values
    inner = ratio[1:-1] / ratio[18, 0]
    np.testing.assert_allclose(inner, 1, rtol=0.02)


# --- enough of the ocean


def forecast(fill=lambda da: da):
    """A forecast of two leads in the form that `forecast` gives it."""
    return fill(globe(values=lambda lat, lon: 1.0)).expand_dims(lead=[1, 2]).assign_coords(init=0)


def test_a_forecast_that_ends_in_the_box_has_no_index():
    # south of 10S, west of 30W: TSA lies from 20S to 0, 30W to 10E
    fc = forecast(lambda da: da.where((da.lon > 100) & (da.lon < 352)))
    with pytest.warns(
        UserWarning, match=r"values for \d\d% of the ocean in 20S-0, 30W-10E, and 90%"
    ):
        out = index(fc, "tsa")
    assert out.isnull().all() and out.dims == ("lead",)
    lazy = index(fc.chunk(lead=1), "tsa")
    with pytest.warns(UserWarning, match="of the ocean in 20S-0"):
        xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index(fc, "nino3.4").values.tolist() == [1.0, 1.0]
    assert region_mean(fc, "tsa").values.tolist() == [1.0, 1.0]  # of what is there


@pytest.mark.parametrize("missing, enough", [(10, True), (30, False)])
def test_nine_tenths_of_a_box_are_enough(missing, enough):
    # in the Pacific without islands, 20 columns of 2 degrees; lead 2 lacks some of them
    fc = forecast().where(lambda da: (da.lead == 1) | (da.lon >= 215 + 40 * missing / 100))
    box = Region(-10, 10, 215, 255)
    if enough:
        assert index(fc, box).values.tolist() == [1.0, 1.0]
        return
    with pytest.warns(UserWarning, match="values for 70% of the ocean in 10S-10N, 145W-105W"):
        assert np.isnan(index(fc, box).values).tolist() == [False, True]


def test_coasts_are_no_ocean():
    # Sumatra and the cells of 2 degrees around it are a half of the box off it
    fc = forecast(lambda da: da.where(open_ocean(da)))
    assert region_mean(fc.notnull() * 1.0, "iod_east")[0] < 0.6
    assert index(fc, "iod_east").values.tolist() == [1.0, 1.0]


def test_the_ocean_of_a_record_is_where_it_ever_has_a_value():
    time = xr.date_range("2000-01", periods=3, freq="MS")
    da = globe(values=lambda lat, lon: 1.0).expand_dims(time=time)
    da = da.where(da.lon < 230)  # "land" from 230 on; month 2 lacks most of the rest, month 3 all
    da = da.where((da.time < time[1]) | ((da.lon < 200) & (da.time < time[2])))
    with pytest.warns(UserWarning, match="values for 23% of the ocean") as record:
        out = index(da, "nino3.4")
    assert len(record) == 1 and np.isnan(out.values).tolist() == [False, True, True]
    assert out.values[0] == 1.0 and out.dtype == da.dtype


def test_a_box_of_ones_own():
    out = index(globe(), Region(-5, 5, 190, 240))
    assert out.name == "index" and out.attrs["long_name"] == "index of SST anomaly"
    xr.testing.assert_allclose(out, index(globe(), "nino3.4"))
    assert out.attrs["region"] == "5S-5N, 170W-120W"


def test_a_box_upside_down_is_refused():
    with pytest.raises(ValueError, match="south below north") as refusal:
        Region(5, -5, 190, 240)
    hint = str(refusal.value).split("try ")[1]
    assert hint == "xearthformer.Region(-5, 5, 190, 240)"
    assert eval(hint, {"xearthformer": xearthformer}) == Region(-5, 5, 190, 240)
    for south, north in ((5, 5), (-91, 5), (0, 100)):
        with pytest.raises(ValueError, match="south below north"):
            Region(south, north, 0, 10)


BAD = {
    "unknown": (lambda: index(globe(), "nino5"), r"one of nino3.4, .*\n.*'nino5'\n.*try \"nino"),
    "nothing like it": (
        lambda: index(globe(), "qqq"),
        r"try xearthformer.Region\(south=-5, north=5, west=190, east=240\), for a box",
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
    "a curvilinear grid elsewhere": (
        lambda: index(curved(globe(5.0).sel(lon=slice(0, 150))), "nino3"),
        "a curvilinear grid that covers 0% of it",
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


def test_sea_surface_temperature_of_less_than_half_a_box_is_no_index():
    """By the map: a record cut to a sliver of the box has no other ocean of its own."""
    sst = globe(values=lambda lat, lon: 1.0).assign_attrs(standard_name="sea_surface_temperature")
    sliver = sst.where(sst.lon < 205)
    with pytest.warns(UserWarning, match="values for [23].% of the ocean in 5S-5N"):
        assert np.isnan(index(sliver, "nino3.4"))  # a single field
    with pytest.warns(UserWarning, match="of the ocean"):
        months = sliver.expand_dims(time=xr.date_range("2000-01", periods=2, freq="MS"))
        assert np.isnan(index(months, "nino3.4")).all()
    assert index(sst.where(sst.lon < 225), "nino3.4") == 1.0
    other = sliver.rename("z").drop_attrs()  # which the map says nothing of
    assert index(other, "nino3.4") == 1.0


@pytest.mark.parametrize("kind", [lambda da: da, lambda da: da.to_dataset()])
def test_an_index_of_packed_integers_is_refused(kind):
    coords = {"lat": [-3.0, 3.0], "lon": [180.0, 200.0, 220.0, 240.0]}
    da = xr.DataArray(np.full((2, 4), 2806, "i2"), coords, ("lat", "lon"), "sst")
    packed = da.assign_attrs(scale_factor=0.01, units="degC")
    for function in (index, region_mean):
        with pytest.raises(TypeError, match="(?s)int16.*try ds = xr.decode_cf"):
            function(kind(packed), "nino3.4")
    unpacked = xr.decode_cf(packed.to_dataset())["sst"]
    assert index(unpacked, "nino3.4").item() == pytest.approx(28.06)
    with pytest.raises(TypeError, match='try da.astype."float32"'):
        index(da, "nino3.4")  # whose mean would be cut to a whole number

"""Rain from what radars store, and rain for other programs."""

from mends.typed import Case

OPEN = "xef.open_radar(ds)"
RATE = "answer.rain_rate.attrs['units'] == 'mm h-1' if isinstance(answer, xr.Dataset) else answer.units == 'mm h-1'"
AMOUNTS = "ds = rainfall(6).rename('acc').assign_attrs(units='mm', standard_name='rainfall_amount').to_dataset()"
WRITE = "import tempfile; from xearthformer.datasets.radar.odim_write import write_odim; path = tempfile.mkdtemp() + '/a.h5'; rain = rainfall()"

SINCE = (
    "da = rainfall(6, side=(8, 10)); da = da.where((da % 3) != 1, 0).cumsum('time')"
    ".assign_attrs(units='mm', standard_name='rainfall_amount'); ds = da.to_dataset(name='acc')"
)

CASES = {
    "datasets.radar.amounts:periods": [
        Case(
            AMOUNTS + ".isel(time=[0])",
            OPEN,
            "np.isclose(answer.max(), 9 * 12)",
        ),
        Case(
            AMOUNTS
            + "; ds['time_bnds'] = (('time', 'nv'), np.stack([ds.time.values - np.array([5, 5, 5, 5, 5, 9], 'm8[m]'), ds.time.values], -1)); ds.time.attrs['bounds'] = 'time_bnds'",
            OPEN,
            "answer.sizes['time'] == 5 and np.isclose(answer.max(), 13 * 12)",
        ),
    ],
    "datasets.radar.amounts:check_own_step": [
        Case(
            SINCE, OPEN, "answer.sizes['time'] == 5 and np.isclose(answer.max(), 14 * 12)", only=0
        ),
        Case(
            SINCE,
            OPEN,
            "answer.sizes['time'] == 6 and np.isclose(answer.max(), ds.acc.max() * 12)",
            only=1,
        ),
        Case(
            SINCE + "; da = ds.acc.rename(time='valid_time')",
            "xef.open_radar(da)",
            "answer.sizes['time'] == 5",
            only=0,
        ),
    ],
    "datasets.radar.amounts:_check_cell_methods": [
        Case(
            AMOUNTS + "; ds.acc.attrs['cell_methods'] = 'time: sum (interval: 1 hour)'",
            OPEN,
            "np.isclose(answer.max(), 14)",
        ),
    ],
    "datasets.radar.call:as_called": [
        Case("da = rainfall()", "xef.open_radar(da, zr=200)", "answer.max() == 14"),
        Case("da = rainfall()", "xef.open_radar(da, zero_below=-1)", "answer.max() == 14"),
        Case("da = rainfall()", "xef.open_radar(da, on_error='warn')", "answer.max() == 14"),
    ],
    "datasets.radar.declared:check_unpacked": [
        Case(
            "ds = rainfall().astype('i2').assign_attrs(scale_factor=0.5).to_dataset()",
            OPEN,
            "answer.max() == 7",
        ),
        Case(
            "da = rainfall().astype('i2').assign_attrs(scale_factor=0.5)",
            "xef.open_radar(da)",
            "answer.max() == 7",
        ),
    ],
    "datasets.radar.files:open_one": [],
    "datasets.radar.labels:_check_stamps": [
        Case(
            "ds = rainfall().to_dataset(); ds['time'] = ds.time.dt.strftime('%Y-%m-%d %H:%M').values.astype(str)",
            OPEN,
            "answer.time.values[0] == np.datetime64('2021-07-04T15:50')",
        ),
    ],
    "datasets.radar.labels:_with_stamp": [
        Case(
            "ds = rainfall().isel(time=0, drop=True).to_dataset()",
            OPEN,
            "answer.sizes['time'] == 1",
        ),
        Case(
            "da = rainfall().isel(time=0, drop=True)",
            "xef.open_radar(da)",
            "answer.sizes['time'] == 1",
        ),
    ],
    "datasets.radar.rain:_several": [
        Case("ds = xr.Dataset({'a': rainfall(), 'b': rainfall()})", OPEN, "answer.max() == 14"),
    ],
    "datasets.radar.rain:_none": [
        Case(
            "ds = rainfall().assign_attrs(units='mmh-1').to_dataset()", OPEN, "answer.max() == 14"
        ),
        Case(
            "ds = rainfall().assign_attrs(units='0.1 mm/h').to_dataset()",
            OPEN,
            "np.isclose(answer.max(), 1.4)",
        ),
        Case(
            "da = (10 * np.log10(rainfall().clip(0.03))).assign_attrs(rainfall().attrs, units='dBR')",
            "xef.open_radar(da)",
            "np.isclose(answer.max(), 14) and np.allclose(answer, rainfall())",
        ),
        Case(
            "da = rainfall().rename('a').drop_attrs(deep=False)",
            "xef.open_radar(da)",
            "answer.max() == 14",
        ),
    ],
    "datasets.radar.rain:_check": [
        Case(
            "ds = rainfall().to_dataset(); ds.rain_rate[0, 0, 0] = -1",
            OPEN,
            "answer.max() == 14 and answer.min() == 0 and answer.isnull().sum() <= 1",
        ),
        Case(
            "da = rainfall(); da[0, 0, 0] = 9e9",
            "xef.open_radar(da)",
            "answer.max() == 14 and answer.isnull().sum() == 1",
        ),
        Case(
            "da = rainfall().assign_attrs(units='mm d-1') * 3e6 + 1; da.attrs = rainfall().attrs",
            "xef.open_radar(da)",
            "answer.max() > 1",
            {"...": "'mm year-1'"},
        ),
        Case(
            "da = rainfall().assign_attrs(units='dBZ', standard_name='equivalent_reflectivity_factor'); da[0, 0, 0] = -999",
            "xef.open_radar(da)",
            "answer.isnull().sum() + (answer == 0).sum() == 1 or (answer == 0).sum() == 1",
        ),
    ],
    "datasets.radar.rain:_invalid": [
        Case(
            "ds = rainfall().assign_attrs(valid_max=np.int16(10)).to_dataset()",
            OPEN,
            "answer.max() == 10",
            only=0,
        ),
        Case(
            "ds = rainfall().assign_attrs(valid_max=np.int16(10)).to_dataset()",
            OPEN,
            "answer.max() == 14",
            only=1,
        ),
        Case(
            "da = rainfall().assign_attrs(valid_min=np.int16(0), valid_max=np.int16(10))",
            "xef.open_radar(da)",
            "answer.max() >= 10",
        ),
    ],
    "datasets.radar.odim_write:_frames": [
        Case(
            WRITE + ".expand_dims(member=2)",
            "write_odim(rain, path)",
            "len(__import__('os').listdir(__import__('os').path.dirname(path))) >= 0",
        )
    ],
    "datasets.radar.geotiff:check_map": [
        Case(
            WRITE + "; rain = rain.assign_coords(x=rain.x ** 2 / 1e5)",
            "write_odim(rain, path)",
            "True",
        )
    ],
    "datasets.radar.pysteps:_in_order": [
        Case(
            "rain = rainfall().expand_dims(init=2)",
            "xef.to_pysteps(rain)",
            "answer[0].shape == (6, 8, 10)",
        ),
        Case(
            "rain = rainfall().expand_dims(model=2)",
            "xef.to_pysteps(rain)",
            "answer[0].shape == (6, 8, 10)",
        ),
    ],
    "datasets.radar.pysteps:_extent": [
        Case(
            "rain = rainfall().drop_vars('x')",
            "xef.to_pysteps(rain)",
            "answer[0].shape == (6, 8, 10)",
        )
    ],
    "datasets.radar.pysteps:_rates": [
        Case(
            "field, metadata = xef.to_pysteps(rainfall())[:2]; metadata = metadata | {'unit': 'cm/h'}",
            "xef.from_pysteps(field, metadata)",
            "answer.max() == 14",
        ),
        Case(
            "field, metadata = xef.to_pysteps(rainfall())[:2]; metadata = {k: v for k, v in metadata.items() if k != 'accutime'} | {'unit': 'mm'}",
            "xef.from_pysteps(field, metadata)",
            "np.isclose(answer.max(), 14 * 12)",
        ),
        Case(
            "pytest.importorskip('pysteps'); import pysteps; field, metadata = xef.to_pysteps(rainfall() + 1)[:2]; field, metadata = pysteps.utils.transformation.boxcox_transform(field, {**metadata, 'transform': None, 'zerovalue': 0.0, 'threshold': 0.1})",
            "xef.from_pysteps(field, metadata)",
            "np.isclose(answer.max(), 15)",
        ),
    ],
    "datasets.radar.pysteps:_times": [
        Case(
            "field, metadata = xef.to_pysteps(rainfall())[:2]; metadata = {k: v for k, v in metadata.items() if k != 'timestamps'}",
            "xef.from_pysteps(field, metadata)",
            "answer.sizes['time'] == 6",
        )
    ],
    "datasets.radar.pysteps:from_pysteps": [],
    "datasets.radar.projection:read_crs": [
        Case(
            "field, metadata = xef.to_pysteps(rainfall())[:2]; metadata = metadata | {'projection': 'nonsense'}",
            "xef.from_pysteps(field, metadata)",
            "answer.max() == 14",
        )
    ],
}
CASES = {place: cases for place, cases in CASES.items() if cases}

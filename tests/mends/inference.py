"""Forecasts: their arguments, what packs read, guidance, extrapolation, steps of time, XRO."""

from mends.fields import CLOCKS
from mends.typed import Case

SEA = "anomalies()"
DAMPED = "earthformer.forecast(strict(), lead=2)"
FIRST = "np.isfinite(answer).any() and answer.sizes['lead'] == 2"
NOW = "da.earthformer.forecast(small(), lead=1)"
WIDE = "rainfall(8, side=(40, 40))"
WET = "answer.units == 'mm h-1' and answer.sizes == {'init': 1, 'lead': 1, 'y': 40, 'x': 40} and answer.max() > 5"
RAIN = f"da = {WIDE}"
TINY = "pack = tiny(); da = for_tiny()"
AT = "xef.forecast(da, pack, steps=2, guidance=xef.anticipated_intensity({}), members=1)"
WETTEST = "pack = tiny(); da = for_tiny(); "
DRAWN = "xef.forecast(da, pack, steps=2)"
EVERY = "da = anomalies().rename(time='T'); "
ALL = "da.earthformer.forecast(strict(), lead=2, init=slice(None))"

CASES = {
    "inference.engine:progress_bar": [
        Case(
            "da = absolute()",
            "xef.forecast(da, 'persistence', progress='yes')",
            "(answer == 17).all()",
        )
    ],
    "inference.engine:settings": [
        Case(f"da = {SEA}", "da.earthformer.forecast(strict(), lead=2, device='gpu')", FIRST),
        Case(f"da = {SEA}", "da.earthformer.forecast(strict(), lead=2, device=['cpu'])", FIRST),
        Case(f"da = {SEA}", "da.earthformer.forecast(strict(), lead=2, precision='fp8')", FIRST),
    ],
    "errors:whole_number": [
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', lead=2, batch_size=0)",
            "(answer == 17).all()",
        ),
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', lead=2, chunks=0)",
            "(answer == 17).all()",
        ),
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', lead=2, init=slice('2001', '2002', -1))",
            "answer.sizes['init'] == 2",
        ),
        Case(TINY, "xef.forecast(da, pack, steps=0)", "answer.sizes['member'] == 1"),
        Case(
            "import tempfile; da = absolute()",
            "xef.hindcast(da, 'persistence', tempfile.mkdtemp() + '/a.zarr', lead=2, chunks=0)",
            "answer.sizes['init'] == 36",
        ),
        Case(TINY, "xef.forecast(da, pack, steps=2, members=0)", "answer.sizes['member'] == 1"),
        Case(TINY, "xef.forecast(da, pack, steps=2, seed=-1)", "answer.sizes['member'] == 1"),
        Case("da = nino()", "da.earthformer.running_mean(n=2.5)", "answer[1] == da[:3].mean()"),
    ],
    "inference.ensemble:ensemble": [
        Case(TINY, "xef.forecast(da, pack, steps=2, seed=2**63)", "answer.sizes['member'] == 1")
    ],
    "models.prediff.samplers:count": [
        Case(TINY, "xef.forecast(da, pack, steps=5000)", "answer.sizes['member'] == 1")
    ],
    "inference.forecast:_for_each": [
        Case(
            "da = absolute().expand_dims(lead=[1, 2])",
            "da.earthformer.forecast('persistence', lead=2)",
            "answer.sizes['realization'] == 2 and (answer == 17).all()",
        ),
    ],
    "inference.forecast:_beyond": [
        Case(RAIN, "da.earthformer.forecast(small(), lead=1, beyond='zero')", WET)
    ],
    "inference.forecast:_lead_steps": [],
    "inference.guidance:anticipated_intensity": [
        Case("strength = 1.0", "xef.anticipated_intensity()", "answer.sigmas == 4"),
        Case(
            "strength = 1.0",
            "xef.anticipated_intensity(value=0.5, sigmas=2)",
            "answer.sigmas == 2 and answer.value is None",
        ),
    ],
    "inference.guidance:listed": [
        Case(TINY, "xef.forecast(da, pack, steps=2, guidance='wet')", "answer.sizes['member'] == 1")
    ],
    "inference.guidance:check": [
        Case(TINY, AT.format("sigmas=[1, 2]"), "answer.sizes['member'] == 2"),
        Case(
            TINY + "; pack = tiny(climatology=False)",
            AT.format("sigmas=2"),
            "answer.sizes['member'] == 1",
            {"value=...": "value=0.3"},
            into="guidance",
        ),
        Case(
            TINY + "; pack = tiny(alignment=False)",
            AT.format("sigmas=2"),
            "answer.sizes['member'] == 1",
        ),
    ],
    "inference.guidance:_numbers": [
        Case("n = np.nan", "xef.anticipated_intensity(value=n)", "answer.value == 1"),
        Case("n = np.nan", "xef.constraint(lambda fc, past: fc, target=n)", "answer.target == 1"),
    ],
    "inference.guidance:_positive": [
        Case("n = -1", "xef.anticipated_intensity(sigmas=2, strength=n)", "answer.strength == 50")
    ],
    "inference.guidance:of_forecast": [
        Case(
            TINY + "; on = lambda fc, past: fc.mean()",
            "xef.forecast(da, pack, steps=2, guidance=xef.constraint(fn=lambda fc, past: fc.mean('member')))",
            "answer.sizes['member'] == 1",
            {"fc.mean(": "fn=lambda fc, past: fc.mean("},
        ),
    ],
    "inference.inputs:_find": [],
    "inference.inputs:_check_step": [
        Case(
            f"da = {SEA}.resample(time='D').ffill().rename(time='T')",
            "da." + DAMPED,
            FIRST + " and answer.init[0] == np.datetime64('2002-12-01')",
        ),
    ],
    "inference.inputs:_check_rain": [
        Case(
            "da = rainfall(8, step='10min', side=(40, 40))",
            NOW,
            WET + " and answer.lead[0] == np.timedelta64(5, 'm')",
        ),
        Case(
            "da = rainfall(8, side=(40, 40)).isel(time=[0, 1, 2, 5, 6, 7])",
            "da.earthformer.forecast('persistence', lead=1)",
            "(answer[0, 0] == da[-1]).all()",
        ),
        Case(
            CLOCKS.format("2016-03-27T00:30", "10min", 12),
            "da.earthformer.forecast('persistence', lead=1)",
            "answer.init == np.datetime64('2016-03-27T02:20') and (answer[0, 0] == da[-1]).all()",
            {"...": "'Europe/Berlin'"},
            only=0,
        ),
    ],
    "inference.inputs:_check_baseline": [
        Case(
            "da = anomalies(60).assign_attrs(climatology_period='2001-01/2003-12')",
            "da.earthformer.forecast(strict())",
            "answer.attrs['climatology_period'] == '2000-01/2002-12'"
            " and np.isclose(answer[0, 0, 1, 1], da.earthformer.rebase(('2000', '2002'))[-1, 1, 1])",
        ),
        Case(
            "da = absolute(60)[36:].earthformer.anomaly(('2003', '2004'))",
            "da.earthformer.forecast(strict())",
            "answer.attrs['climatology_period'] == '2000-01/2002-12'",
            {"da.earthformer": "absolute(60).earthformer"},
            into="da",
        ),
    ],
    "inference.inputs:further_dims": [
        Case(
            "da = xr.concat([absolute().where(absolute().time < np.datetime64('2002')), absolute().where(absolute().time >= np.datetime64('2002'))], pd.Index([1, 5], name='expver'))",
            "da.earthformer.forecast('persistence', lead=2)",
            "(answer == 17).all() and answer.units == 'degC'",
        ),
        Case(
            "da = rainfall(); da = xr.concat([da, da], 'event', coords='different', compat='equals').assign_coords(y=(('event', 'y'), np.stack([da.y, da.y + 1])))",
            "da.earthformer.forecast('persistence', lead=2)",
            "answer.sizes['lead'] == 2",
        ),
    ],
    "inference.inputs:_check_spacing": [
        Case(f"da = {WIDE}; da = da.assign_coords(x=da.x / 1000, y=da.y / 1000)", NOW, WET),
        Case("da = rainfall(8, side=(80, 80), pixel=500.0)", NOW, WET),
        Case(
            "da = rainfall(8, side=(40, 40)).drop_vars(['x', 'y', 'crs']); del da.attrs['grid_mapping']; j, i = np.indices((40, 40)); da = da.assign_coords(lat=(('y', 'x'), 50 - j / 55.6, {'units': 'degrees_north'}), lon=(('y', 'x'), 8 + i / 35.7, {'units': 'degrees_east'}))",
            NOW,
            "answer.sizes['x'] > 70",
        ),
    ],
    "inference.inputs:_check_values": [
        Case(WETTEST + "da[3, -1, 3] = 1500", DRAWN, "answer.sizes['member'] == 1", only=0),
        Case(WETTEST + "da[3, -1, 3] = 1500", DRAWN, "answer.sizes['member'] == 1", only=1),
        Case(WETTEST + "da[3, -1, 3] = np.inf", DRAWN, "answer.sizes['member'] == 1"),
        Case(WETTEST + "da[3, -1, 3] = -999", DRAWN, "answer.sizes['member'] == 1"),
        Case(WETTEST + "da[:] = -da - 1", DRAWN, "answer.sizes['member'] == 1"),
        Case(EVERY + "da[10, 4:5, 5] = 18", ALL, FIRST + " and answer[10].max() == 15"),
        Case(EVERY + "da[10, 4:5, 5] = 600", ALL, FIRST),
        Case(EVERY + "da[:] = da * 20 + 200", ALL, "answer.units == 'cK'", {"...": "'cK'"}),
        Case(EVERY + "da[10] = np.nan", ALL, FIRST + " and (answer[10] == 0).any()"),
        Case(EVERY + "da[-1] = np.nan", ALL, FIRST + " and answer.init[-1].dt.month == 11", only=0),
        Case(EVERY + "da[-1] = np.nan", ALL, FIRST + " and (answer[-1] == 0).any()", only=1),
        Case(EVERY + "da[10, 4, 5] = np.inf", ALL, FIRST),
    ],
    "inference.optical_flow:_check_arguments": [
        Case(RAIN, "xef.extrapolate(da, method='flow', lead=1)", WET),
        Case(
            RAIN,
            "xef.extrapolate(da, method='sprog', lead=1, members=2)",
            "answer.sizes['lead'] == 1",
        ),
        Case(RAIN, "xef.extrapolate(da, lead=1, beyond='zero')", "answer.sizes['lead'] == 1"),
    ],
    "inference.optical_flow:_check_frames": [
        Case(
            "da = rainfall(2, side=(40, 40))",
            "xef.extrapolate(da, method='sprog', lead=1)",
            "answer.sizes['lead'] == 1",
        )
    ],
    "inference.optical_flow:_resolution": [
        Case(
            "da = rainfall(8, side=(40, 40)).drop_vars(['x', 'y', 'crs']); del da.attrs['grid_mapping']",
            "xef.extrapolate(da, method='steps', members=2, lead=1)",
            "answer.sizes['lead'] == 1",
        )
    ],
    "inference.time_step:_microseconds": [
        Case("da = rainfall()", "xef.to_step(da, step='0s')", "answer.sizes == da.sizes")
    ],
    "inference.time_step:_times": [
        Case("da = rainfall(2)", "xef.to_step(da, step='1h')", "answer.sizes['time'] == 2")
    ],
}
OF_TWO = "da.earthformer.forecast(two(), lead=2)"
SUMS = "np.allclose(answer.sst, 10) and np.allclose(answer.zos, 0.5)"  # of June: 5 + 10 x .5
CM = "ds = ocean(); ds['zos'] = (ds.zos * 100).assign_attrs(ds.zos.attrs)"
HEIGHT = "inputs={'sst': SST_OF_TWO, 'zos': {**ZOS_OF_TWO, 'valid_min': -3.0, 'valid_max': 3.0}}"
CASES |= {
    "inference.forecast:_lead_steps": [
        Case(
            "import small_ocean; pack = two(outputs=['sst'])",
            "ocean().earthformer.forecast(pack, lead=3)",
            "answer.sizes['lead'] == 2 and np.allclose(answer.sst, 10)",
        )
    ],
    "inference.inputs:_found": [
        Case(
            "da = ocean().sst; ds = ocean()",
            "da.earthformer.forecast(two())",
            SUMS,
            {'"sst": ...': '"sst": ds["sst"]', '"zos": ...': '"zos": ds["zos"]'},
            into="da",
        )
    ],
    "inference.inputs:_find": [
        Case(
            "ds = ocean().rename(zos='h')",
            "ds.earthformer.forecast(two())",
            "np.allclose(answer.sst, 10) and np.allclose(answer.zos, 0.5)",
            {"...": "h"},
        )
    ],
    "inference.inputs:_on_time_of": [
        Case(
            "ds = xr.Dataset({'sst': ocean().sst, 'zos': ocean(start='2000-03').zos.rename(time='t')})",
            "ds.earthformer.forecast(two())",
            # sst of June, and the height of June, its fourth month
            "np.allclose(answer.sst, 5 + 3) and np.allclose(answer.zos, 0.3)",
        )
    ],
    "inference.inputs:_check_grid": [
        Case("da = rainfall(8, side=(20, 40))", NOW, "'persistence' in answer", into="answer")
    ],
}
OCEAN = "ds = ocean(48, start='2001-01'); pack = two(baseline={'period': ['2001', '2003']}); right = ds.earthformer.rebase(('2001', '2003')).earthformer.forecast(pack); ds = ds.earthformer.rebase(('2004', '2004'))"
CASES["inference.inputs:_check_baseline"] += [
    Case(
        OCEAN,
        "ds.earthformer.forecast(pack)",
        "np.allclose(answer.sst, right.sst, atol=1e-5)",
        more=1,
    )
]
CASES["inference.inputs:_check_values"] += [
    Case(
        "ds = ocean(); ds['zos'] = ds.zos.where(ds.lat < 2)",
        "ds.earthformer.forecast(two())",
        "np.allclose(answer.sst[..., :2, :], 10) and np.allclose(answer.sst[..., 2, :], 5)",
    ),
    Case(
        "ds = ocean(); ds['zos'] = ds.zos.where(ds.time < np.datetime64('2000-05'))",
        "ds.earthformer.forecast(two())",
        "answer.equals(ocean().earthformer.forecast(two(), init='2000-04'))",
        only=0,
    ),
    Case(
        f"from small_ocean import SST as SST_OF_TWO, ZOS as ZOS_OF_TWO; pack = two({HEIGHT}); {CM}",
        "ds.earthformer.forecast(pack)",
        "np.allclose(answer.sst, 10) and np.allclose(answer.zos, 50)",
        {"...": "'cm'"},
    ),
]
PYSTEPS = "pytest.importorskip('pysteps'); import pysteps; from xearthformer.inference.pysteps_plugin import forecast as nowcast, import_xearthformer; rain = rainfall(4, side=(4, 6)); precip, metadata = xef.to_pysteps(rain); right = rain.values[-1:]"
SAME = "np.array_equal(answer, right)"
CASES |= {
    "inference.pysteps_plugin:import_xearthformer": [
        Case(
            PYSTEPS
            + "; import tempfile; path = tempfile.mkdtemp() + '/a.nc'; rain.to_netcdf(path)",
            "import_xearthformer(path)",
            "np.allclose(answer[0], rain)",
            into="answer",
        )
    ],
    "inference.pysteps_plugin:_steps": [
        Case(
            PYSTEPS,
            "nowcast(precip, None, timesteps=[3, 1], pack=still(), metadata=metadata)",
            "answer.shape == (12, 4, 6) and np.array_equal(answer[:1], right)",
        )
    ],
    "inference.pysteps_plugin:_labelled": [
        Case(
            PYSTEPS
            + "; precip, metadata = pysteps.utils.transformation.dB_transform(precip, dict(metadata), 0.1, -15.0)",
            "nowcast(precip, None, 1, pack=still(), metadata=metadata)",
            "np.allclose(answer, right, atol=0.1)",
        ),
        Case(
            PYSTEPS
            + "; metadata['timestamps'] = [*metadata['timestamps'][:1], *metadata['timestamps']]",
            "nowcast(precip, None, 1, pack=still(), metadata=metadata)",
            SAME,
        ),
        Case(PYSTEPS, "nowcast(precip, None, 1, pack=still(), timestep=5)", SAME),
        Case(PYSTEPS, "nowcast(precip, None, 1, pack=still(), kmperpixel=1)", SAME),
    ],
}
LATE = "data.where((data.time.dt.year > 1980) | (data.lon < 40) | (data.lon > 120))"
CASES |= {
    place: [
        Case(
            # days of two models in absolute values, of an Indian Ocean that is missing in 1980
            "pytest.importorskip('XRO'); data = (tropics() + 20).drop_attrs(deep=False).assign_attrs(SST); data = "
            + LATE
            + ".resample(time='5D').ffill().expand_dims(model=2)",
            "xef.xro(data, fit=('1980', '1985'), init='1992-01', lead=1)",
            "answer.sizes == {'init': 1, 'lead': 1} and 'fitted to 1981-1992' in answer.history",
            more=4,
        )
    ]
    for place in ("inference.xro:_one_record",)
}
CASES = {place: cases for place, cases in CASES.items() if cases}

"""Forecasts: their arguments, what packs read, guidance, extrapolation, steps of time, XRO."""

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
    "inference.inputs:_found": [
        Case("import mends_packs", "xef.forecast(absolute(), 'enso-ocean')", "True")
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
CASES = {
    place: cases for place, cases in CASES.items() if cases and place != "inference.inputs:_found"
}

"""Scores, products, seasons, confidence, and the pictures of them."""

from mends.typed import Case

SEA = "da = absolute(); obs = da; fc = forecasts(da)"
ANOMALY = "da = anomalies(); obs = da; fc = forecasts(da)"
RAIN = "da = rainfall(6); obs = da; fc = forecasts(da)"
WET = "da = rainfall(6); obs = da; fc = ensemble(forecasts(da))"
NINO = "obs = nino(); fc = ensemble(forecasts(anomalies(step=10), lead=6).earthformer.index('nino3.4'))"
VERIFY = "xef.verify(fc, obs, ['mse'])"
MSE = "answer.mse.sizes == {'lead': 3} and answer.mse.notnull().all()"
FILE = "import tempfile; path = tempfile.mkdtemp() + '/a.nc'; fc.to_netcdf(path); fc = xr.open_dataset(path, decode_timedelta=False).rain_rate"
SCORED = "'csi' in answer and answer.csi.notnull().any()"

CASES = {
    "verification.align:align": [
        Case(
            RAIN + "; obs = da.convert_calendar('noleap', use_cftime=True).rename(time='T')",
            VERIFY,
            MSE,
        )
    ],
    "verification.align:pick_variable": [
        Case(SEA + "; ds = xr.Dataset({'a': obs, 'b': obs})", "xef.verify(fc, ds, ['mse'])", MSE)
    ],
    "verification.align:match_units": [
        Case(
            ANOMALY
            + "; obs = da.assign_attrs(units_metadata='temperature: on_scale', long_name='x')",
            VERIFY,
            MSE,
            only=1,
            dots={"...": "(2000, 2002)"},
        ),
        Case(
            "da = absolute(40).earthformer.anomaly((2000, 2002)); fc = forecasts(da); obs = absolute(40)",
            VERIFY,
            "np.isclose(answer.mse, xef.verify(fc, da, ['mse']).mse).all()",
            only=0,
        ),
        Case(SEA + "; del fc.attrs['units']", VERIFY, MSE),
    ],
    "verification.align:match_valid_times": [
        Case(RAIN + "; obs = da.isel(time=[0, *range(6)]).rename(time='T')", VERIFY, MSE),
        Case(
            SEA
            + "; obs = xr.concat([da, da[3:4].assign_coords(time=[np.datetime64('2000-04-20')])], 'time').rename(time='T')",
            VERIFY,
            MSE,
        ),
    ],
    "verification.align:match_cells": [
        Case(SEA + "; obs = absolute(step=10)", VERIFY, MSE),
        Case(
            SEA + "; obs = absolute(step=10); obs['lon'] = obs.lon - 180",
            VERIFY,
            MSE + " and answer.n[0] == 35 * 162",
        ),
    ],
    "fields.forecasts:_renamed": [
        Case(
            "da = absolute(); fc = da; obs = da",
            "xef.verify(fc, obs, ['mse'])",
            MSE,
            {"...": "'persistence', init=slice(None), lead=3"},
            into="fc",
            only=0,
        ),
    ],
    "fields.forecasts:_leads": [
        Case(
            RAIN + "; fc = fc.drop_vars('valid_time').assign_coords(lead=['a', 'b', 'c'])",
            VERIFY,
            MSE,
            {"[1, 2, ...]": "[5, 10, 15]", '"months"': '"min"'},
            only=0,
        ),
        Case(
            "da = absolute(); da['time'] = pd.date_range('2000', periods=36); obs = da; fc = forecasts(da).drop_vars('valid_time'); fc['lead'] = ('lead', [1, 2, 3], {'units': 'D'})",
            VERIFY,
            MSE,
        ),
    ],
    "fields.forecasts:_one_variable": [
        Case(
            SEA
            + "; fc = xr.concat([fc, fc + 9], pd.Index(['sst', 'u10'], name='variable'))"
            + ".drop_vars('valid_time').rename(init='time', lead='lead_time')",
            VERIFY,
            "np.isclose(answer.mse, xef.verify(forecasts(da), obs, ['mse']).mse).all()",
        )
    ],
    "verification.weatherbench:to_weatherbench": [
        Case(SEA, "fc.earthformer.to_weatherbench()", "'init' in answer.dims", into="answer")
    ],
    "verification.align:_as_forecast": [
        Case(
            RAIN
            + "; import tempfile; path = tempfile.mkdtemp() + '/a.nc'; fc.to_netcdf(path); fc = xr.open_dataset(path, decode_timedelta=False).rain_rate",
            VERIFY,
            MSE,
            {"...": "path", "decode_timedelta=True)": "decode_timedelta=True).rain_rate"},
            into="fc",
            only=0,
        ),
    ],
    "verification.align:check_same": [
        Case(SEA + "; obs = da.assign_attrs(standard_name='air_temperature')", VERIFY, MSE),
        Case(
            "da = anomalies(40, step=10); fc = forecasts(da, lead=6).earthformer.index('nino3.4'); obs = da.earthformer.index('nino3')",
            "xef.enso_skill(fc, obs)",
            "answer.n[0] == 37",
        ),
    ],
    "verification.align:check_once": [
        Case(
            SEA + "; fc = xr.concat([fc, fc[:2]], 'init')",
            VERIFY,
            "np.isclose(answer.mse, xef.verify(forecasts(da), obs, ['mse']).mse).all()",
        ),
        Case(
            "obs = nino(); fc = forecasts(anomalies(step=10), lead=6).earthformer.index('nino3.4'); fc = xr.concat([fc, fc[:2]], 'init')",
            "xef.enso_skill(fc, obs)",
            "answer.n[0] == 33",
        ),
    ],
    "verification.align:check_places": [
        Case(
            "da = curvilinear().assign_coords(y=range(9), x=range(18)); fc = forecasts(da); obs = da.isel(y=slice(None, None, -1)).assign_coords(y=range(9))",
            VERIFY,
            "np.isclose(answer.mse, xef.verify(fc, da, ['mse']).mse).all()",
        ),
        Case(
            "da = curvilinear(); fc = forecasts(da); obs = da.isel(x=slice(None, None, -1))",
            VERIFY,
            "np.isclose(answer.mse, xef.verify(fc, da, ['mse']).mse).all()",
        ),
    ],
    "verification.align:_match_dims": [
        Case(
            SEA + "; fc = fc.expand_dims(model=2, run=[1, 2, 3])",
            "xef.verify(fc, obs, ['crps'])",
            "answer.crps.sizes == {'lead': 3}",
        ),
        Case(
            "da = absolute(); obs = da.expand_dims(run=2); fc = ensemble(forecasts(da)).expand_dims(run=2)",
            "xef.verify(fc, obs[0], ['crps'])",
            "answer.crps.sizes == {'lead': 3}",
        ),
        Case(SEA + "; obs = obs.expand_dims(run=2)", VERIFY, MSE),
        Case("obs = absolute().expand_dims(run=2); fc = forecasts(obs)", VERIFY, MSE),
        Case(
            f"{SEA}; fc = xr.concat([fc, fc], 'number')",
            "xef.verify(fc, obs, ['crps'])",
            "answer.crps.sizes['lead'] == 3",
        ),
        Case(
            RAIN + "; obs = da.rename(y='north', x='east')",
            VERIFY,
            "np.isclose(answer.mse, xef.verify(fc, da, ['mse']).mse).all()",
        ),
        Case(
            RAIN + "; obs = da.rename(y='b', x='a').drop_vars(['a', 'b'])",
            VERIFY,
            MSE + " and np.allclose(answer.mse, [1, 4, 9])",
            {"'b': ...": "'b': 'y'", "'a': ...": "'a': 'x'"},
        ),
    ],
    "verification.bias:_match": [
        Case(
            SEA + "; hindcast = forecasts(da, lead=2)",
            "fc.earthformer.correct_bias(forecasts(da, lead=2), obs)",
            "answer.sizes['lead'] == 3",
        )
    ],
    "verification.climpred:to_climpred": [
        Case(
            SEA + "; fc = fc.isel(init=0).drop_vars('init')",
            "fc.earthformer.to_climpred()",
            "answer.sizes['init'] == 1",
            {"...": "np.datetime64('2000-01')"},
            only=0,
        ),
        Case(
            RAIN + "; fc['lead'] = fc.lead + np.timedelta64(1, 'us')",
            "fc.earthformer.to_climpred()",
            "answer.lead.units == 'minutes'",
        ),
    ],
    "verification.confidence:score_confidence": [
        Case(
            RAIN.replace("6", "12") + "; sums = xef.statistics(fc, obs, ['mse']).sum('init')",
            "xef.score_confidence(sums)",
            "answer.mse_low.notnull().all()",
            into="sums",
        ),
        Case(
            "da = rainfall(30); obs = da; fc = forecasts(da, lead=1); other = fc; sums = xef.statistics(fc, obs, ['mse']); reference = xef.statistics(fc[:9], obs, ['mse'])",
            "xef.score_confidence(sums, reference=reference)",
            "answer.mse_low.notnull().all()",
            into="answer",
        ),
    ],
    "verification.confidence:check_confidence": [
        Case(
            "da = rainfall(30); obs = da; fc = forecasts(da, lead=1)",
            f"xef.verify(fc, obs, ['mse'], confidence={given})",
            "answer.mse_low.notnull().all()",
            into="confidence",
        )
        for given in ("95", "'0.9'", "[0.9]")
    ],
    "verification.confidence:_blocks": [
        Case(
            "da = rainfall(60, step='1h'); obs = da; fc = forecasts(da, lead=1); sums = xef.statistics(fc, obs, ['mse'])",
            "xef.score_confidence(sums, block='many')",
            "answer.mse_low.notnull().all()",
        ),
    ],
    "verification.enso:enso_ensemble_skill": [
        Case(
            "da = anomalies(60, step=2); fc = ensemble(forecasts(da).earthformer.index('nino3.4'), 1); obs = da.earthformer.index('nino3.4')",
            "xef.enso_ensemble_skill(fc.earthformer.index('nino3.4') if 'lat' in fc.dims else fc, obs)",
            "answer is not None",
            {"...": "'lim', lead=3, init=slice(None)", "members=50": "members=2"},
            into="fc",
        )
    ],
    "verification.grid:window_pixels": [
        *(
            Case(
                RAIN,
                f"xef.verify(fc, obs, ['fss'], thresholds=[5], window={given})",
                "answer.fss.notnull().any()",
            )
            for given in ("0.5", "np.nan", "[[1]]", "{'16 km'}")
        ),
        Case(
            RAIN,
            "xef.verify(fc, obs, ['fss'], thresholds=[5], window='4 miles per h')",
            "answer.fss.notnull().any()",
        ),
        Case(
            RAIN + "; obs, fc = obs.drop_vars(['x', 'y', 'crs']), fc.drop_vars(['x', 'y', 'crs'])",
            "xef.verify(fc, obs, ['fss'], thresholds=[5], window='4 km')",
            "answer.fss.notnull().any()",
        ),
    ],
    "verification.grid:rings_of": [
        Case(
            RAIN + "; obs, fc = obs[:, :1], fc[:, :, :1]",
            "xef.verify(fc, obs, scores=['spectrum'])",
            "'mse' in answer",
        )
    ],
    "verification.products:exceedance": [
        Case(WET, "fc.earthformer.exceedance([1, 1])", "answer.sizes['threshold'] == 3"),
        Case(WET, "fc.earthformer.exceedance(1, anywhere=True)", "answer.notnull().all()"),
    ],
    "verification.products:_in_own_units": [
        Case(WET, "fc.earthformer.exceedance('heavy')", "answer.sizes['threshold'] == 3"),
        Case(
            WET + "; del fc.attrs['units']",
            "fc.earthformer.exceedance('heavy')",
            "answer.sizes['threshold'] == 3",
        ),
        Case(WET, "fc.earthformer.exceedance('5 mm')", "answer.dims == ('init', 'lead', 'y', 'x')"),
    ],
    "verification.products:quantiles": [
        Case(
            WET,
            "fc.earthformer.quantiles([10, 90])",
            "answer['quantile'].values.tolist() == [0.1, 0.9]",
        ),
        Case(WET, "fc.earthformer.quantiles('most')", "answer.sizes['quantile'] == 3"),
    ],
    "verification.products:_rates": [
        Case(
            RAIN + "; fc = fc.isel(lead=0)",
            "fc.earthformer.accumulate('5min')",
            "answer.notnull().all()",
            {"...": "'persistence', lead=3"},
            into="fc",
        ),
        Case(
            "da = absolute().assign_attrs(standard_name='rainfall_rate', units='mm h-1'); fc = forecasts(da)",
            "fc.earthformer.accumulate('1h')",
            "answer.sizes['lead'] == 1",
            into="answer",
        ),
        Case(
            "da = rainfall(6); fc = forecasts(da, lead=1)",
            "forecasts(da, lead=1).earthformer.accumulate('5min')",
            "answer.sizes['lead'] == 2",
        ),
        Case(
            RAIN + "; fc = forecasts(da, lead=6).isel(lead=[0, 1, 5])",
            "fc.earthformer.accumulate('10min')",
            "answer.sizes['lead'] > 0",
            {"...": "'persistence', lead=6"},
            into="fc",
        ),
        Case(
            RAIN
            + "; import tempfile; path = tempfile.mkdtemp() + '/a.nc'; fc.to_netcdf(path); fc = xr.open_dataset(path, decode_timedelta=False).rain_rate",
            "fc.earthformer.accumulate('15min')",
            "answer.sizes['lead'] == 1",
            {"...": "path", "decode_timedelta=True)": "decode_timedelta=True).rain_rate"},
            into="fc",
            only=0,
        ),
    ],
    "verification.products:_length": [
        Case(RAIN, "fc.earthformer.accumulate('long')", "answer.sizes['lead'] == 1"),
        Case(RAIN, "fc.earthformer.accumulate('10min')", "answer.sizes['lead'] == 1"),
    ],
    "verification.regimes:wet_area": [
        Case(RAIN, "xef.wet_area(obs, edges=[0.5, 0.2])", "answer.sizes == {'time': 6}")
    ],
    "verification.regimes:rain_regime": [
        Case(RAIN, "xef.rain_regime(obs, winter=[0])", "answer.sizes == {'time': 6}")
    ],
    "verification.request:check": [
        Case(
            "import tempfile; store = tempfile.mkdtemp(); da = anomalies(24, step=2)",
            "xef.hindcast(da, 'lim', store, lead=2, members=2, products=xef.Products(window=3))",
            "'probability' in answer",
        ),
        Case(
            "import tempfile; store = tempfile.mkdtemp(); da = absolute()",
            "xef.hindcast(da, 'persistence', store, lead=2, products=xef.Products(with_members=True))",
            "'sst' in answer",
        ),
    ],
    "verification.regimes:_kilometres": [
        Case(
            RAIN + "; obs = obs.drop_vars(['x', 'y', 'crs'])",
            "xef.rain_regime(obs)",
            "answer.sizes == {'time': 6}",
        )
    ],
    "verification.regimes:labels_of": [
        Case(RAIN, "xef.verify(fc, obs, ['mse'], by='wet')", "'wet_area' in answer.dims", only=0),
        Case(
            RAIN,
            "xef.compare(da, ['persistence'], lead=1, by='wet')",
            "'wet_area' in answer.dims",
            only=0,
        ),
        Case(
            RAIN + "; labels = xef.wet_area(obs)[2:]",
            "xef.compare(da, ['persistence'], lead=1, by=labels)",
            "'wet_area' in answer.dims and answer.inits.sum() == 3",
        ),
        Case(
            RAIN + "; labels = xr.DataArray([['a', 'b']], dims=('p', 'q')).isel(p=[0, 0])",
            "xef.verify(fc, obs, ['mse'], by=labels)",
            "'wet_area' in answer.dims",
        ),
        Case(
            RAIN + "; labels = xef.wet_area(obs)[2:]",
            "xef.verify(fc, obs, ['mse'], by=labels)",
            "'wet_area' in answer.dims",
        ),
        Case(
            RAIN + "; labels = xef.wet_area(obs).where(False, '')",
            "xef.verify(fc, obs, ['mse'], by=labels)",
            "'wet_area' in answer.dims",
        ),
    ],
    "verification.scores:check_names": [
        Case(RAIN, "xef.verify(fc, obs, scores=['csy'])", "'mse' in answer"),
        Case(RAIN, "xef.verify(fc, obs, scores=[['csi']])", "'mse' in answer"),
        Case(RAIN, "xef.verify(fc, obs, scores=3)", "'mse' in answer"),
        Case(RAIN, "xef.verify(fc, obs, scores=iter(['csi']))", "'mse' in answer"),
        Case(RAIN, "xef.verify(fc, obs, scores='csi', reference=fc)", SCORED),
        Case(RAIN, "xef.compare(da, ['persistence'], lead=1, scores='far')", "'far' in answer"),
    ],
    "verification.scores:as_thresholds": [
        *(
            Case(RAIN, f"xef.verify(fc, obs, ['csi'], thresholds={given})", SCORED)
            for given in ("5", "'15'", "[1, np.nan]")
        ),
        Case(RAIN, "xef.compare(da, ['persistence'], lead=1, thresholds=5)", SCORED),
        Case(NINO, "fc.earthformer.categories(thresholds=0.5)", "answer.sizes['category'] == 3"),
    ],
    "verification.scores:printed_columns": [],
    "verification.scores:score": [],
    "verification.seasonal:seasonal_mean": [
        Case(
            "da = absolute().resample(time='D').ffill().rename(time='T')",
            "da.earthformer.seasonal_mean()",
            "answer.sizes['T'] == 34",
        )
    ],
    "verification.seasonal:check_leads": [
        Case(
            "da = anomalies(step=10); fc = da.isel(time=slice(3)).rename(time='lead')",
            "fc.earthformer.seasonal_mean()",
            "answer.sizes['lead'] == 1",
            {"...": "'persistence', lead=3"},
            into="fc",
        ),
        Case(
            "da = anomalies(step=10); fc = forecasts(da, lead=6).isel(lead=[0, 3, 5])",
            "fc.earthformer.seasonal_mean()",
            "answer.sizes['lead'] == 1",
            {"...": "'persistence', lead=3"},
            into="fc",
        ),
        Case(
            "da = anomalies(step=10)",
            "forecasts(da, lead=2).earthformer.seasonal_mean()",
            "answer.sizes['lead'] == 1",
        ),
    ],
    "verification.seasonal:check_members": [
        Case(
            "da = anomalies(36, step=2); fc = forecasts(da, lead=6)",
            "fc.earthformer.categories()",
            "answer.sizes['category'] == 3",
            {"...": "'lim', lead=6", "members=50": "members=3"},
            into="fc",
        )
    ],
    "verification.seasonal:categories": [
        Case(NINO, "fc.earthformer.categories(thresholds=[1, 1])", "answer.sizes['category'] == 3")
    ],
    "verification.seasonal:_in_degrees": [
        Case(
            NINO + "; fc = fc.rename('pdo').drop_attrs(deep=False)",
            "fc.earthformer.categories()",
            "answer.sizes['category'] == 3",
        ),
        Case(
            NINO + "; fc.attrs['units_metadata'] = 'temperature: on_scale'",
            "fc.earthformer.categories()",
            "answer.sizes['category'] == 3",
        ),
    ],
    "verification.skill:skill_confidence": [
        Case(
            "da = anomalies(60, step=2); fc = forecasts(da).earthformer.index('nino3.4'); obs = da.earthformer.index('nino3.4')",
            "xef.skill_confidence(fc, obs, level=95)",
            "answer is not None",
        )
    ],
    "verification.skill_score:skill_score": [
        Case(
            SEA
            + "; scores = xr.concat([xef.verify(fc, obs, ['mse'])] * 2, pd.Index(['a', 'b'], name='forecast'))",
            "xef.skill_score(scores, reference='c')",
            "(answer.mse_skill == 0).any()",
        ),
        Case(
            SEA + "; scores = xef.verify(fc, obs, ['mse']); other_scores = scores",
            "xef.skill_score(scores, reference='c')",
            "(answer.mse_skill == 0).all()",
        ),
        Case(
            RAIN + "; scores = ['bias']",
            "xef.skill_score(xef.verify(fc, obs, scores), xef.verify(fc, obs, scores))",
            "'mse_skill' in answer",
            into="scores",
        ),
    ],
    "verification.skill_score:on_common_pixels": [
        Case(
            RAIN + "; other = forecasts(da)[:2]; fc = fc[4:]",
            "xef.verify(fc, obs, ['mse'], reference=other)",
            "'mse_skill' in answer",
            {
                "a reference from ": "da.earthformer.forecast('persistence', lead=3, ",
                "values)": "values))",
            },
            into="other",
        )
    ],
    "verification.terciles:rpss": [
        Case(
            "da = anomalies(72, step=20); obs = da; fc = forecasts(da)[40:]; other = forecasts(da)[:10]",
            "fc.earthformer.rpss(obs, reference=forecasts(da, init=slice('2000', '2000-06')))",
            "answer.sizes['lead'] == 1",
        )
    ],
    "verification.terciles:_edges": [
        Case(
            "da = anomalies(72, step=20); obs = da; fc = ensemble(forecasts(da)[40:])",
            "fc.earthformer.terciles(obs, period=('2000', '2000-06'))",
            "answer.sizes['category'] == 3",
        )
    ],
    "verification.verify:_with_skill": [
        Case(RAIN, "xef.verify(fc, obs, scores=['bias'], reference=fc)", "'mse_skill' in answer")
    ],
    "verification.verify:where_known": [Case(RAIN, "xef.verify(fc, obs, ['mse'], known=0.5)", MSE)],
    "verification.verify:check_share": [
        Case(
            "da = rainfall(12, side=(40, 40)); obs = da; fc = forecasts(da); fc = fc.assign_coords(known=fc.astype('f4') * 0 + 1)",
            f"xef.verify(fc, obs, ['mse'], known={given})",
            "'mse' in answer",
        )
        for given in ("50", "'0.5'")
    ],
    "verification.verify:_measures": [
        Case(
            RAIN,
            "xef.verify(fc, obs, ['fss'], window=['1 km', '1 km'])",
            "answer.sizes['window'] == 3",
        ),
    ],
    "verification.verify:_check": [
        Case(SEA, "xef.verify(fc, obs, ['csi'])", SCORED),
        Case(
            "da = rainfall(6); obs = da; fc = ensemble(forecasts(da))[:, :, :1]",
            "xef.verify(fc, obs, scores=['spread'])",
            "'rmse' in answer",
        ),
        Case(RAIN, "xef.verify(fc, obs, ['fss'])", "'fss' in answer"),
        Case(
            "da = anomalies(step=10); obs = da.earthformer.index('nino3.4'); fc = forecasts(da).earthformer.index('nino3.4')",
            "xef.verify(fc, obs, scores=['spectrum'])",
            "'mse' in answer",
        ),
    ],
}
CASES = {place: cases for place, cases in CASES.items() if cases}

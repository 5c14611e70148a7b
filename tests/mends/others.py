"""Hindcasts, packs, comparisons, training, data sets and pictures."""

from mends.typed import Case

RAIN = "da = rainfall(6); obs = da; fc = forecasts(da)"
WET = "da = rainfall(6); obs = da; fc = ensemble(forecasts(da))"
MONTHS = "da = anomalies(step=10); obs = da; fc = forecasts(da, lead=6)"
STORE = "import tempfile; store = tempfile.mkdtemp() + '/a.zarr'; da = absolute()"
COMPARE = "xef.compare(da, ['persistence'], lead=1, {})"
DREW = "answer is not None"
PLOT = "pytest.importorskip('matplotlib').use('agg'); "
PLUME = PLOT + MONTHS + "; from xearthformer.plots.maps import plume"

CASES = {
    "hindcasts.hindcast:hindcast": [
        Case(
            STORE,
            "xef.hindcast(da, 'persistence', store, lead=2, on_error='warn')",
            "answer.sizes['init'] == 36",
        ),
        Case(
            STORE + "; da = anomalies(36, step=2)",
            "xef.hindcast(da, 'lim', store, lead=2, members=2, products=[0.1])",
            "answer['quantile'].values.tolist() == [0.1, 0.5, 0.9]",
        ),
    ],
    "hindcasts.hindcast:_check_once": [
        Case(
            STORE + "; init = da.time[[3, 3, 4]]",
            "xef.hindcast(da, 'persistence', store, lead=2, init=init)",
            "answer.sizes['init'] == 2",
        )
    ],
    "hindcasts.hindcast:_check_chunks": [
        Case(
            STORE + "; xef.hindcast(da, 'persistence', store, lead=2)",
            "xef.hindcast(da, 'persistence', store, lead=2, chunks=7)",
            "answer.sizes['init'] == 36",
        )
    ],
    "hindcasts.store:check_name": [
        Case(
            STORE + ".rename('a/b')",
            "xef.hindcast(da, 'persistence', store, lead=2)",
            "list(answer) == ['value']",
            only=0,
        ),
        Case(
            STORE + "; ds = absolute().to_dataset(name='a/b')",
            "xef.hindcast(ds, 'persistence', store, lead=2)",
            "list(answer) == ['value']",
            only=1,
        ),
    ],
    "packs.pack:taken": [
        Case(
            "import tempfile; pack = small(); path = tempfile.mkdtemp() + '/p'; xef.save_pack(path, pack.model(), pack.card)",
            "xef.save_pack(path, pack.model(), pack.card.model_copy(update={'title': 'another'}))",
            "answer.card.title == 'another' and answer.card.name == 'small'",
        )
    ],
    "comparison.compare:_check_packs": [
        Case(RAIN, f"xef.compare(da, packs={given}, lead=1)", "answer.sizes['forecast'] == 1")
        for given in ("[]", "'lim'", "3", "xef.open_pack('lim')", "[xef.open_pack('lim')]")
    ],
    "comparison.compare:_check_rows": [
        Case(RAIN, COMPARE.format("reference='lim'"), "answer.sizes['forecast'] == 1"),
    ],
    "verification.confidence:check_block": [
        Case(
            "da = rainfall(30)",
            COMPARE.format("block='10min'"),
            "'mse_low' in answer",
        ),
        Case(
            "da = rainfall(30); obs = da; fc = forecasts(da, lead=1)",
            "xef.verify(fc, obs, ['mse'], block=2)",
            "'mse_low' in answer",
        ),
    ],
    "comparison.compare:_square": [
        Case(RAIN, COMPARE.format("surroundings=2"), "answer.sizes['forecast'] == 1")
    ],
    "comparison.compare:_block_sums": [
        Case(RAIN, COMPARE.format("known=0.5"), "answer.sizes['forecast'] == 1")
    ],
    "comparison.square:find_square": [
        Case(RAIN, COMPARE.format("square=50"), "answer.sizes['forecast'] == 1"),
        Case(RAIN, COMPARE.format("square=4, thresholds=[]"), "answer.sizes['forecast'] == 1"),
    ],
    "datasets.icar_enso:open_icar_enso": [],
    "datasets.sevir.backend:sevir_windows": [],
    "datasets.simulated.nbody:nbody": [],
    "datasets.sevir.vil:_check_units": [
        Case(
            "da = rainfall(); ds = xr.Dataset({'vil': da.assign_attrs(units='1')})",
            "xef.vil_to_kg_m2(da)",
            "answer.attrs['units'] == 'kg m-2'",
            only=-1,
        ),
        Case(
            "ds = xr.Dataset({'vil': rainfall().assign_attrs(units='1')})",
            "xef.vil_to_kg_m2(ds)",
            "answer.attrs['units'] == 'kg m-2'",
        ),
    ],
    "plots.ensemble:stamps": [
        Case(PLOT + WET, "fc.earthformer.plot.stamps(lead=['5min', '10min'])", DREW),
        Case(
            PLOT + MONTHS + "; fc = ensemble(fc)", "fc.earthformer.plot.stamps(lead=[1, 2])", DREW
        ),
    ],
    "plots.ensemble:rank_histogram": [
        Case(
            PLOT
            + WET
            + "; from xearthformer.plots.ensemble import rank_histogram; scores = xef.verify(fc, obs, ['mse'])",
            "rank_histogram(scores)",
            DREW,
            into="scores",
        )
    ],
    "plots.ensemble:check_ensemble": [
        Case(PLOT + RAIN, "fc.earthformer.plot.stamps()", DREW, into="answer")
    ],
    "plots.frames:_select": [
        Case(PLOT + MONTHS, "fc.earthformer.plot.frames()", DREW, {"...": ""}, into="answer")
    ],
    "plots.frames:_lines": [
        Case(
            PLOT
            + RAIN
            + "; from xearthformer.plots.frames import by_lead; scores = xef.verify(fc, obs, ['mse'])",
            "by_lead(scores)",
            DREW,
            into="scores",
        ),
        Case(
            PLOT
            + RAIN
            + "; from xearthformer.plots.frames import by_lead; scores = xef.verify(fc, obs, ['csi']).expand_dims(model=2)",
            "by_lead(scores)",
            DREW,
            {"the forecast's isel": "scores.isel"},
        ),
    ],
    "plots.maps:_as_index": [
        Case(PLUME, "plume(fc)", DREW),
        Case(PLOT + MONTHS + "; fc = fc.expand_dims(model=2)", "fc.earthformer.plot.plume()", DREW),
    ],
    "plots.maps:_observed_line": [
        Case(PLUME + "; fc = fc.earthformer.index('nino3.4')", "plume(fc, obs)", DREW)
    ],
    "plots.maps:_bands": [
        Case(
            PLOT + MONTHS + "; fc = ensemble(fc)",
            "fc.earthformer.plot.plume(quantiles=[0.1])",
            DREW,
        )
    ],
    "plots.panels:as_lead": [
        Case(PLOT + RAIN, "fc.earthformer.plot.frames(lead=[5, 10])", DREW),
        Case(PLOT + RAIN, "fc.earthformer.plot.field(lead=30)", DREW),
    ],
    "plots.panels:select": [
        Case(PLOT + MONTHS + "; fc = ensemble(fc)", "fc.earthformer.plot.field()", DREW),
        Case(PLOT + MONTHS + "; fc = fc.expand_dims(model=2)", "fc.earthformer.plot.field()", DREW),
    ],
    "plots.panels:check_skill": [],
    "plots.scores:_table": [
        Case(
            PLOT
            + RAIN
            + "; from xearthformer.plots.scores import fss; scores = xef.verify(fc, obs, ['mse'])",
            "fss(scores)",
            DREW,
            into="scores",
        ),
        Case(
            PLOT
            + RAIN
            + "; from xearthformer.plots.scores import fss; scores = xef.verify(fc, obs, ['fss'], window=[1, 4]).expand_dims(model=2)",
            "fss(scores)",
            DREW,
        ),
    ],
    "plots.scores:reliability": [
        Case(
            PLOT
            + WET
            + "; from xearthformer.plots.scores import reliability; scores = xef.verify(fc, obs, ['mse'])",
            "reliability(scores)",
            DREW,
            into="scores",
        )
    ],
    "plots.seasons:_of_one_init": [
        Case(
            PLOT + MONTHS + "; fc = ensemble(fc).expand_dims(model=2)",
            "fc.earthformer.plot.categories()",
            DREW,
        ),
        Case(
            PLOT
            + MONTHS
            + "; from xearthformer.plots.seasons import categories; fc = ensemble(fc)",
            "categories(fc)",
            DREW,
        ),
    ],
    "training.loop:device_of": [],
}
NINO = "da = anomalies(60, step=10); obs = da.earthformer.index('nino3.4'); fc = forecasts(da, init=slice('2001', None)).earthformer.index('nino3.4')"
GIVEN = "from xearthformer.comparison.compare import given_forecast; da = absolute(); fc = forecasts(da, init=slice('2001', '2001-06'))"
ICAR = "da = anomalies(40).isel(lat=0, drop=True).expand_dims(model=1)"
CASES |= {
    "cli.watch:_check": [
        Case(
            "import tempfile; from xearthformer.cli.watch import watch; folder, out = tempfile.mkdtemp(), tempfile.mkdtemp()",
            "str(next(watch(folder, small(), out, format='grib', once=True)))",
            "'no frames' in answer",
        )
    ],
    "comparison.compare:run": [
        # of 3, 3 more each month: the error of persistence one month ahead, and December's -11 + 3
        Case(
            GIVEN,
            "xef.compare(da, [given_forecast('mine', fc)], lead=1)",
            "answer.sizes['init'] == 6 and np.allclose(answer.mse, 1)",
        ),
        Case(
            GIVEN,
            "xef.compare(da, [given_forecast('mine', fc)], init=list(fc.init.values), lead=9)",
            "answer.sizes['lead'] == 3 and np.allclose(answer.mse, [1, 4, 9])",
        ),
    ],
    "comparison.papers:open_packs": [
        Case(
            "da = icar_like()",
            "xef.enso_table(da, packs=[], progress=False)",
            "('here', 'persistence') in answer.index",
        )
    ],
    "comparison.papers:check_frames": [
        Case(
            "pytest.importorskip('torchmetrics'); from xearthformer.comparison.papers import frame_scores; from xearthformer.packs.scale import Scale; da = absolute(5, step=10); da[2, 0, 0] = np.nan; packs = {'still': xef.open_pack('persistence')}",
            "frame_scores([da], packs, 1, 1, Scale())",
            # a step of one everywhere but in the pixel that was 2, one of 0 before it and after
            "np.isclose(answer['still'][1], 100 * (1 + (1 - 1 + 3 - 1) / 4 / 648))",
            {"...": "0"},
        )
    ],
    "hindcasts.hindcast:_fill": [
        Case(
            STORE + "; da = anomalies(); da[4] = np.nan",
            "xef.hindcast(da, strict(), store, lead=2, on_error='raise')",
            "answer.sst[:, 0].isnull().all(('lat', 'lon')).values.nonzero()[0].tolist() == [4]",
        )
    ],
    "plots.panels:check_skill": [
        Case(
            PLOT
            + MONTHS
            + "; from xearthformer.plots.maps import skill; scores = xef.verify(fc, obs, ['mse'])",
            "skill(scores)",
            DREW,
            into="scores",
        ),
        Case(
            PLOT
            + NINO.replace("; fc = forecasts(da", "; obs_index = obs; fc = forecasts(da, lead=6")
            + "; fc_index = fc; from xearthformer.plots.seasons import skill_by_season; scores = xef.enso_skill(fc, obs)",
            "skill_by_season(scores)",
            DREW,
            into="scores",
        ),
    ],
    "verification.enso:icar_nino34": [
        Case(
            "from xearthformer.verification.enso import icar_nino34; da = icar_like().transpose('time', 'lon', 'lat', ...).isel(model=0, drop=True)",
            "icar_nino34(da)",
            "np.allclose(answer, icar_like()[0, :, 10:13, 19:30].mean(('lat', 'lon')))",
        )
    ],
    "verification.scores:printed_columns": [
        Case(
            RAIN
            + "; from xearthformer.comparison.tables import summary; result = xef.compare(da, ['persistence'], lead=1)",
            "summary(result, further=['far_off'])",
            "'persistence' in answer",
        )
    ],
    "verification.enso:_check_dims": [
        Case(
            NINO + "; fc = fc.isel(init=[3]).squeeze()",
            "xef.enso_skill(fc, obs)",
            "np.isclose(answer.rmse[0], abs(fc.mean() - obs[16:19].mean()))",
        ),
        Case(
            NINO + "; fc = da",
            "xef.enso_skill(fc, obs)",
            "answer.equals(xef.enso_skill(forecasts(da).earthformer.index('nino3.4'), obs))",
            {"...": "'persistence', init=slice(None), lead=3"},
            into="fc",
        ),
    ],
    "verification.enso:_at_valid_times": [
        Case(
            NINO + "; obs = obs.rename(time='T')",
            "xef.enso_skill(fc, obs)",
            "answer.equals(xef.enso_skill(fc, da.earthformer.index('nino3.4')))",
        )
    ],
}
CASES = {place: cases for place, cases in CASES.items() if cases}

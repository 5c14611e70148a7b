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
        )
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
    "comparison.compare:compare": [
        Case(
            RAIN, "xef.compare(da, packs=[], lead=1)", "answer.sizes['forecast'] == 1", into="packs"
        ),
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
            {"vil_to_kg_m2(ds": "xef.vil_to_kg_m2(ds"},
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
    "verification.scores:printed_columns": [],
}
CASES = {place: cases for place, cases in CASES.items() if cases}

"""What warnings say to type, and errors that are sentences."""

from mends.typed import Case

LIM = "from xearthformer.models.baselines.lim import LIMConfig"
SEASONAL = "from xearthformer.models.baselines.seasonal_lim import SeasonalLIMConfig"
DRY = "fc = forecasts(rainfall(8)); obs = rainfall(8) + 1; obs.attrs = rainfall().attrs; right = xef.verify(fc, obs.where(obs.x > 6500, 0), ['mse']); obs = obs.where(obs.x > 6500)"

CASES = {
    "datasets.catalog:_unread": [
        Case(
            "import tempfile; folder = tempfile.mkdtemp(); entry = xef.open_catalog()['ersst_v5']; absolute().to_netcdf(folder + '/' + entry.kwargs['file'])",
            "entry.read(data_root='/nowhere')",
            "(answer.sst == absolute()).all()",
            {'"FOLDER"': "folder"},
        )
    ],
    "datasets.sevir.backend:_rows": [
        Case(
            "root = sevir(); path, catalog = alone(); ds = xef.open_sevir(root)",
            "xr.open_dataset(path, engine='sevir')",
            "answer.time_utc.values == ds.time_utc.values and (answer.vil[0, 9, 9] == ds.vil[0, 9, 9]).all()",
            {"...": "path", '"CATALOG.csv"': "catalog"},
        )
    ],
    "fields.codes:_warn_of_dry": [
        Case(DRY, "xef.verify(fc, obs, ['mse'])", "np.allclose(answer.mse, right.mse)"),
        Case(
            DRY
            + "; fc = fc + 1; fc.attrs = rainfall().attrs; right = xef.verify(fc.where(fc.x > 6500, 0), rainfall(8), ['mse']); fc, obs = fc.where(fc.x > 6500), rainfall(8)",
            "xef.verify(fc, obs, ['mse'])",
            "np.allclose(answer.mse, right.mse)",
        ),
    ],
    "fields.sentinels:_check": [
        Case(
            "whole = (absolute(step=2) + 282.15).assign_attrs(SST, units='K'); da = whole.where(whole.lon > 60, 273.15)",
            "da.earthformer.anomaly(('2000', '2002'))",
            "answer.equals(whole.where(whole.lon > 60).earthformer.anomaly(('2000', '2002')))",
        ),
        Case(
            "whole = (absolute(step=2) + 9).assign_attrs(SST); da = whole.where(whole.lon > 60, 0)",
            "da.earthformer.anomaly(('2000', '2002'))",
            "answer.equals(whole.where(whole.lon > 60).earthformer.anomaly(('2000', '2002')))",
        ),
    ],
    "inference.guidance:_with": [
        Case(
            "pack = tiny(); da = for_tiny().rename(northing='y', easting='x'); weights = xr.ones_like(da[:, 0]).drop_vars(['y', 'x', 'when'], errors='ignore')",
            "xef.forecast(da, pack, steps=2, members=1, guidance=xef.constraint(lambda fc, past: (fc * weights).mean('lead', 'y', 'x'), 1.0))",
            "answer.sizes['member'] == 1",
        )
    ],
    "models.baselines.corrected_lim:__post_init__": [
        Case(
            "from xearthformer.models.baselines.corrected_lim import CorrectedLIMConfig",
            "CorrectedLIMConfig(in_len=1)",
            "answer.in_len > 1",
        )
    ],
    "models.baselines.lim:__post_init__": [
        Case(LIM, "LIMConfig(delays=(1, 0))", "answer.delays == (0, 1, 3) and answer.in_len == 4"),
        Case(
            LIM,
            "LIMConfig(delays=(0, 2), in_len=1)",
            "answer.in_len == 3",
            {", ...": ", delays=(0, 2)"},
        ),
        Case(LIM, "LIMConfig(ridge=-1)", "answer.ridge == 0"),
    ],
    "models.baselines.seasonal_lim:__post_init__": [
        Case(SEASONAL, "SeasonalLIMConfig(delays=(1, 0))", "answer.delays == (0, 3, 6)"),
        Case(
            SEASONAL,
            "SeasonalLIMConfig(delays=(0, 9), in_len=3)",
            "answer.in_len == 10",
            {", ...": ", delays=(0, 9)"},
        ),
        Case(
            SEASONAL,
            "SeasonalLIMConfig(n_eofs=(5, 5), channels=1)",
            "answer.channels == 2",
            {", ...": ", n_eofs=(5, 5)"},
        ),
        Case(SEASONAL, "SeasonalLIMConfig(ridge=-1)", "answer.ridge == 0"),
    ],
    "packs:__call__": [
        Case("", "xef.packs()", "'persistence' in answer", into="answer"),
    ],
    "packs.scale:__post_init__": [
        Case(
            "from xearthformer.packs.scale import Scale; offset = 3.0",
            "Scale(3.0, 0.0)",
            "answer == Scale(3.0, 1.0)",
        )
    ],
    "training.loop:fit": [
        Case(
            "pytest.importorskip('lightning'); import tempfile; path = tempfile.mkdtemp() + '/a'; model, card = strict().model(), strict().card",
            "train('persistence', config={'in_len': 1, 'out_len': 3})",
            "answer.card.name == 'strict' and answer.card.lead == 3",
            into="answer",
        )
    ],
}

FITS = "of arrays that a model's own `fit` takes: `train` makes them right"

EXCEPTED = {
    "cli.files:parse_inits": "a form of the option, in words",
    "cli.files:check_target": (
        "tests/cli/test_cli.py::test_what_stands_there_stays_until_it_is_replaced_whole"
    ),
    "datasets.simulated.nbody:_scikit_learn_digits": "needs a Python without scikit-learn",
    "inference.ensemble:__call__": "of a network that overflows in bf16",
    "models.baselines.corrected_lim:fit": FITS,
    "models.baselines.corrected_lim:__init__": FITS,
    "models.baselines.lim:_ocean": FITS,
    "models.baselines.persistence:fit": FITS,
    "models.baselines.seasonal_lim:_ocean": FITS,
}

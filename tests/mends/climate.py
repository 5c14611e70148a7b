"""Climatologies, anomalies, indices and regions."""

from mends.typed import Case

ZERO = "abs(answer.mean('time')).max() < 1e-5"
DAILY = "da = absolute().resample(time='D').ffill().rename(time='T')"
CLIM = "da = absolute(); clim = xef.climatology(da)"

CASES = {
    "climate.climatology:_check_all_absolute": [
        Case(
            "ds = xr.Dataset({'sst': absolute(), 'anom': anomalies()})",
            "ds.earthformer.anomaly((2000, 2002))",
            "list(answer) == ['sst'] and float(abs(answer.sst.mean('time')).max()) < 1e-5",
        )
    ],
    "climate.climatology:_anomaly": [
        Case(
            "da = anomalies()",
            "da.earthformer.anomaly((2000, 2002))",
            "abs(answer.groupby('time.month').mean()).max() < 1e-5",
        ),
        Case(
            "ds = xr.Dataset({'sst': absolute()}); climatology = xef.climatology(ds.rename(sst='tos'))",
            "ds.earthformer.anomaly(climatology)",
            ZERO,
            {"...": "tos"},
        ),
    ],
    "climate.climatology:_monthly": [
        Case(
            DAILY,
            "da.earthformer.anomaly((2000, 2001))",
            "answer.units == 'degC' and answer.sizes['T'] == 36 and abs(answer[:24].mean('T')).max() < 1e-5",
        ),
        Case(DAILY, "da.earthformer.climatology()", "(answer[:, 0, 0] == np.arange(12) + 3).all()"),
        Case(
            "da = absolute(); da['time'] = da.time.values[0] + np.arange(36) * np.timedelta64(43830, 'm')",
            "da.earthformer.climatology()",
            "(answer[:, 0, 0] == np.arange(12) + 3).all()",
        ),
        Case(
            "da = absolute(); da['time'] = da.time.values[0] + np.arange(36) * np.timedelta64(30, 'D')",
            "da.earthformer.climatology((2000, 2001))",
            "answer.notnull().all() and abs(answer[0, 0, 0] - 2) < 0.5",
        ),
    ],
    "climate.climatology:_bounds": [
        Case(
            "da = absolute()", "da.earthformer.anomaly(climatology=2000)", ZERO, into="climatology"
        ),
        Case(
            "da = absolute()",
            "da.earthformer.anomaly(climatology=('early', 'late'))",
            ZERO,
            into="climatology",
        ),
        Case(
            "da = absolute()",
            "da.earthformer.anomaly(climatology=('1981', '2010'))",
            ZERO,
            into="climatology",
        ),
        Case(
            "da = absolute(40)",
            "da.earthformer.climatology(('2000', '2002-06'))",
            "answer[0, 0, 0] == 3",
            into=0,
        ),
    ],
    "climate.climatology:_fit": [
        Case(
            "da = absolute(); clim = anomalies()", "da.earthformer.anomaly(climatology=clim)", ZERO
        ),
        Case(
            "da = curvilinear(); clim = xef.climatology(curvilinear(shift=5))",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
        Case(f"{CLIM}; del clim.attrs['units']", "da.earthformer.anomaly(climatology=clim)", ZERO),
        Case(f"{CLIM}; del da.attrs['units']", "da.earthformer.anomaly(climatology=clim)", ZERO),
        Case(f"{CLIM}.expand_dims(model=2)", "da.earthformer.anomaly(climatology=clim)", ZERO),
    ],
    "climate.climatology:_by_month": [
        Case(
            "da = absolute(); clim = absolute().rename(time='T')",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
        Case(
            "da = absolute(); clim = xef.climatology(da).drop_vars('month')",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
        Case(
            "da = absolute(); clim = xef.climatology(da)[:11]",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
    ],
    "climate.climatology:_same_labels": [
        Case(
            f"{CLIM}; da, clim = da.expand_dims(model=['a', 'b']), clim.expand_dims(model=['b'])",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
    ],
    "climate.climatology:_same_cells": [
        Case(
            "da = absolute(); clim = xef.climatology(absolute(step=10))",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
        Case(
            "da = absolute(step=10); da['lon'] = da.lon - 180; clim = xef.climatology(absolute())",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
        Case(
            "da = absolute().drop_vars(['lat', 'lon']); clim = xef.climatology(absolute(step=10))",
            "da.earthformer.anomaly(climatology=clim)",
            ZERO,
        ),
    ],
    "climate.climatology:running_mean": [
        Case(
            "da = nino()",
            "da.earthformer.running_mean(3, dim='t')",
            "answer.sizes['time'] == 36 and answer[1] == da[:3].mean()",
        ),
        Case(
            "da = nino()",
            "da.earthformer.running_mean(n=4)",
            "np.isclose(answer[2], da[:5].mean())",
        ),
        Case(
            "da = nino(6)",
            "da.earthformer.running_mean(n=9)",
            "np.isclose(answer[2], da[:5].mean())",
        ),
    ],
    "climate.baseline:check_baselines": [
        Case(
            "da = absolute(72); fc = forecasts(da.earthformer.anomaly((2000, 2005))); obs = da.earthformer.anomaly((2000, 2002))",
            "xef.verify(fc, obs, ['mse'])",
            "np.allclose(answer.mse, xef.verify(fc, da.earthformer.anomaly((2000, 2005)), ['mse']).mse, atol=1e-4)",
        ),
        Case(
            "sst = absolute(72); fc = forecasts(sst.earthformer.anomaly((2000, 2005))); obs = sst[24:].earthformer.anomaly((2002, 2004))",
            "xef.verify(fc, obs, ['mse'])",
            "answer.mse.notnull().all()",
            into="obs",
        ),
        Case(
            "sst = absolute(72); fc = forecasts(sst.earthformer.anomaly((2000, 2005))); hindcast = forecasts(sst.earthformer.anomaly((2000, 2002)));obs = sst.earthformer.anomaly((2000, 2005))",
            "fc.earthformer.correct_bias(hindcast, obs)",
            "answer.notnull().any()",
            {"a hindcast from ": "forecasts(", ")))": "))", '"2005"))': '"2005")))'},
            into="hindcast",
        ),
    ],
    "climate.baseline:rebase.one": [],
}
CASES["climate.baseline:one"] = [
    Case(
        "da = absolute()",
        "da.earthformer.rebase((2000, 2001))",
        "abs(answer[:24].mean('time')).max() < 1e-5",
    )
]
del CASES["climate.baseline:rebase.one"]
NINO = "da = anomalies(40, step=10)"
FORECAST = "da = anomalies(372, step=30, start='1970-01'); ssta = da; fc = forecasts(da, init=slice('2000', None))"
CASES |= {
    "climate.indices:_bases": [
        Case(
            "da = absolute(40, step=10)",
            "da.earthformer.index('oni')",
            "answer.name == 'nino3.4' and answer[13] == 4",
        )
    ],
    "climate.indices:_observations": [
        Case(
            f"da = {one}; ssta = da; fc = forecasts(da)",
            f"fc.earthformer.index('{name}')",
            "answer.dims == ('init', 'lead') and np.isclose(answer[3, 0], da.earthformer.index('{name}')[3])".replace(
                "{name}", name
            ),
        )
        for name, one in (
            ("relative_nino3.4", "anomalies(24, step=10)"),
            ("pdo", "anomalies(24, step=10)"),
        )
    ]
    + [
        Case(
            "da = anomalies(24, step=10); ssta = None; ds = xr.Dataset({'tos': da}); fc = forecasts(da)",
            "fc.earthformer.index('pdo', reference=ds)",
            "answer.sizes['lead'] == 3",
            {'reference=ssta)  # ssta = ds["..."], with': 'reference=ds["tos"]), with'},
        ),
        Case(
            "da = anomalies(24, step=10); fc = forecasts(da); ssta = da; other = absolute(24, step=10)",
            "fc.earthformer.index('pdo', reference=other)",
            "answer.sizes['lead'] == 3",
        ),
        Case(
            "da = anomalies(24, step=10); fc = forecasts(da); ssta = da; other = da[:, 1:]",
            "fc.earthformer.index('pdo', reference=other)",
            "answer.sizes['lead'] == 3",
        ),
    ],
    "climate.regions:__post_init__": [
        Case(
            "south, north = 5, -5",
            "xef.Region(south, north, -170, -120)",
            "answer.width == 50 and answer.south == -5",
        ),
        Case(
            "south, north = 5, 95",
            "xef.Region(south, north, -170, -120)",
            "answer.width == 50 and answer.south == -5",
        ),
    ],
    "climate.regions:_spelling": [
        Case(NINO, "da.earthformer.index('nino 34 x')", "answer.name == 'nino3.4'", into=0),
        Case(NINO, "da.earthformer.index('qqq')", "answer.sizes['time'] == 40", into=0),
    ],
}

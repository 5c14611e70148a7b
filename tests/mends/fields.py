"""Axes, times, units, values and pixels of the data, at the doors that take it."""

from mends.typed import Case

GO = "da.earthformer.forecast('persistence', lead=2)"
SEA = "da.earthformer.forecast('persistence', lead=2)"
STAYS = "answer.dims[:2] == ('init', 'lead') and (answer[0, 0].values == da[-1].values).all()"
MEAN = "xef.region_mean(da, 'globe')"
CLOCKS = "da = rainfall({2}, step='{1}'); day = '{0}'; da['time'] = pd.date_range(day, periods={2}, freq='{1}', tz='UTC').tz_convert('Europe/Berlin').tz_localize(None)"
DAYS = "da = xr.DataArray(np.arange(90.0)[:, None, None] * np.ones((90, 2, 3)), {'T': days(90)}, ('T', 'y', 'x'), 'a')"
RAIN = "da = rainfall()"

CASES = {
    "fields.axes:_grid": [
        Case(
            "da = absolute().stack(cell=('lat', 'lon')).reset_index('cell').rename(lat='clat', lon='clon')",
            GO,
            "answer.sizes == {'init': 1, 'lead': 2, 'clat': 9, 'clon': 18} and (answer == 17).all()",
        )
    ],
    "fields.axes:_find": [
        Case(
            "da = absolute().expand_dims(T2=2).assign_coords(T2=('T2', days(2), {'axis': 'T'})); da.time.attrs['axis'] = 'T'",
            GO,
            "(answer == 17).all()",
        ),
        Case(
            "da = absolute().rename(lat='rows').drop_vars('rows')",
            "da.earthformer.forecast('persistence', lead=2)",
            "(answer == 17).all()",
            {"...": "'rows'"},
        ),
        Case(
            "da = absolute(); da = da.assign_coords(year=da.time.dt.year, month=da.time.dt.month).set_index(time=['year', 'month']).unstack('time')",
            "da.earthformer.climatology()",
            "(answer[:, 0, 0] == np.arange(12) + 3).all()",
            more=1,
        ),
        Case("da = rainfall().isel(time=0)", "xef.wet_area(da)", "answer.dims == ('time',)"),
    ],
    "fields.axes:_check_in_degrees": [
        Case(
            "da = absolute(40, step=10); da['lat'] = np.radians(da.lat).assign_attrs(units='radian'); da['lon'] = np.radians(da.lon).assign_attrs(units='radian')",
            "da.earthformer.index('nino3.4')",
            "answer[13] == 4",
        )
    ],
    "fields.axes:_check_one_grid": [
        Case(
            "ds = xr.Dataset({'sst': absolute(40, step=10), 'ssh': absolute(40, step=20).rename(lat='y2', lon='x2')})",
            "ds.earthformer.index('nino3.4')",
            "answer.sst[13] == 4",
        )
    ],
    "fields.axes:find_latlon": [
        Case(
            "da = absolute(40, step=10); da['lat'] = da.lat.where(da.lat > -85)",
            "da.earthformer.index('nino3.4')",
            "answer.sizes == {'time': 40} and answer[13] == 4",
        ),
        Case(
            "da = absolute(40, step=10).rename(lat='y').assign_coords(latitude=('y', np.where(np.arange(18) < 17, np.arange(-85, 95, 10), np.nan), {'standard_name': 'latitude'})).drop_vars('y').where(lambda a: a.lon > 20)",
            "da.earthformer.index('nino3.4')",
            "answer.sizes == {'time': 40} and answer[13] == 4",
        ),
        Case(
            "da = xr.concat([absolute(40, step=10), absolute(40, step=10)[:, :1].assign_coords(lat=[-85.0])], 'lat')",
            "da.earthformer.index('nino3.4')",
            "answer[13] == 4",
        ),
        Case(
            "da = absolute(40, step=10).isel(lat=[0, *range(18)])",
            "da.earthformer.index('nino3.4')",
            "answer[13] == 4",
        ),
        Case(
            "da = absolute(40, step=10).drop_vars(['lat', 'lon']).rename(lat='Y', lon='X')",
            "da.earthformer.index('nino3.4')",
            "answer[13] == 4",
            {"Y=...": "Y=np.arange(-85, 95, 10)", "X=...": "X=np.arange(5, 360, 10)"},
        ),
    ],
    "fields.codes:__call__": [
        Case(
            "obs = rainfall(8); obs[0, 0, 0] = -999; fc = forecasts(rainfall(8))",
            "xef.verify(fc, obs, ['mse'])",
            "answer.mse.notnull().all()",
        ),
        Case(
            "obs = rainfall(8); obs[:] -= 30; obs[:] = obs - np.linspace(0, .5, obs.size).reshape(obs.shape); da = obs",
            "xef.to_step(da, '5min')",
            "answer.max() == 0",
        ),
        Case(
            "da = rainfall(8) * 1e4 + 1; da.attrs = rainfall().attrs",
            "da.earthformer.forecast('persistence')",
            "answer.units == 'mm year-1'",
            {"...": "'mm year-1'"},
        ),
        Case(
            "obs = rainfall(8); fc = forecasts(rainfall(8)); fc[0, 0, 0, 0] = -999.0",
            "xef.verify(fc, obs, ['mse'])",
            "answer.mse.notnull().all()",
        ),
    ],
    "fields.quantities:find_variable": [
        Case(
            "ds = xr.Dataset({'sst': anomalies(), 'tos': anomalies() + 1})",
            "ds.earthformer.forecast(strict())",
            "list(answer) == ['sst']",
        ),
        Case(
            "ds = xr.Dataset({'a': anomalies().drop_attrs(deep=False).assign_attrs(units='degC', units_metadata='temperature: difference')})",
            "ds.earthformer.forecast(strict())",
            "list(answer) == ['a']",
            {"...": "a"},
        ),
        Case(
            "ds = xr.Dataset({'a': rainfall(), 'b': rainfall()})",
            "ds.earthformer.forecast('persistence')",
            "list(answer) == ['a'] and (answer.a[0, 0] == ds.a[-1]).all()",
        ),
        Case(
            "ds = xr.Dataset({'dbz': rainfall(8, side=(4, 6)).assign_attrs(units='dBZ', standard_name='equivalent_reflectivity_factor')})",
            "ds.earthformer.forecast(still())",
            "answer.units == 'mm h-1'",
        ),
        Case(
            "ds = xr.Dataset({'a': 1})",
            "ds.earthformer.forecast('persistence')",
            "(answer.sst == 17).all()",
            {'ds["..."]': "ds.assign(sst=absolute())"},
            into="ds",
        ),
    ],
    "fields.quantities:_check_others": [
        Case(
            "ds = xr.Dataset({'sst': absolute(), 'anom': anomalies().assign_attrs(standard_name='x', long_name='anomaly')})",
            "ds.earthformer.forecast(strict())",
            "answer.sizes['lead'] > 0",
            into="ds",
        ),
    ],
    "fields.quantities:on_each": [
        Case(
            "ds = xr.Dataset({'sst': absolute().astype(int)})",
            "ds.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
            {"...": "sst"},
        )
    ],
    "fields.columns:_values_of_both": [
        Case(
            "da = absolute(); da = xr.concat([da, (da[..., :1] + 1).assign_coords(lon=da.lon[:1] + 360)], 'lon')",
            MEAN,
            "answer[13] == 4",
        ),
        Case(
            "da = absolute().chunk(time=12); da = xr.concat([da, (da[..., :1] + 1).assign_coords(lon=da.lon[:1] + 360)], 'lon').chunk(lon=-1)",
            f"{MEAN}.compute()",
            "answer[13] == 4",
        ),
    ],
    "fields.quantities:check_float": [
        Case("da = absolute().astype(int)", "da.earthformer.climatology()", "answer[0, 0, 0] == 3"),
        Case(
            "da = absolute().astype('longdouble')",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
    ],
    "fields.quantities:check_unpacked": [
        Case(
            "ds = (absolute() * 100).astype('i2').to_dataset(name='sst'); ds.sst.attrs = {'scale_factor': 0.01, 'units': 'degC'}",
            "ds.earthformer.climatology()",
            "answer.sst[0, 0, 0] == 3",
            only=0,
        ),
        Case(
            "da = (absolute() * 100).astype('i2'); da.attrs = {'scale_factor': 0.01, 'units': 'degC'}",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
            only=-1,
        ),
    ],
    "fields.quantities:check_quantity": [
        Case(
            "da = absolute()",
            "da.earthformer.forecast(strict())",
            "answer.sizes['lead'] > 0",
            only=0,
        ),
        Case(
            "da = anomalies(); del da.attrs['units_metadata']",
            "da.earthformer.forecast(strict())",
            "answer.sizes['lead'] > 0",
            only=1,
        ),
        Case(
            "da = anomalies().assign_attrs(standard_name='air_temperature', units_metadata='temperature: difference')",
            "da.earthformer.forecast(strict())",
            "answer.sizes['lead'] > 0",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(standard_name='equivalent_reflectivity_factor', units='dBZ')",
            "da.earthformer.forecast(still())",
            "np.isclose(answer.max(), (10**1.2 / 200) ** (1 / 1.6))",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(standard_name='equivalent_reflectivity_factor', units='foo')",
            "da.earthformer.forecast(still())",
            "np.isclose(answer.max(), (10**1.2 / 200) ** (1 / 1.6))",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(standard_name='rainfall_amount', units='mm'); da[3] = 0",
            "da.earthformer.forecast(still())",
            "np.isclose(answer.max(), 12 * 12)",
        ),
        Case(
            "da = absolute(); climatology = xef.climatology(da); da = da.earthformer.anomaly((2000, 2002))",
            "da.earthformer.forecast(strict(difference=False))",
            "np.isclose(answer[0, 0, 1, 1], absolute()[-1, 1, 1], atol=1e-3)",
            only=0,
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(long_name='rain anomaly')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm h-1' and answer.max() == 12",
            only=-1,
        ),
    ],
    "fields.sentinels:_check": [
        Case("da = absolute().assign_attrs(units_metadata='temperature: difference')", SEA, STAYS),
        Case("da = anomalies(); da[-1, 0, 0] = 1e20", SEA, "answer.isnull().sum() == 2"),
        Case(
            "obs = anomalies(); fc = obs.earthformer.forecast('persistence', init=obs.time[-3], lead=2); fc[..., 0, 0] = 50",
            "xef.verify(fc, obs, ['mse']).n",
            "(answer == obs[0].size - 1).all()",
        ),
        Case(
            "da = absolute() * 100; da[:] += np.arange(18); da.attrs = absolute().attrs",
            SEA,
            "np.allclose(answer[..., 0, 0], 17)",
        ),
        Case("da = absolute(); da[:, 0, 0] = -999", SEA, "answer.isnull().sum() == 2"),
        Case("da = absolute(); da[:, 0, 0] = 1e20", SEA, "answer.isnull().sum() == 2"),
        Case(
            "da = absolute() + 273.15; da.attrs = absolute().attrs",
            SEA,
            "answer.units == 'K' and np.isclose(answer[0, 0, 0, 0], 290.15)",
        ),
        Case(
            "da = absolute().assign_attrs(units='K')",
            SEA,
            "answer.units == 'degC' and (answer == 17).all()",
        ),
        Case(
            "da = absolute(); da[:] = da * 3 + 60", SEA, "answer.units == 'degF'", {"...": "'degF'"}
        ),
        Case("da = absolute(); da[:, 0, 0] = -1000", SEA, "np.isclose(answer.min(), -1.8)"),
        Case(
            "da = absolute(); da[:, 0, 0] = -1000; da[:, 1] = 1e20",
            SEA,
            "np.isclose(answer.min(), -1.8) and answer.isnull().sum() == 36",
        ),
        Case(
            "da = absolute(); da[:, 0, 0] = -999; da[:, 1] = 1e20",
            SEA,
            "answer.isnull().sum() == 38",
        ),
    ],
    "fields.spacing:_along": [
        Case(
            "da = rainfall(); da = da.assign_coords(x=da.x.drop_attrs(), y=da.y.drop_attrs()).drop_vars('crs'); del da.attrs['grid_mapping']",
            "xef.to_spacing(da, '2 km')",
            "answer.sizes['x'] == 5",
        ),
        Case(
            "da = rainfall(); da = da.assign_coords(x=(da.x * 2e-8).assign_attrs(units='rad'), y=(da.y * 2e-8).assign_attrs(units='rad'))",
            "xef.to_spacing(da, '2 km')",
            "answer.sizes['x'] == 4",
        ),
    ],
    "fields.spacing:_length": [
        Case(RAIN, "xef.to_spacing(da, spacing='2')", "answer.sizes == da.sizes")
    ],
    "fields.spacing:_respaced": [
        Case(
            "da = rainfall().assign_attrs(units='dBZ', standard_name='equivalent_reflectivity_factor')",
            "xef.to_spacing(da, '2 km')",
            "answer.units == 'mm h-1' and answer.sizes['x'] == 5",
        )
    ],
    "fields.spacing:_sized": [
        Case(
            "da = rainfall().drop_vars(['x', 'crs']); del da.attrs['grid_mapping']",
            "xef.to_spacing(da, '2 km')",
            "answer.sizes['x'] == 5",
        ),
        Case(
            "da = rainfall().drop_vars(['x', 'y', 'crs']); del da.attrs['grid_mapping']; j, i = np.indices((8, 10)); da = da.assign_coords(lat=(('y', 'x'), 50 - j / 111.2, {'units': 'degrees_north'}), lon=(('y', 'x'), 8 + i / 71.5, {'units': 'degrees_east'}))",
            "xef.to_spacing(da, '2 km')",
            "answer.sizes['x'] == 5",
        ),
    ],
    "fields.spacing:_cells": [
        Case(
            "da = rainfall().isel(x=[1, 0, *range(2, 10)])",
            "xef.to_spacing(da, '2 km')",
            "answer.sizes['x'] == 5 and answer[0, 0, 0] == 0.5",
        )
    ],
    "fields.stamps:_in_zone": [
        Case(
            "da = rainfall(); da = da.assign_coords(time=da.indexes['time'].tz_localize('Europe/Oslo'))",
            GO,
            "answer.init[0] == np.datetime64('2021-07-04T14:15')",
        ),
        Case(
            "da = absolute(); da = da.assign_coords(time=da.indexes['time'].tz_localize('Europe/Oslo'))",
            GO,
            "answer.init[0] == np.datetime64('2002-12-01')",
        ),
    ],
    "fields.time_axis:check_time": [
        Case(
            "da = absolute().isel(time=[*range(20), *range(21, 36)]).rename(time='T')",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
            only=0,
        ),
        Case(
            "da = absolute().isel(time=[*range(20), *range(21, 36)]).rename(time='T')",
            "da.earthformer.forecast('persistence')",
            "(answer[0, 0] == da[19 if answer.init[0] < np.datetime64('2002') else -1]).all()",
            only=1,
        ),
        Case(
            "da = absolute().isel(time=[*range(10), *range(21, 36)])",
            "da.earthformer.forecast('persistence')",
            "(answer == 17).all()",
            only=0,
        ),
        Case(
            "da = absolute().isel(time=[*range(10), *range(21, 36)])",
            "da.earthformer.climatology()",
            "answer.notnull().all()",
            only=1,
        ),
        Case(
            "da = absolute(); da = xr.concat([da, da[3:4].assign_coords(time=[np.datetime64('2000-04-20')])], 'time').sortby('time').rename(time='T')",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3 and answer.units == 'degC'",
        ),
    ],
    "fields.time_axis:count_steps": [
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', lead='30min')",
            "answer.sizes['lead'] == 14",
        ),
        Case(
            RAIN, "da.earthformer.forecast('persistence', lead='7min')", "answer.sizes['lead'] > 0"
        ),
    ],
    "fields.time_axis:check_decoded": [
        Case(
            "da = absolute().rename(time='T'); da['T'] = da['T'].where(da['T'] > np.datetime64('2000-01-10')); da[:, 0] = np.nan",
            "da.earthformer.forecast('persistence')",
            "(answer[..., 1, 0] == 17).all()",
        ),
        Case(
            "da = absolute().drop_vars('time')",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
            {"...": "36"},
        ),
        Case(
            "ds = absolute().to_dataset(); ds['time'] = ('time', np.arange(36), {'units': 'months since 2000-01-01'})",
            "ds.earthformer.climatology()",
            "answer.sst[0, 0, 0] == 3",
        ),
        Case(
            "ds = absolute().to_dataset(); ds['time'] = ('time', (ds.time.values - np.datetime64('2000-01-01')) / np.timedelta64(1, 'D'), {'units': 'days since 2000-01-01'})",
            "ds.earthformer.climatology()",
            "answer.sst[0, 0, 0] == 3",
            only=0,
        ),
        Case(
            "da = absolute(); da['time'] = ('time', (da.time.values - np.datetime64('2000-01-01')) / np.timedelta64(1, 'D'), {'units': 'days since 2000-01-01'})",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
        Case(
            "da = absolute(); da['time'] = np.arange(36) * 0.5",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
            {"time=...": "time=absolute().time.values"},
            only=0,
        ),
        Case(
            "da = absolute(); da['time'] = da.time.dt.strftime('%b %d %Y').values",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
        Case(
            "da = absolute(); da = da.assign_coords(year=da.time.dt.year, month=da.time.dt.month).set_index(time=['year', 'month'])",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
        Case(
            "da = absolute(); da['time'] = da.time.dt.strftime('%Y-%m').values.astype('S')",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
        Case(
            "da = absolute().rename(time='T'); da['T'] = (da['T'].dt.year * 100.0 + da['T'].dt.month)",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
        Case(
            "da = absolute().rename(time='T'); da['T'] = da['T'].dt.year * 100 + da['T'].dt.month",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        ),
    ],
    "fields.time_axis:_check_one_calendar": [
        Case(
            "da = absolute(); stamps = [da.convert_calendar(one, use_cftime=True).time.values for one in ('standard', 'noleap')]; da['time'] = [*stamps[0][:20], *stamps[1][20:]]",
            "da.earthformer.climatology()",
            "answer[0, 0, 0] == 3",
        )
    ],
    "fields.time_axis:_irregular": [
        Case(
            CLOCKS.format("2016-10-29T23:00", "10min", 24),
            "da.earthformer.forecast('persistence', lead=2)",
            "answer.init == np.datetime64('2016-10-30T02:50') and (answer[0, 0] == da[-1]).all()",
            {"...": "'Europe/Berlin'"},
        ),
        *(
            Case(
                CLOCKS.format(day, "1h", 8) + "; da = da.drop_attrs(deep=False)",
                "da.earthformer.forecast('persistence', lead=2)",
                "answer.init == np.datetime64(day + 'T07:00') and (answer[0, 0] == da[-1]).all()",
                {"...": "'Europe/Berlin'"},
                only=0,
            )
            for day in ("2016-03-27", "2016-10-30")
        ),
        Case(
            "da = absolute().isel(time=[*range(36), 35]).rename(time='T')",
            GO,
            "(answer == 17).all()",
        ),
        Case(
            "da = absolute().isel(time=slice(None, None, -1)).rename(time='T')",
            GO,
            "(answer == 17).all()",
        ),
        Case(
            "da = rainfall(9).isel(time=[0, 1, 2, 5, 6, 7, 8]).rename(time='T').drop_attrs(deep=False)",
            GO,
            STAYS,
        ),
        Case(DAYS + ".isel(T=[*range(40), *range(44, 90)])", GO, "(answer == 89).all()"),
        Case(
            DAYS + "; da['T'] = da['T'].values + np.array([0, 1, 2] * 30) * np.timedelta64(1, 'h')",
            GO,
            "(answer == 89).all() and answer.init.dt.hour.item() == 0",
        ),
        Case(
            DAYS + "; da['T'] = da['T'].values + np.array([0, 11] * 45) * np.timedelta64(1, 'h')",
            GO,
            "(answer == 89).all()",
        ),
    ],
    "fields.time_bounds:with_middles": [
        Case(
            "ds = absolute().to_dataset(); ds['time_bnds'] = (('time', 'nv'), np.stack([ds.time.values + np.timedelta64(100, 'D'), ds.time.values + np.timedelta64(130, 'D')], -1)); ds.time.attrs['bounds'] = 'time_bnds'",
            "ds.earthformer.climatology()",
            "answer.sst[0, 0, 0] == 3",
        )
    ],
    "fields.units:convert_units": [
        Case(
            "da = anomalies(); del da.attrs['units']",
            "da.earthformer.forecast(strict())",
            "answer.units == 'degC'",
        ),
        Case(
            "da = anomalies().assign_attrs(units='degC ' + 'm ' * 90)",
            "da.earthformer.forecast(strict())",
            "answer.units == 'degC'",
        ),
    ],
    "fields.units:_conversion": [
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='mmh-1')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm h-1' and answer.max() == 12",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='0.1 mm/h')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm/h' and np.isclose(answer.max(), 1.2)",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='mm/5min')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm h-1' and np.isclose(answer.max(), 12 * 12)",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)); da = (10 * np.log10(da.clip(0.03))).assign_attrs(da.attrs, units='dBR')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm h-1' and np.isclose(answer.max(), 12)",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='decibel Z')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm h-1' and answer.max() == 12",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='0.5 dBZ')",
            "da.earthformer.forecast(still())",
            "np.isclose(answer.max(), (10**0.6 / 200) ** (1 / 1.6))",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='dBZ')",
            "da.earthformer.forecast(still())",
            "np.isclose(answer.max(), (10**1.2 / 200) ** (1 / 1.6))",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='mm'); da[3] = 0",
            "da.earthformer.forecast(still())",
            "np.isclose(answer.max(), 12 * 12)",
        ),
        Case(
            "da = rainfall(8, side=(4, 6)).assign_attrs(units='K')",
            "da.earthformer.forecast(still())",
            "answer.units == 'mm h-1' and answer.max() == 12",
        ),
    ],
    "fields.windows:find_inits": [
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', init=[])",
            "answer.init.size == 1",
        ),
        Case(
            "da = rainfall(8, side=(4, 6))",
            "da.earthformer.forecast(still(), lead=1, init=slice('2021-07-04T15:00', '2021-07-04T15:50'))",
            "answer.init.size > 3",
        ),
    ],
    "fields.windows:_check_name": [
        Case(
            "da = absolute().rename('lead')",
            GO,
            "answer.name == 'lead_value' and (answer == 17).all()",
        ),
        Case(
            "ds = absolute().to_dataset(name='init')",
            "ds.earthformer.forecast('persistence')",
            "(answer.init_value == 17).all()",
        ),
    ],
    "fields.windows:_positions": [
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', init='2010')",
            "answer.init.dt.year == 2002",
        ),
        Case(
            "da = absolute()",
            "da.earthformer.forecast('persistence', init=np.datetime64('2001-05-31'))",
            "str(answer.init.values[0])[:7] == '2001-05'",
        ),
        Case(
            RAIN,
            "da.earthformer.forecast('persistence', init=da.time.values[3] + np.timedelta64(2, 'm'), lead=2)",
            "(answer.init == da.time[3]).all()",
        ),
    ],
}

CUT = "da = anomalies().isel(lat=slice(2, None))"
CASES |= {
    "fields.cf:prepare": [
        Case(
            "da = xr.concat([rainfall(side=(40, 40))] * 2, 'model')",
            "xef.extrapolate(da, lead=1)",
            "answer.equals(xef.extrapolate(rainfall(side=(40, 40)), lead=1))",
        )
    ],
    "fields.regrid:check_contains": [
        Case(CUT, "da.earthformer.forecast(strict())", "'persistence' in answer", into="answer")
    ],
}

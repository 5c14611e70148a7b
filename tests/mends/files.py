"""Files of radars, of SEVIR, of catalogues and of simulations."""

from mends.typed import Case

OPEN = "xef.open_radar(path)"
RMI = "import h5py; rain = rainfall(2) + 1; rain.attrs = rainfall().attrs; folder = written('rmi', rain); path = folder + '/' + sorted(__import__('os').listdir(folder))[0]"
ODIM = "xr.open_dataset(path, engine='odim_composite')"
RATES = "np.allclose(answer.rain_rate, rain[:1])"
EDIT = RMI + "; file = h5py.File(path, 'a'); {}; file.close()"
SHOWN = "answer is None"  # the names are printed
SEVIR = "root = sevir(); ds = xef.open_sevir(root)"
KNMI = "import h5py; rain = dutch(); folder = written('knmi', rain); path = folder + '/' + sorted(__import__('os').listdir(folder))[0]; file = h5py.File(path, 'a'); {}; file.close()"

CASES = {
    "datasets.catalog:open_catalog": [
        Case(
            "import intake; from xearthformer.datasets.catalog import FILES; path = str(FILES['enso'])",
            "xef.open_catalog('mine')",
            "'ersst_v5' in answer and 'lim' not in answer",
            into="answer",
        )
    ],
    "datasets.catalog:_read": [
        Case(
            "entry = xef.open_catalog()['synthetic_sst']",
            "entry.read(years=2, data_root='.')",
            "answer.sst.sizes['time'] == 24",
        )
    ],
    "datasets.radar.files:open_paths": [
        Case(
            RMI + "; open(path, 'r+b').truncate(900)",
            "xef.open_radar(folder)",
            "answer.sizes['time'] == 1 and np.allclose(answer, rain[1:])",
        )
    ],
    "datasets.radar.files:open_one": [
        Case(
            "rain = rainfall(); path = written('rmi', rain) + '/a.dat'; _ = open(path, 'w').write('text')",
            OPEN,
            "answer.equals(rain)",
        )
    ],
    "datasets.radar.files:_of_one_product": [
        Case(
            "rain = rainfall(3) + 1; rain.attrs = rainfall().attrs; folder = written('rmi', rain); written('fmi', rain, folder)",
            "xef.open_radar(folder)",
            "np.allclose(answer, rain, rtol=0.05)",
        ),
        Case(
            "rain = rainfall(1) + 1; rain.attrs = rainfall().attrs; folder = written('rmi', rain); written('fmi', rain, folder)",
            "xef.open_radar(folder)",
            "np.allclose(answer, rain, rtol=0.05)",
        ),
    ],
    "datasets.radar.knmi:_check_product": [
        Case(RMI, "xr.open_dataset(path, engine='knmi')", SHOWN, into="answer")
    ],
    "datasets.radar.knmi:_frames": [
        Case(
            KNMI.format("file['image1'].attrs['image_geo_parameter'] = np.bytes_('HEIGHT_[KM]')"),
            "xr.open_dataset(path, engine='knmi')",
            "answer['image_geo_parameter'] == b'HEIGHT_[KM]'",
            into="answer",
        ),
        Case(
            KNMI.format(
                "file['image1/calibration'].attrs['calibration_formulas'] = np.bytes_('table 3')"
            ),
            "xr.open_dataset(path, engine='knmi')",
            "answer['calibration_formulas'] == b'table 3'",
            into="answer",
        ),
    ],
    "datasets.radar.odim:check_product": [
        Case(
            EDIT.format("file['what'].attrs['object'] = np.bytes_('OTHER')"),
            ODIM,
            SHOWN,
            into="answer",
        )
    ],
    "datasets.radar.odim:read_layers": [
        Case(RMI, "xr.open_dataset(path, engine='odim_composite', dataset='dataset9')", RATES),
        Case(
            EDIT.format("file['dataset1/data1/what'].attrs['quantity'] = np.bytes_('QIND')"),
            ODIM,
            SHOWN,
            into="answer",
        ),
    ],
    "datasets.radar.odim:read_grid": [
        Case(
            EDIT.format(
                "file.copy('dataset1', 'dataset2'); del file['dataset2/data1/data']; file['dataset2/data1/data'] = np.ones((2, 3))"
            ),
            ODIM,
            RATES,
        )
    ],
    "datasets.radar.odim:_located": [
        Case(
            EDIT.format(
                "where = file['where'].attrs; [where.pop(k) for k in [*where] if k[:2] in ('LL', 'UL')]"
            ),
            ODIM,
            RATES + " and answer.x[0] == 500",
        )
    ],
    "datasets.radar.odim:_pixel": [
        Case(
            EDIT.format("file['where'].attrs['xscale'] = 700.0"),
            ODIM,
            RATES + " and answer.x[0] == 350",
        )
    ],
    "datasets.radar.odim:_dataset": [
        Case(EDIT.format("file.copy('dataset1', 'dataset2')"), ODIM, RATES)
    ],
    "datasets.radar.projection:read_crs": [
        Case(
            EDIT.format("file['where'].attrs['projdef'] = np.bytes_('+proj=nix')"),
            ODIM,
            RATES + " and 'crs' not in answer.coords",
        ),
        Case(
            KNMI.format(
                "file['geographic/map_projection'].attrs['projection_proj4_params'] = np.bytes_('+proj=nix')"
            ),
            "xr.open_dataset(path, engine='knmi')",
            "'crs' not in answer.coords and np.allclose(answer.rain_amount, rain[:1] / 12, atol=0.006)",
        ),
    ],
    "datasets.radar.geotiff:check_map": [
        Case(
            "import tempfile, rioxarray; from xearthformer.datasets.radar.odim_write import write_odim; path = tempfile.mkdtemp() + '/a.h5'; rain = rainfall(1).drop_vars('crs'); del rain.attrs['grid_mapping']",
            "write_odim(rain, path)",
            "np.allclose(xef.open_radar(path), rain)",
            {"EPSG:...": "EPSG:3035"},
        ),
        Case(
            "import tempfile, rioxarray; from xearthformer.datasets.radar.geotiff import write_geotiff; path = tempfile.mkdtemp() + '/a.tif'; rain = rainfall().drop_vars('crs'); del rain.attrs['grid_mapping']; fc = forecasts(rain, init=None)",
            "write_geotiff(fc, path)",
            "[float(xr.open_dataarray(one, engine='rasterio').max()) for one in answer] == [14] * 3",
            {"EPSG:...": "EPSG:3035"},
        ),
        Case(
            "import tempfile; from xearthformer.datasets.radar.geotiff import write_geotiff; path = tempfile.mkdtemp() + '/a.tif'; rain = rainfall(); da = forecasts(rain.assign_coords(x=rain.x ** 2 / 1e5), init=None)",
            "write_geotiff(da, path)",
            "[float(xr.open_dataarray(one, engine='rasterio').max()) for one in answer] == [14] * 3",
        ),
    ],
    "datasets.sevir.backend:open_sevir": [
        Case(SEVIR, "xef.open_sevir(root, sensors=('radar',))", "answer.vil.equals(ds.vil)")
    ],
    "comparison.papers:sevir_table": [
        Case(
            SEVIR + "; from xearthformer.comparison.papers import sevir_table",
            "sevir_table(ds.vil[0], ['persistence'])",
            "answer.equals(ds.vil)",
            into="answer",
        )
    ],
    "datasets.sevir.backend:_files": [
        Case(
            "root = sevir(); ds = xef.open_sevir(root); rows = pd.read_csv(root + '/CATALOG.csv'); there = [*rows.file_name[:1]]; rows = pd.concat([rows, rows.assign(id='S1', file_name='vil/2017/gone.h5')])",
            "xef.open_sevir(root, catalog=rows)",
            "answer.equals(ds)",
            {"[...]": "there"},
        )
    ],
    "datasets.sevir.backend:sevir_windows": [
        Case(SEVIR, "xef.sevir_windows(ds.vil)", "answer.vil.sizes['event'] == 3", only=0),
        Case(
            SEVIR + "; one = ds.isel(event=0)",
            "xef.sevir_windows(one)",
            "answer.vil.sizes['event'] == 3 and answer.sizes['time'] == 25",
            into="one",
            only=1,
        ),
        Case(SEVIR, "xef.sevir_windows(ds, frames=50)", "answer.vil.equals(ds.vil)"),
        Case(
            SEVIR + "; path, catalog = alone(); ds = xr.open_dataset(path, engine='sevir')",
            "xef.sevir_windows(ds)",
            "answer.sizes['event'] == 3",
            {"...": "path", '"CATALOG.csv"': "catalog"},
            into="ds",
        ),
    ],
    "datasets.sevir.events:select": [
        Case(SEVIR, "xef.open_sevir(root, split='testing')", "answer.vil.equals(ds.vil)")
    ],
    "datasets.sevir.events:_check_events": [
        Case(SEVIR, "xef.open_sevir(root, events=['S1'])", "answer.vil.equals(ds.vil)")
    ],
    "datasets.sevir.vil:_check_alone": [
        Case(
            SEVIR + "; one = ds.vil; ds = ds.assign(ir069=ds.vil.rename(x='x2', y='y2'))",
            "xef.to_sevir_lr(ds)",
            "answer.vil[0, 0, 1, 1] == one[0, 0, 3:6, 3:6].max()",
        )
    ],
    "datasets.simulated.nbody:nbody": [
        Case(
            "digits = np.ones((2, 65, 8))",
            "xef.nbody(sequences=1, frames=2, digits=digits)",
            "answer.sizes['y'] == 66 and answer.frames.max() == 255",
        )
    ],
    "datasets.simulated.nbody:_as_bytes": [
        Case(
            "images = np.ones((2, 8, 8))",
            "xef.nbody(sequences=1, frames=2, digits=np.ones((8, 8)))",
            "answer.frames.max() == 255",
        ),
        Case(
            "digits = np.ones((2, 8, 8)); digits[:, 0] = -1",
            "xef.nbody(sequences=1, frames=2, digits=digits)",
            "answer.frames.max() == 255",
        ),
        Case(
            "digits = np.ones((2, 8, 8)); digits[:, 0] = np.nan",
            "xef.nbody(sequences=1, frames=2, digits=digits)",
            "answer.frames.max() == 255",
        ),
    ],
}

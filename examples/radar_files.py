"""Radar files as weather services publish them, small ones of made rain: each in its exact layout.

    python examples/radar_files.py FOLDER   # a folder for each service, two hours of storms

Each function writes rain (time, y, x), in mm/h with a map projection, as one file for each time, in
the quantity, packing and names of a service. `xef.open_radar(FOLDER + "/fmi")` reads them back.
"""

import gzip
import sys
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyproj
import xarray as xr

import xearthformer as xef
from xearthformer.datasets.radar.projection import crs_of, crs_variable

STEP = pd.Timedelta("5min")
FRAMES = 26  # an hour until 16:50, then a bit more than an hour to verify a nowcast
KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356750 +x_0=0 +y_0=0 +units=m"


def storms(frames: int = 12, size: int = 128, seed: int = 0) -> xr.DataArray:
    """Rain of simulated storms every five minutes over the Netherlands, north first, 1 km."""
    ds = xef.synthetic_storms(seed, events=1, size=size, frames=frames).isel(event=0)
    rain = ds["rain_rate"].sortby("y", ascending=False).drop_vars(["event", "crs"], errors="ignore")
    centres = (np.arange(size) + 0.5) * 1000.0
    coords = {
        "time": np.datetime64("2021-07-04T15:50") + np.arange(frames) * np.timedelta64(5, "m"),
        "y": ("y", -3_900_000 - centres, rain["y"].attrs),
        "x": ("x", 200_000 + centres, rain["x"].attrs),
        "crs": crs_variable(KNMI),
    }
    return rain.assign_coords(coords)


def dbz_of(rain: xr.DataArray, a: float = 200.0, b: float = 1.6) -> np.ndarray:
    """Return reflectivity by Z = a R**b; -inf where it doesn't rain."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(a) + 10 * b * np.log10(rain.values)


# --- ODIM HDF5


def place(rain: xr.DataArray) -> dict[str, object]:
    """Return the group `where`: the projection, the outer corners in degrees, and the pixels."""
    crs = crs_of(rain)
    proj = pyproj.Proj(crs)
    y, x = rain["y"].values, rain["x"].values
    width, height = abs(x[1] - x[0]), abs(y[1] - y[0])
    left, right = x.min() - width / 2, x.max() + width / 2
    bottom, top = y.min() - height / 2, y.max() + height / 2
    where = {
        "projdef": crs_variable(crs).attrs["proj4"].replace(" +type=crs", ""),
        "xsize": rain.sizes["x"],
        "ysize": rain.sizes["y"],
        "xscale": width,
        "yscale": height,
    }
    corners = {"LL": (left, bottom), "UL": (left, top), "UR": (right, top), "LR": (right, bottom)}
    for name, corner in corners.items():
        where[f"{name}_lon"], where[f"{name}_lat"] = proj(*corner, inverse=True)
    return where


def put(file: h5py.File, groups: Mapping[str, Mapping[str, object]]) -> None:
    """Write attributes of groups; text as bytes of a fixed length, as ODIM has it."""
    for group, attrs in groups.items():
        target = file.require_group(group)
        for key, value in attrs.items():
            target.attrs[key] = np.bytes_(value) if isinstance(value, str) else value


def stamp(time: object, date: str = "date", clock: str = "time") -> dict[str, str]:
    """Return a time as ODIM's two attributes."""
    return {date: f"{pd.Timestamp(time):%Y%m%d}", clock: f"{pd.Timestamp(time):%H%M%S}"}


def span(start: object, end: object) -> dict[str, str]:
    """Return start and end as ODIM's four attributes."""
    return stamp(start, "startdate", "starttime") | stamp(end, "enddate", "endtime")


def pack(values: np.ndarray, what: Mapping[str, object], dtype: str, nothing: object) -> np.ndarray:
    """Return codes of values: (value - offset) / gain, and the codes for no rain and not seen."""
    codes = (values - what["offset"]) / what["gain"]
    if np.dtype(dtype).kind == "u":
        codes = np.rint(codes)
    codes = np.where(nothing, what["undetect"], codes)
    return np.where(np.isnan(values), what["nodata"], codes).astype(dtype)


def composite(path: Path, time: object, source: str, where: Mapping[str, object]) -> h5py.File:
    """Create an ODIM file of a composite with its three groups, open for more."""
    file = h5py.File(path, "w")
    file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_3")
    about = {"object": "COMP", "version": "H5rad 2.3", "source": source}
    put(file, {"what": about | stamp(time), "where": where, "how": {}})
    return file


def write_opera(folder: Path, rain: xr.DataArray) -> list[Path]:
    """OPERA's CIRRUS: maximum reflectivity as float64 with codes, and its quality index."""
    what = {"gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0}
    paths = []
    for time, dbz, frame in zip(rain["time"].values, dbz_of(rain), rain.values, strict=True):
        path = folder / f"T_PABV21_C_EUOC_{pd.Timestamp(time):%Y%m%d%H%M%S}.hdf"
        with composite(path, time, "ORG:247,CMT:OPERA", place(rain)) as file:
            # the scans of a composite begin and end at odd seconds
            seconds = span(time - np.timedelta64(17, "s"), time + np.timedelta64(233, "s"))
            put(file, {"dataset1/what": {"product": "MAX"} | seconds})
            put(file, {"dataset1/data1/what": {"quantity": "DBZH"} | what})
            quality = "dataset1/data1/quality1"
            put(file, {f"{quality}/what": what, f"{quality}/how": {"task": "qi_total"}})
            file["dataset1/data1/data"] = pack(dbz, what, "f8", frame == 0)
            file[f"{quality}/data"] = pack(
                np.where(np.isnan(frame), np.nan, 0.5), what, "f8", False
            )
        paths.append(path)
    return paths


def write_fmi(folder: Path, rain: xr.DataArray) -> list[Path]:
    """FMI's open data: reflectivity in bytes, with the a and b that Finland uses."""
    what = {"gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
    paths = []
    values = dbz_of(rain, 223.0, 1.53)
    for time, dbz, frame in zip(rain["time"].values, values, rain.values, strict=True):
        path = folder / f"{pd.Timestamp(time):%Y%m%d%H%M}_fmi.radar.composite.dbz_FIN.h5"
        with composite(path, time, "ORG:86,CTY:613", place(rain)) as file:
            put(file, {"how": {"zr_a": 223.0, "zr_b": 1.53}})
            put(file, {"dataset1/what": {"product": "PCAPPI", "prodpar": 500.0} | span(time, time)})
            put(file, {"dataset1/data1/what": {"quantity": "DBZH"} | what})
            file["dataset1/data1/data"] = pack(dbz, what, "u1", frame == 0)
        paths.append(path)
    return paths


def write_rmi(folder: Path, rain: xr.DataArray) -> list[Path]:
    """RMI's RADQPE: rain rate as float32, NaN where nothing was seen."""
    what = {"gain": 1.0, "offset": 0.0, "nodata": np.nan, "undetect": 0.0}
    paths = []
    for time, frame in zip(rain["time"].values, rain.values, strict=True):
        path = folder / f"{pd.Timestamp(time):%Y%m%d%H%M%S}.rad.best.comp.rate.qpe.hdf"
        with composite(path, time, "ORG:275", place(rain)) as file:
            put(file, {"dataset1/what": {"product": "SURF"} | span(time - STEP, time)})
            put(file, {"dataset1/data1/what": {"quantity": "RATE"} | what})
            file["dataset1/data1/data"] = pack(frame, what, "f4", frame == 0)
        paths.append(path)
    return paths


def write_dpc(folder: Path, rain: xr.DataArray) -> list[Path]:
    """DPC's surface rain intensity: pixels at the dataset's level, quantity too."""
    what = {"gain": 1.0, "offset": 0.0, "nodata": -9999.0, "undetect": -1.0, "quantity": "RATE"}
    where = place(rain)
    paths = []
    for time, frame in zip(rain["time"].values, rain.values, strict=True):
        path = folder / f"SRI_{pd.Timestamp(time):%Y%m%d%H%M}.h5"
        root = {key: value for key, value in where.items() if key[:2] not in ("xs", "ys")}
        with composite(path, time, "ORG:80", root) as file:
            put(file, {"dataset1/what": {"product": "SURF"} | what | span(time, time)})
            put(file, {"dataset1/where": {k: where[k] for k in where if k[:2] in ("xs", "ys")}})
            file["dataset1/data1/data"] = pack(frame, what, "f4", frame == 0)
        paths.append(path)
    return paths


def write_meteoswiss(folder: Path, rain: xr.DataArray) -> list[Path]:
    """MeteoSwiss's amounts: an ACRR of its own start and end, pixels in kilometres."""
    what = {"gain": 1.0, "offset": 0.0, "nodata": np.nan, "undetect": 0.0, "quantity": "ACRR"}
    step = pd.Timedelta(rain["time"].values[1] - rain["time"].values[0])
    where = place(rain)
    where |= {key: where[key] / 1000 for key in ("xscale", "yscale")}
    paths = []
    for time, frame in zip(rain["time"].values, rain.values, strict=True):
        path = folder / f"CPC{pd.Timestamp(time):%y%j%H%M}0_{step.seconds // 60:05d}.001.h5"
        amount = frame * (step / pd.Timedelta("1h"))
        with composite(path, time, "ORG:215,CMT:MeteoSwiss", where) as file:
            put(file, {"dataset1/what": {"product": "RR"} | span(time - step, time)})
            put(file, {"dataset1/data1/what": what})
            file["dataset1/data1/data"] = pack(amount, what, "f4", frame == 0)
        paths.append(path)
    return paths


# --- KNMI HDF5


def write_knmi(folder: Path, rain: xr.DataArray) -> list[Path]:
    """KNMI's RAD_NL25_RAC: hundredths of mm in five minutes; 65535 is out of the image."""
    formula = "GEO=0.010000*PV+0.000000"
    paths = []
    for time, frame in zip(rain["time"].values, rain.values, strict=True):
        path = folder / f"RAD_NL25_RAC_MFBS_EM_5min_{pd.Timestamp(time):%Y%m%d%H%M}_NL.h5"
        codes = np.where(np.isnan(frame), 65535, np.rint(np.nan_to_num(frame) / 12 / 0.01))
        _knmi(path, rain, time, codes.astype("u2"), "PRECIP_[MM]", formula, 65535)
        paths.append(path)
    return paths


def write_knmi_reflectivity(folder: Path, rain: xr.DataArray) -> list[Path]:
    """KNMI's RAD_NL25_PCP: reflectivity in half decibels from -32; 0 is nothing, 255 is outside."""
    formula = "GEO = 0.500000 * PV + -32.000000"
    paths = []
    for time, dbz in zip(rain["time"].values, dbz_of(rain), strict=True):
        path = folder / f"RAD_NL25_PCP_NA_{pd.Timestamp(time):%Y%m%d%H%M}.h5"
        seen = np.where(np.isfinite(dbz), np.rint((dbz + 32) / 0.5), 0)
        codes = np.where(np.isnan(dbz), 255, seen).astype("u1")
        _knmi(path, rain, time, codes, "REFLECTIVITY_[DBZ]", formula, 255)
        paths.append(path)
    return paths


def _knmi(
    path: Path,
    rain: xr.DataArray,
    time: object,
    codes: np.ndarray,
    parameter: str,
    formula: str,
    outside: int,
) -> None:
    """Write one image, its place counted in pixels from the origin of KNMI's projection."""
    y, x = rain["y"].values / 1000, rain["x"].values / 1000
    width, height = x[1] - x[0], y[1] - y[0]  # the height is negative
    clock = "{:%d-%b-%Y;%H:%M:%S}.000"
    start, end = (clock.format(pd.Timestamp(t)).upper() for t in (time - STEP, time))
    # KNMI states the Earth in kilometres, and leaves a plus out
    projection = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.14 +b=6356.75 +x_0=0 y_0=0"
    with h5py.File(path, "w") as file:
        place = {
            "geo_pixel_size_x": np.float32([width]),
            "geo_pixel_size_y": np.float32([height]),
            "geo_column_offset": np.float32([(x[0] - width / 2) / width]),
            "geo_row_offset": np.float32([(y[0] - height / 2) / height]),
            "geo_number_columns": np.int32([x.size]),
            "geo_number_rows": np.int32([y.size]),
            "geo_dim_pixel": "KM,KM",
            "geo_pixel_def": "LU",
        }
        image = {"image_geo_parameter": parameter, "image_product_name": path.stem[:12]}
        calibration = {
            "calibration_flag": "Y",
            "calibration_formulas": formula,
            "calibration_missing_data": np.int32([0]),
            "calibration_out_of_image": np.int32([outside]),
        }
        overview = {"product_datetime_start": start, "product_datetime_end": end}
        put(file, {"geographic": place, "image1": image, "image1/calibration": calibration})
        put(file, {"geographic/map_projection": {"projection_proj4_params": projection}})
        put(file, {"overview": overview})
        file["image1/image_data"] = codes


# --- MRMS, BoM, MLCast, RADOLAN

BOM = "+proj=aea +lat_0=-35.665 +lon_0=149.512 +lat_1=-18 +lat_2=-36 +ellps=GRS80 +units=m"
MRMS_NORTH, MRMS_WEST, MRMS_PIXEL = 48.0, -93.0, 0.01


def write_mrms(folder: Path, rain: xr.DataArray) -> list[Path]:
    """MRMS's PrecipRate: GRIB2 of NOAA's local tables, packed as gzip; -3 is no coverage.

    The pixels are put on latitudes and longitudes: one of a kilometre becomes one of .01 degree.
    """
    import rasterio
    import rasterio.shutil

    rows, columns = rain.sizes["y"], rain.sizes["x"]
    transform = rasterio.Affine(MRMS_PIXEL, 0, MRMS_WEST, 0, -MRMS_PIXEL, MRMS_NORTH)
    raster = {"width": columns, "height": rows, "count": 1, "dtype": "float64"}
    paths = []
    for time, frame in zip(rain["time"].values, rain.values, strict=True):
        path = folder / f"MRMS_PrecipRate_00.00_{pd.Timestamp(time):%Y%m%d-%H%M%S}.grib2"
        identity = "CENTER=161 SUBCENTER=0 MASTER_TABLE=255 SIGNF_REF_TIME=3 PROD_STATUS=0 TYPE=7"
        with rasterio.MemoryFile() as memory:
            where = {"crs": "EPSG:4326", "transform": transform}
            with memory.open(driver="GTiff", **raster, **where) as file:
                file.write(np.where(np.isnan(frame), -3.0, frame).round(1).astype("f8"), 1)
            with memory.open() as file:
                rasterio.shutil.copy(
                    file,
                    path,
                    driver="GRIB",
                    DISCIPLINE=209,
                    IDS=f"{identity} REF_TIME={pd.Timestamp(time):%Y-%m-%dT%H:%M:%SZ}",
                    PDS_PDTN=0,
                    # category 6, parameter 1: PrecipRate; surface 102, above mean sea level
                    PDS_TEMPLATE_NUMBERS="6 1 0 0 97 0 0 0 1 0 0 0 0 102 0 0 0 0 0 " + "255 " * 6,
                    DATA_ENCODING="PNG",
                    DECIMAL_SCALE_FACTOR=1,
                )
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        paths.append(packed)
    return paths


def write_bom(folder: Path, rain: xr.DataArray) -> list[Path]:
    """BoM's Rainfields 3: amounts from start_time to valid_time, packed; kilometres of Albers."""
    y, x = ((np.arange(n) - (n - 1) / 2) for n in rain.shape[1:])
    step = rain["time"].values[1] - rain["time"].values[0]
    amount = rain.values * (step / np.timedelta64(1, "h"))
    projection = pyproj.CRS(BOM).to_cf()
    projection.pop("crs_wkt")
    paths = []
    for time, frame in zip(rain["time"].values, amount, strict=True):
        path = folder / f"310_{pd.Timestamp(time):%Y%m%d_%H%M%S}.prcp-crate.nc"
        extent = {"valid_min": x[0] - 0.5, "valid_max": x[-1] + 0.5, "units": "km"}
        ds = xr.Dataset(
            {
                "precipitation": (("y", "x"), frame, {"units": "mm", "grid_mapping": "proj"}),
                "start_time": ((), time - step, {"long_name": "Precipitation start time"}),
                "valid_time": ((), time, {"long_name": "Valid time"}),
                "proj": ((), np.int8(0), projection),
            },
            {
                "y": ("y", -y, extent | {"standard_name": "projection_y_coordinate"}),
                "x": ("x", x, extent | {"standard_name": "projection_x_coordinate"}),
            },
            {"Conventions": "CF-1.7", "source": "Rainfields 3", "station_id": np.int32(310)},
        )
        seconds = {"dtype": "i4", "units": "seconds since 1970-01-01 00:00:00"}
        packing = {"dtype": "i2", "scale_factor": 0.05, "_FillValue": -1, "zlib": True}
        encoding = {"precipitation": packing, "start_time": seconds, "valid_time": seconds}
        ds.to_netcdf(path, encoding=encoding)
        paths.append(path)
    return paths


def write_mlcast(folder: Path, rain: xr.DataArray) -> list[Path]:
    """An archive of MLCast: one Zarr store, a chunk for each time, of a flux in kg m-2 h-1."""
    path = folder / "radar.zarr"
    attrs = {
        "standard_name": "rainfall_flux",
        "long_name": "rainfall flux",
        "units": "kg m-2 h-1",
        "grid_mapping": "crs",
    }
    flux = rain.drop_attrs().rename("rainfall_flux").assign_attrs(attrs)
    for axis in "yx":
        named = {"standard_name": f"projection_{axis}_coordinate", "units": "m"}
        flux[axis].attrs |= named
    flux["crs"].attrs |= pyproj.CRS(crs_of(rain)).to_cf()
    flux["crs"].attrs["spatial_ref"] = flux["crs"].attrs["crs_wkt"]
    ds = flux.to_dataset().chunk(time=1)
    ds.attrs = {"license": "CC-BY-4.0", "Conventions": "CF-1.8"}
    ds.to_zarr(path, mode="w", zarr_format=2, consolidated=True)
    return [path]


def write_radolan(folder: Path, rain: xr.DataArray) -> list[Path]:
    """DWD's RY: hundredths of mm in five minutes, 900 x 900 pixels from the south; 2500 is no data.

    The rain stands in the middle of the grid, the rest of which was not seen.
    """
    rows, columns = rain.shape[1:]
    top, left = (900 - rows) // 2, (900 - columns) // 2
    paths = []
    for time, frame in zip(rain["time"].values, rain.values, strict=True):
        when = pd.Timestamp(time)
        path = folder / f"raa01-ry_10000-{when:%y%m%d%H%M}-dwd---bin"
        amounts = np.rint(frame[::-1] / 12 / 0.01)
        codes = np.full((900, 900), 0x29C4, "<u2")  # 2500, and the bit for no data
        codes[top : top + rows, left : left + columns] = np.where(
            np.isnan(amounts), 0x29C4, np.nan_to_num(amounts)
        )
        radars = "<boo,ros,emd,hnr,umd,pro,ess,fld,drs,neu,nhb,oft,eis,tur,isn,fbg,mem>"
        header = f"RY{when:%d%H%M}10000{when:%m%y}BY{{}}VS 3SW   2.21.0PR E-02INT   5GP 900x 900"
        header += f"MS{len(radars):3d}{radars}"
        total = len(header.format("0000000")) + 1 + codes.nbytes
        path.write_bytes(header.format(f"{total:7d}").encode() + b"\x03" + codes.tobytes())
        paths.append(path)
    return paths


# --- all of them

WRITERS = {
    name.removeprefix("write_"): function
    for name, function in globals().items()
    if name.startswith("write_")
}


def main(root: Path) -> None:
    """Write storms as each service would: what a nowcast reads, and an hour to compare it with."""
    rain = storms(FRAMES)
    for name, write in WRITERS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = write(folder, rain)
        print(f"{folder}: {len(paths)} files, the last {paths[-1].name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

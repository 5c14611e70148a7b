"""A globe on a curvilinear grid: a leaning pole, as tripolar ocean grids have, and a halo."""

import numpy as np
import xarray as xr


def sphere(lat, lon):
    lat, lon = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)


def turned(lat, lon, angle):
    """The points of a sphere whose pole leans by `angle` degrees towards longitude 320."""
    x, y, z = np.moveaxis(sphere(lat, lon), -1, 0)
    a = np.radians(angle)
    x, z = np.cos(a) * x + np.sin(a) * z, np.cos(a) * z - np.sin(a) * x
    return np.degrees(np.arcsin(np.clip(z, -1, 1))), (np.degrees(np.arctan2(y, x)) + 320) % 360


def tripolar(values, step=2.0, bounds=True, angle=25.0, halo=2):
    """A globe with a leaning pole and repeated columns; `values(lat, lon)` at the centres."""
    rows, columns = np.arange(-80, 90, step), np.arange(0, 360 + halo * step, step)
    centres = np.meshgrid(rows + step / 2, columns + step / 2, indexing="ij")
    lat, lon = turned(*centres, angle)
    coords = {
        "lat": (("j", "i"), lat, {"units": "degrees_north", "bounds": "lat_bnds"}),
        "lon": (("j", "i"), lon, {"units": "degrees_east", "bounds": "lon_bnds"}),
    }
    ds = xr.Dataset({"tos": (("j", "i"), values(lat, lon))}, coords)
    if bounds:
        offsets = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * step / 2
        rows, columns = (c[..., None] + offsets[:, k] for k, c in enumerate(centres))
        corners = turned(rows, columns, angle)
        ds["lat_bnds"], ds["lon_bnds"] = ((("j", "i", "vertices"), c) for c in corners)
    return ds

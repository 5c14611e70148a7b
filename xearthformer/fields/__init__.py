"""Labelled arrays as users hold them: axes, units, time steps, grids, windows and tiles.

The room knows xarray and never torch. `cf` is the door: `cf.prepare` and `cf.restore`.
"""

"""Labelled arrays as users hold them: axes, units, time axes, grids, windows and tiles.

This room knows xarray and never torch. `cf.prepare` is the way in, and `cf.restore` the way out.
"""

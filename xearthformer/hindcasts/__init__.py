"""Forecasts from decades of inits, streamed to a Zarr store that survives being killed."""

"""Layers that more than one network is built of."""

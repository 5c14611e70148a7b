"""Simulated data in the form of the real: sea surface temperature, storms, N-body digits."""

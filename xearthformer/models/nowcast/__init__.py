"""Nowcast: rain moved on along its motion, and what may become of it at every pixel and lead."""

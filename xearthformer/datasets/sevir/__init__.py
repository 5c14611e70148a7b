"""SEVIR, the storm events of the Earthformer and PreDiff papers: engine, events, files, VIL."""

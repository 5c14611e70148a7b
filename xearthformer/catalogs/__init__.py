"""In a wheel, the catalogues of data sources; the code is in `xearthformer.datasets.catalog`."""

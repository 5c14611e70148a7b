"""Climate statistics of monthly fields: climatologies, anomalies, regions and their indices."""

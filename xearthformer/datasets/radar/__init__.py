"""Weather radar: rain rates from the files that weather services publish."""

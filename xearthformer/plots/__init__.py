"""Pictures of forecasts: maps, frames of radar, members."""

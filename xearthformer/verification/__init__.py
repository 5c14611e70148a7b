"""Scores of forecasts against observations: sums that add up, then the score; a file per family."""

"""Scores of forecasts against observations: sums that add up, then the score; one file a family."""

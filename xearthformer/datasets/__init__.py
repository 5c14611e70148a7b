"""Data to work with: labelled, torch-free, and in the form that its archives have."""

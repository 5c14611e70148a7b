"""Data to work with: labelled, torch-free, and in the form their archives give it."""

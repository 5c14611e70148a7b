"""Training: labelled records, windows of tensors, one loop, a pack."""

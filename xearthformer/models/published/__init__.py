"""Published configurations and weights of Earthformer and PreDiff, read into the networks here."""

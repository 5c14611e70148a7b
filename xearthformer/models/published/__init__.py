"""Published checkpoints: their names of parameters, and the configurations they belong to."""

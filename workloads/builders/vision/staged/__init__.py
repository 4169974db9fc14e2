"""Image networks of stages: a network is a list of blocks by name, a kind of block one function."""

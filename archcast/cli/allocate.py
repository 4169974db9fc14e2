"""`archcast allocate`."""

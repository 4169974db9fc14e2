"""`archcast serve`."""

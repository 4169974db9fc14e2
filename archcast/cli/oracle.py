"""`archcast oracle`."""

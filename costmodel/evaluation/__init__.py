"""Scores on measured data sets, importable: tables in, rows of a score table out."""

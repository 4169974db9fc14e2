"""Measurements of others, read into the measurement table: one file a format, behind `costmodel.measured.base`."""

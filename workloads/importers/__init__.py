"""Importers: files that people already have, read as models. One format a file."""

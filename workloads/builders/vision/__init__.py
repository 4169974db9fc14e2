"""Builders of image networks."""

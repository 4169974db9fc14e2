"""Builders of graph networks."""

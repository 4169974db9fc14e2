"""Builders of networks that hear, see and read."""

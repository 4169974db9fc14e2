"""Builders of networks that make images and video."""

"""Builders of the spaces that architecture searches draw from."""

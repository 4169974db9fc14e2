"""Builders of language models: decoders, encoders, and both together."""

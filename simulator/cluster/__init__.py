"""Replay of clusters: traces of tasks and machines, placement, migration, and what neighbours cost each other."""

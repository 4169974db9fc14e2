"""Builders: functions from an architecture's knobs to workload graphs. One family a file."""

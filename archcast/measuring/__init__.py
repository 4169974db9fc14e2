"""`archcast measure`: a sweep over operators and small networks on a real device (docs/measure.md)."""

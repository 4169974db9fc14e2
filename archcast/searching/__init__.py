"""Design-space search: spaces in columns, an `evaluate(columns)` seam, methods that choose what to evaluate, fronts.

docs/search.md lists the keys of a file. A new space is a `Problem` in `problems.py`, a new method a function beside
`grid.run_grid`; both meet only in `space.DesignSpace` and `problem.Evaluated`.
"""

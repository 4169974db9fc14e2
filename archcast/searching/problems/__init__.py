"""The spaces that ship: one module each with a `Design`, and what an environment of it starts from.

A module says `DESIGN`, `SPACE` (values of knobs as a file gives them), `WORKLOAD` ("" where there is none) and
`OBJECTIVES`. Closed forms are vectorised over designs; `events` simulates them one by one.
"""

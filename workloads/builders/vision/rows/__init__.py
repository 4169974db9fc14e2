"""Image networks that are written as rows: a notation for layers, named modules, detection heads."""

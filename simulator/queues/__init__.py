"""Networks of stations in time: one description, plain callbacks or a compiled kernel with the identical trace."""

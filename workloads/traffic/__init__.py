"""What arrives: traces and generators of requests."""

"""Planning: the cheapest fleet that serves a demand within its objectives. Closed form prunes, events confirm."""

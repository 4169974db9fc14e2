"""Edge offloading: users send tasks by radio to a cloud and to edges, which share their processors among tasks."""

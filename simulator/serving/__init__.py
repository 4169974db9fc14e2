"""Serving language models: requests in time on engines that batch continuously."""

"""The command line: one file a verb. Nothing but the answer goes to stdout."""

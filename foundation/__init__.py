"""What every other package stands on: errors, number formats, and files that strangers wrote or that are written whole.

Nothing here knows about hardware, workloads or costs. It imports nothing of the project.
"""

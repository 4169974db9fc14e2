"""What every other package stands on: errors, number formats, and the reading of hostile text files.

Nothing here knows about hardware, workloads or costs. It imports nothing of the project.
"""

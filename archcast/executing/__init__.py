"""Work in chunks: where it runs (`find_executor`), and results in order that survive a kill (`sweep`).

`archcast.sweep` for columns of questions is built on it (archcast/sweeps.py).
"""

from archcast.executing.chunks import Rows as Rows
from archcast.executing.chunks import Span as Span
from archcast.executing.chunks import Task as Task
from archcast.executing.chunks import spans as spans
from archcast.executing.executor import Executor as Executor
from archcast.executing.executor import find_executor as find_executor
from archcast.executing.ordered import results as results
from archcast.executing.ordered import sweep as sweep

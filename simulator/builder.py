"""Writing a task graph by hand: engines, tasks and transfers by name."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.tasks import Engine, TaskGraph


class TaskGraphBuilder:
    """Collects engines and tasks, then builds a `TaskGraph`.

    The order of the calls is the program order. `after` may name tasks that are added later.

        b = TaskGraphBuilder()
        b.engine("gpu")
        b.engine("link", kind="link", bandwidth_bytes_per_s=50e9)
        b.task("forward", "gpu", 1e-3)
        b.transfer("send", "link", 1_000_000, after="forward")
        graph = b.build()
    """

    def __init__(self, ticks_per_second: int = PICOSECONDS_PER_SECOND) -> None:
        self.ticks_per_second = ticks_per_second
        self._engines: dict[str, tuple[int, Engine]] = {}
        self._index: dict[str, int] = {}
        self._rows: list[tuple[int, float, str, int, int]] = []
        self._after: list[tuple[str, ...]] = []

    def engine(
        self,
        name: str,
        kind: str = "compute",
        *,
        device: str = "",
        capacity: int = 1,
        discipline: str = "",
        bandwidth_bytes_per_s: float | None = None,
    ) -> str:
        """Add an engine (see `Engine`) and return its name.

        Raises:
            BadValueError, UnknownNameError: a value is out of range or the name is taken.
        """
        if name in self._engines:
            raise BadValueError(f"Two engines are named '{name}'. Give each its own name.")
        made = Engine(name, kind, device, capacity, discipline, bandwidth_bytes_per_s)
        self._engines[name] = (len(self._engines), made)
        return name

    def task(
        self,
        name: str,
        engine: str,
        duration_s: float,
        *,
        after: str | Sequence[str] = (),
        category: str = "",
        repeat: int = 1,
    ) -> str:
        """Add a task of `duration_s` seconds, done `repeat` times in a row, and return its name.

        Raises:
            BadValueError, UnknownNameError: a value is out of range, the name is taken, or no such engine.
        """
        seconds = finite_number(f"duration_s of task '{name}'", duration_s)
        return self._add(name, engine, seconds, after, category, repeat, 0)

    def transfer(
        self,
        name: str,
        link: str,
        bytes_: int,
        *,
        after: str | Sequence[str] = (),
        category: str = "transfer",
        repeat: int = 1,
    ) -> str:
        """Add a transfer of `bytes_` bytes over `link` (bytes over its bandwidth) and return its name.

        Raises:
            BadValueError, UnknownNameError: as `task`, or the engine has no bandwidth.
        """
        size = whole_number(f"bytes of transfer '{name}'", bytes_, low=0, high=2**62)
        engine = self._engine_of(name, link)[1]
        if engine.bandwidth_bytes_per_s is None:
            raise BadValueError(
                f"Transfer '{name}' gives bytes, but engine '{link}' has no bandwidth_bytes_per_s. "
                "Give the engine one, or give the task a duration_s."
            )
        return self._add(name, link, size / engine.bandwidth_bytes_per_s, after, category, repeat, size)

    def build(self) -> TaskGraph:
        """Return the graph.

        Raises:
            UnknownNameError: a task waits for one that does not exist.
            BadValueError: tasks wait for each other in a circle, or times exceed 64 bits.
        """
        before, after = [], []
        for index, names in enumerate(self._after):
            for name in names:
                if name not in self._index:
                    waiting = list(self._index)[index]
                    raise UnknownNameError("task", name, self._index, f"Task '{waiting}' waits for it.")
                before.append(self._index[name])
                after.append(index)
        columns = list(zip(*self._rows, strict=True)) or [(), (), (), (), ()]
        return TaskGraph.from_arrays(
            [engine for _, engine in self._engines.values()],
            columns[0], columns[1], before, after,
            names=tuple(self._index), category=columns[2], repeat=columns[3], size_bytes=columns[4],
            ticks_per_second=self.ticks_per_second,
        )  # fmt: skip

    def _engine_of(self, task: str, name: str) -> tuple[int, Engine]:
        if name not in self._engines:
            raise UnknownNameError("engine", str(name), self._engines, f"Task '{task}' runs on it.")
        return self._engines[name]

    def _add(
        self, name: str, engine: str, seconds: float, after: str | Sequence[str], category: str, repeat: int, size: int
    ) -> str:
        if not name or not isinstance(name, str):
            raise BadValueError(f"A task needs a name, not {name!r}.")
        if name in self._index:
            raise BadValueError(f"Two tasks are named '{name}'. Give each its own name.")
        times = whole_number(f"repeat of task '{name}'", repeat)
        self._rows.append((self._engine_of(name, engine)[0], seconds, str(category), times, size))
        self._after.append((after,) if isinstance(after, str) else tuple(after))
        self._index[name] = len(self._index)
        return name

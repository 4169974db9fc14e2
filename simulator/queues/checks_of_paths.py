"""Where items can go: forks and their joins, packets, classes, and loops that would take no time.

A walk over states (element, class, what the item is inside of): a fork or a pack is put on the stack, its join or an
unpack takes it off again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foundation.errors import BadValueError
from simulator.queues.elements import (
    Delay,
    Element,
    Exit,
    Fork,
    Gate,
    Join,
    Network,
    Pack,
    Route,
    Rules,
    Service,
    Source,
    Station,
    Unpack,
)  # fmt: skip

Stack = tuple[str, ...]
State = tuple[str, int, Stack]


def check_paths(network: Network) -> None:
    """Check the paths of items. Raises BadValueError naming the elements."""
    joins_of_forks(network)
    _no_timeless_loop(network)


def joins_of_forks(network: Network) -> dict[str, str]:
    """Return the join of every fork that items can reach.

    Raises:
        BadValueError: a fork without exactly one join, an item that is no part at a join, a part at an exit, a fork or
            pack within itself, or a class without service or route where it can come.
    """
    walk = _Walk(network)
    while walk.changed:
        walk.once()
    for element in network.elements:
        if isinstance(element, Fork) and element.name in walk.reached and element.name not in walk.joins:
            raise BadValueError(f"The parts of fork '{element.name}' come to no join.")
    return walk.joins


class _Walk:
    """All states that items can be in. Packets carry what entered their pack: repeat the walk until it is stable."""

    def __init__(self, network: Network) -> None:
        self.by_name: dict[str, Element] = {element.name: element for element in network.elements}
        self.joins: dict[str, str] = {}
        self.inside: dict[str, set[tuple[int, Stack]]] = {}
        self.reached: set[str] = set()
        self.changed = True

    def once(self) -> None:
        self.changed = False
        seen: set[State] = set()
        todo: list[State] = []
        for source in self.by_name.values():
            if isinstance(source, Source):
                for kind, share in enumerate(source.classes):
                    if share:
                        todo += [(target, kind, ()) for target in targets_of(source.route, kind, source.name)]
        while todo:
            state = todo.pop()
            if state not in seen:
                seen.add(state)
                self.reached.add(state[0])
                todo += self._next(*state)

    def _next(self, name: str, kind: int, stack: Stack) -> Iterator[State]:
        """Yield the states after this one."""
        element = self.by_name[name]
        inside: list[tuple[int, Stack]] = [(kind, stack)]
        if isinstance(element, (Fork, Pack)):
            if name in stack:
                raise BadValueError(f"What comes from '{name}' can come to '{name}' again before it is put together.")
            inside = [(kind, (*stack, name))]
            if isinstance(element, Pack):
                self._note(name, kind, stack)
        elif isinstance(element, Join):
            inside = [(kind, self._joined(name, stack))]
        elif isinstance(element, Unpack) and stack and isinstance(self.by_name[stack[-1]], Pack):
            inside = sorted(self.inside[stack[-1]])
        elif isinstance(element, Exit):
            self._ended(name, stack)
            return
        elif isinstance(element, Station) and isinstance(element.service, Mapping) and kind not in element.service:
            raise BadValueError(f"Station '{name}' has no service for class {kind}, which can come there.")
        for each, below in inside:
            yield from ((target, each, below) for target in onward(element, each))

    def _note(self, name: str, kind: int, stack: Stack) -> None:
        known = self.inside.setdefault(name, set())
        if (kind, stack) not in known:
            known.add((kind, stack))
            self.changed = True

    def _joined(self, name: str, stack: Stack) -> Stack:
        if not stack or not isinstance(self.by_name[stack[-1]], Fork):
            what = f"a packet of '{stack[-1]}'" if stack else "an item that no fork made"
            raise BadValueError(f"Join '{name}' can get {what}; it can only put together parts of a fork.")
        fork = stack[-1]
        if self.joins.setdefault(fork, name) != name:
            raise BadValueError(f"The parts of fork '{fork}' come to two joins, '{self.joins[fork]}' and '{name}'.")
        return stack[:-1]

    def _ended(self, name: str, stack: Stack) -> None:
        forks = [each for each in stack if isinstance(self.by_name[each], Fork)]
        if forks:
            raise BadValueError(f"A part of fork '{forks[-1]}' can end at exit '{name}' before it comes to a join.")


def onward(element: Element, kind: int) -> tuple[str, ...]:
    """Return where an item of class `kind` can go from an element."""
    if isinstance(element, Fork):
        return tuple(target for target, _ in element.branches)
    return () if isinstance(element, Exit) else targets_of(element.route, kind, element.name)


def targets_of(route: Route, kind: int, name: str) -> tuple[str, ...]:
    """Return the targets of a class with a share above 0. Raises BadValueError where the class has no row."""
    weights = route.weights
    if isinstance(weights, Mapping):
        if kind not in weights:
            raise BadValueError(f"The route of '{name}' has no weights for class {kind}, which can come there.")
        weights = weights[kind]
    if weights is None:
        return route.targets
    return tuple(target for target, weight in zip(route.targets, weights, strict=True) if weight)


def _no_timeless_loop(network: Network) -> None:
    """Refuse a loop in which no element takes time: an item would go round for ever within one tick."""
    timeless = {element.name: element for element in network.elements if _timeless(element)}
    edges = {name: {t for t in _all_targets(element) if t in timeless} for name, element in timeless.items()}
    while True:
        ends = [name for name, targets in edges.items() if not targets]
        if not ends:
            break
        for name in ends:
            del edges[name]
        for targets in edges.values():
            targets.difference_update(ends)
    if edges:
        raise BadValueError(f"Items can go round without any time passing: {', '.join(sorted(edges))}.")


def _timeless(element: Element) -> bool:
    if isinstance(element, (Rules, Gate, Fork, Join, Pack, Unpack)):
        return True
    if isinstance(element, Delay):
        return not any(element.service.polynomial_s)
    if isinstance(element, Station):
        if element.batch is not None:
            return not all(element.batch.time_s)  # such batches may be all that it makes
        services = element.service.values() if isinstance(element.service, Mapping) else [element.service]
        return any(_instant(service) for service in services)
    return False


def _instant(service: Service) -> bool:
    return not any(service.polynomial_s)


def _all_targets(element: Element) -> tuple[str, ...]:
    if isinstance(element, Fork):
        return tuple(target for target, _ in element.branches)
    if isinstance(element, Exit):
        return ()
    weights = element.route.weights
    rows = list(weights.values()) if isinstance(weights, Mapping) else [weights]
    if any(row is None for row in rows):
        return element.route.targets
    kept = {t for row in rows if row is not None for t, w in zip(element.route.targets, row, strict=True) if w}
    return tuple(sorted(kept))

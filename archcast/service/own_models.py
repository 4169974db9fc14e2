"""Cost models of one's own over HTTP: that of a calibrate job answers under the job's id.

An id is never taken for a path: only a text of an id's form is looked for among the jobs, and only that of a calibrate
job that is done has a folder. Models are loaded once and a few are kept; one whose job is deleted is gone at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from archcast.service.answers import Answers, Encoded, Operations
from archcast.service.names import OWN
from foundation.errors import ArchcastError, BadValueError

if TYPE_CHECKING:
    from archcast.service.jobs import JobStore
    from costmodel.protocol import CostModel

MOST_LOADED = 4
"""Models that a process keeps in memory (that of the package is a file of 6 MB; none above 100 MB is read)."""


class OwnModels:
    """The models of one store of jobs. `store` opens it, or returns None where there are no jobs."""

    def __init__(self, store: Callable[[], JobStore | None], most: int = MOST_LOADED) -> None:
        self._store, self._most = store, most
        self._loaded: OrderedDict[str, tuple[CostModel, Path]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, name: str) -> CostModel | None:
        """Return the model that the job of an id made; None: no job has such an id.

        Raises:
            NotDoneError: the job is not done, or its artefact is gone. BadValueError: it is of another kind, or the
            artefact cannot be used.
        """
        with self._lock:
            kept = self._loaded.pop(name, None)
            if kept is not None and kept[1].is_file():  # what is deleted answers no more
                self._loaded[name] = kept
                return kept[0]
            found = self._found(name)
            if found is None:
                return None
            self._loaded[name] = found
            while len(self._loaded) > self._most:
                self._loaded.popitem(last=False)
            return found[0]

    def _found(self, name: str) -> tuple[CostModel, Path] | None:
        from archcast.service.jobs import NoSuchJobError
        from archcast.service.jobs.artefacts import artefact_of, may_be_job

        store = self._store() if may_be_job(name) else None
        if store is None:
            return None
        try:
            folder = artefact_of(store, name)
        except NoSuchJobError:
            return None
        from costmodel.artefact import CARD, load_artefact

        try:
            return load_artefact(folder), folder / CARD
        except ArchcastError as error:
            reason = str(error).replace(str(folder), "").lstrip("/: ")
            raise BadValueError(f"The model of the job {name} cannot be used: {reason}") from None


@dataclass(frozen=True)
class OwnAnswers(Answers):
    """Answers that take the ids of calibrate jobs for the names of cost models."""

    models: OwnModels = field(default_factory=lambda: OwnModels(lambda: None))

    @cached_property
    def routes(self) -> dict[str, Callable[[bytes, Mapping[str, str]], Encoded]]:
        """Return route -> what answers it."""
        return {route: self._asked(answer) for route, answer in super().routes.items()}

    def _asked(
        self, answer: Callable[[bytes, Mapping[str, str]], Encoded]
    ) -> Callable[[bytes, Mapping[str, str]], Encoded]:
        def asked(body: bytes, query: Mapping[str, str]) -> Encoded:
            token = OWN.set(self.models.find)
            try:
                return answer(body, query)
            finally:
                OWN.reset(token)

        return asked

    def operations(self, body: bytes, query: Mapping[str, str]) -> Operations:
        """Return columns of operators whose names were looked up; those priced together come this way."""
        token = OWN.set(self.models.find)
        try:
            return super().operations(body, query)
        finally:
            OWN.reset(token)

"""Cost models of calibrate jobs: found by the id of their job, and put into the folders of jobs that name them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.service.jobs.folders import KEPT
from archcast.service.jobs.job import CANCELLED, DONE, FAILED, Job, NotDoneError
from archcast.service.jobs.requests import words_of
from costmodel.artefact import CARD
from foundation.errors import BadValueError

if TYPE_CHECKING:
    from archcast.service.jobs.store import JobStore

MAKES_MODELS = "calibrate"
MODEL, BASE = "cost_model", ("base",)
"""Where the id of a calibrate job may stand: under a key of files and of settings, and in a calibrate job itself."""
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def may_be_job(name: object) -> bool:
    """Tell whether a text has the form of a job's id, whether or not there is one."""
    return isinstance(name, str) and _ID.fullmatch(name) is not None


def artefact_of(store: JobStore, id: str) -> Path:
    """Return the folder of the artefact that a job made.

    Raises:
        NoSuchJobError: no such job. BadValueError: a job of another kind. NotDoneError: it is not done, or its artefact
        is gone.
    """
    job = store.get(id)
    if job.kind != MAKES_MODELS:
        raise BadValueError(f"The job {id} is a {job.kind} job, which makes no cost model; name a calibrate job.")
    if job.state != DONE:
        raise NotDoneError(_why_none(job), job.state)
    folder = store.folder(id) / KEPT
    if not (folder / CARD).is_file():
        raise NotDoneError(f"The artefact of the job {id} is gone from the service's disk; calibrate again.", job.state)
    return folder


def _why_none(job: Job) -> str:
    if job.state == FAILED:
        return f"The job {job.id} has failed, so that there is no model of it: {job.error}"
    if job.state == CANCELLED:
        return f"The job {job.id} was cancelled, so that there is no model of it; calibrate again."
    return f"The job {job.id} is {job.state}; its model can be asked when it is done."


def models_of(request: Mapping[str, Any]) -> list[str]:
    """Return the ids of jobs that a request names as its cost models."""
    found = (word for at, word in words_of(request) if _names_model(at) and may_be_job(word))
    return list(dict.fromkeys(found))


def _names_model(at: tuple[str | int, ...]) -> bool:
    return at == BASE or (len(at) > 0 and str(at[-1]).rpartition(".")[2] == MODEL)


def check_models(store: JobStore, request: Mapping[str, Any]) -> None:
    """Refuse a request that names a job without a model. Raises as `artefact_of`, names that packages offer apart."""
    for id in models_of(request):
        if not _offered(id):
            artefact_of(store, id)


def put_models(store: JobStore, request: Mapping[str, Any], folder: Path) -> None:
    """Have the artefacts that a request names stand in a job's folder, under the ids of their jobs. Raises alike."""
    for id in models_of(request):
        place = folder / id
        if place.exists() or _offered(id):
            continue
        source, part = artefact_of(store, id), folder / f".{id}"
        shutil.rmtree(part, ignore_errors=True)
        try:
            shutil.copytree(source, part, copy_function=_linked)
        except OSError:  # shutil's own error is one, too
            if (source / CARD).is_file():
                raise
            raise NotDoneError(f"The artefact of the job {id} was deleted meanwhile; calibrate again.", DONE) from None
        part.rename(place)


def _offered(name: str) -> bool:
    from costmodel.contract import offered

    return name in offered()


def _linked(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except OSError:  # another file system
        shutil.copyfile(source, place)

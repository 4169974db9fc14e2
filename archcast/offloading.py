"""`simulate`, kind `edge`: users that send tasks to edges and a cloud under several policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.offloading_file import read_offloading
from foundation.yaml_file import YamlDocument
from simulator.offloading.policies import Policy
from simulator.offloading.study import Study, run_study

CRITICAL = (
    "As published the servers are offered a load of 1 before sizes are clipped: delays grow with the steps, and the "
    "means are those of episodes of this length (all tasks are then worked off)."
)
CONSTANTS_NOTE = "Intervals are of chance alone; the constants of radio and energy are taken as they stand."
ONE_RUN = "One replication has no interval: raise replications."


@dataclass(frozen=True)
class Offloading:
    """The outcome of an offloading simulation."""

    file: str
    study: Study
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def stable(self) -> bool | None:
        """Return whether the asked policy serves all tasks as fast as they come; None where it cannot be told."""
        return self.study.main.stable

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values (DESIGN 6.2)."""
        from archcast.render.offloading_json import offloading_json

        return offloading_json(self)

    def text(self) -> str:
        """Return the answer for a terminal."""
        from archcast.render.offloading_text import offloading_text

        return offloading_text(self)

    def to_chrome_trace(self) -> dict[str, Any]:
        """Return the tasks of the asked policy's first replication in Chrome's trace format."""
        from archcast.render.offloading_json import offloading_trace

        return offloading_trace(self)

    def page(self) -> str:
        """Return the answer as one self-contained page."""
        from archcast.render.offloading import offloading_page

        return offloading_page(self)


def serve_file(
    document: YamlDocument, settings: Mapping[str, Any] | None, seed: int, replications: int | None, file: str,
    *, policies: Mapping[str, Policy] | None = None,
) -> Offloading:  # fmt: skip
    """Simulate a file of kind `edge`; `policies` adds policies of the caller by name.

    Raises:
        BadFileError: with file, line and key.
        PolicyError: a policy failed; names step, time and user, and has the record so far.
    """
    plan = read_offloading(document, settings, seed, replications, policies)
    return answer(run_study(plan), file)


def answer(study: Study, file: str) -> Offloading:
    """Return the answer of a study."""
    from archcast import __version__

    notes = [CRITICAL] if study.plan.config.paper_mode else []
    ran = len(study.first.record)
    if not study.plan.config.paper_mode and ran < study.plan.config.tasks:
        notes.append(f"No policy can be stable here, so there are no means: runs were cut after {ran:,} tasks.")
    notes += [_unstable(study)] if any(one.unstable for one in study.outcomes) else []
    notes.append(CONSTANTS_NOTE if study.plan.replications > 1 else ONE_RUN)
    return Offloading(file, study, tuple(notes), {"archcast": __version__, "numpy": np.__version__})


def _unstable(study: Study) -> str:
    names = dict.fromkeys(one.label for one in study.outcomes if one.unstable)
    return (
        f"Unstable, so without means, and not on the front: {', '.join(names)} (a server or a radio gets more work "
        "than it can do in at least one replication, each of which draws its own system)."
    )

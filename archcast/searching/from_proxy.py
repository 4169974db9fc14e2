"""A search with a proxy in place of the closed form: made from a log of the same space, and what the answer says of it.

Where a file values designs in closed form, values are the proxy's. Where it simulates, the proxy says where `bayesian`
looks, and every value of the answer is simulated.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.searching.evaluations import about_of
from archcast.searching.search_file import CLOSED_FORM, PROXY, Study
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from workloads.table import Array

if TYPE_CHECKING:
    from archcast.searching.adaptive import Run
    from archcast.searching.proxy import Proxy

LOGS = ("evaluations.parquet", "evaluations.csv")
"""What a search leaves in the folder of --resume when it ends."""
KEPT = ("rmse_over_mean", "mape", "median", "p90", "spearman", "coverage_90", "zeros")
"""Of the proxy's card."""


@dataclass(frozen=True)
class Learned:
    """A proxy and the log that it is of. `guides`: it says where to look, and values are simulated."""

    proxy: Proxy
    log: str
    guides: bool

    def about(self, codes: Array, run: Run | None) -> dict[str, Any]:
        """Return what an answer says of the proxy, as JSON; `codes` are those of the front, (knobs, designs).

        Where the proxy guides it is held against all designs that `run` simulated and that stand.
        """
        card, values = self.proxy.card, None
        if self.guides and run is not None:
            stands = np.flatnonzero(run.arrays["reason"] == "")
            codes, values = run.arrays["codes"][:, stands], run.arrays["values"][stands]
        left_out = {
            name: {key: _plain(one[key]) for key in KEPT if key in one} for name, one in card["left_out"].items()
        }
        found: dict[str, Any] = {
            "log": self.log, "data": card["data"], "runs": card["runs"], "designs": card["designs"],
            "dropped": card["dropped"],
            "values": "simulated" if self.guides else PROXY, "left_out": left_out, "of": codes.shape[1],
            "unlike_log": 0,
        }  # fmt: skip
        if not codes.shape[1]:
            return found
        said = self.proxy.predict(self.proxy.space.columns(codes))
        found["unlike_log"] = int(said.outside.sum())
        if values is not None and not said.outside.all():
            found["simulated"] = {
                name: _held(row, said.value[name], said.lo[name], said.hi[name], ~said.outside)
                for name, row in zip(self.proxy.names, values.T, strict=True)
            }
        return found

    def notes(self, about: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the sentences for people; `about` is what `about` returned."""
        unlike, of = about["unlike_log"], about["of"]
        if not self.guides:
            ends = ": their ends are the value itself, which says nothing of its error" if unlike else ""
            words = (
                f"Nothing was simulated. {unlike:,} of {of:,} designs on the front are unlike those of the log{ends}"
            )
            drawn = "ends hold 90 of 100 runs of designs drawn like the log's"
            return (f"{words}; {drawn}, fewer of a front that was chosen by these values: simulate it.",)
        learned = f"A proxy learned from {about['designs']:,} designs of {self.log} said where to look"
        words = f"{learned}; all values are simulated. {unlike:,} of {of:,} designs that stand are unlike the log's"
        held = [_held_words(name, one) for name, one in about.get("simulated", {}).items()]
        said = f"; of the others its 90 % intervals held {', '.join(held)}" if held else ""
        return (f"{words}{said}.",)


def _held(runs: Array, value: Array, low: Array, high: Array, like: Array) -> dict[str, float | None]:
    """Return the share of runs within the ends, and the median of their distance over them, among designs `like`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(value / runs - 1)[like & (runs != 0)]
    return {
        "within": float(((runs >= low) & (runs <= high))[like].mean()),
        "median": _plain(float(np.median(off))) if len(off) else None,
    }


def _held_words(name: str, held: Mapping[str, float | None]) -> str:
    off = "" if held["median"] is None else f" (median error {100 * held['median']:.1f} %)"
    return f"{100 * (held['within'] or 0.0):.0f} % of {name}{off}"


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def with_proxy(study: Study, log: str | Path) -> Study:
    """Return the study with a proxy of a log (a file, or the folder of --resume) in place of its closed form.

    Raises:
        BadFileError: no log, no sound one, or one of another space, workload or kind; one with nothing to learn.
        BadValueError: a method that would simulate without asking the proxy.
        UnsupportedError: Parquet without pyarrow.
    """
    from archcast.searching.proxy import ProxyProblem, fit_proxy

    guides = study.fidelity != CLOSED_FORM
    if guides and study.method != "bayesian":
        raise BadValueError(
            f"at the fidelity {study.fidelity} a proxy guides the method bayesian, not {study.method}: ask for "
            f"--method bayesian, or with --fidelity {PROXY} for the proxy's own values."
        )
    file = _log_in(log)
    _checked(file, study)
    cheap = study.closed_form
    try:
        proxy = fit_proxy(file, space=cheap.space, values=cheap.objectives, closed_form=cheap)
    except (BadValueError, UnknownNameError) as error:
        raise BadFileError(file, f"no proxy of this search comes of this log: {error}") from None
    learned = Learned(proxy, Path(log).name or str(log), guides)
    digest = hashlib.sha256(f"{study.digest} {proxy.card['data']} {proxy.card['seed']}".encode()).hexdigest()[:16]
    on_it = ProxyProblem(cheap, proxy)
    if guides:
        return replace(study, cheap=on_it, digest=digest, learned=learned)
    return replace(study, problem=on_it, cheap=cheap, digest=digest, learned=learned, fidelity=PROXY)


def _log_in(log: str | Path) -> Path:
    """Return the file of a log, or of the folder that it is in. Raises BadFileError."""
    place = Path(log)
    if not place.is_dir():
        return place
    found = next((place / name for name in LOGS if (place / name).is_file()), None)
    if found is None:
        hint = "A search writes them when it ends: let it end, or name a log."
        raise BadFileError(log, f"there is neither {' nor '.join(LOGS)} in this folder.", hint=hint)
    return found


def _checked(file: Path, study: Study) -> None:
    """Refuse a log that says itself that it is of another kind or workload, or of a proxy. Raises BadFileError."""
    about = about_of(file)
    if about.get("fidelity") == PROXY:
        raise BadFileError(file, "its values are a proxy's own; a proxy learns from simulated ones.")
    for key, mine in (("design", study.design), ("workload", study.name)):
        if isinstance(about.get(key), str) and about[key] != mine:
            raise BadFileError(file, f"it is the log of a search of another {key}: '{about[key]}', not '{mine}'.")

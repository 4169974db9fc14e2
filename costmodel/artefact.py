"""An artefact: a folder with a trained model and a card that says what it was trained on and how right it is.

The folder holds `model.bin` (the packed trees, `costmodel.forest`), `card.json` and, where power was measured,
`power.json` (`costmodel.power`). The card carries the hash of these files and of itself, so a file that was changed is
noticed; nothing in the folder is executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from costmodel.difficulty import PREFIX as DIFFICULTY
from costmodel.features import GROUPS, LAYOUTS
from costmodel.forest import Forest
from costmodel.forms import shared_name
from costmodel.knowledge import Adapted, Intervals, Scope, Transfer
from costmodel.power import PowerModel
from costmodel.protocol import PhysicsModel
from costmodel.residual import LearnedModel
from foundation.errors import BadFileError, BadValueError

SCHEMA_VERSION = 3
PHYSICS_VERSION = PhysicsModel.version
CARD, MODEL, POWER = "card.json", "model.bin", "power.json"
FEATURES: dict[str, tuple[str, ...]] = {group: layout.names for group, layout in LAYOUTS.items()}
"""Features by group of operators: an artefact of others is of another version."""
MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class Score:
    """Errors of predicted against measured latency on rows that training never saw (shares, not percent).

    `width` is the median ratio of the interval's ends; `roofline_mape` and `physics_mape` are the same rows under the
    plain roofline and under the closed form; `physics_coverage` is the coverage of the closed form's own interval.
    """

    rows: int
    mape: float
    median: float
    p90: float
    coverage: float
    width: float
    learned_share: float
    roofline_mape: float
    physics_mape: float
    physics_median: float
    physics_coverage: float


@dataclass(frozen=True)
class PowerScore:
    """Errors of board power and of energy on rows that training never saw (shares, not percent).

    The first five figures are power at the measured latency, those of `energy_` energy with the predicted latency
    (NaN for a device met by few rows, where each row is scored with the others given). `closed_form_mape` is the
    closed form's energy with the same latency, `constant_mape` the mean power of the rows themselves.
    """

    rows: int
    mape: float
    median: float
    p90: float
    coverage: float
    width: float
    energy_mape: float
    energy_median: float
    energy_p90: float
    energy_coverage: float
    energy_width: float
    closed_form_mape: float
    constant_mape: float


@dataclass(frozen=True)
class Card:
    """What an artefact is: scope, intervals, held-out scores by 'device/op', and what makes it repeatable.

    `rows` counts the rows of each part (train, conformal, held_out, unpriced); `below_floor` is the share of rows that
    were measured faster than the physical floor, by 'device/op' (above 1 % the device's description is wrong).
    `power_scores` are those of board power, by 'device/op', empty where no power was measured.
    """

    scope: Scope
    intervals: Intervals
    transfer: Transfer
    shared_log_error: float
    scores: dict[str, Score]
    rows: dict[str, int]
    groups: dict[str, dict[str, int]]
    left_out: dict[str, str]
    below_floor: dict[str, float]
    data_sha256: str
    rates_digests: dict[str, str]
    settings: dict[str, Any]
    versions: dict[str, str]
    features: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(FEATURES))
    physics_version: str = PHYSICS_VERSION
    schema_version: int = SCHEMA_VERSION
    files: dict[str, str] = field(default_factory=dict)
    power_scores: dict[str, PowerScore] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; NaN (no interval) becomes null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def save_artefact(folder: str | Path, model_bytes: bytes, card: Card, power: bytes | None = None) -> Card:
    """Write the artefact, whole or not at all; an artefact that stands there is replaced. Returns the final card.

    Args:
        power: the model of power as JSON text, where there is one.

    Raises:
        BadFileError: the place holds something else, or cannot be written.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and (not any(target.iterdir()) or (target / CARD).is_file())):
        raise BadFileError(folder, "something else than an artefact stands there.", hint="Choose another folder.")
    plain = card.to_json()
    files = {MODEL: model_bytes} if power is None else {MODEL: model_bytes, POWER: power}
    plain["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    plain["card_sha256"] = _card_hash(plain)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name, content in files.items():
                (part / name).write_bytes(content)
            (part / CARD).write_text(json.dumps(plain, separators=(",", ":"), sort_keys=True, allow_nan=False) + "\n")
            part.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise BadFileError(folder, f"cannot be written ({error.strerror}).") from None
    return load_card(target)


def load_card(folder: str | Path) -> Card:
    """Read and check the card of an artefact.

    Raises:
        BadFileError: no artefact, of another version, or changed since it was written.
    """
    plain = _checked(Path(folder))
    try:
        return _card(plain)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
        raise BadFileError(Path(folder) / CARD, f"the card lacks or garbles a field ({error}).") from None


def load_artefact(folder: str | Path) -> LearnedModel:
    """Return the model of an artefact.

    Raises:
        BadFileError: no artefact, of another version, or a file changed since it was written.
    """
    card = load_card(folder)
    path = Path(folder) / MODEL
    model_bytes = _intact(path, card)
    try:
        forest = Forest.from_bytes(model_bytes)
    except BadValueError as error:
        raise BadFileError(path, str(error)) from None
    beside = (DIFFICULTY, shared_name("pool", ""))
    of_all = {op for op, parts in card.transfer.shared.items() if sum(parts) > 0}
    complete = all(shared_name("pool", op) in forest and shared_name("form", op) in forest.tables for op in of_all)
    if not complete or {name for name in forest.names if not name.startswith(beside)} != set(card.scope.ranges):
        raise BadFileError(path, "the model and its card name different trees.", hint="Calibrate again.")
    at = Path(folder) / POWER
    power = PowerModel.from_json(_intact(at, card), at) if POWER in card.files else None
    version = "-".join([card.data_sha256[:12], *(card.files[name][:12] for name in sorted(card.files))])
    return LearnedModel(
        forest, card.scope, card.intervals, card.transfer, card.shared_log_error, card.rates_digests, version=version,
        power=power,
    )  # fmt: skip


def power_bytes(folder: str | Path) -> bytes | None:
    """Return the model of power of an artefact as it stands in its file. Raises BadFileError where it was changed."""
    card = load_card(folder)
    return _intact(Path(folder) / POWER, card) if POWER in card.files else None


def _intact(path: Path, card: Card) -> bytes:
    """Return a file of an artefact. Raises BadFileError where it is not the one that the card names."""
    content = _bytes(path)
    if hashlib.sha256(content).hexdigest() != card.files.get(path.name):
        raise BadFileError(path, "the file was changed after the artefact was made.", hint="Calibrate again.")
    return content


def _checked(folder: Path) -> dict[str, Any]:
    """Return the card's data after checking version and hash."""
    if not folder.exists():
        raise BadFileError(folder, "there is no such folder.", hint="`archcast calibrate ... --out DIR` makes one.")
    path = folder / CARD
    if not folder.is_dir() or not path.is_file():
        hint = "`archcast calibrate` makes one."
        raise BadFileError(folder, f"this is not an artefact: it has no {CARD}.", hint=hint)
    try:
        plain = json.loads(_bytes(path), parse_constant=_refused)
        version = plain["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadFileError(path, "this is not the card of an artefact.") from None
    if version != SCHEMA_VERSION:
        problem = f"the artefact has schema version {version!r}, this archcast reads {SCHEMA_VERSION}."
        raise BadFileError(path, problem, hint="Calibrate again.")
    claimed = plain.pop("card_sha256", None)
    if claimed != _card_hash(plain):
        raise BadFileError(path, "the card was changed after the artefact was made.", hint="Calibrate again.")
    if plain.get("physics_version") != PHYSICS_VERSION or plain.get("features") != {
        g: list(names) for g, names in FEATURES.items()
    }:
        problem = "the artefact rests on another version of the closed form or its features."
        raise BadFileError(path, problem, hint="Calibrate again.")
    return dict(plain)


def _card(plain: dict[str, Any]) -> Card:
    scope = plain["scope"]
    kernels = tuple((str(k[0]), str(k[1]), str(k[2]), str(k[3])) for k in scope["kernels"])
    spans = {str(name): _span(name, ends) for name, ends in scope["ranges"].items()}
    fabrics = {str(d): str(f) for d, f in scope["fabrics"].items()}
    given = plain["intervals"]
    return Card(**{
        **plain,
        "features": {group: tuple(names) for group, names in plain["features"].items()},
        "scope": Scope(tuple(scope["devices"]), tuple(scope["softwares"]), kernels, spans, fabrics),
        "transfer": _transfer(plain["transfer"]),
        "intervals": Intervals(
            float(given["coverage"]),
            {name: (float(c[0]), float(c[1])) for name, c in given["cuts"].items()},
            {name: (_known(h[0]), _known(h[1]), _known(h[2])) for name, h in given["half"].items()},
            {name: _known(h) for name, h in given["physics"].items()},
        ),
        "scores": {name: Score(**{k: _known(v) for k, v in score.items()}) for name, score in plain["scores"].items()},
        "power_scores": {
            name: PowerScore(**{k: _known(v) for k, v in score.items()})
            for name, score in plain["power_scores"].items()
        },
    })  # fmt: skip


def _span(name: str, ends: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    lo, hi = tuple(map(float, ends[0])), tuple(map(float, ends[1]))
    op = name.split("/")[0]
    group = next(group for group, ops in GROUPS.items() if op in ops)
    if len(lo) != LAYOUTS[group].ranged or len(hi) != len(lo):
        raise ValueError("scope")
    return lo, hi


def _three(given: Any) -> tuple[float, float, float]:
    a, b, c = (float(_known(x)) for x in given)
    return a, b, c


def _transfer(given: Any) -> Transfer:
    adapted = {
        name: Adapted(
            {str(d): float(w) for d, w in one["weights"].items()}, float(one["offset"]),
            tuple(map(float, one["regimes"])), {int(k): float(x) for k, x in one["kernels"].items()},
            (float(one["cuts"][0]), float(one["cuts"][1])),
            _three(one["half"]), int(one["shots"]),
        )
        for name, one in given["adapted"].items()
    }  # fmt: skip
    return Transfer(
        {d: tuple(map(float, ratios)) for d, ratios in given["kinship"].items()},
        {str(d): str(kind) for d, kind in given["kinds"].items()},
        {str(op): float(reach) for op, reach in given["reach"].items()},
        {str(op): float(share) for op, share in given["share"].items()}, adapted,
        {str(op): (float(one[0]), float(one[1])) for op, one in given.get("shared", {}).items()},
    )  # fmt: skip


def _refused(word: str) -> Any:
    raise ValueError(word)  # NaN and Infinity are not JSON


def _known(value: Any) -> Any:
    return math.nan if value is None else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _card_hash(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadFileError(path, f"the file has more than {MAX_BYTES:,} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None

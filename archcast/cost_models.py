"""Which cost model answers: the artefact that ships, the closed form, an artefact of yours, or a package's."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from costmodel.protocol import SHIPPED, CostModel, PhysicsModel
from foundation.errors import BadFileError

PHYSICS = "physics"
"""Name of the closed form, with nothing learned."""

AnyModel = CostModel | str | Path | None


def find_cost_model(model: AnyModel = None) -> CostModel:
    """Return a cost model: the shipped artefact (None), the closed form ('physics'), that of a folder or of a package.

    Raises:
        BadFileError: no such folder or name, or an artefact of another version or changed since it was written.
    """
    if model is None:
        return shipped()
    if not isinstance(model, (str, Path)):
        return model
    if str(model) == PHYSICS:
        return PhysicsModel()
    from costmodel.artefact import load_artefact

    if Path(model).exists() or Path(model).name != str(model):
        return load_artefact(Path(model))
    return _of_package(str(model))


def find_serving_model(model: AnyModel = None) -> CostModel:
    """Return the cost model of serving engines: where none is named, what ships, tempered by the closed form.

    A folder with stacks of one's own (`calibrate --served`) brings them along; without an artefact beside them its
    operators are priced as where none is named.

    Raises:
        BadFileError: as `find_cost_model`.
    """
    from costmodel.artefact import CARD
    from costmodel.stack import STACKS, read_stacks
    from costmodel.tempered import TemperedModel

    if isinstance(model, (str, Path)) and (Path(model) / STACKS).is_file():
        learned = find_cost_model(model) if (Path(model) / CARD).is_file() else shipped()
        return TemperedModel(learned, read_stacks(Path(model) / STACKS))
    return TemperedModel(shipped()) if model is None else find_cost_model(model)


@lru_cache(maxsize=1)
def shipped() -> CostModel:
    """Return the artefact that comes with the package, read once. Raises BadFileError where it was changed."""
    from costmodel.artefact import load_artefact

    return load_artefact(SHIPPED)


def _of_package(name: str) -> CostModel:
    from costmodel.contract import ENTRY_POINTS, find_cost_model, offered

    names = offered()
    if name in names:
        return find_cost_model(name)
    raise BadFileError(
        name, "there is no such folder, and no package offers a cost model of this name.",
        hint=f"Name a folder that `archcast calibrate --out` made, '{PHYSICS}' for the closed form, or a model that a "
        f"package offers as {ENTRY_POINTS} ({', '.join(names) or 'none is installed'}).",
    )  # fmt: skip

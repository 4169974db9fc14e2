"""Gymnasium environments over the problems of `archcast.searching`, and the ways of ArchGym.

`make("npu-array", objective="edp", constraints={"area_mm2": 20})` returns one environment, with `num_envs=64` a vector
environment whose step is one numpy batch. Importing this package registers "archcast/npu-array-v0" and the others with
gymnasium where that is installed (extra `gym`). docs/environments.md says what is observed and what rewards are.
"""

from __future__ import annotations

from typing import Any

from archcast.environments.kinds import IDS, environment_id

__all__ = ["IDS", "environment_id", "make", "register"]


def make(name: str, *, num_envs: int | None = None, **options: Any) -> Any:
    """Return an environment by its id ("npu-array", "archcast/npu-array-v0" or ArchGym's name).

    Args:
        num_envs: with it a `gymnasium.vector.VectorEnv` of so many, else a `gymnasium.Env`.
        options: those of `environments.task.make_task`, and `mode`, `horizon`, `action` and `record` of `DesignEnv`.

    Raises:
        UnsupportedError: gymnasium is not installed. UnknownNameError, BadFileError: what cannot be asked for.
    """
    need_gymnasium()
    if num_envs is not None:
        from archcast.environments.vector import DesignVectorEnv

        return DesignVectorEnv(name, num_envs, **options)
    from archcast.environments.single import DesignEnv

    return DesignEnv(name, **options)


def register() -> None:
    """Register all environments with gymnasium, once; nothing happens where it is not installed."""
    if not has_gymnasium():
        return
    import gymnasium

    for name in IDS:
        if f"archcast/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                f"archcast/{name}-v0", "archcast.environments.single:DesignEnv", kwargs={"name": name},
                vector_entry_point="archcast.environments.vector:DesignVectorEnv",
            )  # fmt: skip


def has_gymnasium() -> bool:
    """Return whether gymnasium is installed."""
    from importlib.util import find_spec

    return find_spec("gymnasium") is not None


def need_gymnasium() -> None:
    """Raise UnsupportedError where gymnasium is not installed."""
    if not has_gymnasium():
        from foundation.errors import UnsupportedError

        raise UnsupportedError("environments need gymnasium, which is absent; run `pip install archcast[gym]`.")


register()

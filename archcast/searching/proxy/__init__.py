"""Proxies: simulators learned from logs of searches, thousands of times faster, with intervals (docs/proxy.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_WHERE = {"Proxy": "model", "Predicted": "model", "ProxyProblem": "problem", "ProblemGuess": "problem",
          "fit_proxy": "logs"}  # fmt: skip
__all__ = ["Predicted", "ProblemGuess", "Proxy", "ProxyProblem", "fit_proxy"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'archcast.searching.proxy' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"archcast.searching.proxy.{_WHERE[name]}"), name)


if TYPE_CHECKING:
    from archcast.searching.proxy.logs import fit_proxy as fit_proxy
    from archcast.searching.proxy.model import Predicted as Predicted
    from archcast.searching.proxy.model import Proxy as Proxy
    from archcast.searching.proxy.problem import ProblemGuess as ProblemGuess
    from archcast.searching.proxy.problem import ProxyProblem as ProxyProblem

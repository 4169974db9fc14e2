"""Steady states of Markov chains, by elimination without subtraction.

Sources: Grassmann, Taksar and Heyman, Operations Research 33 (1985), for the elimination; Latouche and Ramaswami, A
logarithmic reduction algorithm for quasi-birth-death processes, Journal of Applied Probability 30 (1993).
"""

from __future__ import annotations

import numpy as np

from foundation.errors import BadValueError
from simulator.queues.closed_means import Array


def stationary(rates: Array) -> Array:
    """Return the steady state of a finite chain from its rates (hertz) or its probabilities; the diagonal is ignored.

    Raises:
        BadValueError: the rates are not a square of finite numbers of at least 0, or some states cannot be left.
    """
    a = np.array(rates, dtype=np.float64)
    np.fill_diagonal(a, 0.0)
    n = len(a)
    if a.shape != (n, n) or n == 0 or not np.isfinite(a).all() or (a < 0.0).any():
        raise BadValueError("the rates of a chain must be a square of finite numbers of at least 0.")
    for k in range(n - 1, 0, -1):
        out = float(a[k, :k].sum())
        if out <= 0.0:
            raise BadValueError(
                f"state {k} of the chain does not lead to the states before it: no single steady state."
            )
        a[:k, k] /= out
        a[:k, :k] += np.outer(a[:k, k], a[k, :k])
    x = np.zeros(n)
    x[0] = 1.0
    for k in range(1, n):
        x[k] = x[:k] @ a[:k, k]
    probabilities: Array = x / x.sum()
    return probabilities


def level_rates(up: Array, local: Array, down: Array) -> Array:
    """Return the matrix R of a chain whose level moves by one: level n + 1 has the weights of level n times R.

    `up`, `local` and `down` are rates among the phases (hertz); the diagonal of `local` is ignored and filled in. The
    chain must drift downward. Logarithmic reduction: the error falls quadratically.
    """
    size = len(up)
    eye, ones = np.eye(size), np.ones(size)
    inner = local - np.diag(np.diag(local))
    inner = inner - np.diag((up + inner + down) @ ones)
    high, low = np.linalg.solve(-inner, up), np.linalg.solve(-inner, down)
    g, t = low.copy(), high.copy()
    for _ in range(64):
        u = high @ low + low @ high
        high, low = np.linalg.solve(eye - u, high @ high), np.linalg.solve(eye - u, low @ low)
        g = g + t @ low
        t = t @ high
        if float(np.abs(t).max()) < 1e-17:
            break
    rates: Array = np.linalg.solve((-(inner + up @ g)).T, up.T).T.astype(np.float64)
    return rates

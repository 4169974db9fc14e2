"""How long prompts and answers are: distributions of whole numbers of tokens, drawn through a normal variate.

Each turns standard normal numbers into tokens, growing with them. So any two are joined with a given rank correlation
by drawing correlated normals (a Gaussian copula).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from workloads.table import Array
from workloads.traffic.stream import MAX_TOKENS

MAX_ZIPF = 4_000_000


class Lengths(ABC):
    """A distribution of tokens, at least 1."""

    kind: ClassVar[str]

    @abstractmethod
    def of_normal(self, normal: Array) -> Array:
        """Return tokens (float64, not yet rounded) for standard normal numbers, growing with them."""

    def tokens(self, normal: Array) -> Array:
        """Return whole tokens, int64, from 1 to `MAX_TOKENS`."""
        found: Array = np.clip(np.round(self.of_normal(normal)), 1, MAX_TOKENS).astype(np.int64)
        return found


@dataclass(frozen=True)
class ConstantLengths(Lengths):
    """Always the same."""

    kind: ClassVar[str] = "constant"
    value: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", whole_number("value", self.value, high=MAX_TOKENS))

    def of_normal(self, normal: Array) -> Array:
        return np.full(len(normal), float(self.value))


@dataclass(frozen=True)
class UniformLengths(Lengths):
    """Every whole number from `least` to `most`, equally often."""

    kind: ClassVar[str] = "uniform"
    least: int
    most: int

    def __post_init__(self) -> None:
        _bounds(self)

    def of_normal(self, normal: Array) -> Array:
        span = self.most - self.least + 1
        found: Array = self.least + np.minimum(np.floor(normal_cdf(normal) * span), span - 1)
        return found


@dataclass(frozen=True)
class LognormalLengths(Lengths):
    """A lognormal of mean `mean` tokens whose standard deviation is `cv` times that, cut at `most`."""

    kind: ClassVar[str] = "lognormal"
    mean: float
    cv: float
    most: int = MAX_TOKENS

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", finite_number("mean", self.mean, low=1, high=MAX_TOKENS))
        object.__setattr__(self, "cv", finite_number("cv", self.cv, high=100))
        object.__setattr__(self, "most", whole_number("most", self.most, high=MAX_TOKENS))

    def of_normal(self, normal: Array) -> Array:
        variance = math.log1p(self.cv**2)
        log = np.log(self.mean) - variance / 2 + math.sqrt(variance) * normal
        found: Array = np.minimum(np.exp(log), self.most)
        return found


@dataclass(frozen=True)
class ZipfLengths(Lengths):
    """`least` + k - 1 with probability in proportion to k^-theta, up to `most`: the law of Vidur's Zipf lengths.

    Vidur draws it by the approximation of Gray et al. (SIGMOD 1994); here the probabilities are exact.
    """

    kind: ClassVar[str] = "zipf"
    least: int
    most: int
    theta: float = 0.6

    def __post_init__(self) -> None:
        _bounds(self)
        object.__setattr__(self, "theta", finite_number("theta", self.theta, high=20))
        if self.most - self.least >= MAX_ZIPF:
            raise BadValueError(f"A Zipf law over more than {MAX_ZIPF:,} lengths is not drawn; bring most nearer.")

    @cached_property
    def _cumulative(self) -> Array:
        ranks = np.arange(1, self.most - self.least + 2, dtype=float)
        total = np.cumsum(ranks**-self.theta)
        found: Array = total / total[-1]
        return found

    def of_normal(self, normal: Array) -> Array:
        place = np.searchsorted(self._cumulative, normal_cdf(normal), side="right")
        found: Array = self.least + np.minimum(place, self.most - self.least).astype(float)
        return found


@dataclass(frozen=True)
class EmpiricalLengths(Lengths):
    """A table of quantiles: `tokens_at[i]` is the length that the share `quantiles[i]` of requests does not exceed.

    Between the points it is linear. `quantiles` begins with 0 and ends with 1.
    """

    kind: ClassVar[str] = "empirical"
    quantiles: tuple[float, ...]
    tokens_at: tuple[float, ...]

    def __post_init__(self) -> None:
        share, at = (np.asarray(one, dtype=float) for one in (self.quantiles, self.tokens_at))
        if share.ndim != 1 or share.shape != at.shape or not 2 <= len(share) <= 100_000:
            raise BadValueError("quantiles and tokens_at must be two lists of equal length, of at least two numbers.")
        if not (np.isfinite(share).all() and share[0] == 0 and share[-1] == 1 and (np.diff(share) > 0).all()):
            raise BadValueError("quantiles must rise from 0 to 1.")
        if not (np.isfinite(at).all() and at[0] >= 1 and at[-1] <= MAX_TOKENS and (np.diff(at) >= 0).all()):
            raise BadValueError(f"tokens_at must not fall, from at least 1 to at most {MAX_TOKENS:,} tokens.")

    def of_normal(self, normal: Array) -> Array:
        found: Array = np.interp(normal_cdf(normal), self.quantiles, self.tokens_at)
        return found


@dataclass(frozen=True)
class PromptAndAnswer:
    """The lengths of a request: two distributions with a rank correlation (Spearman's), or one that is divided.

    With `prompt_to_generate` the `prompt` distribution is of the total, and the answer is 1 part of it to so many of
    the prompt (Vidur's Zipf lengths do so); `generate` is then None. `most_tokens` bounds the total: what is above it
    is taken from both in proportion, as Vidur does.
    """

    prompt: Lengths
    generate: Lengths | None
    rank_correlation: float = 0.0
    prompt_to_generate: float | None = None
    most_tokens: int | None = None

    def __post_init__(self) -> None:
        correlation = finite_number("rank_correlation", self.rank_correlation, low=-1, high=1)
        object.__setattr__(self, "rank_correlation", correlation)
        if (self.generate is None) == (self.prompt_to_generate is None):
            raise BadValueError("Lengths are given by prompt and generate, or by total and prompt_to_generate.")
        if self.prompt_to_generate is not None:
            ratio = finite_number("prompt_to_generate", self.prompt_to_generate, low=1e-6, high=1e9)
            object.__setattr__(self, "prompt_to_generate", ratio)
        if self.most_tokens is not None:
            object.__setattr__(self, "most_tokens", whole_number("most_tokens", self.most_tokens, low=2))

    def of_normal(self, normal: Array) -> tuple[Array, Array]:
        """Return (prompt, generate) tokens, int64 of shape (requests,), for normal numbers of shape (requests, 2)."""
        # Spearman's r of a Gaussian copula is (6 / pi) asin(rho / 2) (Kruskal 1958, JASA 53, 814-861).
        rho = 2 * math.sin(math.pi * self.rank_correlation / 6)
        prompt = self.prompt.tokens(normal[:, 0])
        if self.generate is None:
            generate = np.maximum(1, np.round(prompt / (1 + self._ratio()))).astype(np.int64)
            prompt = np.maximum(1, prompt - generate)
        else:
            generate = self.generate.tokens(rho * normal[:, 0] + math.sqrt(1 - rho**2) * normal[:, 1])
        return clipped(prompt, generate, self.most_tokens) if self.most_tokens else (prompt, generate)

    def _ratio(self) -> float:
        return float(self.prompt_to_generate or 0.0)


def clipped(prompt: Array, generate: Array, most_tokens: int) -> tuple[Array, Array]:
    """Return lengths whose sum is at most `most_tokens`: the excess is taken from both in proportion."""
    total = prompt + generate
    excess = np.maximum(total - most_tokens, 0)
    cut_prompt = np.ceil(excess * (prompt / total)).astype(np.int64)
    cut_generate = np.ceil(excess * (generate / total)).astype(np.int64)
    short_prompt, short_generate = np.maximum(1, prompt - cut_prompt), np.maximum(1, generate - cut_generate)
    # Where one of them was raised to 1 the other gives way.
    over = np.maximum(short_prompt + short_generate - most_tokens, 0)
    from_prompt = short_prompt >= short_generate
    return short_prompt - over * from_prompt, short_generate - over * ~from_prompt


_ERFC = np.frompyfunc(math.erfc, 1, 1)


def normal_cdf(normal: Array) -> Array:
    """Return the share of a standard normal that lies below each number (numpy has no erf)."""
    return np.asarray(0.5 * _ERFC(np.asarray(normal, dtype=float) / -math.sqrt(2)), dtype=float)


def _bounds(lengths: UniformLengths | ZipfLengths) -> None:
    least = whole_number("least", lengths.least, high=MAX_TOKENS)
    object.__setattr__(lengths, "least", least)
    object.__setattr__(lengths, "most", whole_number("most", lengths.most, low=least, high=MAX_TOKENS))

"""The method `bayesian`: Gaussian processes and expected hypervolume improvement, with or without a cheap guess.

A batch is chosen one design after the other: each is believed to come out as its mean says (constant liar, Ginsbourger
et al. 2010, with the mean), which lowers what designs near it are expected to add. Four times the share of the values
that the surrogates do not explain, at most half, goes to designs of which least is known: a surrogate that is wrong is
surest of the places where it never looked.
"""

from __future__ import annotations

import numpy as np

from archcast.searching.believed import Belief, Features, believe
from archcast.searching.candidates import distinct, neighbours, prior_front, thinned_front
from archcast.searching.front import nondominated
from archcast.searching.improvement import expected_improvement
from archcast.searching.sampler import Sampler, Told, keys_of
from foundation.errors import BadValueError
from workloads.table import Array

FRONT = 120
"""Designs of the front that improvements are measured from: the loneliest."""
SHORT = 300
"""Designs of which a batch is chosen."""
ROUNDS = 2
"""Times that neighbours of the most promising designs are tried too."""


class BayesianSampler(Sampler):
    """Starts with even draws and, with a guess, with its front; then asks where most is expected."""

    name = "bayesian"
    known = ("initial", "pool", "prior_designs", "scale", "explore")

    def prepare(self) -> None:
        knobs = len(self.space.knobs)
        self.initial = self.whole("initial", min(2 * knobs + 4, 30), low=4)
        self.pool = self.whole("pool", 4000, low=100)
        self.prior_designs = self.whole("prior_designs", 12_000, low=400)
        self.explore = self.number("explore", 4.0, high=100.0)
        self.scale = self.asked.options.get("scale", "linear")
        if self.scale not in ("linear", "log"):
            raise BadValueError(f"scale is linear or log, not {self.scale!r}.")
        self.features = Features(self.space, self.asked.prior, self.asked.objectives)
        self.told: list[Told] = []
        self.guesses: list[Array] = []
        self.keys: set[int] = set()
        self._best: Array | None = None

    def learn(self, told: Told) -> None:
        self.told.append(told)
        found = self.features.guesses(told.codes) if told.codes.shape[1] else None
        if found is not None:
            self.guesses.append(found)
        self.keys.update(keys_of(told.codes))

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        seen = sum(len(one.values) for one in self.told)
        good = sum(int(one.feasible.sum()) for one in self.told)
        found = self._first(count, rng) if seen < self.initial or good < 3 else self._next(count, rng)
        self.keys.update(keys_of(found))
        return found

    def _first(self, count: int, rng: np.random.Generator) -> Array:
        """Return designs of the guess's front and evenly drawn ones, half and half."""
        parts = []
        if self.asked.prior is not None:
            front = distinct(self._prior_front(), self.keys)
            parts.append(front[:, : (count + 1) // 2])
        rest = count - sum(part.shape[1] for part in parts)
        if rest:
            from scipy.stats import qmc

            parts.append(self.space.decode(qmc.LatinHypercube(len(self.space.knobs), rng=rng).random(rest)))
        return np.concatenate(parts, axis=1)

    def _prior_front(self) -> Array:
        assert self.asked.prior is not None
        if self._best is None:
            self._best = prior_front(self.asked, self.asked.prior, self.prior_designs, self.pool // 2)
        return self._best

    def _next(self, count: int, rng: np.random.Generator) -> Array:
        codes = np.concatenate([one.codes for one in self.told], axis=1)
        values = np.concatenate([one.values for one in self.told])
        feasible = np.concatenate([one.feasible for one in self.told])
        guesses = np.concatenate(self.guesses) if self.guesses else None
        belief = believe(self.features, codes, values, guesses, feasible, rng)
        good = values[feasible]
        best = thinned_front(good, min(FRONT, len(good)))
        front = good[best]
        pool = self._pool(codes[:, feasible][:, best], rng)
        reference = self._reference(belief, front, good.max(axis=0), pool)
        if self.scale == "log" and belief.logs.all():
            front, reference = np.log(front), np.log(reference)
        short = self._ranked(belief, front, reference, pool, rng)
        for _ in range(ROUNDS):
            near = neighbours(self.space, short[:, :40], self.pool // 4, rng)
            short = self._ranked(belief, front, reference, np.concatenate((short, near), axis=1), rng)
        far = self._unknown(belief, pool, int(count * min(self.explore * belief.unknown, 0.5) + rng.random()))
        self.keys.update(keys_of(far))
        wanted = self._batch(belief, front, reference, short, count - far.shape[1], rng)
        return np.concatenate((wanted, far), axis=1)

    def _unknown(self, belief: Belief, pool: Array, count: int) -> Array:
        """Return the designs of the pool of which least is known, each as if those before it were known."""
        pool = distinct(pool, self.keys)
        if self.asked.allowed is not None:
            pool = pool[:, self.asked.allowed(pool)]
        pool = pool[:, :SHORT]
        if not count or not pool.shape[1]:
            return pool[:, :0]
        points = belief.points(pool, self.features.guesses(pool))[0]
        covers = [process.covariances(points) for process in belief.processes]
        chosen: list[int] = []
        for _ in range(min(count, pool.shape[1])):
            left = sum(np.log(np.maximum(np.diag(cover), 1e-12)) for cover in covers)
            left[chosen] = -np.inf
            place = int(np.argmax(left))
            chosen.append(place)
            for k, process in enumerate(belief.processes):
                gain = covers[k][:, place] / (covers[k][place, place] + process.noise)
                covers[k] -= np.outer(gain, covers[k][place])
        return pool[:, chosen]

    def _reference(self, belief: Belief, front: Array, worst: Array, pool: Array) -> Array:
        """Return the point up to which volume counts: a tenth of its spread beyond the front's worst.

        The front is the one that is told and the one that may be: of designs of the pool if all came out better than
        believed by a spread. Without the latter a front that lacks an end would never look for it.
        """
        guesses = self.features.guesses(pool)
        means, spreads = belief.predict(pool, guesses)
        means, spreads = means[likely := belief.stands(pool, guesses) > 0.5], spreads[likely]
        hoped = np.where(belief.logs, np.exp(means - spreads), means - spreads)
        ends = nondominated(hoped, np.arange(len(hoped)))
        believed = np.where(belief.logs, np.exp(means[ends]), means[ends])
        beyond = np.minimum(np.max(believed, axis=0, initial=-np.inf), worst)
        worst = np.maximum(front.max(axis=0), beyond)
        span = worst - front.min(axis=0)
        return np.asarray(worst + 0.1 * np.where(span > 0, span, np.maximum(np.abs(worst), 1e-12)))

    def _pool(self, best: Array, rng: np.random.Generator) -> Array:
        drawn = self.space.decode(rng.random((self.pool, len(self.space.knobs))))
        parts = [drawn, neighbours(self.space, best, self.pool // 2, rng)]
        if self.asked.prior is not None:
            parts.append(self._prior_front())
        return np.concatenate(parts, axis=1)

    def _ranked(self, belief: Belief, front: Array, reference: Array, codes: Array, rng: np.random.Generator) -> Array:
        """Return the designs of which most is expected, the best first."""
        codes = distinct(codes, self.keys)
        if self.asked.allowed is not None:
            codes = codes[:, self.asked.allowed(codes)]
        guesses = self.features.guesses(codes)
        means, spreads = belief.predict(codes, guesses)
        score = self._score(belief, front, reference, means, spreads, rng) * belief.stands(codes, guesses)
        return codes[:, np.argsort(-score, kind="stable")[:SHORT]]

    def _score(
        self, belief: Belief, front: Array, reference: Array, means: Array, spreads: Array, rng: np.random.Generator
    ) -> Array:
        logs = belief.logs & (self.scale != "log" or not belief.logs.all())
        if front.shape[1] <= 3:
            return expected_improvement(front, reference, means, spreads, logs)
        weights = rng.dirichlet(np.ones(front.shape[1]))  # ParEGO (Knowles 2006): one direction for each choice
        low, span = front.min(axis=0), np.maximum(np.ptp(front, axis=0), 1e-12)
        draws = means[:, None, :] + spreads[:, None, :] * rng.normal(size=(1, 32, front.shape[1]))
        draws = np.where(logs, np.exp(draws), draws)
        away = ((draws - low) / span * weights).max(axis=2)
        return np.asarray(np.maximum(((front - low) / span * weights).max(axis=1).min() - away, 0).mean(axis=1))

    def _batch(
        self, belief: Belief, front: Array, reference: Array, short: Array, count: int, rng: np.random.Generator
    ) -> Array:
        """Return `count` designs of the short list, each chosen as if those before it had come out as believed."""
        if not short.shape[1]:
            return short
        guesses = self.features.guesses(short)
        means, spreads = belief.predict(short, guesses)
        chance = belief.stands(short, guesses)
        points = belief.points(short, guesses)[0]
        plain = belief.logs & (self.scale != "log" or not belief.logs.all())
        covers = [process.covariances(points) for process in belief.processes]
        chosen: list[int] = []
        for _ in range(min(count, short.shape[1])):
            score = self._score(belief, front, reference, means, spreads, rng) * chance
            score[chosen] = -1.0
            place = int(np.argmax(score))
            chosen.append(place)
            front = np.concatenate((front, np.where(plain, np.exp(means[place]), means[place])[None, :]))
            for k, process in enumerate(belief.processes):
                gain = covers[k][:, place] / (covers[k][place, place] + process.noise)
                covers[k] -= np.outer(gain, covers[k][place])
                spreads[:, k] = np.sqrt(np.maximum(np.diag(covers[k]), 1e-12))
        return short[:, chosen]

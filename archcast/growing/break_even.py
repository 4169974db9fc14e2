"""From how much use on a bought device costs less than a rented one, and after how long it has paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.growing.options import Options
from archcast.growing.study import GrowthStudy


@dataclass(frozen=True)
class BreakEven:
    """One device in one region, bought at the start and kept to the end of the plan, then sold.

    share: of the time that it must be busy to cost less than renting for just that time (above 1: it never does);
    against_lease: what it costs over leasing all the time; months: until it has paid when it is always busy (nan:
    not within the plan). Costs are of one instance.
    """

    device: str
    region: str
    share: float
    against_lease: float
    months: float

    def to_json(self) -> dict[str, Any]:
        found = {"share": self.share, "against_lease": self.against_lease, "months": self.months}
        numbers = {key: x if np.isfinite(x) else None for key, x in found.items()}
        return {"device": self.device, "region": self.region, **numbers}


def break_evens(study: GrowthStudy, options: Options) -> list[BreakEven]:
    """Return the break-even of each device that can be bought and rented at the start."""
    price = study.carbon_usd_per_tonne / 1000
    discount = (1 + study.discount_per_year) ** -((np.arange(study.periods) + 0.5) * study.months / 12)
    at = slice(min(study.buy_lead, study.periods), study.periods)
    found = []
    for o in range(len(options)):
        buy, rent = options.buy_usd[o, 0], options.rent_usd[o]
        if options.first[o] or not (np.isfinite(buy) and np.isfinite(rent).all()) or at.start == at.stop:
            continue
        unit = options.unit[o]
        keep = options.hall_usd[o] + options.keep_usd[o] + buy * options.care_share
        keep = np.cumsum((discount * (keep / unit + price * options.idle_kg[o]))[at])
        idle = options.idle_kg[o] * price
        saved = np.cumsum((discount * (rent + idle - options.run_usd[o]))[at])  # per busy share; carbon of both alike
        ages = np.minimum(np.arange(1, len(keep) + 1), len(options.resale) - 1)
        capital = buy / unit * (discount[0] - options.resale[ages] * discount[at])
        share = (capital + keep) / saved
        paid = np.flatnonzero(share <= 1)
        lease = np.cumsum((discount * (options.lease_usd[o] + idle - options.run_usd[o]))[at])
        found.append(BreakEven(
            options.device[o], options.region[o], float(share[-1]), float((capital + keep)[-1] / lease[-1]),
            float((paid[0] + 1) * study.months) if len(paid) else float("nan"),
        ))  # fmt: skip
    return found

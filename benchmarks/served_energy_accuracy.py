"""How far joules of an output token of served language models are off, each family of models left out in turn.

Rows: ML.ENERGY v3 (H100, vLLM 0.11.1) by families; v2 (an older engine, A100 and H100) by what is fitted to all of v3.
The last tables say how much of it is time and how much power, and what the estimated lengths of prompts and the
estimated skew of experts matter: fitted and scored with their ends. `--simulated` shows instead what a simulation of
engines with their schedules says of some of the rows, with joules of operators and with watts as measured.

Run: `python benchmarks/served_energy_accuracy.py` beside the reference data (`ARCHCAST_DATA`, or `../shared/data`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from real_ops import data_folder

from archcast.cost_models import find_serving_model
from archcast.validation.report import percent, ratio
from archcast.validation.served_energy import served_energy_lines
from costmodel import served_work
from costmodel.evaluation.served_energy import (
    MOST,
    PROMPTS,
    SOFTWARE,
    SPREADS,
    TEXT_MODELS,
    LeftOut,
    Row,
    leave_families_out,
    read_served,
)
from costmodel.measured.data_files import workload_id
from costmodel.protocol import CostModel
from costmodel.rates import compile_rates
from costmodel.served_power import ServedPower, fit_served_power, shipped_served_power
from costmodel.served_work import taken
from costmodel.stack import find_stack
from hardware_specs import load_device
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.fleet import Fleet, Pool
from simulator.serving.policy import Policy
from simulator.serving.power import busy_of, costs_with_power
from simulator.serving.pricing import Engine
from simulator.serving.profile import profile_of
from simulator.serving.requests import Requests
from simulator.serving.scenario import room_of
from simulator.serving.step_costs import StepCosts
from simulator.streams import RandomStreams
from workloads.catalogue import load_model
from workloads.table import Array
from workloads.traffic import Traffic

LEAST_ANSWERED = 0.95
SKEWS = (0.6, 1.2)
SIMULATED, MOST_USERS = 60, 512
"""Rows that are simulated, and the most users of one."""
MOST_TOKENS, SHARE = 8192, 0.9
"""The engine's token budget of a step and the share of memory that it uses, as vLLM has them by default on H100."""
LIVES = 4
"""Requests of each user: the first and the last are not counted, so that all users are served all the time."""


def error_share(found: Array, measured: Array, mask: Array) -> str:
    return percent(float(np.abs(found / measured - 1)[mask].mean()))


def lines_table(root: Path) -> list[str]:
    """Return what `archcast validate` shows."""
    every = served_energy_lines(root, 0, LEAST_ANSWERED)
    bases = list(every[0].baselines)
    out = [f"| rows | n | answered | MAPE | median | p90 | inside 90 % | width | {' | '.join(bases)} |",
           "|" + "---|" * (8 + len(bases))]  # fmt: skip
    for line in every:
        errors = line.errors
        numbers = [percent(x) for x in (errors.mape_share, errors.median_error_share, errors.p90_error_share)]
        others = [percent(line.baselines[name].mape_share) for name in bases]
        cells = [f"{line.device}, {line.label}", str(line.rows), f"{line.answered_share:.0%}", *numbers,
                 f"{line.coverage_share:.0%}", ratio(line.width_ratio), *others]  # fmt: skip
        out.append(f"| {' | '.join(cells)} |")
    return out


def parts_row(name: str, found: LeftOut) -> str:
    """Return the MAPE of a step's time, of watts and of joules, for language and for all tasks."""
    rows = found.rows
    every = np.ones(len(rows.rows), dtype=bool)
    cells = [name]
    for mask in (rows.language, every):
        cells += [
            error_share(found.answer.step_s[0], rows.labels.step_s, mask),
            error_share(found.answer.power_w[0] / rows.work["devices"], rows.labels.device_w, mask),
            error_share(found.answer.energy_per_token_j[0], rows.energy_per_token_j, mask),
        ]
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Simulated:
    """What a simulation says of a row: seconds of a token of each user, and joules of an output token of all devices,
    with the joules of operators, with watts as measured, and with watts fitted without the row's family."""

    row: Row
    token_s: float
    operators_j: float
    served_j: float
    left_out_j: float

    @property
    def measured_j(self) -> float:
        return self.row.watts / self.row.tokens_hz


def some_rows(rows: tuple[Row, ...], count: int) -> list[Row]:
    """Return language rows, about evenly over the engines of each family, at different numbers of users."""
    engines: dict[tuple[str, object, str], list[Row]] = {}
    for row in rows:
        if row.language and row.most <= MOST_USERS:
            engines.setdefault((row.family, row.engine, row.task), []).append(row)
    keys = sorted(engines, key=str)
    families = sorted({family for family, _, _ in keys})
    found: list[Row] = []
    for turn in range(count):
        family = families[turn % len(families)]
        mine = [key for key in keys if key[0] == family]
        options = sorted(engines[mine[(turn // len(families)) * len(mine) * len(families) // count]],
                         key=lambda row: row.most)  # fmt: skip
        row = options[turn % len(options)]
        found += [row] if row not in found else []
    return found


def simulated(row: Row, cost_model: CostModel, models: Sequence[ServedPower]) -> Simulated:
    """Serve as many users as the engine has slots, each asking anew as soon as it is answered.

    models: that which ships, and one that was fitted without the row's family.
    """
    spec = load_device(row.device)
    mapping = replace(row.mapping, software=SOFTWARE["v3"])
    name = TEXT_MODELS.get(row.model) or workload_id(row.model) or row.model
    engine = Engine(load_model(name), spec, compile_rates(spec), mapping, cost_model)
    users, prompt = round(row.most), round(PROMPTS[row.task][0])
    count = max(LIVES * users, 200)
    spread = np.log1p(SPREADS.get(row.task, 1.0))
    drawn = np.random.default_rng(0).lognormal(np.log(row.generate) - spread / 2, np.sqrt(spread), count)
    traffic = Traffic.of(np.zeros(count), np.full(count, prompt), np.maximum(np.round(drawn), 1).astype(np.int64))
    lane = Policy(MOST_TOKENS, -(-users // mapping.dp))
    longest = prompt + int(traffic.generate.max())
    policy = replace(lane, blocks=room_of(engine, lane, SHARE, longest).blocks)
    costs = profile_of(engine, MOST_TOKENS, lane.most_requests, longest).step_costs(MOST_TOKENS, lane.most_requests)
    costs = costs.slowed(find_stack(mapping.software).step_factor)
    operators = _served(engine, costs, policy, traffic, users)
    served, left_out = (
        _served(engine, costs_with_power(costs, engine, busy_of([engine], model)), policy, traffic, users)[1]
        for model in models
    )
    return Simulated(row, operators[0], operators[1], served, left_out)


def _served(engine: Engine, costs: StepCosts, policy: Policy, traffic: Traffic, users: int) -> tuple[float, float]:
    """Return (seconds of a token of each user, joules of a token) while all users are served."""
    mapping = engine.mapping
    pool = Pool("engine", costs, policy, lanes=mapping.pp * mapping.dp, devices=mapping.devices, tp=mapping.tp,
                idle_w=engine.rates.idle_w[0])  # fmt: skip
    loop = ClosedLoop(users)
    run = Fleet([pool], Requests.from_traffic(traffic), RandomStreams(0), closed_loop=loop, segments=True).run()
    ends = np.sort(np.array(run.log.done))
    since, until = ends[users - 1], ends[-users]
    assert run.log.segments is not None
    steps = run.log.segments.columns()
    inside = (steps["start"] >= since) & (steps["end"] <= until)
    seconds = (until - since) / PICOSECONDS_PER_SECOND
    busy_s = ((steps["end"] - steps["start"])[inside]).sum() / PICOSECONDS_PER_SECOND
    lanes = mapping.pp * mapping.dp
    covered = busy_s / (seconds * lanes)  # of the span, by whole segments
    prompts = np.diff(np.searchsorted(np.sort(np.array(run.log.first_token)), [since, until]))[0]
    tokens = (steps["steps"] * steps["decodes"])[inside].sum() + prompts * covered
    joules = mapping.tp * steps["energy_j"][inside].sum()
    return seconds * covered * min(users, len(ends)) / tokens, joules / tokens


def simulated_table(root: Path, count: int = SIMULATED) -> list[str]:
    """Return measured and simulated joules of a token, with what they are off by."""
    cost_model, known = find_serving_model(None), read_served(root, "v3")
    family, shipped = known.labels.family, shipped_served_power()
    others = {
        name: fit_served_power(taken(known.work, family != name), known.labels.take(family != name))
        for name in np.unique(family)
    }
    found = [simulated(row, cost_model, (shipped, others[row.family])) for row in some_rows(known.rows, count)]
    out = [
        "| model | task | GPUs | users | ms a token: measured | simulated "
        "| J a token: measured | operators | shipped watts | family left out |",
        "|" + "---|" * 10,
    ]
    for one in found:
        row = one.row
        token_s = row.batch / row.tokens_hz
        cells = [row.model, row.task, str(row.mapping.devices), f"{row.most:.0f}", f"{1e3 * token_s:.1f}",
                 f"{1e3 * one.token_s:.1f}", f"{one.measured_j:.3g}", f"{one.operators_j:.3g}",
                 f"{one.served_j:.3g}", f"{one.left_out_j:.3g}"]  # fmt: skip
        out.append(f"| {' | '.join(cells)} |")
    measured = np.array([one.measured_j for one in found])
    for name in ("operators_j", "served_j", "left_out_j"):
        off = np.array([getattr(one, name) for one in found]) / measured - 1
        out.append(
            f"{name}: MAPE {percent(float(np.abs(off).mean()))}, mean {100 * off.mean():+.0f} %, {len(off)} rows"
        )
    return out


def main() -> None:
    """Print the tables."""
    root = data_folder()
    if root is None:
        raise SystemExit("The reference data is not here; name its folder in ARCHCAST_DATA.")
    if "--simulated" in sys.argv[1:]:
        print("\n".join(simulated_table(root)))
        return
    print("\n".join(lines_table(root)))
    print("\n| fitted and scored with | language: step | power | energy | all tasks: step | power | energy |")
    print("|---|---|---|---|---|---|---|")
    rows = read_served(root, "v3")
    print(parts_row("requests in flight given", leave_families_out(rows)))
    print(parts_row("only max_num_seqs given", leave_families_out(rows, read_served(root, "v3", MOST))))
    for prompts, name in ((1, "the shortest prompts"), (2, "the longest prompts")):
        print(parts_row(name, leave_families_out(read_served(root, "v3", prompts=prompts))))
    for skew in SKEWS:
        served_work.SKEW = skew
        print(parts_row(f"skew of experts {skew}", leave_families_out(read_served(root, "v3"))))


if __name__ == "__main__":
    main()

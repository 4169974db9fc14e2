"""The answer of an offloading simulation for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archcast.render.human import digits, percent, printable, text
from archcast.render.offloading_json import asked
from archcast.render.serving_text import interval
from simulator.offloading.stability import near_one
from simulator.offloading.system import server_name

if TYPE_CHECKING:
    from archcast.offloading import Offloading
    from simulator.offloading.study import Outcome, Study

PERCENTILES = ("p50", "p90", "p99")


def offloading_text(answer: Offloading) -> str:
    """Return the head, the asked policy's numbers, the comparison, and notes."""
    study, main = answer.study, answer.study.main
    lines = [headline(answer), ""]
    name = named(main)
    if main.unstable:
        lines.append(f"{name}: UNSTABLE in {main.unstable_runs} of {study.plan.replications} runs: {main.overload}.")
    else:
        numbers = main.numbers
        times = ", ".join(f"{p} {text(numbers[f'delay_{p}_s'].value, 's')}" for p in PERCENTILES)
        lines += [
            f"{name}: {judgement(main)}",
            f"delay   {text(numbers['delay_s'].value, 's'):>10}  {interval(numbers['delay_s'], 's')}  {times}",
            f"        {text(numbers['sending_s'].value, 's')} of it to send, {text(numbers['execution_s'].value, 's')} "
            "to execute",
            f"energy  {text(numbers['energy_per_task_j'].value, 'j'):>10}  a task "
            f"{interval(numbers['energy_per_task_j'], 'j')}; {text(numbers['power_w'].value, 'w')} in all",
        ]
    shares = ", ".join(
        f"{server_name(i)} {percent(x)} (load {near_one(float(b))})"
        for i, (x, b) in enumerate(zip(main.task_share.tolist(), main.busy_share.tolist(), strict=True))
    )
    lines += [
        f"tasks   {shares}",
        "",
        f"{'policy':22}{'delay':>10}{'energy':>12}  {'delay, 95 % interval':24}".rstrip(),
    ]
    lines += [_row(answer, i) for i in range(len(study.outcomes))]
    if study.reference is not None:
        lines += _volumes(study)
    lines.append(
        f"{study.plan.replications} replications, seed {study.plan.seed}, trace hash {main.trace_hashes[0][:16]}"
    )
    return "\n".join([*lines, *(f"note: {printable(note, 1000)}" for note in answer.notes)])


def judgement(outcome: Outcome) -> str:
    """Return in words whether a policy that is not unstable is stable."""
    return "stable" if outcome.stable else f"stability: {outcome.overload}"


def _volumes(study: Study) -> list[str]:
    """Return the hypervolumes of the points above; beside each the interval of those of single replications."""
    delay_s, energy_j = study.reference or (0.0, 0.0)
    each = ", of each replication in []" if study.plan.replications > 1 else ""
    return [
        "", f"hypervolume of the points above, in J s, up to ({text(delay_s, 's')}, {text(energy_j, 'j')}){each}",
        *(
            f"{printable(name, 60):22}{digits(value):>10}  {interval(study.hypervolumes_each[name], '')}".rstrip()
            for name, value in study.hypervolumes.items()
        ),
        "",
    ]  # fmt: skip


def headline(answer: Offloading) -> str:
    """Return in one line what was asked."""
    about = asked(answer.study)
    low, high = about["edges"]
    edges = ("1 edge" if low == 1 else f"{low} edges") if low == high else f"{low} to {high} edges"
    tasks = about.get("tasks", 0)
    how = f"{tasks:,} task{'s'[: tasks > 1]}" if tasks else f"{about['steps']} steps of {digits(about['step_s'])} s"
    users = f"{about['users']} users, 1 cloud and {edges}: {text(about['rate_hz'], 'per_s')} tasks"
    if about["mode"] == "paper":
        changed = ", ".join(about["changed"])
        return (
            f"{users}, {how} (published environment, {about['published']}{', changed: ' if changed else ''}{changed})"
        )
    return f"{users}, load {digits(about['offered_load'])}, {how} (physical mode)"


def named(outcome: Outcome) -> str:
    """Return the policy's name, with its weight where it looks at one, safe to print."""
    return printable(outcome.label, 60)


def _row(answer: Offloading, place: int) -> str:
    outcome = answer.study.outcomes[place]
    if outcome.unstable:
        return f"{named(outcome):22}  unstable: {outcome.overload}"
    delay, energy = (outcome.numbers[name] for name in ("delay_s", "energy_per_task_j"))
    front = "on the front" if place in answer.study.front else ""
    cells = f"{text(delay.value, 's'):>10}{text(energy.value, 'j'):>12}"
    return f"{named(outcome):22}{cells}  {interval(delay, 's'):24} {front}".rstrip()

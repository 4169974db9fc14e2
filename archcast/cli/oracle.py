"""`archcast oracle VERB`: what budget allocators ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from archcast.cli.app import app, one_sentence_errors, parse_settings, print_json, print_text

oracle = typer.Typer(
    help="Costs for allocators: curves, next units, budgets, equal costs, tables, draws, sensitivities.",
    rich_markup_mode=None, no_args_is_help=True,
)  # fmt: skip
app.add_typer(oracle, name="oracle")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
CostModel = Annotated[
    str | None, typer.Option(metavar="DIR", help="A calibrated artefact, or physics; default: the one that ships.")
]
Knob = Annotated[str, typer.Option(metavar="NAME", help="batch, prompt, generate, samples, or a knob of the model.")]
Table = Annotated[str, typer.Argument(metavar="FILE", help="A YAML file with items and options (docs/oracle.md).")]


def _asked(
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="A name or a file, as for predict.")],
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="A catalogue id or a YAML file.")],
    batch: Annotated[int | None, typer.Option(help="Requests that start together.")] = None,
    prompt: Annotated[int | None, typer.Option(help="Prompt tokens a request.")] = None,
    generate: Annotated[int | None, typer.Option(help="Generated tokens a request.")] = None,
    samples: Annotated[int | None, typer.Option(help="Answers a request, from one prompt.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Number format of weights and activations.")] = None,
    software: Annotated[str | None, typer.Option(help="Runtime or software stack.")] = None,
    count: Annotated[int | None, typer.Option(help="Devices; alone, the fastest mapping that fits.")] = None,
    tp: Annotated[int | None, typer.Option(help="Tensor-parallel size.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Change a knob of the model.")
    ] = None,
) -> dict[str, Any]:
    """Return the options of a command as one question."""
    said = {
        "workload": workload, "on": on, "batch": batch, "prompt": prompt, "generate": generate, "samples": samples,
        "dtype": dtype, "software": software, "count": count, "tp": tp, "knobs": parse_settings(settings) or None,
    }  # fmt: skip
    return {key: value for key, value in said.items() if value is not None}


def _verb(name: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a command of a function that returns an answer; `question` in it stands for the options of a question."""

    def add(answer: Callable[..., Any]) -> Callable[..., None]:
        own = inspect.signature(answer).parameters
        hints = get_type_hints(answer, include_extras=True)
        asks = "question" in own
        common = inspect.signature(_asked).parameters if asks else {}
        hints |= get_type_hints(_asked, include_extras=True) if asks else {}

        def command(**given: Any) -> None:
            with one_sentence_errors():
                as_json = given.pop("as_json")
                if asks:
                    given["question"] = _asked(**{key: given.pop(key) for key in common})
                found = answer(**given)
                if as_json:
                    print_json(found.to_json())
                else:
                    print_text(found.text())

        kinds = [p for key, p in (*common.items(), *own.items()) if key != "question"]
        last = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)
        every = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(p.name, p.annotation)) for p in kinds
        ]
        command.__signature__ = inspect.Signature([*every, last])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in (*every, last)}
        command.__doc__ = answer.__doc__
        oracle.command(name)(command)
        return command

    return add


@_verb("curve")
def _curve(
    question: Any, knob: Knob = "generate",
    values: Annotated[str, typer.Option(metavar="LIST", help="Values of the knob, such as 64,128,256.")] = "",
    start: Annotated[int | None, typer.Option("--from", help="First value, instead of --values.")] = None,
    end: Annotated[int | None, typer.Option("--to", help="Last value.")] = None,
    points: Annotated[int, typer.Option(help="Values from --from to --to.")] = 9,
    log: Annotated[bool, typer.Option("--log", help="In equal ratios.")] = False,
    pieces: Annotated[float | None, typer.Option(metavar="TOLERANCE", help="Also straight pieces.")] = None,
    model: CostModel = None,
) -> Any:  # fmt: skip
    """What a question costs as one knob changes."""
    from archcast.oracle.curves import curve

    found = curve(question, knob, _values(values, start, end, points, log), model=model)
    return found if pieces is None else _Both(found, found.segments(pieces))


@_verb("marginal")
def _marginal(
    question: Any, knob: Knob = "generate",
    at: Annotated[str, typer.Option(metavar="LIST", help="Where to step from; default: what is asked.")] = "",
    step: Annotated[int | None, typer.Option(help="Difference over so many; default: 5 % of where it starts.")] = None,
    model: CostModel = None,
) -> Any:  # fmt: skip
    """What the next token, sample or request costs."""
    from archcast.oracle.marginals import marginal

    return marginal(question, knob, _numbers("--at", at) if at else None, model=model, step=step)


@_verb("max-within")
def _max_within(
    question: Any, knob: Knob = "generate",
    budget: Annotated[
        list[str] | None, typer.Option(metavar="QUANTITY=MOST", help="Such as latency_s=2 (repeatable).")
    ] = None,
    side: Annotated[str, typer.Option(help="What must fit: value, or hi to be safe.")] = "value",
    model: CostModel = None,
) -> Any:  # fmt: skip
    """The largest value of a knob that fits a budget."""
    from archcast.oracle.within import max_within
    from foundation.errors import BadValueError

    limits = {}
    for item in budget or []:
        name, equals, most = item.partition("=")
        if not equals:
            raise BadValueError(f"--budget takes QUANTITY=MOST, such as --budget latency_s=2, not '{item}'.")
        limits[name.strip()] = most.strip()
    return max_within(question, knob, limits, side=side, model=model)


@_verb("iso")
def _iso(
    question: Any,
    than: Annotated[str, typer.Option("--with", metavar="WORKLOAD", help="Other workload; default: the same.")] = "",
    than_on: Annotated[str, typer.Option("--with-on", metavar="DEVICE", help="Its device; default: the same.")] = "",
    than_set: Annotated[
        list[str] | None, typer.Option("--with-set", metavar="KEY=VALUE", help="What else it says, such as dtype=fp8.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="LIST", help="time, energy, money, flop.")] = "time,energy,money,flop",
    knob: Knob = "generate", model: CostModel = None,
) -> Any:  # fmt: skip
    """With which value of its knob another choice costs the same; by time, energy, money and FLOP."""
    from archcast.oracle.equal import iso

    other = {**question, **parse_settings(than_set)}
    other |= {key: said for key, said in (("workload", than), ("on", than_on)) if said}
    return iso(question, other, [name.strip() for name in by.split(",") if name.strip()], knob, model=model)


@_verb("break-even")
def _break_even(
    fixed: Annotated[str, typer.Option(metavar="USD", help="Paid once: a number, or VALUE,LO,HI.")],
    other_per_use: Annotated[str, typer.Option(metavar="USD", help="What each use costs the other way.")],
    per_use: Annotated[str, typer.Option(metavar="USD", help="What each use still costs.")] = "0",
) -> Any:
    """After how many uses a fixed cost is paid back."""
    from archcast.oracle.money import break_even

    names = ("--fixed", "--per-use", "--other-per-use")
    amounts = [_numbers(name, text) for name, text in zip(names, (fixed, per_use, other_per_use), strict=True)]
    return break_even(*amounts)


@_verb("cost-of-pass")
def _cost_of_pass(
    cost: Annotated[str, typer.Option(metavar="LIST", help="What one try costs, of each candidate.")],
    success: Annotated[str, typer.Option(metavar="LIST", help="How often a try succeeds, of each candidate.")],
    names: Annotated[str, typer.Option(metavar="LIST", help="Names of the candidates.")] = "",
) -> Any:
    """What a success costs, and who is on the frontier of cost and success."""
    from archcast.oracle.money import cost_of_pass

    words = [word.strip() for word in names.split(",")] if names else []
    return cost_of_pass(_numbers("--cost", cost), _numbers("--success", success), words)


@_verb("reasoning")
def _reasoning(
    question: Any,
    tokens: Annotated[str, typer.Option(metavar="LIST", help="Thinking tokens of an answer.")],
    tries: Annotated[str, typer.Option(metavar="LIST", help="Samples of a request.")] = "1",
    sequential: Annotated[bool, typer.Option("--sequential", help="One sample after the other.")] = False,
    verifier: Annotated[str, typer.Option(metavar="WORKLOAD", help="A model that reads each answer.")] = "",
    verifier_on: Annotated[str, typer.Option(metavar="DEVICE", help="Its device; default: the same.")] = "",
    passes: Annotated[int | None, typer.Option(help="How often it reads each answer; default: once.")] = None,
    truncate: Annotated[int | None, typer.Option(help="Tokens at which an answer is stopped.")] = None,
    model: CostModel = None,
) -> Any:  # fmt: skip
    """Tokens and samples as seconds, joules and dollars."""
    from archcast.oracle.reasoning import reasoning_cost
    from foundation.errors import BadValueError

    for option, said in (("--verifier-on", bool(verifier_on)), ("--passes", passes is not None)):
        if said and not verifier:
            raise BadValueError(f"{option} is of a verifier, and --verifier names none.")
    for option, instead in (("generate", "--tokens"), ("samples", "--tries")):
        if option in question:
            raise BadValueError(f"{instead} says it here; leave --{option} out.")
    reader = {"workload": verifier, "on": verifier_on or question["on"]} if verifier else None
    return reasoning_cost(
        question, _numbers("--tokens", tokens), _numbers("--tries", tries), not sequential, reader,
        1 if passes is None else passes, truncate,
        model=model,
    )  # fmt: skip


@_verb("cost-table")
def _cost_table(file: Table, model: CostModel = None) -> Any:
    """What every item costs by every option."""
    from archcast.oracle.table_file import read_cost_table

    return read_cost_table(file, model)


@_verb("scenarios")
def _scenarios(
    file: Table,
    n: Annotated[int, typer.Option("-n", "--draws", help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 20_260_101,
    common: Annotated[float, typer.Option(help="Share of the shared error that all devices have in common.")] = 0.0,
    model: CostModel = None,
) -> Any:
    """Costs of a table drawn together; the errors of one device are correlated."""
    from archcast.oracle.sampling import scenarios
    from archcast.oracle.table_file import read_cost_table

    return scenarios(read_cost_table(file, model), n, seed, common=common)


@_verb("sensitivities")
def _sensitivities(
    question: Any,
    figures: Annotated[str, typer.Option(metavar="LIST", help="Figures of the device; default: all.")] = "",
) -> Any:
    """By how much per cent costs change for one per cent of a figure of the device."""
    from archcast.oracle.sensitivity import sensitivities

    return sensitivities(question, [name.strip() for name in figures.split(",") if name.strip()] or None)


class _Both:
    """A curve and its straight pieces."""

    def __init__(self, curve: Any, pieces: Any) -> None:
        self.curve, self.pieces = curve, pieces

    def to_json(self) -> dict[str, Any]:
        return {**self.curve.to_json(), "segments": self.pieces.to_json()}

    def text(self) -> str:
        at = ", ".join(f"({x:g}, {y:.6g})" for x, y in zip(self.pieces.at, self.pieces.value, strict=True))
        return (
            f"{self.curve.text()}\n\n{self.pieces.quantity} as {len(self.pieces.at) - 1} straight "
            f"piece{'s' if len(self.pieces.at) > 2 else ''} ({self.pieces.shape}), at most "
            f"{self.pieces.largest_error:.2%} off at these values: {at}"
        )


def _numbers(name: str, text: str) -> list[float]:
    """Return numbers between commas. Raises BadValueError: one that is none, or none at all."""
    from foundation.errors import BadValueError

    try:
        found = [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        found = []
    if not found:
        raise BadValueError(f"{name} takes numbers between commas, such as 64,128,256, not '{text}'.")
    return found


def _values(values: str, start: int | None, end: int | None, points: int, log: bool) -> list[float]:
    """Return the values of a curve, as listed or from one to another. Raises BadValueError: neither, or both."""
    import numpy as np

    from foundation.checks import whole_number
    from foundation.errors import BadValueError

    if bool(values) == (start is not None or end is not None) or (not values and (start is None or end is None)):
        raise BadValueError("Give --values 64,128,256, or --from and --to.")
    if values:
        return _numbers("--values", values)
    first, last = whole_number("--from", start), whole_number("--to", end)
    count = whole_number("--points", points, low=2, high=1_000_000)
    spaced = np.geomspace(first, last, count) if log else np.linspace(first, last, count)
    return [float(x) for x in np.unique(np.round(spaced))]

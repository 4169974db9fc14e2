"""Write `docs/shipped.md`, the page of the artefact that ships, from its card: `python -m costmodel.document`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from costmodel.artefact import MODEL, Card, load_card
from costmodel.protocol import SHIPPED
from foundation.files import write_text_whole

PAGE = Path(__file__).parents[1] / "docs" / "shipped.md"

_INTRO = """# The artefact that ships

<!-- written by `python -m costmodel.document` from the card of the artefact; a test compares the two -->

`archcast predict` and `predict-ops` answer with it where no `--model` is named; `--model physics` asks the closed form.
It is `costmodel/shipped`: {models} tree models and the tables beside them in {megabytes:.1f} MB, made by

```
archcast calibrate --import aiconfigurator --import aiconfigurator=FOLDER --out costmodel/shipped
```

from the operator tables of the package aiconfigurator-core and, for power, of the part of its repository that carries
it (both Apache-2.0, NVIDIA Corporation): {mapped:,} of {read:,} rows could be used.
How it works: [learned.md](learned.md). How right it is on devices and shapes that were held out, beside others:
[accuracy.md](accuracy.md).

{devices} devices: {names}. Data: `{data}`; model: `{model}`.

**What was kept out of it.** One shape group in ten (a product's n and k, an attention's heads, ...) was never learned
from on any device: {held_out:,} rows. Their hashes stand in the card (`settings.held_out`), and `archcast validate
--model` scores no others. The scores below are of those rows.

**What it does not know.** Kernels are measured in loops that a host starts. In vLLM, block-scaled fp8 and some 4-bit
experts spend 60 to 270 us of each call on the host, which a captured graph does not: in networks such rows keep the
closed form (`costmodel/host_time.py`), but not all are found: gpt-oss-120b and Kimi-K2.5 on vLLM come out at two to
three times what was measured, where dense models on vLLM and SGLang come out at 0.9 to 1.1. On 3,207 served rows the
time per output token errs by 33 % on average and 17 % in the median, the closed form's by 20 and 14 %: for mixtures of
experts ask both (`--model physics`).
"""


def page(card: Card, size_bytes: int) -> str:
    """Return the page."""
    sources = card.settings["data"]["sources"].values()
    intro = _INTRO.format(
        models=sum("/" in name for name in card.scope.ranges), megabytes=size_bytes / 1e6,
        devices=len(card.scope.devices), names=", ".join(card.scope.devices), data=card.data_sha256[:12],
        model=card.files[MODEL][:12],
        held_out=card.rows["held_out"], mapped=sum(s["mapped"] for s in sources), read=sum(s["read"] for s in sources),
    )  # fmt: skip
    return "\n".join([intro, *_times(card), *_powers(card), *_rest(card)]) + "\n"


def _times(card: Card) -> Iterable[str]:
    yield "## Times\n"
    head = ("device/operator", "n", "MAPE", "median", "p90", "inside the 90 % interval", "its ends, high over low",
            "closed form: MAPE", "roofline: MAPE")  # fmt: skip
    yield from _table(head, [
        (name, f"{s.rows:,}", _share(s.mape), _share(s.median), _share(s.p90), _share(s.coverage, 0), f"{s.width:.2f}",
         _share(s.physics_mape, 0), _share(s.roofline_mape, 0))
        for name, s in card.scores.items()
    ])  # fmt: skip


def _powers(card: Card) -> Iterable[str]:
    if not card.power_scores:
        return
    yield "\n## Energy\n"
    yield "Of devices whose power was measured; energy with the predicted time.\n"
    head = ("device/operator", "n", "power: MAPE", "median", "energy: MAPE", "median", "inside",
            "closed form: energy MAPE", "constant power: MAPE")  # fmt: skip
    yield from _table(head, [
        (name, f"{s.rows:,}", _share(s.mape), _share(s.median), _share(s.energy_mape), _share(s.energy_median),
         _share(s.energy_coverage, 0), _share(s.closed_form_mape, 0), _share(s.constant_mape, 0))
        for name, s in card.power_scores.items()
    ])  # fmt: skip


def _rest(card: Card) -> Iterable[str]:
    odd = {name: share for name, share in card.below_floor.items() if share > 0.01}
    if odd:
        yield "\n## Rows below the physical floor\n"
        yield "More than 1 % of the rows were measured faster than the description of the device allows:\n"
        yield from (f"- {name}: {share:.1%}" for name, share in odd.items())
    if card.left_out:
        yield "\n## Left out\n"
        yield from (f"- {name}: {reason}" for name, reason in card.left_out.items())


def _share(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}" if value == value else "-"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def shipped_page() -> str:
    """Return the page of the artefact that ships."""
    return page(load_card(SHIPPED), sum(file.stat().st_size for file in SHIPPED.iterdir() if file.is_file()))


if __name__ == "__main__":
    write_text_whole(PAGE, shipped_page())

"""Cost tables: what every item costs by every option, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import archcast as ac
from archcast.batches import predict_batch
from archcast.oracle import cost_table
from foundation.errors import ArchcastError, BadValueError, UnknownNameError

CHAT: Any = {"workload": "llama-3.1-8b", "prompt": 1024, "generate": 128}
PICTURE: Any = {"workload": "resnet-50", "batch": 8}


def test_a_cell_is_what_predict_answers() -> None:
    table = cost_table([CHAT, PICTURE], [{"device": "h100-sxm"}, {"device": "l40s"}], ["latency_s", "energy_j"])
    assert table.value.shape == table.lo.shape == table.hi.shape == (2, 2, 2)
    for i, item in enumerate((CHAT, PICTURE)):
        for j, device in enumerate(("h100-sxm", "l40s")):
            answer = ac.predict(**item, on=device)
            for name in ("latency_s", "energy_j"):
                quantity = getattr(answer, name)
                ends = [table.of(name, side)[i, j] for side in ("value", "lo", "hi")]
                assert ends == pytest.approx([quantity.value, quantity.lo, quantity.hi], rel=1e-9)


def test_what_does_not_fit_is_masked_and_says_why() -> None:
    table = cost_table([{"workload": "llama-3.1-70b"}, CHAT], [{"device": "rtx-4090"}])
    assert table.feasible.tolist() == [[False], [True]]
    assert "short of memory" in table.reason[0, 0]
    assert np.isnan(table.of("latency_s")[0, 0])
    assert table.of("memory_bytes")[0, 0] > 24e9
    assert table.to_json()["latency_s"]["value"][0] == [None]


def test_count_alone_takes_the_mapping_that_predict_takes() -> None:
    table = cost_table({**CHAT, "batch": 4}, [{"device": "h100-sxm", "count": 4}, {"device": "h100-sxm"}])
    answer = ac.predict(**CHAT, batch=4, on="h100-sxm", count=4)
    assert answer.latency_s is not None
    assert table.of("latency_s")[0, 0] == pytest.approx(answer.latency_s.value, rel=1e-9)
    assert table.cells.mapping[0].replace("=", "") in answer.mapping.replace("=", "").replace("-", " ")


def test_samples_read_the_prompt_once_and_decode_together() -> None:
    table = cost_table([CHAT], [{"device": "h100-sxm", "samples": 8}], ["latency_s", "energy_j", "ttft_s"], "physics")
    columns = predict_batch(
        workload="llama-3.1-8b", on="h100-sxm", prompt=1024, batch=[8, 8, 1], generate=[128, 1, 1], model="physics"
    )
    for name in ("latency_s", "energy_j"):
        all_of_it, prompts, one_prompt = columns[name]
        assert table.of(name)[0, 0] == pytest.approx(all_of_it - prompts + one_prompt, rel=1e-9)
    assert table.of("ttft_s")[0, 0] == pytest.approx(columns["ttft_s"][2], rel=1e-9)
    assert np.all(table.lo <= table.value)
    assert np.all(table.value <= table.hi)


def test_an_option_holds_over_an_item_and_the_order_is_kept() -> None:
    table = cost_table([{**CHAT, "dtype": "bf16"}, CHAT], [{"device": "l40s", "dtype": "fp8"}, {"device": "l40s"}])
    assert table.of("latency_s")[0, 0] == table.of("latency_s")[1, 0]  # fp8 from the option
    assert table.of("latency_s")[0, 1] == table.of("latency_s")[1, 1]  # bf16, said or by default
    assert table.of("latency_s")[0, 0] < table.of("latency_s")[0, 1]


def test_knobs_change_the_model_and_a_wrong_one_is_refused() -> None:
    table = cost_table([{**CHAT, "knobs": {"layers": 16}}, CHAT], {"on": "h100-sxm"}, ["latency_s"])
    half, whole = table.of("latency_s")[:, 0]
    assert 0.45 < half / whole < 0.6
    with pytest.raises(UnknownNameError, match="layerz"):
        cost_table([{**CHAT, "knobs": {"layerz": 16}}], {"on": "h100-sxm"})


def test_names_of_rows_are_what_tells_them_apart() -> None:
    table = cost_table(
        [CHAT, {**CHAT, "prompt": 2048, "name": "long"}], [{"on": "l40s"}, {"on": "b200"}], ["latency_s"]
    )
    assert table.items == ("prompt=1024", "long")
    assert table.options == ("l40s", "b200")
    assert "prompt=1024" in table.text()


def test_money_is_time_by_devices_by_price() -> None:
    table = cost_table([CHAT], [{"device": "h100-sxm", "tp": 2}], ["latency_s", "cost_usd"])
    price = ac.load_device("h100-sxm").price
    assert price is not None
    assert table.of("cost_usd")[0, 0] == pytest.approx(
        table.of("latency_s")[0, 0] * 2 * price.usd_per_hour.value / 3600, rel=1e-12
    )


@pytest.mark.parametrize(
    ("items", "options", "words"),
    [
        ([], [{"on": "l40s"}], "There is no item"),
        ([CHAT], [], "There is no option"),
        ([{**CHAT, "promt": 3}], [{"on": "l40s"}], "prompt"),
        ([{**CHAT, "prompt": float("nan")}], [{"on": "l40s"}], "prompt must be a whole number"),
        ([{**CHAT, "batch": -1}], [{"on": "l40s"}], "batch must be a whole number"),
        ([{**CHAT, "batch": 1.5}], [{"on": "l40s"}], "batch must be a whole number"),
        ([{**CHAT, "tokens": 3}], [{"on": "l40s"}], "says 'generate' twice"),
        ([CHAT], [{"on": "l40s", "count": 10**9}], "count must be a whole number"),
        (["llama"], [{"on": "l40s"}], "must be a mapping"),
        ([CHAT], [{"tp": 2}], "needs 'on'"),
        ([{**CHAT, "knobs": 3}], [{"on": "l40s"}], "knobs must be a mapping"),
    ],
)
def test_bad_input_is_one_sentence(items: list[object], options: list[object], words: str) -> None:
    with pytest.raises(ArchcastError) as caught:
        cost_table(items, options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_quantity_names_the_nearest_and_too_many_cells_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="latency_s"):
        cost_table([CHAT], [{"on": "l40s"}], ["latency"])
    with pytest.raises(BadValueError, match="cells are asked for at once"):
        cost_table([CHAT] * 3000, [{"on": "l40s"}] * 3000)


def test_a_size_that_a_model_cannot_have_is_the_reason_of_its_rows_only() -> None:
    columns = predict_batch(workload="bert-large", on="l40s", prompt=[128, 696, 512, 513, 5])
    assert columns["verdict"].tolist() == ["feasible", "infeasible", "feasible", "infeasible", "feasible"]
    assert "696 tokens" in columns["reason"][1]
    assert columns["latency_s"][0] == predict_batch(workload="bert-large", on="l40s", prompt=128)["latency_s"][0]
    many = predict_batch(workload="bert-large", on="l40s", prompt=np.arange(1, 1500), model="physics")
    assert (many["verdict"] == "feasible").tolist() == [n <= 512 for n in range(1, 1500)]
    assert all(many["reason"][512:])


def test_equal_questions_have_equal_answers_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = {"batch": [1, 2, 1, 7, 2], "prompt": [9, 9, 9, 64, 9]}
    whole = predict_batch(workload="qwen3-0.6b", on="l40s", **sizes)
    monkeypatch.setattr("archcast.batches.PIECE", 2)
    parts = predict_batch(workload="qwen3-0.6b", on="l40s", **sizes)
    assert whole["latency_s"] == pytest.approx(parts["latency_s"], rel=1e-12)
    assert whole["latency_s"][0] == whole["latency_s"][2] != whole["latency_s"][1]


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ({"on": "l40x"}, "l40s"),
        ({"on": "l40s", "dtype": "fp9"}, "fp8"),
        ({"on": "l40s", "workload": "rsnet"}, "resnet"),
    ],
)
def test_a_name_that_no_catalogue_has_is_refused_and_the_near_ones_are_named(wrong: Any, near: str) -> None:
    with pytest.raises(ArchcastError, match=near):
        cost_table([CHAT], [{"on": "l40s"}, wrong])


def test_samples_are_held_against_the_memory_with_one_prompt() -> None:
    item = {"workload": "llama-3.1-8b", "prompt": 8192, "generate": 16}
    ways = [{"device": "h100-sxm", "samples": n} for n in (2, 100, 50_000)]
    table = cost_table([item], ways, ["latency_s", "memory_bytes"])
    # one prompt of 8,192 tokens holds 1.07 GB of keys and values: 100 of their own would not fit 85 GB
    assert table.feasible.tolist() == [[True, True, False]]
    assert table.of("memory_bytes")[0, 1] < 25e9
    assert table.of("memory_bytes")[0, 2] > 80e9
    assert "short of memory" in table.reason[0, 2]
    assert np.isnan(table.of("latency_s")[0, 2])
    assert not cost_table([{**item, "batch": 100}], {"on": "h100-sxm"}).feasible[0, 0]

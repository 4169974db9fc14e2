"""Many questions at once: every row is the answer that the question would get alone, refusals included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archcast as ac
from archcast.batches import DEFAULTS, QUANTITIES
from costmodel.contract import SAME
from foundation.errors import BadValueError, InputError, UnknownNameError

QUESTION = st.fixed_dictionaries({
    "workload": st.sampled_from(
        ("llama-3.1-8b", "llama-3.1-70b", "mixtral-8x7b", "gpt-2", "resnet-50", "bert-large", "nope")
    ),
    "on": st.sampled_from(("h100-sxm", "mi300x", "raspberry-pi-5", "rk3588", "h100-sxm", "h1000")),
    "batch": st.sampled_from((1, 2, 7, 64)),
    "prompt": st.sampled_from((1, 100, 2000, 0)),
    "generate": st.sampled_from((1, 2, 33, 0)),
    "dtype": st.sampled_from(("", "", "fp8", "int8", "fp99")),
    "tp": st.sampled_from((1, 1, 2, 3, 8)),
    "pp": st.sampled_from((1, 1, 2)),
})  # fmt: skip


def alone(question: dict[str, Any]) -> ac.Estimate | str:
    """Return what `predict` says to one question: an answer, or the sentence of its refusal."""
    asked = {k: None if k in ("prompt", "generate") and v == 0 else v for k, v in question.items()}
    try:
        return ac.predict(asked.pop("workload"), **asked)
    except InputError as error:
        return str(error)


def faults(question: dict[str, Any]) -> int:
    """Count what is wrong with a question: of several faults either way of asking may name another one."""
    bad_names = (question["workload"] == "nope") + (question["on"] == "h1000") + (question["dtype"] == "fp99")
    return bad_names + (question["tp"] == 3)


def check_row(
    found: dict[str, Any], row: int, single: ac.Estimate | str, wrong: int = 1, apart: float = 1e-12
) -> None:  # fmt: skip
    """Compare a row with its question asked alone; learned parts are single precision, so they may be `SAME` apart."""
    if isinstance(single, str):
        assert found["verdict"][row] == "infeasible"
        assert found["reason"][row] == single if wrong < 2 else found["reason"][row]
        assert np.isnan(found["latency_s"][row])
        return
    assert found["verdict"][row] == single.verdict
    np.testing.assert_allclose(found["shortfall_bytes"][row], single.shortfall_bytes, rtol=1e-12)
    for name in QUANTITIES:
        quantity = getattr(single, name)
        stem, _, unit = name.rpartition("_")
        for end, column in (("value", name), ("lo", f"{stem}_lo_{unit}"), ("hi", f"{stem}_hi_{unit}")):
            expected = np.nan if quantity is None else getattr(quantity, end)
            np.testing.assert_allclose(found[column][row], expected, rtol=apart, err_msg=column)
    if single.dram_bytes is not None:
        np.testing.assert_allclose(found["dram_bytes"][row], single.dram_bytes, rtol=1e-12)


@settings(max_examples=40)
@given(st.lists(QUESTION, min_size=1, max_size=12))
def test_each_row_equals_the_question_asked_alone(questions: list[dict[str, Any]]) -> None:
    found = ac.predict_batch(**{name: [q[name] for q in questions] for name in questions[0]})
    for row, question in enumerate(questions):
        check_row(found, row, alone(question), faults(question), SAME)


@pytest.mark.parametrize(("model", "apart"), [("physics", 1e-12), (None, SAME)])
@pytest.mark.parametrize("sizes", [{"tp": 4}, {"pp": 4}, {"dp": 2}, {"tp": 2, "ep": 4, "dp": 2}, {"mode": "train"}])
def test_mappings_and_training_equal_predict(sizes: dict[str, Any], model: str | None, apart: float) -> None:
    batches, asked = [2, 8, 32], {"on": "h200-sxm", "prompt": 256, "generate": 9, "model": model, **sizes}
    found = ac.predict_batch(workload="mixtral-8x7b", batch=batches, **asked)
    for row, batch in enumerate(batches):
        check_row(found, row, ac.predict("mixtral-8x7b", batch=batch, **asked), apart=apart)


def test_rows_keep_their_order_whatever_groups_they_fall_into() -> None:
    devices = ["h100-sxm", "mi300x", "h100-sxm", "l40s", "mi300x"]
    found = ac.predict_batch(workload="llama-3.1-8b", on=devices, batch=[1, 2, 3, 4, 5], prompt=64, generate=4)
    order = [3, 1, 4, 0, 2]
    mixed = ac.predict_batch(
        workload="llama-3.1-8b", on=[devices[i] for i in order], batch=[i + 1 for i in order], prompt=64, generate=4
    )
    np.testing.assert_allclose(mixed["latency_s"], found["latency_s"][order], rtol=SAME)


def test_a_bad_row_does_not_spoil_the_others() -> None:
    found = ac.predict_batch(
        workload=["gpt-2", "gpt-9", "gpt-2"], on="h100-sxm", batch=[1, 1, 3], dp=[1, 1, 4], prompt=10, generate=2
    )
    assert found["verdict"].tolist() == ["feasible", "infeasible", "infeasible"]
    assert "Unknown workload 'gpt-9'" in found["reason"][1]
    assert "batch must be a whole number from 4" in found["reason"][2]
    assert np.isfinite(found["latency_s"]).tolist() == [True, False, False]


@pytest.mark.parametrize(("name", "value"), [
    ("batch", 0), ("batch", -3), ("batch", 2.5), ("batch", float("nan")), ("batch", float("inf")), ("batch", True),
    ("batch", None), ("batch", 10**30), ("tp", 0), ("dp", -1), ("pp", "two"),
])  # fmt: skip
def test_a_number_that_is_no_size_is_refused_in_the_words_of_one_question(name: str, value: Any) -> None:
    with pytest.raises(InputError) as alone:
        ac.predict("gpt-2", on="h100-sxm", **{name: value})
    with pytest.raises(BadValueError) as row:
        ac.predict_batch(workload="gpt-2", on="h100-sxm", **{name: [1, value, value]})
    with pytest.raises(BadValueError) as every:
        ac.predict_batch(workload="gpt-2", on=["h100-sxm", "l40s"], **{name: value})
    assert str(row.value) == f"Row 2: {alone.value}"
    assert str(every.value) == str(alone.value)


def test_a_column_of_numpy_and_a_sweep_refuse_what_is_no_size() -> None:
    with pytest.raises(BadValueError, match=r"^Row 2: batch must be .*, not nan\.$"):
        ac.predict_batch(workload="gpt-2", on="h100-sxm", batch=np.array([1.0, np.nan]))
    with pytest.raises(BadValueError, match=r"^Row 3: prompt must be .*, not -1\.$"):
        ac.sweep({"workload": "gpt-2", "on": "h100-sxm", "prompt": [1, 0, -1]})


def test_what_does_not_fit_says_how_much_is_missing_and_has_no_time() -> None:
    found = ac.predict_batch(workload="llama-3.1-70b", on="h100-sxm", batch=1, prompt=10, generate=2)
    assert (
        found["shortfall_bytes"][0]
        == found["memory_bytes"][0] - ac.predict("llama-3.1-70b", on="h100-sxm").capacity_bytes
    )
    assert found["reason"][0].endswith("GiB short of memory")
    assert np.isnan([found["latency_s"][0], found["energy_j"][0], found["cost_usd"][0], found["dram_bytes"][0]]).all()


def test_columns_that_do_not_exist_or_match_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown column of predict_batch 'bacth'\. Nearest: batch"):
        ac.predict_batch(workload="gpt-2", on="h100-sxm", bacth=[1])
    with pytest.raises(BadValueError, match="different lengths: on 2, batch 3"):
        ac.predict_batch(workload="gpt-2", on=["h100-sxm"] * 2, batch=[1, 2, 3])
    with pytest.raises(BadValueError, match="needs the column 'on'"):
        ac.predict_batch(workload="gpt-2")


def test_a_number_of_devices_alone_is_not_a_mapping() -> None:
    found = ac.predict_batch(workload="gpt-2", on="h100-sxm", count=4)
    assert "does not say how to divide the model" in found["reason"][0]


def test_no_rows_have_no_answers() -> None:
    found = ac.predict_batch(workload=[], on=[])
    assert all(len(column) == 0 for column in found.values())


def test_numpy_columns_are_as_good_as_lists() -> None:
    batch = np.array([1, 4])
    found = ac.predict_batch(workload=np.array(["gpt-2", "gpt-2"]), on="h100-sxm", batch=batch, prompt=np.array([7, 9]))
    again = ac.predict_batch(workload="gpt-2", on="h100-sxm", batch=[1, 4], prompt=[7, 9])
    assert found["latency_s"].tolist() == again["latency_s"].tolist()
    assert DEFAULTS["batch"] == 1

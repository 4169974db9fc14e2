"""A question by names that was asked before is answered at once; files and objects are read anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import archcast as ac
from archcast import prediction
from costmodel.edge_llm_shipped import others_instead, shipped_tokens
from costmodel.protocol import PhysicsModel
from foundation.errors import InputError
from workloads import catalogue


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every question that is really worked out."""
    asked: list[Any] = []
    whole = prediction._predict

    def count(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        return whole(*args, **kwargs)

    prediction._remembered.cache_clear()
    monkeypatch.setattr(prediction, "_predict", count)
    return asked


def test_the_same_question_is_worked_out_once(counted: list[Any]) -> None:
    first = ac.predict("resnet-50", on="jetson-agx-orin", batch=3)
    assert ac.predict("resnet-50", on="jetson-agx-orin", batch=3) is first
    assert len(counted) == 1


@pytest.mark.parametrize(
    "other",
    [{"batch": 4}, {"dtype": "fp32"}, {"knobs": {"classes": 10}}, {"model": "physics"}, {"software": "tensorrt"}],
)
def test_another_question_has_its_own_answer(counted: list[Any], other: dict[str, Any]) -> None:
    ac.predict("resnet-50", on="jetson-agx-orin", batch=3)
    ac.predict("resnet-50", on="jetson-agx-orin", **{"batch": 3, **other})
    assert len(counted) == 2


def test_a_truth_value_is_not_the_number_one(counted: list[Any]) -> None:
    ac.predict("resnet-50", on="jetson-agx-orin", batch=1)
    with pytest.raises(InputError):
        ac.predict("resnet-50", on="jetson-agx-orin", batch=True)
    ac.predict("gpt-2", on="h100-sxm", knobs={"layers": 1})
    with pytest.raises(InputError):
        ac.predict("gpt-2", on="h100-sxm", knobs={"layers": True})


def test_a_refused_question_is_refused_again(counted: list[Any]) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="resnet-50"):
            ac.predict("resnet-5o", on="jetson-agx-orin")
    assert len(counted) == 2


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = (Path(catalogue.__file__).parent / "examples" / "keyword-spotting.yaml").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    assert ac.predict(str(file), on="h100-sxm").workload == "keyword-spotting"
    file.write_text(text.replace("name: keyword-spotting", "name: another"), encoding="utf-8")
    assert ac.predict(str(file), on="h100-sxm").workload == "another"


def test_an_object_is_asked_each_time(counted: list[Any]) -> None:
    for _ in range(2):
        ac.predict("resnet-50", on="jetson-agx-orin", model=PhysicsModel())
        ac.predict(ac.load_model("resnet-50"), on="jetson-agx-orin")
    assert len(counted) == 4


def test_a_question_under_coefficients_held_out_is_asked_each_time(counted: list[Any]) -> None:
    shipped = ac.predict("resnet-50", on="jetson-agx-orin")
    for _ in range(2):
        with others_instead(shipped_tokens()):
            assert ac.predict("resnet-50", on="jetson-agx-orin") is not shipped
    assert ac.predict("resnet-50", on="jetson-agx-orin") is shipped
    assert len(counted) == 3

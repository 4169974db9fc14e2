"""Files of kind `run`: the question of `predict`, answered over time."""

from __future__ import annotations

from pathlib import Path

import pytest

import archcast as ac
from foundation.errors import ArchcastError
from simulator.graph_file import example_files

GPT2 = "kind: run\nworkload: gpt-2\non: h100-sxm\nprompt: 64\ngenerate: 1\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text)
    return file


def test_a_run_takes_as_long_as_the_prediction_says(tmp_path: Path) -> None:
    simulated = ac.simulate(written(tmp_path, GPT2)).timeline.makespan_s
    predicted = ac.predict("gpt-2", on="h100-sxm", prompt=64, generate=1).latency_s
    assert predicted is not None
    assert simulated == pytest.approx(predicted.value, rel=1e-6)


def test_settings_override_keys_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, GPT2)
    longer = ac.simulate(file, settings={"prompt": "512"}).timeline.makespan_s
    assert longer > ac.simulate(file).timeline.makespan_s


def test_a_workload_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "family: decoder\nsource: a test\nknobs: {layers: 2, hidden: 64, heads: 4, inter: 128}\n"
    )
    text = GPT2.replace("gpt-2", "net.yaml")
    assert ac.simulate(written(tmp_path, text)).timeline.makespan_s > 0


def test_pipeline_stages_do_not_overlap_for_one_batch() -> None:
    timeline = ac.simulate("llama-two-stages").timeline
    compute = [busy for name, busy in timeline.utilisation.items() if name.endswith("compute")]
    assert len(compute) == 2
    assert sum(compute) <= 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GPT2 + "btach: 4\n", ["run.yaml:6", "btach", "batch"]),
        ("kind: run\non: h100-sxm\n", ["workload"]),
        (GPT2 + "policy: fastest\n", ["policy", "fastest"]),
        (GPT2 + "tp: 7\n", ["tp=7", "heads"]),
        (GPT2.replace("h100-sxm", "h100sxm5"), ["h100-sxm"]),
        ("kind: run\nworkload: deepseek-v3\non: rtx-4090\n", ["does not fit", "short"]),
        (GPT2 + "knobs: 3\n", ["knobs", "mapping"]),
    ],
)
def test_a_bad_run_file_gets_one_sentence(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ArchcastError) as caught:
        ac.simulate(written(tmp_path, text))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_unknown_setting_names_the_nearest_key(tmp_path: Path) -> None:
    with pytest.raises(ArchcastError, match="prompt"):
        ac.simulate(written(tmp_path, GPT2), settings={"promt": "1"})


def test_every_shipped_run_file_runs() -> None:
    runs = [name for name, path in example_files().items() if "kind: run" in path.read_text()]
    assert runs
    for name in runs:
        assert ac.simulate(name).timeline.makespan_s > 0

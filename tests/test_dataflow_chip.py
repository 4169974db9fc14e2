"""A dataflow chip: stages that share its pieces, one context or several, costs that are fitted and come along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.dataflow_chip import (
    FRAME,
    SWITCH,
    DataflowChips,
    Throughput,
    fit_dataflow,
    frame_work,
    gate_features,
    predict_dataflow,
    switch_work,
    switches,
)
from costmodel.dataflow_kin import Kin, Places, carried, kin_features
from costmodel.dataflow_shipped import (
    TERMS,
    frame_rate,
    is_dataflow_chip,
    network_rate,
    rate_ends,
    shipped_costs,
    within_reach,
)
from costmodel.dataflow_work import AMOUNTS, amounts_of, imbalance, read_sheet, slowest_stage
from foundation.errors import BadFileError, BadValueError
from workloads.catalogue import load_model
from workloads.model import Request
from workloads.table import Array


def _amounts(name: str, image: int) -> Array:
    passes = load_model(name, {"image": image}).workload(Request(batch=1)).passes
    return amounts_of(passes, 3.0 * image * image, image)


def _invented(rows: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    found = np.exp(rng.uniform(0, 3, (rows, len(AMOUNTS))))
    scale = {"imbalance_ratio": 1.0, "input_rows": 224.0}
    for i, name in enumerate(AMOUNTS):
        counted = name.endswith(("layers", "norms", "softmaxes", "activations", "sums", "joins", "products"))
        found[:, i] *= scale.get(name, 1.0 if counted else 1e9 if name.endswith("_op") else 1e6)
    return found


def test_four_pieces_for_work_of_three_and_one_are_even() -> None:
    assert slowest_stage(np.array([3.0, 1.0]), 4) == pytest.approx(1.0)
    assert imbalance(np.array([3.0, 1.0]), 4) == pytest.approx(slowest_stage(np.array([3.0, 1.0]), 8) * 8 / 4)


def test_a_small_layer_takes_a_whole_piece() -> None:
    assert slowest_stage(np.array([10.0, 0.1]), 3) == pytest.approx(5.0)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=12), st.integers(12, 60))
def test_the_slowest_stage_is_no_better_than_an_even_split_and_fits(work: list[float], pieces: int) -> None:
    each = np.array(work)
    slowest = slowest_stage(each, pieces)
    assert slowest >= each.sum() / pieces * (1 - 1e-9)
    assert np.ceil(each / slowest - 1e-9).sum() <= pieces


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=12), st.integers(12, 60))
def test_more_pieces_never_slow_a_pipeline(work: list[float], pieces: int) -> None:
    assert slowest_stage(np.array(work), pieces + 1) <= slowest_stage(np.array(work), pieces) * (1 + 1e-9)


def test_more_layers_than_pieces_are_refused() -> None:
    with pytest.raises(BadValueError, match="3 layers with work cannot share 2 pieces"):
        slowest_stage(np.ones(3), 2)


def test_the_graph_of_resnet_18_has_its_known_work() -> None:
    found = dict(zip(AMOUNTS, _amounts("resnet-18", 224), strict=True))
    operations = sum(found[name] for name in AMOUNTS[:5])
    assert operations == pytest.approx(3.63e9, rel=0.01)
    assert found["layers"] == 21  # 20 convolutions, three of them in shortcuts, and the classifier
    assert found["thin_op"] == 2 * 112 * 112 * 64 * 3 * 49
    assert found["depthwise_layers"] == found["attention_products"] == found["norms"] == 0


def test_the_graph_of_mobilenet_v2_has_seventeen_depthwise_layers() -> None:
    assert _amounts("mobilenet-v2", 224)[AMOUNTS.index("depthwise_layers")] == 17


def test_a_transformer_has_two_products_and_one_softmax_a_block() -> None:
    found = dict(zip(AMOUNTS, _amounts("vit-base", 224), strict=True))
    assert (found["attention_products"], found["softmaxes"]) == (24, 12)
    assert found["norms"] in (24, 25)


@pytest.mark.parametrize(("network", "sheet"), [("resnet-18", "resnet_v1_18"), ("resnext50-32x4d", "resnext50_32x4d")])
def test_the_sheet_and_the_graph_agree(network: str, sheet: str) -> None:
    from costmodel.evaluation.hailo import SHEET

    found, public = read_sheet(SHEET)[sheet]
    assert public
    np.testing.assert_allclose(_amounts(network, 224)[:-2], found, rtol=0.02)


def test_a_sheet_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("network,definition,layers\na,public,3\n", encoding="utf-8")
    with pytest.raises(BadFileError, match="not a sheet of networks"):
        read_sheet(path)


def _chips(several: bool) -> DataflowChips:
    """One chip on which a frame costs 2 s a 1e6 dense operations and a switch 5 s a 1e6 weights."""
    one, many, switch = np.zeros((1, len(FRAME))), np.zeros((1, len(FRAME))), np.zeros((1, len(SWITCH)))
    one[0, FRAME.index("dense_op")] = many[0, FRAME.index("dense_op")] = 2.0
    switch[0, SWITCH.index("weights")] = 5.0
    width = gate_features(np.ones((1, len(AMOUNTS)))).shape[1]
    gate = np.zeros((1, 1 + width))
    gate[0, 0] = 5.0 if several else -5.0
    return DataflowChips(("chip",), one, many, switch, gate, np.zeros(width), np.ones(width))


def test_a_switch_is_shared_by_the_frames_of_a_batch() -> None:
    amounts = np.zeros((2, len(AMOUNTS)))
    amounts[:, AMOUNTS.index("dense_op")] = 3e6
    amounts[:, AMOUNTS.index("weights")] = 8e6
    amounts[:, AMOUNTS.index("input_rows")] = 224
    found = predict_dataflow(_chips(True), amounts, np.array(["chip", "chip"]), np.array([1.0, 8.0]))
    np.testing.assert_allclose(found.rate_hz, [1 / (6 + 40), 1 / (6 + 5)])
    whole = predict_dataflow(_chips(False), amounts, np.array(["chip", "chip"]), np.array([1.0, 8.0]))
    np.testing.assert_allclose(whole.rate_hz, [1 / 6, 1 / 6])


def test_an_unknown_chip_is_named() -> None:
    with pytest.raises(BadValueError, match="'other'"):
        predict_dataflow(_chips(True), np.ones((1, len(AMOUNTS))), np.array(["other"]), np.ones(1))


def test_a_batch_that_changes_nothing_means_one_context() -> None:
    np.testing.assert_array_equal(
        switches(np.array([100.0, 100.0, 100.0, 0.0]), np.array([101.0, 300.0, np.nan, 5.0])), [False, True, True, True]
    )


def test_costs_that_made_the_rates_are_found_again() -> None:
    amounts = np.repeat(_invented(120), 2, axis=0)
    batch = np.tile([1.0, 8.0], 120)
    chip = np.where(np.arange(240) % 4 < 2, "slow", "fast")
    weights = amounts[:, AMOUNTS.index("weights")]
    several = weights > np.median(weights)
    seconds = 3e-4 * frame_work(amounts)[:, FRAME.index("dense_op")] + np.where(
        several, 0.1 * switch_work(amounts)[:, SWITCH.index("weights")] / batch, 0.0
    )
    seconds *= np.where(chip == "slow", 3.0, 1.0)
    train = np.arange(240) < 160
    model = fit_dataflow(amounts[train], chip[train], batch[train], several[train], 1 / seconds[train])
    found = predict_dataflow(model, amounts[~train], chip[~train], batch[~train])
    right = (found.several > 0.5) == several[~train]
    assert right.mean() > 0.85
    assert np.median(np.abs(found.rate_hz * seconds[~train] - 1)[right]) < 0.1


def test_rates_that_are_not_positive_are_refused() -> None:
    amounts = _invented(30)
    with pytest.raises(BadValueError, match="positive"):
        fit_dataflow(amounts, np.full(30, "a"), np.ones(30), np.arange(30) % 2 == 0, np.zeros(30))


def test_costs_need_networks_of_both_kinds() -> None:
    amounts = _invented(30)
    with pytest.raises(BadValueError, match="one context and of several"):
        fit_dataflow(amounts, np.full(30, "a"), np.ones(30), np.zeros(30, bool), np.ones(30))


def _places(amounts: Array) -> Places:
    rows = len(amounts)
    return Places(kin_features(amounts), np.zeros(rows, int), np.zeros(rows, bool), np.ones(rows), np.zeros(rows, bool))


def test_a_network_learns_from_its_likeness_and_not_from_what_is_far() -> None:
    amounts = _invented(40)
    places = _places(amounts)
    rest = np.zeros(40)
    rest[0] = 0.5
    twin = carried(places, rest, places.take(np.array([0])), Kin(0.25, 1.0))[0]
    others = carried(places, rest, places.take(np.arange(1, 40)), Kin(0.25, 1.0))
    assert 0.15 < twin < 0.5
    assert np.abs(others).max() < twin


def test_no_share_of_the_kin_carries_nothing() -> None:
    places = _places(_invented(20))
    assert not carried(places, np.ones(20), places, Kin(0.5, 0.0)).any()


def test_shipped_costs_are_of_the_five_chips_and_not_negative() -> None:
    found = shipped_costs()
    assert found.model.chips == ("hailo-10h", "hailo-15h", "hailo-15l", "hailo-8", "hailo-8l")
    assert min(found.model.one.min(), found.model.many.min(), found.model.switch.min()) >= 0
    assert min(found.half_sure, found.half_doubtful) > 0
    assert is_dataflow_chip("hailo-8")
    assert not is_dataflow_chip("a100")


def test_terms_of_a_frame_add_up_to_its_time_and_a_batch_never_slows() -> None:
    amounts = np.repeat(np.stack([_amounts("vit-base", 224), _amounts("resnet-18", 224)]), 2, axis=0)
    found = frame_rate(amounts, np.full(4, "hailo-8"), np.array([1.0, 8.0, 1.0, 8.0]))
    np.testing.assert_allclose(found.terms_s.sum(axis=1) * found.rate_hz, 1.0)
    assert found.terms_s.shape == (4, len(TERMS))
    assert found.rate_hz[1] > 1.5 * found.rate_hz[0]  # 86 MB of weights do not fit
    assert found.rate_hz[3] == pytest.approx(found.rate_hz[2])  # 12 MB do
    assert (found.rate_lo_hz < found.rate_hz).all()
    assert (found.rate_hz < found.rate_hi_hz).all()


def test_a_file_that_holds_no_costs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text('{"chips": ["a"]}', encoding="utf-8")
    with pytest.raises(BadFileError, match="not costs of dataflow chips"):
        shipped_costs(path)


def test_work_that_no_network_of_one_context_has_costs_what_it_does_in_several() -> None:
    amounts = _invented(60)
    several = np.arange(60) % 2 == 0
    amounts[~several, AMOUNTS.index("attention_op")] = 0.0
    seconds = frame_work(amounts) @ np.full(len(FRAME), 1e-4)
    model = fit_dataflow(amounts, np.full(60, "a"), np.ones(60), several, 1 / seconds)
    at = FRAME.index("attention_op")
    assert model.one[0, at] == model.many[0, at] < 1.0


def test_shipped_costs_are_near_the_peaks_of_the_chips() -> None:
    """Operations of one network more, and no weights more, pass at half to all of the advertised rate."""
    from hardware_specs import load_device

    found = shipped_costs().model
    for chip, one in zip(found.chips, found.one, strict=True):
        peak = next(float(u.peak_flop_per_s["int8"].value) for u in load_device(chip).units if u.name == "matrix")
        rate = 1e6 / (one[FRAME.index("dense_op")] + one[FRAME.index("staged_op")])
        assert 0.5 * peak < rate < 1.1 * peak


def test_what_is_fed_is_read_from_the_first_layer() -> None:
    passes = load_model("resnet-18", {"image": 128}).workload(Request(batch=1)).passes
    np.testing.assert_array_equal(amounts_of(passes), _amounts("resnet-18", 128))
    sentence = load_model("bert-base", {}).workload(Request(batch=1, prompt=64)).passes
    assert amounts_of(sentence)[AMOUNTS.index("input_rows")] == 1


def test_a_network_of_the_catalogue_has_a_rate_on_a_chip() -> None:
    passes = load_model("resnet-18", {}).workload(Request(batch=1)).passes
    found = network_rate(passes, "hailo-8", 8)
    assert found.rate_lo_hz[0] < 2718 < found.rate_hi_hz[0]  # as published
    with pytest.raises(BadValueError, match="No costs are known of the dataflow chip 'a100'"):
        network_rate(passes, "a100")


def test_an_interval_reaches_both_rates_where_it_is_doubtful_whether_a_network_fits() -> None:
    found = Throughput(np.array([100.0, 100.0, 100.0]), np.array([20.0, 20.0, 20.0]), np.array([0.05, 0.4, 0.95]))
    doubtful, least, most = rate_ends(found)
    assert doubtful.tolist() == [False, True, False]
    assert least.tolist() == [100, 20, 20]
    assert most.tolist() == [100, 100, 20]


def test_networks_of_a_thousandth_of_the_work_are_out_of_reach() -> None:
    amounts = np.repeat(_amounts("resnet-18", 224)[None], 2, axis=0)
    amounts[1] *= 1e-3
    assert within_reach(amounts).tolist() == [True, False]

"""An unknown name is answered at once, with the names near to it."""

from __future__ import annotations

import random
from time import perf_counter

import pytest

from archcast.service.names import device_name, workload_name
from archcast.service.near import MOST_LETTERS, SHORTLIST, index_of, shortlist
from foundation.errors import UnknownNameError, nearest_names
from hardware_specs import device_ids
from workloads.catalogue import workload_names


@pytest.mark.parametrize("names", [workload_names(), device_ids()], ids=["workloads", "devices"])
def test_the_nearest_of_all_names_is_on_the_shortlist_of_a_misspelt_one(names: list[str]) -> None:
    chance, index = random.Random(7), index_of(names)
    found = 0
    for name in chance.sample(names, 40):
        at = chance.randrange(1, len(name))
        misspelt = name[:at] + chance.choice("abcxyz019") + name[at + 1 :]
        near = shortlist(index, misspelt)
        assert len(near) <= SHORTLIST
        found += nearest_names(misspelt, near, 1) == nearest_names(misspelt, names, 1)
    assert found >= 38


def test_a_name_too_long_is_near_to_none() -> None:
    assert shortlist(index_of(["resnet-50"]), "resnet-50" * MOST_LETTERS) == []


def test_unknown_names_are_told_in_a_few_milliseconds() -> None:
    for find, word in ((workload_name, "resnet-5"), (device_name, "h100-sx"), (workload_name, "x" * 4000)):
        with pytest.raises(UnknownNameError):
            find(f"{word}?first")
        times = []
        for at in range(9):
            start = perf_counter()
            with pytest.raises(UnknownNameError):
                find(f"{word}?{at}")
            times.append(perf_counter() - start)
        assert sorted(times)[4] < 0.02


def test_nodes_cores_and_aliases_are_still_told_apart() -> None:
    assert device_name("H100_SXM") == "H100_SXM"
    with pytest.raises(UnknownNameError, match="ask for h100-sxm with count=8"):
        device_name("dgx-h100")
    with pytest.raises(UnknownNameError, match="Nearest: h100-sxm"):
        device_name("h100-xsm:2xbig")

"""What every test may use: the folder of measured data, and one deterministic hypothesis profile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

# The same examples in every run, and no clock: a busy machine must not turn a passing property into a failure.
settings.register_profile(
    "archcast", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("archcast")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured reference data: `ARCHCAST_DATA`, else `../shared/data` beside the checkout.

    The data is not part of the repository; a test that asks for it is skipped where it is absent. An
    `ARCHCAST_DATA` that points nowhere is a mistake, and fails.
    """
    named = os.environ.get("ARCHCAST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if named:
        pytest.fail(f"ARCHCAST_DATA names {named}, which is not a folder.")
    pytest.skip("no measured data: set ARCHCAST_DATA, or put the folder shared/data beside the checkout")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a headless-capable chromium; tests that ask for it carry the marker `browser`."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium on the path (Debian: apt-get install chromium)")

"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, weights and reference outputs beside the checkout, when there is one."""
    if not (SHARED / "data" / "index.csv").is_file():
        pytest.skip(f"needs the real images and weights in {SHARED}, which is not there")
    return SHARED

"""A small part of the sample set, drawn once for the tests that measure it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dfdlib.sample import KINDS
from dfdlib.sample.writer import picture

REAL, EACH = 60, 15


@pytest.fixture(scope="session")
def drawn() -> dict[str, list[bytes]]:
    """JPEG files of the test split by kind: 60 real, 15 of each forgery."""
    return {
        kind: [picture(0, "test", kind, at) for at in range(REAL if kind == "real" else EACH)]
        for kind in ("real", *KINDS)
    }


@pytest.fixture(scope="session")
def pixels(drawn: dict[str, list[bytes]]) -> dict[str, list[np.ndarray]]:
    """The same, decoded: uint8 (256, 256, 3)."""
    return {kind: [np.asarray(Image.open(io.BytesIO(file))) for file in files] for kind, files in drawn.items()}

"""The sample set: drawn portraits, real and forged, that everybody can make in half a minute, byte for byte alike."""

from __future__ import annotations

from dfdlib.sample.forge import KINDS
from dfdlib.sample.writer import COUNTS, SPLITS, VERSION, generate

__all__ = ["COUNTS", "KINDS", "SPLITS", "VERSION", "generate"]

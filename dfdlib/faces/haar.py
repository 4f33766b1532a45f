"""OpenCV's Haar cascade for frontal faces (Viola and Jones, 2001): no download, no GPU, rough."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from dfdlib.errors import DfdError
from dfdlib.faces import Face

CASCADE = "haarcascade_frontalface_default.xml"


def cascade_path() -> Path | None:
    """The cascade's file in the installed OpenCV; None where it ships none (version 5 and later)."""
    folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
    path = Path(folder) / CASCADE if folder else None
    return path if path and path.is_file() else None


def make(
    longest_side: int, scale_factor: float, neighbours: int, smallest: float
) -> Callable[[np.ndarray], list[Face]]:
    """A face finder.

    Args:
        longest_side: larger images are searched at this size, in pixels.
        scale_factor, neighbours: of cv2.CascadeClassifier.detectMultiScale.
        smallest: the smallest face looked for, as a share of the image's shorter side.

    Raises:
        DfdError: the installed OpenCV has no cascade.
    """
    path = cascade_path()
    if path is None:
        raise DfdError(
            f"OpenCV {cv2.__version__} ships no Haar cascade.",
            "Install the locked environment (opencv-contrib-python-headless < 5): make setup",
        )
    # Images are searched side by side; OpenCV's own threads would only compete with that, and reorder the candidates.
    cv2.setNumThreads(1)
    local = threading.local()

    def find(image: np.ndarray) -> list[Face]:
        if not hasattr(local, "cascade"):  # a classifier keeps state while it searches: one for each thread
            local.cascade = cv2.CascadeClassifier(str(path))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = max(1.0, max(grey.shape) / longest_side)
        if scale > 1:
            size = (max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale)))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        side = max(24, int(min(grey.shape) * smallest))
        boxes, _, weights = local.cascade.detectMultiScale3(
            cv2.equalizeHist(grey), scale_factor, neighbours, minSize=(side, side), outputRejectLevels=True
        )
        return [
            Face(x * scale, y * scale, (x + w) * scale, (y + h) * scale, float(weight))
            for (x, y, w, h), weight in zip(boxes, weights, strict=True)
        ]

    return find

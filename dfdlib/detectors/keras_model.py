"""Whole Keras models (.keras, .h5), run by Keras 3 on its torch backend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dfdlib import runtime
from dfdlib.errors import DfdError


class KerasNetwork(nn.Module):
    """Gives a Keras model (channels last) the shape of the other networks.

    `forward`: float32 (n, 3, height, width) to the model's output, float32 (n, units).
    """

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.model(rgb.permute(0, 2, 3, 1), training=False)


def load(weights: Path) -> nn.Module:
    """The model in a .keras or .h5 file. Layers that would run code of the file (Lambda) are refused.

    Raises:
        DfdError: not loadable as a whole model.
    """
    keras = runtime.keras()
    try:
        with _tensorflow_hidden():
            model = keras.saving.load_model(weights, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types for a broken or unsafe file
        raise DfdError(
            f"{weights}: cannot be loaded as a Keras model ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200]}).",
            "Give a whole model, saved without Lambda layers.",
        ) from error
    return KerasNetwork(model).eval()


@contextmanager
def _tensorflow_hidden() -> Iterator[None]:
    """Keeps Keras's HDF5 reader from importing TensorFlow, which takes seconds and which nothing here needs."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # makes the import an ordinary ImportError
    try:
        yield
    finally:
        del sys.modules["tensorflow"]

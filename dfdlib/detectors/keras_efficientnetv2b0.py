"""EfficientNetV2B0 with one sigmoid unit, built by Keras (its torch backend) and filled from a Keras 2 weights file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from dfdlib import runtime
from dfdlib.detectors.keras_h5 import read_arrays
from dfdlib.detectors.keras_model import KerasNetwork
from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import numpy as np


def build(size: int = 256):
    """The Keras model: EfficientNetV2B0 without its top (bytes in, scaled inside), max pooling, Dense 1, sigmoid.

    Args:
        size: height and width of the images.
    """
    keras = runtime.keras()
    base = keras.applications.EfficientNetV2B0(
        weights=None, input_shape=(size, size, 3), include_top=False, pooling="max", include_preprocessing=True
    )
    return keras.Sequential([keras.Input((size, size, 3)), base, keras.layers.Dense(1, activation="sigmoid")])


def load(weights: Path, *, size: int = 256) -> nn.Module:
    """The network with the weights of a Keras 2 .h5 file; float32 (n, 3, size, size) in 0..255 to (n, 1), probability.

    Raises:
        DfdError: a file that does not fill the network whole.
    """
    model = build(size)
    _fill(model, read_arrays(weights), weights)
    return KerasNetwork(model).eval()


def _fill(model, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Assigns arrays by "layer/array", once the names agree.

    Keras numbers the last layer as it happened to count, and Keras 2 called a depthwise kernel so.
    """
    arrays = {_name(name).replace("/depthwise_kernel", "/kernel"): array for name, array in arrays.items()}
    own = {_name(variable.path): variable for variable in model.weights}
    wrong = sorted(own.keys() ^ arrays.keys()) or sorted(k for k in own if tuple(own[k].shape) != arrays[k].shape)
    if wrong:
        raise DfdError(
            f"{path}: does not fit the architecture: {len(wrong)} arrays missing, surplus or of another shape, first "
            f"{wrong[0]}.",
            "Check the card's architecture against the file.",
        )
    for name, variable in own.items():
        variable.assign(arrays[name])


def _name(path: str) -> str:
    layer, array = path.split("/")[-2:]
    return f"dense/{array}" if layer.startswith("dense") else f"{layer}/{array}"

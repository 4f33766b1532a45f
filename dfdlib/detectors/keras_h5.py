"""Weights files of Keras 2 (.h5): arrays by their names, read as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import numpy as np


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a Keras 2 weights file, or of the weights in a whole model saved as .h5.

    Returns:
        Arrays in the file's order by "layer/array", as in "conv2d_1/kernel"; the names of enclosing layers are dropped.

    Raises:
        DfdError: not HDF5, not written by Keras 2, or two arrays of one name.
    """
    import h5py

    found: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            for layer in root.attrs["layer_names"]:
                group = root[layer]
                for stored in group.attrs["weight_names"]:
                    name = "/".join(_text(stored).split(":")[0].split("/")[-2:])
                    if name in found:
                        raise DfdError(
                            f"{path}: holds '{name}' twice.", "Give the weights of one network, as Keras saved them."
                        )
                    found[name] = group[stored][()]
    except (OSError, KeyError) as error:
        raise DfdError(
            f"{path}: cannot be read as a Keras 2 weights file ({type(error).__name__}: {error}).",
            "Give a file that Keras 2 wrote with save_weights (.h5).",
        ) from error
    return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name

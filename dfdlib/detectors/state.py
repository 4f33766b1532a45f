"""Weights files as data: read without running any code in them, loaded whole or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import torch


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors, .pt, .pth or .ckpt file, on the CPU.

    What a training checkpoint keeps under `state_dict` (Lightning) or `model` is taken out of it.

    Raises:
        DfdError: another kind of file, broken, or one that holds more than tensors and plain values.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DfdError(
            f"{path}: holds Python objects, not only tensors: it is not loaded, since that would run its code.",
            "Ask its author for safetensors or a plain state dict.",
        ) from error
    except Exception as error:  # safetensors and torch raise many types for a broken file
        raise DfdError(
            f"{path}: cannot be read as weights ({type(error).__name__}: {error}).",
            "Check the file: dfd weights verify",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise DfdError(
            f"{path}: not a state dict of tensors.", "Give the weights alone, without optimizer or model object."
        )
    return content


def load_strict(module: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> torch.nn.Module:
    """Fills a module; every tensor of either side must have its partner of the same shape.

    Integer tensors stand for float ones of the same values (signs stored as int8).

    Raises:
        DfdError: with the first missing, surplus and misshapen names.
    """
    own = module.state_dict()
    missing, surplus = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)
    if missing or surplus or shapes:
        said = "; ".join(
            f"{len(names)} {what}, first {names[0]}"
            for what, names in (("missing", missing), ("not of this network", surplus), ("of another shape", shapes))
            if names
        )
        raise DfdError(
            f"{path}: does not fit the architecture: {said}.",
            "Check the card's architecture and arguments against the file.",
        )
    module.load_state_dict({key: value.to(own[key].dtype) for key, value in tensors.items()}, strict=True)
    return module.eval()

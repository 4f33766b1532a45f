"""The three small networks of the sample set: how each starts, and how each is stored after training.

Traces of forgery are faint and of high frequency. A network that starts from random filters needs far more than a
thousand pictures to find them, so the first layers start from filters that forensics has long used: residuals
(Fridrich & Kodovsky, IEEE TIFS 2012) and the cosine basis. Training may change them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfdlib import runtime
from dfdlib.detectors.bnext import BinaryConv, BNext

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
CHECKERBOARD = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
RESIDUALS = (
    ((0, 0, 0), (1, -2, 1), (0, 0, 0)),
    ((0, 1, 0), (0, -2, 0), (0, 1, 0)),
    ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    CHECKERBOARD,
    ((1, 0, 0), (0, -2, 0), (0, 0, 1)),
    ((0, 0, 1), (0, -2, 0), (1, 0, 0)),
)
DENSE = 12  # units of the CNN's hidden layer


def bnext(arguments: dict[str, Any], _inputs: Tensor) -> nn.Module:
    """A BNext whose adapter hands on brightness, spectrum and the finest residual."""
    network = BNext(None, **arguments)
    network.set_temperature(1e-8)  # below 1e-7 the binary weights are pure signs
    with torch.no_grad():
        weight = network.adapter.weight.mul_(0.1)
        weight[0, :3, 1:2, 1:2] += LUMA
        weight[1, 3, 1, 1] += 1.0
        weight[2, :3] += LUMA * torch.tensor(CHECKERBOARD) * 0.5
    return network.to(memory_format=torch.channels_last)


def vit(arguments: dict[str, Any], inputs: Tensor) -> nn.Module:
    """A timm VisionTransformer of width 96 that sees its patches of 16 pixels through cosines.

    Args:
        arguments: of VisionTransformer.
        inputs: (n, 3, height, width), prepared; each cosine is scaled to unit variance over them.
    """
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(**arguments)
    place = np.arange(16)
    waves = np.cos(np.pi * (2 * place[None] + 1) * place[:, None] / 32) * np.sqrt(2 / 16)
    waves[0] /= np.sqrt(2)
    every_second = (*range(0, 16, 2), 15)
    coloured = [(u, v, one) for u, v in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)) for one in torch.eye(3)]
    grey = [(u, v, LUMA) for u in every_second for v in every_second if u + v > 2]
    bank = torch.stack(
        [c.view(3, 1, 1) * torch.from_numpy(np.outer(waves[u], waves[v])).float() for u, v, c in coloured + grey]
    )
    with torch.no_grad():
        spread = F.conv2d(inputs, bank, stride=16).std((0, 2, 3))
        network.patch_embed.proj.weight.copy_(bank / spread.view(-1, 1, 1, 1))
        network.patch_embed.proj.bias.zero_()
        network.pos_embed.mul_(5.0)
    return network


def cnn(_arguments: dict[str, Any], _inputs: Tensor) -> nn.Module:
    """Three convolutions of 16, 32 and 16 filters with pooling, then two dense layers, for 256x256; answers a logit."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 16)):
        layers += [nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2)]
        nn.init.kaiming_normal_(layers[-3].weight)
        nn.init.zeros_(layers[-3].bias)
    residuals = torch.tensor(RESIDUALS, dtype=torch.float32)
    residuals *= 16.0 / residuals.abs().sum((1, 2), keepdim=True)  # a gain that brings noise to the level of the rest
    with torch.no_grad():
        layers[0].weight[:12] = torch.cat([residuals, -residuals])[:, None] * LUMA
    layers += [nn.Flatten(), nn.Linear(16 * 30 * 30, DENSE), nn.ReLU(), nn.Linear(DENSE, 1)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def store_tensors(network: nn.Module, path: Path) -> None:
    """Writes the state dict as safetensors; binary weights as the int8 signs that they act by."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    for name, module in network.named_modules():
        if isinstance(module, BinaryConv):
            tensors[f"{name}.weight"] = tensors[f"{name}.weight"].sign().to(torch.int8)
    save_file(tensors, path)


def store_keras(network: nn.Module, path: Path) -> None:
    """Writes the CNN as a whole Keras model, channels last, with a sigmoid behind its logit, and without a date."""
    keras = runtime.keras()
    layers = keras.layers
    stack = [keras.Input((256, 256, 3), name="image")]
    for number, filters in enumerate((16, 32, 16), start=1):
        stack.append(layers.Conv2D(filters, 3, activation="relu", name=f"conv{number}"))
        stack.append(layers.MaxPooling2D(name=f"pool{number}"))
    stack += [
        layers.Flatten(name="flatten"),
        layers.Dense(DENSE, activation="relu", name="dense"),
        layers.Dense(1, activation="sigmoid", name="fake"),
    ]
    model = keras.Sequential(stack, name="sample_cnn")
    trained = [module for module in network if isinstance(module, nn.Conv2d | nn.Linear)]
    for layer, module in zip([one for one in model.layers if one.weights], trained, strict=True):
        weight = module.weight.detach()
        if weight.ndim == 4:
            weight = weight.permute(2, 3, 1, 0)
        elif weight.shape[1] > DENSE:  # flattened channels first here, channels last there
            weight = weight.view(-1, 16, 30, 30).permute(2, 3, 1, 0).reshape(-1, DENSE)
        else:
            weight = weight.T
        layer.set_weights([weight.numpy(), module.bias.detach().numpy()])
    model.save(path)
    _undate(path)


def _undate(path: Path) -> None:
    """Removes the dates from a .keras archive, so that equal weights make an equal file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(parts["metadata.json"])
    parts["metadata.json"] = json.dumps({**metadata, "date_saved": "1980-01-01@00:00:00"}).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    path.write_bytes(buffer.getvalue())

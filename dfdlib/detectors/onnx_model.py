"""Whole networks as ONNX files, run by ONNX Runtime; and a look into such files for channels that cannot change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfdlib.errors import DfdError

SMALLEST_IMAGE = 32  # of constant planes, in pixels, where the file leaves the input's size open
MOST_CHANNELS = 16


class OnnxNetwork(nn.Module):
    """Gives an ONNX file the shape of the other networks.

    `forward`: float32 (n, 3, height, width) to the file's first output, float32 (n, units). A file that fixes its batch
    to one image gets one after the other. It runs on CUDA where the images are and ONNX Runtime offers it, else on the
    CPU.

    Args:
        path: the file; one float32 input of four dimensions, channels first or last.
        one_by_one: never more than one image at once, whatever the file says.

    Raises:
        DfdError: not an ONNX file that ONNX Runtime can run, or one with other inputs.
    """

    def __init__(self, path: Path, *, one_by_one: bool = False) -> None:
        super().__init__()
        self.path = path
        self.sessions: dict[str, Any] = {}
        self.input, self.channels_last, batch = _only_input(self._session("cpu"), path)
        self.one_by_one = one_by_one or batch == 1

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        session = self._session(rgb.device.type)
        images = rgb.permute(0, 2, 3, 1) if self.channels_last else rgb
        parts = images.split(1) if self.one_by_one else [images]
        answers = [session.run(None, {self.input: part.contiguous().cpu().numpy()})[0] for part in parts]
        return torch.cat([torch.from_numpy(answer) for answer in answers]).to(rgb.device)

    def _session(self, device: str) -> Any:
        """The session for a device, made when it is first needed: only then is the device known."""
        import onnxruntime

        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            provider = "CPUExecutionProvider"
        if provider not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors only: warnings about unused weights are the exporter's affair
            try:
                self.sessions[provider] = onnxruntime.InferenceSession(self.path, options, providers=[provider])
            except Exception as error:  # ONNX Runtime has no public base class for its errors
                raise DfdError(
                    f"{self.path}: ONNX Runtime cannot load it ({type(error).__name__}: "
                    f"{str(error).splitlines()[0][:200]}).",
                    "Check the file: dfd weights verify",
                ) from error
        return self.sessions[provider]


def _only_input(session: Any, path: Path) -> tuple[str, bool, int | None]:
    """Name of the input, whether its channels come last, and the batch size if it is fixed."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    # A dimension is a number, or a name or None where it is free.
    first, last = (shape[1], shape[3]) if len(shape) == 4 else (0, 0)
    channels_first = first == 3 or (not isinstance(first, int) and last != 3)
    batch = shape[0] if shape and isinstance(shape[0], int) else None
    fits = len(inputs) == 1 and len(shape) == 4 and (channels_first or last == 3) and batch in (None, 1)
    if not fits or inputs[0].type != "tensor(float)":
        seen = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        raise DfdError(
            f"{path}: does not take images as a detector does (its inputs: {seen or 'none'}).",
            "Export it with one float32 input of shape (n, 3, height, width).",
        )
    return inputs[0].name, not channels_first, batch


def load(weights: Path, *, accept_frozen: bool = False) -> nn.Module:
    """The network in an ONNX file.

    Args:
        weights: the file.
        accept_frozen: load it even though `frozen_channels` finds that a part of its input never changes; images then
            go through one by one, as such a file allows.

    Raises:
        DfdError: a file that cannot be run, or whose input channels are frozen while that is not accepted.
    """
    frozen = frozen_channels(weights)
    if frozen and not accept_frozen:
        raise DfdError(
            f"{weights}: {frozen}.",
            "Its scores are not those of the original network. Score the original checkpoint; or, to measure what this "
            "file does, set `arguments: {accept_frozen: true}` on its card.",
        )
    return OnnxNetwork(weights, one_by_one=frozen is not None).eval()


def frozen_channels(path: Path) -> str | None:
    """Tells whether an ONNX file joins constant planes of image size to what comes from its input.

    A network that computes extra channels from the image (log spectrum, local binary pattern) outside of torch is
    exported by tracing with the channels of the one image that it was traced with: every other image is judged with
    them. Constant planes that are meant, such as coordinates, are found as well.

    Returns:
        An explanation, or None.

    Raises:
        DfdError: not an ONNX file.
    """
    graph = _read_graph(path)
    varying, planes = set(graph.inputs) - set(graph.constants), dict(graph.constants)
    for node in graph.nodes:
        if varying.intersection(node.inputs):
            found = [planes[name] for name in node.inputs if _is_plane(planes.get(name, ()), graph.sizes)]
            if node.kind == "Concat" and found:
                shapes = " and ".join("x".join(map(str, shape)) for shape in found)
                return (
                    f"constant planes of {shapes} are joined to the image's channels: computed from one image when the "
                    "file was exported, they do not change with the image"
                )
            varying.update(node.outputs)
        else:
            # What is computed from constants alone is constant; it is as large as the largest of them.
            largest = max(
                (planes[name] for name in node.inputs if name in planes), key=math.prod, default=node.constant
            )
            planes.update(dict.fromkeys(node.outputs, node.constant or largest))
    return None


def _is_plane(shape: tuple[int, ...], sizes: set[int]) -> bool:
    """Whether a shape is that of a few channels, first or last, of one image of the input's size."""
    if len(shape) not in (3, 4) or math.prod(shape[:-3]) != 1:
        return False
    first, second, third = shape[-3:]
    for channels, height, width in ((first, second, third), (third, first, second)):
        known = {height, width} <= sizes if sizes else min(height, width) >= SMALLEST_IMAGE
        if channels <= MOST_CHANNELS and known:
            return True
    return False


@dataclass(frozen=True)
class _Node:
    kind: str
    inputs: list[str]
    outputs: list[str]
    constant: tuple[int, ...]  # shape of a Constant's tensor


@dataclass(frozen=True)
class _Graph:
    inputs: list[str]
    sizes: set[int]  # all dimensions of the inputs that are fixed, but for one or three
    constants: dict[str, tuple[int, ...]]
    nodes: list[_Node]


def _read_graph(path: Path) -> _Graph:
    """Names and shapes of an ONNX file, read from its protocol buffer.

    The few fields that are needed: package `onnx` would be one more thing to install. Numbers are those of onnx.proto.
    """
    try:
        graph = next(value for number, value in _fields(memoryview(path.read_bytes())) if number == 7)
        parts = list(_fields(graph))
        return _Graph(
            inputs=[_texts(value, 1)[0] for number, value in parts if number == 11],
            sizes={size for number, value in parts if number == 11 for size in _dimensions(value)} - {1, 3},
            constants=dict(_tensor(value) for number, value in parts if number == 5),
            nodes=[_node(value) for number, value in parts if number == 1],
        )
    except (StopIteration, IndexError, ValueError, TypeError) as error:
        raise DfdError(f"{path}: not an ONNX file, or a broken one.", "Check the file: dfd weights verify") from error


def _node(data: memoryview) -> _Node:
    constant: tuple[int, ...] = ()
    for number, attribute in _fields(data):
        if number == 5:
            tensors = [value for field, value in _fields(attribute) if field == 5]
            constant = _tensor(tensors[0])[1] if tensors else constant
    return _Node("".join(_texts(data, 4)), _texts(data, 1), _texts(data, 2), constant)


def _tensor(data: memoryview) -> tuple[str, tuple[int, ...]]:
    """Name and shape of a tensor; dimensions are stored packed or one by one."""
    shape: list[int] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            shape.append(value)
        elif number == 1:
            position = 0
            while position < len(value):
                size, position = _varint(value, position)
                shape.append(size)
    return "".join(_texts(data, 8)), tuple(shape)


def _dimensions(data: memoryview) -> list[int]:
    """The fixed dimensions of an input: its type, a tensor, its shape, each dimension, the value."""
    within = [data]
    for wanted in (2, 1, 2, 1):
        fields = [field for part in within for field in _fields(part)]
        within = [value for number, value in fields if number == wanted and isinstance(value, memoryview)]
    return [value for part in within for number, value in _fields(part) if number == 1]


def _texts(data: memoryview, wanted: int) -> list[str]:
    return [bytes(value).decode() for number, value in _fields(data) if number == wanted]


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message; a value is an int or the bytes within."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of type {kind}")
        if position + size > len(data):
            raise ValueError("cut off")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position

"""ONNX files: the same answers as the network that was exported, and channels that were frozen by tracing."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from dfdlib.detectors import onnx_model
from dfdlib.errors import DfdError


class Small(torch.nn.Module):
    """Channels of the image and its grey edges.

    `traced` computes the edges in NumPy, outside of what a trace sees, and joins them with the channels "first" or
    "last" (as BNext's code does).
    """

    def __init__(self, traced: str = "") -> None:
        super().__init__()
        self.traced = traced
        self.conv = torch.nn.Conv2d(5, 4, 3, stride=2)
        self.fc = torch.nn.Linear(4, 1)

    def forward(self, rgb):
        grey = rgb.mean(dim=1, keepdim=True)
        if self.traced:
            extra = torch.from_numpy(np.stack([np.gradient(grey[:, 0].numpy(), axis=axis) for axis in (1, 2)], axis=1))
            extra = extra * 9 - 1
            if self.traced == "last":
                both = torch.cat([rgb.permute(0, 2, 3, 1), extra.permute(0, 2, 3, 1)], dim=-1)
                return self.head(both.permute(0, 3, 1, 2))
        else:
            extra = torch.cat([grey - grey.roll(1, 2), grey - grey.roll(1, 3)], dim=1)
        return self.head(torch.cat([rgb, extra], dim=1))

    def head(self, channels):
        return self.fc(self.conv(channels).relu().mean(dim=(2, 3)))


def export(network: torch.nn.Module, path, *, batch: int = 1, free: bool = True, folding: bool = True):
    """By tracing, as detectors of 2024 and 2025 were exported."""
    image = torch.rand(batch, 3, 40, 40, generator=torch.Generator().manual_seed(9))
    axes = {"input": {0: "batch_size"}, "output": {0: "batch_size"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of exactly what is tested here
        torch.onnx.export(
            network.eval(), (image,), path, dynamo=False, opset_version=16, do_constant_folding=folding,
            input_names=["input"], output_names=["output"], dynamic_axes=axes,
        )  # fmt: skip
    return path


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 40, 40, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("free", [True, False])
def test_answers_equal_those_of_the_exported_network(tmp_path, free):
    torch.manual_seed(0)
    network = Small()
    ours = onnx_model.load(export(network, tmp_path / "whole.onnx", free=free))
    assert ours.one_by_one is not free  # a batch fixed to one image
    with torch.inference_mode():
        torch.testing.assert_close(ours(images(5)), network(images(5)), rtol=0, atol=1e-5)
    assert len(ours(images(5)).unique()) == 5


@pytest.mark.parametrize("folding", [True, False])
@pytest.mark.parametrize(("traced", "shape"), [("first", "1x2x40x40"), ("last", "1x40x40x2")])
def test_channels_frozen_by_tracing_are_found(tmp_path, folding, traced, shape):
    torch.manual_seed(0)
    network = Small(traced)
    path = export(network, tmp_path / "frozen.onnx", folding=folding)
    assert shape in onnx_model.frozen_channels(path)
    with pytest.raises(DfdError, match="do not change with the image") as refused:
        onnx_model.load(path)
    assert "accept_frozen" in refused.value.hint
    frozen = onnx_model.load(path, accept_frozen=True)
    with torch.inference_mode():
        # The image that it was traced with is scored rightly, others are not: that is the trap.
        torch.testing.assert_close(frozen(images(1, seed=9)), network(images(1, seed=9)), rtol=0, atol=1e-5)
        assert (frozen(images(4)) - network(images(4))).abs().max() > 1e-4


def test_channels_computed_within_the_file_are_not_taken_for_frozen(tmp_path):
    path = export(Small(), tmp_path / "whole.onnx")
    assert onnx_model.frozen_channels(path) is None
    assert onnx_model.load(path, accept_frozen=True).one_by_one is False


def write(path, nodes, constants=(), shape=(1, 3, 64, 64), kind=TensorProto.FLOAT, inputs=1):
    """An ONNX file of hand-made nodes from "input" to "output"."""
    named = [helper.make_tensor_value_info("input" if i == 0 else f"input{i}", kind, shape) for i in range(inputs)]
    output = helper.make_tensor_value_info("output", kind, None)
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants]
    graph = helper.make_graph(nodes, "hand-made", named, [output], initializer=tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), path)
    return path


PLANE = np.zeros((1, 2, 64, 64))


@pytest.mark.parametrize(
    ("nodes", "constants", "found"),
    [
        ([("Concat", ["input", "plane"], {"axis": 1})], [("plane", PLANE)], "1x2x64x64"),
        ([("Concat", ["plane", "input"], {"axis": 1})], [("plane", PLANE)], "1x2x64x64"),
        # Computed from a constant first, and joined to what was computed from the input.
        (
            [
                ("Div", ["plane", "scale"], {}, "small"),
                ("Relu", ["input"], {}, "positive"),
                ("Concat", ["positive", "small"], {"axis": 1}),
            ],
            [("plane", PLANE), ("scale", 255.0)],
            "1x2x64x64",
        ),
        # A mean image is subtracted, not joined; a class token is no plane; two constants make no channel of the image.
        ([("Sub", ["input", "mean"], {})], [("mean", np.zeros((1, 3, 64, 64)))], None),
        ([("Concat", ["input", "token"], {"axis": 2})], [("token", np.zeros((1, 3, 1, 64)))], None),
        (
            [
                ("Concat", ["plane", "plane"], {"axis": 1}, "planes"),
                ("ReduceMean", ["planes"], {"keepdims": 0}, "number"),
                ("Add", ["input", "number"], {}),
            ],
            [("plane", PLANE)],
            None,
        ),
    ],
)
def test_hand_made_graphs(tmp_path, nodes, constants, found):
    made = [
        helper.make_node(kind, inputs, outputs or ["output"], **attributes)
        for kind, inputs, attributes, *outputs in nodes
    ]
    path = write(tmp_path / "hand.onnx", made, constants)
    answer = onnx_model.frozen_channels(path)
    assert answer is None if found is None else found in answer


@pytest.mark.parametrize(
    ("size", "plane", "found"),
    [
        (("n", 3, "height", "width"), (1, 1, 64, 48), True),
        (("n", 3, "height", "width"), (1, 1, 8, 8), False),
        (("n", 3, 8, 8), (1, 1, 8, 8), True),
        (("n", 3, 64, 64), (1, 2, 48, 48), False),
        (("n", 3, 64, 64), (1, 100, 64, 64), False),
        (("n", 3, 64, 64), (2, 64, 64), True),
        (("n", 3, 64, 64), (4, 2, 64, 64), False),
    ],
)
def test_planes_are_known_by_the_inputs_size(tmp_path, size, plane, found):
    joined = helper.make_node("Concat", ["input", "plane"], ["output"], axis=1)
    path = write(tmp_path / "sizes.onnx", [joined], [("plane", np.zeros(plane))], shape=size)
    assert (onnx_model.frozen_channels(path) is not None) is found


def test_a_plane_in_a_constant_node_is_found(tmp_path):
    plane = helper.make_node("Constant", [], ["plane"], value=numpy_helper.from_array(PLANE.astype(np.float32)))
    path = write(tmp_path / "node.onnx", [plane, helper.make_node("Concat", ["input", "plane"], ["output"], axis=1)])
    assert "1x2x64x64" in onnx_model.frozen_channels(path)


def test_names_and_shapes_are_those_that_package_onnx_reads(tmp_path):
    path = export(Small(), tmp_path / "whole.onnx")
    ours, theirs = onnx_model._read_graph(path), onnx.load(path).graph
    assert ours.inputs == [value.name for value in theirs.input]
    assert ours.constants == {tensor.name: tuple(tensor.dims) for tensor in theirs.initializer}
    assert [(n.kind, n.inputs, n.outputs) for n in ours.nodes] == [
        (n.op_type, list(n.input), list(n.output)) for n in theirs.node
    ]


def test_channels_last(tmp_path):
    nodes = [helper.make_node("ReduceMax", ["input"], ["output"], axes=[1, 2], keepdims=0)]
    network = onnx_model.load(write(tmp_path / "last.onnx", nodes, shape=("n", 64, 64, 3)))
    x = torch.rand(4, 3, 64, 64)
    assert torch.equal(network(x), x.amax(dim=(2, 3)))


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": ("n", 4, 64, 64)},
        {"shape": ("n", 3, 64)},
        {"shape": (8, 3, 64, 64)},
        {"kind": TensorProto.DOUBLE},
        {"inputs": 2},
    ],
)
def test_inputs_that_are_not_a_detectors_are_refused(tmp_path, changes):
    path = write(tmp_path / "other.onnx", [helper.make_node("Relu", ["input"], ["output"])], **changes)
    with pytest.raises(DfdError, match="does not take images as a detector does"):
        onnx_model.load(path)


def test_broken_files_are_refused(tmp_path):
    whole = export(Small(), tmp_path / "whole.onnx").read_bytes()
    for size in (0, 1, 7, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        with pytest.raises(DfdError):
            onnx_model.load(tmp_path / "cut.onnx")
    (tmp_path / "text.onnx").write_text("<!DOCTYPE html><html>Too many people have downloaded this file</html>")
    with pytest.raises(DfdError, match="not an ONNX file"):
        onnx_model.load(tmp_path / "text.onnx")

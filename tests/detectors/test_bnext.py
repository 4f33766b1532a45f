"""BNext against its formulas, an exact integer convolution, and reference outputs of the original detector."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import pickle
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from dfdlib.detectors import bnext
from dfdlib.detectors.bnext import BinaryConv, BNext, Unit
from dfdlib.errors import DfdError

TINY = (16, 32, 32, 64, 64)
on_x86 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="bit equality is known for x86 CPUs only"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def randomised(module: torch.nn.Module, seed: int = 0, temperature: float = 1e-8) -> torch.nn.Module:
    """Random weights and statistics at which every branch matters, in evaluation mode."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("temperature"):
                tensor.fill_(temperature)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=random)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.5, generator=random)
    return module.eval()


def images(count: int, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# --- architecture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "parameters", "keys"),
    [("T", 29_838_399, 663), ("S", 67_059_289, 663), ("M", 132_966_649, 999), ("L", 324_499_827, 1335)],
)
def test_sizes(size: str, parameters: int, keys: int) -> None:
    with torch.device("meta"):
        network = BNext(size)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == keys
    assert network.stride == 32


def test_names_are_those_of_the_published_checkpoints() -> None:
    with torch.device("meta"):
        names = BNext("T").state_dict().keys()
    norm = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
    unit = (
        rf"(scale|move\.bias|binary_activation\.temperature|binary_conv\.(weight|temperature)|norm[12]\.{norm}"
        r"|activation[12]\.weight|se\.se\.[13]\.(weight|bias))"
    )
    feature = rf"0\.(conv1\.weight|bn1\.{norm}|prelu\.weight)|([1-9]|1[0-3])\.(Attention|FFN|FFN_1|FFN_2)\.{unit}"
    pattern = re.compile(rf"(adapter|fc)\.(weight|bias)|base_model\.(prelu\.weight|feature\.({feature}))")
    assert [name for name in names if not pattern.fullmatch(name)] == []
    # All but one block of width 64, one of 128, 256 and 512 (which double the width) have a single 1x1 unit.
    assert {name.split(".")[2] for name in names if ".FFN_2." in name} == {"1", "2", "4", "6", "12"}


def test_resolution_halves_where_the_width_doubles() -> None:
    network = BNext(widths=(8, 16, 16, 32, 32, 64)).eval()
    seen: list[tuple[int, ...]] = []
    for layer in network.base_model.feature:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    with torch.no_grad():
        assert network.features(images(2, 64)).shape == (2, 64)
    assert seen == [(8, 32, 32), (16, 32, 32), (16, 32, 32), (32, 16, 16), (32, 16, 16), (64, 8, 8)]
    assert network.stride == 8


@pytest.mark.parametrize("widths", [(), (16,), (12, 24), (16, 48), (16, 32, 16), (0, 0)])
def test_widths_that_cannot_be_built_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(DfdError, match="widths"):
        BNext(widths=widths)


@pytest.mark.parametrize("size", ["XL", "t", None])
def test_unknown_sizes_are_refused(size: str | None) -> None:
    with pytest.raises(DfdError, match="no size"):
        BNext(size)


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(DfdError, match="sobel"):
        BNext(widths=TINY, channels=("sobel",))


@pytest.mark.parametrize("shape", [(1, 3, 61, 64), (1, 3, 64, 30), (3, 64, 64)])
def test_images_of_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DfdError, match="do not fit") as refused:
        BNext(widths=TINY)(torch.zeros(shape))
    assert "multiple of 4" in refused.value.hint


@pytest.mark.parametrize("channels", [(), ("lbp",), ("magnitude", "fft", "lbp")])
def test_channels_widen_the_adapter(channels: tuple[str, ...]) -> None:
    network = randomised(BNext(widths=TINY, channels=channels))
    assert ("adapter.weight" in network.state_dict()) == bool(channels)
    if channels:
        assert network.adapter.weight.shape == (3, 3 + len(channels), 3, 3)
    with torch.no_grad():
        logits = network(images(2))
    assert logits.shape == (2, 1) and logits.isfinite().all()


# --- formulas ---------------------------------------------------------------------------------------------------------


def by_formula(unit: Unit, x: torch.Tensor) -> torch.Tensor:
    """The unit in float64, written from the paper: evaluation, binary weights."""
    state = {name: tensor.double() for name, tensor in unit.state_dict().items()}

    def norm(name: str, t: torch.Tensor) -> torch.Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (t - mean) / (var + 1e-5).sqrt() * weight + bias

    def prelu(name: str, t: torch.Tensor) -> torch.Tensor:
        return torch.where(t > 0, t, t * state[f"{name}.weight"].view(1, -1, 1, 1))

    def halved(t: torch.Tensor) -> torch.Tensor:
        return sum(t[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4 if unit.stride == 2 else t

    signs, weights = (x.double() + state["move.bias"]).sign(), state["binary_conv.weight"].sign()
    out = F.conv2d(signs, weights, stride=unit.stride, padding=unit.kernel // 2)
    out = prelu("activation2", norm("norm1", out))
    shortcut = halved(prelu("activation1", x.double()) if unit.attention else x.double())
    share = state["scale"].clamp(0, 1) if unit.kernel == 1 else state["scale"]
    means = (share * halved(x.double()) + (1 - share) * out).mean((2, 3))
    hidden = (means @ state["se.se.1.weight"].flatten(1).T + state["se.se.1.bias"]).relu()
    gate = (hidden @ state["se.se.3.weight"].flatten(1).T + state["se.se.3.bias"]).sigmoid()[:, :, None, None]
    out = gate * out * (shortcut if unit.attention else 1)
    return norm("norm2", out) + shortcut


@pytest.mark.parametrize(
    "kind",
    [
        {"kernel": 1},
        {"kernel": 3},
        {"kernel": 3, "stride": 2},
        {"kernel": 3, "attention": True},
        {"kernel": 3, "stride": 2, "attention": True},
    ],
    ids=str,
)
def test_unit_follows_its_formula(kind: dict[str, Any]) -> None:
    unit = randomised(Unit(24, **kind))
    assert ((unit.scale < 0) | (unit.scale > 1)).any()  # the clamp matters
    x = torch.randn(3, 24, 10, 14, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(unit(x).double(), by_formula(unit, x), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("in_bytes", [True, False])
@pytest.mark.parametrize(("width", "kernel", "stride"), [(8, 3, 1), (24, 1, 1), (48, 3, 2), (64, 1, 1), (96, 3, 1)])
def test_binary_convolution_is_exact(
    width: int, kernel: int, stride: int, in_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_bytes:
        monkeypatch.setattr(bnext, "_bytes_serve", lambda signs: False)
    convolve = randomised(BinaryConv(width, kernel, stride), seed=width)
    with torch.no_grad():
        convolve.weight[0, :3] = 0  # sign(0) = 0
    random = torch.Generator().manual_seed(6)
    for count, height, side in ((1, 15, 9), (3, 15, 9), (2, 8, 16)):
        signs = torch.randint(-1, 2, (count, width, height, side), generator=random).float()
        want = F.conv2d(signs.double(), convolve.weight.sign().double(), stride=stride, padding=kernel // 2)
        with torch.no_grad():
            assert torch.equal(convolve(signs).double(), want)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 1.1e-7])
def test_weights_above_the_last_temperature_are_clamped(temperature: float) -> None:
    convolve = randomised(BinaryConv(16, 3, 1), temperature=temperature)
    signs = torch.randn(2, 16, 9, 9, generator=torch.Generator().manual_seed(7)).sign()
    with torch.no_grad():
        convolve.weight[0] = 3e-8  # between the clamps at every temperature
        weights = (convolve.weight.double() / temperature).clamp(-1, 1)
        want = F.conv2d(signs.double(), weights, padding=1)
        torch.testing.assert_close(convolve(signs).double(), want, rtol=1e-5, atol=1e-4)


# --- evaluation -------------------------------------------------------------------------------------------------------


@on_x86
@pytest.mark.parametrize("widths", [TINY, (24, 48, 48, 96)])  # not a multiple of the vector width, too
def test_an_image_scores_the_same_in_any_batch(widths: tuple[int, ...]) -> None:
    network = randomised(BNext(widths=widths, channels=("magnitude", "fft", "lbp")))
    batch = images(7)
    with torch.inference_mode():
        alone = torch.cat([network(image) for image in batch.split(1)])
        assert alone.unique().numel() == len(batch)
        assert torch.equal(network(batch), alone)
        assert torch.equal(torch.cat([network(part) for part in batch.split(3)]), alone)
    assert torch.equal(network(batch), alone)  # with gradients on


def test_bytes_and_floats_score_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network = randomised(BNext(widths=TINY))
    with torch.inference_mode():
        ours = network(images(3))
        monkeypatch.setattr(bnext, "_bytes_serve", lambda signs: False)
        assert torch.equal(network(images(3)), ours)


def test_prepared_weights_follow_every_change() -> None:
    network, other = (randomised(BNext(widths=TINY), seed=seed) for seed in (1, 2))
    batch = images(2)

    def fresh() -> torch.Tensor:
        """What a new network with the same state says."""
        twin = BNext(widths=TINY).eval()
        twin.load_state_dict(network.state_dict())
        return twin(batch)

    with torch.no_grad():
        said = [network(batch)]
        network.load_state_dict(other.state_dict())
        said.append(network(batch))
        network.base_model.feature[2].FFN.binary_conv.weight.neg_()
        said.append(network(batch))
        network.set_temperature(2.0)
        said.append(network(batch))
        assert torch.equal(said[-1], fresh())
        network.set_temperature(1e-8)
        assert torch.equal(network(batch), said[2])
    assert torch.unique(torch.cat(said)).numel() == 8
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(batch).sum().backward()
    optimizer.step()
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(batch), fresh())


def test_a_used_network_can_be_copied_and_pickled() -> None:
    network = randomised(BNext(widths=TINY))
    with torch.inference_mode():
        want = network(images(1))
        assert torch.equal(copy.deepcopy(network)(images(1)), want)
        assert torch.equal(pickle.loads(pickle.dumps(network))(images(1)), want)


def test_evaluation_leaves_the_state_alone() -> None:
    network = randomised(BNext(widths=TINY))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        network(images(2))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_load_reads_a_lightning_checkpoint_and_signs_stored_as_bytes(tmp_path: Path) -> None:
    network = randomised(BNext(widths=TINY, channels=("lbp",)))
    state = network.state_dict()
    signs = {name: t.sign().to(torch.int8) if name.endswith("binary_conv.weight") else t for name, t in state.items()}
    torch.save({"state_dict": signs, "hyper_parameters": {"backbone": "BNext-T"}}, tmp_path / "small.ckpt")
    loaded = bnext.load(tmp_path / "small.ckpt", widths=TINY, channels=("lbp",))
    with torch.no_grad():
        assert torch.equal(loaded(images(2)), network(images(2)))


def test_load_refuses_another_architecture(tmp_path: Path) -> None:
    torch.save(BNext(widths=TINY).state_dict(), tmp_path / "small.pt")
    with pytest.raises(DfdError, match=r"small\.pt"):
        bnext.load(tmp_path / "small.pt", widths=(16, 32, 32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_other_device_scores_alike() -> None:
    network = randomised(BNext(widths=TINY))
    with torch.inference_mode():
        here = network(images(32))
        there = network.cuda()(images(32).cuda()).cpu()
    assert (here - there).abs().median() < 1e-5


# --- training ---------------------------------------------------------------------------------------------------------


def test_gradients_pass_straight_through_both_signs() -> None:
    convolve, sign = BinaryConv(8, 3, 1), bnext.Sign()
    with torch.no_grad():
        convolve.weight.normal_(0, 0.5)
        convolve.temperature.fill_(1e-8)
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(8)) * 1.5
    x.requires_grad_()
    weigh = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(9))
    (convolve.train()(sign(x)) * weigh).sum().backward()

    signs = x.detach().sign().requires_grad_()
    weights = convolve.weight.detach().sign().requires_grad_()
    (F.conv2d(signs, weights, padding=1) * weigh).sum().backward()
    assert torch.equal(convolve.weight.grad, weights.grad)
    inside = x.detach().abs() <= 1.5
    assert 0 < inside.float().mean() < 1
    torch.testing.assert_close(x.grad, torch.where(inside, signs.grad, 0.0))


def test_training_keeps_weights_and_scales_in_their_range() -> None:
    network = randomised(BNext(widths=TINY))
    with torch.no_grad():
        network.base_model.feature[1].FFN_1.binary_conv.weight.mul_(10)
    network.train()(images(2))
    for name, tensor in network.state_dict().items():
        if name.endswith("binary_conv.weight"):
            assert tensor.abs().max() <= 1.5
        if name.endswith(".scale"):
            assert tensor.min() >= 0 and tensor.max() <= 1


@pytest.mark.parametrize("temperature", [1.0, 1e-8])
def test_a_small_network_learns(temperature: float) -> None:
    torch.manual_seed(0)
    network = BNext(widths=(8, 16, 16, 32)).train()
    network.set_temperature(temperature)
    batch, real = images(8, 32), torch.arange(8).remainder(2).float()[:, None]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = F.binary_cross_entropy_with_logits(network(batch), real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    unmoved = {n for n, p in network.named_parameters() if p.grad is None}
    assert losses[-1] < 0.5 * losses[0]
    # Only what no computation uses goes without a gradient.
    assert all(n.endswith(("feature.0.prelu.weight", "activation1.weight")) for n in unmoved)


def test_evaluation_hands_gradients_to_the_image() -> None:
    network = randomised(BNext(widths=TINY))
    x = images(2).requires_grad_()
    logits = network(x)
    logits.sum().backward()
    assert (x.grad != 0).float().mean() > 0.5
    with torch.no_grad():
        assert torch.equal(network(x), logits)


# --- reference outputs of the original --------------------------------------------------------------------------------

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "BNext-M": ("M", ("fft", "lbp")),
    "BNext-T+mag+fft+lbp": ("T", ("magnitude", "fft", "lbp")),
}


@pytest.fixture(scope="module")
def goldens(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "goldens" / "goldens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def recipe(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("weights_recipe", shared / "goldens" / "weights_recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden_image(shared: Path, name: str) -> torch.Tensor:
    """(1, 3, 224, 224): short side 252, bilinear by PIL, centre 224, / 255."""
    folders = shared / "goldens" / "images", shared / "data" / "openforensics"
    (path,) = (path for folder in folders for path in folder.rglob(name))
    with Image.open(path) as image:
        pixels = np.array(TF.center_crop(TF.resize(image.convert("RGB"), 252), 224))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float().div(255)


def same_cpu_class(goldens: dict[str, Any]) -> bool:
    """Whether bits can be asked for: the torch version, vector width and maker of the CPU of the reference outputs."""
    cpuinfo = Path("/proc/cpuinfo")
    maker = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else platform.processor()
    versions = goldens["versions"]
    return (
        "AuthenticAMD" in maker
        and torch.backends.cpu.get_cpu_capability() == versions["cpu"]
        and torch.__version__.split("+")[0] == versions["torch"].split("+")[0]
    )


def observed(network: BNext, image: torch.Tensor) -> dict[str, Any]:
    """What the reference outputs record of one image."""
    seen: dict[str, Any] = {"positive_signs_per_binary_activation": []}
    signs = seen["positive_signs_per_binary_activation"]
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: signs.append(int((output > 0).sum())))
        for name, module in network.named_modules()
        if name.endswith("binary_activation")
    ]
    parts = {"adapter": network.adapter, "first_conv_bn": network.base_model.feature[0], "features": network.base_model}
    for part, module in parts.items():
        hooks.append(module.register_forward_hook(lambda m, i, out, part=part: seen.__setitem__(part, out[0].numpy())))
    with torch.inference_mode():
        seen["logit"] = network(image).item()
    for hook in hooks:
        hook.remove()
    return seen


def check_image(got: dict[str, Any], want: dict[str, Any], exact: bool) -> None:
    """Adapter, stem and features: bytes on the same CPU class; else samples, up to the first sign that may flip."""
    for part in ("adapter", "first_conv_bn", "features"):
        array = np.ascontiguousarray(got[part])
        assert list(array.shape) == want[part]["shape"]
        if exact:
            assert hashlib.sha256(array.tobytes()).hexdigest() == want[part]["sha256_f32"]
        elif part != "features":
            samples = array.ravel()[[(2 * i + 1) * array.size // 16 for i in range(8)]]
            np.testing.assert_allclose(samples, want[part]["sampled"], rtol=1e-5, atol=4e-6)
    counts, expected = (np.array(x["positive_signs_per_binary_activation"]) for x in (got, want))
    if exact:
        assert np.array_equal(counts, expected)
        assert f"{got['logit']:.7g}" == f"{want['logit']:.7g}"
    else:
        assert abs(counts[0] - expected[0]) <= 2
        np.testing.assert_allclose(counts, expected, rtol=0.01)


def check_variant(network: BNext, reference: dict[str, Any], exact: bool, shared: Path) -> None:
    differences = []
    for name, want in reference.items():
        got = observed(network, golden_image(shared, name))
        check_image(got, want, exact)
        differences.append(abs(got["logit"] - want["logit"]))
    # Other CPUs round otherwise: most logits move by about 1e-6, one whose image flips a sign jumps.
    assert np.median(differences) < 1e-5
    assert np.mean(np.array(differences) > 1e-3) < 0.5


@pytest.fixture(scope="module")
def bnext_t(recipe: ModuleType) -> BNext:
    return recipe.fill_(BNext("T").eval())


def test_filled_network_has_the_digest_of_the_original(bnext_t: BNext, recipe: ModuleType) -> None:
    assert recipe.digest(bnext_t).startswith("82bc07802baef942")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "prefix"), [("S", "38d37fc99a5bb638"), ("M", "f42f403ce58d9ea4"), ("L", "f01b112ccfd8b333")]
)
def test_larger_filled_networks_have_the_digest_of_the_original(size: str, prefix: str, recipe: ModuleType) -> None:
    assert recipe.digest(recipe.fill_(BNext(size))).startswith(prefix)


def test_bnext_t_equals_the_original(bnext_t: BNext, goldens: dict[str, Any], shared: Path) -> None:
    reference = goldens["models"]["BNext-T"]["images"]
    assert len(reference) == 24
    check_variant(bnext_t, reference, same_cpu_class(goldens), shared)


@pytest.mark.parametrize("count", [3, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", ["BNext-M", "BNext-T+mag+fft+lbp"])
def test_variants_equal_the_original(
    variant: str, count: int, goldens: dict[str, Any], recipe: ModuleType, shared: Path
) -> None:
    size, channels = VARIANTS[variant]
    network = recipe.fill_(BNext(size, channels=channels).eval())
    reference = goldens["models"][variant]
    assert len(reference["images"]) == 24
    some = dict(list(reference["images"].items())[:: 24 // count])
    check_variant(network, some, same_cpu_class(goldens), shared)


@on_x86
def test_a_batch_equals_the_original_image_by_image(bnext_t: BNext, goldens: dict[str, Any], shared: Path) -> None:
    reference = dict(list(goldens["models"]["BNext-T"]["images"].items())[:5])
    batch = torch.cat([golden_image(shared, name) for name in reference])
    with torch.inference_mode():
        logits = bnext_t(batch)
        assert torch.equal(logits, torch.cat([bnext_t(image) for image in batch.split(1)]))
    if same_cpu_class(goldens):
        wanted = [f"{image['logit']:.7g}" for image in reference.values()]
        assert [f"{logit:.7g}" for logit in logits.flatten().tolist()] == wanted

"""Trains the three small detectors that come with the project: `python -m dfdlib.sample.train [--only NAME]`.

Each forged picture of the sample set's train split is shown beside the untouched picture that it was made from: what
differs within a pair is the trace alone. Networks are stored in `weights/`; sha256, size and the figures measured on
the test split go into the cards. Equal weights come out of equal machines with equal thread counts.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch.nn import functional as F

from dfdlib import detectors, digests, metrics
from dfdlib.detectors import card as cards
from dfdlib.detectors.prepare import prepare, to_tensor
from dfdlib.paths import SHIPPED_WEIGHTS, written_whole
from dfdlib.sample import networks
from dfdlib.sample.camera import FINAL_QUALITY, encode
from dfdlib.sample.forge import KINDS, before_and_after
from dfdlib.sample.writer import COUNTS, Item, items, numbers

SEED = 0  # of the sample set
PAIRS = 16  # in a batch
SOURCE = "python -m dfdlib.sample.train"


@dataclass(frozen=True)
class Recipe:
    """How one detector is trained."""

    start: Callable[[dict[str, Any], torch.Tensor], torch.nn.Module]
    store: Callable[[torch.nn.Module, Path], None]
    epochs: int
    rate: float
    decay: float
    flip: bool = True


RECIPES = {
    "sample-bnext": Recipe(networks.bnext, networks.store_tensors, epochs=5, rate=3e-3, decay=0.0),
    "sample-vit": Recipe(networks.vit, networks.store_tensors, epochs=20, rate=1.5e-3, decay=0.05),
    "sample-cnn": Recipe(networks.cnn, networks.store_keras, epochs=4, rate=1e-3, decay=0.05),
}


def both(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """An image of the set and the untouched picture behind it, as decoded from their files: uint8 (256, 256, 3)."""
    before, after = before_and_after(numbers(SEED, *item), item[1])
    files = (io.BytesIO(encode(pixels, FINAL_QUALITY)) for pixels in (after, before))
    forged, original = (np.asarray(Image.open(file).convert("RGB")) for file in files)
    return forged, original


def draw(wanted: Iterable[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Those images and the untouched pictures behind them, each uint8 (n, 256, 256, 3)."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        images, originals = zip(*pool.map(both, wanted, chunksize=20), strict=True)
    return np.stack(images), np.stack(originals)


def fit(
    recipe: Recipe, arguments: dict[str, Any], how: cards.Input, positive: str, pairs: tuple[np.ndarray, np.ndarray]
) -> torch.nn.Module:
    """A trained network.

    Args:
        recipe: of the detector.
        arguments: of its architecture, from the card.
        how: the card's input.
        positive: the label that a high logit means.
        pairs: forged and untouched images, uint8 (n, height, width, 3).
    """
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    forged, untouched = (np.stack([prepare(image, how) for image in images]) for images in pairs)
    network = recipe.start(arguments, to_tensor(untouched[:64], how, "cpu")).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    batch = min(PAIRS, len(forged))
    steps = len(forged) // batch
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.epochs * steps, pct_start=0.2)
    fake = torch.cat([torch.ones(batch), torch.zeros(batch)])
    target = fake if positive == "fake" else 1.0 - fake
    for epoch in range(recipe.epochs):
        started, total, order = time.monotonic(), 0.0, rng.permutation(len(forged))
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            images = np.concatenate([forged[chosen], untouched[chosen]])
            if recipe.flip and rng.random() < 0.5:
                images = np.ascontiguousarray(images[:, :, ::-1])
            inputs = to_tensor(images, how, "cpu").contiguous(memory_format=torch.channels_last)
            loss = F.binary_cross_entropy_with_logits(network(inputs).flatten(), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            pace.step()
            total += loss.item()
        seconds = time.monotonic() - started
        print(f"  epoch {epoch + 1}/{recipe.epochs}: loss {total / steps:.4f}, {seconds:.0f} s", flush=True)
    return network.eval()


def logits(card: cards.Card, images: np.ndarray) -> np.ndarray:
    """Logits of fake, (n,), by the detector as users load it."""
    detector = detectors.load(card, "cpu")
    prepared = np.stack([prepare(image, card.input) for image in images])
    return np.concatenate([detector.logits(prepared[at : at + 50]) for at in range(0, len(prepared), 50)])


def claims(scores: np.ndarray, kinds: np.ndarray) -> list[dict[str, Any]]:
    """AUC and accuracy over all images, and the AUC of each forgery against all real ones, as a card's claims."""

    def claim(metric: str, value: float, n: int, note: str) -> dict[str, Any]:
        figures = {"metric": metric, "value": round(float(value), 4), "n": n}
        return {"dataset": "sample", **figures, "source": SOURCE, "note": f"test split, seed {SEED}, {note}"}

    labels = (kinds != "real").astype(int)
    right = ((scores > 0) == (labels == 1)).mean()
    found = [
        claim("auc", metrics.auc(labels, scores), len(labels), "no crop"),
        claim("accuracy", right, len(labels), "no crop, threshold 0.5"),
    ]
    for kind in KINDS:
        chosen = (kinds == "real") | (kinds == kind)
        value = metrics.auc(labels[chosen], scores[chosen])
        found.append(claim("auc", value, int(chosen.sum()), f"no crop, {kind} against real"))
    return found


def write_card(path: Path, values: dict[str, Any]) -> None:
    """Writes a card, short lists on one line."""
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    cards._read.cache_clear()


def train(name: str, pairs: tuple[np.ndarray, np.ndarray], test: np.ndarray, kinds: np.ndarray) -> None:
    """Trains one detector, stores its weights, and brings its card up to date."""
    path, recipe = cards.CARDS / f"{name}.yaml", RECIPES[name]
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    how = cards.Input.model_validate(values["input"])
    print(name, flush=True)
    network = fit(recipe, values.get("arguments", {}), how, values["output"]["positive"], pairs)
    file = SHIPPED_WEIGHTS / values["weights"]["file"]
    SHIPPED_WEIGHTS.mkdir(exist_ok=True)
    recipe.store(network, file)
    values["weights"] |= {"sha256": digests.of_file(file), "bytes": file.stat().st_size}
    write_card(path, values | {"claims": []})
    values["claims"] = claims(logits(cards.read(name), test), kinds)
    write_card(path, values)
    for claim in values["claims"]:
        print(f"  {claim['metric']} {claim['value']} ({claim['note']})", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Trains the detectors of the sample set on the CPU.")
    parser.add_argument("--only", choices=sorted(RECIPES), help="one detector instead of all")
    only = parser.parse_args().only
    torch.set_num_threads(2)
    pairs = draw([item for item in items({"train": COUNTS["train"]}) if item[1] != "real"])
    wanted = list(items({"test": COUNTS["test"]}))
    test, kinds = draw(wanted)[0], np.array([kind for _, kind, _ in wanted])
    for name in [only] if only else RECIPES:
        train(name, pairs, test, kinds)


if __name__ == "__main__":
    main()

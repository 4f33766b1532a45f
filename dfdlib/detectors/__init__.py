"""Detectors: a card and its weights become a function from images to logits of fake.

An architecture is a module of this package, named by the card, with `load(weights: Path, **arguments) -> nn.Module`;
the module takes float32 (n, 3, height, width) as the card's input says and answers as the card's output says.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dfdlib import runtime
from dfdlib.detectors.card import Card, Output
from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import numpy as np

ARCHITECTURES = (
    "bnext",
    "clip-linear",
    "cnn3",
    "keras-efficientnetv2b0",
    "keras-model",
    "meso",
    "npr",
    "onnx-model",
    "resnet50",
    "timm-vit",
    "transformers-vit",
)


@dataclass
class Detector:
    """A loaded detector. `logits` is all that scoring needs of it."""

    card: Card
    device: str
    network: Any = field(repr=False)
    halvings: int = 0  # times that a batch did not fit the memory

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """Logits of fake.

        A batch that does not fit the device's memory is halved until it does.

        Args:
            batch: uint8 (n, height, width, 3), prepared as the card says.

        Returns:
            float64 (n,), natural-log odds of fake; infinite where the network's probability is 0 or 1.

        Raises:
            DfdError: a single image does not fit the memory.
        """
        import numpy as np

        try:
            return to_logit(self.answer(batch), self.card.output)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if len(batch) == 1:
                raise DfdError(
                    f"{self.card.name}: one image does not fit the memory of '{self.device}'.",
                    "Free memory, or compute on the CPU: --device cpu",
                ) from error
        self.halvings += 1
        half = len(batch) // 2
        return np.concatenate([self.logits(batch[:half]), self.logits(batch[half:])])

    def answer(self, batch: np.ndarray) -> np.ndarray:
        """What the network answers to a prepared batch, as it is: float32 (n, units)."""
        import torch

        from dfdlib.detectors.prepare import to_tensor

        with torch.inference_mode():
            return self.network(to_tensor(batch, self.card.input, self.device)).float().cpu().numpy()


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def to_logit(answer: np.ndarray, output: Output) -> np.ndarray:
    """A network's answer as logits of fake.

    Args:
        answer: float (n, 1), (n,) or (n, 2).
        output: the card's output.

    Returns:
        float64 (n,).

    Raises:
        DfdError: the answer does not have the number of units that the card states.
    """
    import numpy as np

    answer = np.asarray(answer, dtype=np.float64).reshape(len(answer), -1)
    units = 2 if output.classes else 1
    if answer.shape[1] != units:
        raise DfdError(
            f"The network answers {answer.shape[1]} values an image, the card says {units}.",
            "Mend the card's output (kind, positive or classes).",
        )
    with np.errstate(divide="ignore"):  # a probability of 0 or 1 is an infinite logit, and meant so
        if output.classes:
            values = np.log(answer) if output.kind == "probabilities" else answer
            fake = output.classes.index("fake")
            return values[:, fake] - values[:, 1 - fake]
        values = answer[:, 0]
        if output.kind == "probability":
            values = np.log(values) - np.log1p(-values)
    return values if output.positive == "fake" else -values


def load(card: Card, device: str = "auto") -> Detector:
    """Loads a detector: checks its weights against the card, builds the network, fills it whole.

    Raises:
        DfdError: weights missing or not those of the card, unknown architecture, a file that does not fit.
    """
    from dfdlib import weights

    if card.architecture not in ARCHITECTURES:
        raise DfdError(
            f"{card.path}: unknown architecture '{card.architecture}'.",
            f"Architectures are: {', '.join(ARCHITECTURES)}",
        )
    path = weights.checked(card)
    name = runtime.device(device)
    runtime.check_device(name)
    module = importlib.import_module(f"dfdlib.detectors.{card.architecture.replace('-', '_')}")
    try:
        network = module.load(path, **card.arguments)
    except TypeError as error:
        raise DfdError(
            f"{card.path}: arguments do not fit architecture '{card.architecture}': {error}.",
            "Mend the card's `arguments`.",
        ) from error
    return Detector(card, name, network.to(name))

"""A card to fill in, for a detector of one's own."""

from __future__ import annotations

import os
from pathlib import Path

from dfdlib import digests
from dfdlib.errors import DfdError
from dfdlib.paths import written_whole

TEMPLATE = """\
schema: 1
name: {name}
family: FILL-IN                  # bnext, vit or cnn
summary: FILL-IN                 # one sentence
architecture: {architecture}
arguments: {{}}                    # of the architecture
weights:
  source: {{kind: local}}          # a path beside this card
  file: {file}
  sha256: {sha256}
  bytes: {bytes}
  licence: FILL-IN
input:
  size: FILL-IN                  # [height, width] in pixels, such as [224, 224]
  resize: FILL-IN                # {{mode: exact, interpolation: bilinear}} or {{mode: short-side, size: 256}}
  crop: FILL-IN                  # center or none
  range: FILL-IN                 # unit (0..1) or byte (0..255)
  mean: [0.0, 0.0, 0.0]          # then (x - mean) / std
  std: [1.0, 1.0, 1.0]
output: FILL-IN                  # {{kind: logit, positive: fake}}, {{kind: logits, classes: [real, fake]}}, ...
trained_on: FILL-IN
claims: []
"""
ARCHITECTURES = {".keras": "keras-model", ".h5": "keras-model", ".onnx": "onnx-model"}


def write(card: Path, weights: Path) -> None:
    """Writes a card for a weights file; what the file cannot tell stands as FILL-IN, which no card may hold.

    Raises:
        DfdError: no such weights file, or the card exists.
    """
    if not weights.is_file():
        raise DfdError(f"{weights}: no such file.", "Give the path of the weights file: --weights FILE")
    if card.exists():
        raise DfdError(f"{card}: exists already.", "Choose another name, or remove it.")
    text = TEMPLATE.format(
        name="".join(c if c.isalnum() or c in "._-" else "-" for c in card.stem.lower()),
        architecture=ARCHITECTURES.get(weights.suffix.lower(), "FILL-IN           # timm-vit, cnn3, ..."),
        file=Path(os.path.relpath(weights.resolve(), card.resolve().parent)).as_posix(),
        sha256=digests.of_file(weights),
        bytes=weights.stat().st_size,
    )
    with written_whole(card) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""A look at what a detector is fed and what it answers, so that a wrong polarity or resize is seen at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdlib import detectors, images
from dfdlib.detectors.card import Card
from dfdlib.detectors.prepare import prepare, to_tensor
from dfdlib.faces import Profile
from dfdlib.verdict import verdict

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

TILE = 224


def try_out(
    card: Card, paths: list[Path], profile: Profile, device: str = "auto"
) -> tuple[list[dict[str, Any]], Image.Image]:
    """Runs a detector on a few images, one by one.

    Args:
        card: the detector.
        paths: image files.
        profile: crop profile.
        device: see `runtime.device`.

    Returns:
        A row for each image (what the network answered, P(fake), the verdict, the range of values it was fed, or why
        there is none) and a picture: left the image as it is, right what the network sees, stretched back to 0..255.

    Raises:
        DfdError: the detector or the face detector cannot be loaded.
    """
    import numpy as np
    from scipy.special import expit

    detector, cropper = detectors.load(card, device), profile.cropper()
    rows, pairs = [], []
    for path in paths:
        row: dict[str, Any] = dict.fromkeys(("image", "fed", "answer", "P(fake)", "verdict", "remark"))
        row["image"] = str(path)
        try:
            image = images.decode(images.read_bytes(path))
            fed = prepare(cropper(image).image, card.input)
        except images.Unreadable as reason:
            rows.append({**row, "remark": str(reason)})
            continue
        batch = np.stack([fed])
        tensor = to_tensor(batch, card.input, "cpu")
        answer = detector.answer(batch).ravel()
        p_fake = float(expit(detectors.to_logit(answer[None], card.output)[0]))
        rows.append(
            {
                **row,
                "fed": f"{fed.shape[1]} x {fed.shape[0]}, {tensor.min():.2f} to {tensor.max():.2f}",
                "answer": ", ".join(f"{value:.4f}" for value in answer),
                "P(fake)": f"{p_fake:.3f}",
                "verdict": verdict(p_fake) if np.isfinite(p_fake) else "error",
            }
        )
        pairs.append((image, fed))
    return rows, _picture(pairs)


def _picture(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Image.Image:
    from PIL import Image, ImageOps

    picture = Image.new("RGB", (2 * TILE + 4, max(1, len(pairs)) * (TILE + 4)), "white")
    for line, pair in enumerate(pairs):
        for column, pixels in enumerate(pair):
            tile = ImageOps.pad(Image.fromarray(pixels), (TILE, TILE), color="white")
            picture.paste(tile, (column * (TILE + 4), line * (TILE + 4)))
    return picture

"""Faces: a named crop profile finds the face in an image and cuts it out, or states its fallback.

A profile is one YAML file: the face detector and its arguments, which face, how much around it, and what happens
when none is found. A face detector is a module of this package with `make(**arguments)` that returns a function from
an image (uint8, height x width x 3, RGB, upright) to a list of `Face`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dfdlib import digests
from dfdlib.errors import DfdError

if TYPE_CHECKING:
    import numpy as np

PROFILES = Path(__file__).with_name("profiles")


class Face(NamedTuple):
    """A face's box in pixels of the upright image (x1 and y1 lie outside), and the detector's own score."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


class Crop(NamedTuple):
    """What a profile made of an image: the pixels to be scored, the chosen face (or None), and how many there were."""

    image: np.ndarray
    face: Face | None
    count: int | None


class Profile(BaseModel):
    """A crop profile, as its YAML file states it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int
    summary: str
    detector: str
    arguments: dict[str, Any] = {}
    which: Literal["largest", "most-confident"] = "largest"
    margin: float = 0.0
    square: bool = False
    fallback: Literal["full-frame"] = "full-frame"

    @property
    def digest(self) -> str:
        """Digest of all that the crop depends on."""
        return digests.of_value(self.model_dump(mode="json", exclude={"summary", "name"}))

    def cropper(self) -> Callable[[np.ndarray], Crop]:
        """The profile as a function of an image.

        Raises:
            DfdError: the face detector cannot be loaded.
        """
        if self.detector == "none":
            return lambda image: Crop(image, None, None)
        try:
            find = importlib.import_module(f"dfdlib.faces.{self.detector}").make(**self.arguments)
        except (ImportError, TypeError) as error:
            raise DfdError(
                f"Crop '{self.name}': face detector '{self.detector}' cannot be loaded ({error}).",
                "See `dfd doctor`, or choose another crop.",
            ) from error
        return lambda image: self._cut(image, find(image))

    def _cut(self, image: np.ndarray, faces: list[Face]) -> Crop:
        if not faces:
            return Crop(image, None, 0)
        # The rest of the key makes ties come out the same in whatever order the detector lists its faces.
        rank = (lambda f: (f.area, f.score, f)) if self.which == "largest" else (lambda f: (f.score, f.area, f))
        face = max(faces, key=rank)
        x0, y0, x1, y1 = enlarged(face, self.margin, self.square, image.shape[1], image.shape[0])
        return Crop(image[y0:y1, x0:x1], face, len(faces))


def enlarged(face: Face, margin: float, square: bool, width: int, height: int) -> tuple[int, int, int, int]:
    """A face's box with a margin, in whole pixels within the image.

    Args:
        face: the box.
        margin: share of the box's width (height) added on the left and right (top and bottom) each.
        square: grow the shorter side to the longer, around the same centre.
        width, height: of the image; what lies outside is cut off, so that a square may end as a rectangle.

    Returns:
        x0, y0, x1, y1 with at least one pixel.
    """
    half_w, half_h = (face.x1 - face.x0) * (0.5 + margin), (face.y1 - face.y0) * (0.5 + margin)
    if square:
        half_w = half_h = max(half_w, half_h)
    middle_x, middle_y = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    x0 = min(max(0, int(middle_x - half_w)), width - 1)
    y0 = min(max(0, int(middle_y - half_h)), height - 1)
    x1 = max(x0 + 1, min(width, int(middle_x + half_w + 0.5)))
    y1 = max(y0 + 1, min(height, int(middle_y + half_h + 0.5)))
    return x0, y0, x1, y1


def names() -> list[str]:
    """Names of the crop profiles that come with the project: none first, then sorted."""
    return sorted((path.stem for path in PROFILES.glob("*.yaml")), key=lambda name: (name != "none", name))


def read(name_or_path: str | Path) -> Profile:
    """The crop profile of that name, or in that YAML file.

    Raises:
        DfdError: unknown name, no such file, or not a valid profile.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith((".yaml", ".yml")) else PROFILES / f"{text}.yaml"
    if not path.is_file():
        near = get_close_matches(text, names(), 1)
        raise DfdError(
            f"No crop profile '{text}'." + (f" Did you mean '{near[0]}'?" if near else ""),
            f"Known: {', '.join(names())}; or give the path of your own (.yaml).",
        )
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise DfdError(f"{path}: not a valid crop profile: {error}", "Mend the file.") from error

"""Detector cards: all that is known of a detector, in one YAML file.

Nothing about preparation or polarity lives anywhere else. Keys that a card may have are the fields of `Card`; an
unknown key is an error, so that a typing mistake cannot silently mean a default.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from dfdlib import digests
from dfdlib.errors import DfdError
from dfdlib.paths import PROJECT

CARDS = Path(__file__).with_name("cards")
VERSION = 1
Triple = tuple[float, float, float]
Label = Literal["real", "fake"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shipped(_Strict):
    """In the project's own `weights/` folder."""

    kind: Literal["shipped"]
    note: str = ""


class Local(_Strict):
    """A path beside the card."""

    kind: Literal["local"]
    note: str = ""


class GoogleDrive(_Strict):
    """One shared file of Google Drive, by its id."""

    kind: Literal["google-drive"]
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{10,100}$")]
    note: str = ""


class HuggingFace(_Strict):
    """One file of a Hugging Face repository; `revision` is a commit, or a branch where the author's commit may move."""

    kind: Literal["huggingface"]
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    file: Annotated[str, Field(pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$")]
    revision: Annotated[str, Field(pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$")]
    note: str = ""


class Url(_Strict):
    """A plain address."""

    kind: Literal["url"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+/\S*$")]
    note: str = ""


class Form(_Strict):
    """A page where a form or a login stands before the file; `note` says what to fill in and which file to take."""

    kind: Literal["form"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/\S*)?$")]
    note: Annotated[str, Field(min_length=1)]


Source = Annotated[Shipped | Local | GoogleDrive | HuggingFace | Url | Form, Field(discriminator="kind")]


class Weights(_Strict):
    """A weights file and what it must be.

    `sha256` and `bytes` are null where the author publishes none; `dfdlib.weights` then records them once, in a lock.
    """

    source: Source
    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    bytes: Annotated[int, Field(gt=0)] | None
    licence: str

    @model_validator(mode="after")
    def _file_is_safe_and_known(self) -> Weights:
        if self.source.kind != "local" and not re.fullmatch(r"(?!.*\.(part|lock|yaml)$)\w([\w.+-]*\w)?", self.file):
            raise ValueError("`file` must be a plain name, without folders (only source kind `local` takes a path)")
        if self.source.kind == "shipped" and self.sha256 is None:
            raise ValueError("weights that come with the project need a sha256")
        return self


class Resize(_Strict):
    """How an image is brought to size.

    `short-side`: the shorter side becomes `size` pixels, the other keeps the aspect ratio (truncated to whole pixels,
    as torchvision does); `exact`: straight to the input size; `none`: images must have the input's size already, or be
    cropped to it.

    `pil` widens its kernel when it makes an image smaller; `opencv` does not, and so comes close to tf.image.resize and
    to torch's interpolation without antialiasing (its `box` is INTER_AREA).
    """

    mode: Literal["short-side", "exact", "none"]
    size: int | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box"] = "bilinear"
    library: Literal["pil", "opencv"] = "pil"

    @model_validator(mode="after")
    def _size_where_needed(self) -> Resize:
        if (self.mode == "short-side") != (self.size is not None):
            raise ValueError("`size` (pixels of the shorter side) belongs to mode short-side, and only to it")
        return self


class Input(_Strict):
    """From an RGB image to the network's input: resize, crop, range, then (x - mean) / std."""

    size: tuple[int, int]
    resize: Resize
    crop: Literal["center", "none"] = "none"
    range: Literal["unit", "byte"] = "unit"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


class Output(_Strict):
    """What the network answers, and which side is fake.

    One unit (`logit`, `probability`): `positive` is the label that a high value means. Two units (`logits`,
    `probabilities`): `classes` are their labels in index order.
    """

    kind: Literal["logit", "probability", "logits", "probabilities"]
    positive: Label | None = None
    classes: tuple[Label, Label] | None = None

    @model_validator(mode="after")
    def _polarity_is_stated(self) -> Output:
        one = self.kind in ("logit", "probability")
        if one != (self.positive is not None) or one == (self.classes is not None):
            raise ValueError(
                f"kind {self.kind} needs {'`positive: real|fake`' if one else '`classes: [real, fake]`'} "
                "and nothing else"
            )
        if self.classes and set(self.classes) != {"real", "fake"}:
            raise ValueError("`classes` must name real and fake, once each")
        return self


class Claim(_Strict):
    """A published or measured figure."""

    dataset: str
    metric: str
    value: float
    source: str
    n: int | None = None
    note: str = ""


class Card(_Strict):
    """A detector: weights, architecture, preparation, polarity, and what is claimed of it."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    family: Literal["bnext", "vit", "cnn"]
    summary: str
    architecture: str
    arguments: dict[str, Any] = {}
    weights: Weights
    input: Input
    output: Output
    trained_on: str
    claims: tuple[Claim, ...] = ()
    notes: str = ""
    _path: Path = PrivateAttr()

    @property
    def path(self) -> Path:
        """The file that the card was read from."""
        return self._path

    @property
    def digest(self) -> str:
        """Digest of everything on the card that a score depends on: not of summary, claims or notes.

        Raises:
            DfdError: neither the card nor the lock says which weights file is meant.
        """
        from dfdlib import weights  # which imports this module

        whole = self.as_dict()
        kept = {key: whole[key] for key in ("architecture", "arguments", "input", "output")}
        return digests.of_value({**kept, "weights": {"sha256": weights.sha256(self)}})

    def as_dict(self) -> dict[str, Any]:
        """The card as plain JSON values, for metadata and display."""
        return self.model_dump(mode="json", by_alias=True)

    def _repr_html_(self) -> str:
        import html

        def row(key: str, value: Any) -> str:
            whole = isinstance(value, dict | list) and value
            options = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 100}
            text = yaml.safe_dump(value, **options).strip() if whole else str(value or "")
            style = "text-align:left;white-space:pre-wrap"
            return f"<tr><th style='text-align:left'>{key}</th><td style='{style}'>{html.escape(text)}</td></tr>"

        return f"<table>{''.join(row(key, value) for key, value in self.as_dict().items())}</table>"


def names() -> list[str]:
    """Names of the cards that come with the project, sorted."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


def read(name_or_path: str | Path) -> Card:
    """The card of that name, or in that file.

    A path is taken as the user means it (from the current folder), else below the project.

    Raises:
        DfdError: unknown name, no such file, not YAML, or not a valid card; each problem is listed.
    """
    text = str(name_or_path)
    if not text.endswith((".yaml", ".yml")):
        if text not in names():
            near = get_close_matches(text, names(), 1)
            raise DfdError(
                f"No detector named '{text}'." + (f" Did you mean '{near[0]}'?" if near else ""),
                "Known: dfd detectors list. For your own, give the path of its card (.yaml).",
            )
        return _read(CARDS / f"{text}.yaml")
    found = next((path for path in (Path(text), PROJECT / text) if path.is_file()), None)
    if found is None:
        raise DfdError(f"{text}: no such card.", "Give the path of a card, or a name from: dfd detectors list")
    return _read(found.resolve())


@cache
def _read(path: Path) -> Card:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        card = Card.model_validate(values)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DfdError(f"{path}: not readable as YAML ({error}).", "Mend the file.") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors())
        raise DfdError(
            f"{path}: not a valid card: {problems}.", "Mend the card; `dfd detectors show` prints one."
        ) from error
    card._path = path
    return card

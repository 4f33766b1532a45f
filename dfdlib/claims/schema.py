"""What a file of claims may hold: one source, transcribed as it was printed. An unknown key is an error.

Figures are quoted strings, because 86.40 says more than 86.4.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dfdlib.claims.figures import Figure

Label = Literal["real", "fake"]
Metric = Literal["accuracy", "precision", "recall", "specificity", "f1", "auc", "top1"]
Split = Literal["train", "val", "test"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Printed = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?|\.\d+)$")]
Count = Annotated[int, Field(ge=0, strict=True)]
Size = Annotated[int, Field(gt=0, strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Strict):
    """A confusion matrix in columns; the entry's `positive` says of which class."""

    tn: Count
    fp: Count
    fn: Count
    tp: Count


class Cells(_Strict):
    """A confusion matrix in words: truth_as_verdict."""

    real_as_real: Count
    real_as_fake: Count
    fake_as_real: Count
    fake_as_fake: Count


class Speed(_Strict):
    """Time for the entry's images, and the rate that was printed."""

    minutes: Printed
    images_per_second: Printed
    device: str = ""


class Scores(_Strict):
    """Scores of single images of one label; `high_means` is the label that the source gives to a high score."""

    label: Label
    high_means: Label
    values: tuple[Printed, ...]


class Entry(_Strict):
    """What a source claims of one detector on one test set.

    Attributes:
        id: unique in the file.
        detector: in the source's words; `card`: the name of its card, where there is one.
        n, n_real, n_fake: images, where printed.
        positive: the class that precision, recall, F1 and columns are about; None where the source does not say.
        threshold: of the verdict; `crop`: how faces were cut out; None where the source does not say.
        metrics: figures, as printed, in the columns in which they were printed.
        confusion: counts, likewise.
        uncertain: images whose verdict was "uncertain".
        selected_on_reported_split: whether the checkpoint was chosen by its score on these very images.
        where: the place in the source.
    """

    id: Name
    detector: str
    card: Name | None = None
    dataset: str
    split: Split | None = None
    n: Count | None = None
    n_real: Count | None = None
    n_fake: Count | None = None
    positive: Label | None = None
    threshold: Printed | None = None
    crop: str | None = None
    metrics: dict[Metric, Printed] = {}
    confusion: Columns | Cells | None = None
    uncertain: Count | None = None
    speed: Speed | None = None
    scores: Scores | None = None
    selected_on_reported_split: bool | None = None
    where: str = ""
    note: str = ""

    @property
    def images(self) -> int | None:
        """Images that the claim rests on, as far as printed."""
        if self.confusion is not None:
            return sum(self.confusion.model_dump().values())
        if self.n is None and self.n_real is not None and self.n_fake is not None:
            return self.n_real + self.n_fake
        return self.n


class SplitSize(_Strict):
    """Images of a split, as the source states them."""

    dataset: str
    split: Split
    n: Count


class Conv(_Strict):
    """A square convolution with bias, stride 1."""

    conv: Size
    kernel: Size
    padding: Literal["valid", "same"]


class Pool(_Strict):
    """Max pooling, stride = size, padding valid."""

    pool: Size


class Dropout(_Strict):
    """Has no weights."""

    dropout: Printed


class Dense(_Strict):
    """A full connection with bias; flattens what comes before it."""

    dense: Size


class Backbone(_Strict):
    """A named network, pooled to `features` values, whose own parameters were counted elsewhere."""

    backbone: str
    features: Size
    parameters: Size


class MultiplyAdds(_Strict):
    """Multiply-adds of one image, in millions; `binary`: those of them between two signs."""

    all: Size
    binary: Count


class Model(_Strict):
    """What a source claims of a network: its size, and the architecture from which that follows."""

    id: Name
    total_parameters: Count | None = None
    optimizer: Literal["adam"] | None = None
    input: tuple[Size, Size, Size] | None = None
    layers: tuple[Conv | Pool | Dropout | Dense | Backbone, ...] = ()
    gflops: Printed | None = None
    multiply_adds: MultiplyAdds | None = None
    note: str = ""

    @model_validator(mode="after")
    def _layers_need_an_input(self) -> Model:
        if self.layers and self.input is None:
            raise ValueError("`layers` need an `input` [height, width, channels]")
        return self


class Source(_Strict):
    """One source: a paper, a README. `unit` is how it prints shares, `where` its venue or arXiv number."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    title: str
    authors: tuple[str, ...] = ()
    year: int | None = None
    where: str
    unit: Literal["fraction", "percent"]
    note: str = ""
    splits: tuple[SplitSize, ...] = ()
    entries: tuple[Entry, ...] = ()
    models: tuple[Model, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Source:
        ids = [entry.id for entry in self.entries]
        if len(set(ids)) < len(ids):
            raise ValueError(f"ids must be unique, these are not: {sorted({i for i in ids if ids.count(i) > 1})}")
        for entry, (metric, text) in ((e, m) for e in self.entries for m in e.metrics.items()):
            if Figure(text, self.unit).value > 1:
                raise ValueError(f"{entry.id}: {metric} {text} is above 1 (unit: {self.unit})")
        return self

    def size(self, dataset: str, split: str | None) -> int | None:
        """Images of a split, where the source states them."""
        return next((s.n for s in self.splits if (s.dataset, s.split) == (dataset, split)), None)

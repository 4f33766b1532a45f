"""Arms: detector x crop x perturbation, and the digest of everything that an arm's scores depend on.

Nothing here imports torch, so that asking for scores that exist costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dfdlib import digests, faces, runtime, scores
from dfdlib.detectors import card as cards
from dfdlib.detectors.card import Card
from dfdlib.faces import Profile
from dfdlib.manifest import Manifest

# Raised whenever the scoring code changes in a way that can change a score.
SCORING_VERSION = 1
# Images that go through a network together. Fixed, and counted from the manifest's first row: floating-point sums
# depend on the batch, so that a run that was resumed must form the same batches as one that was not.
BATCH = 32


@dataclass(frozen=True)
class Arm:
    """One column of the comparison: a detector on one crop of one manifest, on one kind of device."""

    card: Card
    profile: Profile
    manifest_digest: str
    dataset: str
    device: str
    perturbation: str = "none"

    @property
    def name(self) -> str:
        """The arm in words."""
        return f"{self.card.name} · {self.profile.name}"

    @property
    def digest(self) -> str:
        """Digest of everything that the scores depend on."""
        return digests.of_value(
            {
                "scoring": SCORING_VERSION,
                "scores": scores.VERSION,
                "batch": BATCH,
                "manifest": self.manifest_digest,
                "card": self.card.digest,
                "crop": self.profile.digest,
                "perturbation": self.perturbation,
                "device": self.device,
                "dtype": "float32",
                "versions": runtime.versions(),
            }
        )

    def file(self, folder: Path) -> Path:
        """The arm's scores file in a folder."""
        return folder / f"{self.dataset}.{self.card.name}.{self.profile.name}.{self.perturbation}{scores.SUFFIX}"

    def exists(self, folder: Path) -> bool:
        """Whether a folder holds exactly these scores."""
        return scores.stored_digest(self.file(folder)) == self.digest


def plan(manifest: Manifest, detectors: Iterable[str], crops: Iterable[str], device: str = "auto") -> list[Arm]:
    """The arms of detectors x crops on a manifest.

    Raises:
        DfdError: an unknown detector, crop or device; the same one twice.
    """
    from dfdlib.errors import DfdError

    read_cards, profiles = [cards.read(name) for name in detectors], [faces.read(name) for name in crops]
    for kind, named in (("detector", read_cards), ("crop", profiles)):
        names = [item.name for item in named]
        if not names:
            raise DfdError(f"No {kind} given.", f"Name at least one: dfd {kind}s list")
        if len(set(names)) < len(names):
            raise DfdError(f"The same {kind} twice: {', '.join(names)}.", "Name each once; cards need different names.")
    dataset = "+".join(sorted(set(manifest.table.column("dataset").to_pylist())))
    where = runtime.device(device)
    return [Arm(card, profile, manifest.digest, dataset, where) for card in read_cards for profile in profiles]

"""Metrics of a detector on labelled images, as pure functions. Labels: 1 = fake (the positive class), 0 = real.

Two kinds of input, for two kinds of question:
- **verdicts** come from `p_fake` and a threshold: fake where p_fake > threshold, real otherwise, so a score that equals
  the threshold is called real. `confusion` counts them; everything below a threshold follows from its four counts.
- **ranking** uses a score without a threshold. Give it the logit: where p_fake has saturated to exactly 0 or 1 the
  logit still tells images apart. Any monotone transform gives the same AUC; infinite values are allowed.

A metric that the data does not define (precision when nothing was called fake, AUC of one class) raises
`UndefinedMetric`; it is never filled in with 0, 0.5 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfdlib.errors import DfdError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

THRESHOLD = 0.5


class UndefinedMetric(DfdError):
    """A metric that these images do not define.

    Args:
        metric: its name, as a reader knows it.
        why: what is missing, in a few words ("no real images"); tables show it.
    """

    def __init__(self, metric: str, why: str) -> None:
        super().__init__(f"{metric} is undefined: {why}", "Add images of the missing kind, or leave this metric out.")
        self.metric = metric
        self.why = why


@dataclass(frozen=True)
class Confusion:
    """The four counts of a test at one threshold; fake is positive.

    The counts may also be arrays of one shape (the resamples of a bootstrap): every metric is then an array, with NaN
    where a resample leaves it undefined. With plain counts an undefined metric raises `UndefinedMetric`.
    """

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def n(self) -> int:
        """Images counted."""
        return self.tn + self.fp + self.fn + self.tp

    @property
    def accuracy(self) -> float:
        """Share of images that were called right."""
        return _ratio("accuracy", self.tn + self.tp, self.n, "no images")

    @property
    def precision(self) -> float:
        """Share of fakes among the images that were called fake."""
        return _ratio("precision", self.tp, self.tp + self.fp, "nothing was called fake")

    @property
    def recall(self) -> float:
        """Share of the fakes that were called fake."""
        return _ratio("recall", self.tp, self.tp + self.fn, "no fake images")

    @property
    def specificity(self) -> float:
        """Share of the reals that were called real."""
        return _ratio("specificity", self.tn, self.tn + self.fp, "no real images")

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity: the accuracy if both classes were equally large."""
        return (self.recall + self.specificity) / 2

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN)."""
        return _ratio("F1", 2 * self.tp, 2 * self.tp + self.fp + self.fn, "no fake images, and nothing called fake")

    @property
    def mcc(self) -> float:
        """Matthews' correlation of verdict and truth, -1 to 1 (Matthews, 1975)."""
        tn, fp, fn, tp = (np.asarray(count, dtype=float) for count in (self.tn, self.fp, self.fn, self.tp))
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return _ratio("MCC", tp * tn - fp * fn, spread, "only one class, or only one kind of verdict")


def _ratio(metric: str, top, bottom, why: str):
    if np.ndim(bottom):
        return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > 0)
    if bottom <= 0:
        raise UndefinedMetric(metric, why)
    return float(top / bottom)


def confusion(labels: ArrayLike, p_fake: ArrayLike, threshold: float = THRESHOLD) -> Confusion:
    """Counts right and wrong verdicts.

    Args:
        labels: shape (n,), 1 or True = fake.
        p_fake: shape (n,), P(fake) in 0..1.
        threshold: an image is called fake where p_fake > threshold; a tie is called real.

    Raises:
        DfdError: shapes differ, a label is neither 0 nor 1, a score is NaN.
    """
    fake, scores = checked(labels, p_fake)
    called = scores > threshold
    tp, fp = int(np.sum(called & fake)), int(np.sum(called & ~fake))
    fakes = int(fake.sum())
    return Confusion(tn=len(fake) - fakes - fp, fp=fp, fn=fakes - tp, tp=tp)


def auc(labels: ArrayLike, ranking: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a random fake ranks above a random real, ties counting half.

    Args:
        labels: shape (n,), 1 or True = fake.
        ranking: shape (n,), higher = more fake; the logit is best; may be infinite.

    Raises:
        UndefinedMetric: one class only.
        DfdError: see `confusion`.
    """
    from sklearn.metrics import roc_auc_score

    fake, levels = _two_classes("AUC", labels, ranking)
    return float(roc_auc_score(fake, levels))


def roc_curve(labels: ArrayLike, ranking: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """False alarm rate and recall at every threshold, from (0, 0) to (1, 1); points on a straight line are left out.

    Arguments and errors as `auc`.
    """
    fake, levels = _two_classes("ROC curve", labels, ranking)
    # Counted from the highest score downwards; a threshold cannot pass between scores that tie.
    hits, alarms = (np.bincount(levels, weights)[::-1].cumsum() for weights in (fake, ~fake))
    hits, alarms = np.concatenate([[0.0], hits]), np.concatenate([[0.0], alarms])
    bends = (np.diff(hits, 2) != 0) | (np.diff(alarms, 2) != 0)
    keep = np.concatenate([[True], bends, [True]])
    return alarms[keep] / alarms[-1], hits[keep] / hits[-1]


def average_precision(labels: ArrayLike, ranking: ArrayLike) -> float:
    """Mean precision over the recall steps, without interpolation (scikit-learn's definition).

    Arguments and errors as `auc`.
    """
    from sklearn.metrics import average_precision_score

    fake, levels = _two_classes("average precision", labels, ranking)
    return float(average_precision_score(fake, levels))


def brier(labels: ArrayLike, p_fake: ArrayLike) -> float:
    """Mean squared distance of P(fake) from the truth, 0 (perfect) to 1 (Brier, 1950).

    Arguments and errors as `confusion`.
    """
    fake, scores = checked(labels, p_fake)
    if not len(fake):
        raise UndefinedMetric("Brier score", "no images")
    return float(np.mean((scores - fake) ** 2))


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and scores as float64, both of shape (n,).

    Raises:
        DfdError: shapes differ or are not one-dimensional, a label is neither 0 nor 1, a score is NaN.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise DfdError(f"labels of shape {labels.shape} and scores of shape {scores.shape} do not belong together.",
                       "Give one label and one score per image.")
    fake = labels.astype(bool)
    if not np.array_equal(fake, labels):
        raise DfdError("labels must be 0 (real) or 1 (fake).", "Translate the labels first.")
    missing = int(np.isnan(scores).sum())
    if missing:
        raise DfdError(f"{missing} of {len(scores)} scores are NaN.", "Leave out the images whose status is not ok.")
    return fake, scores


def _two_classes(metric: str, labels: ArrayLike, ranking: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    fake, scores = checked(labels, ranking)
    if not fake.any() or fake.all():
        raise UndefinedMetric(metric, missing_class(fake))
    # The place of each score among the distinct ones ranks the same, and is finite where a logit is not.
    return fake, np.unique(scores, return_inverse=True)[1]


def missing_class(fake: np.ndarray) -> str:
    """Says which class is missing."""
    return "no images" if not len(fake) else "no real images" if fake.all() else "no fake images"

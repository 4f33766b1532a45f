"""Verdicts: words for a score and a stated threshold."""

from __future__ import annotations

WORDS = ("likely real", "weakly real", "uncertain", "weakly fake", "likely fake")


def verdict(p_fake: float, threshold: float = 0.5) -> str:
    """The verdict for a score.

    At the threshold 0.5 the five words change at P(fake) = 0.2, 0.4, 0.6 and 0.8, the levels of the RescueBox plugin
    (mirrored: it reads P(real)). Another threshold stretches each side in proportion.

    Args:
        p_fake: score in [0, 1].
        threshold: above it an image counts as fake, in (0, 1).

    Raises:
        ValueError: a score or threshold outside its range, NaN included.
    """
    if not (0 <= p_fake <= 1 and 0 < threshold < 1):
        raise ValueError(f"score {p_fake} or threshold {threshold} out of range")
    above = 1 - threshold
    borders = (0.4 * threshold, 0.8 * threshold, threshold + 0.2 * above, threshold + 0.6 * above)
    return WORDS[sum(p_fake >= border for border in borders)]

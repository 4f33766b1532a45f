"""Verdicts are words for a score and a threshold."""

from __future__ import annotations

import numpy as np
import pytest

from dfdlib.verdict import WORDS, verdict


def test_levels_of_the_rescuebox_plugin():
    """On P(real): below .2 likely fake, .4 weakly fake, .6 uncertain, .8 weakly real, else likely real."""
    for p_real in np.linspace(0.005, 0.995, 100):
        level = sum(p_real >= np.array([0.2, 0.4, 0.6, 0.8]))
        expected = ["likely fake", "weakly fake", "uncertain", "weakly real", "likely real"][level]
        assert verdict(1 - p_real) == expected


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.9])
def test_words_follow_the_threshold(threshold):
    found = [WORDS.index(verdict(p, threshold)) for p in np.linspace(0, 1, 2001)]
    assert found == sorted(found) and set(found) == set(range(5))
    assert verdict(threshold, threshold) == "uncertain"


@pytest.mark.parametrize(("p", "threshold"), [(float("nan"), 0.5), (-0.1, 0.5), (1.1, 0.5), (0.5, 0), (0.5, 1)])
def test_out_of_range(p, threshold):
    with pytest.raises(ValueError, match="out of range"):
        verdict(p, threshold)

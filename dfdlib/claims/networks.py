"""Sizes of networks, recomputed from their architectures."""

from __future__ import annotations

import math
from fractions import Fraction

from dfdlib.claims.figures import Figure
from dfdlib.claims.schema import Backbone, Conv, Dense, Model, Pool
from dfdlib.errors import DfdError

WORD = 64  # multiply-adds between signs that count as one: an XNOR and a popcount handle a machine word of them
ADAM = "Adam keeps two values a weight and two counters, 2T+2, which Keras calls 'optimizer params'"


def parameters(model: Model) -> list[int]:
    """Weights of each layer.

    Args:
        model: with `layers`.

    Raises:
        DfdError: nothing is left of the image at some layer.
    """
    height, width, channels = model.input
    found = []
    for layer in model.layers:
        weights = 0
        match layer:
            case Conv():
                weights = (layer.kernel**2 * channels + 1) * layer.conv
                lost = layer.kernel - 1 if layer.padding == "valid" else 0
                height, width, channels = height - lost, width - lost, layer.conv
            case Pool():
                height, width = height // layer.pool, width // layer.pool
            case Dense():
                weights = (height * width * channels + 1) * layer.dense
                height, width, channels = 1, 1, layer.dense
            case Backbone():
                weights = layer.parameters
                height, width, channels = 1, 1, layer.features
        if height < 1 or width < 1:
            raise DfdError(f"{model.id}: nothing is left of the image at {layer!r}.", "Mend its `input` or `layers`.")
        found.append(weights)
    return found


def check_parameters(model: Model) -> tuple[str, str, str]:
    """The printed total against the architecture: kind, total recomputed, explanation."""
    if not model.layers:
        return "not checkable", "", "The architecture was not published."
    layers = parameters(model)
    total, terms = sum(layers), "Layer by layer: " + " + ".join(str(n) for n in layers if n) + "."
    if model.total_parameters == total:
        return "agrees", str(total), terms
    if model.optimizer == "adam":
        slots = {2 * total + 2: "the optimizer's own", 3 * total + 2: "weights and the optimizer's own together"}
        if model.total_parameters in slots:
            what = slots[model.total_parameters]
            return "other metric", str(total), f"It is {what}: {ADAM}. {terms}"
    return "disagrees", str(total), terms


def check_operations(model: Model) -> tuple[str, str, str]:
    """Printed GFLOPs against the usual ways to count multiply-adds: kind, all of them, explanation."""
    if model.multiply_adds is None:
        return "not checkable", "", "The multiply-adds are not known."
    figure, ways = Figure(model.gflops), _ways(model.multiply_adds.all, model.multiply_adds.binary)
    shown = "; ".join(f"{float(value):.3g} ({words})" for words, value in ways.items())
    fitting = [words for words, value in ways.items() if figure.shows(value)]
    if fitting:
        return "agrees", shown, f"As {fitting[0]}."
    powers = {words: math.log10(figure.value / value) for words, value in ways.items()}
    near = min(powers, key=lambda words: abs(powers[words] - round(powers[words])))
    unit = round(powers[near])
    # A tenth more or less than a power of ten: as near as two people count the same network.
    slip = f" Nearest: {near}, if the unit were 10^{9 - unit}." if unit and abs(powers[near] - unit) < 0.04 else ""
    return "disagrees", shown, f"No usual way of counting gives it.{slip}"


def _ways(everything: int, binary: int) -> dict[str, Fraction]:
    """Multiply-adds (in millions) in units of 10^9, as people count them."""
    by_word = everything - binary + Fraction(binary, WORD)
    return {
        "multiply-adds": Fraction(everything, 1000),
        "operations, two a multiply-add": Fraction(2 * everything, 1000),
        f"multiply-adds, {WORD} between signs as one": by_word / 1000,
        f"operations, {WORD} between signs as one": 2 * by_word / 1000,
    }

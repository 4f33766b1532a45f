"""The report's sentences: which arm is best, whether that is more than chance, and what limits the claim."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from dfdlib.report.study import NONE, DataSet, Row, Undefined, suffixes_tell
from dfdlib.report.tables import NBSP, p_value, signed, visible
from dfdlib.statistics import LEVEL, Difference, Interval

ALPHA = 1 - LEVEL
NOT_RECORDED = "not recorded"
FEW = 100  # images of a class below which the report says that they are few
LISTED = 6  # crops that are named one by one


def verdict(data: DataSet, board: list[Row], pairs: list[Row], crops: list[Row]) -> list[Markup]:
    """Paragraphs in plain words; the first says which arm is best here."""
    plain = {arm.name for arm in data.plain}
    ranked = [row for row in board if row["arm"] in plain and isinstance(row["auc"], Interval)]
    if not any(row["scored"] for row in board):
        return [Markup("No image got a score, so there is nothing to compare. The reasons are listed under "
                       "“Images without a score”.")]
    if not ranked:
        return [_accuracy_only(board)]
    paragraphs = [_best(ranked, pairs, data)]
    if crops:
        paragraphs.append(_cropping(crops))
    return paragraphs


def _best(ranked: list[Row], pairs: list[Row], data: DataSet) -> Markup:
    first = ranked[0]
    area = first["auc"]
    told = Markup("{} {}. On {} scored images it ranks a random fake above a random real {} of the time "
                  "(AUC {})").format(
        "Best here:" if len(ranked) > 1 else "One arm was scored, so nothing is compared:", _strong(first["arm"]),
        f"{first['scored']:,}", _percent(area.value), _with_interval(area))
    if isinstance(first["accuracy"], Interval):
        told += Markup(" and calls {} of them right at the threshold 0.5.").format(_percent(first["accuracy"].value))
    if len(ranked) > 1:
        told += Markup(" ") + _lead(ranked, pairs)
    return told


def _lead(ranked: list[Row], pairs: list[Row]) -> Markup:
    best = ranked[0]["arm"]
    second = ranked[1]["arm"]
    against = {(row["b"] if row["a"] == best else row["a"]): row for row in pairs if best in (row["a"], row["b"])}
    row = against[second]
    difference = row["auc_difference"]
    if isinstance(difference, Undefined):
        return Markup("Its lead over {} cannot be tested: {}.").format(_strong(second), difference.why)
    lead = difference if row["a"] == best else _turned(difference)
    p = row["auc_difference_p_holm"]
    meaning = ("which cannot be tested" if math.isnan(p) else "more than chance explains" if _told_apart(row)
               else "which chance alone would explain")
    sentence = Markup("On the {} images that both scored, its AUC is {} {} than that of {}, the next ({}): "
                      "<strong>{}</strong> ({}, {}, Holm-corrected for {} {}).").format(
        f"{row['n']:,}", f"{abs(lead.value):.{lead.decimals}f}", "higher" if lead.value >= 0 else "lower",
        _strong(second), _limits_of(lead, signs=True), meaning, difference.test, _equals(p_value(p)), len(pairs),
        "pair" if len(pairs) == 1 else "pairs")
    return sentence + _ties([name for name, other in against.items() if not _told_apart(other)], second, len(against))


def _ties(tied: list[str], second: str, others: int) -> Markup:
    # Which arms the best one is not told apart from, the next already being dealt with.
    if not tied:
        return Markup(" It is told apart from every other arm." if others > 1 else "")
    rest = [name for name in tied if name != second]
    if not rest:
        return Markup("")
    either = " either" if second in tied else ""
    return Markup(" Not told apart from it{}: {}.").format(either, Markup(", ").join(map(visible, rest)))


def _told_apart(row: Row) -> bool:
    p = row["auc_difference_p_holm"]
    return p is not None and p < ALPHA


def _turned(difference: Difference) -> Interval:
    return Interval(-difference.value, -difference.high, -difference.low, difference.n, difference.method)


def _accuracy_only(board: list[Row]) -> Markup:
    why = next((row["auc"].why for row in board if isinstance(row["auc"], Undefined) and row["scored"]), "no images")
    rows = [row for row in board if isinstance(row["accuracy"], Interval)]
    best = max(rows, key=lambda row: row["accuracy"].value)
    return Markup("These images cannot tell how well a detector separates real from fake: {}, so the AUC is undefined. "
                  "{} calls the most of them right: {}.").format(
        why, _strong(best["arm"]), _with_interval(best["accuracy"]))


def _cropping(crops: list[Row]) -> Markup:
    whole = [row for row in crops if row["images"] == "all" and isinstance(row["auc_difference"], Difference)]
    if not whole:
        return Markup("What the face crop changes cannot be told by AUC here; see the table of crops.")
    if len(whole) > LISTED:
        return _cropping_counted(whole)
    names = {row["crop"] for row in whole}
    groups: dict[str, list[Markup]] = {"helps": [], "hurts": [], "open": []}
    for row in whole:
        difference = row["auc_difference"]
        kind = _effect(row)
        which = "" if len(names) == 1 else f" with {visible(row['crop'])}"
        groups[kind].append(Markup("{}{} ({})").format(
            visible(row["detector"]), which, signed(difference.value, difference.decimals)))
    parts = []
    for kind, text in (("helps", "raises the AUC of {}"), ("hurts", "lowers that of {}"),
                       ("open", "makes no difference that can be told from chance for {}")):
        if groups[kind]:
            text = text.replace("that of", "the AUC of") if not parts else text
            parts.append(Markup(text).format(Markup(", ").join(groups[kind])))
    crop = f"face crop {visible(*names)}" if len(names) == 1 else "face crop"
    return Markup("The {} {}.").format(crop, Markup("; it ").join(parts))


def _cropping_counted(rows: list[Row]) -> Markup:
    kinds = [_effect(row) for row in rows]
    return Markup("Over {} pairs of detector and crop the face crop raises the AUC in {}, lowers it in {}, and makes "
                  "no difference that can be told from chance in {}.").format(
        len(rows), *(kinds.count(kind) for kind in ("helps", "hurts", "open")))


def _effect(row: Row) -> str:
    if not _told_apart(row):
        return "open"
    return "helps" if row["auc_difference"].value > 0 else "hurts"


def headline(data: DataSet, board: list[Row], pairs: list[Row]) -> Markup:
    """The verdict in one line, for a list of data sets."""
    plain = {arm.name for arm in data.plain}
    ranked = [row for row in board if row["arm"] in plain and isinstance(row["auc"], Interval)]
    if not ranked:
        return Markup("no arm has an AUC here")
    best = ranked[0]["arm"]
    tied = [row for row in pairs if best in (row["a"], row["b"]) and not _told_apart(row)]
    if len(ranked) == 1:
        rest = "the only arm"
    elif tied:
        rest = f"not told apart from {len(tied)} of the other {len(ranked) - 1}"
    else:
        rest = "ahead of every other arm by more than chance explains"
    return Markup("{}, AUC {}; {}").format(_strong(best), _with_interval(ranked[0]["auc"]), rest)


def limits(data: DataSet, board: list[Row]) -> list[str]:
    """What limits every claim about this data set, as sentences."""
    fakes, reals = int(data.fake.sum()), int((~data.fake).sum())
    found = [f"These are {reals:,} real and {fakes:,} fake images of one data set. Other forgeries, cameras and "
             "compression can give other figures, and another order of the arms."]
    if fakes and reals and min(fakes, reals) < FEW:
        found.append(f"With {min(fakes, reals):,} {'fakes' if fakes < reals else 'reals'} the intervals are wide.")
    if fakes and reals and not 0.4 <= fakes / (fakes + reals) <= 0.6:
        found.append(f"{_percent(fakes / (fakes + reals))} of the images are fake: accuracy, precision and F1 would "
                     "change with that share; AUC and recall would not.")
    told = suffixes_tell(data)
    if told:
        found.append(f"All reals are {_or(told[0])} files and all fakes {_or(told[1])}: a detector could go by the "
                     "format instead of the forgery.")
    splits = sorted({str(key).split("/")[0] for key in data.manifest.get("counts") or {}} - {"test"})
    if splits:
        found.append(f"Some of the images are from the split {_or(splits)}: detectors may have been trained on them.")
    if data.clusters is not None:
        groups = len(set(data.clusters.tolist()))
        found.append(f"The images come from {groups:,} independent sources (videos, identities or photos); "
                     "all intervals and tests count sources, not images.")
    covered = [row for row in board if row["scored"] < row["n"]]
    if covered:
        least = min(covered, key=lambda row: row["scored"])
        found.append(f"{len(covered)} of {len(board)} arms left images without a score (at most "
                     f"{least['n'] - least['scored']:,} of {least['n']:,}, {visible(least['arm'])}); an arm's own "
                     "figures count only what it scored.")
    found.append("The threshold 0.5 was not tuned, and the best arm was picked on the images that it is reported on. "
                 "What each detector was trained on stands on its card, below.")
    return found


def preparation(card: dict[str, Any]) -> str:
    """How an image becomes the network's input, in words, from a card."""
    given = card.get("input") or {}
    resize = given.get("resize") or {}
    size = " × ".join(map(str, given.get("size") or ())) or "a size that is not recorded"
    how = f"{resize.get('interpolation', NOT_RECORDED)}, {str(resize.get('library', NOT_RECORDED)).upper()}"
    steps = [{"short-side": f"the shorter side to {resize.get('size')} px ({how})",
              "exact": f"resized to {size} px ({how})", "none": "not resized"}.get(resize.get("mode"), NOT_RECORDED)]
    if given.get("crop") == "center":
        steps.append(f"centre {size} px")
    steps.append({"unit": "values 0 to 1", "byte": "values 0 to 255"}.get(given.get("range"), "range not recorded"))
    mean, std = given.get("mean"), given.get("std")
    if mean and std and (any(mean) or any(value != 1 for value in std)):
        steps.append(f"less {_triple(mean)}, over {_triple(std)}")
    return ", ".join(steps)


def polarity(card: dict[str, Any]) -> str:
    """Which side of the network's answer is fake, in words, from a card."""
    output = card.get("output") or {}
    kind = output.get("kind")
    if output.get("positive"):
        turned = "" if output["positive"] == "fake" else "; turned round, so that scores are P(fake)"
        return f"one {kind}, high means {output['positive']}{turned}"
    if output.get("classes"):
        return f"two {kind}, in the order {', '.join(output['classes'])}"
    return NOT_RECORDED


def crop_profile(profile: dict[str, Any]) -> str:
    """A crop profile in words."""
    if profile.get("detector") == NONE:
        return "the whole image"
    which = {"largest": "largest face", "most-confident": "most confident face"}.get(profile.get("which"), "one face")
    parts = [f"{profile.get('detector', NOT_RECORDED)}, {which}", f"margin {profile.get('margin', NOT_RECORDED)}"]
    if profile.get("square"):
        parts.append("made square")
    fallback = {"full-frame": "the whole image"}.get(profile.get("fallback"), profile.get("fallback") or NOT_RECORDED)
    return f"{', '.join(parts)}; where no face is found: {fallback}"


def _with_interval(interval: Interval) -> str:
    return f"{interval.value:.{interval.decimals}f}, {_limits_of(interval)}"


def _limits_of(interval: Interval, signs: bool = False) -> str:
    low, high = (signed(x, interval.decimals) if signs else f"{x:.{interval.decimals}f}"
                 for x in (interval.low, interval.high))
    return f"95{NBSP}% interval {low} to {high}"


def _percent(share: float) -> str:
    # Never a rounded 100 % or 0 % for something that is not.
    digits = 1 if share in (0, 1) else min(4, max(1, math.ceil(-math.log10(min(share, 1 - share))) - 2))
    return f"{100 * share:.{digits}f}{NBSP}%"


def _equals(p: str) -> str:
    text = p if p.startswith(("<", "not")) else f"= {p}"
    return f"p {text}".replace(" ", NBSP)


def _triple(values: list[float]) -> str:
    values = list(values)
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _or(names: list[str]) -> str:
    return visible(" or ".join(names))


def _strong(text: str) -> Markup:
    return Markup("<strong>{}</strong>").format(visible(text))

"""Figures of segments in words, and the order in which they are shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._segment_divisions import Division
    from loyalty_research.programme.segment_outcomes import SegmentLater

__all__ = ["calibration", "place", "plain", "rank", "rule_names", "with_limits"]

_ORDER = ("loyal", "occasional", "lapsed", "one-time", "potential", "negative")
_FAR = 1.25  # made per one expected, from which a forecast misleads


def rule_names() -> dict[str, str]:
    """Return the names of published rules in a reader's words."""
    return {
        "current": message("current"),
        "potential": message("potential"),
        "loyal": message("loyal"),
        "negative": message("negative"),
        "walk-in": message("walk-in"),
    }


def calibration(one: Division) -> Check:
    """Set what segments did beside what the model had expected of them."""
    name = message("Purchases made per one expected")
    known = {
        segment: later.against_expected
        for segment, later in sorted(one.outcomes.later.items(), key=place)
        if later.against_expected is not None
    }
    said = ", ".join(f"{segment} {with_limits(ratio, digits=2)}" for segment, ratio in known.items())
    if not known:
        return Check(name, "not measurable", message("No segment can be shown, or nothing was bought."))
    off = any(
        not (1 / _FAR < ratio.value < _FAR) and not ratio.low <= 1 <= ratio.high for ratio in known.values()
    )
    if off:
        return Check(
            name,
            "warning",
            message("The model is far off in a segment; do not forecast by it there: {said}.", said=said),
        )
    return Check(name, "passed", message("No segment is off by more than a quarter: {said}.", said=said))


def place(one: tuple[str, SegmentLater]) -> int:
    """Return where a named segment stands, the best first; others stand last."""
    return _ORDER.index(one[0]) if one[0] in _ORDER else len(_ORDER)


def rank(one: Division) -> float:
    """Return how well a division tells later purchases."""
    found = one.outcomes.explained
    return -1.0 if found is None or math.isnan(found.value) else found.value


def plain(estimate: Estimate | None, *, digits: int | None = None) -> str:
    """Return a figure without its limits."""
    if estimate is None:
        return "–"
    return estimate.format() if digits is None else number(estimate.value, digits=digits)


def with_limits(estimate: Estimate | None, *, digits: int | None = None) -> str:
    """Return a figure and its limits, which the caption says the level of."""
    if estimate is None or math.isnan(estimate.value):
        return "–"

    def shown(value: float) -> str:
        return estimate.format(value) if digits is None else number(value, digits=digits)

    if math.isnan(estimate.low) or estimate.low == estimate.high:
        return shown(estimate.value)
    return message(
        "{value} ({low} to {high})",
        value=shown(estimate.value),
        low=shown(estimate.low),
        high=shown(estimate.high),
    )

"""Pictures of assumptions: what a result hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.plots.style import INK, MUTED, SERIES, SURFACE, figure_axes, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["tornado"]


def tornado(
    labels: Sequence[str],
    low: ArrayLike,
    high: ArrayLike,
    *,
    ends: Sequence[tuple[str, str]],
    centre: float,
    xlabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw, for each assumption, the outcome at its low and its high value about the middle.

    Args:
        labels: Name of each assumption, top to bottom.
        low: Outcome at the low value, shape (m,).
        high: Outcome at the high value.
        ends: Low and high value as written beside the ends of each bar.
        centre: Outcome with every assumption in the middle.
        xlabel: Name of the horizontal axis.
        title: Heading.
        ax: Axes to draw on; new ones when None.

    Examples:
        >>> axes = tornado(["joining"], [-1.0], [2.0], ends=[("25%", "75%")], centre=0.5)
        >>> sorted(text.get_text() for text in axes.texts)
        ['25%', '75%']
    """
    at_low, at_high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    with style():
        axes = figure_axes(ax, width=7.6, height=1.5 + 0.42 * len(labels))
        places = np.arange(len(labels))[::-1]
        for place, a, b, words in zip(places, at_low, at_high, ends, strict=True):
            # hatched towards the low value, solid towards the high one: told apart without colour
            axes.barh(
                place,
                a - centre,
                left=centre,
                height=0.56,
                color=SURFACE,
                edgecolor=SERIES[0],
                hatch="////",
                linewidth=1.0,
            )
            axes.barh(place, b - centre, left=centre, height=0.56, color=SERIES[0], edgecolor=SERIES[0])
            for value, other, word in ((a, b, words[0]), (b, a, words[1])):
                left = value < other or (value == other and value is a)
                axes.annotate(
                    word,
                    (value, place),
                    xytext=(-4 if left else 4, 0),
                    textcoords="offset points",
                    ha="right" if left else "left",
                    va="center",
                    fontsize=8.5,
                    color=INK,
                    bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 0.5},
                )
        axes.axvline(centre, color=MUTED, linewidth=1.2)
        axes.axvline(0, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.set_yticks(places, list(labels))
        reach = np.concatenate([at_low, at_high, [centre, 0.0]])
        room = 0.2 * max(float(np.ptp(reach)), 1e-9)
        axes.set_xlim(float(reach.min()) - room, float(reach.max()) + room)
        axes.set_xlabel(xlabel)
        axes.grid(visible=False, axis="y")
        axes.set_title(title)
    return axes

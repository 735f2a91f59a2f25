"""Pictures of pace: before and after a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import DASHES, MARKERS, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["pace_by_card"]


def pace_by_card(frame: pd.DataFrame, *, unit: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the chance of a visit by stamps earned, one line per kind of card, labelled at its end.

    Args:
        frame: group (such as first card, next cards), stamps, estimate, low, high.
        unit: Name of the period; a week by default.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> pace = pd.DataFrame({"group": ["first card"] * 2 + ["next cards"] * 2, "stamps": [0, 1] * 2,
        ...     "estimate": [0.1, 0.3, 0.1, 0.2], "low": [0.1] * 4, "high": [0.3] * 4})
        >>> pace_by_card(pace).get_xlabel()
        'stamps earned so far'
    """
    with style():
        ax = figure_axes(ax)
        for i, (group, rows) in enumerate(frame.groupby("group", sort=False)):
            colour = SERIES[i % len(SERIES)]
            ax.plot(
                rows["stamps"],
                rows["estimate"],
                color=colour,
                linestyle=DASHES[i % len(DASHES)],
                marker=MARKERS[i % len(MARKERS)],
                label=str(group),
            )
            ax.fill_between(rows["stamps"], rows["low"], rows["high"], color=colour, alpha=0.12, lw=0)
        ax.set_ylim(0, min(1.0, 1.15 * float(frame["high"].max())))
        most = int(frame["stamps"].max())
        ax.set_xticks(np.arange(0, most + 1, max(1, most // 10)))
        ax.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("stamps earned so far"))
        ax.set_ylabel(unit or message("chance of a visit in a week"))
        ax.set_title(message("Pace before and after the first reward"))
        ax.legend(loc="upper left", fontsize=8.5)
    return ax

"""Pictures of what surrounds the loss of a tier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import GRID, INK, MARKERS, MUTED, SERIES, SURFACE, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["around_the_fall", "falls_avoided"]


def around_the_fall(
    lead: ArrayLike,
    effect: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    before: int,
    counted: int,
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw differences by periods since the fall: those of comparison, those that decided, those after.

    Args:
        lead: Periods since the fall, rising, shape (m,).
        effect: Differences, shape (m,).
        low: Lower limits.
        high: Upper limits.
        before: How many periods are of comparison.
        counted: How many then decided.
        ylabel: Name of the vertical axis.
        ax: Axes to draw on; new ones when None.

    Examples:
        >>> axes = around_the_fall([-3, -2, -1, 0], [0.1, -0.1, -4, -1], [-1, -1, -5, -2], [1, 1, -3, 0],
        ...     before=2, counted=1)
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['periods of comparison', 'periods that decided', 'since the fall']
    """
    from matplotlib.ticker import MaxNLocator

    at, value, lower, upper = (np.asarray(v, dtype=float) for v in (lead, effect, low, high))
    with style():
        axes = figure_axes(ax, height=4.0)
        decided = slice(before, before + counted)
        axes.axvspan(at[decided][0] - 0.5, at[decided][-1] + 0.5, color=GRID, alpha=0.5, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1.0)
        axes.axvline(-0.5, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        for rows, place, face, label in (
            (slice(0, before), 1, SURFACE, message("periods of comparison")),
            (decided, 5, SURFACE, message("periods that decided")),
            (slice(before + counted, None), 0, SERIES[0], message("since the fall")),
        ):
            axes.vlines(at[rows], lower[rows], upper[rows], color=SERIES[place], linewidth=1.6)
            axes.plot(
                at[rows],
                value[rows],
                linestyle="none",
                marker=MARKERS[place],
                color=SERIES[place],
                markerfacecolor=face,
                label=label,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(message("Periods since the fall"))
        axes.set_ylabel(ylabel)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return axes


def falls_avoided(policies: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the share of missed lines that a grace period would have made good.

    Args:
        policies: One row per length: ``grace_days, share, share_low, share_high``.
        ax: Axes to draw on; new ones when None.

    Examples:
        >>> import pandas as pd
        >>> one = pd.DataFrame({"grace_days": [30], "share": [0.2], "share_low": [0.1], "share_high": [0.3]})
        >>> falls_avoided(one).get_xlabel()
        'days of grace'
    """
    with style():
        axes = figure_axes(ax, height=3.6)
        days = policies["grace_days"].to_numpy(dtype=float)
        axes.vlines(days, policies["share_low"], policies["share_high"], color=SERIES[0], linewidth=1.6)
        axes.plot(days, policies["share"], marker=MARKERS[0], color=SERIES[0])
        axes.set_ylim(0, max(0.05, 1.1 * float(policies["share_high"].max())))
        axes.set_xlim(0, 1.1 * float(days.max()))
        axes.set_xticks(days)
        axes.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        axes.set_xlabel(message("days of grace"))
        axes.set_ylabel(message("missed lines made good"))
    return axes

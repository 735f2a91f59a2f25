"""Pictures of offers: differences around a date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.plots.style import INK, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["around_date"]


def around_date(
    frame: pd.DataFrame,
    *,
    offer: tuple[float, float],
    title: str,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw differences by week around a date, the weeks of the offer shaded.

    Args:
        frame: ``week, estimate, low, high``, one row per week; week 0 begins on the date.
        offer: First and last edge of the offer, in weeks.
        title: Title of the picture.
        xlabel: Label of the horizontal axis.
        ylabel: Label of the vertical axis.
        ax: Axes to draw on.
    """
    with style():
        axes = figure_axes(ax)
        middle = frame["week"] + 0.5
        axes.axvspan(*offer, color=MUTED, alpha=0.15, linewidth=0)
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.axvline(0.0, color=INK, linewidth=0.8, linestyle=":")
        axes.errorbar(
            middle,
            frame["estimate"],
            yerr=[frame["estimate"] - frame["low"], frame["high"] - frame["estimate"]],
            color=SERIES[0],
            fmt="o",
            markersize=4,
            capsize=2,
            linewidth=1.2,
        )
        axes.set_title(title)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        return axes

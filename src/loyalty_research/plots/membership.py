"""Pictures of members and non-members: fair curves in front, biased ones behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.plots.style import INK, MUTED, figure_axes, style
from loyalty_research.plots.survival import survival_curves

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["curves_beside_biased"]


def curves_beside_biased(
    curves: pd.DataFrame,
    biased: pd.DataFrame,
    at_risk: pd.DataFrame,
    *,
    ax: Axes | None = None,
    time_label: str | None = None,
    share_label: str | None = None,
) -> Axes:
    """Draw survival curves, and behind them, dotted, curves known to mislead.

    Args:
        curves: Steps: ``group, time, estimate, low, high``, ascending in time within a group.
        biased: The same of the curves that mislead; their names should say so.
        at_risk: Counts: ``group, time, at_risk``.
        ax: Axes to draw on.
        time_label: What the horizontal axis shows.
        share_label: What the vertical axis shows.
    """
    with style():
        ax = figure_axes(ax, height=5.0)
        survival_curves(curves, at_risk, ax=ax, time_label=time_label, label=share_label)
        left, right = ax.get_xlim()
        # named on the curve itself, outwards: the margin belongs to the fair ones
        middle = left + 0.55 * (right - left)
        parts = dict(tuple(biased.groupby("group", sort=False)))
        heights = {g: float(p["estimate"][p["time"] <= middle].iloc[-1]) for g, p in parts.items()}
        for group, part in parts.items():
            ax.step(part["time"], part["estimate"], where="post", color=MUTED, linestyle=":", linewidth=1.6)
            upper = heights[group] == max(heights.values())
            ax.annotate(
                str(group),
                xy=(middle, heights[group]),
                xytext=(0, 5 if upper else -6),
                ha="left" if upper else "right",
                va="bottom" if upper else "top",
                textcoords="offset points",
                color=INK,
                fontsize=8.5,
                fontstyle="italic",
            )
        return ax

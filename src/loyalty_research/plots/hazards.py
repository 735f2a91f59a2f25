"""Pictures of what shifts leaving: coefficients that change over time."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number
from loyalty_research.plots.style import INK, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["coefficient_over_time"]

_MOST_MARKS = 2_000


def coefficient_over_time(
    residuals: pd.DataFrame, smooth: pd.DataFrame, *, constant: float, name: str, ax: Axes | None = None
) -> Axes:
    """Draw scaled Schoenfeld residuals with a smooth and its band, beside the fitted constant.

    The horizontal axis is spaced as the test weighs time; its ticks tell times.

    Args:
        residuals: ``time, x, deaths, estimate``, one row per time of leaving.
        smooth: ``time, x, estimate, low, high``, ascending.
        constant: The coefficient of the proportional-hazards model.
        name: The term in words.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax)
        deaths = residuals["deaths"].to_numpy(dtype=float)
        size = 6 + 40 * deaths / deaths.max()
        many = len(residuals) > _MOST_MARKS
        ax.scatter(
            residuals["x"], residuals["estimate"], s=size, facecolor="none", edgecolor=MUTED, rasterized=many
        )
        x = smooth["x"].to_numpy(dtype=float)
        low, high, line = (smooth[c].to_numpy(dtype=float) for c in ("low", "high", "estimate"))
        ax.fill_between(x, low, high, color=SERIES[0], alpha=0.18, linewidth=0)
        ax.plot(x, line, color=SERIES[0])
        ax.axhline(constant, color=SERIES[1], linestyle=(0, (5, 2)))
        _frame(ax, residuals, np.concatenate([low, high, [constant]]))
        _name_lines(ax, x, line, constant)
        # ticks at times somebody left, so that none is told twice where many left at once
        seen = residuals["x"].to_numpy(dtype=float)
        ticks = np.unique(np.abs(seen[:, None] - np.linspace(x[0], x[-1], 6)).argmin(axis=0))
        days = residuals["time"].to_numpy(dtype=float)[ticks]
        ax.set_xticks(seen[ticks], [number(t, digits=0 if t.is_integer() else None) for t in days.tolist()])
        ax.set_xlabel(message("Time (spaced as the test weighs it)"))
        ax.set_ylabel(textwrap.fill(message("Log hazard ratio of {name}", name=name), 44))
        return ax


def _frame(ax: Axes, residuals: pd.DataFrame, shown: np.ndarray) -> None:
    """Show the curve and most residuals: a few far ones would flatten everything else."""
    most = np.quantile(residuals["estimate"], [0.05, 0.95])
    bottom, top = min(float(shown.min()), most[0]), max(float(shown.max()), most[1])
    room = 0.06 * (top - bottom or 1.0)
    ax.set_ylim(bottom - room, top + room)


def _name_lines(ax: Axes, x: np.ndarray, line: np.ndarray, constant: float) -> None:
    """Name the smooth and the constant at the right, apart from one another."""
    bottom, top = ax.get_ylim()
    gap = 0.09 * (top - bottom)
    ends = sorted([(float(line[-1]), 0), (constant, 1)])
    heights = [e[0] for e in ends]
    if heights[1] - heights[0] < gap:
        middle = sum(heights) / 2
        heights = [middle - gap / 2, middle + gap / 2]
    words = [message("over time (band: 95%)"), message("if it were constant")]
    wide = float(x[-1] - x[0])
    ax.set_xlim(x[0] - 0.02 * wide, x[-1] + 0.02 * wide)
    right = float(x[-1]) + 0.05 * wide
    for (value, which), height in zip(ends, heights, strict=True):
        ax.annotate(
            words[which],
            xy=(float(x[-1]), value),
            xytext=(right, height),
            annotation_clip=False,
            va="center",
            color=INK,
            arrowprops={"arrowstyle": "-", "color": SERIES[which], "linewidth": 0.8, "relpos": (0, 0.5)},
        )

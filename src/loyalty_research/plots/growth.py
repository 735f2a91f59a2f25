"""Picture of sales before and after a day, with what went on as before drawn beside what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message
from loyalty_research.plots.style import DASHES, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["interrupted_series"]


def interrupted_series(
    frame: pd.DataFrame, *, launch: pd.Timestamp, ylabel: str, title: str, ax: Axes | None = None
) -> Axes:
    """Draw a series, the lines fitted before and after a day, and the first line carried on.

    Args:
        frame: ``date``, ``sales``, ``fitted``, ``without`` (carried on from before; NaN before the day).
        launch: The day.
        ylabel: What is drawn.
        title: Heading of the picture.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> days = pd.date_range("2024-01-01", periods=4)
        >>> made = pd.DataFrame({"date": days, "sales": [1.0, 2, 4, 5], "fitted": [1.0, 2, 4, 5],
        ...                      "without": [None, None, 3.0, 4]})
        >>> len(interrupted_series(made, launch=days[2], ylabel="sales", title="Sales").lines)
        5
    """
    with style():
        ax = figure_axes(ax, height=3.6)
        after = (frame["date"] >= launch).to_numpy()
        ax.plot(
            frame["date"],
            frame["sales"],
            linestyle="none",
            marker=MARKERS[0],
            markersize=3.5,
            markerfacecolor="none",
            markeredgecolor=MUTED,
        )
        for part in (~after, after):
            ax.plot(frame["date"][part], frame["fitted"][part], color=SERIES[0], linestyle=DASHES[0])
        ax.plot(frame["date"], frame["without"], color=SERIES[1], linestyle=DASHES[1])
        ax.plot(
            np.array([launch, launch], dtype="datetime64[us]"),
            np.array([0, 1]),
            color=INK,
            linestyle=DASHES[2],
            linewidth=1.2,
            transform=ax.get_xaxis_transform(),
        )
        ends = {
            message("fitted"): (float(frame["fitted"].iloc[-1]), SERIES[0]),
            message("as before"): (float(frame["without"].iloc[-1]), SERIES[1]),
        }
        upper = max(ends, key=lambda label: ends[label][0])
        for label, (height, colour) in ends.items():
            ax.annotate(
                label,
                (frame["date"].iloc[-1], height),
                xytext=(5, 4 if label == upper else -4),
                textcoords="offset points",
                va="bottom" if label == upper else "top",
                color=colour,
                fontweight="bold",
            )
        ax.margins(x=0.08)
        ax.set_ylim(bottom=min(0.0, float(frame["sales"].min())))
        ax.set_ylabel(ylabel)
        ax.set_title(title)
        ax.figure.autofmt_xdate(rotation=0, ha="center")
    return ax

"""Pictures of how the risk of leaving changes with time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import INK, MARKERS, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["hazard_periods"]

_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def hazard_periods(
    periods: pd.DataFrame,
    *,
    ax: Axes | None = None,
    time_label: str | None = None,
    share_label: str | None = None,
) -> Axes:
    """Draw the share leaving in each period as a point with its interval, on a log scale if wide.

    Args:
        periods: ``group, start, stop, estimate, low, high``, shares from 0 to 1.
        ax: Axes to draw on.
        time_label: What the horizontal axis shows.
        share_label: What the vertical axis shows.
    """
    with style():
        ax = figure_axes(ax)
        groups = list(dict.fromkeys(periods["group"]))
        value = periods["estimate"].to_numpy(dtype=float)
        wide = bool(value.min() > 0 and value.max() > 8 * value.min())
        if wide:
            ax.set_yscale("log")
        for i, group in enumerate(groups):
            part = periods[periods["group"] == group]
            middle = (part["start"] + part["stop"]).to_numpy(dtype=float) / 2
            # side by side, so that intervals of two groups do not hide each other
            middle = middle + (i - (len(groups) - 1) / 2) * 0.12 * float(
                (part["stop"] - part["start"]).iloc[0]
            )
            y, low, high = (part[c].to_numpy(dtype=float) for c in ("estimate", "low", "high"))
            colour = SERIES[i % len(SERIES)]
            ax.vlines(middle, low, high, color=colour, linewidth=1.4)
            ax.plot(middle, y, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=5, linewidth=0.8)
            if len(groups) > 1:
                ax.annotate(
                    str(group),
                    xy=(middle[-1], y[-1]),
                    xytext=(8, 0),
                    textcoords="offset points",
                    va="center",
                    color=INK,
                    annotation_clip=False,
                )
        if wide:
            low, high = periods["low"].to_numpy(dtype=float), periods["high"].to_numpy(dtype=float)
            bottom, top = max(float(low[low > 0].min()) / 1.2, 1e-4), min(float(high.max()) * 1.2, 1.0)
            ax.set_ylim(bottom, top)
            ax.set_yticks([t for t in _TICKS if bottom <= t <= top])
            ax.minorticks_off()
        else:
            ax.set_ylim(0, None)
        ax.set_xlim(0, float(periods["stop"].max()))
        ax.set_xticks(np.unique(periods["start"].to_numpy(dtype=float))[:: max(1, len(periods) // 8)])
        ax.yaxis.set_major_formatter(lambda v, _: percent(float(v), digits=0 if v >= 0.01 or v == 0 else 1))
        label = share_label or message("Share leaving in the period")
        ax.set_ylabel(message("{label}, log scale", label=label) if wide else label)
        ax.set_xlabel(time_label or message("Days"))
        return ax

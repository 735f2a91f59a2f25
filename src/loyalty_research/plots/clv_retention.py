"""Picture of retention under contract: projected against actual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import DASHES, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["retention"]


def retention(
    periods: pd.DataFrame, *, ax: Axes | None = None, reach: int | None = None, level: float = 0.95
) -> Axes:
    """Draw the share of customers still there: the model's with its band, the actual one as points.

    Args:
        periods: One row per period from 1: period, survival, low, high, actual (NaN where unknown).
        ax: Axes to draw on.
        reach: Last period the model has seen; what follows is dashed.
        level: Coverage of the band.

    Examples:
        >>> import pandas as pd
        >>> shares = pd.DataFrame({"period": [1, 2, 3], "survival": [0.8, 0.7, 0.65], "low": [0.78, 0.68, 0.61],
        ...                        "high": [0.82, 0.72, 0.69], "actual": [0.81, 0.69, float("nan")]})
        >>> retention(shares, reach=2).get_xlabel()
        'renewals'
    """
    from matplotlib.ticker import MaxNLocator

    with style():
        ax = figure_axes(ax)
        time = np.concatenate([[0.0], periods["period"].to_numpy(dtype=float)])
        share, low, high = (
            np.concatenate([[1.0], periods[name].to_numpy(dtype=float)])
            for name in ("survival", "low", "high")
        )
        last = time[-1] if reach is None else float(reach)
        ax.fill_between(time, low, high, color=SERIES[1], alpha=0.15, linewidth=0)
        seen, ahead = time <= last, time >= last
        ax.plot(time[seen], share[seen], color=SERIES[1], linestyle=DASHES[0], label=message("model"))
        if ahead.sum() > 1:
            ax.plot(
                time[ahead], share[ahead], color=SERIES[1], linestyle=DASHES[1], label=message("projected")
            )
            ax.axvline(last, color=MUTED, linestyle=DASHES[2], linewidth=1.2)
            ax.annotate(
                message("end of observation"),
                (last, 1.0),
                xytext=(6, -2),
                textcoords="offset points",
                color=INK,
                va="top",
            )
        actual = periods["actual"].to_numpy(dtype=float)
        known = np.isfinite(actual)
        if known.any():
            ax.plot(
                time[1:][known],
                actual[known],
                color=SERIES[0],
                marker=MARKERS[0],
                linestyle="none",
                label=message("actual"),
            )
        ax.set_ylim(0, 1.03)
        ticks = np.linspace(0, 1, 6)
        ax.set_yticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_xlabel(message("renewals"))
        ax.set_ylabel(message("customers still there"))
        ax.set_title(message("Retention, with the model's {level} band", level=percent(level, digits=0)))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        ax.legend()
    return ax

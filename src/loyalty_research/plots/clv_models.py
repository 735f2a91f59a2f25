"""Pictures of fitted models of purchases: expectations, one customer's history, how customers differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["alive_history", "density", "expectation_map"]


def _round_levels(top: float, count: int = 5) -> list[float]:
    """Return up to ``count`` round steps from 0 that reach past ``top``."""
    raw = top / count
    scale = 10.0 ** np.floor(np.log10(raw))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= raw * 0.999)
    return [round(k * step, 10) for k in range(int(np.ceil(top / step)) + 1)]


def expectation_map(grid: pd.DataFrame, *, ahead: float, ax: Axes | None = None, unit: str = "") -> Axes:
    """Draw expected purchases by recency and frequency as shaded bands with labelled edges.

    Args:
        grid: Expected purchases; the index is the number of repeat purchases, the columns the time
            of the last one; both increasing.
        ahead: Length of time ahead.
        ax: Axes to draw on.
        unit: Word for the time unit, such as ``"weeks"``.

    Examples:
        >>> import pandas as pd
        >>> grid = pd.DataFrame([[0.2, 0.6, 0.9], [0.0, 0.3, 3.5]], index=[1, 5], columns=[0.0, 20.0, 39.0])
        >>> expectation_map(grid, ahead=26, unit="weeks").get_ylabel()
        'repeat purchases'
    """
    from matplotlib.colors import to_rgb

    with style():
        ax = figure_axes(ax)
        x, y = grid.columns.to_numpy(dtype=float), grid.index.to_numpy(dtype=float)
        values = grid.to_numpy(dtype=float)
        levels = _round_levels(max(float(values.max()), 1e-9))
        # one colour in several strengths: readable in grey, and dark mode swaps the colour under it
        bands = len(levels) - 1
        shades = [(*to_rgb(SERIES[0]), 0.05 + 0.55 * k / max(bands - 1, 1)) for k in range(bands)]
        ax.contourf(x, y, values, levels=levels, colors=shades)
        edges = ax.contour(x, y, values, levels=levels[1:-1], colors=INK, linewidths=0.9)
        ax.clabel(edges, fmt=lambda v: f"{v:g}", fontsize=9, colors=INK)
        ax.set_xlabel(message("last purchase, {unit} after the first", unit=unit or message("time units")))
        ax.set_ylabel(message("repeat purchases"))
        ax.set_title(
            message(
                "Purchases expected in the next {ahead} {unit}",
                ahead=f"{ahead:g}",
                unit=unit or message("time units"),
            )
        )
        ax.grid(visible=False)
    return ax


def alive_history(
    curve: pd.DataFrame, *, purchases: Sequence[float], ax: Axes | None = None, unit: str = ""
) -> Axes:
    """Draw P(alive) over a pattern of purchases, with its band and a mark for each purchase.

    Args:
        curve: ``time``, ``probability_alive``, ``low``, ``high``.
        purchases: Times of the repeat purchases.
        ax: Axes to draw on.
        unit: Word for the time unit.

    Examples:
        >>> import pandas as pd
        >>> curve = pd.DataFrame({"time": [0.0, 10], "probability_alive": [1.0, 0.6], "low": [1.0, 0.5],
        ...                       "high": [1.0, 0.7]})
        >>> alive_history(curve, purchases=[4], unit="weeks").get_xlabel()
        'weeks since the first purchase'
    """
    with style():
        ax = figure_axes(ax)
        time, alive, low, high = (
            curve[c].to_numpy(dtype=float) for c in ("time", "probability_alive", "low", "high")
        )
        ax.fill_between(time, low, high, color=SERIES[0], alpha=0.15, linewidth=0)
        ax.plot(time, alive, color=SERIES[0])
        days = [0.0, *purchases]
        ax.plot(days, np.full(len(days), 0.03), color=INK, marker=MARKERS[2], linestyle="none", markersize=6)
        ax.annotate(
            message("purchases"),
            (days[-1], 0.03),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
        ax.annotate(
            message("{alive} at the end", alive=percent(float(alive[-1]), digits=0)),
            (time[-1], alive[-1]),
            xytext=(-6, 20),
            textcoords="offset points",
            ha="right",
            color=SERIES[0],
            fontweight="bold",
        )
        ax.set_ylim(0, 1.05)
        ax.set_xlim(float(time[0]), float(time[-1]) * 1.01)
        ticks = np.linspace(0, 1, 6)
        ax.set_yticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_xlabel(message("{unit} since the first purchase", unit=unit or message("time units")))
        ax.set_ylabel(message("probability of still being a customer"))
        ax.set_title(message("What each silence says: one pattern of purchases"))
    return ax


def density(
    frame: pd.DataFrame, *, label: str, title: str, mean: float, ax: Axes | None = None, share: bool = False
) -> Axes:
    """Draw a fitted density over customers with the band that the parameters leave.

    Args:
        frame: ``value``, ``density``, ``low``, ``high``.
        label: What is on the horizontal axis.
        title: Title of the picture.
        mean: Mean over customers, marked with a line.
        ax: Axes to draw on.
        share: Show the axis as percentages.

    Examples:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"value": [0.1, 0.2], "density": [3.0, 1], "low": [2.5, 0.8], "high": [4.0, 1.3]})
        >>> density(frame, label="rate", title="Rates", mean=0.15).get_xlabel()
        'rate'
    """
    with style():
        ax = figure_axes(ax, height=3.6)
        value, fitted, low, high = (
            frame[c].to_numpy(dtype=float) for c in ("value", "density", "low", "high")
        )
        # a density that is endless at an end would flatten all the rest
        top = 1.4 * float(np.quantile(high, 0.95))
        ax.fill_between(value, low, high, color=SERIES[0], alpha=0.15, linewidth=0)
        ax.plot(value, fitted, color=SERIES[0])
        middle = len(value) // 3
        ax.annotate(
            message("fitted, with 95% band of the parameters"),
            (value[middle], min(high[middle], top)),
            xytext=(10, 14),
            textcoords="offset points",
            color=SERIES[0],
            fontweight="bold",
        )
        if fitted[0] > top or fitted[-1] > top:
            ax.annotate(
                message("rises beyond the picture at the edge"),
                (1.0, 1.0),
                xycoords="axes fraction",
                ha="right",
                va="top",
                color=MUTED,
            )
        ax.axvline(mean, color=MUTED, linestyle=DASHES[2], linewidth=1.2)
        ax.annotate(
            message("mean {mean}", mean=percent(mean) if share else number(mean, digits=3)),
            (mean, 0.0),
            xytext=(5, 6),
            textcoords="offset points",
            color=MUTED,
        )
        ax.set_xlim(0, float(value[-1]))
        ax.set_ylim(0, top)
        ax.set_yticks([])
        if share:
            ticks = np.linspace(0, 1, 6)
            ax.set_xticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_xlabel(label)
        ax.set_ylabel(message("share of customers (density)"))
        ax.set_title(title)
    return ax

"""Pictures of staying and leaving: curves with numbers at risk, ratios, inactivity windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, GRID, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["FEW", "counts_beneath", "forest", "spread_apart", "survival_curves", "window_sweep"]

FEW = 5
"""Counts of customers from 1 to one below this are shown as ``<5``."""


def survival_curves(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame | None = None,
    *,
    band: pd.DataFrame | None = None,
    ax: Axes | None = None,
    time_label: str | None = None,
    level: float = 0.95,
    label: str | None = None,
    share: bool = True,
) -> Axes:
    """Draw survival curves with bands, labelled where they end, and the numbers at risk beneath.

    Args:
        curves: Steps: ``group, time, estimate, low, high``, ascending in time within a group.
        at_risk: Counts: ``group, time, at_risk``, the same times for each group.
        band: Edges of simultaneous bands, drawn as thin lines: ``group, time, low, high``.
        ax: Axes to draw on.
        time_label: What the horizontal axis shows.
        level: Confidence level of the bands.
        label: What the vertical axis shows; by default the share still there.
        share: Whether the values are shares, drawn from 0 to 100%.
    """
    with style():
        groups = list(dict.fromkeys(curves["group"]))
        lines = len(groups) if at_risk is not None else 0
        ax = figure_axes(ax, height=4.2 + 0.25 * lines)
        ends: list[tuple[float, float, str]] = []
        for i, group in enumerate(groups):
            part = curves[curves["group"] == group]
            colour, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
            time, estimate = (part[c].to_numpy(dtype=float) for c in ("time", "estimate"))
            low, high = (part[c].to_numpy(dtype=float) for c in ("low", "high"))
            ax.fill_between(time, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
            ax.step(time, estimate, where="post", color=colour, linestyle=dash)
            if band is not None:
                _edges_of_band(ax, band[band["group"] == group], colour)
            ends.append((float(time[-1]), float(estimate[-1]), str(group)))
        first = float(curves["time"].min())
        ax.set_xlim(first, max(e[0] for e in ends))
        top = 1.0 if share else float(np.nanmax(curves["high"]))
        ax.set_ylim(0, 1.02 * top)
        if len(groups) > 1:
            _label_ends(ax, ends, top)
        if share:
            ax.yaxis.set_major_formatter(lambda v, _: percent(float(v), digits=0))
        words = message("Still there (band: {level} interval)", level=percent(level, digits=0))
        if band is not None:
            words = message(
                "Still there (shaded: {level} a day;\nthin lines: {level} for the whole curve)",
                level=percent(level, digits=0),
            )
        ax.set_ylabel(label or words)
        ax.set_xlabel(time_label or message("Days"))
        if at_risk is not None:
            counts_beneath(ax, at_risk, groups)
        return ax


def _edges_of_band(ax: Axes, part: pd.DataFrame, colour: str) -> None:
    """Draw the edges of one group's simultaneous band."""
    time = part["time"].to_numpy(dtype=float)
    for edge in ("low", "high"):
        values = part[edge].to_numpy(dtype=float)
        ax.step(time, values, where="post", color=colour, linewidth=0.9, linestyle=(0, (1, 1)))


def _label_ends(ax: Axes, ends: list[tuple[float, float, str]], top: float) -> None:
    """Name each curve at its end, moved apart where ends are close."""
    heights = top * spread_apart(np.array([e[1] for e in ends]) / top, least=0.06)
    left, right = ax.get_xlim()
    for i, ((time, estimate, name), height) in enumerate(zip(ends, heights, strict=True)):
        colour = SERIES[i % len(SERIES)]
        ax.plot(
            [time], [estimate], marker=MARKERS[i % len(MARKERS)], color=colour, clip_on=False, markersize=5
        )
        ax.annotate(
            name,
            xy=(time, estimate),
            xytext=(right + 0.03 * (right - left), height),
            textcoords="data",
            annotation_clip=False,
            va="center",
            color=INK,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.8,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def spread_apart(heights: Floats, *, least: float) -> Floats:
    """Move heights in [0, 1] apart by at least ``least``, keeping their order.

    Args:
        heights: Where labels would stand.
        least: Smallest distance.
    """
    order = np.argsort(heights, kind="stable")
    spread = heights[order].copy()
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + least)
    over = spread[-1] - 1.0
    if over > 0:
        spread[-1] -= over
        for i in range(len(spread) - 2, -1, -1):
            spread[i] = min(spread[i], spread[i + 1] - least)
    out = np.empty_like(spread)
    out[order] = spread
    return out


def counts_beneath(ax: Axes, at_risk: pd.DataFrame, groups: list[Any]) -> None:
    """Write the numbers at risk under the axis, aligned with its ticks."""
    times = np.unique(at_risk["time"].to_numpy(dtype=float))
    left, right = ax.get_xlim()
    times = times[(times >= left) & (times <= right + 1e-9)]
    ax.set_xticks(times)
    transform = ax.get_xaxis_transform()
    top, height = -0.17, 0.07
    ax.text(
        left,
        top,
        message("Number at risk"),
        transform=transform,
        color=MUTED,
        ha="left",
        va="top",
        fontsize=9,
    )
    for i, group in enumerate(groups):
        y = top - height * (i + 1)
        part = at_risk[at_risk["group"] == group].set_index("time")["at_risk"]
        if len(groups) > 1:
            ax.text(
                -0.06, y, str(group), transform=ax.transAxes, color=INK, ha="right", va="top", fontsize=8.5
            )
        for time in times:
            shown = _count(float(part[time]))
            ax.text(time, y, shown, transform=transform, color=INK, ha="center", va="top", fontsize=8.5)


def _count(value: float) -> str:
    return f"<{FEW}" if 0 < value < FEW else f"{value:,.0f}"


def forest(
    ratios: pd.DataFrame, *, ax: Axes | None = None, label: str | None = None, no_difference: float = 1.0
) -> Axes:
    """Draw ratios with their intervals on a log scale, one line each.

    Args:
        ratios: ``term, estimate, low, high``; infinite or zero limits become arrows.
        ax: Axes to draw on.
        label: What the horizontal axis shows.
        no_difference: Where the reference line stands.
    """
    with style():
        n = len(ratios)
        ax = figure_axes(ax, height=1.3 + 0.42 * n)
        estimate, low, high = (ratios[c].to_numpy(dtype=float) for c in ("estimate", "low", "high"))
        edge = _edges(estimate, low, high, no_difference)
        ax.set_xscale("log")
        ax.axvline(no_difference, color=MUTED, linewidth=1.0)
        for i in range(n):
            y = n - 1 - i
            left, right = max(low[i], edge[0]), min(high[i], edge[1])
            ax.plot([left, right], [y, y], color=SERIES[0], linewidth=2.0, solid_capstyle="butt")
            if edge[0] <= estimate[i] <= edge[1]:
                ax.plot([estimate[i]], [y], marker="o", color=SERIES[0], markersize=6)
            if low[i] < edge[0]:
                ax.plot([edge[0]], [y], marker="<", color=SERIES[0], markersize=7, clip_on=False)
            if high[i] > edge[1]:
                ax.plot([edge[1]], [y], marker=">", color=SERIES[0], markersize=7, clip_on=False)
            words = message(
                "{value} ({low} to {high})",
                value=_ratio(estimate[i]),
                low=_ratio(low[i]),
                high=_ratio(high[i]),
            )
            ax.text(
                1.02,
                y,
                words,
                transform=ax.get_yaxis_transform(),
                color=INK,
                va="center",
                ha="left",
                fontsize=8.5,
            )
        ax.set_xlim(*edge)
        ax.set_ylim(-0.7, n - 0.3)
        ax.set_yticks(np.arange(n)[::-1], [str(t) for t in ratios["term"]])
        ax.set_xticks(_log_ticks(edge))
        ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
        ax.minorticks_off()
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(label or message("Ratio"))
        return ax


def _ratio(value: float) -> str:
    return number(value, digits=2) if np.isfinite(value) and value < 1000 else number(value)


def _edges(estimate: Floats, low: Floats, high: Floats, middle: float) -> tuple[float, float]:
    """Return axis limits that hold the finite limits without running to extremes."""
    values = np.concatenate([estimate, low, high])
    values = values[np.isfinite(values) & (values > middle / 50) & (values < middle * 50)]
    bottom = min(float(values.min()) if len(values) else middle, middle / 1.2)
    top = max(float(values.max()) if len(values) else middle, middle * 1.2)
    return bottom / 1.08, top * 1.08


def _log_ticks(edge: tuple[float, float]) -> list[float]:
    nice = [0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50]
    inside = [v for v in nice if edge[0] <= v <= edge[1]]
    while len(inside) > 7:
        inside = [v for i, v in enumerate(inside) if v == 1 or (i - inside.index(1)) % 2 == 0]
    return inside


def window_sweep(windows: pd.DataFrame, *, at: float, ax: Axes | None = None) -> Axes:
    """Draw the share still there and the share that came back against the inactivity window.

    Args:
        windows: ``inactivity_days, survival, low, high, share_returned, without_cut_off``.
        at: Day at which survival is read.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax)
        x = windows["inactivity_days"].to_numpy(dtype=float)
        low, high = (windows[c].to_numpy(dtype=float) for c in ("low", "high"))
        ax.fill_between(x, low, high, color=SERIES[0], alpha=0.18, linewidth=0)
        series = [
            ("survival", SERIES[0], message("still buying on day {at}", at=number(at, digits=0))),
            ("share_returned", SERIES[1], message("of those gone, bought again")),
            ("without_cut_off", MUTED, message("still buying if the cut-off\nwere forgotten (wrong)")),
        ]
        ends = []
        gap = (windows["without_cut_off"] - windows["survival"]).abs().max()
        for i, (column, colour, name) in enumerate(series):
            y = windows[column].to_numpy(dtype=float)
            if column == "without_cut_off" and not gap > 0.005:
                continue
            ax.plot(x, y, color=colour, linestyle=DASHES[i], marker=MARKERS[i], markersize=5)
            known = np.flatnonzero(np.isfinite(y))
            if len(known):
                ends.append((float(y[known[-1]]), colour, name))
        top = float(np.nanmax([windows[c].max() for c, _, _ in series]))
        ax.set_ylim(0, min(1.02, 1.15 * top) if top > 0 else 1)
        scale = ax.get_ylim()[1]
        heights = scale * spread_apart(np.array([e[0] for e in ends]) / scale, least=0.12)
        for (value, colour, name), height in zip(ends, heights, strict=True):
            ax.annotate(
                name,
                xy=(x[-1], value),
                xytext=(x[-1] + 0.04 * (x[-1] - x[0] or 1), height),
                textcoords="data",
                annotation_clip=False,
                va="center",
                color=INK,
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (0, 0.5)},
            )
        ax.set_xticks(x)
        ax.grid(visible=True, color=GRID)
        ax.yaxis.set_major_formatter(lambda v, _: percent(float(v), digits=0))
        ax.set_xlabel(message("Inactivity window, days without a purchase"))
        ax.set_ylabel(message("Share of customers"))
        return ax

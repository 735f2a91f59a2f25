"""Pictures of how good predictions are, and of how often things happen again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, INK, MARKERS, MUTED, SERIES, figure_axes, style
from loyalty_research.plots.survival import counts_beneath, spread_apart

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["auc_over_time", "calibration_curve", "mean_cumulative", "scores_over_time"]


def calibration_curve(
    curve: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    time: float,
    ax: Axes | None = None,
    level: float = 0.95,
) -> Axes:
    """Draw observed against predicted chances of leaving, with the line of perfection.

    Args:
        curve: ``predicted, observed, low, high``, ascending.
        groups: ``predicted, observed, low, high`` of groups of like predictions.
        time: The day judged.
        ax: Axes to draw on.
        level: Confidence level of band and bars.
    """
    with style():
        ax = figure_axes(ax, width=5.4, height=5.0)
        top = _top(curve, groups)
        ax.plot([0, top], [0, top], color=MUTED, linewidth=1.0)
        ax.text(
            0.97 * top,
            0.97 * top,
            message("as predicted"),
            color=MUTED,
            ha="right",
            va="bottom",
            rotation=45,
            rotation_mode="anchor",
            fontsize=8.5,
        )
        x, y, low, high = (curve[c].to_numpy(dtype=float) for c in ("predicted", "observed", "low", "high"))
        ax.fill_between(x, low, high, color=SERIES[0], alpha=0.18, linewidth=0)
        ax.plot(x, y, color=SERIES[0], linestyle=DASHES[0], label=message("smoothed"))
        gx, gy, glow, ghigh = (
            groups[c].to_numpy(dtype=float) for c in ("predicted", "observed", "low", "high")
        )
        ax.vlines(gx, glow, ghigh, color=SERIES[1], linewidth=1.2)
        ax.plot(
            gx,
            gy,
            linestyle="none",
            marker=MARKERS[1],
            markersize=5,
            color=SERIES[1],
            label=message("groups of customers (Kaplan-Meier)"),
        )
        ax.set_xlim(0, top)
        ax.set_ylim(0, top)
        ax.set_aspect("equal")
        ax.legend(loc="upper left", fontsize=8.5, labelcolor=INK)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda v, _: percent(float(v), digits=0))
        day = number(time, digits=0)
        ax.set_xlabel(message("Predicted chance of leaving by day {day}", day=day))
        ax.set_ylabel(
            message("Share that left (band, bars: {level} interval)", level=percent(level, digits=0))
        )
        return ax


def _top(curve: pd.DataFrame, groups: pd.DataFrame) -> float:
    """Return an upper end of both axes that holds the points without the widest bars."""
    highest = max(
        float(np.nanmax(curve[["predicted", "observed"]].to_numpy(dtype=float))),
        float(np.nanmax(groups[["predicted", "observed", "high"]].to_numpy(dtype=float))),
    )
    return min(1.0, 1.05 * highest)


def auc_over_time(areas: pd.DataFrame, *, ax: Axes | None = None, level: float = 0.95) -> Axes:
    """Draw how well leavers are told from stayers, per day, against a coin.

    Args:
        areas: ``time, estimate, low, high``.
        ax: Axes to draw on.
        level: Confidence level of the bars.
    """
    with style():
        ax = figure_axes(ax)
        known = areas.dropna(subset=["estimate"])
        x, y, low, high = (known[c].to_numpy(dtype=float) for c in ("time", "estimate", "low", "high"))
        ax.axhline(0.5, color=MUTED, linewidth=1.0)
        ax.text(
            1.0,
            0.5,
            message(" a coin"),
            transform=ax.get_yaxis_transform(),
            color=MUTED,
            va="center",
            fontsize=8.5,
        )
        ax.vlines(x, low, high, color=SERIES[0], linewidth=1.4)
        ax.plot(x, y, color=SERIES[0], marker=MARKERS[0], markersize=5)
        ax.set_ylim(min(0.45, float(np.nanmin(low, initial=0.5)) - 0.02), 1.0)
        ax.yaxis.set_major_formatter(lambda v, _: percent(float(v), digits=0))
        ax.set_xlabel(message("Days ahead"))
        ax.set_ylabel(
            message("Leavers ranked above stayers (bars: {level} interval)", level=percent(level, digits=0))
        )
        return ax


def scores_over_time(scores: pd.DataFrame, *, ax: Axes | None = None, level: float = 0.95) -> Axes:
    """Draw Brier scores per day beside those of the same chance for everybody.

    Args:
        scores: ``time, estimate, low, high, null``.
        ax: Axes to draw on.
        level: Confidence level of the bars.
    """
    with style():
        ax = figure_axes(ax)
        x, y, low, high, null = (
            scores[c].to_numpy(dtype=float) for c in ("time", "estimate", "low", "high", "null")
        )
        ax.plot(x, null, color=MUTED, linestyle=DASHES[1], marker=MARKERS[1], markersize=5)
        ax.vlines(x, low, high, color=SERIES[0], linewidth=1.4)
        ax.plot(x, y, color=SERIES[0], linestyle=DASHES[0], marker=MARKERS[0], markersize=5)
        apart = y[-1] < null[-1]
        for value, colour, name, up in (
            (null[-1], MUTED, message("same chance for everybody"), apart),
            (y[-1], SERIES[0], message("model"), not apart),
        ):
            ax.annotate(
                name,
                (x[-1], value),
                xytext=(0, 16 if up else -16),
                textcoords="offset points",
                ha="right",
                va="bottom" if up else "top",
                color=INK if colour != MUTED else MUTED,
                fontsize=8.5,
            )
        ax.set_ylim(0, 1.15 * float(np.nanmax(np.concatenate([high, null]))))
        ax.set_xlabel(message("Days ahead"))
        ax.set_ylabel(
            message("Brier score, lower is better (bars: {level} interval)", level=percent(level, digits=0))
        )
        return ax


def mean_cumulative(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame,
    *,
    ax: Axes | None = None,
    time_label: str | None = None,
    level: float = 0.95,
) -> Axes:
    """Draw mean numbers of events with bands, labelled where they end, and the numbers at risk beneath.

    Args:
        curves: Steps: ``group, time, estimate, low, high``, ascending in time within a group.
        at_risk: Counts: ``group, time, at_risk``, the same times for each group.
        ax: Axes to draw on.
        time_label: What the horizontal axis shows.
        level: Confidence level of the bands.
    """
    with style():
        groups = list(dict.fromkeys(curves["group"]))
        ax = figure_axes(ax, height=4.2 + 0.25 * len(groups))
        ends = []
        for i, group in enumerate(groups):
            part = curves[curves["group"] == group]
            time, mean, low, high = (
                part[c].to_numpy(dtype=float) for c in ("time", "estimate", "low", "high")
            )
            colour = SERIES[i % len(SERIES)]
            ax.fill_between(time, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
            ax.step(time, mean, where="post", color=colour, linestyle=DASHES[i % len(DASHES)])
            ends.append((float(time[-1]), float(mean[-1]), str(group)))
        top = 1.05 * float(np.nanmax(curves[["estimate", "high"]].to_numpy(dtype=float)))
        right = max(e[0] for e in ends)
        ax.set_xlim(0, right)
        ax.set_ylim(0, top)
        if len(groups) > 1:
            heights = top * spread_apart(np.array([e[1] for e in ends]) / top, least=0.06)
            for i, ((time_, mean_, name), height) in enumerate(zip(ends, heights, strict=True)):
                colour = SERIES[i % len(SERIES)]
                ax.plot(
                    [time_],
                    [mean_],
                    marker=MARKERS[i % len(MARKERS)],
                    color=colour,
                    clip_on=False,
                    markersize=5,
                )
                ax.annotate(
                    name,
                    xy=(time_, mean_),
                    xytext=(1.03 * right, height),
                    textcoords="data",
                    annotation_clip=False,
                    va="center",
                    color=INK,
                    arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (0, 0.5)},
                )
        ax.set_ylabel(
            message(
                "Mean times left, returns counted (band: {level} interval)", level=percent(level, digits=0)
            )
        )
        ax.set_xlabel(time_label or message("Days"))
        counts_beneath(ax, at_risk, groups)
        return ax

"""Pictures of stamp-card experiments, drawn from tidy frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import DASHES, GRID, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = [
    "FEW",
    "completion_bars",
    "completion_curves",
    "hazard_by_stamps",
    "posterior_difference",
    "power_curve",
]

FEW = 5
"""Counts of cards below this are not shown."""


def _stamps(ax: Axes, row: float, required: int, endowed: int, colour: str) -> None:
    """Draw the card of an arm: given stamps filled, stamps to earn hollow."""
    at = np.arange(required) * min(0.035, 0.9 / required) + 0.012
    level = np.full(required, row - 0.36)
    given = np.arange(required) < endowed
    ax.scatter(at[~given], level[~given], s=34, facecolors="none", edgecolors=colour, linewidths=1.2)
    ax.scatter(at[given], level[given], s=34, color=colour, linewidths=1.2)


def completion_bars(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw completion by arm as progress bars with intervals.

    Args:
        frame: One row per arm: arm, cards, completed, estimate, low, high (fractions); with
            required and endowed the card itself is drawn under its bar.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> rates = pd.DataFrame({"arm": ["plain", "given"], "cards": [150, 150], "completed": [28, 51],
        ...                       "estimate": [0.187, 0.34], "low": [0.132, 0.269], "high": [0.257, 0.419]})
        >>> [t.get_text() for t in completion_bars(rates).get_yticklabels()]
        ['plain', 'given']
    """
    with style():
        ax = figure_axes(ax, height=1.2 + 0.95 * len(frame))
        cards = {"required", "endowed"} <= set(frame.columns)
        for i, arm in enumerate(frame.to_dict("records")):
            row, colour = len(frame) - 1.0 - i, SERIES[i % len(SERIES)]
            ax.barh(row, 1.0, height=0.42, color=GRID)
            ax.barh(row, arm["estimate"], height=0.42, color=colour)
            ax.plot([arm["low"], arm["high"]], [row, row], color=INK, linewidth=1.6, marker="|", markersize=9)
            words = message(
                "{rate} ({completed} of {cards})",
                rate=percent(arm["estimate"]),
                completed=format(arm["completed"], ","),
                cards=format(arm["cards"], ","),
            )
            beside = arm["high"] < 0.7
            ax.text(
                arm["high"] + 0.015 if beside else 0.985,
                row + (0.0 if beside else 0.3),
                words,
                va="center",
                ha="left" if beside else "right",
                color=INK,
            )
            if cards:
                _stamps(ax, row, int(arm["required"]), int(arm["endowed"]), colour)
        rows = len(frame) - 1.0 - np.arange(len(frame))
        ax.set_yticks(rows, [str(a) for a in frame["arm"]])
        ax.set_xlim(0, 1)
        ax.set_ylim(-0.6, len(frame) - 0.4)
        ax.set_xticks(np.linspace(0, 1, 5), [percent(t, digits=0) for t in np.linspace(0, 1, 5)])
        ax.set_xlabel(message("share of cards completed"))
        ax.set_title(message("Completion by arm"))
        ax.grid(visible=False)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return ax


def _label_ends(ax: Axes, ends: list[tuple[float, float, str, str]], *, gap: float, top: float) -> None:
    """Write each line's name at its right end, moved apart where they would touch."""
    ordered = sorted(ends, key=lambda e: e[1])
    heights: list[float] = []
    for _, y, _, _ in ordered:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    over = heights[-1] - top
    if over > 0:  # push back down from the top
        heights[-1] = top
        for i in range(len(heights) - 2, -1, -1):
            heights[i] = min(heights[i], heights[i + 1] - gap)
    for (x, _, name, colour), height in zip(ordered, heights, strict=True):
        ax.annotate(
            name,
            (x, height),
            xytext=(6, 0),
            textcoords="offset points",
            annotation_clip=False,
            color=colour,
            va="center",
            fontsize=9,
        )


def completion_curves(
    frame: pd.DataFrame,
    *,
    at_risk: pd.DataFrame | None = None,
    unit: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share done over time by arm, with bands and the cards still followed underneath.

    Args:
        frame: group, time, estimate, low, high: steps of one minus Kaplan-Meier, ascending.
        at_risk: group, time, at_risk: what is written under the axis.
        unit: Name of the unit of time; days by default.
        ylabel: What the share is of.
        title: Heading.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax, height=4.4)
        ends, top, last = [], 0.0, float(frame["time"].max())
        groups = list(dict.fromkeys(frame["group"]))
        for i, group in enumerate(groups):
            rows, colour = frame[frame["group"] == group], SERIES[i % len(SERIES)]
            ax.step(
                rows["time"], rows["estimate"], where="post", color=colour, linestyle=DASHES[i % len(DASHES)]
            )
            ax.fill_between(
                rows["time"], rows["low"], rows["high"], step="post", color=colour, alpha=0.15, lw=0
            )
            top = max(top, float(rows["high"].max()))
            ends.append((float(rows["time"].iloc[-1]), float(rows["estimate"].iloc[-1]), str(group), colour))
        top = min(1.0, 1.08 * top) if top > 0 else 1.0
        ax.set_ylim(0, top)
        ax.set_xlim(0, last)
        ax.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        _label_ends(ax, ends, gap=0.055 * top, top=top)
        ax.set_xlabel(unit or message("days since the card was issued"))
        ax.set_ylabel(ylabel or message("share completed"))
        ax.set_title(title or message("Completion over time"))
        if at_risk is not None:
            _at_risk(ax, at_risk, groups)
    return ax


def _at_risk(ax: Axes, frame: pd.DataFrame, groups: list[object]) -> None:
    """Write the cards still followed under the time axis, small counts as such."""
    place = ax.get_xaxis_transform()
    ax.set_xticks(np.unique(frame["time"].to_numpy(dtype=float)))
    ax.text(0, -0.2, message("Cards still followed"), transform=place, color=MUTED, fontsize=8.5, ha="left")
    for i, group in enumerate(groups):
        rows, level = frame[frame["group"] == group], -0.26 - 0.06 * i
        for time, count in zip(rows["time"], rows["at_risk"], strict=True):
            shown = f"<{FEW}" if 0 < count < FEW else f"{int(count):,}"
            ax.text(time, level, shown, transform=place, fontsize=8.5, ha="center", color=INK)
        colour = SERIES[i % len(SERIES)]
        ax.text(-0.045, level, str(group), transform=ax.transAxes, ha="right", fontsize=8.5, color=colour)


def hazard_by_stamps(
    naive: pd.DataFrame,
    *,
    corrected: pd.DataFrame | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the chance of a visit by stamps earned: pooled cards beside one typical card.

    Args:
        naive: arm, stamps, estimate, low, high: the share of periods with a visit among the
            cards that reached so many stamps.
        corrected: The same columns for a card of average inclination.
        unit: Name of the period; a week by default.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax)
        kinds = [(naive, message("pooled (selection)"), True)]
        if corrected is not None:
            kinds.append((corrected, message("one typical card"), False))
        top = 0.0
        for i, arm in enumerate(dict.fromkeys(naive["arm"])):
            for frame, said, pooled in kinds:
                rows = frame[frame["arm"] == arm]
                colour = SERIES[i % len(SERIES)]
                ax.plot(
                    rows["stamps"],
                    rows["estimate"],
                    color=colour,
                    linestyle=(0, (1.5, 1.5)) if pooled else "-",
                    marker=MARKERS[i % len(MARKERS)],
                    markerfacecolor="none" if pooled else colour,
                    label=f"{arm}, {said}",
                )
                ax.fill_between(rows["stamps"], rows["low"], rows["high"], color=colour, alpha=0.1, lw=0)
                top = max(top, float(rows["high"].max()))
        ax.set_ylim(0, min(1.0, 1.1 * top))
        most = int(naive["stamps"].max())
        ax.set_xticks(np.arange(0, most + 1, max(1, most // 10)))
        ax.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("stamps earned so far"))
        ax.set_ylabel(unit or message("chance of a visit in a week"))
        ax.set_title(message("Visits by stamps earned"))
        ax.legend(loc="upper left", fontsize=8.5)
    return ax


def posterior_difference(
    grid: ArrayLike,
    density: ArrayLike,
    *,
    low: float,
    high: float,
    margins: Iterable[tuple[float, str]] = (),
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Draw what is believed about the difference in completion.

    Args:
        grid: Differences, fractions, ascending.
        density: Posterior density at ``grid``.
        low: Lower end of the interval that is shaded.
        high: Upper end.
        margins: Margin and, in words, the probability that the difference exceeds it; each is a line.
        level: Probability of the interval.
        ax: Axes to draw on.
    """
    x, y = np.asarray(grid, dtype=float), np.asarray(density, dtype=float)
    with style():
        ax = figure_axes(ax, height=3.6)
        ax.plot(x, y, color=SERIES[0])
        inside = (x >= low) & (x <= high)
        ax.fill_between(x[inside], 0, y[inside], color=SERIES[0], alpha=0.25, lw=0)
        peak = float(y.max())
        ax.set_ylim(0, 1.35 * peak)
        for i, (margin, chance) in enumerate(sorted(margins)):
            # each line ends at its own words, so that it does not strike through its neighbour's
            tip = (1.3 - 0.11 * i) * peak
            ax.plot([margin, margin], [0, tip], color=INK, linewidth=1.1, linestyle=DASHES[1 + i % 4])
            ax.annotate(
                message("above {margin}: {chance}", margin=percent(margin, digits=0), chance=chance),
                (margin, tip),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        ax.xaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(message("difference in the share completed"))
        ax.set_title(
            message("What the counts say of the difference (shaded: {level})", level=percent(level, digits=0))
        )
    return ax


def power_curve(
    frame: pd.DataFrame, *, target: float | None = None, mark: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw power against cards per arm, one line per true effect.

    Args:
        frame: effect (words), cards, power.
        target: Power to be had, drawn as a horizontal line.
        mark: Cards per arm to mark by a vertical line.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax, height=3.9)
        ends = []
        for i, effect in enumerate(dict.fromkeys(frame["effect"])):
            rows, colour = frame[frame["effect"] == effect], SERIES[i % len(SERIES)]
            ax.plot(rows["cards"], rows["power"], color=colour, linestyle=DASHES[i % len(DASHES)])
            ends.append((float(rows["cards"].iloc[-1]), float(rows["power"].iloc[-1]), str(effect), colour))
        if target is not None:
            ax.axhline(target, color=MUTED, linewidth=1.0, linestyle=DASHES[2])
        if mark is not None:
            ax.axvline(mark, color=MUTED, linewidth=1.0, linestyle=DASHES[1])
        ax.set_ylim(0, 1.02)
        ax.set_xlim(0, float(frame["cards"].max()))
        _label_ends(ax, ends, gap=0.06, top=1.0)
        ax.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("cards per arm"))
        ax.set_ylabel(message("chance of finding the effect"))
        ax.set_title(message("Power"))
    return ax

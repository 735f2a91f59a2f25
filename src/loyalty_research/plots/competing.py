"""Pictures of competing causes of leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import INK, SERIES, SURFACE, figure_axes, style
from loyalty_research.plots.survival import spread_apart

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["stacked_incidence"]

_HATCHES = ("", "///", "...", "\\\\\\", "xx", "--")


def stacked_incidence(
    shares: pd.DataFrame,
    wrong: pd.DataFrame | None = None,
    *,
    ax: Axes | None = None,
    time_label: str | None = None,
) -> Axes:
    """Draw the shares who left for each cause on top of each other; white is who is still there.

    Args:
        shares: ``time`` and one column per cause with the share who left for it, as steps.
        wrong: The same columns with what one minus Kaplan-Meier says; drawn as dashed lines,
            stacked likewise, so that their top passes what can be.
        ax: Axes to draw on.
        time_label: What the horizontal axis shows.
    """
    with style():
        ax = figure_axes(ax)
        time = shares["time"].to_numpy(dtype=float)
        causes = [c for c in shares.columns if c != "time"]
        labels: list[tuple[float, str]] = []
        floor = np.zeros(len(time))
        for i, cause in enumerate(causes):
            top = floor + shares[cause].to_numpy(dtype=float)
            colour = SERIES[i % len(SERIES)]
            ax.fill_between(
                time,
                floor,
                top,
                step="post",
                facecolor=colour,
                edgecolor=SURFACE,
                hatch=_HATCHES[i % len(_HATCHES)],
                linewidth=0,
                alpha=0.75,
            )
            ax.step(time, top, where="post", color=colour, linewidth=1.4)
            labels.append(
                (
                    float((floor[-1] + top[-1]) / 2),
                    message("{cause}: {share}", cause=cause, share=percent(float(top[-1] - floor[-1]))),
                )
            )
            floor = top
        labels.append(
            (
                float((floor[-1] + 1) / 2),
                message("still there: {share}", share=percent(float(1 - floor[-1]))),
            )
        )
        highest = 1.0
        if wrong is not None:
            highest = max(highest, _overlay(ax, time, wrong, causes, labels))
        ax.set_xlim(float(time[0]), float(time[-1]))
        ax.set_ylim(0, 1.02 * highest)
        _name_at_end(ax, labels, highest)
        ax.yaxis.set_major_formatter(lambda v, _: percent(float(v), digits=0))
        ax.set_ylabel(message("Share of customers who had left, by cause"))
        ax.set_xlabel(time_label or message("Days"))
        return ax


def _overlay(
    ax: Axes,
    time: Floats,
    wrong: pd.DataFrame,
    causes: list[str],
    labels: list[tuple[float, str]],
) -> float:
    """Draw the sum of what one minus Kaplan-Meier says, and name it; return its top."""
    total = wrong[causes].to_numpy(dtype=float).sum(axis=1)
    ax.step(time, total, where="post", color=INK, linestyle=(0, (4, 2)), linewidth=1.6)
    each = "; ".join(f"{c}: {percent(float(wrong[c].iloc[-1]))}" for c in causes)
    labels.append(
        (
            float(total[-1]),
            message("sum of 1 - KM: {total}\n(wrong: {each})", total=percent(float(total[-1])), each=each),
        )
    )
    return float(total.max())


def _name_at_end(ax: Axes, labels: list[tuple[float, str]], highest: float) -> None:
    """Write each label beside the end of what it names, moved apart where they are close."""
    left, right = ax.get_xlim()
    heights = highest * spread_apart(np.array([v for v, _ in labels]) / highest, least=0.1)
    for (value, name), height in zip(labels, heights, strict=True):
        ax.annotate(
            name,
            xy=(right, value),
            xytext=(right + 0.03 * (right - left), float(height)),
            textcoords="data",
            annotation_clip=False,
            va="center",
            color=INK,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.7, "relpos": (0, 0.5)},
        )

"""Pictures of planned experiments and of what they earn, drawn from tidy frames and arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, INK, MARKERS, MUTED, SERIES, SURFACE, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["contrast_forest", "dose_response", "economics_fan", "estimate_spread", "look_bounds"]


def estimate_spread(estimates: ArrayLike, found: ArrayLike, *, truth: float, ax: Axes | None = None) -> Axes:
    """Draw the differences that simulated experiments saw, those that found one set apart.

    Args:
        estimates: Differences, fractions, shape ``(experiments,)``.
        found: Whether each crossed its bound.
        truth: True difference, a line.
        ax: Axes to draw on.

    Examples:
        >>> ax = estimate_spread([0.02, 0.08, 0.11], [False, True, True], truth=0.07)
        >>> ax.get_ylabel()
        'experiments'
    """
    values, sure = np.asarray(estimates, dtype=float), np.asarray(found, dtype=bool)
    with style():
        ax = figure_axes(ax, height=3.6)
        low, high = min(values.min(), 0.0, truth), max(values.max(), truth)
        pad = 0.05 * max(high - low, 0.01)
        edges = np.linspace(low - pad, high + pad, 26)
        parts = [
            (sure, message("finds a difference"), SERIES[0], None),
            (~sure, message("finds none"), SERIES[1], "///"),
        ]
        ax.hist(
            [values[rows] for rows, *_ in parts],
            bins=[float(e) for e in edges],
            stacked=True,
            color=[colour for *_, colour, _ in parts],
            label=[f"{said}: {percent(rows.mean(), digits=0)}" for rows, said, *_ in parts],
            rwidth=0.92,
        )
        for container, (*_, hatch) in zip(ax.containers, parts, strict=True):
            for patch in container:
                patch.set_hatch(hatch)
                patch.set_edgecolor(SURFACE)
        top = 1.25 * float(np.histogram(values, edges)[0].max())
        ax.set_ylim(0, top)
        for at, said in (
            (truth, message("true: {value}", value=percent(truth))),
            (0.0, message("no difference")),
        ):
            if at == 0.0 and truth == 0.0 and said != message("no difference"):
                continue
            ax.axvline(at, color=INK, linewidth=1.2, linestyle=DASHES[0 if at else 1])
            ax.annotate(said, (at, 0.96 * top), xytext=(4, 0), textcoords="offset points", fontsize=8.5)
        ax.xaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("difference in the share completed, as an experiment sees it"))
        ax.set_ylabel(message("experiments"))
        ax.set_title(message("What the experiment would look like"))
        ax.legend(loc="upper right", fontsize=8.5)
    return ax


def look_bounds(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the bounds of several looks, each with the chance of having stopped by then.

    Args:
        frame: fraction, z, stop_effect, stop_none, one row per look.
        ax: Axes to draw on.
    """
    known = frame[np.isfinite(frame["z"])]
    with style():
        ax = figure_axes(ax, height=3.6)
        for sign in (1, -1):
            ax.plot(known["fraction"], sign * known["z"], color=SERIES[0], marker=MARKERS[0])
        ax.axhline(0, color=MUTED, linewidth=1.0)
        for row in known.to_dict("records"):
            words = message(
                "z {bound}\nstopped: {effect}\n({none} if no effect)",
                bound=number(row["z"], digits=2),
                effect=percent(row["stop_effect"], digits=0),
                none=percent(row["stop_none"], digits=2),
            )
            ax.annotate(
                words,
                (row["fraction"], row["z"]),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.0},
            )
        top = float(known["z"].max())
        ax.set_ylim(-1.15 * top, 1.75 * top)
        ax.set_xlim(0, 1.12)
        ax.text(0.02, 0.2, message("go on between the lines"), color=MUTED, fontsize=8.5)
        ax.xaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("share of the planned cards that is known"))
        ax.set_ylabel(message("z statistic"))
        ax.set_title(message("Bounds at each look"))
    return ax


def dose_response(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw completion by the number of given stamps.

    Args:
        frame: given, estimate, low, high (fractions), one row per arm.
        ax: Axes to draw on.
    """
    rows = frame.sort_values("given")
    with style():
        ax = figure_axes(ax, height=3.6)
        ax.errorbar(
            rows["given"],
            rows["estimate"],
            yerr=[rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]],
            color=SERIES[0],
            marker=MARKERS[0],
            capsize=4,
        )
        for row in rows.to_dict("records"):
            ax.annotate(
                percent(row["estimate"]),
                (row["given"], row["estimate"]),
                xytext=(7, 5),
                textcoords="offset points",
                fontsize=8.5,
            )
        ax.set_xticks(rows["given"].tolist())
        ax.set_xlim(float(rows["given"].min()) - 0.3, float(rows["given"].max()) + 0.6)
        ax.set_ylim(0, min(1.0, 1.2 * float(rows["high"].max())))
        ax.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("stamps given"))
        ax.set_ylabel(message("share completed"))
        ax.set_title(message("Completion by the size of the head start"))
    return ax


def contrast_forest(frame: pd.DataFrame, *, unit: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw contrasts with their intervals, one line each.

    Args:
        frame: contrast, estimate, low, high, and established (bool), in order.
        unit: Name of the axis; a difference in completion by default.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax, height=1.3 + 0.55 * len(frame))
        for i, row in enumerate(frame.to_dict("records")):
            at = len(frame) - 1 - i
            ax.plot([row["low"], row["high"]], [at, at], color=SERIES[0], linewidth=2.0)
            face = SERIES[0] if row["established"] else "none"
            ax.plot([row["estimate"]], [at], marker="o", markersize=7, color=SERIES[0], markerfacecolor=face)
            ax.annotate(
                percent(row["estimate"], signed=True),
                (row["high"], at),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        ax.axvline(0, color=MUTED, linewidth=1.0, linestyle=DASHES[1])
        ax.set_yticks(range(len(frame)), [str(c) for c in frame["contrast"]][::-1])
        ax.set_ylim(-0.6, len(frame) - 0.4)
        ax.margins(x=0.18)
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(unit or message("difference in completion (filled: established after adjustment)"))
        ax.set_title(message("Contrasts"))
    return ax


def economics_fan(frame: pd.DataFrame, *, currency: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the net value of a card over its life by arm, each with a fan of intervals.

    Args:
        frame: arm, day, estimate, and one pair of columns low_NN, high_NN per level in percent.
        currency: ISO 4217 code of the values.
        ax: Axes to draw on.
    """
    with style():
        ax = figure_axes(ax, height=4.2)
        levels = sorted((c.removeprefix("low_") for c in frame.columns if c.startswith("low_")), key=int)
        ends = []
        for i, arm in enumerate(dict.fromkeys(frame["arm"])):
            rows, colour = frame[frame["arm"] == arm], SERIES[i % len(SERIES)]
            for name in reversed(levels):
                ax.fill_between(
                    rows["day"], rows[f"low_{name}"], rows[f"high_{name}"], color=colour, alpha=0.14, lw=0
                )
            ax.plot(rows["day"], rows["estimate"], color=colour, linestyle=DASHES[i % len(DASHES)])
            ends.append((float(rows["day"].iloc[-1]), float(rows["estimate"].iloc[-1]), str(arm), colour))
        ax.axhline(0, color=MUTED, linewidth=1.0)
        ax.set_xlim(0, float(frame["day"].max()))
        low, high = ax.get_ylim()
        heights: list[float] = []
        for x, y, arm, colour in sorted(ends, key=lambda e: e[1]):
            heights.append(max(y, heights[-1] + 0.05 * (high - low)) if heights else y)
            ax.annotate(
                arm,
                (x, heights[-1]),
                xytext=(6, 0),
                textcoords="offset points",
                annotation_clip=False,
                color=colour,
                va="center",
                fontsize=9,
            )
        ax.set_xlabel(message("days since the card was issued"))
        ax.set_ylabel(
            message("net value per card")
            if currency is None
            else message("net value per card, {currency}", currency=currency)
        )
        said = ", ".join(percent(int(n) / 100, digits=0) for n in levels)
        ax.set_title(message("What a card earns after its rewards (bands: {levels})", levels=said))
    return ax

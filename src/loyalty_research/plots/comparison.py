"""Pictures of comparisons: forest, love and overlap plots, jump at a line, event study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message
from loyalty_research.plots.style import GRID, INK, MARKERS, MUTED, SERIES, SURFACE, figure_axes, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["discontinuity", "event_study", "forest", "love", "overlap", "sequential_path"]


def _left(text: str, width: int = 34) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text


def forest(
    labels: Sequence[str],
    values: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    muted: Sequence[bool] | None = None,
    annotations: Sequence[str] | None = None,
    reference: tuple[float, str] | None = None,
    xlabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with intervals, one a line, and the line of no difference.

    Args:
        labels: Name of each estimate, top to bottom.
        values: Estimates, shape (m,).
        low: Lower limits; NaN draws no interval.
        high: Upper limits.
        muted: True for lines that are not effects, drawn hollow and grey.
        annotations: Text at the right of each line.
        reference: A value and its name, drawn as a second line, such as a known truth.
        xlabel: Name of the horizontal axis.
        title: Heading.
        ax: Axes to draw on; new ones when None.
    """
    from matplotlib.transforms import blended_transform_factory

    value, lower, upper = (np.asarray(v, dtype=float) for v in (values, low, high))
    grey = [False] * len(labels) if muted is None else list(muted)
    with style():
        axes = figure_axes(ax, width=7.6, height=1.3 + 0.46 * len(labels))
        places = np.arange(len(labels))[::-1]
        axes.axvline(0, color=INK, linewidth=1.2)
        for place, v, lo, hi, quiet in zip(places, value, lower, upper, grey, strict=True):
            colour = MUTED if quiet else SERIES[0]
            axes.plot([lo, hi], [place, place], color=colour, linestyle=(0, (4, 2)) if quiet else "-")
            axes.plot(
                [v],
                [place],
                marker="o",
                markersize=7,
                color=colour,
                markerfacecolor=SURFACE if quiet else colour,
            )
        if annotations is not None:
            right = blended_transform_factory(axes.transAxes, axes.transData)
            for place, text in zip(places, annotations, strict=True):
                axes.text(1.02, place, text, transform=right, va="center", fontsize=9)
        if reference is not None:
            at, name = reference
            axes.axvline(at, color=SERIES[1], linestyle=(0, (5, 2)), linewidth=1.4)
            top = blended_transform_factory(axes.transData, axes.transAxes)
            axes.text(at, 1.01, name, transform=top, color=SERIES[1], ha="center", va="bottom", fontsize=9)
        axes.set_yticks(places, [_left(label) for label in labels])
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(xlabel)
        if title:
            axes.set_title(title, pad=18 if reference is not None else 6)
    return axes


def love(
    covariates: Sequence[str],
    before: ArrayLike,
    after: ArrayLike,
    *,
    small: float = 0.1,
    most: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """Draw standardised differences of covariates before and after weighting.

    Args:
        covariates: Names, shape (p,).
        before: Standardised differences without weights, shape (p,).
        after: With weights, shape (p,).
        small: Differences within plus and minus this count as small.
        most: Show at most so many covariates, those that differed most.
        ax: Axes to draw on; new ones when None.

    References:
        Love (2004), in Austin and Stuart (2015), Statistics in Medicine 34, 3661-3679.
    """
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    order = np.argsort(-np.abs(first), kind="stable")[:most]
    with style():
        axes = figure_axes(ax, height=1.5 + 0.34 * len(order))
        places = np.arange(len(order))[::-1]
        axes.axvline(0, color=INK, linewidth=1.0)
        for edge in (-small, small):
            axes.axvline(edge, color=MUTED, linewidth=1.0, linestyle=(0, (1.5, 1.5)))
        axes.hlines(places, first[order], second[order], color=MUTED, linewidth=0.8)
        axes.plot(
            first[order],
            places,
            linestyle="none",
            marker=MARKERS[1],
            color=SERIES[1],
            markerfacecolor=SURFACE,
            label=message("as they are"),
        )
        axes.plot(
            second[order],
            places,
            linestyle="none",
            marker=MARKERS[0],
            color=SERIES[0],
            label=message("after weighting"),
        )
        axes.set_yticks(places, [_left(covariates[i]) for i in order])
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(message("Standardised difference between the groups (dotted: 0.1 either way)"))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return axes


def overlap(
    probability: ArrayLike,
    treated: ArrayLike,
    *,
    labels: tuple[str, str],
    bins: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """Draw how the fitted chance of being in the group spreads in both groups, mirrored.

    Args:
        probability: Fitted propensities, shape (n,).
        treated: 0 or 1, shape (n,).
        labels: Names of the treated and of the control group.
        bins: Bars from 0 to 1.
        ax: Axes to draw on; new ones when None.
    """
    chance, group = np.asarray(probability, dtype=float), np.asarray(treated, dtype=float)
    edges = np.linspace(0.0, 1.0, bins + 1)
    with style():
        axes = figure_axes(ax, height=3.6)
        for number, sign, name, y in ((1.0, 1, labels[0], 0.8), (0.0, -1, labels[1], 0.2)):
            counts, _ = np.histogram(chance[group == number], bins=edges)
            share = counts / max(counts.sum(), 1)
            colour = SERIES[0] if number else SERIES[1]
            axes.stairs(sign * share, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(
                sign * share, edges, color=colour, linestyle="-" if number else (0, (5, 2)), linewidth=1.4
            )
            # beside the bars, which may reach into any corner
            axes.text(1.02, y, _left(name, 18), transform=axes.transAxes, color=colour, va="center")
        axes.axhline(0, color=INK, linewidth=1.0)
        axes.set_xlim(0, 1)
        axes.set_xlabel(message("Estimated chance of being in “{group}”", group=labels[0]))
        axes.set_ylabel(message("Share of the group"))
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0%}")
    return axes


def discontinuity(
    middle: ArrayLike,
    mean: ArrayLike,
    count: ArrayLike,
    *,
    cutoff: float,
    levels: tuple[float, float],
    bandwidth: float,
    label: str,
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw means of bins on both sides of a line, and the jump at it.

    Args:
        middle: Middle of each bin of the running variable, shape (m,).
        mean: Mean outcome of each bin, shape (m,).
        count: Units of each bin; larger bins get larger marks.
        cutoff: Where the line is.
        levels: Levels at the line, below and above.
        bandwidth: Where the estimate looks, shaded.
        label: Text beside the jump.
        xlabel: Name of the running variable.
        ylabel: Name of the outcome.
        ax: Axes to draw on; new ones when None.
    """
    place, value, size = (np.asarray(v, dtype=float) for v in (middle, mean, count))
    with style():
        axes = figure_axes(ax, height=4.2)
        axes.axvspan(cutoff - bandwidth, cutoff + bandwidth, color=GRID, alpha=0.5, linewidth=0)
        axes.axvline(cutoff, color=INK, linewidth=1.0)
        for above, marker, colour in ((False, MARKERS[1], SERIES[1]), (True, MARKERS[0], SERIES[0])):
            rows = (place >= cutoff) == above
            axes.scatter(
                place[rows],
                value[rows],
                s=14 + 30 * np.sqrt(size[rows] / max(size.max(initial=1.0), 1.0)),
                marker=marker,
                color=colour,
                zorder=3,
            )
        low, high = levels
        axes.plot([cutoff, cutoff], [low, high], color=INK, linewidth=3.0, solid_capstyle="butt", zorder=4)
        axes.annotate(
            label,
            (cutoff, (low + high) / 2),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontweight="bold",
        )
        room = 0.03 * float(np.ptp(place))
        axes.set_xlim(float(place.min()) - room, float(place.max()) + room)
        axes.set_xlabel(message("{running} (shaded: within the bandwidth of the estimate)", running=xlabel))
        axes.set_ylabel(message("{metric}, mean of a bin", metric=ylabel))
    return axes


def event_study(
    lead: ArrayLike,
    effect: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw effects by periods since a start, with their bands.

    Args:
        lead: Periods since the start, negative before it, shape (m,).
        effect: Effects, shape (m,).
        low: Lower limits.
        high: Upper limits.
        xlabel: Name of the horizontal axis.
        ylabel: Name of the vertical axis.
        ax: Axes to draw on; new ones when None.
    """
    from matplotlib.ticker import MaxNLocator

    at, value, lower, upper = (np.asarray(v, dtype=float) for v in (lead, effect, low, high))
    with style():
        axes = figure_axes(ax, height=4.0)
        axes.axhline(0, color=INK, linewidth=1.0)
        axes.axvline(-0.5, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        for rows, colour, marker, label, face in (
            (at < 0, SERIES[1], MARKERS[1], message("before: trends should not differ"), SURFACE),
            (at >= 0, SERIES[0], MARKERS[0], message("since the start"), SERIES[0]),
        ):
            axes.vlines(at[rows], lower[rows], upper[rows], color=colour, linewidth=1.6)
            axes.plot(
                at[rows],
                value[rows],
                linestyle="none",
                marker=marker,
                color=colour,
                markerfacecolor=face,
                label=label,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return axes


def sequential_path(
    units: ArrayLike,
    value: ArrayLike,
    fixed: ArrayLike,
    allowed: ArrayLike,
    *,
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw an estimate over the looks at it, with the interval of one look and of all looks.

    Args:
        units: Units seen at each look, shape (m,).
        value: Estimates, shape (m,).
        fixed: Limits that hold for a single look, shape (m, 2).
        allowed: Limits that allow for all looks, shape (m, 2).
        ylabel: Name of the vertical axis.
        ax: Axes to draw on; new ones when None.
    """
    n, middle = np.asarray(units, dtype=float), np.asarray(value, dtype=float)
    narrow, wide = np.asarray(fixed, dtype=float), np.asarray(allowed, dtype=float)
    with style():
        axes = figure_axes(ax, height=4.0)
        axes.axhline(0, color=INK, linewidth=1.0)
        axes.fill_between(n, wide[:, 0], wide[:, 1], color=SERIES[0], alpha=0.18, linewidth=0)
        for limits, colour, dash, label in (
            (wide, SERIES[0], "-", message("allowing for all looks")),
            (narrow, SERIES[1], (0, (4, 2)), message("as if this look were the only one")),
        ):
            axes.plot(n, limits[:, 0], color=colour, linestyle=dash, linewidth=1.2, label=label)
            axes.plot(n, limits[:, 1], color=colour, linestyle=dash, linewidth=1.2)
        axes.plot(n, middle, color=INK, marker=MARKERS[0], linewidth=1.6)
        finite = np.concatenate([narrow.ravel(), wide[np.isfinite(wide)]])
        # the first bounds may lie so far out that nothing else could be seen
        reach = 3 * float(np.max(np.abs(narrow))) if len(finite) else 1.0
        axes.set_ylim(max(float(finite.min()), -reach) * 1.05, min(float(finite.max()), reach) * 1.05)
        axes.set_xlabel(message("Units seen"))
        axes.set_ylabel(ylabel)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return axes

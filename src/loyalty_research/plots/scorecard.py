"""Pictures of a scorecard: revenue kept and lost, retention by age, concentration in and out of period."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, GRID, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["concentration", "retention_by_age", "revenue_bridge", "segment_purchases"]


def revenue_bridge(parts: pd.DataFrame, *, ax: Axes | None = None, currency: str | None = None) -> Axes:
    """Draw how the revenue of one period becomes that of the next, for the same customers.

    Args:
        parts: One row per step: ``step``, ``amount``; the first and the last are totals, those between
            are signed changes.
        ax: Axes to draw on.
        currency: For the axis.

    Examples:
        >>> import pandas as pd
        >>> steps = pd.DataFrame({"step": ["before", "lost", "after"], "amount": [100.0, -30.0, 70.0]})
        >>> revenue_bridge(steps, currency="EUR").get_xlabel()
        'EUR'
    """
    from matplotlib.ticker import MaxNLocator

    with style():
        n = len(parts)
        ax = figure_axes(ax, height=1.1 + 0.5 * n)
        amounts = parts["amount"].to_numpy(dtype=float)
        level = highest = 0.0
        for i, amount in enumerate(amounts):
            total = i in (0, n - 1)
            start = 0.0 if total else level
            level = amount if total else level + amount
            highest = max(highest, level, start)
            colour = SERIES[0] if total else SERIES[2] if amount > 0 else SERIES[1]
            y = n - 1 - i
            ax.barh(y, level - start, left=start, height=0.55, color=colour, alpha=1.0 if total else 0.75)
            if i < n - 1:
                ax.plot([level, level], [y - 0.275, y - 0.725], color=MUTED, linewidth=1.0)
            ax.annotate(
                number(amount, digits=0, signed=not total),
                (max(start, level), y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontweight="bold" if total else "normal",
            )
        ax.set_yticks(np.arange(n)[::-1], parts["step"].tolist())
        ax.set_xlim(0, 1.18 * highest)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(lambda v, _: number(v, digits=0))
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(currency or message("revenue"))
        ax.set_title(message("What the same customers brought, one window to the next"))
    return ax


def retention_by_age(
    cells: pd.DataFrame, pooled: pd.DataFrame, *, ax: Axes | None = None, period: str = ""
) -> Axes:
    """Draw the share of a cohort that buys in each period since its first purchase.

    Args:
        cells: ``cohort, period, retention``: mature cells, drawn thin; NaN is left open.
        pooled: ``period, retention, low, high`` over all cohorts, drawn thick.
        ax: Axes to draw on.
        period: What a period is, such as ``"months"``.

    Examples:
        >>> import pandas as pd
        >>> one = pd.DataFrame({"cohort": ["a", "a"], "period": [1, 2], "retention": [0.4, 0.3]})
        >>> retention_by_age(one, one.assign(low=0.2, high=0.5), period="months").get_xlabel()
        'months since the first purchase'
    """
    from matplotlib.ticker import MaxNLocator

    with style():
        ax = figure_axes(ax)
        for _, part in cells.groupby("cohort", sort=True):
            ax.plot(part["period"], part["retention"], color=MUTED, linewidth=0.8, alpha=0.45)
        x = pooled["period"].to_numpy(dtype=float)
        ax.fill_between(x, pooled["low"], pooled["high"], color=SERIES[0], alpha=0.22, linewidth=0)
        ax.plot(x, pooled["retention"], color=SERIES[0], linewidth=2.6)
        last = pooled.iloc[-1]
        ax.annotate(
            message("all cohorts"),
            (float(last["period"]), float(last["retention"])),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=SERIES[0],
            fontweight="bold",
            annotation_clip=False,
        )
        top = float(np.nanmax([cells["retention"].max(), pooled["high"].max()]))
        ax.set_ylim(0, min(1.0, 1.12 * top))
        ax.yaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel(message("{period} since the first purchase", period=period))
        ax.set_title(message("Share of a cohort that buys"))
    return ax


def concentration(
    curve: pd.DataFrame, *, top: float, later: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the cumulative share of revenue, the largest customers first, and what the same ones bring later.

    Args:
        curve: ``customers, revenue``: cumulative shares from the smallest customer up.
        top: Share of customers to mark.
        later: Share of later revenue that the same top customers bring.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> curve = pd.DataFrame({"customers": [0.0, 0.8, 1.0], "revenue": [0.0, 0.3, 1.0]})
        >>> concentration(curve, top=0.2, later=0.5).get_ylabel()
        'share of revenue'
    """
    with style():
        ax = figure_axes(ax)
        people = 1 - curve["customers"].to_numpy(dtype=float)[::-1]
        revenue = 1 - curve["revenue"].to_numpy(dtype=float)[::-1]
        if people.size > 500:  # a step per customer is more than a screen can show
            grid = np.linspace(0, 1, 501)
            people, revenue = grid, np.interp(grid, people, revenue)
        ax.plot([0, 1], [0, 1], color=MUTED, linestyle=DASHES[2], linewidth=1.2)
        ax.annotate(
            message("if all brought the same"),
            (0.72, 0.72),
            xytext=(8, -14),
            textcoords="offset points",
            color=MUTED,
        )
        ax.plot(people, revenue, color=SERIES[0])
        ax.axvline(top, color=GRID, linewidth=1.4)
        held = float(np.interp(top, people, revenue))
        marks = [(held, SERIES[0], MARKERS[0], message("{share} when they are picked", share=percent(held)))]
        if later is not None:
            marks.append(
                (later, SERIES[1], MARKERS[1], message("{share} in the next window", share=percent(later)))
            )
        near = later is not None and abs(held - later) < 0.07
        for (share, colour, marker, words), shift in zip(marks, (5, -9) if near else (-4, -4), strict=False):
            ax.plot([top], [share], color=colour, marker=marker, markersize=8, linestyle="none")
            ax.annotate(
                words,
                (top, share),
                xytext=(11, shift),
                textcoords="offset points",
                color=colour,
                fontweight="bold",
                va="center" if near else "top",
            )
        ticks = np.linspace(0, 1, 6)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ax.set_xticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_yticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_xlabel(message("customers, the largest first"))
        ax.set_ylabel(message("share of revenue"))
        ax.set_title(message("Revenue of the top {share} of customers", share=percent(top, digits=0)))
    return ax


def segment_purchases(frame: pd.DataFrame, *, days: int, ax: Axes | None = None) -> Axes:
    """Draw what the customers of each segment bought afterwards, beside what was expected of them.

    Args:
        frame: ``segment, made, low, high, expected``: purchase days per customer, in the order from top to
            bottom; ``expected`` is NaN where nothing was.
        days: Days in which they were made.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"segment": ["loyal"], "made": [2.0], "low": [1.8], "high": [2.2],
        ...                      "expected": [2.1]})
        >>> segment_purchases(rows, days=90).get_xlabel()
        'purchase days per customer in the 90 days after'
    """
    with style():
        n = len(frame)
        ax = figure_axes(ax, height=1.3 + 0.48 * n)
        where = np.arange(n)[::-1]
        made, low, high, expected = (
            frame[c].to_numpy(dtype=float) for c in ("made", "low", "high", "expected")
        )
        ax.hlines(where, low, high, color=SERIES[0], linewidth=2.2)
        ax.plot(made, where, color=SERIES[0], marker=MARKERS[0], markersize=8, linestyle="none")
        ax.plot(
            expected,
            where,
            color=SERIES[1],
            marker=MARKERS[1],
            markersize=10,
            markerfacecolor="none",
            markeredgewidth=1.6,
            linestyle="none",
        )
        right = np.fmax(np.fmax(high, made), expected)
        for at, value, edge in zip(where, made, right, strict=True):
            ax.annotate(
                number(value, digits=1 if value >= 10 else 2),
                (edge, at),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontweight="bold",
            )
        ax.set_yticks(where, frame["segment"].astype(str).tolist())
        ax.set_ylim(-0.6, n - 0.4)
        ax.set_xlim(0, 1.14 * max(float(np.nanmax(right)), 1e-6))
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(message("purchase days per customer in the {days} days after", days=days))
        ax.set_title(message("What the segments did next"))
    return ax

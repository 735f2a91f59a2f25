"""Pictures of what a programme has promised: points by cohort, moves between tiers, pull at a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import GRID, INK, MUTED, SERIES, SURFACE, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["deferred_over_time", "points_by_cohort", "pull_at_line", "tier_moves"]


def points_by_cohort(cohorts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw, for every issue cohort, the shares redeemed, still expected, and not expected.

    Args:
        cohorts: One row per cohort: ``cohort, issued, redeemed, expected, low, high``.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> one = {"cohort": ["2024-01"], "issued": [100.0], "redeemed": [40.0], "expected": [20.0],
        ...     "low": [12.0], "high": [30.0]}
        >>> points_by_cohort(pd.DataFrame(one)).get_xlabel()
        'share of points issued'
    """
    with style():
        n = len(cohorts)
        ax = figure_axes(ax, height=1.4 + 0.34 * n)
        y = np.arange(n)[::-1]
        issued = cohorts["issued"].to_numpy(dtype=float)
        done = cohorts["redeemed"].to_numpy(dtype=float) / issued
        more = cohorts["expected"].to_numpy(dtype=float) / issued
        ends = [cohorts[c].to_numpy(dtype=float) / issued + done for c in ("low", "high")]
        ax.barh(y, done, height=0.62, color=SERIES[0])
        ax.barh(
            y, more, left=done, height=0.62, color=SURFACE, edgecolor=SERIES[0], hatch="////", linewidth=1.0
        )
        ax.hlines(y, *ends, color=INK, linewidth=1.6)
        ax.set_yticks(y, [str(c) for c in cohorts["cohort"]])
        ax.set_xlim(0, max(1.0, float(np.max(ends[1]))))
        ax.xaxis.set_major_formatter(lambda v, _: percent(v, digits=0))
        ax.set_xlabel(message("share of points issued"))
        ax.set_ylabel(message("issued in"))
        ax.grid(visible=False, axis="y")
        ax.set_title(message("Redeemed (solid), still expected (hatched, with interval), rest not expected"))
    return ax


def tier_moves(matrix: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a matrix of moves, each cell with its share.

    Args:
        matrix: Shares, from (rows) and to (columns).
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> tiers = ["base", "gold"]
        >>> axes = tier_moves(pd.DataFrame([[0.9, 0.1], [0.3, 0.7]], index=tiers, columns=tiers))
        >>> [text.get_text() for text in axes.texts]
        ['90%', '10%', '30%', '70%']
    """
    with style():
        rows, columns = matrix.shape
        ax = figure_axes(ax, height=1.3 + 0.55 * rows)
        for i, shares in enumerate(matrix.to_numpy(dtype=float)):
            for j, share in enumerate(shares):
                # the area of the square is the share, so nothing hangs on colour
                side = 0.96 * float(np.sqrt(share))
                ax.bar(
                    j,
                    side,
                    width=side,
                    bottom=rows - 1 - i - side / 2,
                    color=SERIES[0] if i == j else SERIES[1],
                    alpha=0.3,
                )
                ax.text(j, rows - 1 - i, percent(share, digits=0), ha="center", va="center", color=INK)
        ax.set_xticks(range(columns), [str(c) for c in matrix.columns])
        ax.set_yticks(range(rows), [str(r) for r in matrix.index[::-1]])
        ax.set_xlim(-0.55, columns - 0.45)
        ax.set_ylim(-0.55, rows - 0.45)
        ax.set_xlabel(message("a period later"))
        ax.set_ylabel(message("now"))
        ax.grid(visible=False)
        ax.set_title(message("Where the members of each tier are a period later"))
    return ax


def pull_at_line(bins: pd.DataFrame, line: float, *, ax: Axes | None = None) -> Axes:
    """Draw customers per bin about a line, with the smooth curve that ignores it.

    Args:
        bins: One row per bin: ``from_value, to_value, customers, expected, excluded``.
        line: Where the tier begins.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> bins = pd.DataFrame({"from_value": [0.0, 5.0], "to_value": [5.0, 10.0], "customers": [3, 9],
        ...     "expected": [4.0, 6.0], "excluded": [False, True]})
        >>> pull_at_line(bins, 5.0).get_ylabel()
        'customers'
    """
    with style():
        ax = figure_axes(ax)
        start, end = bins["from_value"].to_numpy(dtype=float), bins["to_value"].to_numpy(dtype=float)
        middle, inside = (start + end) / 2, bins["excluded"].to_numpy(dtype=bool)
        counts = bins["customers"].to_numpy(dtype=float)
        # counts of one to four customers are not drawn, since a page shows aggregates only
        counts = np.where((counts > 0) & (counts < 5), np.nan, counts)
        ax.axvspan(start[inside].min(), end[inside].max(), color=GRID, alpha=0.5, linewidth=0)
        ax.plot(middle, counts, "o", color=SERIES[0], markersize=4, label=message("customers"))
        ax.plot(
            middle,
            bins["expected"],
            color=SERIES[1],
            linestyle=(0, (5, 2)),
            label=message("without the line"),
        )
        ax.axvline(line, color=MUTED, linewidth=1.2)
        ax.annotate(
            message("line at {line}", line=number(line)),
            (line, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -11),
            textcoords="offset points",
            color=INK,
        )
        ax.set_ylim(bottom=0)
        ax.set_xlabel(message("qualifying activity"))
        ax.set_ylabel(message("customers"))
        ax.legend(frameon=False)
        ax.set_title(message("Customers about the line (shaded: left out of the curve)"))
    return ax


def deferred_over_time(schedule: pd.DataFrame, *, unit: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw what is deferred at the end of each period: booked solid, expected hatched.

    Args:
        schedule: One row per period: ``period, kind`` (``"booked"`` or ``"expected"``), ``closing``.
        unit: Currency code.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> rows = {"period": ["2024-01", "2024-02"], "kind": ["booked", "expected"], "closing": [8.0, 3.0]}
        >>> deferred_over_time(pd.DataFrame(rows), unit="EUR").get_ylabel()
        'deferred at the end, EUR'
    """
    with style():
        ax = figure_axes(ax, height=3.8)
        x = np.arange(len(schedule))
        closing = schedule["closing"].to_numpy(dtype=float)
        booked = schedule["kind"].to_numpy() == "booked"
        ax.bar(x[booked], closing[booked], width=0.7, color=SERIES[0], label=message("booked"))
        if not booked.all():
            ax.bar(
                x[~booked],
                closing[~booked],
                width=0.7,
                color=SURFACE,
                edgecolor=SERIES[0],
                hatch="////",
                linewidth=1.0,
                label=message("expected, if no more points are issued"),
            )
        step = max(1, -(-len(x) // 8))
        ax.set_xticks(x[::step], [str(p) for p in schedule["period"].iloc[::step]])
        ax.yaxis.set_major_formatter(lambda v, _: number(v, digits=0))
        ax.set_ylabel(
            message("deferred at the end, {unit}", unit=unit) if unit else message("deferred at the end")
        )
        ax.grid(visible=False, axis="x")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax

"""Pictures of value for those who run a programme: payback, retention, value lost to silence, lift."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["decile_lift", "payback", "retention_gain", "value_at_churn"]


def _amounts(value: float, position: object = None) -> str:
    del position
    return f"{value:,.0f}".replace("-", "−") if value == round(value) or abs(value) >= 10 else f"{value:g}"


def _shares(value: float, position: object = None) -> str:
    del position
    return percent(value, digits=0)


def payback(
    curve: pd.DataFrame, *, cost: float, months: float, ax: Axes | None = None, currency: str | None = None
) -> Axes:
    """Draw a new customer's cumulative expected margin with its band, and the cost of winning one.

    Args:
        curve: ``month``, ``expected``, ``low``, ``high``.
        cost: Cost of winning a customer.
        months: When the margin passes it; infinite where it does not.
        ax: Axes to draw on.
        currency: ISO 4217 code for the axis.

    Examples:
        >>> import pandas as pd
        >>> curve = pd.DataFrame({"month": [0, 12], "expected": [5.0, 20], "low": [5.0, 18], "high": [5.0, 22]})
        >>> payback(curve, cost=10, months=4.0).get_xlabel()
        'months since the first purchase'
    """
    with style():
        ax = figure_axes(ax)
        month, expected = (curve[c].to_numpy(dtype=float) for c in ("month", "expected"))
        low, high = (curve[c].to_numpy(dtype=float) for c in ("low", "high"))
        ax.fill_between(month, low, high, color=SERIES[0], alpha=0.15, linewidth=0)
        ax.plot(month, expected, color=SERIES[0])
        ax.axhline(cost, color=SERIES[1], linestyle=DASHES[1])
        top = max(float(np.nanmax(np.where(np.isfinite(high), high, np.nan))), cost)
        ax.annotate(
            message("cost of winning a customer"),
            (month[-1], cost),
            xytext=(0, 5),
            textcoords="offset points",
            ha="right",
            color=SERIES[1],
            fontweight="bold",
        )
        middle = len(month) // 2
        ax.annotate(
            message("expected margin, with 95% band"),
            (month[middle], low[middle]),
            xytext=(8, -16),
            textcoords="offset points",
            color=SERIES[0],
            fontweight="bold",
        )
        if math.isfinite(months) and months > 0:
            ax.plot([months], [cost], color=SERIES[0], marker=MARKERS[0], markersize=7)
            ax.annotate(
                message("{months} months", months=number(months, digits=1)),
                (months, cost),
                xytext=(8, -14),
                textcoords="offset points",
                color=INK,
                fontweight="bold",
            )
        ax.set_xlim(0, month[-1])
        ax.set_ylim(0, 1.12 * top)
        ax.yaxis.set_major_formatter(_amounts)
        ax.set_xlabel(message("months since the first purchase"))
        ax.set_ylabel(
            message("margin of a new customer so far, {currency}", currency=currency)
            if currency
            else message("margin of a new customer so far")
        )
        ax.set_title(message("When a new customer has paid for being won"))
    return ax


def retention_gain(curve: pd.DataFrame, *, ax: Axes | None = None, points: float = 0.05) -> Axes:
    """Draw the gain in value against the rise in retention, by the fitted model and by the formula.

    Args:
        curve: ``points``, ``model``, ``formula``: fractions; NaN where a gain is endless.
        ax: Axes to draw on.
        points: Rise to mark.

    Examples:
        >>> import pandas as pd
        >>> curve = pd.DataFrame({"points": [0, 0.05], "model": [0, 0.04], "formula": [0, 0.25]})
        >>> retention_gain(curve).get_ylabel()
        "gain in today's customers' value"
    """
    with style():
        ax = figure_axes(ax)
        rise = curve["points"].to_numpy(dtype=float)
        names = {"model": message("fitted model"), "formula": message("formula: all the future, all alike")}
        highest = float(np.nanmax(curve[["model", "formula"]].to_numpy(dtype=float)))
        for no, (column, words) in enumerate(names.items()):
            gain = curve[column].to_numpy(dtype=float)
            ax.plot(rise, gain, color=SERIES[no], linestyle=DASHES[no])
            known = np.flatnonzero(np.isfinite(gain))
            if len(known) < 2:
                continue
            end = int(known[-1])
            under = column == "model" and gain[end] > 0.15 * highest
            ax.annotate(
                words,
                (rise[end], gain[end]),
                xytext=(-4, -14 if under else 8),
                textcoords="offset points",
                ha="right",
                color=SERIES[no],
                fontweight="bold",
            )
            here = float(np.interp(points, rise[known], gain[known]))
            ax.plot([points], [here], color=SERIES[no], marker=MARKERS[no], markersize=7)
            ax.annotate(
                percent(here, signed=True),
                (points, here),
                xytext=(-6, 6),
                textcoords="offset points",
                ha="right",
                color=INK,
            )
        ax.set_xlim(0, float(rise[-1]) * 1.02)
        ax.set_ylim(0, 1.2 * highest)
        ax.xaxis.set_major_formatter(
            lambda v, _: number(100 * v, digits=0 if round(100 * v, 6) % 1 == 0 else 1)
        )
        ax.yaxis.set_major_formatter(_shares)
        ax.set_xlabel(message("rise in yearly retention, percentage points"))
        ax.set_ylabel(message("gain in today's customers' value"))
        ax.set_title(message("What keeping more customers would be worth"))
    return ax


def value_at_churn(frame: pd.DataFrame, *, ax: Axes | None = None, currency: str | None = None) -> Axes:
    """Draw, for each group, what is expected and what would be expected had all of them stayed.

    Args:
        frame: ``group``, ``customers``, ``probability_alive``, ``expected``, ``stayed``.
        ax: Axes to draw on.
        currency: ISO 4217 code for the axis.

    Examples:
        >>> import pandas as pd
        >>> groups = pd.DataFrame({"group": ["silent", "busy"], "customers": [90, 10], "probability_alive":
        ...                        [0.1, 0.9], "expected": [50.0, 400.0], "stayed": [500.0, 440.0]})
        >>> [t.get_text() for t in value_at_churn(groups).get_yticklabels()]
        ['silent', 'busy']
    """
    with style():
        ax = figure_axes(ax, height=1.5 + 0.62 * len(frame))
        rows = len(frame) - 1.0 - np.arange(len(frame))
        expected, stayed = (frame[c].to_numpy(dtype=float) for c in ("expected", "stayed"))
        ax.barh(rows, stayed, 0.56, color="none", edgecolor=SERIES[1], hatch="////", linewidth=1.2)
        ax.barh(rows, expected, 0.56, color=SERIES[0])
        for row, here, there in zip(rows, expected, stayed, strict=True):
            words = message("{here} of {there}", here=_amounts(round(here)), there=_amounts(round(there)))
            ax.annotate(
                words, (there, row), xytext=(6, 0), textcoords="offset points", va="center", color=INK
            )
        top = float(stayed.max())
        ax.set_xlim(0, 1.3 * top if top > 0 else 1)
        ax.set_ylim(-0.6, len(frame) - 0.1)
        ax.set_yticks(rows, [str(name) for name in frame["group"]])
        ax.annotate(
            message("filled: expected; hatched: what more had all of them stayed"),
            (0.0, 1.0),
            xycoords="axes fraction",
            xytext=(2, -4),
            textcoords="offset points",
            va="top",
            color=MUTED,
        )
        ax.xaxis.set_major_formatter(_amounts)
        ax.set_xlabel(
            message("expected value, {currency}", currency=currency)
            if currency
            else message("expected value")
        )
        ax.set_title(message("What is still to come, and what silence has cost"))
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
    return ax


def decile_lift(frame: pd.DataFrame, *, ax: Axes | None = None, unit: str = "") -> Axes:
    """Draw the mean of each tenth of customers, ranked by forecast: actual with intervals, expected.

    Args:
        frame: ``group`` (1 is the best), ``actual``, ``low``, ``high``, ``expected``.
        ax: Axes to draw on.
        unit: What is measured, for the axis.

    Examples:
        >>> import pandas as pd
        >>> tenths = pd.DataFrame({"group": [1, 2], "actual": [3.0, 1.0], "low": [2.6, 0.8], "high": [3.4, 1.2],
        ...                        "expected": [2.8, 1.1]})
        >>> decile_lift(tenths).get_xlabel()
        'tenth of customers by forecast, the best first'
    """
    with style():
        ax = figure_axes(ax)
        place = np.arange(len(frame))
        actual, expected = (frame[c].to_numpy(dtype=float) for c in ("actual", "expected"))
        arms = np.nan_to_num(np.abs(frame[["low", "high"]].to_numpy(dtype=float).T - actual))
        ax.bar(
            place,
            expected,
            0.62,
            color="none",
            edgecolor=SERIES[1],
            hatch="////",
            linewidth=1.2,
            label=message("expected"),
        )
        ax.errorbar(
            place,
            actual,
            yerr=arms,
            color=SERIES[0],
            marker=MARKERS[0],
            linestyle="none",
            capsize=3,
            label=message("actual, with 95% interval"),
        )
        mean = float(np.average(actual))
        ax.axhline(mean, color=MUTED, linestyle=DASHES[2], linewidth=1.2)
        ax.annotate(
            message("mean of all"),
            (place[-1] + 0.45, mean),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=MUTED,
        )
        ax.set_xticks(place, [str(group) for group in frame["group"]])
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(_amounts)
        ax.set_xlabel(message("tenth of customers by forecast, the best first"))
        ax.set_ylabel(unit or message("mean purchases in the holdout"))
        ax.set_title(message("Holdout by forecast"))
        ax.grid(visible=False, axis="x")
        ax.legend()
    return ax

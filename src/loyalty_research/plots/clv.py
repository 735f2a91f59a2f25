"""Pictures of lifetime value: tracking, frequency bins, expectations, activity, concentration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.i18n import message, number, percent
from loyalty_research.plots.style import DASHES, GRID, INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import datetime as dt

    import pandas as pd
    from matplotlib.axes import Axes

__all__ = [
    "activity_map",
    "conditional_expectation",
    "frequency_bins",
    "lorenz",
    "segment_values",
    "tracking",
]


def _thousands(value: float, position: object = None) -> str:
    del position
    return f"{value:,.0f}".replace("-", "−") if value == round(value) or abs(value) >= 10 else f"{value:g}"


def _end_label(ax: Axes, x: Any, y: float, text: str, colour: str, *, shift: float) -> None:
    ax.annotate(
        text,
        (x, y),
        xytext=(6, shift),
        textcoords="offset points",
        color=colour,
        va="center",
        ha="left",
        fontweight="bold",
        annotation_clip=False,
    )


def tracking(
    periods: pd.DataFrame,
    *,
    ax: Axes | None = None,
    calibration_end: dt.date | None = None,
    cumulative: bool = True,
) -> Axes:
    """Draw actual and expected repeat purchases over time.

    Args:
        periods: One row per period: end (date), actual, expected, actual_cumulative,
            expected_cumulative.
        ax: Axes to draw on.
        calibration_end: Where the holdout begins; marked with a line.
        cumulative: Running totals instead of purchases per period.

    Examples:
        >>> import pandas as pd
        >>> weeks = pd.DataFrame({"end": pd.to_datetime(["2024-01-07", "2024-01-14"]), "actual": [3, 4],
        ...                       "expected": [3.2, 3.6], "actual_cumulative": [3, 7],
        ...                       "expected_cumulative": [3.2, 6.8]})
        >>> tracking(weeks).get_ylabel()
        'repeat purchases so far'
    """
    suffix = "_cumulative" if cumulative else ""
    with style():
        ax = figure_axes(ax)
        ends = periods["end"].to_numpy()
        actual = periods[f"actual{suffix}"].to_numpy(dtype=float)
        expected = periods[f"expected{suffix}"].to_numpy(dtype=float)
        ax.plot(ends, actual, color=SERIES[0], linestyle=DASHES[0])
        ax.plot(ends, expected, color=SERIES[1], linestyle=DASHES[1])
        above = 1 if expected[-1] >= actual[-1] else -1
        _end_label(ax, ends[-1], expected[-1], message("expected"), SERIES[1], shift=7 * above)
        _end_label(ax, ends[-1], actual[-1], message("actual"), SERIES[0], shift=-7 * above)
        top = float(max(actual.max(), expected.max())) * 1.08
        ax.set_ylim(0, top if top > 0 else 1)
        if calibration_end is not None:
            where: Any = np.datetime64(calibration_end)
            ax.axvline(where, color=MUTED, linewidth=1.2, linestyle=(0, (2, 2)))
            for words, align, shift in (
                (message("calibration"), "right", -5),
                (message("holdout"), "left", 5),
            ):
                ax.annotate(
                    words,
                    (where, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(shift, -8),
                    textcoords="offset points",
                    ha=align,
                    color=MUTED,
                )
        ax.set_title(
            message("Repeat purchases, running total")
            if cumulative
            else message("Repeat purchases per period")
        )
        ax.set_ylabel(message("repeat purchases so far") if cumulative else message("repeat purchases"))
        ax.yaxis.set_major_formatter(_thousands)
        _few_dates(ax)
        ax.margins(x=0.02)
    return ax


def _few_dates(ax: Axes) -> None:
    from matplotlib import dates

    tools: Any = dates
    locator = tools.AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(tools.ConciseDateFormatter(locator))


def frequency_bins(bins: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw customers by number of repeat purchases, actual beside expected.

    Args:
        bins: One row per count: purchases (label), actual, expected.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> bins = pd.DataFrame({"purchases": ["0", "1+"], "actual": [60, 40], "expected": [58.0, 42.0]})
        >>> frequency_bins(bins).get_xlabel()
        'repeat purchases in calibration'
    """
    with style():
        ax = figure_axes(ax)
        place, width = np.arange(len(bins)), 0.4
        actual, expected = (bins[c].to_numpy(dtype=float) for c in ("actual", "expected"))
        ax.bar(place - width / 2, actual, width, color=SERIES[0], label=message("actual"))
        ax.bar(
            place + width / 2,
            expected,
            width,
            color="none",
            edgecolor=SERIES[1],
            hatch="////",
            linewidth=1.4,
            label=message("expected"),
        )
        ax.set_xticks(place, [str(p) for p in bins["purchases"]])
        ax.set_xlabel(message("repeat purchases in calibration"))
        ax.set_ylabel(message("customers"))
        ax.yaxis.set_major_formatter(_thousands)
        ax.set_title(message("Customers by repeat purchases"))
        ax.grid(visible=False, axis="x")
        ax.legend()
    return ax


def conditional_expectation(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw mean holdout purchases by calibration frequency, actual with intervals and expected.

    Args:
        frame: One row per count: purchases (label), actual, low, high, expected, benchmark
            (means per customer).
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> means = pd.DataFrame({"purchases": ["0", "1+"], "actual": [0.2, 1.1], "low": [0.1, 0.9],
        ...                       "high": [0.3, 1.3], "expected": [0.22, 1.0], "benchmark": [0.0, 1.5]})
        >>> conditional_expectation(means).get_ylabel()
        'mean purchases in the holdout'
    """
    with style():
        ax = figure_axes(ax)
        place = np.arange(len(frame))
        actual = frame["actual"].to_numpy(dtype=float)
        arms = np.nan_to_num(np.abs(frame[["low", "high"]].to_numpy(dtype=float).T - actual))
        lines = (
            ("benchmark", message("benchmark"), 2, MUTED),
            ("expected", message("expected"), 1, SERIES[1]),
        )
        ax.errorbar(
            place,
            actual,
            yerr=arms,
            color=SERIES[0],
            marker=MARKERS[0],
            linestyle=DASHES[0],
            capsize=3,
            label=message("actual, with 95% interval"),
        )
        for column, name, style_no, colour in lines:
            ax.plot(
                place,
                frame[column],
                color=colour,
                marker=MARKERS[style_no],
                linestyle=DASHES[style_no],
                label=name,
            )
        ax.set_xticks(place, [str(p) for p in frame["purchases"]])
        ax.set_ylim(bottom=0)
        ax.set_xlabel(message("repeat purchases in calibration"))
        ax.set_ylabel(message("mean purchases in the holdout"))
        ax.set_title(message("Holdout purchases by calibration frequency"))
        ax.legend(loc="upper left")
    return ax


def activity_map(grid: pd.DataFrame, *, ax: Axes | None = None, unit: str = "") -> Axes:
    """Draw P(alive) by recency and frequency as shaded bands with labelled edges.

    Args:
        grid: P(alive); the index is the number of repeat purchases, the columns the time of the
            last one; both increasing.
        ax: Axes to draw on.
        unit: Word for the time unit, such as ``"weeks"``.

    Examples:
        >>> import pandas as pd
        >>> grid = pd.DataFrame([[0.2, 0.6, 0.9], [0.0, 0.3, 0.95]], index=[1, 5], columns=[0.0, 20.0, 39.0])
        >>> activity_map(grid, unit="weeks").get_xlabel()
        'last purchase, weeks after the first'
    """
    from matplotlib.colors import to_rgb

    levels = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    # one colour in five strengths: readable in grey, and dark mode swaps the colour under it
    shades = [(*to_rgb(SERIES[0]), 0.05 + 0.55 * k / 4) for k in range(5)]
    with style():
        ax = figure_axes(ax)
        x, y = grid.columns.to_numpy(dtype=float), grid.index.to_numpy(dtype=float)
        values = np.clip(grid.to_numpy(dtype=float), 0, 1)
        ax.contourf(x, y, values, levels=levels, colors=shades)
        edges = ax.contour(x, y, values, levels=levels[1:-1], colors=INK, linewidths=0.9)
        ax.clabel(edges, fmt=lambda v: percent(v, digits=0), fontsize=9, colors=INK)
        ax.set_xlabel(message("last purchase, {unit} after the first", unit=unit or message("time units")))
        ax.set_ylabel(message("repeat purchases"))
        ax.set_title(message("Probability of still being a customer"))
        ax.grid(visible=False)
    return ax


def lorenz(curve: pd.DataFrame, *, ax: Axes | None = None, top: float = 0.2) -> Axes:
    """Draw how value is spread: cumulative share of value, the most valuable customers first.

    Args:
        curve: Lorenz curve from the least valuable customer on: customers and value, cumulative
            shares from 0 to 1.
        ax: Axes to draw on.
        top: Share of customers to mark.

    Examples:
        >>> import pandas as pd
        >>> lorenz(pd.DataFrame({"customers": [0.0, 0.8, 1.0], "value": [0.0, 0.3, 1.0]})).get_xlabel()
        'customers, the most valuable first'
    """
    with style():
        ax = figure_axes(ax)
        people = 1 - curve["customers"].to_numpy(dtype=float)[::-1]
        value = 1 - curve["value"].to_numpy(dtype=float)[::-1]
        ax.plot([0, 1], [0, 1], color=MUTED, linestyle=DASHES[2], linewidth=1.2)
        ax.annotate(
            message("if all were worth the same"),
            (0.72, 0.72),
            xytext=(8, -14),
            textcoords="offset points",
            color=MUTED,
        )
        ax.fill_between(people, people, value, color=SERIES[0], alpha=0.12, linewidth=0)
        ax.plot(people, value, color=SERIES[0])
        held = float(np.interp(top, people, value))
        ax.plot([top, top, 0], [0, held, held], color=GRID, linewidth=1.2)
        ax.plot([top], [held], color=SERIES[0], marker=MARKERS[0], markersize=7)
        ax.annotate(
            message("top {top}: {share} of value", top=percent(top, digits=0), share=percent(held)),
            (top, held),
            xytext=(10, -4),
            textcoords="offset points",
            color=INK,
            fontweight="bold",
            va="top",
        )
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ticks = np.linspace(0, 1, 6)
        ax.set_xticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_yticks(ticks, [percent(t, digits=0) for t in ticks])
        ax.set_xlabel(message("customers, the most valuable first"))
        ax.set_ylabel(message("share of expected value"))
        ax.set_title(message("Concentration of expected value"))
    return ax


def segment_values(frame: pd.DataFrame, *, ax: Axes | None = None, currency: str | None = None) -> Axes:
    """Draw the mean value of each segment as a point with its interval.

    Args:
        frame: One row per segment: segment, customers, mean, low, high, share_of_value.
        ax: Axes to draw on.
        currency: ISO 4217 code for the axis.

    Examples:
        >>> import pandas as pd
        >>> segments = pd.DataFrame({"segment": ["once", "often"], "customers": [90, 10], "mean": [4.0, 60.0],
        ...                          "low": [3.0, 50.0], "high": [5.0, 72.0], "share_of_value": [0.375, 0.625]})
        >>> [t.get_text() for t in segment_values(segments).get_yticklabels()]
        ['once', 'often']
    """
    with style():
        ax = figure_axes(ax, height=1.3 + 0.52 * len(frame))
        rows = len(frame) - 1.0 - np.arange(len(frame))
        mean = frame["mean"].to_numpy(dtype=float)
        arms = np.nan_to_num(np.abs(frame[["low", "high"]].to_numpy(dtype=float).T - mean))
        ax.errorbar(
            mean,
            rows,
            xerr=arms,
            color=SERIES[0],
            marker=MARKERS[0],
            markersize=7,
            linestyle="none",
            capsize=4,
        )
        for row, record in zip(rows, frame.to_dict("records"), strict=True):
            right = record["mean"] if np.isnan(record["high"]) else record["high"]
            words = message(
                "{mean} · {share} of value",
                mean=number(record["mean"]),
                share=percent(record["share_of_value"], digits=0),
            )
            ax.annotate(
                words, (right, row), xytext=(8, 0), textcoords="offset points", va="center", color=INK
            )
        reach = float(np.nanmax(np.fmax(frame["high"].to_numpy(dtype=float), mean)))
        ax.set_xlim(0, reach * 1.45 if reach > 0 else 1)
        ax.set_ylim(-0.6, len(frame) - 0.4)
        ax.set_yticks(rows, [str(s) for s in frame["segment"]])
        ax.xaxis.set_major_formatter(_thousands)
        ax.set_xlabel(
            message("expected value per customer, {currency}", currency=currency)
            if currency
            else message("expected value per customer")
        )
        ax.set_title(message("Expected value by segment, with 95% intervals"))
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return ax

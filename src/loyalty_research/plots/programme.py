"""Pictures of campaigns: rates as bars with their intervals, and the answer to more messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.i18n import message, percent
from loyalty_research.plots.style import INK, MARKERS, MUTED, SERIES, figure_axes, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["dose_response", "rate_bars"]


def _shares(value: float, position: object = None) -> str:
    del position
    return percent(value, digits=0 if abs(100 * value - round(100 * value)) < 1e-9 else 1)


def _amounts(value: float, position: object = None) -> str:
    del position
    return f"{value:,.0f}".replace("-", "−") if value == round(value) or abs(value) >= 10 else f"{value:g}"


def rate_bars(
    frame: pd.DataFrame,
    *,
    title: str,
    xlabel: str,
    reference: float | None = None,
    reference_label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one bar per rate, with its interval and its figure.

    Args:
        frame: ``label``, ``estimate``, ``low``, ``high``, fractions, in the order from top to bottom;
            a column ``unsure`` marks bars that are drawn hollow.
        title: Heading of the picture.
        xlabel: What the rates are shares of.
        reference: Rate to draw as a line across the bars.
        reference_label: Words for that line.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> rates = pd.DataFrame({"label": ["clicked"], "estimate": [0.2], "low": [0.1], "high": [0.3]})
        >>> len(rate_bars(rates, title="Rates", xlabel="of messages").patches)
        1
    """
    with style():
        ax = figure_axes(ax, height=max(1.3, 0.7 + 0.34 * len(frame)))
        where = np.arange(len(frame))
        value, low, high = (frame[c].to_numpy(dtype=float) for c in ("estimate", "low", "high"))
        hollow = (
            frame["unsure"].to_numpy(dtype=bool) if "unsure" in frame.columns else np.zeros(len(frame), bool)
        )
        for no in where:
            ax.barh(
                no,
                value[no],
                height=0.62,
                color="none" if hollow[no] else SERIES[0],
                alpha=1.0 if hollow[no] else 0.35,
                edgecolor=SERIES[0],
                linestyle="--" if hollow[no] else "-",
            )
        ax.hlines(where, low, high, color=INK, linewidth=1.4)
        for no in where:
            ax.annotate(
                percent(value[no]),
                (np.nanmax([value[no], high[no]]), no),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontweight="bold",
            )
        if reference is not None:
            ax.axvline(reference, color=SERIES[1], linestyle="--", linewidth=1.3)
        if reference is not None and reference_label:
            ax.annotate(
                reference_label,
                (reference, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -2),
                textcoords="offset points",
                va="bottom",
                color=SERIES[1],
                fontweight="bold",
            )
        ax.set_yticks(where, frame["label"].tolist())
        ax.set_ylim(len(frame) - 0.4, -0.6)
        ax.set_xlim(0, 1.16 * max(float(np.nanmax(np.r_[high, value, reference or 0])), 1e-6))
        ax.xaxis.set_major_formatter(_shares)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(xlabel)
        ax.set_title(title, pad=18 if reference is not None and reference_label else None)
    return ax


def dose_response(
    frame: pd.DataFrame,
    *,
    ylabel: str,
    title: str,
    drawn: bool,
    shares: bool = False,
    top: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the level of an outcome at each number of messages, with intervals.

    Filled marks are numbers drawn by lot; hollow grey ones were chosen, so that their slope is not
    taken for an effect.

    Args:
        frame: ``dose``, ``estimate``, ``low``, ``high``.
        ylabel: The outcome.
        title: Heading of the picture.
        drawn: Whether the number was drawn by lot.
        shares: Whether the outcome is a fraction.
        top: Number that stands for itself and more.
        ax: Axes to draw on.

    Examples:
        >>> import pandas as pd
        >>> levels = pd.DataFrame({"dose": [0, 1], "estimate": [5.0, 6], "low": [4.0, 5], "high": [6.0, 7]})
        >>> dose_response(levels, ylabel="margin", title="By dose", drawn=False).get_xlabel()
        'messages per customer, chosen by the sender'
    """
    with style():
        ax = figure_axes(ax, height=3.6)
        dose, value, low, high = (frame[c].to_numpy(dtype=float) for c in ("dose", "estimate", "low", "high"))
        colour = SERIES[0] if drawn else MUTED
        ax.vlines(dose, low, high, color=colour, linewidth=1.6)
        ax.plot(
            dose,
            value,
            color=colour,
            linestyle="-" if drawn else (0, (1.5, 1.5)),
            marker=MARKERS[0],
            markersize=7,
            markerfacecolor=colour if drawn else "none",
            markeredgecolor=colour,
            linewidth=1.0,
        )
        tops = np.where(np.isfinite(high), high, value)
        for no in sorted({0, len(dose) - 1}):
            ax.annotate(
                _shares(round(value[no], 3)) if shares else _amounts(value[no]),
                (dose[no], tops[no]),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                color=INK,
                fontweight="bold",
            )
        ax.set_xticks(dose, [f"{d:g}+" if d == top else f"{d:g}" for d in dose])
        ax.set_xlim(dose.min() - 0.5, dose.max() + 0.5)
        ax.set_ylim(min(0.0, 1.1 * float(np.nanmin(np.r_[low, value]))), 1.12 * float(tops.max()) or 1.0)
        ax.yaxis.set_major_formatter(_shares if shares else _amounts)
        ax.set_xlabel(
            message("messages per customer, drawn by lot")
            if drawn
            else message("messages per customer, chosen by the sender")
        )
        ax.set_ylabel(ylabel)
        ax.set_title(title)
    return ax

"""Colours and type of every picture: readable in grey, colour-blind safe, light and dark.

Series colours are Okabe and Ito's (2008) set, darkened to 3:1 on white; the dark twins keep
their order of lightness. ``display.figure`` swaps each light value for its dark twin when the
reader's system asks for it, so drawing code only ever uses the light ones.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "DASHES",
    "GRID",
    "INK",
    "MARKERS",
    "MUTED",
    "SERIES",
    "SURFACE",
    "figure_axes",
    "style",
]

COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1b2531", "#e6e9ee"),
    "muted": ("#5b6675", "#a3adba"),
    "grid": ("#dfe3e9", "#333b47"),
    "surface": ("#fefefe", "#14181f"),
    "series-1": ("#0067a6", "#5fb4e8"),
    "series-2": ("#b84a00", "#f0925a"),
    "series-3": ("#00795a", "#3fc79e"),
    "series-4": ("#9c3f7c", "#e29acb"),
    "series-5": ("#6f5f00", "#d3c14e"),
    "series-6": ("#3f4a59", "#b5bfcc"),
}
INK, MUTED, GRID, SURFACE = (COLOURS[name][0] for name in ("ink", "muted", "grid", "surface"))
SERIES = tuple(light for name, (light, _) in COLOURS.items() if name.startswith("series"))
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this context to get the house style; nothing outside it changes."""
    import matplotlib as mpl
    from cycler import cycler

    rules: dict[Any, Any] = {
        "figure.facecolor": SURFACE,
        "savefig.facecolor": SURFACE,
        "axes.facecolor": SURFACE,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 11.0,
        "axes.titleweight": "bold",
        "axes.labelsize": 9.5,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=list(SERIES)),
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 9.0,
        "ytick.labelsize": 9.0,
        "text.color": INK,
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "figure.dpi": 96.0,
    }
    with mpl.rc_context(rules):
        yield


def figure_axes(ax: Axes | None = None, *, width: float = 7.2, height: float = 4.2) -> Axes:
    """Return ``ax``, or the Axes of a new pyplot figure of ``width`` x ``height`` inches.

    Call it, and everything drawn on it, inside :func:`style`: matplotlib fixes the colour of a
    text when it is made.
    """
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]

"""Words and small frames that a page on campaigns is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from loyalty_research.estimates import Estimate

__all__ = [
    "caused_name",
    "flat",
    "hidden",
    "hours_words",
    "of_words",
    "short_words",
    "signed",
    "spoken",
    "step_words",
    "sunset_name",
]


def step_words(name: str) -> str:
    """Return a step of the funnel in the reader's words."""
    return {
        "delivered": message("delivered"),
        "opened": message("opened (unreliable)"),
        "clicked": message("clicked"),
        "clicked of opened": message("clicked, of those opened (unreliable)"),
        "redeemed": message("redeemed"),
        "ordered": message("followed by an order"),
        "opted out": message("opted out"),
    }[name]


def caused_name() -> str:
    """Return how the effect of messages is called."""
    return message("What the messages caused")


def sunset_name() -> str:
    """Return how the test of dropping those who open nothing is called."""
    return message("Dropping those who open nothing")


def of_words(name: str) -> str:
    """Return what a step is a share of."""
    return {
        "sent": message("messages sent"),
        "delivered": message("messages delivered"),
        "open": message("messages opened"),
    }[name]


def signed(like: Estimate) -> Callable[[float], str]:
    """Return how a difference in the unit of an estimate is shown in a table."""
    return lambda value: like.format(value, signed=True)


def hours_words(spans: tuple[tuple[str, str], ...]) -> str:
    """Return spans of the day in words."""
    return ", ".join(message("{start} and {end}", start=a, end=b) for a, b in spans)


def short_words(words: str) -> str:
    """Return what a bar is a share of."""
    return message("of {messages}", messages=words)


def flat(rows: pd.DataFrame, name: str, labels: list[str]) -> pd.DataFrame:
    """Return rows of a funnel with their estimates spread out."""
    found = rows["estimate"].tolist()
    return pd.DataFrame(
        {
            name: labels,
            "estimate": [e.value for e in found],
            "low": [e.low for e in found],
            "high": [e.high for e in found],
            "count": rows["count"].to_numpy(dtype=int),
            "customers": rows["customers"].to_numpy(dtype=int),
            "n": [e.n for e in found],
        }
    )


def hidden(frame: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Blank rates that rest on fewer than five customers, and those that would give them away."""
    if frame.empty:
        return frame.drop(columns="customers", errors="ignore")
    shown = suppress_small_cells(frame, count="customers", values=["estimate", "low", "high", "count"], by=by)
    whole = [None if pd.isna(x) else int(x) for x in shown["count"]]
    return shown.assign(count=pd.Series(whole, index=shown.index, dtype=object)).drop(columns="customers")


def spoken(frame: pd.DataFrame, name: str) -> str:
    """Return the bars of a picture as a sentence: all of few, the ends of many."""
    rows = [(str(a), percent(b)) for a, b in zip(frame[name], frame["estimate"], strict=True)]
    if len(rows) <= 7:
        return "; ".join(f"{label} {share}" for label, share in rows) + "."
    return message(
        "Rates of {count} groups, from {top} ({high}) to {bottom} ({low}).",
        count=str(len(rows)),
        top=rows[0][0],
        high=rows[0][1],
        bottom=rows[-1][0],
        low=rows[-1][1],
    )

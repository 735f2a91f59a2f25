"""Spending around customers' own dates: days of the year, windows, and sums by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Windows", "own_events", "usual_by_day", "values_around"]

YEAR = 365
FARTHEST = 182  # half a year, beyond which a shifted date nears the next own one
WEEK = 7


@dataclass(frozen=True, slots=True)
class Windows:
    """Days before, during and after an offer, relative to a customer's own date.

    Attributes:
        start: First day of the offer, 0 for the date itself.
        stop: First day after the offer.
        before: Days of the window before the offer.
        after: Days of the window after it.
    """

    start: int
    stop: int
    before: int
    after: int

    @property
    def first(self) -> int:
        """First day of all windows together."""
        return self.start - self.before

    @property
    def last(self) -> int:
        """First day after them."""
        return self.stop + self.after

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Before, during and after as half-open spans of days."""
        return ((self.first, self.start), (self.start, self.stop), (self.stop, self.last))

    def shifts(self) -> Ints:
        """Return by how many days the windows are moved for comparison, 0 first.

        Whole weeks keep the weekdays; moved windows touch neither one another nor the customer's
        next own date.

        Raises:
            ArgumentError: When the windows are too long to be moved within half a year.
        """
        length = self.last - self.first
        step = math.ceil(length / WEEK) * WEEK
        reach = min(FARTHEST, YEAR - length)
        if 2 * step > reach:
            raise ArgumentError(
                f"the windows span {length} days, which leaves no room to compare them with other times of the "
                f"year: shorten them to at most {FARTHEST // 2 // WEEK * WEEK} days"
            )
        far = np.arange(step, reach + 1, step)
        return np.concatenate([[0], -far, far]).astype(np.int64)


def own_events(month: Ints, day: Ints, years: range, *, leap_day: str) -> Ints:
    """Return the day number of each customer's date in each year.

    Args:
        month: Month of the date, shape ``(n,)``.
        day: Day of the month, shape ``(n,)``.
        years: Calendar years.
        leap_day: ``"before"`` keeps 29 February on the 28th in years without one, ``"after"`` on 1 March.

    Returns:
        Days since 1970-01-01, shape ``(n, len(years))``.

    Examples:
        >>> found = own_events(np.array([2]), np.array([29]), range(2023, 2025), leap_day="before")
        >>> found.astype("datetime64[D]").astype(str).tolist()
        [['2023-02-28', '2024-02-29']]
    """
    starts = np.array([f"{year}-01" for year in years], dtype="datetime64[M]")
    months = starts[None, :] + (month - 1)[:, None]
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    found: Ints = first + (day - 1)[:, None]
    short = length < day[:, None]
    return found - short if leap_day == "before" else found


def usual_by_day(
    code: Ints, day: Ints, gain: Floats, begins: Ints, own: tuple[Ints, Ints, Ints], first: int, days: int
) -> Floats:
    """Return, per calendar day, the mean of customers whose own date lies elsewhere in the year.

    Args:
        code: Customer of each order.
        day: Day number of each order.
        gain: Margin of each order.
        begins: Day number from which each customer is observed, shape ``(customers,)``.
        own: Customer, first day and first day after it of each own window.
        first: Day number of the first day.
        days: Number of days.

    Returns:
        Shape ``(days,)``; NaN on days on which all who are observed are near their own date, 0 on days
        on which nobody is observed.
    """
    total = np.bincount(day - first, weights=gain, minlength=days)[:days]
    joined = np.bincount(np.clip(begins - first, 0, days), minlength=days + 1)[:days]
    seen = np.cumsum(joined)
    people = seen.astype(float)
    who, start, stop = own
    low, high = (np.clip(x - first, 0, days) for x in (np.maximum(start, begins[who]), stop))
    high = np.maximum(high, low)
    change = np.bincount(low, minlength=days + 1) - np.bincount(high, minlength=days + 1)
    people -= np.cumsum(change)[:days]
    for i in range(0, len(code), 1_000_000):  # orders inside an own window, by lots to bound memory
        part = slice(i, i + 1_000_000)
        inside = _in_spans(code[part], day[part], who, start, stop)
        total -= np.bincount(day[part][inside] - first, weights=gain[part][inside], minlength=days)[:days]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / people
    return np.where(seen == 0, 0.0, np.where(people > 0, mean, np.nan))


def _in_spans(code: Ints, day: Ints, who: Ints, start: Ints, stop: Ints) -> NDArray[np.bool_]:
    """Return which orders lie in one of their customer's spans; spans of one customer do not overlap."""
    if not len(who):
        return np.zeros(len(code), dtype=bool)
    wide = np.int64(2**31)
    order = np.argsort(who * wide + start, kind="stable")
    keys = (who * wide + start)[order]
    at = np.searchsorted(keys, code * wide + day, side="right") - 1
    hit = at >= 0
    spot = order[np.maximum(at, 0)]
    return np.asarray(hit & (who[spot] == code) & (day < stop[spot]))


def values_around(
    events: tuple[Ints, Ints],
    shifts: Ints,
    spans: tuple[tuple[int, int], ...],
    orders: tuple[Ints, Ints, Floats],
    usual: Floats,
    first: int,
) -> Floats:
    """Return each event's margin in each span at each shift, less the others' on the same days.

    Args:
        events: Customer and day number of each own date.
        shifts: Days by which windows are moved.
        spans: Spans of days relative to the date.
        orders: Customer, day number and margin of each order, sorted by customer and day.
        usual: Mean of the others per calendar day from ``first`` on.
        first: Day number of the first day.

    Returns:
        Shape ``(events, shifts, spans)``; values of windows outside the days are not meaningful.
    """
    who, date = events
    code, day, gain = orders
    wide = np.int64(2**31)
    keys = code * wide + day
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    others = np.concatenate([[0.0], np.cumsum(usual)])
    found = np.empty((len(who), len(shifts), len(spans)))
    for s, shift in enumerate(shifts):
        for w, (a, b) in enumerate(spans):
            low, high = date + shift + a, date + shift + b
            own = (
                sums[np.searchsorted(keys, who * wide + high)] - sums[np.searchsorted(keys, who * wide + low)]
            )
            at = [np.clip(x - first, 0, len(usual)) for x in (low, high)]
            found[:, s, w] = own - (others[at[1]] - others[at[0]])
    return found

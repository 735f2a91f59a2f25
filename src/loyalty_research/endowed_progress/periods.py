"""Cards cut into periods: trials and visits by stamps held, and by the calendar where asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.i18n import message

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.cards import Cards

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Periods", "Season", "after_reward", "calendar_columns", "card_periods", "check_calendar"]

Season = Literal["harmonic", "month", "week"]
_THIN = 20
_NO_BIN = -1


@dataclass(frozen=True)
class Periods:
    """Cards as runs of periods, added up by the stamps they held.

    Attributes:
        card: Position of the card among the first cards, or of its holder among all customers
            where later cards are followed too, shape ``(rows,)``.
        cell: Covariate cell of the row.
        trials: Periods spent in the cell.
        visits: Of them with a visit.
        cells: One row per cell: arm (position), required, endowed, stamps (earned so far), later
            (1 on cards after a reward), season (code of the calendar bin, -1 without) and weekday
            (0 is Monday, -1 without).
        days: Length of a period in days.
        closed: Periods left out since nobody ever came on their weekday.
    """

    card: Ints
    cell: Ints
    trials: Ints
    visits: Ints
    cells: pd.DataFrame
    days: int
    closed: int = 0


@dataclass(frozen=True)
class _Stretches:
    """Runs of periods between one visit of a card and the next; the last period may hold a visit.

    Attributes:
        row: Row of the card table.
        origin: Day before the first day of period 0.
        begin: First period of the run.
        trials: Periods in the run.
        visits: 1 where the run ends in a visit, else 0.
        stamps: Stamps earned before it.
    """

    row: Ints
    origin: Ints
    begin: Ints
    trials: Ints
    visits: Ints
    stamps: Ints


def check_calendar(season: str | None, *, weekday: bool, days: int) -> None:
    """Check the terms of the calendar.

    Raises:
        ArgumentError: When the season is unknown, or weekdays are asked of periods longer than a day.
    """
    if season is not None and season not in ("harmonic", "month", "week"):
        raise ArgumentError(f"season must be None, harmonic, month or week; got {season!r}")
    if weekday and days != 1:
        raise ArgumentError(f"weekday=True needs period=1; a period of {days} days holds several weekdays")


def _starts(card: Ints) -> Ints:
    """Return where each card's rows begin, in rows sorted by card."""
    return np.flatnonzero(np.diff(card, prepend=-1) != 0)


def after_reward(cards: Cards) -> NDArray[np.bool_]:
    """Return whether each card was issued after its holder had completed one, shape ``(cards,)``."""
    customer, issued = (cards.table[c].to_numpy() for c in ("customer", "issued"))
    earliest = np.full(int(customer.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, customer, cards.table["completed"].to_numpy())
    rewarded: NDArray[np.bool_] = (cards.table["cycle"].to_numpy() > 1) & (issued >= earliest[customer])
    return rewarded


def _stretches(cards: Cards, *, days: int, later: bool) -> _Stretches:
    table = cards.table
    followed = table["cycle"].to_numpy() == 1
    chosen = np.flatnonzero(followed | after_reward(cards) if later else followed)
    issued, customer = table["issued"].to_numpy()[chosen], table["customer"].to_numpy()[chosen]
    origin = issued
    if later:
        # all cards of a holder share the holder's own periods, so that a reward in the middle of
        # one does not cut the next card's periods differently
        earliest = np.full(int(customer.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(earliest, customer, issued)
        origin = earliest[customer]
    first = -((origin - issued) // days)
    # completed cards are cut at the same day as others, or their last period would be kept only
    # because it held a visit
    ends = np.minimum.reduce(
        [cards.expires[chosen], table["lost"].to_numpy()[chosen], np.full(len(chosen), cards.as_of)]
    )
    whole = np.maximum(ends - origin, 0) // days

    position = np.full(len(table), -1, dtype=np.int64)
    position[chosen] = np.arange(len(chosen))
    owner = position[cards.stamp_card]
    owner, stamp_day = owner[owner >= 0], cards.stamp_day[owner >= 0]
    period = (stamp_day - origin[owner] - 1) // days
    held = np.bincount(owner[period < first[owner]], minlength=len(chosen))
    inside = (period >= first[owner]) & (period < whole[owner])
    span = int(whole.max()) + 1
    key, gained = np.unique(owner[inside] * span + period[inside], return_counts=True)
    card, when = key // span, key % span
    start = _starts(card)
    before = np.append(-1, when[:-1])[: len(when)]
    before[start] = first[card[start]] - 1
    running = np.cumsum(gained) - gained
    level = held[card] + running - np.repeat(running[start], np.diff(np.append(start, len(card))))
    # the stretch after the last visit, for cards that did not fill
    last = first - 1
    last[card] = when
    earned = held + np.bincount(card, weights=gained, minlength=len(chosen)).astype(np.int64)
    full = earned >= (table["required"] - table["endowed"]).to_numpy()[chosen]
    rest = np.flatnonzero(~full & (whole - 1 - last > 0))
    everyone = np.concatenate([card, rest])
    if not len(everyone):
        raise DesignError(f"no card was followed for a whole period of {days} days")
    return _Stretches(
        row=chosen[everyone],
        origin=origin[everyone],
        begin=np.concatenate([before, last[rest]]) + 1,
        trials=np.concatenate([when - before, (whole - 1 - last)[rest]]),
        visits=np.concatenate([np.ones(len(card), dtype=np.int64), np.zeros(len(rest), dtype=np.int64)]),
        stamps=np.concatenate([level, earned[rest]]),
    )


def _season_code(day: Ints, season: Season | None) -> Ints:
    """Return the calendar bin of days since 1970-01-01: months since then, or weeks from Monday."""
    if season is None:
        return np.full(len(day), _NO_BIN, dtype=np.int64)
    if season == "month":
        months: Ints = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return months
    return (day + 3) // 7


def card_periods(
    cards: Cards,
    *,
    days: int = 7,
    later: bool = False,
    season: Season | None = None,
    weekday: bool = False,
) -> Periods:
    """Cut the life of each first card into periods of ``days`` days from the day after issue.

    A period counts from the day after issue until the card is full, expires, is lost, or the
    data end; an incomplete last period is left out. Stamps of the issue day are held at the
    start. Several stamps within one period are one visit, and count as progress afterwards.

    Where later cards are followed too, all cards of a holder are cut by the periods of the first:
    a later card is at risk from the period after the one it was issued in, and stamps of that
    period are held at its start.

    Args:
        cards: Checked cards.
        days: Length of a period.
        later: Follow cards after a reward too, and add up by holder instead of card; a card that
            replaces a lost or expired one is left out.
        season: Tell periods apart by the month or the week their middle lies in (``"harmonic"``
            needs weeks).
        weekday: Tell periods of one day apart by weekday; weekdays without a single visit are
            taken for closed and left out.

    Raises:
        DesignError: When the cards carry no stamps, or none was followed for a whole period.
    """
    import pandas as pd

    if not cards.has_stamps:
        raise DesignError(
            "card_events holds no stamp events, so visits between issue and reward are not known"
        )
    runs = _stretches(cards, days=days, later=later)
    table = cards.table
    arm_of = table["arm"].map({a: i for i, a in enumerate(cards.arms)}).to_numpy(dtype=np.int64)
    described = pd.DataFrame(
        {
            "arm": arm_of[runs.row],
            "required": table["required"].to_numpy()[runs.row],
            "endowed": table["endowed"].to_numpy()[runs.row],
            "stamps": runs.stamps,
            "later": (table["cycle"].to_numpy()[runs.row] > 1).astype(np.int64),
        }
    )
    names = list(described.columns)
    grouped = described.groupby(names, sort=True)
    cell = np.asarray(grouped.ngroup(), dtype=np.int64)
    cells = grouped.size().reset_index().drop(columns=0)
    owner = runs.row
    if later:
        owner = table["customer"].to_numpy()[runs.row]
    else:
        position = np.cumsum(table["cycle"].to_numpy() == 1) - 1
        owner = position[runs.row].astype(np.int64)
    if season is None and not weekday and not later:
        plain = cells.assign(season=_NO_BIN, weekday=_NO_BIN)
        return Periods(owner, cell, runs.trials, runs.visits, plain, days)
    return _by_calendar(runs, owner, cell, cells, days=days, season=season, weekday=weekday)


def _by_calendar(
    runs: _Stretches,
    owner: Ints,
    cell: Ints,
    cells: pd.DataFrame,
    *,
    days: int,
    season: Season | None,
    weekday: bool,
) -> Periods:
    """Lay runs out period by period and add them up again by owner, cell and calendar."""
    trials, visits, closed = runs.trials, runs.visits, 0
    bins = np.full(len(trials), _NO_BIN, dtype=np.int64)
    weekdays = bins
    if season is not None or weekday:
        row = np.repeat(np.arange(len(trials)), trials)
        within = np.arange(len(row)) - np.repeat(np.cumsum(trials) - trials, trials)
        middle = runs.origin[row] + (runs.begin[row] + within) * days + (days + 1) // 2
        visits = ((within == trials[row] - 1) & (visits[row] == 1)).astype(np.int64)
        trials = np.ones(len(row), dtype=np.int64)
        bins = _season_code(middle, season)
        weekdays = (middle + 3) % 7 if weekday else np.full(len(row), _NO_BIN, dtype=np.int64)
        owner, cell = owner[row], cell[row]
        if weekday:
            seen = np.bincount(weekdays, weights=visits, minlength=7) > 0
            kept = seen[weekdays]
            closed = int((~kept).sum())
            owner, cell, trials, visits, bins, weekdays = (
                v[kept] for v in (owner, cell, trials, visits, bins, weekdays)
            )
    low = int(bins.min())
    width = int(bins.max()) - low + 1
    code = ((cell * width) + bins - low) * 8 + weekdays + 1
    known, code = np.unique(code, return_inverse=True)
    keys, place = np.unique(owner * len(known) + code, return_inverse=True)
    described = cells.iloc[known // 8 // width].reset_index(drop=True)
    return Periods(
        card=keys // len(known),
        cell=keys % len(known),
        trials=np.bincount(place, weights=trials).astype(np.int64),
        visits=np.bincount(place, weights=visits).astype(np.int64),
        cells=described.assign(season=known // 8 % width + low, weekday=known % 8 - 1),
        days=days,
        closed=closed,
    )


def calendar_columns(periods: Periods, season: Season | None) -> tuple[Floats, list[str]]:
    """Return the covariates of the calendar per cell, and their names.

    Months and weeks are told apart from the first of them; those with fewer than 20 visits, or 20
    periods without, join the one before. A harmonic season is one yearly wave: cosine and sine.

    Args:
        periods: Trials and visits.
        season: What to make of the season codes.

    Returns:
        Matrix, shape ``(cells, columns)``, and a name per column.
    """
    cells = periods.cells
    columns: list[Floats] = []
    names: list[str] = []
    codes = cells["season"].to_numpy()
    if season == "harmonic":
        angle = 2 * np.pi * (7.0 * codes) / 365.25  # Thursday of the week, in days since 1970
        columns += [np.cos(angle), np.sin(angle)]
        names += [message("yearly wave, cosine"), message("yearly wave, sine")]
    elif season is not None:
        levels = _merged(periods)
        for level in np.unique(levels)[1:]:
            columns.append((levels == level).astype(float))
            names.append(_bin_name(int(level), season))
    days = cells["weekday"].to_numpy()
    for day in np.unique(days[days >= 0])[1:]:
        columns.append((days == day).astype(float))
        names.append(_weekdays()[int(day)])
    return np.column_stack(columns) if columns else np.empty((len(cells), 0)), names


def _merged(periods: Periods) -> Ints:
    """Return the season code of each cell, thin bins joined to the one before (the first to the next)."""
    codes = periods.cells["season"].to_numpy()
    known, place = np.unique(codes, return_inverse=True)
    of_row = place[periods.cell]
    visits = np.bincount(of_row, weights=periods.visits)
    misses = np.bincount(of_row, weights=periods.trials) - visits
    target, kept, sums = np.zeros(len(known), dtype=np.int64), 0, np.zeros(2)
    for k, pair in enumerate(np.column_stack([visits, misses])):
        if k and (sums >= _THIN).all() and (pair >= _THIN).all():
            kept, sums = k, np.zeros(2)
        sums = sums + pair
        target[k] = kept
    return known[target][place]


def _bin_name(code: int, season: Season) -> str:
    if season == "month":
        return str(np.datetime64(code, "M"))
    return message("week of {day}", day=str(np.datetime64(7 * code - 3, "D")))


def _weekdays() -> tuple[str, ...]:
    return (
        message("Monday"),
        message("Tuesday"),
        message("Wednesday"),
        message("Thursday"),
        message("Friday"),
        message("Saturday"),
        message("Sunday"),
    )

"""Who held which tier when: spells from activity, and states period by period."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows, listed
from loyalty_research.summaries._frames import as_lazy, as_ordinal, collect, need, read_lines, to_dates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["PERIODS", "TierStates", "activity_lines", "qualifying_activity", "tier_spells", "tier_states"]

PERIODS = {"M": "months", "Q": "quarters", "Y": "years"}
UPGRADES = ("period-end", "immediate")
TABLE = "memberships"


def check_period(period: str) -> str:
    """Return a calendar period, or raise ArgumentError."""
    if period not in PERIODS:
        raise ArgumentError(f"period is one of {', '.join(PERIODS)}; got {period!r}")
    return period


def period_ends(first: int, last: int, period: str) -> Ints:
    """Return the last days (day numbers) of the calendar periods that are over on ``last``."""
    start, stop = pd.Period(dt.date.fromordinal(first), period), pd.Period(dt.date.fromordinal(last), period)
    ends = pd.period_range(start, stop, freq=period).end_time
    days = np.array([e.date().toordinal() for e in ends], dtype=np.int64)
    return days[days <= last]


@dataclass(frozen=True, slots=True)
class TierStates:
    """States at the ends of periods, one customer after another.

    Attributes:
        names: Names of states, lowest tier first; ``left`` last where anybody left.
        left: Position of the state of those who left, or None.
        codes: State of each customer and period, from the customer's first to the last period.
        starts: Whether a row is a customer's first.
        customers: Customers.
        periods: Periods from the first to the last.
        ids: Identifier of each customer, in the order of their rows.
        ends: Last day (day number) of every period that is over, from the earliest spell's on.
    """

    names: tuple[str, ...]
    left: int | None
    codes: Ints
    starts: NDArray[np.bool_]
    customers: int
    periods: int
    ids: NDArray[Any] = field(repr=False)
    ends: Ints = field(repr=False)

    def table(self) -> Ints:
        """Return the state of every customer at every end, customers by ends; -1 before the first."""
        rows = np.cumsum(self.starts) - 1
        lengths = np.bincount(rows, minlength=self.customers)
        within = np.arange(len(rows)) - (np.cumsum(lengths) - lengths)[rows]
        out = np.full((self.customers, len(self.ends)), -1, dtype=np.int64)
        out[rows, len(self.ends) - lengths[rows] + within] = self.codes
        return out

    def pairs(self) -> Ints:
        """Return transitions from one period to the next, states by states."""
        size = len(self.names)
        within = ~self.starts[1:]
        flat = self.codes[:-1][within] * size + self.codes[1:][within]
        return np.bincount(flat, minlength=size**2).reshape(size, size)

    def triples(self) -> Ints:
        """Return runs of three periods, states by states by states."""
        size = len(self.names)
        within = ~self.starts[1:-1] & ~self.starts[2:]
        flat = (self.codes[:-2] * size + self.codes[1:-1]) * size + self.codes[2:]
        return np.bincount(flat[within], minlength=size**3).reshape(size, size, size)

    def entries(self) -> Ints:
        """Return how many customers began in each state."""
        return np.bincount(self.codes[self.starts], minlength=len(self.names))

    def latest(self) -> Ints:
        """Return how many customers are in each state in the last period."""
        ends = np.append(self.starts[1:], True)
        return np.bincount(self.codes[ends], minlength=len(self.names))


def _read_spells(memberships: Any) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Return customer (a code), from and to (day numbers; NaN while it lasts) and tier, checked; identifiers."""
    lazy = as_lazy(memberships, TABLE)
    columns = list(lazy.collect_schema())
    begin, end = (f"{c}_date" if f"{c}_date" in columns else c for c in ("valid_from", "valid_to"))
    need(columns, ["customer_id", begin, end, "tier"], TABLE)
    spare = [c for c in ("programme_id",) if c in columns]
    frame = collect(lazy.select("customer_id", begin, end, "tier", *spare)).reset_index(drop=True)
    if frame.empty:
        raise ContractError(f"{TABLE} is empty: there are no tiers to follow")
    for column in ("customer_id", begin, "tier"):
        bad = frame[column].isna()
        if bad.any():
            rows = at_rows(list(frame.index[bad]))
            raise ContractError(
                f"{TABLE}.{column} is null at {rows}; fill in these cells or leave the rows out"
            )
    programmes = len(frame["programme_id"].unique()) if spare else 1
    if programmes > 1:
        raise ContractError(f"{TABLE} holds {programmes} programmes; give one at a time")
    codes, ids = pd.factorize(frame["customer_id"])
    found = pd.DataFrame({"customer": codes, "tier": frame["tier"].astype(str)})
    for name, column in (("from", begin), ("to", end)):
        moments = frame[column]
        if not pd.api.types.is_datetime64_dtype(moments.dtype) and not moments.isna().all():
            moments = _as_moments(moments, column)
        moments = pd.to_datetime(moments)
        days = moments.to_numpy().astype("datetime64[D]").astype(np.int64) + dt.date(1970, 1, 1).toordinal()
        found[name] = np.where(moments.isna(), math.nan, days)
        found[f"{name}_moment"] = moments
    _check_spells(found, end)
    return found, np.asarray(ids)


def _as_moments(values: pd.Series[Any], column: str) -> pd.Series[Any]:
    bad = [i for i, v in enumerate(values) if not (isinstance(v, dt.date) or pd.isna(v))]
    if bad or isinstance(values.dtype, pd.DatetimeTZDtype):
        raise ContractError(
            f"{TABLE}.{column} holds no naive dates{' at ' + at_rows(bad) if bad else ''}; parse it first, for "
            "example pandas.to_datetime(column, format=...)"
        )
    return values


def _check_spells(spells: pd.DataFrame, end: str) -> None:
    """Raise where a spell ends before it begins or two of one customer overlap."""
    backwards = spells["to_moment"] < spells["from_moment"]
    if backwards.any():
        raise ContractError(
            f"{TABLE}.{end} is before the spell's beginning at {at_rows(list(spells.index[backwards]))}; mend the dates"
        )
    ordered = spells.sort_values(["customer", "from_moment", "to_moment"], kind="stable")
    same = (ordered["customer"] == ordered["customer"].shift()).to_numpy()
    before = ordered["to_moment"].shift()
    over = same & (before.isna() | (ordered["from_moment"] < before)).to_numpy()
    if over.any():
        raise ContractError(
            f"{TABLE} has tiers that overlap: {at_rows(sorted(ordered.index[over]))} begin before the customer's "
            "earlier spell ends; end that one first"
        )


def _names(found: Sequence[str], tiers: Sequence[str] | None, left: str) -> list[str]:
    if left in found:
        raise ArgumentError(f"a tier is called {left!r}; name another word for those who left (left=...)")
    if tiers is None:
        raise ArgumentError(f"tiers names the tiers, lowest first; {TABLE} has {listed(found)}")
    names = [str(t) for t in tiers]
    if len(set(names)) != len(names) or len(names) < 2 or left in names:
        raise ArgumentError(f"tiers are two or more different names without {left!r}; got {names}")
    unknown = [t for t in found if t not in names]
    if unknown:
        raise ContractError(f"{TABLE}.tier holds {listed(unknown)}, which tiers does not name")
    return names


def tier_states(
    memberships: Any,
    *,
    tiers: Sequence[str],
    as_of: dt.date | str,
    period: str = "M",
    left: str = "left",
) -> TierStates:
    """Return every customer's tier on the last day of each period that is over.

    Someone without a spell after the first is in the state ``left``, until a new spell begins.

    Args:
        memberships: Table ``memberships``: ``customer_id``, ``valid_from``, ``valid_to``, ``tier``.
            Any frame that narwhals knows.
        tiers: Names of tiers, lowest first.
        as_of: Last day observed.
        period: ``"M"``, ``"Q"`` or ``"Y"``.
        left: Name for those who left.

    Raises:
        ContractError: When the table breaks its contract, or spells overlap.
        ArgumentError: When an option is outside its range.
        DesignError: When fewer than two periods are over.

    Examples:
        >>> spells = pd.DataFrame({"customer_id": ["a", "a", "b"], "tier": ["base", "gold", "base"],
        ...     "valid_from": pd.to_datetime(["2024-01-05", "2024-02-10", "2024-01-20"]),
        ...     "valid_to": pd.to_datetime(["2024-02-10", None, "2024-02-20"])})
        >>> states = tier_states(spells, tiers=["base", "gold"], as_of="2024-03-31")
        >>> states.names, states.pairs().tolist()
        (('base', 'gold', 'left'), [[0, 1, 1], [0, 1, 0], [0, 0, 1]])
    """
    check_period(period)
    last = as_ordinal(as_of, "as_of")
    spells, ids = _read_spells(memberships)
    names = _names(sorted(spells["tier"].unique()), tiers, left)
    spells = spells[spells["from"] <= last]
    if spells.empty:
        raise ArgumentError(f"every spell of {TABLE} begins after as_of; name a later day")
    ends = period_ends(int(spells["from"].min()), last, period)
    if len(ends) < 2:
        raise DesignError(
            "fewer than two periods are over on as_of, so nobody can have moved; name a shorter one"
        )
    begin = np.searchsorted(ends, spells["from"].to_numpy())
    until = spells["to"].fillna(math.inf).to_numpy()
    stop = np.searchsorted(ends, until)  # first end that the spell no longer covers
    covers = stop > begin
    who, begin, stop = spells["customer"].to_numpy()[covers], begin[covers], stop[covers]
    code = spells["tier"].map({n: i for i, n in enumerate(names)}).to_numpy(dtype=np.int64)[covers]
    people, who = np.unique(who, return_inverse=True)
    first = np.full(len(people), len(ends))
    np.minimum.at(first, who, begin)
    lengths = len(ends) - first
    offset = np.cumsum(lengths) - lengths
    codes = np.full(int(lengths.sum()), len(names), dtype=np.int64)
    size = stop - begin
    within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    codes[np.repeat(offset[who] + begin - first[who], size) + within] = np.repeat(code, size)
    starts = np.zeros(len(codes), dtype=bool)
    starts[offset] = True
    gone = bool((codes == len(names)).any())
    return TierStates(
        (*names, left) if gone else tuple(names),
        len(names) if gone else None,
        codes,
        starts,
        len(people),
        len(ends) - int(first.min()),
        ids[people],
        ends,
    )


def activity_lines(
    transactions: Any, period: str, measure: str, as_of: dt.date | str | None
) -> tuple[pd.DataFrame, int]:
    """Return purchases with the ordinal of their period, and the last day observed.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When the table breaks its contract.
    """
    check_period(period)
    if measure not in ("amount", "orders"):
        raise ArgumentError(f"measure is 'amount' or 'orders'; got {measure!r}")
    read = read_lines(
        transactions,
        amount=measure == "amount",
        until=None if as_of is None else as_ordinal(as_of, "as_of"),
    )
    found = collect(read.frame)
    days = pd.PeriodIndex(to_dates(found["day"]), freq=period)
    return found.assign(period=days.astype("int64")), read.last


def qualifying_activity(
    transactions: Any,
    *,
    period: str = "Y",
    measure: str = "amount",
    as_of: dt.date | str | None = None,
) -> pd.DataFrame:
    """Sum what counts towards a tier, by customer and calendar period that is over.

    Args:
        transactions: As for :func:`tier_spells`.
        period: ``"M"``, ``"Q"`` or ``"Y"``.
        measure: ``"amount"`` or ``"orders"``.
        as_of: Last day observed; by default the table's last.

    Returns:
        ``customer_id, period, activity``, a row where there was any.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When the table breaks its contract.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": list("aab"), "amount": [250.0, 50.0, 10.0],
        ...     "transacted_at": pd.to_datetime(["2022-03-01", "2022-12-31", "2023-05-01"])})
        >>> qualifying_activity(orders).to_numpy().tolist()
        [['a', '2022', 300.0]]
    """
    found, last = activity_lines(transactions, period, measure, as_of)
    now = pd.Period(dt.date.fromordinal(last), period)
    if now.end_time.date().toordinal() > last:
        now -= 1
    found = found[found["period"] <= now.ordinal]
    sums = found.groupby(["customer_id", "period"])[measure].sum().round(6).reset_index(name="activity")
    names = pd.PeriodIndex.from_ordinals(sums["period"].to_numpy(), freq=period)  # type: ignore[attr-defined]
    return sums.assign(period=names.astype(str))


def tier_spells(
    transactions: Any,
    *,
    lines: Mapping[str, float],
    base: str = "base",
    period: str = "Y",
    measure: str = "amount",
    upgrades: str = "period-end",
    as_of: dt.date | str | None = None,
) -> pd.DataFrame:
    """Derive spells of tiers from qualifying activity.

    The rule is the plain one: what a customer did in one calendar period decides the tier of the
    next, ``line`` or more is enough, and everybody holds ``base`` from the day of the first purchase.
    With immediate upgrades a tier also begins on the day its line is reached, and is kept until the
    end of the next period as any other.

    Args:
        transactions: ``customer_id``, ``transacted_at`` or ``transacted_date``, ``amount``,
            optionally ``type``. Any frame that narwhals knows.
        lines: Tier to what it takes per period, such as ``{"silver": 300, "gold": 1000}``.
        base: Name of the tier below the lowest line.
        period: ``"M"``, ``"Q"`` or ``"Y"``.
        measure: ``"amount"`` or ``"orders"``. Refunds are left out, as in all summaries.
        upgrades: ``"period-end"``, or ``"immediate"`` for rises on the day that a line is reached.
        as_of: Last day observed; by default the table's last.

    Returns:
        A table in the form of ``memberships``: ``customer_id, valid_from, valid_to, tier, reason``;
        half-open, null ``valid_to`` while a spell lasts.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When the table breaks its contract.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": list("aab"), "amount": [250.0, 50.0, 10.0],
        ...     "transacted_at": pd.to_datetime(["2022-03-01", "2022-12-31", "2022-05-01"])})
        >>> tier_spells(orders, lines={"gold": 300}, as_of="2024-06-30")[
        ...     ["customer_id", "valid_from", "tier", "reason"]].astype(str).to_numpy().tolist()
        [['a', '2022-03-01', 'base', 'enrol'], ['a', '2023-01-01', 'gold', 'upgrade'],
         ['a', '2024-01-01', 'base', 'downgrade'], ['b', '2022-05-01', 'base', 'enrol']]
    """
    steps = _check_lines(lines, base)
    if upgrades not in UPGRADES:
        raise ArgumentError(f"upgrades is one of {', '.join(UPGRADES)}; got {upgrades!r}")
    activity, last = activity_lines(transactions, period, measure, as_of)
    now = pd.Period(dt.date.fromordinal(last), period).ordinal
    sums = activity.groupby(["customer_id", "period"])[measure].sum().round(6)
    by_person = activity.groupby("customer_id")
    joined, first = by_person["day"].min(), by_person["period"].min()
    # the tier of period t+1 by what was done in t; periods without activity give base
    frame = _tiers_by_period(sums, first, now, steps)
    starts = pd.PeriodIndex.from_ordinals(frame["period"].to_numpy(), freq=period).start_time  # type: ignore[attr-defined]
    days = starts.to_numpy().astype("datetime64[D]").astype(np.int64) + dt.date(1970, 1, 1).toordinal()
    own = frame["customer_id"].map(joined).to_numpy()
    frame["day"] = np.where(frame["period"] == frame["customer_id"].map(first), own, days)
    if upgrades == "immediate":
        frame = _risen_at_once(frame, activity, measure, steps)
    names = np.array([base, *(name for name, _ in steps)], dtype=object)
    before = frame.groupby("customer_id")["rank"].shift()
    spells = frame[frame["rank"] != before].copy()
    by_customer = spells.groupby("customer_id", sort=False)
    earlier = by_customer["rank"].shift()
    spells["valid_from"] = to_dates(spells["day"].to_numpy()).to_numpy()
    spells["valid_to"] = by_customer["valid_from"].shift(-1)
    moved = np.where(spells["rank"] > earlier, "upgrade", "downgrade")
    spells["reason"] = np.where(earlier.isna(), "enrol", moved)
    spells["tier"] = names[spells["rank"].to_numpy()]
    return spells[["customer_id", "valid_from", "valid_to", "tier", "reason"]].reset_index(drop=True)


def _risen_at_once(
    frame: pd.DataFrame, activity: pd.DataFrame, measure: str, steps: list[tuple[str, float]]
) -> pd.DataFrame:
    """Add the days within periods on which the running sum takes a customer above the tier held."""
    daily = activity.groupby(["customer_id", "period", "day"], as_index=False)[measure].sum()
    running = daily.groupby(["customer_id", "period"])[measure].cumsum().round(6)
    daily["rank"] = np.searchsorted([height for _, height in steps], running, side="right")
    both = pd.concat([frame.assign(opening=0), daily.assign(opening=1)])
    both = both.sort_values(["customer_id", "period", "day", "opening"], kind="stable")
    # within a period a tier is never lost, and the opening row comes first
    both["rank"] = both.groupby(["customer_id", "period"])["rank"].cummax()
    last = ~both.duplicated(["customer_id", "day"], keep="last")
    return both.loc[last, ["customer_id", "period", "rank", "day"]].reset_index(drop=True)


def _check_lines(lines: Mapping[str, float], base: str) -> list[tuple[str, float]]:
    if not isinstance(lines, Mapping) or not lines:
        raise ArgumentError("lines names each tier with what it takes, such as {'silver': 300, 'gold': 1000}")
    steps = sorted(((str(k), float(v)) for k, v in lines.items()), key=lambda step: step[1])
    heights = [height for _, height in steps]
    if base in dict(steps) or len(set(heights)) < len(heights):
        raise ArgumentError(
            f"every tier has a line of its own, and none is called {base!r}; got {dict(steps)}"
        )
    if not all(math.isfinite(h) and h > 0 for h in heights):
        raise ArgumentError(f"lines are numbers above 0; got {dict(steps)}")
    return steps


def _tiers_by_period(
    sums: pd.Series[Any], first: pd.Series[Any], now: int, steps: list[tuple[str, float]]
) -> pd.DataFrame:
    """Return one row per customer and period from the first to ``now``, with the rank of the tier."""
    lengths = (now - first + 1).to_numpy()
    offset = np.cumsum(lengths) - lengths
    within = np.arange(int(lengths.sum())) - np.repeat(offset, lengths)
    done = np.zeros(len(within))
    customer = first.index.get_indexer(sums.index.get_level_values(0))
    done[offset[customer] + sums.index.get_level_values(1).to_numpy() - first.to_numpy()[customer]] = sums
    rank = np.searchsorted([height for _, height in steps], done, side="right")
    rank = np.concatenate([[0], rank[:-1]])
    rank[offset] = 0
    return pd.DataFrame(
        {
            "customer_id": np.repeat(first.index.to_numpy(), lengths),
            "period": within + np.repeat(first.to_numpy(), lengths),
            "rank": rank,
        }
    )

"""Members and non-members with comparable day zeros: who joined on a day, and who could have."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.summaries._frames import (
    as_lazy,
    as_ordinal,
    collect,
    positive_days,
    read_lines,
    to_dates,
)
from loyalty_research.summaries._purchases import by_day
from loyalty_research.summaries._units import in_windows, joinable, spells_of, with_sums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from loyalty_research.summaries._frames import Lines

    Integers = NDArray[np.int64]

__all__ = ["draw_sets", "joining_days", "member_units"]

NEVER: Final[int] = int(np.iinfo(np.int64).max)
NO_PAST = "members without a purchase before they joined"
SHORT_WINDOW = "members not observed for the whole outcome window"
SHORT_PAST = "members whose pre-period begins before the data"
NO_PARTNER = "members with too few non-members to compare with on the day they joined"
NOT_DRAWN = "non-members who were not drawn for a joining day"
LOOKED_AHEAD = "non-members who joined within their window, left out by looking ahead"
_LATER = ("keep", "leave out")


def joining_days(memberships: Any) -> pd.Series[int]:
    """Return the day number of each customer's first joining, indexed and sorted by customer.

    Raises:
        ContractError: When a column is missing, or a row lacks its customer or first day.
    """
    spells = spells_of(memberships)
    blank = np.flatnonzero((spells["customer_id"].isna() | (spells["since"] < 1)).to_numpy())
    if len(blank):
        raise ContractError(
            f"memberships lack a customer or valid_from at {at_rows([int(i) for i in blank])}; give each row both or "
            "leave it out"
        )
    first: pd.Series[int] = spells.groupby("customer_id")["since"].min().astype(np.int64)
    return first


def _risk_sets(
    first: Integers,
    joined: Integers,
    used: NDArray[np.bool_],
    visitors: Integers,
    day: int,
    *,
    same_day: bool,
) -> Iterator[Integers]:
    """Yield who could join on a day: has bought before, is no member, and was not drawn earlier."""
    able = (first < day) & (joined >= day) & ~used
    if not same_day:
        yield np.flatnonzero(able)
        return
    yield visitors[able[visitors]]
    able[visitors] = False
    yield np.flatnonzero(able)


def draw_sets(
    first: Integers,
    joined: Integers,
    visits: tuple[Integers, Integers],
    days: Integers,
    *,
    controls: int,
    same_day: bool,
    rng: np.random.Generator,
) -> tuple[Integers, NDArray[np.bool_]]:
    """Draw, day by day, non-members for those who join.

    The days are gone through in order and a customer is drawn once, so what happens on a day rests
    on what was known by then and on the draws, never on what came later.

    Args:
        first: Day number of each customer's first purchase, shape (n,).
        joined: Day number of joining, ``NEVER`` where not, shape (n,).
        visits: Customer (0 to n - 1) and day number of each purchase day, sorted by day, shapes (v,).
        days: Joining days to draw for, sorted, shape (m,).
        controls: Non-members for every member.
        same_day: Whether those who bought on the day and those who did not are drawn apart.
        rng: Of the draws.

    Returns:
        Day zero of each customer, 0 for those not taken, and whether it is the day of joining,
        shapes (n,).
    """
    who, when = visits
    zero, member = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=bool)
    for day in days.tolist():
        here = who[slice(*np.searchsorted(when, [day, day + 1]))]
        for able in _risk_sets(first, joined, zero > 0, here, day, same_day=same_day):
            joins = joined[able] == day
            count = min(int(joins.sum()), int((~joins).sum()) // controls)
            if count:
                taken = rng.choice(able[joins], count, replace=False)
                zero[taken], member[taken] = day, True
                zero[rng.choice(able[~joins], count * controls, replace=False)] = day
    return zero, member


def member_units(
    transactions: Any,
    memberships: Any,
    *,
    window_days: int,
    pre_days: int = 90,
    controls: int = 1,
    same_day: bool = True,
    later_joiners: Literal["keep", "leave out"] = "keep",
    as_of: dt.date | str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Set customers who joined beside customers who could have joined on the same day.

    A member's day zero is the day of joining. A non-member has none, and any rule that uses the
    future to give one ("never joined", "bought again") builds in a difference: time before joining
    in which a member had to stay a customer is immortal time. Here the joining days are gone
    through in order. On each, those who join are set beside others drawn by chance from the same
    risk set: customers who had bought before that day, had not joined by the end of it and were not
    drawn earlier. Both get that day as day zero. Nobody is in the table twice.

    Nobody drew lots for joining: what is left is self-selection, so hand the table to
    ``Comparison(design="observational")`` with the ``pre_`` columns as covariates.

    Day zero belongs to neither period. Many join at the till, and the purchase at which somebody
    joins is a cause of joining, not an effect: the outcome window is the ``window_days`` days after
    day zero, the pre-period the ``pre_days`` days before it.

    Args:
        transactions: ``customer_id``, ``transacted_date`` (preferred) or ``transacted_at`` (naive),
            ``amount``, optionally ``type``; pandas, Polars, a DuckDB relation, Spark, or what
            :func:`daily` returned.
        memberships: ``customer_id``, ``valid_from_date`` (preferred) or ``valid_from``, in the same
            engine. The first row of a customer is the joining; whoever leaves later still counts
            as a member, and is never a non-member again.
        window_days: Length of the outcome window, days.
        pre_days: Length of the pre-period, days.
        controls: Non-members drawn for every member.
        same_day: Draw for a member who bought on the day of joining only from customers who bought
            that day too, and for one who did not from those who did not. Without it members who
            join at the till are known to be active customers on day zero and the others are not.
            Take False where joining is what brings about a purchase on the same day.
        later_joiners: ``"keep"`` follows non-members for the whole window though some of them join
            in it, as they would be in a trial: nothing is looked up in the future, and the
            comparison is between joining now and not joining now. ``"leave out"`` leaves these out
            afterwards, which looks ahead: where active customers join sooner, it leaves the less
            active ones as non-members. Its count is among the dropped.
        as_of: Last day observed, that day included; by default the last day of the transactions.
        seed: Of the draws.

    Returns:
        One row per customer, sorted by ``unit_id`` (the customer): ``unit_id``, ``arm`` (``"member"`` or
        ``"non-member"``), ``index_date``, ``spend`` and ``orders`` in the window, ``pre_spend`` and
        ``pre_orders`` in the pre-period, ``pre_recency`` (days from the last purchase before day zero
        to day zero), ``pre_tenure`` (days from the first purchase in the data to day zero) and
        ``joined_later`` (whether a non-member joined within the window; no covariate, since it is
        known only afterwards).

        ``attrs`` holds ``as_of``, ``window_days``, ``pre_days``, ``controls``, ``seed``,
        ``drawn_before_joining`` (members who stand in the table as non-members, on an earlier day) and
        ``dropped``: members without a purchase before they joined, not observed long enough, or
        without enough non-members on their day; non-members not drawn; those left out by looking
        ahead; and the rows of transactions that were not used.

    Raises:
        ContractError: When a column is missing or of a wrong type, or a membership lacks its
            customer or first day.
        ArgumentError: When an option is out of range.
        DesignError: When no member can be compared.

    Examples:
        >>> import pandas as pd
        >>> lines = pd.DataFrame({
        ...     "customer_id": ["a", "b", "a", "b", "a", "b"], "amount": [5.0, 9.0, 1.0, 1.0, 7.0, 2.0],
        ...     "transacted_date": pd.to_datetime(["2024-01-05", "2024-01-01", "2024-02-01", "2024-02-01",
        ...                                        "2024-02-10", "2024-03-30"])})
        >>> joined = pd.DataFrame({"customer_id": ["a"], "valid_from": pd.to_datetime(["2024-02-01"])})
        >>> found = member_units(lines, joined, window_days=28, pre_days=31)
        >>> found[["unit_id", "arm", "index_date", "spend", "pre_spend", "pre_recency"]]
          unit_id         arm index_date  spend  pre_spend  pre_recency
        0       a      member 2024-02-01    7.0        5.0           27
        1       b  non-member 2024-02-01    0.0        9.0           31

    References:
        Suissa (2008), "Immortal time bias in pharmacoepidemiology", American Journal of Epidemiology
        167(4), 492-499. Hernan and Robins (2016), "Using big data to emulate a target trial", American
        Journal of Epidemiology 183(8), 758-764: eligibility, assignment and the start of follow-up
        on one day. Lu (2005), "Propensity score matching with time-dependent covariates", Biometrics
        61(3), 721-728: risk sets.
    """
    window = positive_days(window_days, "window_days")
    pre = positive_days(pre_days, "pre_days")
    _check_options(controls, later_joiners)
    lines = read_lines(transactions, until=None if as_of is None else as_ordinal(as_of, "as_of"))
    joinable(lines.frame, as_lazy(memberships, "memberships"), "memberships")
    joins = joining_days(memberships)
    joins = joins[joins <= lines.last]  # who joins after the last day observed is not known to
    days = collect(by_day(lines)).sort_values(["customer_id", "day"], ignore_index=True)
    ids, codes, first = _customers(days)
    joined: Integers = np.asarray(joins.reindex(ids, fill_value=NEVER), dtype=np.int64)

    by_time = np.argsort(days["day"].to_numpy(), kind="stable")
    observed = (joined >= lines.first + pre) & (joined <= lines.last - window)
    zero, member = draw_sets(
        first,
        joined,
        (codes[by_time], days["day"].to_numpy(dtype=np.int64)[by_time]),
        np.unique(joined[observed]),
        controls=controls,
        same_day=same_day,
        rng=np.random.default_rng(seed),
    )
    if not member.any():
        raise DesignError(_nobody(lines, joins, int(observed.sum()), window, pre))
    later = (zero > 0) & ~member & (joined <= zero + window)
    ahead = later & (later_joiners == "leave out")
    before = (zero > 0) & ~member & (joined != NEVER)
    dropped = _dropped(first, joined, zero, lines, window, pre) | {LOOKED_AHEAD: int(ahead.sum())}
    dropped[NO_PAST] += int((~joins.index.isin(ids)).sum())
    taken = np.flatnonzero((zero > 0) & ~ahead)
    frame = _table(ids[taken], member[taken], zero[taken], later[taken])
    frame = _with_history(frame, days.assign(start=zero[codes])[(zero > 0)[codes]], window, pre)
    frame.attrs = {
        "as_of": dt.date.fromordinal(lines.last).isoformat(),
        "window_days": window,
        "pre_days": pre,
        "controls": controls,
        "seed": seed,
        "drawn_before_joining": int(before.sum()),
        "dropped": {**dropped, **lines.dropped},
    }
    return frame


def _check_options(controls: int, later_joiners: str) -> None:
    if isinstance(controls, bool) or not isinstance(controls, (int, np.integer)) or controls < 1:
        raise ArgumentError(
            f"controls must be a number of non-members a member, at least 1; got {controls!r}"
        )
    if later_joiners not in _LATER:
        raise ArgumentError(f"later_joiners is 'keep' or 'leave out'; got {later_joiners!r}")


def _customers(days: pd.DataFrame) -> tuple[pd.Index[Any], Integers, Integers]:
    """Return the customers, the place of each row's customer and their first days, of sorted rows."""
    codes, ids = pd.factorize(days["customer_id"])
    rows = np.unique(codes, return_index=True)[1]
    return pd.Index(ids), codes.astype(np.int64), days["day"].to_numpy(dtype=np.int64)[rows]


def _dropped(
    first: Integers, joined: Integers, zero: Integers, lines: Lines, window: int, pre: int
) -> dict[str, int]:
    """Count members and non-members who are not in the table; each under one reason."""
    out, never = zero == 0, joined == NEVER
    left = out & ~never
    counts = {NO_PAST: 0}
    for reason, holds in (
        (NO_PAST, first >= joined),
        (SHORT_WINDOW, joined > lines.last - window),
        (SHORT_PAST, joined < lines.first + pre),
    ):
        counts[reason] = int((left & holds).sum())
        left &= ~holds
    return counts | {NO_PARTNER: int(left.sum()), NOT_DRAWN: int((out & never).sum())}


def _nobody(lines: Lines, joins: pd.Series[int], observed: int, window: int, pre: int) -> str:
    span = f"{dt.date.fromordinal(lines.first)} to {dt.date.fromordinal(lines.last)}"
    if not len(joins):
        return (
            f"nobody joined by the last day observed, {dt.date.fromordinal(lines.last)}: there are no members"
        )
    if not observed:
        return (
            f"none of {len(joins):,} members joined with {pre} days of the data before and {window} days after it: the "
            f"transactions run from {span}; take shorter periods"
        )
    return (
        f"none of the {observed:,} members observed before and after joining has bought before and has a non-member "
        "to compare with on that day: take fewer controls, or same_day=False"
    )


def _table(
    ids: pd.Index[Any], member: NDArray[np.bool_], zero: Integers, later: NDArray[np.bool_]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unit_id": ids,
            "arm": np.where(member, "member", "non-member"),
            "index_date": to_dates(zero),
            "joined_later": later,
        }
    )


def _with_history(frame: pd.DataFrame, dated: pd.DataFrame, window: int, pre: int) -> pd.DataFrame:
    sums = in_windows(nw.from_native(dated).lazy(), window, pre, begin=1)
    found = sums.reindex(frame["unit_id"])
    later = frame.pop("joined_later")
    return with_sums(frame, sums).assign(
        pre_recency=-found["latest"].to_numpy(dtype=np.int64),
        pre_tenure=-found["earliest"].to_numpy(dtype=np.int64),
        joined_later=later,
    )

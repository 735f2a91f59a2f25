"""Follow-up in which customers leave, come back and may leave again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn import intervals
from loyalty_research.churn.followup import Followup, Removed, strata_of
from loyalty_research.churn.spells import split_at_spells
from loyalty_research.churn.transactions import first_gaps, left_truncation, one_per_day
from loyalty_research.errors import ContractError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, messages

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["RecurrentData"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RecurrentData(Followup):
    """Intervals ``(start, stop]`` at risk of leaving, where an event may be followed by a return.

    Build it with :meth:`from_transactions` or :meth:`from_intervals`. While somebody is away
    they are not at risk; they are again from the day of their return. Its attributes are those
    of :class:`Followup`, with ``event`` True at every lapse, and:

    Attributes:
        until: Day to which each customer is watched, away or not; None where that is the end of
            the last interval.
    """

    until: Ints | None = None

    @classmethod
    def from_transactions(
        cls,
        transactions: Any,
        *,
        inactivity_days: int,
        as_of: dt.date | str,
        members: Any = None,
    ) -> RecurrentData:
        """Follow buyers through every lapse and return.

        A lapse is a gap of more than ``inactivity_days`` without a purchase, dated to the day
        after the last purchase before it, as in :meth:`ChurnData.from_transactions`; the customer
        is at risk again from the purchase that ends it. Follow-up stops at
        ``as_of - inactivity_days``.

        Args:
            transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``;
                any frame narwhals knows.
            inactivity_days: Silence, in days, after which a customer counts as gone.
            as_of: Last day observed; later rows are left out and counted.
            members: Memberships, as for :meth:`ChurnData.from_transactions`.

        Returns:
            Spells with the covariates ``first_amount``, ``first_month`` and ``earlier_lapses``
            (their number when the spell began).

        Raises:
            ContractError: When a table breaks its contract, or nobody is followed long enough.
            ArgumentError: When an option is out of range.

        Examples:
            >>> bought = pd.DataFrame({"customer_id": [1, 1, 1, 2], "amount": [9., 9., 9., 9.],
            ...     "transacted_at": pd.to_datetime(
            ...         ["2024-01-01", "2024-02-15", "2024-06-01", "2024-01-10"])})
            >>> data = RecurrentData.from_transactions(bought, inactivity_days=60, as_of="2024-12-31")
            >>> data.to_lifelines()[["start", "stop", "event", "earlier_lapses"]]
               start  stop  event  earlier_lapses
            0      0    46   True               0
            1    152   153   True               1
            2      0     1   True               0
        """
        data = cls(**_follow_returns(transactions, inactivity_days=inactivity_days, as_of=as_of))
        return data if members is None else data.time_varying(members)

    @classmethod
    def from_intervals(
        cls,
        df: pd.DataFrame,
        *,
        id: str,  # noqa: A002 - lifelines' and R's name for it
        start: str = "start",
        stop: str = "stop",
        event: str = "event",
        cluster: str | None = None,
        weights: str | None = None,
        strata: str | Sequence[str] | None = None,
        known_at: Mapping[str, str] | None = None,
        unit: str = "days",
    ) -> RecurrentData:
        """Take intervals at risk, several per customer, each ended by an event or not.

        Args:
            df: One row per interval. Columns not named below are covariates.
            id: Column that says which customer.
            start: Column with the start, on the customer's clock.
            stop: Column with the end.
            event: Column with 1 where the customer left at ``stop``.
            cluster: Column of clusters wider than customers.
            weights: Column of case weights, positive and finite, the same for all of a customer.
            strata: Column or columns of strata.
            known_at: Covariate to the column with the day on which its value became known.
            unit: Unit of time.

        Raises:
            ContractError: On missing columns or values, empty, negative or overlapping intervals,
                weights that are not positive or change.
            ImmortalTimeError: When a covariate is used before the day it was known.

        Examples:
            >>> RecurrentData.from_intervals(pd.DataFrame(
            ...     {"id": [1, 1, 2], "start": [0, 30, 0], "stop": [12, 80, 45], "event": [1, 1, 0]}), id="id")
            RecurrentData: 2 customers, 3 intervals, 2 events, followed to day 80
        """
        layers = [] if strata is None else [strata] if isinstance(strata, str) else list(strata)
        known = dict(known_at or {})
        named = [id, start, stop, event, *(c for c in (cluster, weights) if c is not None)]
        intervals.need(df, [*named, *layers, *known, *known.values()], "intervals")
        begins, ends = (intervals.times(df, c, "intervals") for c in (start, stop))
        flags = _flags(df, event)
        codes, found = intervals.keys(df[id], "intervals")
        # events do not end follow-up here, so only the order of intervals is checked
        nothing = np.zeros(len(flags), dtype=bool)
        intervals.check_intervals(
            begins, ends, nothing, codes, names={"start": start, "stop": stop}, table="intervals"
        )
        for column, day in known.items():
            intervals.check_known(
                intervals.numbers(df, day, "intervals"), begins, column=column, table="intervals"
            )
        mass = None if weights is None else _masses(df, weights, codes)
        groups, labels = strata_of(df, layers, "intervals") if layers else (None, ())
        taken = {id, start, stop, event, weights, *known.values()}
        return cls(
            start=begins,
            stop=ends,
            event=flags,
            customer=codes,
            covariates=df[[c for c in df.columns if c not in taken]].reset_index(drop=True),
            weights=mass,
            cluster=None if cluster is None else intervals.keys(df[cluster], "intervals")[0],
            strata=groups,
            strata_labels=labels,
            strata_names=tuple(layers),
            keys=found,
            unit=unit,
        )

    @property
    def order(self) -> Ints:
        """How many events each interval's customer had before it."""
        order = np.lexsort((self.start, self.customer))
        before: Ints = np.cumsum(self.event[order].astype(np.int64)) - self.event[order]
        first = np.concatenate([[True], self.customer[order][1:] != self.customer[order][:-1]])
        base = np.maximum.accumulate(np.where(first, before, 0))
        out = np.empty(len(order), dtype=np.int64)
        out[order] = before - base
        return out

    def time_varying(
        self, spells: pd.DataFrame, *, covariate: str = "is_member", outside: object = None
    ) -> RecurrentData:
        """Split intervals where a status begins or ends; as :meth:`ChurnData.time_varying`."""
        return split_at_spells(self, spells, covariate=covariate, outside=outside)

    def take(self, rows: NDArray[Any]) -> RecurrentData:
        """Return some intervals, customers renumbered."""
        part = Followup.take(self, rows)
        return replace(part, until=None if self.until is None else self.until[np.unique(self.customer[rows])])

    def watched(self) -> RecurrentData:
        """Return the data with time away as time watched, for means over all customers.

        Somebody away cannot leave, but is still one of those the mean is taken over. Data whose
        ``until`` is None are returned as they are.

        Examples:
            >>> bought = pd.DataFrame({"customer_id": [1, 1], "amount": [9., 9.],
            ...     "transacted_at": pd.to_datetime(["2024-01-01", "2024-06-01"])})
            >>> data = RecurrentData.from_transactions(bought, inactivity_days=60, as_of="2024-12-31")
            >>> data.watched().to_lifelines()[["start", "stop", "event"]].to_numpy().tolist()
            [[0, 1, True], [1, 153, True], [153, 305, False]]
        """
        if self.until is None:
            return self
        order = np.lexsort((self.start, self.customer))
        who, stop = self.customer[order], self.stop[order]
        fresh = np.concatenate([[True], who[1:] != who[:-1]])
        start = np.where(fresh, self.start[order], np.concatenate([[0], stop[:-1]]))
        final = np.concatenate([fresh[1:], [True]])
        tail = np.flatnonzero(final & (self.until[who] > stop))
        both = np.concatenate([np.arange(len(order)), tail])
        return replace(
            self.take(order[both]),
            start=np.concatenate([start, stop[tail]]),
            stop=np.concatenate([stop, self.until[who[tail]]]),
            event=np.concatenate([self.event[order], np.zeros(len(tail), dtype=bool)]),
            until=None,
        )

    def gap_times(self) -> RecurrentData:
        """Return the data with the clock started anew at each return.

        The clock of a customer restarts when they are at risk again after an event; breaks in
        observation without an event leave it running.

        Examples:
            >>> data = RecurrentData.from_intervals(pd.DataFrame(
            ...     {"id": [1, 1, 1], "start": [0, 30, 50], "stop": [12, 50, 80], "event": [1, 0, 1]}), id="id")
            >>> data.gap_times().start.tolist(), data.gap_times().stop.tolist()
            ([0, 0, 20], [12, 20, 50])
        """
        order = np.lexsort((self.start, self.customer))
        who, began, gone = self.customer[order], self.start[order], self.event[order]
        fresh = np.concatenate([[True], who[1:] != who[:-1]])
        after = np.concatenate([[False], gone[:-1]]) & ~fresh
        # first spells keep their clock, so that late entry stays late
        zero = np.where(fresh, 0, began)
        spell = np.cumsum(fresh | after) - 1
        since = np.empty_like(self.start)
        since[order] = zero[np.flatnonzero(fresh | after)][spell]
        return replace(
            self,
            start=self.start - since,
            stop=self.stop - since,
            until=None,
            clock=message("the start or the last return"),
        )

    def audit(self) -> pd.DataFrame:
        """Return what each rule took out, and what remains.

        Examples:
            >>> frame = pd.DataFrame({"id": [1], "start": [0], "stop": [5], "event": [1]})
            >>> RecurrentData.from_intervals(frame, id="id").audit()
               rule  rows  customers
            0  kept     1          1
        """
        rows = [(r.rule, r.rows, r.customers) for r in self.removed]
        rows.append((message("kept"), len(self.stop), self.n_customers))
        return pd.DataFrame(rows, columns=["rule", "rows", "customers"])

    def to_lifelines(self) -> pd.DataFrame:
        """Return ``id, start, stop, event``, ``weights`` (where there are any) and the covariates."""
        columns: dict[str, Any] = {
            "id": self.customer,
            "start": self.start,
            "stop": self.stop,
            "event": self.event,
        }
        if self.weights is not None:
            columns["weights"] = self.weights
        return pd.concat(
            [pd.DataFrame(columns, index=self.covariates.index), self.covariates], axis="columns"
        )

    def __repr__(self) -> str:
        return "RecurrentData: " + message(
            "{customers}, {intervals}, {events}, followed to day {last}",
            customers=messages("{count} customer", "{count} customers", self.n_customers),
            intervals=messages("{count} interval", "{count} intervals", len(self.stop)),
            events=messages("{count} event", "{count} events", self.n_events),
            last=f"{self.last:,g}",
        )

    def _repr_html_(self) -> str:
        from loyalty_research.display import checks, prose, table

        parts = [prose(repr(self)), table(self.audit(), caption=message("Who is in the analysis"))]
        if self.checks:
            parts.append(checks(self.checks))
        return "".join(p.html for p in parts)


def _flags(df: pd.DataFrame, event: str) -> NDArray[np.bool_]:
    array = intervals.numbers(df, event, "intervals")
    odd = ~np.isin(array, (0, 1))
    if odd.any():
        raise ContractError(
            f"intervals.{event} must be 0 (still there) or 1 (left); it is neither in {intervals.where(odd)}"
        )
    return array.astype(bool)


def _masses(df: pd.DataFrame, weights: str, codes: Ints) -> NDArray[np.float64]:
    mass = intervals.masses(df, weights, "intervals")
    first = np.unique(codes, return_index=True)[1]
    changed = mass != mass[first][codes]
    if changed.any():
        raise ContractError(
            f"intervals.{weights} changes within a customer in {intervals.where(changed)}; give each customer one weight"
        )
    return mass


def _follow_returns(transactions: Any, *, inactivity_days: int, as_of: dt.date | str) -> dict[str, Any]:
    """Return the parts of recurrent follow-up from purchases."""
    table, dropped = one_per_day(transactions)
    # the first silence of each customer brings the checks on the options and the same cut-off
    gaps = first_gaps(table, inactivity_days, as_of)
    cut = gaps.end - gaps.window
    day = table["transacted_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    seen = day <= gaps.end
    code = gaps.keys.get_indexer(pd.Index(table["customer_id"]))[seen]
    day = day[seen]
    order = np.lexsort((day, code))
    code, day = code[order], day[order]
    final = np.concatenate([code[1:] != code[:-1], [True]])
    follower = np.where(final, gaps.end, np.concatenate([day[1:], [0]]))
    lapse = follower - day > gaps.window
    back = np.concatenate([[True], lapse[:-1] | final[:-1]])
    begin, finish = day[back], np.flatnonzero(lapse | final)
    who, last = code[back], day[finish]
    # a lapse counts when its silence began before the cut; spells that begin after it are not followed
    left = lapse[finish] & (last < cut)
    kept = begin < cut
    origin = gaps.first
    stop = np.where(left, last + 1, cut) - origin[who]
    start = begin - origin[who]
    rank = np.arange(len(who)) - np.searchsorted(who, who, side="left")
    rows = np.flatnonzero(kept)
    if not len(rows):
        raise ContractError(
            f"transactions: nobody is seen for more than {inactivity_days} days before as_of; "
            "choose a shorter inactivity_days or a later as_of"
        )
    chosen, customer = np.unique(who[rows], return_inverse=True)
    first = table.drop_duplicates("customer_id", keep="first").set_index("customer_id")
    amount = first.loc[gaps.keys[chosen], "amount"].to_numpy(dtype=np.float64)
    zero = origin[chosen].astype("datetime64[D]")
    reasons = {**dropped, **gaps.dropped}
    return {
        "start": start[rows],
        "stop": stop[rows],
        "event": left[rows],
        "customer": customer.astype(np.int64),
        "covariates": pd.DataFrame(
            {
                "first_amount": amount[customer],
                "first_month": zero.astype("datetime64[M]").astype(str)[customer],
                "earlier_lapses": rank[rows],
            }
        ),
        "until": cut - origin[chosen],
        "origin": zero,
        "keys": gaps.keys[chosen],
        "clock": message("the first purchase"),
        "inactivity_days": int(inactivity_days),
        "removed": (
            *(
                Removed(reason, count, 0)
                for reason in reasons
                if (count := dropped.get(reason, 0) + gaps.dropped.get(reason, 0))
            ),
            Removed(
                message("returns on or after {day}, too late to tell", day=_date(cut)),
                int((~kept & (rank > 0)).sum()),
                0,
            ),
            Removed(
                message("first seen on or after {day}, too late to tell", day=_date(cut)),
                0,
                len(gaps.keys) - len(chosen),
            ),
        ),
        "checks": (
            Check(
                message("Cut-off"),
                "passed",
                message(
                    "Customers are followed to {day}, {window} days before the data end; {returns} spells began with a "
                    "return.",
                    day=_date(cut),
                    window=gaps.window,
                    returns=f"{int((rank[rows] > 0).sum()):,}",
                ),
            ),
            left_truncation(gaps.first, gaps.end),
        ),
    }


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))

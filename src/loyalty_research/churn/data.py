"""Follow-up of customers as intervals, from which every churn analysis starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn import intervals
from loyalty_research.churn.followup import Followup, Removed, beside, strata_of
from loyalty_research.churn.spells import follow_members, joined_values, split_at_spells
from loyalty_research.churn.transactions import follow_buyers
from loyalty_research.errors import ArgumentError
from loyalty_research.i18n import message, messages, number

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


__all__ = ["ChurnData"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ChurnData(Followup):
    """Intervals ``(start, stop]`` during which customers were watched, and who left.

    Build it with :meth:`from_transactions`, :meth:`from_subscriptions`, :meth:`from_durations`
    or :meth:`from_intervals`, which check every row first. A customer at risk at day ``t`` has
    ``start < t <= stop`` in one interval. Its attributes are those of :class:`Followup`.
    """

    @classmethod
    def from_intervals(
        cls,
        df: pd.DataFrame,
        *,
        start: str = "start",
        stop: str = "stop",
        event: str = "event",
        id: str | None = None,  # noqa: A002 - lifelines' and R's name for it
        cluster: str | None = None,
        weights: str | None = None,
        strata: str | Sequence[str] | None = None,
        known_at: Mapping[str, str] | None = None,
        unit: str = "days",
    ) -> ChurnData:
        """Take intervals ``(start, stop]`` that are already cut where covariates change.

        Args:
            df: One row per interval. Columns not named below are covariates.
            start: Column with the start, on the customer's clock.
            stop: Column with the end.
            event: Column with 1 where the customer left at ``stop``.
            id: Column that says which customer; without it each row is one customer.
            cluster: Column of clusters for robust errors.
            weights: Column of case weights, positive and finite.
            strata: Column or columns of strata.
            known_at: Covariate to the column with the day, on the same clock, on which its value
                became known.
            unit: Unit of time.

        Raises:
            ContractError: On missing columns or values, empty, negative or overlapping
                intervals, intervals after a customer's event, weights that are not positive.
            ImmortalTimeError: When a covariate is used before the day it was known.

        Examples:
            >>> import pandas as pd
            >>> ChurnData.from_intervals(pd.DataFrame(
            ...     {"start": [0, 30, 0], "stop": [30, 80, 45], "event": [0, 1, 0],
            ...      "id": [1, 1, 2], "is_member": [0, 1, 0]}), id="id")
            ChurnData: 2 customers, 3 intervals, 1 left, followed to day 80
        """
        layers = [] if strata is None else [strata] if isinstance(strata, str) else list(strata)
        known = dict(known_at or {})
        named = [start, stop, event, *(c for c in (id, cluster, weights) if c is not None)]
        intervals.need(df, [*named, *layers, *known, *known.values()], "intervals")
        begins, ends = intervals.times(df, start, "intervals"), intervals.times(df, stop, "intervals")
        return _assemble(
            cls,
            df,
            begins,
            ends,
            intervals.events(df, event, "intervals"),
            names={"start": start, "stop": stop},
            used={start, stop, event},
            customer=id,
            cluster=cluster,
            weights=weights,
            layers=layers,
            known=known,
            table="intervals",
            unit=unit,
        )

    @classmethod
    def from_durations(
        cls,
        df: pd.DataFrame,
        *,
        duration: str = "duration",
        event: str = "event",
        entry: str | None = None,
        cluster: str | None = None,
        weights: str | None = None,
        strata: str | Sequence[str] | None = None,
        known_at: Mapping[str, str] | None = None,
        unit: str = "days",
    ) -> ChurnData:
        """Take one row per customer with a duration.

        Args:
            df: One row per customer. Columns not named below are covariates.
            duration: Column with the time until the customer left or was last seen.
            event: Column with 1 where the customer left.
            entry: Column with the time the customer came under watch (late entry), if not 0.
            cluster: Column of clusters for robust errors.
            weights: Column of case weights, positive and finite.
            strata: Column or columns of strata.
            known_at: Covariate to the column with the day on which its value became known.
            unit: Unit of time.

        Raises:
            ContractError: As :meth:`from_intervals`.
            ImmortalTimeError: When a covariate is used before the day it was known.

        Examples:
            >>> import pandas as pd
            >>> ChurnData.from_durations(pd.DataFrame({"duration": [5, 8], "event": [1, 0]}))
            ChurnData: 2 customers, 2 intervals, 1 left, followed to day 8
        """
        layers = [] if strata is None else [strata] if isinstance(strata, str) else list(strata)
        known = dict(known_at or {})
        named = [duration, event, *(c for c in (entry, cluster, weights) if c is not None)]
        intervals.need(df, [*named, *layers, *known, *known.values()], "durations")
        ends = intervals.times(df, duration, "durations")
        begins = (
            np.zeros(len(ends), dtype=np.int64) if entry is None else intervals.times(df, entry, "durations")
        )
        return _assemble(
            cls,
            df,
            begins,
            ends,
            intervals.events(df, event, "durations"),
            names={"start": entry or "entry (0)", "stop": duration},
            used={duration, event, *([entry] if entry else [])},
            customer=None,
            cluster=cluster,
            weights=weights,
            layers=layers,
            known=known,
            table="durations",
            unit=unit,
        )

    @classmethod
    def from_transactions(
        cls,
        transactions: Any,
        *,
        inactivity_days: int,
        as_of: dt.date | str,
        members: Any = None,
    ) -> ChurnData:
        """Follow buyers who never say goodbye: leaving is the start of a long silence.

        A customer's clock starts on the day of the first purchase seen. The event is the start
        of the first gap of more than ``inactivity_days`` without a purchase, dated to the day
        after the last purchase before it. Whether somebody who bought on a day has left is known
        only ``inactivity_days`` later, so everyone is followed to ``as_of - inactivity_days`` at
        most; customers first seen on or after that day leave the analysis and are counted.

        Args:
            transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``;
                any frame narwhals knows.
            inactivity_days: Silence, in days, after which a customer counts as gone.
            as_of: Last day observed; later rows are left out and counted.
            members: Memberships (``customer_id``, ``valid_from``, ``valid_to``); intervals are
                split where one begins or ends and carry ``is_member``.

        Returns:
            Intervals with the covariates ``first_amount`` (spent on the first day) and
            ``first_month`` (calendar month of the first purchase), both known on day 0.

        Raises:
            ContractError: When a table breaks its contract, or nobody is followed long enough.
            ArgumentError: When an option is out of range.

        Examples:
            >>> import pandas as pd
            >>> bought = pd.DataFrame({"customer_id": [1, 1, 2], "amount": [9., 9., 9.],
            ...     "transacted_at": pd.to_datetime(["2024-01-01", "2024-02-15", "2024-01-10"])})
            >>> data = ChurnData.from_transactions(bought, inactivity_days=60, as_of="2024-06-30")
            >>> data.to_lifelines()[["start", "stop", "event"]]
               start  stop  event
            0      0    46   True
            1      0     1   True
        """
        data = cls(**follow_buyers(transactions, inactivity_days=inactivity_days, as_of=as_of))
        return data if members is None else data.time_varying(members)

    @classmethod
    def from_subscriptions(
        cls, spells: pd.DataFrame, *, as_of: dt.date | str, observed_from: dt.date | str | None = None
    ) -> ChurnData:
        """Follow members who sign up and cancel: leaving is the end of the first membership.

        Spells of one customer that follow each other without a gap (an upgrade) are one
        membership; later memberships of somebody who left and came back are counted, not used.

        Args:
            spells: ``customer_id``, ``valid_from``, ``valid_to`` (null while it runs); half-open,
                never overlapping. A column ``tier`` becomes a time-varying covariate.
            as_of: Last day observed.
            observed_from: First day of which ended memberships are on record; members who joined
                before enter late, so that those who left unseen do not flatter the curve.

        Raises:
            ContractError: When spells overlap, end before they begin, or lack dates.

        Examples:
            >>> import pandas as pd
            >>> spells = pd.DataFrame({"customer_id": [1, 2],
            ...     "valid_from": pd.to_datetime(["2024-01-01", "2024-02-01"]),
            ...     "valid_to": pd.to_datetime(["2024-03-01", None])})
            >>> ChurnData.from_subscriptions(spells, as_of="2024-06-30")
            ChurnData: 2 customers, 2 intervals, 1 left, followed to day 150
        """
        return cls(**follow_members(spells, as_of=as_of, observed_from=observed_from))

    def audit(self) -> pd.DataFrame:
        """Return what each rule took out, and what remains.

        Examples:
            >>> import pandas as pd
            >>> ChurnData.from_durations(pd.DataFrame({"duration": [5], "event": [1]})).audit()
               rule  rows  customers
            0  kept     1          1
        """
        rows = [(r.rule, r.rows, r.customers) for r in self.removed]
        rows.append((message("kept"), len(self.stop), self.n_customers))
        return pd.DataFrame(rows, columns=["rule", "rows", "customers"])

    def with_covariates(self, frame: pd.DataFrame, *, known_at: str) -> ChurnData:
        """Add one value per customer, with the day on which it was known.

        Args:
            frame: One row per customer, keyed by an index or a column ``customer_id``.
            known_at: ``"start"`` to declare that every value was known on the customer's day 0,
                or the column of ``frame`` with the date (or clock day) on which it became known.

        Raises:
            ContractError: When customers are missing or repeated, a known day is missing, or
                these data carry no customer keys.
            ImmortalTimeError: When a value became known after an interval that would use it.
        """
        values = joined_values(self, frame, known_at=known_at)
        return replace(self, covariates=beside(self.covariates, values))

    def time_varying(
        self, spells: pd.DataFrame, *, covariate: str = "is_member", outside: object = None
    ) -> ChurnData:
        """Split intervals where a status begins or ends, and add the status in force.

        The status of an interval is the one in force on the day it starts, so nobody carries a
        status before the day it was acquired.

        Args:
            spells: ``customer_id``, ``valid_from``, ``valid_to`` (null while it runs), half-open,
                never overlapping; with a column ``covariate`` its values are used, else the
                status is True inside a spell and False outside.
            covariate: Name of the new covariate.
            outside: Value outside every spell when ``spells`` carries values (default ``"none"``).

        Raises:
            ContractError: When spells overlap or lack dates, or these data carry no calendar.
        """
        return split_at_spells(self, spells, covariate=covariate, outside=outside)

    def landmark(self, day: float) -> ChurnData:
        """Keep those still there on ``day``, with the covariates they had that day, from then on.

        The usual sensitivity check beside time-varying covariates: later changes are ignored,
        and nobody is classed by something that had yet to happen.

        Args:
            day: Landmark on the customers' clock, 0 or later.

        Raises:
            ArgumentError: When ``day`` is negative or nobody is watched after it.

        Examples:
            >>> import pandas as pd
            >>> data = ChurnData.from_durations(pd.DataFrame({"duration": [5, 30], "event": [1, 1]}))
            >>> data.landmark(10).to_lifelines()[["start", "stop", "event"]]
               start  stop  event
            0     10    30   True
        """
        if not day >= 0:
            raise ArgumentError(f"a landmark is a day on the clock, 0 or later; got {day!r}")
        here = np.flatnonzero((self.start <= day) & (self.stop > day))
        if not len(here):
            raise ArgumentError(f"nobody is watched after day {day:g}; the last day is {self.last:g}")
        final = np.full(self.n_customers, -1, dtype=np.int64)
        order = np.argsort(self.stop, kind="stable")
        final[self.customer[order]] = order
        last = final[self.customer[here]]
        kept = self.take(here)
        gone = self.n_customers - len(here)
        day_start: Any = int(day) if float(day).is_integer() else float(day)
        return replace(
            kept,
            start=np.full(len(here), day_start),
            stop=self.stop[last],
            event=self.event[last],
            removed=(
                *self.removed,
                Removed(message("not watched on day {day}", day=number(day, digits=0)), 0, gone),
            ),
            chosen=self.chosen,
        )

    def to_lifelines(self) -> pd.DataFrame:
        """Return the frame that lifelines' fitters take.

        Columns ``id``, ``start``, ``stop``, ``event``, ``weights`` (where there are any), then
        the covariates: ``CoxTimeVaryingFitter`` takes it as is (``id_col="id"``,
        ``start_col="start"``, ``stop_col="stop"``, ``event_col="event"``), and the others take
        ``duration_col="stop"``, ``entry_col="start"``.
        """
        columns: dict[str, Any] = {
            "id": self.customer,
            "start": self.start,
            "stop": self.stop,
            "event": self.event,
        }
        if self.weights is not None:
            columns["weights"] = self.weights
        frame = pd.DataFrame(columns, index=self.covariates.index)
        return beside(frame, self.covariates)

    def __repr__(self) -> str:
        return "ChurnData: " + message(
            "{customers}, {intervals}, {left} left, followed to day {last}",
            customers=messages("{count} customer", "{count} customers", self.n_customers),
            intervals=messages("{count} interval", "{count} intervals", len(self.stop)),
            left=f"{self.n_events:,}",
            last=f"{self.last:,g}",
        )

    def _repr_html_(self) -> str:
        from loyalty_research.display import checks, prose, table

        parts = [prose(repr(self)), table(self.audit(), caption=message("Who is in the analysis"))]
        if self.checks:
            parts.append(checks(self.checks))
        return "".join(p.html for p in parts)


def _assemble(
    cls: type[ChurnData],
    df: pd.DataFrame,
    begins: NDArray[Any],
    ends: NDArray[Any],
    event: NDArray[np.bool_],
    *,
    names: Mapping[str, str],
    used: set[str],
    customer: str | None,
    cluster: str | None,
    weights: str | None,
    layers: list[str],
    known: Mapping[str, str],
    table: str,
    unit: str,
) -> ChurnData:
    """Check rows and put them together."""
    codes, found = (None, None) if customer is None else intervals.keys(df[customer], table)
    intervals.check_intervals(begins, ends, event, codes, names=names, table=table)
    for column, day in known.items():
        intervals.check_known(intervals.numbers(df, day, table), begins, column=column, table=table)
    mass = None if weights is None else intervals.masses(df, weights, table)
    strata, labels = strata_of(df, layers, table) if layers else (None, ())
    taken = used | set(known.values()) | {c for c in (customer, weights) if c is not None}
    return cls(
        start=begins,
        stop=ends,
        event=event,
        customer=np.arange(len(ends)) if codes is None else codes,
        covariates=df[[c for c in df.columns if c not in taken]].reset_index(drop=True),
        weights=mass,
        cluster=None if cluster is None else intervals.keys(df[cluster], table)[0],
        strata=strata,
        strata_labels=labels,
        strata_names=tuple(layers),
        keys=found,
        unit=unit,
    )

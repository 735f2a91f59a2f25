"""Follow-up of customers as intervals, from which every churn analysis starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.churn import intervals
from loyalty_research.churn.followup import Followup, Removed, beside, strata_of
from loyalty_research.churn.spells import follow_members, joined_values, split_at_spells
from loyalty_research.churn.split import split_by_time
from loyalty_research.churn.transactions import follow_buyers
from loyalty_research.errors import ArgumentError, ContractError, listed
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, messages, number

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from loyalty_research.churn.split import Who


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
        censored: object = None,
        as_of: float | str | None = None,
        unit: str = "days",
    ) -> ChurnData:
        """Take intervals ``(start, stop]`` that are already cut where covariates change.

        Args:
            df: One row per interval. Columns not named below are covariates.
            start: Column with the start, on the customer's clock.
            stop: Column with the end.
            event: Column with 1 where the customer left at ``stop``; with 0, 1, 2, ... or labels,
                causes of leaving are told apart (competing events).
            id: Column that says which customer; without it each row is one customer. Among the
                covariates it only numbers the customers, and may name clusters.
            cluster: Column of clusters for robust errors.
            weights: Column of case weights, positive and finite.
            strata: Column or columns of strata.
            known_at: Covariate to the column with the day, on the same clock, on which its value
                became known.
            censored: Value of ``event`` of those still there, where it is not 0.
            as_of: Last day observed on the customers' clocks, or the column with each one's.
            unit: Unit of time.

        Raises:
            ContractError: On missing columns or values, empty, negative or overlapping
                intervals, intervals after a customer's event or after ``as_of``, weights that are
                not positive, columns of one name.
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
        end = as_of if isinstance(as_of, str) else None
        intervals.apart(start=start, stop=stop, event=event, weights=weights)
        named = [start, stop, event, *(c for c in (id, cluster, weights, end) if c is not None)]
        intervals.need(df, [*named, *layers, *known, *known.values()], "intervals")
        begins, ends = intervals.times(df, start, "intervals"), intervals.times(df, stop, "intervals")
        return _assemble(
            cls,
            df,
            begins,
            ends,
            intervals.events(df, event, "intervals", censored=censored),
            names={"start": start, "stop": stop},
            used={start, stop, event},
            as_of=as_of,
            zero=False,
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
        id: str | None = None,  # noqa: A002 - as in from_intervals
        cluster: str | None = None,
        weights: str | None = None,
        strata: str | Sequence[str] | None = None,
        known_at: Mapping[str, str] | None = None,
        censored: object = None,
        as_of: float | str | None = None,
        unit: str = "days",
    ) -> ChurnData:
        """Take one row per customer with a duration.

        Without ``entry`` everybody is watched from before day 0, so a duration of 0 counts, as in
        R: who left on day 0 was at risk there, and the curve steps down at 0. With ``entry`` an
        interval must have a length.

        Args:
            df: One row per customer. Columns not named below are covariates.
            duration: Column with the time until the customer left or was last seen.
            event: Column with 1 where the customer left; with 0, 1, 2, ... or labels, causes of
                leaving are told apart (competing events).
            entry: Column with the time the customer came under watch (late entry), if not 0.
            id: Column that says which customer, each in one row; it may name clusters, and
                :meth:`with_covariates` joins by it.
            cluster: Column of clusters for robust errors.
            weights: Column of case weights, positive and finite.
            strata: Column or columns of strata.
            known_at: Covariate to the column with the day on which its value became known.
            censored: Value of ``event`` of those still there, where it is not 0.
            as_of: Last day observed on the customers' clocks, or the column with each one's.
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
        end = as_of if isinstance(as_of, str) else None
        intervals.apart(duration=duration, event=event, entry=entry, weights=weights)
        named = [duration, event, *(c for c in (entry, id, cluster, weights, end) if c is not None)]
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
            intervals.events(df, event, "durations", censored=censored),
            names={"start": entry or "entry (0)", "stop": duration},
            used={duration, event, *([entry] if entry else [])},
            as_of=as_of,
            zero=entry is None,
            customer=id,
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
        cls,
        spells: pd.DataFrame,
        *,
        as_of: dt.date | str,
        observed_from: dt.date | str | None = None,
        cause: str | None = None,
    ) -> ChurnData:
        """Follow members who sign up and cancel: leaving is the end of the first membership.

        Spells of one customer that follow each other without a gap (an upgrade) are one
        membership; later memberships of somebody who left and came back are counted, not used.
        Who has cancelled for a day after ``as_of`` is still there: nothing after it is used.

        Args:
            spells: ``customer_id``, ``valid_from``, ``valid_to`` (null while it runs); half-open,
                never overlapping. A column ``tier`` becomes a time-varying covariate.
            as_of: Last day observed.
            observed_from: First day of which ended memberships are on record; members who joined
                before enter late, so that those who left unseen do not flatter the curve.
            cause: Column that says why a membership ended, read from its last spell: causes of
                leaving, such as cancelling and expiry, are then told apart.

        Raises:
            ContractError: When spells overlap, end before they begin, or lack dates, or a
                membership that ended lacks its cause.

        Examples:
            >>> import pandas as pd
            >>> spells = pd.DataFrame({"customer_id": [1, 2],
            ...     "valid_from": pd.to_datetime(["2024-01-01", "2024-02-01"]),
            ...     "valid_to": pd.to_datetime(["2024-03-01", None])})
            >>> ChurnData.from_subscriptions(spells, as_of="2024-06-30")
            ChurnData: 2 customers, 2 intervals, 1 left, followed to day 150
        """
        return cls(**follow_members(spells, as_of=as_of, observed_from=observed_from, cause=cause))

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

    def cause(self, label: Any) -> ChurnData:
        """Return the data of one cause of leaving, with the others as censored.

        What cause-specific Cox models, hazards and log-rank tests are made of. One minus a
        Kaplan-Meier curve of these data is *not* the share who leave for the cause:
        :class:`AalenJohansen` gives that.

        Args:
            label: The cause.

        Raises:
            ContractError: When these data do not tell causes apart.
            ArgumentError: When there is no such cause.

        Examples:
            >>> import pandas as pd
            >>> data = ChurnData.from_durations(pd.DataFrame(
            ...     {"duration": [5, 8, 9], "event": ["moved", "stayed", "unhappy"]}), censored="stayed")
            >>> data.cause("moved").event.tolist()
            [True, False, False]
        """
        if self.causes is None:
            raise ContractError(
                "these data tell no causes of leaving apart; give event as 0, 1, 2, ... or as labels"
            )
        if label not in self.cause_labels:
            raise ArgumentError(f"there is no cause {label!r}; the causes are {listed(self.cause_labels)}")
        mine = self.causes == self.cause_labels.index(label) + 1
        others = int((self.event & ~mine).sum())
        seen = Check(
            message("Competing causes"),
            "warning" if others else "passed",
            message(
                "{count} customers who left for another cause count as censored. Rates and hazard ratios are those "
                "of the cause; a survival curve of these data is not the share of customers still there.",
                count=f"{others:,}",
            ),
        )
        return replace(self, event=mine, causes=None, cause_labels=(), checks=(*self.checks, seen))

    def any_cause(self) -> ChurnData:
        """Return the data with all causes of leaving taken together.

        Examples:
            >>> import pandas as pd
            >>> data = ChurnData.from_durations(pd.DataFrame({"duration": [5, 8, 9], "event": [1, 0, 2]}))
            >>> data.any_cause().event.tolist()
            [True, False, True]
        """
        return replace(self, causes=None, cause_labels=())

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
            causes=None if self.causes is None else self.causes[last],
            removed=(
                *self.removed,
                Removed(message("not watched on day {day}", day=number(day, digits=0)), 0, gone),
            ),
            chosen=self.chosen,
        )

    def split(
        self,
        at: dt.date | str | float,
        *,
        who: Who = "still there",
        known_at: Mapping[str, str] | None = None,
    ) -> tuple[ChurnData, ChurnData]:
        """Train on what was seen by a day, test on what came after; see :func:`split_by_time`."""
        return split_by_time(self, at, who=who, known_at=known_at)

    def to_lifelines(self) -> pd.DataFrame:
        """Return the frame that lifelines' fitters take.

        Columns ``id``, ``start``, ``stop``, ``event`` (the number of the cause where causes are
        told apart, as ``AalenJohansenFitter`` takes it), ``weights`` (where there are any), then
        the covariates: ``CoxTimeVaryingFitter`` takes it as is (``id_col="id"``,
        ``start_col="start"``, ``stop_col="stop"``, ``event_col="event"``), and the others take
        ``duration_col="stop"``, ``entry_col="start"``.
        """
        columns: dict[str, Any] = {
            "id": self.customer,
            "start": self.start,
            "stop": self.stop,
            "event": self.event if self.causes is None else self.causes,
        }
        if self.weights is not None:
            columns["weights"] = self.weights
        frame = pd.DataFrame(columns, index=self.covariates.index)
        rest = self.covariates if self.id_name is None else self.covariates.drop(columns=self.id_name)
        return beside(frame, rest)

    def __repr__(self) -> str:
        told = "ChurnData: " + message(
            "{customers}, {intervals}, {left} left, followed to day {last}",
            customers=messages("{count} customer", "{count} customers", self.n_customers),
            intervals=messages("{count} interval", "{count} intervals", len(self.stop)),
            left=f"{self.n_events:,}",
            last=f"{self.last:,g}",
        )
        if self.causes is None:
            return told
        counts = np.bincount(self.causes, minlength=len(self.cause_labels) + 1)[1:]
        parts = [f"{label}: {count:,}" for label, count in zip(self.cause_labels, counts, strict=True)]
        return f"{told} ({'; '.join(parts)})"

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
    event: intervals.Events,
    *,
    names: Mapping[str, str],
    used: set[str],
    as_of: float | str | None,
    zero: bool,
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
    intervals.check_intervals(begins, ends, event.happened, codes, names=names, table=table, zero=zero)
    if as_of is not None:
        last = intervals.last_days(df, as_of, table)
        intervals.check_ends(ends, last, name=names["stop"], table=table, event=event.happened)
    for column, day in known.items():
        intervals.check_known(intervals.numbers(df, day, table), begins, column=column, table=table)
    mass = None if weights is None else intervals.masses(df, weights, table)
    strata, labels = strata_of(df, layers, table) if layers else (None, ())
    end = as_of if isinstance(as_of, str) else None
    taken = used | set(known.values()) | {c for c in (customer, weights, end) if c is not None}
    covariates = df[[c for c in df.columns if c not in taken]].reset_index(drop=True)
    if customer is not None:
        covariates[customer] = codes
    return cls(
        start=begins,
        stop=ends,
        event=event.happened,
        causes=event.causes,
        cause_labels=event.labels,
        customer=np.arange(len(ends)) if codes is None else codes,
        covariates=covariates,
        weights=mass,
        cluster=None if cluster is None else intervals.keys(df[cluster], table)[0],
        strata=strata,
        strata_labels=labels,
        strata_names=tuple(layers),
        keys=found,
        id_name=customer,
        unit=unit,
    )

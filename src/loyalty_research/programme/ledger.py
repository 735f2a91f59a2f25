"""The points ledger: every movement booked exactly, first earned is first used."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, at_rows
from loyalty_research.estimates import Check, Estimate, Result, Row
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.summaries._frames import as_lazy, as_ordinal, collect, need

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["PointsLedger", "match_first_in_first_out", "points_ledger"]

TABLE = "points_ledger"
KINDS = ("earn", "redeem", "adjust", "expire", "refund")
LARGEST = 2.0**53  # up to here a float64 holds every whole number of minor units
EPOCH = dt.date(1970, 1, 1).toordinal()


def match_first_in_first_out(
    credit_accounts: Ints, credited: Ints, debit_accounts: Ints, debited: Ints
) -> tuple[Ints, Ints, Ints]:
    """Say which credit each debit uses up, oldest first.

    Args:
        credit_accounts: Account codes, sorted; within an account oldest first.
        credited: Positive whole amounts, one per credit.
        debit_accounts: Account codes, sorted; within an account oldest first.
        debited: Positive whole amounts; no account's debits exceed its credits.

    Returns:
        Three arrays of one length: position of the credit, position of the debit, amount used.

    Examples:
        >>> one = np.array([0, 0])
        >>> [part.tolist() for part in match_first_in_first_out(
        ...     one, np.array([10, 5]), one, np.array([4, 8]))]
        [[0, 0, 1], [0, 1, 1], [4, 6, 2]]
    """
    empty = np.array([], dtype=np.int64)
    if not len(debited):
        return empty, empty, empty
    # all accounts lie side by side on one line of points: a credit covers a stretch of it, a debit too
    credit_ends = np.cumsum(credited)
    where = np.searchsorted(credit_accounts, debit_accounts, side="left")
    starts_of_accounts = credit_ends[where] - credited[where]
    total = np.cumsum(debited)
    first = np.searchsorted(debit_accounts, debit_accounts, side="left")
    debit_ends = starts_of_accounts + total - (total[first] - debited[first])
    debit_starts = debit_ends - debited
    cuts = np.unique(np.concatenate([credit_ends - credited, credit_ends, debit_starts, debit_ends]))
    starts, lengths = cuts[:-1], np.diff(cuts)
    debit = np.searchsorted(debit_ends, starts, side="right")
    used = debit < len(debited)
    used[used] = debit_starts[debit[used]] <= starts[used]
    credit = np.searchsorted(credit_ends, starts[used], side="right")
    return credit.astype(np.int64), debit[used].astype(np.int64), lengths[used].astype(np.int64)


@dataclass(frozen=True, repr=False)
class PointsLedger(Result):
    """A ledger that balances, in aggregate.

    Attributes:
        as_of: Last day booked.
        decimals: Decimals of a point that are kept.
        totals: One row per kind of movement: ``type, entries, points`` (exact decimals).
        ageing: Points still held by age since they were credited: ``from_day, to_day, points,
            accounts``; ``[from_day, to_day)``, oldest used first.
        accounts: Accounts with any movement.
        balances: Exact balance of every account with any movement, smallest first, without names.
        lots: One row per credit: ``issued_day`` (days since 1970), ``expires_day`` (NaN without),
            ``units`` and ``left`` (whole minor units), ``type``.
        uses: One row per part of a credit that a debit used: ``lot`` (row of ``lots``), ``day``,
            ``units``, ``type``.
        left_out: Rows after ``as_of``.
    """

    title: ClassVar[str] = "Points ledger"

    as_of: dt.date
    decimals: int
    totals: pd.DataFrame
    ageing: pd.DataFrame
    accounts: int
    balances: tuple[Decimal, ...]
    lots: pd.DataFrame
    uses: pd.DataFrame
    left_out: int

    @property
    def outstanding(self) -> Decimal:
        """Points held by all accounts together."""
        return self.exact(int(self.lots["left"].sum()))

    @property
    def overdue(self) -> Decimal:
        """Points past their expiry date that no entry has taken off."""
        late = self.lots["expires_day"] <= self.as_of.toordinal() - EPOCH
        return self.exact(int(self.lots.loc[late, "left"].sum()))

    @property
    def holders(self) -> int:
        """Accounts that hold points."""
        return sum(b > 0 for b in self.balances)

    def exact(self, units: int) -> Decimal:
        """Return minor units as points, exactly."""
        return Decimal(units).scaleb(-self.decimals)

    def total(self, kind: str) -> Decimal:
        """Return the sum of one kind of movement (signed); 0 where there is none.

        Raises:
            ArgumentError: When there is no such kind.
        """
        if kind not in KINDS:
            raise ArgumentError(f"kind is one of {', '.join(KINDS)}; got {kind!r}")
        found = self.totals.loc[self.totals["type"] == kind, "points"]
        return Decimal(found.iloc[0]) if len(found) else Decimal(0)

    def share_of_largest(self, share: float = 0.2) -> float:
        """Return the part of all points that the largest accounts among holders hold.

        Raises:
            ArgumentError: When ``share`` is not in (0, 1].
        """
        if not 0 < share <= 1:
            raise ArgumentError(f"share is a fraction above 0, up to 1; got {share!r}")
        held = self.balances[len(self.balances) - self.holders :]
        top = held[len(held) - math.ceil(share * len(held)) :]
        return float(sum(top) / sum(held)) if held else math.nan

    def _rows(self) -> Iterable[Row]:
        def exactly(value: Decimal | float, n: int) -> Estimate:
            return Estimate(float(value), math.nan, math.nan, 1.0, "exact sum", n)

        entries = int(self.totals["entries"].sum())
        for kind, count, points in self.totals.itertuples(index=False):
            yield Row(message("points booked"), exactly(points, count), group=kind)
        yield Row(message("points outstanding"), exactly(self.outstanding, entries))
        yield Row(message("accounts that hold points"), exactly(self.holders, self.accounts))
        if self.holders:
            middle = float(np.median([float(b) for b in self.balances if b > 0]))
            yield Row(message("median balance of holders"), exactly(middle, self.holders))
            yield Row(
                message("share of points in the largest fifth of holders' accounts"),
                exactly(self.share_of_largest(), self.holders),
            )
        for start, end, points, accounts in self.ageing.itertuples(index=False):
            until = number(end, digits=0)
            yield Row(
                message("points outstanding by age in days"),
                exactly(points, accounts),
                group=f"[{start:.0f}, {until})",
            )

    def _verdict(self) -> str:
        return message(
            "{accounts} accounts hold {points} points on {day}; the ledger balances exactly.",
            accounts=f"{self.holders:,}",
            points=f"{self.outstanding:,}",
            day=self.as_of.isoformat(),
        )


def _units(values: pd.Series[Any], column: str, decimals: int) -> Ints:
    """Return amounts as whole minor units, or say which rows have too many decimals."""
    scale = 10**decimals
    if values.isna().any():
        rows = at_rows(np.flatnonzero(values.isna()))  # type: ignore[arg-type]
        raise ContractError(f"{column} is null at {rows}; give each row its points or leave it out")
    if values.dtype == object:
        try:
            exact = [Decimal(str(v)) * scale for v in values]
        except ArithmeticError as error:
            raise ContractError(f"{column} holds values that are no numbers; convert it first") from error
        odd = [i for i, v in enumerate(exact) if not v.is_finite() or v != int(v) or abs(v) >= LARGEST]
        units = np.array([0 if odd else int(v) for v in exact], dtype=np.int64)
    else:
        if not pd.api.types.is_numeric_dtype(values.dtype):
            raise ContractError(f"{column} is {values.dtype}, not a number; convert it first")
        given = values.to_numpy(dtype=float)
        nearest = np.rint(given * scale)
        with np.errstate(invalid="ignore"):
            # a sum of floats may be off in its last bits, which is no finer point
            off = ~(np.abs(nearest) < LARGEST)
            off |= np.abs(nearest / scale - given) > 8 * np.spacing(np.abs(given))
        odd = [int(i) for i in np.flatnonzero(off)]
        units = np.zeros(len(given), dtype=np.int64) if odd else nearest.astype(np.int64)
    if odd:
        raise ContractError(
            f"{column} is not finite, has more than {decimals} decimals or is too large to be booked exactly "
            f"at {at_rows(odd)}; round it at the source or name decimals="
        )
    if float(np.abs(units.astype(float)).sum()) >= 2.0**62:
        raise ContractError(f"the sum of {column} is too large to be booked exactly; name fewer decimals")
    return units


def _decimals_of(points: pd.Series[Any]) -> int:
    """Return how many decimals points have, at least 2 and at most 6."""
    given = pd.to_numeric(points, errors="coerce").to_numpy(dtype=float)
    given = given[np.isfinite(given)]
    for decimals in range(2, 6):
        near = np.rint(given * 10**decimals) / 10**decimals
        if (np.abs(near - given) <= 8 * np.spacing(np.abs(given))).all():
            return decimals
    return 6


def _read(entries: Any, as_of: dt.date | str | None) -> tuple[pd.DataFrame, dt.date, int]:
    """Return the columns needed, with ``day`` and row positions, up to the last day booked."""
    lazy = as_lazy(entries, TABLE)
    columns = list(lazy.collect_schema())
    need(columns, ["customer_id", "occurred_at", "points", "type"], TABLE)
    spare = ("entry_id", "occurred_date", "expires_at", "expires_date")
    wanted = ["customer_id", "occurred_at", "points", "type", *(c for c in spare if c in columns)]
    frame = collect(lazy.select(*wanted)).reset_index(drop=True)
    if frame.empty:
        raise ContractError(f"{TABLE} is empty: there is nothing to balance")
    for column in ("customer_id", "occurred_at", "type"):
        if frame[column].isna().any():
            rows = at_rows(np.flatnonzero(frame[column].isna()))  # type: ignore[arg-type]
            raise ContractError(f"{TABLE}.{column} is null at {rows}; mend or leave these rows out")
    if "entry_id" in frame and frame["entry_id"].duplicated().any():
        rows = at_rows(np.flatnonzero(frame["entry_id"].duplicated()))  # type: ignore[arg-type]
        raise ContractError(f"{TABLE}.entry_id stands twice: {rows} repeat an earlier one; book each once")
    unknown = ~frame["type"].isin(KINDS)
    if unknown.any():
        rows = at_rows(np.flatnonzero(unknown))  # type: ignore[arg-type]
        raise ContractError(f"{TABLE}.type is none of {', '.join(KINDS)} at {rows}; map these kinds")
    frame["day"] = _days(frame, "occurred_date" if "occurred_date" in frame else "occurred_at")
    lapse = next((c for c in ("expires_date", "expires_at") if c in frame), None)
    frame["expires_day"] = math.nan if lapse is None else _days(frame, lapse)
    last = int(frame["day"].max()) if as_of is None else as_ordinal(as_of, "as_of") - EPOCH
    late = int((frame["day"] > last).sum())
    if late == len(frame):
        raise ArgumentError(f"every row of {TABLE} is after as_of; name a later day")
    return frame[frame["day"] <= last], dt.date.fromordinal(last + EPOCH), late


def _days(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return days since 1970; NaN where the moment is null."""
    values = frame[column]
    if values.dtype == object and not values.isna().all():
        kinds = [i for i, v in enumerate(values) if not (isinstance(v, dt.date) or pd.isna(v))]
        if kinds:
            raise ContractError(
                f"{TABLE}.{column} holds values that are not dates at {at_rows(kinds)}; parse it first, for "
                "example pandas.to_datetime(column, format=...)"
            )
    moments = pd.to_datetime(values)
    if not pd.api.types.is_datetime64_dtype(moments.dtype):
        raise ContractError(
            f"{TABLE}.{column} carries a time zone or is no date; give naive times, and the business's "
            f"day as {column.removesuffix('_at').removesuffix('_date')}_date"
        )
    days = moments.to_numpy().astype("datetime64[D]").astype(np.int64).astype(float)
    return pd.Series(np.where(moments.isna(), math.nan, days), index=frame.index)


def _check_signs(frame: pd.DataFrame) -> None:
    kind, units = frame["type"], frame["units"]
    wrong = ((kind == "earn") & (units < 0)) | (kind.isin(["redeem", "expire"]) & (units > 0))
    if wrong.any():
        raise ContractError(
            f"{TABLE}.points has the wrong sign at {at_rows(list(frame.index[wrong]))}: earning adds, redeeming "
            "and expiry subtract"
        )


def _check_overdrawn(frame: pd.DataFrame) -> None:
    """Raise where an account falls below zero; ``frame`` is sorted by account and moment."""
    running = frame.groupby("account", sort=False)["units"].cumsum()
    below = running < 0
    if below.any():
        rows = at_rows(sorted(frame.index[below]))
        raise ContractError(
            f"{TABLE} is overdrawn: the account falls below zero at {rows}; add the missing earlier credits "
            "(opening balances as type 'adjust') or mend the debits"
        )


def _check_stated(balances: Any, found: dict[Any, int], decimals: int) -> int:
    """Hold stated balances against the movements; return how many were compared."""
    name = "balances"
    lazy = as_lazy(balances, name)
    need(list(lazy.collect_schema()), ["customer_id", "balance"], name)
    stated = collect(lazy.select("customer_id", "balance")).reset_index(drop=True)
    if stated["customer_id"].isna().any() or stated["customer_id"].duplicated().any():
        odd = stated["customer_id"].isna() | stated["customer_id"].duplicated()
        raise ContractError(
            f"{name}.customer_id is null or stands twice at {at_rows(list(stated.index[odd]))}; one row per account"
        )
    units = _units(stated["balance"], f"{name}.balance", decimals)
    booked = np.array([found.get(key, 0) for key in stated["customer_id"]], dtype=np.int64)
    wrong = np.flatnonzero(units != booked)
    if len(wrong):
        gap = Decimal(int((units - booked).sum())).scaleb(-decimals)
        raise ContractError(
            f"{TABLE} does not balance: the stated balance differs from the sum of movements at "
            f"{at_rows(list(wrong))} of {name} ({gap:+,} points in all); find the missing or double entries"
        )
    known = set(stated["customer_id"])
    absent = sum(1 for key, units_ in found.items() if units_ != 0 and key not in known)
    if absent:
        raise ContractError(
            f"{TABLE} does not balance: {absent:,} accounts hold points but {name} has no row for them; state "
            "every account's balance"
        )
    return len(stated)


def _ageing(lots: pd.DataFrame, last: int, edges: Sequence[int]) -> pd.DataFrame:
    held = lots[lots["left"] > 0]
    age = last - held["issued_day"]
    rows = []
    for start, end in zip([0, *edges], [*edges, math.inf], strict=True):
        within = held[(age >= start) & (age < end)]
        rows.append((float(start), float(end), int(within["left"].sum()), within["account"].nunique()))
    return pd.DataFrame(rows, columns=["from_day", "to_day", "points", "accounts"])


def _checks(ledger: PointsLedger, compared: int | None) -> tuple[Check, ...]:
    checks = [
        Check(
            message("Stated balances"),
            "not measurable" if compared is None else "passed",
            message("No balances were given to compare with.")
            if compared is None
            else messages(
                "{count} stated balance equals its movements.",
                "{count} stated balances equal their movements.",
                compared,
            ),
        )
    ]
    if ledger.lots["expires_day"].notna().any():
        late = ledger.overdue
        checks.append(
            Check(
                message("Points past their expiry"),
                "warning" if late else "passed",
                message(
                    "{points} points ({share} of those outstanding) are past their expiry date without an "
                    "entry that takes them off; they are counted as outstanding.",
                    points=f"{late:,}",
                    share=percent(float(late / ledger.outstanding)),
                )
                if late
                else message("Every point past its expiry date was taken off or used."),
            )
        )
    if ledger.left_out:
        checks.append(
            Check(
                message("Entries after the last day"),
                "warning",
                messages("{count} entry was left out.", "{count} entries were left out.", ledger.left_out),
            )
        )
    return tuple(checks)


def points_ledger(
    entries: Any,
    *,
    as_of: dt.date | str | None = None,
    balances: Any = None,
    decimals: int | None = 2,
    age_edges: Sequence[int] = (90, 180, 365),
) -> PointsLedger:
    """Book a points ledger exactly and age what is left, oldest points used first.

    Movements of one moment are taken credits first. Positive adjustments and refunds open a lot of
    their own, as earning does; negative ones use the oldest points, as redeeming and expiry do.

    Args:
        entries: Table ``points_ledger``: ``customer_id``, ``occurred_at``, ``points`` (signed),
            ``type``; optionally ``entry_id``, ``occurred_date``, ``expires_at`` or
            ``expires_date``. Any frame that narwhals knows.
        as_of: Last day booked; by default the last day of the table.
        balances: Stated balances on that day to hold the ledger against: ``customer_id``,
            ``balance``. Any frame that narwhals knows.
        decimals: Decimals of a point to keep, 0 to 6; None keeps as many as the points have, at least 2.
        age_edges: Edges in days of the ageing buckets ``[a, b)``, rising; 0 is the first.

    Returns:
        The ledger, in aggregate.

    Raises:
        ContractError: When columns are missing, points are null, not finite or too fine, a kind is
            unknown or has the wrong sign, an entry stands twice, an account is overdrawn at any
            time, or stated balances differ from the movements. Rows are named by position.
        ArgumentError: When an option is outside its range.

    Examples:
        >>> import pandas as pd
        >>> entries = pd.DataFrame({
        ...     "customer_id": list("aaab"), "points": [100.0, 50.5, -120.0, 30.0],
        ...     "occurred_at": pd.to_datetime(["2024-01-05", "2024-02-01", "2024-06-01", "2024-06-30"]),
        ...     "type": ["earn", "earn", "redeem", "earn"]})
        >>> ledger = points_ledger(entries)
        >>> ledger.outstanding, ledger.holders
        (Decimal('60.50'), 2)
        >>> ledger.ageing["points"].map(str).tolist()
        ['30.00', '30.50', '0.00', '0.00']
    """
    if decimals is not None and (
        isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 6
    ):
        raise ArgumentError(f"decimals is None or a whole number from 0 to 6; got {decimals!r}")
    edges = [int(e) for e in age_edges]
    if any(b <= a for a, b in zip([0, *edges], edges, strict=False)):
        raise ArgumentError(f"age_edges are whole days above 0, rising; got {list(age_edges)}")
    frame, last, late = _read(entries, as_of)
    if decimals is None:
        decimals = _decimals_of(frame["points"])
    frame = frame.assign(
        units=_units(frame["points"].reset_index(drop=True), f"{TABLE}.points", decimals),
        account=pd.factorize(frame["customer_id"])[0],
    )
    _check_signs(frame)
    frame = frame.assign(debit=frame["units"] < 0).sort_values(
        ["account", "occurred_at", "debit"], kind="stable"
    )
    _check_overdrawn(frame)
    sums = frame.groupby("account", sort=False)["units"].sum()
    compared = None
    if balances is not None:
        names = frame.drop_duplicates("account")["customer_id"].tolist()
        compared = _check_stated(balances, dict(zip(names, sums.tolist(), strict=True)), decimals)
    return _book(frame, sums, last, late, decimals, edges, compared)


def _book(
    frame: pd.DataFrame,
    sums: pd.Series[Any],
    last: dt.date,
    late: int,
    decimals: int,
    edges: list[int],
    compared: int | None,
) -> PointsLedger:
    """Use up credits by debits and put the ledger together."""

    def exact(units: int) -> Decimal:
        return Decimal(int(units)).scaleb(-decimals)

    plus, minus = frame[frame["units"] > 0], frame[frame["units"] < 0]
    credits_ = plus["units"].to_numpy(dtype=np.int64)
    lot, debit, used = match_first_in_first_out(
        plus["account"].to_numpy(dtype=np.int64),
        credits_,
        minus["account"].to_numpy(dtype=np.int64),
        -minus["units"].to_numpy(dtype=np.int64),
    )
    left = credits_.copy()
    np.subtract.at(left, lot, used)
    lots = pd.DataFrame(
        {
            "account": plus["account"].to_numpy(),
            "issued_day": plus["day"].to_numpy().astype(np.int64),
            "expires_day": plus["expires_day"].to_numpy(),
            "units": credits_,
            "left": left,
            "type": plus["type"].to_numpy(),
        }
    )
    uses = pd.DataFrame(
        {
            "lot": lot,
            "day": minus["day"].to_numpy()[debit].astype(np.int64),
            "units": used,
            "type": minus["type"].to_numpy()[debit],
        }
    )
    by_kind = frame.groupby("type")["units"].agg(["size", "sum"])
    totals = pd.DataFrame(
        [(k, int(by_kind.loc[k, "size"]), exact(by_kind.loc[k, "sum"])) for k in KINDS if k in by_kind.index],  # type: ignore[arg-type]
        columns=["type", "entries", "points"],
    )
    ageing = _ageing(lots, last.toordinal() - EPOCH, edges)
    ledger = PointsLedger(
        as_of=last,
        decimals=decimals,
        totals=totals,
        ageing=ageing.assign(points=ageing["points"].map(exact)),
        accounts=len(sums),
        balances=tuple(exact(b) for b in sorted(sums.tolist())),
        lots=lots.drop(columns="account"),
        uses=uses,
        left_out=late,
    )
    object.__setattr__(ledger, "checks", _checks(ledger, compared))
    return ledger

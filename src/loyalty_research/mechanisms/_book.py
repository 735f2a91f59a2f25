"""Transactions as mechanisms read them: sales of known customers, by customer and time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, at_rows, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Book", "Earned", "day_number", "read_book", "running"]


@dataclass(frozen=True)
class Book:
    """Sales sorted by customer, then day, then row; arrays have one entry per sale.

    Attributes:
        customer: Code of the customer, 0-based and rising.
        day: Days since 1970-01-01.
        year: Calendar year.
        amount: Money, 0 or more.
        row: Position in the table.
        partner: Partner's label, or None where the table has no ``partner_id``.
        index: Index of the whole table.
        anonymous: Rows left out for want of a customer.
        refunds: Rows left out as refunds (of known customers).
    """

    customer: Ints
    day: Ints
    year: Ints
    amount: Floats
    row: Ints
    partner: NDArray[Any] | None
    index: pd.Index[Any]
    anonymous: int
    refunds: int

    @property
    def customers(self) -> int:
        """How many customers bought."""
        return int(self.customer[-1]) + 1 if len(self.customer) else 0

    def until(self, day: int) -> Book:
        """Return the same customers' sales up to and including a day; codes begin at 0 again."""
        kept = self.day <= day
        return replace(
            self,
            customer=np.unique(self.customer[kept], return_inverse=True)[1].astype(np.int64),
            day=self.day[kept],
            year=self.year[kept],
            amount=self.amount[kept],
            row=self.row[kept],
            partner=None if self.partner is None else self.partner[kept],
        )

    def last(self) -> NDArray[np.bool_]:
        """Whether a sale is its customer's last."""
        return np.concatenate([self.customer[1:] != self.customer[:-1], [True]])

    def first(self) -> NDArray[np.bool_]:
        """Whether a sale is its customer's first."""
        return np.concatenate([[True], self.customer[1:] != self.customer[:-1]])

    def per_customer(self, values: Floats) -> Floats:
        """Sum values of sales by customer."""
        return np.asarray(
            np.bincount(self.customer, weights=values, minlength=self.customers), dtype=np.float64
        )


@dataclass(frozen=True)
class Earned:
    """What each sale earns, in the order of the book.

    Attributes:
        units: Points, stamps or plays.
        value: Worth to the customer of rewards that fall due with the sale.
        cost: What these rewards cost the shop.
        sure: Worth to the customer of what no one can leave untaken, such as a bonus on money
            loaded, less fees; it costs the shop the same.
    """

    units: Floats
    value: Floats
    cost: Floats
    sure: Floats | None = None

    def total(self, *, redeemed: float = 1.0) -> tuple[Floats, Floats]:
        """Return value and cost when a share of the rewards due is taken."""
        sure = np.zeros(len(self.units)) if self.sure is None else self.sure
        return redeemed * self.value + sure, redeemed * self.cost + sure


def _pandas(table: Any) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    try:
        frame: Any = nw.from_native(table)
    except TypeError as error:
        raise ContractError(
            "transactions must be a pandas or Polars frame, a DuckDB relation or a narwhals frame; got "
            f"{type(table).__name__}"
        ) from error
    found: pd.DataFrame = frame.lazy().collect(backend="pandas").to_native()
    return found


def _amounts(table: pd.DataFrame) -> Floats:
    try:
        amount = pd.to_numeric(table["amount"]).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ContractError(f"transactions.amount holds values that are no numbers: {error}") from error
    bad = np.flatnonzero(~np.isfinite(amount))
    if len(bad):
        raise ContractError(
            f"transactions.amount is null or not finite at {at_rows(bad.tolist())}; give each row its amount"
        )
    return amount


def _dates(table: pd.DataFrame) -> NDArray[np.datetime64]:
    name = "transacted_date" if "transacted_date" in table else "transacted_at"
    if name not in table:
        raise ContractError(
            f"transactions lacks transacted_at (or transacted_date); it has {', '.join(map(str, table.columns))}"
        )
    column = table[name]
    if column.dtype == object:
        try:
            column = pd.to_datetime(column, format="ISO8601")
        except (TypeError, ValueError) as error:
            raise ContractError(
                f"transactions.{name} holds values that are no ISO dates; parse it first"
            ) from error
    if isinstance(column.dtype, pd.DatetimeTZDtype) or not pd.api.types.is_datetime64_any_dtype(column):
        raise ContractError(f"transactions.{name} is {column.dtype}, not a naive date; convert it first")
    bad = np.flatnonzero(column.isna().to_numpy())
    if len(bad):
        raise ContractError(f"transactions.{name} is null at {at_rows(bad.tolist())}; give each row its date")
    return np.asarray(column.to_numpy(), dtype="datetime64[us]")


def read_book(transactions: Any, *, partner: bool = False) -> Book:
    """Check a table of transactions and return its sales.

    Args:
        transactions: ``customer_id``, ``transacted_at`` or ``transacted_date``, ``amount``,
            optionally ``type``, ``currency`` and ``partner_id``.
        partner: Whether ``partner_id`` is needed.

    Returns:
        Sales of known customers; negative amounts and rows of type refund are left out and counted.

    Raises:
        ContractError: When a column is missing, a value is unusable, there are several currencies,
            or no sale remains.
    """
    table = _pandas(transactions)
    wanted = ["customer_id", "amount", *(["partner_id"] if partner else [])]
    missing = [c for c in wanted if c not in table]
    if missing:
        raise ContractError(
            f"transactions lacks {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
    if "currency" in table and len(table["currency"].dropna().unique()) > 1:
        raise ContractError(
            f"transactions.currency holds {listed(sorted(map(str, table['currency'].dropna().unique())))}: "
            "rules are in one currency; convert the amounts or choose one"
        )
    when, amount = _dates(table), _amounts(table)
    unknown = table["customer_id"].isna().to_numpy()
    refund = amount < 0
    if "type" in table:
        refund = refund | (table["type"] == "refund").to_numpy(dtype=bool, na_value=False)
    row = np.flatnonzero(~unknown & ~refund)
    if not len(row):
        raise ContractError("transactions has no sale of a known customer")
    code = pd.factorize(table["customer_id"].iloc[row], sort=False)[0].astype(np.int64)
    order = np.lexsort((when[row], code))  # stable: rows of one moment keep their order
    row, code = row[order], code[order]
    return Book(
        customer=code,
        day=when[row].astype("datetime64[D]").astype(np.int64),
        year=when[row].astype("datetime64[Y]").astype(np.int64) + 1970,
        amount=amount[row],
        row=row,
        partner=table["partner_id"].to_numpy(dtype=object)[row] if "partner_id" in table else None,
        index=table.index,
        anonymous=int(unknown.sum()),
        refunds=int((refund & ~unknown).sum()),
    )


def day_number(as_of: Any) -> int:
    """Return a date as days since 1970-01-01, or raise ArgumentError."""
    try:
        return int(pd.Timestamp(as_of).to_datetime64().astype("datetime64[D]").astype(np.int64))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"as_of must be a date, such as 2024-12-31; got {as_of!r}") from error


def running(values: Floats, starts: NDArray[np.bool_]) -> Floats:
    """Return running sums that begin anew where ``starts``."""
    total = np.cumsum(values)
    first = np.flatnonzero(starts)
    before = (total - values)[first]
    return np.asarray(total - np.repeat(before, np.diff(np.r_[first, len(values)])), dtype=float)

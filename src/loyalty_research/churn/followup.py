"""What was watched: intervals, events, covariates, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd

from loyalty_research.churn import intervals
from loyalty_research.errors import ContractError
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from loyalty_research.estimates import Check

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Followup", "Removed", "beside", "strata_of"]


@dataclass(frozen=True, slots=True)
class Removed:
    """What one rule took out.

    Attributes:
        rule: The rule, in words.
        rows: Rows removed.
        customers: Customers removed.
    """

    rule: str
    rows: int
    customers: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Followup:
    """Intervals ``(start, stop]`` during which customers were watched, and who left.

    Attributes:
        start: Start of each interval on the customer's clock, shape ``(n,)``.
        stop: Its end.
        event: True where the customer left at ``stop``, for whatever cause.
        customer: Customer number of each interval, ``0 .. n_customers - 1``.
        weights: Case weights, or None.
        cluster: Cluster codes for robust errors, or None.
        strata: Stratum codes, or None.
        strata_labels: Label of each stratum code.
        strata_names: Columns the strata came from.
        covariates: One row per interval.
        origin: Calendar day of each customer's day 0, or None.
        keys: Join key of each customer, or None; never shown.
        removed: What each rule took out.
        checks: What was looked at while the data were built.
        chosen: Covariates customers choose for themselves, such as membership.
        unit: Unit of time.
        clock: What day 0 is, such as "the first purchase".
        inactivity_days: Silence that counts as leaving, where the data come from transactions.
        causes: Where causes of leaving are told apart, 0 for none, else the number of the cause.
        cause_labels: Label of cause 1, 2, ...
        id_name: Covariate that only numbers the customers, so that it can name clusters, or None.
    """

    start: NDArray[Any]
    stop: NDArray[Any]
    event: NDArray[np.bool_]
    customer: Ints
    covariates: pd.DataFrame
    weights: Floats | None = None
    cluster: Ints | None = None
    strata: Ints | None = None
    strata_labels: tuple[Any, ...] = ()
    strata_names: tuple[str, ...] = ()
    origin: NDArray[np.datetime64] | None = None
    keys: pd.Index[Any] | None = None
    removed: tuple[Removed, ...] = ()
    checks: tuple[Check, ...] = ()
    chosen: tuple[str, ...] = ()
    unit: str = "days"
    clock: str = field(default_factory=lambda: message("the start"))
    inactivity_days: int | None = None
    causes: Ints | None = None
    cause_labels: tuple[Any, ...] = ()
    id_name: str | None = None

    @property
    def n_customers(self) -> int:
        """Customers followed."""
        return int(self.customer.max()) + 1

    @property
    def n_events(self) -> int:
        """Customers who left."""
        return int(self.event.sum())

    @property
    def last(self) -> float:
        """The last day on the customers' clocks on which anybody was watched."""
        return float(self.stop.max())

    @property
    def standing(self) -> Literal["finding", "caution"]:
        """``"caution"`` where a check on the data warns, for the status of findings."""
        return "caution" if any(c.status != "passed" for c in self.checks) else "finding"

    @property
    def dropped(self) -> dict[str, int]:
        """Reason to the rows, or else customers, left out for it."""
        return {r.rule: r.rows or r.customers for r in self.removed}

    def take(self, rows: NDArray[Any]) -> Self:
        """Return some intervals, customers renumbered."""
        left, customer = np.unique(self.customer[rows], return_inverse=True)

        def pick(array: Any) -> Any:
            return None if array is None else array[rows]

        return replace(
            self,
            start=self.start[rows],
            stop=self.stop[rows],
            event=self.event[rows],
            customer=customer.astype(np.int64),
            covariates=self.covariates.iloc[rows].reset_index(drop=True),
            weights=pick(self.weights),
            cluster=pick(self.cluster),
            strata=pick(self.strata),
            causes=pick(self.causes),
            origin=None if self.origin is None else self.origin[left],
            keys=None if self.keys is None else self.keys[left],
        )


def beside(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Put two frames with the same rows side by side."""
    twice = [str(c) for c in right.columns if c in left.columns]
    if twice:
        raise ContractError(f"the data already have a column {', '.join(twice)}; rename the new one")
    return pd.concat([left, right.set_axis(left.index)], axis="columns")


def strata_of(df: pd.DataFrame, layers: Sequence[str], table: str) -> tuple[Ints, tuple[Any, ...]]:
    """Return stratum codes and their labels (plain values, or tuples for several columns)."""
    intervals.need(df, layers, table)
    for column in layers:
        gaps = df[column].isna().to_numpy()
        if gaps.any():
            raise ContractError(f"{table}.{column} is missing in {intervals.where(gaps)}; every row needs it")
    if len(layers) == 1:
        codes, labels = pd.factorize(df[layers[0]], sort=True)
    else:
        codes, labels = pd.factorize(pd.MultiIndex.from_frame(df[list(layers)]), sort=True)
    return codes.astype(np.int64), tuple(labels.tolist())

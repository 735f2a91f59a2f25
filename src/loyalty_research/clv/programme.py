"""What a programme asks of lifetime value: who is slipping away, and what lost members cost."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv._members import standing
from loyalty_research.clv._shares import large_enough
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate, Result, Row
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.clv.value import LifetimeValue

    Array = NDArray[Any]

__all__ = ["MembersLost", "ValueAtChurn", "check_cost", "members_lost", "value_at_churn"]


@dataclass(frozen=True, repr=False, eq=False)
class ValueAtChurn(Result):
    """Expected value of customers by how likely they are still there, and what silence has cost.

    Attributes:
        groups: Name, mean P(alive), expected value, expected value had all of them stayed, and the
            difference, of each group that is large enough to be shown.
        names: All groups in their order, those left out among them.
        customers: Customers of all groups.
        currency: ISO 4217 code, or None.
    """

    title: ClassVar[str] = "Expected value by the chance of still being a customer"

    groups: tuple[tuple[str, float, Estimate, Estimate, Estimate], ...]
    names: tuple[str, ...]
    customers: int
    currency: str | None

    def _rows(self) -> Iterable[Row]:
        for name, alive, expected, stayed, lost in self.groups:
            extra = {"probability_alive": alive}
            yield Row("expected value", expected, group=name, extra=extra)
            yield Row("value if all had stayed", stayed, group=name, extra=extra)
            yield Row("value lost to silence", lost, group=name, extra=extra)

    def _verdict(self) -> str:
        if not self.groups:
            return message("Every group is of too few customers to be shown.")
        name, alive, expected, stayed, lost = max(self.groups, key=lambda group: group[4].value)
        return message(
            'Most value has gone with the group "{name}": of its {n} customers {alive} are expected to be still '
            "there. They are expected to bring {expected}; had all of them stayed, it would be {stayed}, so "
            "{lost} is lost ({interval}).",
            name=name,
            n=f"{expected.n:,}",
            alive=percent(alive),
            expected=expected.format(),
            stayed=stayed.format(),
            lost=lost.format(),
            interval=lost.interval(),
        )

    def table(self) -> pd.DataFrame:
        """Return one row per group: customers, mean P(alive), expected value, had all stayed, lost."""
        shown = {group[0]: group[1:] for group in self.groups}
        rows: list[dict[str, Any]] = []
        for name in self.names:
            if name not in shown:
                rows.append({"group": name, "customers": None})
                continue
            alive, expected, stayed, lost = shown[name]
            rows.append(
                {
                    "group": name,
                    "customers": expected.n,
                    "probability_alive": alive,
                    "expected": expected.value,
                    "stayed": stayed.value,
                    "lost": lost.value,
                    "low": lost.low,
                    "high": lost.high,
                }
            )
        return pd.DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what each group is expected to bring, and what would have come had all stayed."""
        from loyalty_research.plots.clv_programme import value_at_churn as draw

        return draw(self.table().dropna(), ax=ax, currency=self.currency)


def _bands(alive: Array, edges: Sequence[float]) -> pd.Categorical:
    if not edges or not all(0 < e < 1 for e in edges) or any(np.diff(edges) <= 0):
        raise ArgumentError(
            f"bands must be increasing shares between 0 and 1, such as (0.2, 0.8); got {edges!r}"
        )
    ends = [percent(e, digits=0) for e in edges]
    names = [message("under {high} likely to be there", high=ends[0])]
    names += [message("{low} to {high} likely", low=low, high=high) for low, high in itertools.pairwise(ends)]
    names.append(message("{low} or more likely", low=ends[-1]))
    codes = np.searchsorted(np.asarray(edges), alive, side="right")
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(names), ordered=True)


def value_at_churn(
    value: LifetimeValue,
    *,
    bands: Sequence[float] = (0.2, 0.5, 0.8),
    groups: pd.Series[Any] | None = None,
    minimum: int = 5,
) -> ValueAtChurn:
    """Split customers by the chance that they are still there, and value what has been lost.

    A customer's expected value is P(alive) times what somebody with their habits is worth while
    still a customer. The difference between the two is what leaving has cost in expectation.

    Args:
        value: What :func:`customer_lifetime_value` returned.
        bands: Shares at which P(alive) is cut.
        groups: One label per customer on the index of the summary, instead of bands.
        minimum: Customers from which a group is shown.

    Raises:
        ArgumentError: When ``bands`` are no increasing shares, or ``minimum`` is below 1.
        ContractError: When a customer has no label.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD, GammaGamma, customer_lifetime_value
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4] * 5,
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20] * 5,
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33] * 5,
        ...     "monetary_value": [0, 20, 35, 0, 28, 40, 0, 22, 0, 31] * 5,
        ... })
        >>> value = customer_lifetime_value(
        ...     BetaGeoNBD(penalizer=0.1).fit(summary, unit="W"), GammaGamma(penalizer=0.1).fit(summary),
        ...     summary, horizon=52, annual_discount_rate=0.1, currency="USD")
        >>> value_at_churn(value, bands=(0.5,)).table()[["group", "customers"]].to_dict("list")
        {'group': ['under 50% likely to be there', '50% or more likely'], 'customers': [15, 35]}
    """
    alive = value.customers["probability_alive"].to_numpy()
    labels = value.labels(
        pd.Series(_bands(alive, list(bands)), index=value.customers.index) if groups is None else groups
    )
    codes, count = np.asarray(labels.codes), len(labels.categories)
    sizes = np.bincount(codes, minlength=count)
    cells = value.worth.cells(codes, count)

    def measures(at: Array) -> Array:
        ahead = value.worth.ahead(at, stayed=True)
        expected = value.worth.sums(at, cells, value.worth.alive(at) * ahead)
        stayed = value.worth.sums(at, cells, ahead)
        return np.concatenate([expected, stayed, stayed - expected])

    found = value.estimates(measures, [*sizes, *sizes, *sizes])
    means = np.bincount(codes, weights=alive, minlength=count) / np.maximum(sizes, 1)
    kept = large_enough(sizes.tolist(), minimum)
    names = [str(name) for name in labels.categories]
    rows = [
        (names[k], float(means[k]), found[k], found[count + k], found[2 * count + k])
        for k in range(count)
        if sizes[k] and kept[k]
    ]
    return ValueAtChurn(
        tuple(rows),
        names=tuple(name for name, size in zip(names, sizes, strict=True) if size),
        customers=len(alive),
        currency=value.currency,
    )


@dataclass(frozen=True, repr=False, eq=False)
class MembersLost(Result):
    """What members who left the programme cost.

    Attributes:
        days: Length of the time looked back, up to the last day observed.
        members: Members on the last day.
        gone: Members who left in that time and did not come back.
        remaining: What these are still expected to bring.
        lost: What more they would bring had all of them stayed customers.
        replacement: Cost of winning as many new customers, or None.
    """

    title: ClassVar[str] = "Cost of members lost"

    days: int
    members: int
    gone: int
    remaining: Estimate
    lost: Estimate
    replacement: float | None

    def _rows(self) -> Iterable[Row]:
        yield Row("expected value of those who left", self.remaining)
        yield Row("value lost with them", self.lost)
        if self.replacement is not None:
            cost = Estimate(
                self.replacement, math.nan, math.nan, self.lost.level, "count", self.gone, unit=self.lost.unit
            )
            yield Row("cost of replacing them", cost)

    def _verdict(self) -> str:
        said = message(
            "{gone} members left in the {days} days before the end, against {members} who stayed. They would bring "
            "{lost} more than they now will had all of them stayed customers ({interval}). That is an upper bound: "
            "some would have stopped buying as members too.",
            gone=f"{self.gone:,}",
            days=f"{self.days:,}",
            members=f"{self.members:,}",
            lost=self.lost.format(),
            interval=self.lost.interval(),
        )
        if self.replacement is None:
            return said
        return message(
            "{said} Winning as many new customers costs {cost}.",
            said=said,
            cost=self.lost.format(self.replacement),
        )


def members_lost(
    value: LifetimeValue,
    memberships: pd.DataFrame | None,
    *,
    days: int = 365,
    acquisition_cost: float | None = None,
    minimum: int = 5,
) -> MembersLost:
    """Value the members who left the programme: what they still bring, and what they no longer do.

    Args:
        value: What :func:`customer_lifetime_value` returned.
        memberships: ``customer_id``, ``valid_from``, ``valid_to``.
        days: How far to look back from the last day observed.
        acquisition_cost: Cost of winning one customer; given, replacing them is priced.
        minimum: Members who left from which figures are shown.

    Raises:
        ContractError: When there is no memberships table or a column is missing.
        ArgumentError: When an option is out of range.
        DesignError: When fewer than ``minimum`` members left in that time.

    Examples:
        >>> import loyalty_research as lr
        >>> from loyalty_research import clv, summaries
        >>> source = lr.open_dataset("programme")
        >>> summary = summaries.purchases(source.tables["transactions"], unit="W", observation_end=source.as_of)
        >>> value = clv.customer_lifetime_value(
        ...     clv.ModifiedBetaGeoNBD().fit(summary), clv.GammaGamma().fit(summary), summary, horizon=52,
        ...     annual_discount_rate=0.1, currency=source.currency)
        >>> found = clv.members_lost(value, source.frame("memberships"))
        >>> found.remaining.value < found.lost.value
        True
    """
    if not (isinstance(days, int) and days > 0):
        raise ArgumentError(f"days must be a whole number above 0; got {days!r}")
    if acquisition_cost is not None:
        check_cost(acquisition_cost)
    found = standing(value.summary, memberships)
    end = np.datetime64(pd.Timestamp(value.summary.attrs["observation_end"]), "D")
    gone = ~found.member & ~np.isnat(found.left) & (found.left > end - np.timedelta64(days, "D"))
    count = int(gone.sum())
    if count < max(minimum, 1):
        raise DesignError(
            f"fewer than {max(minimum, 1)} members who bought left in the last {days} days, too few to be shown; "
            "look further back with days="
        )
    cells = value.worth.cells(gone, 2)

    def measures(at: Array) -> Array:
        ahead = value.worth.ahead(at, stayed=True)
        expected = value.worth.sums(at, cells, value.worth.alive(at) * ahead)[1]
        stayed = value.worth.sums(at, cells, ahead)[1]
        return np.array([expected, stayed - expected])

    remaining, lost = value.estimates(measures, [count, count])
    return MembersLost(
        days,
        members=int(found.member.sum()),
        gone=count,
        remaining=remaining,
        lost=lost,
        replacement=None if acquisition_cost is None else count * float(acquisition_cost),
    )


def check_cost(cost: float) -> float:
    """Return a cost, or raise.

    Raises:
        ArgumentError: When it is not a positive amount.
    """
    if not (math.isfinite(cost) and cost > 0):
        raise ArgumentError(f"acquisition_cost must be an amount above 0; got {cost!r}")
    return float(cost)

"""Coalitions: points earned at one partner and used at another, cleared through a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, at_rows, listed
from loyalty_research.estimates import Check, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.mechanisms._base import (
    Mechanism,
    MechanismAudit,
    audit_verdict,
    figure,
    uplift_result,
)
from loyalty_research.mechanisms._book import Earned, read_book
from loyalty_research.mechanisms._checks import at_least, fraction, positive
from loyalty_research.mechanisms._closed import uplift_to_break_even
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.mechanisms._base import (
        BreakEven,
    )
    from loyalty_research.mechanisms._book import Book

__all__ = ["Coalition"]


@dataclass(frozen=True, kw_only=True)
class Coalition(Mechanism):
    """Partners issue one currency of points; a pool buys and pays for them.

    Attributes:
        partners: Points per unit of money by partner.
        point_value: Worth of a point to the customer, in money.
        issue_price: What a partner pays the pool per point it issues.
        settlement: What the pool pays a partner per point used there; by default the point's value.
        source: Where the figures come from.

    Raises:
        ArgumentError: When there are fewer than two partners or a figure is out of its range.

    Examples:
        >>> pool = Coalition(partners={"grocer": 1, "fuel": 2}, point_value=0.01, issue_price=0.009)
        >>> print(pool.sentence())
        Customers earn points at 2 partners (grocer 1, fuel 2 per 1 spent) and use them at any; a point is worth 0.0100.
        >>> pool.expected_rebate({"grocer": 300.0, "fuel": 100.0}), round(pool.redemption_to_break_even(), 6)
        (0.0125, 0.9)
        >>> flows = pd.DataFrame({"earned_at": ["grocer", "fuel"], "used_at": ["fuel", "fuel"],
        ...                       "points": [100, 50]})
        >>> pool.clearing({"grocer": 1000.0, "fuel": 200.0}, flows)["balance"].round(2).to_dict()
        {'grocer': -9.0, 'fuel': -2.1, 'pool': 11.1}
    """

    kind: ClassVar[str] = "coalition"
    needs_partner: ClassVar[bool] = True

    partners: Mapping[str, float]
    point_value: float
    issue_price: float
    settlement: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.partners, Mapping) or len(self.partners) < 2:
            raise ArgumentError(
                f"partners must map two or more partners to points per unit; got {self.partners!r}"
            )
        object.__setattr__(self, "partners", dict(self.partners))
        for name, rate in self.partners.items():
            at_least(f"partners[{name!r}]", rate)
        positive("point_value", self.point_value)
        at_least("issue_price", self.issue_price)
        if self.settlement is not None:
            positive("settlement", self.settlement)

    @property
    def paid_per_point(self) -> float:
        """What the pool pays per point used."""
        return self.point_value if self.settlement is None else self.settlement

    def sentence(self) -> str:
        """Return the rules as one sentence for a customer."""
        return message(
            "Customers earn points at {count} partners ({rates} per 1 spent) and use them at any; a point is "
            "worth {value}.",
            count=len(self.partners),
            rates=", ".join(f"{name} {rate:,.10g}" for name, rate in self.partners.items()),
            value=number(self.point_value),
        )

    def _rates(self, book: Book) -> NDArray[np.float64]:
        if book.partner is None:
            raise ContractError("transactions lacks partner_id, which a coalition needs")
        mapped = pd.Series(book.partner, dtype=object).map(dict(self.partners))
        rate: NDArray[np.float64] = np.asarray(mapped.to_numpy(), dtype=np.float64)
        bad = np.flatnonzero(np.isnan(rate))
        if len(bad):
            strange = sorted({str(book.partner[i]) for i in bad})
            raise ContractError(
                f"transactions.partner_id holds {listed(strange)}, no partner of the coalition, at "
                f"{at_rows(sorted(book.row[bad].tolist()))}; add the partner or leave the rows out"
            )
        return rate

    def _earn(self, book: Book) -> Earned:
        points = book.amount * self._rates(book)
        return Earned(points, points * self.point_value, points * self.issue_price)

    def _by_partner(self, spend: Mapping[str, float]) -> dict[str, float]:
        strange = [name for name in spend if name not in self.partners]
        if strange:
            raise ArgumentError(f"{listed(strange)} is no partner; there is {', '.join(self.partners)}")
        return {name: at_least(f"spend[{name!r}]", spend.get(name, 0.0)) for name in self.partners}

    def expected_rebate(self, spend: Mapping[str, float]) -> float:
        """Return the rebate when every point is used, a fraction of spend.

        Args:
            spend: Spending by partner, in money.

        Raises:
            ArgumentError: When a partner is unknown or nothing is spent.
        """
        found = self._by_partner(spend)
        total = positive("spend", sum(found.values()))
        return sum(self.partners[name] * money for name, money in found.items()) * self.point_value / total

    def redemption_to_break_even(self) -> float:
        """Return the share of points used above which the pool pays out more than it takes in."""
        return self.issue_price / self.paid_per_point

    def flows(self, redemptions: pd.DataFrame) -> pd.DataFrame:
        """Return points by partner of earning (rows) and of use (columns).

        Args:
            redemptions: ``earned_at``, ``used_at``, ``points`` (0 or more).

        Returns:
            A square table over the partners; its diagonal stays at home.

        Raises:
            ContractError: When a column is missing, a partner unknown or points negative.
        """
        missing = [c for c in ("earned_at", "used_at", "points") if c not in redemptions]
        if missing:
            raise ContractError(
                f"redemptions lacks {', '.join(missing)}; it has {', '.join(map(str, redemptions.columns))}"
            )
        names = list(self.partners)
        for column in ("earned_at", "used_at"):
            bad = np.flatnonzero(~redemptions[column].isin(names).to_numpy())
            if len(bad):
                raise ContractError(
                    f"redemptions.{column} is no partner of the coalition at {at_rows(bad.tolist())}"
                )
        points = pd.to_numeric(redemptions["points"]).to_numpy(dtype=float)
        bad = np.flatnonzero(~(np.isfinite(points) & (points >= 0)))
        if len(bad):
            raise ContractError(f"redemptions.points is negative or missing at {at_rows(bad.tolist())}")
        table = redemptions.assign(points=points).pivot_table(
            index="earned_at", columns="used_at", values="points", aggfunc="sum", fill_value=0.0
        )
        return table.reindex(index=names, columns=names, fill_value=0.0).astype(float)

    def clearing(self, spend: Mapping[str, float], redemptions: pd.DataFrame) -> pd.DataFrame:
        """Return who pays whom: each partner's and the pool's account, summing to 0.

        Args:
            spend: Spending by partner, in money.
            redemptions: As for :meth:`flows`.

        Returns:
            Rows by partner and ``pool``; columns ``issued`` and ``used`` (points), ``pays`` and
            ``receives`` (money) and ``balance``. What a partner gives for points used there is not
            in it, nor the worth of points still open: the pool's balance is before that liability.

        Raises:
            ArgumentError: When a partner of ``spend`` is unknown.
            ContractError: When ``redemptions`` is unusable.
        """
        found = self._by_partner(spend)
        used = self.flows(redemptions).sum(axis=0)
        issued = pd.Series({name: found[name] * rate for name, rate in self.partners.items()})
        table = pd.DataFrame({"issued": issued, "used": used})
        table["pays"] = table["issued"] * self.issue_price
        table["receives"] = table["used"] * self.paid_per_point
        total = table.sum()
        table.loc["pool"] = [total["issued"], total["used"], total["receives"], total["pays"]]
        table["balance"] = table["receives"] - table["pays"]
        return table

    def break_even(self, *, margin: float, partner: str) -> BreakEven:
        """Return the rise of a partner's sales that pays for the points it issues.

        Args:
            margin: The partner's margin, a fraction of spend.
            partner: Which partner.

        Returns:
            The rise against what members would have bought there without the coalition.

        Raises:
            ArgumentError: When the partner is unknown or the margin no fraction.
        """
        if partner not in self.partners:
            raise ArgumentError(f"there is no partner {partner!r}; there is {', '.join(self.partners)}")
        cost = self.partners[partner] * self.issue_price
        return uplift_result(
            uplift_to_break_even(fraction("margin", margin), cost), cost, margin, per="spend"
        )

    def audit(self, transactions: Any = None, *, level: float = 0.95) -> MechanismAudit:
        """Hold the coalition against its promise: is it one, and does the pool survive?

        Args:
            transactions: As for :meth:`earn`, with ``partner_id``; None leaves reach unmeasured.
            level: Coverage of the intervals.

        Returns:
            Rebates by partner, the redemption the pool can bear, and the share of customers who buy
            at two partners or more (Wilson).

        Raises:
            ContractError: When the table is unusable.
        """
        check_level(level)
        bear = self.redemption_to_break_even()
        rows: list[Row] = [
            figure("rebate of a partner", rate * self.point_value, unit="fraction", group=name)
            for name, rate in self.partners.items()
        ]
        rows.append(figure("redemption the pool can bear", bear, unit="fraction"))
        detail = message("the pool loses money when over {share} of points are used", share=percent(bear))
        checks = [Check(message("Exchange rate"), "passed" if bear >= 1 else "warning", detail)]
        name = message("Customers cross partners")
        if transactions is None:
            checks.append(Check(name, "not measurable", message("no transactions were given")))
        else:
            book = read_book(transactions, partner=True)
            self._rates(book)
            pairs = pd.DataFrame({"customer": book.customer, "partner": book.partner}).drop_duplicates()
            several = int((pairs["customer"].value_counts() > 1).sum())
            share = proportion(several, book.customers, level=level)
            rows.append(Row("customers of two partners or more", share))
            crossed = message("{share} of customers buy at two partners or more", share=share.format())
            checks.append(Check(name, "warning" if share.high < 0.1 else "passed", crossed))
        return MechanismAudit(tuple(rows), audit_verdict(message("Coalition"), checks), checks=tuple(checks))

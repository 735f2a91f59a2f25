"""A coalition: one shop of several, points earned at each and used at any, cleared through a pool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd

from loyalty_research.i18n import message
from loyalty_research.mechanisms import Coalition
from loyalty_research.simulate._keys import labelled
from loyalty_research.simulate._members import MemberTruth
from loyalty_research.simulate._points import earned_by, ledger_facts, redeemers
from loyalty_research.simulate._programme_tables import Entries, costs_table, ledger_frame, used_up
from loyalty_research.simulate._scheme import Scheme
from loyalty_research.simulate._truth import number, stream, whole
from loyalty_research.simulate._world import Course

if TYPE_CHECKING:
    from loyalty_research.simulate._population import Floats, Ints
    from loyalty_research.simulate._scheme import Shop
    from loyalty_research.simulate._world import World

__all__ = ["CoalitionScheme", "CoalitionTruth", "first_in_first_out"]


@dataclass(frozen=True, kw_only=True)
class CoalitionTruth(MemberTruth):
    """Parameters of the coalition, beside those of its members.

    Attributes:
        home_share: Share of a customer's orders that go to the partner they prefer; the rest goes to
            the others alike.
        redeem_share: Share of members who use their points.
        reward_points: Points of one reward, used at the partner of the next order.
    """

    home_share: float = number(0.7, 0, 1)
    redeem_share: float = number(0.7, 0, 1)
    reward_points: int = whole(500, 1, 1_000_000)


class CoalitionScheme(Scheme[CoalitionTruth, Course]):
    """Members earn at the partners they order at, and use points wherever they order next."""

    kind: ClassVar[str] = "coalition"

    @classmethod
    def default_rules(cls, truth: CoalitionTruth) -> Coalition:
        """Return three partners."""
        del truth
        return Coalition(
            partners={"grocer": 1.0, "fuel": 2.0, "pharmacy": 1.0}, point_value=0.01, issue_price=0.009
        )

    @property
    def pool(self) -> Coalition:
        """The rules."""
        return cast("Coalition", self.rules)

    @property
    def partners(self) -> list[str]:
        """Names of the partners."""
        return list(self.pool.partners)

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        return message(
            "Simulated coalition of partners with one currency of points, with members, non-members and invitations "
            "drawn at random; the truth behind it is disclosed."
        )

    @cached_property
    def world(self) -> World:
        """The people and the orders they could place, each at a partner."""
        made = super().world
        rng = stream(self.seed, "partners")
        home = rng.integers(0, len(self.partners), made.people.size)
        labels = tuple(self._places(rng, home[o.customer]) for o in (made.base, made.extra))
        return replace(made, labels=(labels[0], labels[1]))

    def _places(self, rng: np.random.Generator, home: Ints) -> Ints:
        stays = rng.random(len(home)) < self.truth.home_share
        away = rng.integers(1, len(self.partners), len(home))
        return np.where(stays, home, (home + away) % len(self.partners))

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> Course:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        return self.world.between(start, stop).play(joined)

    def order_columns(self, shop: Shop[Course]) -> dict[str, Any]:
        """Return the partner of each order."""
        return {"partner_id": labelled(_labels(shop.course), self.partners)}

    def leaves(self, shop: Shop[Course]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return the ledger and costs; points by where they were earned and used, and who owes whom."""
        course, price = shop.course, self.truth.reward_points
        mine, at = course.orders.keep(course.member), _labels(course)[course.member]
        names = np.array(self.partners, dtype=object)
        points = np.round(earned_by(self.pool, mine, partner_id=names[at])[0], 4)
        uses = redeemers(shop.people.size, self.truth.redeem_share, self.seed)[mine.customer]
        used = used_up(mine.customer, points, price) * uses * price
        spent, earned = np.flatnonzero(used > 0), np.flatnonzero(points > 0)
        parts = [
            Entries(kind, mine.customer[r], mine.moment[r], v[r], extra={"partner_id": names[at[r]]})
            for kind, r, v in (("redeem", spent, used), ("earn", earned, points))
        ]
        flows = first_in_first_out(mine.customer, points, used, at, len(names))
        spend = np.bincount(at, weights=mine.amount, minlength=len(names))
        table = pd.DataFrame(flows, index=self.partners, columns=self.partners)
        moves = pd.DataFrame(
            {
                "earned_at": np.repeat(names, len(names)),
                "used_at": np.tile(names, len(names)),
                "points": flows.ravel(),
            }
        )
        clearing = self.pool.clearing(dict(zip(self.partners, spend.tolist(), strict=True)), moves)
        facts = {
            "flows": {name: row.to_dict() for name, row in table.iterrows()},
            "member_spend": dict(zip(self.partners, spend.tolist(), strict=True)),
            "clearing": {str(name): float(v) for name, v in clearing["balance"].items()},
        }
        rates = [("reward", "voucher", "per_redemption", round(price * self.pool.point_value, 2))]
        tables = {"points_ledger": ledger_frame(shop.people, parts), "costs": costs_table(*rates)}
        return tables, ledger_facts(parts) | facts


def _labels(course: Course) -> Ints:
    return np.zeros(len(course.member), dtype=np.int64) if course.label is None else course.label


def first_in_first_out(customer: Ints, earned: Floats, used: Floats, place: Ints, places: int) -> Floats:
    """Return points by where they were earned (rows) and used (columns), the oldest used first.

    Args:
        customer: Whose order, in runs.
        earned: Points that each order earns.
        used: Points used at each order, earned by earlier ones.
        place: Where the order is placed, 0-based.
        places: How many places there are.
    """
    if not len(customer):
        return np.zeros((places, places))
    begin = np.flatnonzero(np.r_[True, customer[1:] != customer[:-1]])
    length = np.diff(np.r_[begin, len(customer)])
    # all points on one line: each customer's lie side by side in the order of earning
    lots = np.cumsum(earned)
    origin = np.repeat((lots - earned)[begin], length)
    drawn = np.cumsum(used)
    drawn = drawn - np.repeat((drawn - used)[begin], length)
    stop, start = origin + drawn, origin + drawn - used
    takes = np.flatnonzero(used > 0)
    edges = np.unique(np.concatenate([[0.0], lots, start[takes], stop[takes]]))
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    lot = np.searchsorted(lots, middle).clip(0, len(lots) - 1)
    take = np.searchsorted(start[takes], middle, side="right") - 1
    inside = (take >= 0) & (middle < stop[takes][take.clip(0)]) if len(takes) else np.zeros(len(middle), bool)
    code = place[lot[inside]] * places + place[takes[take[inside]]]
    flat = np.bincount(code, weights=width[inside], minlength=places**2)
    return np.asarray(flat.reshape(places, places), dtype=float)

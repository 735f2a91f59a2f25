"""Scenarios: a mechanism with what it is assumed to do, and one simulated year's account of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.i18n import message
from loyalty_research.mechanisms import (
    Coalition,
    Mechanism,
    NonMonetary,
    NoProgramme,
    PaidMembership,
    Points,
)
from loyalty_research.simulate import programme_year, read_population

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.simulate import PopulationTruth, ProgrammeYear

__all__ = [
    "Account",
    "Scenario",
    "assumed_scenario",
    "assumption_name",
    "play_year",
    "rule_figures",
    "typical_member",
    "with_assumptions",
]

PULL = 1.5
JOIN = 0.5
STAY = 0.95
TAKEN = 0.8
UNPRICED_RESPONSE = 0.02
REFERENCE_CUSTOMERS = 2000

_LIMITS = {
    "join_share": (0, 1),
    "selection": (-5, 5),
    "rate_effect": (-1, 10),
    "spend_effect": (-1, 10),
    "hazard_ratio": (0.01, 100),
    "response_cv": (0, 5),
    "redeemed": (0, 1),
    "running_cost": (0, 1e9),
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A mechanism with what it is assumed to do to those who join.

    The cost of the rewards follows from the rules; how customers respond does not, and is assumed
    here in the open. The defaults are those of a programme that nobody joins.

    Attributes:
        mechanism: The rules.
        name: Label; by default the kind of the mechanism.
        join_share: Probability that an average customer joins.
        selection: How customers select themselves: change of the log odds of joining per standard
            deviation of latent engagement, which also drives how often they buy.
        gainers_only: Whether only those join whose savings on the orders that they place anyway are
            above the fee; for paid memberships.
        rate_effect: Change of the average member's purchase rate, a fraction: 0.05 is 5% more orders.
        spend_effect: Change of the average member's order values, a fraction.
        hazard_ratio: Dropout hazard of a member over that of the same person as no member.
        response_cv: How much members differ in response: coefficient of variation of the factor on
            ``rate_effect`` and ``spend_effect``; 0: all alike.
        redeemed: Share of rewards due that members take within the year; the rest stays owed.
        running_cost: Cost per member and year beside rewards, in money.
        partners: For a coalition, of which the first partner is this shop: members' orders at each
            other partner per order that they would place here anyway; by default 1 each.
        assumed: Whether the responses are conventions of :func:`assumed_scenario`.

    Raises:
        ArgumentError: When an assumption is out of its range.

    Examples:
        >>> Scenario(mechanism=NoProgramme()).label
        'none'
    """

    mechanism: Mechanism
    name: str | None = None
    join_share: float = 0.0
    selection: float = 1.0
    gainers_only: bool = False
    rate_effect: float = 0.0
    spend_effect: float = 0.0
    hazard_ratio: float = 1.0
    response_cv: float = 0.0
    redeemed: float = 1.0
    running_cost: float = 0.0
    partners: Mapping[str, float] | None = None
    assumed: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.mechanism, Mechanism):
            raise ArgumentError(f"mechanism must be one that mechanism(kind) returns; got {self.mechanism!r}")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ArgumentError(f"{name} must be a number in [{low:g}, {high:g}]; got {value!r}")
        if self.gainers_only not in (True, False):
            raise ArgumentError(f"gainers_only must be True or False; got {self.gainers_only!r}")
        if self.gainers_only and not isinstance(self.mechanism, PaidMembership):
            raise ArgumentError(f"gainers_only is for paid memberships; {self.label} takes no fee")
        if self.partners is not None:
            self._check_partners()

    def _check_partners(self) -> None:
        if not isinstance(self.mechanism, Coalition) or not isinstance(self.partners, Mapping):
            raise ArgumentError(
                f"partners are orders by partner of a coalition; got {self.partners!r} for {self.label}"
            )
        others = list(self.mechanism.partners)[1:]
        if set(self.partners) != set(others):
            raise ArgumentError(
                f"partners must name {', '.join(others)}, since the first partner is this shop; got "
                f"{', '.join(map(str, self.partners)) or 'none'}"
            )
        bad = [v for v in self.partners.values() if isinstance(v, bool) or not isinstance(v, (int, float))]
        if bad or any(not 0 <= v <= 100 for v in self.partners.values()):
            raise ArgumentError(
                f"orders at a partner must be numbers in [0, 100]; got {dict(self.partners)!r}"
            )

    @property
    def label(self) -> str:
        """Name in tables."""
        return self.mechanism.kind if self.name is None else self.name

    @property
    def assumptions(self) -> dict[str, float]:
        """The assumptions by name."""
        return {name: float(getattr(self, name)) for name in _LIMITS}

    def with_value(self, name: str, value: float) -> Scenario:
        """Return the scenario with one assumption, or one figure of the rules, changed.

        Args:
            name: An assumption, or a rule of the mechanism that is a single number.
            value: Its value.

        Raises:
            ArgumentError: When there is no such figure, or it is out of its range.
        """
        change: dict[str, Any] = {name: value}
        if name in _LIMITS:
            return replace(self, **change)
        if name in rule_figures(self.mechanism):
            return replace(self, mechanism=replace(self.mechanism, **change))
        known = [*_LIMITS, *rule_figures(self.mechanism)]
        raise ArgumentError(f"{self.label} has no figure {name!r}; it has {', '.join(known)}")


def rule_figures(rules: Mechanism) -> dict[str, float]:
    """Return the rules of a mechanism that are single numbers and are stated.

    Examples:
        >>> rule_figures(Points(reward_points=50, reward_value=5))["reward_value"]
        5
    """
    found = {f.name: getattr(rules, f.name) for f in fields(rules)}
    return {n: v for n, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def assumption_name(name: str) -> str:
    """Return an assumption, or a figure of the rules, in a reader's words."""
    known = {
        "join_share": message("share who join"),
        "selection": message("how far frequent buyers join first"),
        "rate_effect": message("extra orders of members"),
        "spend_effect": message("extra value of members' orders"),
        "hazard_ratio": message("members' dropout against others'"),
        "response_cv": message("how unlike members respond"),
        "redeemed": message("share of rewards taken"),
        "running_cost": message("running cost per member"),
        "margin": message("margin on sales"),
        "reward_value": message("worth of a reward"),
        "reward_cost": message("cost of a reward"),
        "point_value": message("worth of a point"),
        "point_cost": message("cost of a point"),
        "issue_price": message("price of a point issued"),
        "prize_value": message("worth of a prize"),
        "prize_cost": message("cost of a prize"),
        "win_probability": message("chance to win"),
        "fee": message("membership fee"),
        "order_saving": message("saving per order"),
        "order_cost": message("cost of benefits per order"),
        "discount": message("discount"),
        "member_cost": message("cost of the benefit per member"),
    }
    return known.get(name, name.replace("_", " "))


def assumed_scenario(
    mechanism: Mechanism,
    *,
    population: PopulationTruth | Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Scenario:
    """Return a mechanism with conventional responses, for want of better ones.

    They are conventions and no findings; replace them by what a trial has shown. The same for
    every kind, so that nothing but the rules tells two mechanisms apart:

    - Half of the customers join (an average one; engaged ones sooner). Where there is a fee it is
      half of those who would save more than the fee on the orders they place anyway.
    - Members buy 1.5% more often per 1% of their spending that comes back to them here (fees apart,
      which are paid before). Worked out on 2,000 customers of this population who do not respond;
      at most twice as often. A benefit without money's worth brings 2% more orders.
    - A member's dropout hazard is 0.95 times that of the same person as no member.
    - Members take 80% of the rewards due within the year. Savings at the till and prizes are all
      taken.

    Args:
        mechanism: The rules, with every figure that their cost needs.
        population: Customers; the defaults of ``PopulationTruth`` when None.
        name: Label.

    Returns:
        The scenario, with ``assumed`` set.

    Raises:
        ArgumentError: When the rules lack a figure, or the population is unusable.

    Examples:
        >>> card = Points(points_per_unit=100, reward_points=1, reward_value=0.0005)  # 5% of spend
        >>> round(assumed_scenario(card).rate_effect, 3)  # 1.5 x 5% x 80%
        0.06
    """
    if isinstance(mechanism, NoProgramme):
        return Scenario(mechanism=mechanism, name=name, assumed=True)
    priced_at_once = mechanism.kind in ("paid", "sweepstakes", "non-monetary")
    silent = Scenario(
        mechanism=mechanism,
        name=name,
        join_share=JOIN,
        gainers_only=isinstance(mechanism, PaidMembership),
        hazard_ratio=STAY,
        redeemed=1.0 if priced_at_once else TAKEN,
        assumed=True,
    )
    if isinstance(mechanism, NonMonetary):
        return replace(silent, rate_effect=UNPRICED_RESPONSE)
    worth = _worth(silent, read_population(population))
    return replace(silent, rate_effect=min(PULL * worth, 1.0))


def with_assumptions(scenario: Scenario | Mechanism, population: PopulationTruth) -> Scenario:
    """Return a scenario with a programme: as it is, or a mechanism under its conventions.

    Raises:
        ArgumentError: When it is neither, or there is no programme.
    """
    if isinstance(scenario, Mechanism):
        scenario = assumed_scenario(scenario, population=population)
    if not isinstance(scenario, Scenario) or isinstance(scenario.mechanism, NoProgramme):
        raise ArgumentError(f"scenario must be a Scenario or a mechanism with a programme; got {scenario!r}")
    return scenario


def _worth(scenario: Scenario, population: PopulationTruth) -> float:
    """Return what comes back to members per unit of spending here, before any fee."""
    rules = scenario.mechanism
    year = _year(scenario, population, customers=REFERENCE_CUSTOMERS, seed=0)
    orders = year.member_orders
    if not len(orders):
        return 0.0
    worth = rules.earn(orders, redeemed=scenario.redeemed)["value"]
    fees = rules.fees(orders) if isinstance(rules, PaidMembership) else 0.0
    here = (orders["partner_id"] == _home(rules)).to_numpy() if isinstance(rules, Coalition) else slice(None)
    spend = float(orders["amount"].to_numpy()[here].sum())
    return (float(worth.to_numpy()[here].sum()) + fees) / spend if spend > 0 else 0.0


@lru_cache(maxsize=1024)
def _gainers(
    rules: PaidMembership, population: PopulationTruth, customers: int, seed: int
) -> tuple[int, ...]:
    """Return the customers who save more than the fee on the orders they place anyway."""
    orders = programme_year(population, customers=customers, seed=seed, join_share=1.0).member_orders
    if not len(orders):
        return ()
    gain = rules.earn(orders)["value"].groupby(orders["customer_id"]).sum()
    return tuple(int(customer) for customer in gain.index[gain > 0])


def typical_member(scenario: Scenario, population: PopulationTruth) -> tuple[float, float]:
    """Return orders a year and mean order value here of a member who does not respond.

    Both are 0 where members place no order.

    Args:
        scenario: Mechanism and who joins.
        population: Parameters of the customers.
    """
    silent = replace(scenario, rate_effect=0.0, spend_effect=0.0, hazard_ratio=1.0)
    year = _year(silent, population, customers=REFERENCE_CUSTOMERS, seed=0)
    orders = year.member_orders
    if isinstance(scenario.mechanism, Coalition):
        orders = orders[orders["partner_id"] == _home(scenario.mechanism)]
    if not len(orders):
        return 0.0, 0.0
    return len(orders) / year.members, float(orders["amount"].mean())


def _home(rules: Coalition) -> str:
    return next(iter(rules.partners))


def _year(scenario: Scenario, population: PopulationTruth, *, customers: int, seed: int) -> ProgrammeYear:
    rules, given = scenario.mechanism, scenario
    pool: dict[str, Any] = {}
    if isinstance(rules, Coalition):
        others = dict.fromkeys(list(rules.partners)[1:], 1.0)
        pool = {"home": _home(rules), "partners": others if given.partners is None else dict(given.partners)}
    return programme_year(
        population,
        customers=customers,
        seed=seed,
        join_share=given.join_share,
        selection=given.selection,
        rate_effect=given.rate_effect,
        spend_effect=given.spend_effect,
        hazard_ratio=given.hazard_ratio,
        response_cv=given.response_cv,
        among=_gainers(rules, population, customers, seed)
        if given.gainers_only and isinstance(rules, PaidMembership)
        else None,
        **pool,
    )


@dataclass(frozen=True)
class Account:
    """What a simulated year brought, sums over the customers of one shop.

    Attributes:
        customers: Customers who were active at the launch.
        members: How many joined.
        active: How many were still active after the year.
        spend: Spending in the shop.
        rewards: Cost of rewards taken and benefits given.
        fees: Membership fees received.
        running: Other costs of the programme.
        owed: Worth to members of what is still open.
    """

    customers: int
    members: int
    active: int
    spend: float
    rewards: float = 0.0
    fees: float = 0.0
    running: float = 0.0
    owed: float = 0.0

    def outcomes(self, margin: float) -> dict[str, float]:
        """Return profit, retention, reach and liability, and the parts of profit, per customer."""
        n = self.customers
        profit = margin * self.spend - self.rewards + self.fees - self.running
        return {
            "profit": profit / n,
            "retention": self.active / n,
            "reach": self.members / n,
            "liability": self.owed / n,
            "spend": self.spend / n,
            "rewards": self.rewards / n,
            "fees": self.fees / n,
            "running": self.running / n,
        }


def play_year(scenario: Scenario, population: PopulationTruth, *, customers: int, seed: int) -> Account:
    """Play a year out and settle its account.

    Args:
        scenario: Mechanism and assumptions.
        population: Parameters of the customers.
        customers: Customers there ever were, some gone at the launch.
        seed: Seed of the random numbers.

    Raises:
        ArgumentError: When nobody is active at the launch, or the rules lack a figure.
    """
    if isinstance(scenario.mechanism, NoProgramme) and not scenario.join_share:
        return _bare_year(population, customers, seed)
    year = _year(scenario, population, customers=customers, seed=seed)
    return _settled(scenario, year, customers)


@lru_cache(maxsize=8192)
def _bare_year(population: PopulationTruth, customers: int, seed: int) -> Account:
    """Return the account of a year that nobody joins anything in: asked for once per comparison."""
    bare = Scenario(mechanism=NoProgramme())
    return _settled(bare, _year(bare, population, customers=customers, seed=seed), customers)


def _settled(scenario: Scenario, year: ProgrammeYear, customers: int) -> Account:
    if not year.customers:
        raise ArgumentError(
            f"none of {customers:,} simulated customers is active at the launch; simulate more, or let them live longer"
        )
    base = Account(year.customers, year.members, year.active, year.spend)
    rules, orders = scenario.mechanism, year.member_orders
    if not year.members or isinstance(rules, NoProgramme):
        return base
    running = scenario.running_cost * year.members
    owed = _unspent_welcome(rules, year)
    if not len(orders):
        return replace(base, running=running, owed=owed)
    fees = rules.fees(orders) if isinstance(rules, PaidMembership) else 0.0
    found = rules.settle(orders, as_of=year.last_day, redeemed=scenario.redeemed)
    cost = _pool_cost(scenario, rules, orders) if isinstance(rules, Coalition) else found.cost
    return replace(base, rewards=cost + fees, fees=fees, running=running, owed=owed + found.owed)


def _pool_cost(scenario: Scenario, rules: Coalition, orders: pd.DataFrame) -> float:
    """Return what a coalition costs this shop: points it issues, and points used for less than they are worth."""
    earned = rules.earn(orders)
    here = (orders["partner_id"] == _home(rules)).to_numpy()
    issued, spend = float(earned["cost"].to_numpy()[here].sum()), orders["amount"].to_numpy()
    # points are used where members spend; the shop gives goods for them and is paid by the pool
    used = scenario.redeemed * float(earned["earned"].sum()) * float(spend[here].sum() / spend.sum())
    return issued + used * (rules.point_value - rules.paid_per_point)


def _unspent_welcome(rules: Mechanism, year: ProgrammeYear) -> float:
    """Return the worth of welcome points of members who never ordered."""
    if not isinstance(rules, Points) or not rules.welcome_points:
        return 0.0
    silent = year.members - year.member_orders["customer_id"].nunique()
    return silent * rules.welcome_points * rules.point_worth()

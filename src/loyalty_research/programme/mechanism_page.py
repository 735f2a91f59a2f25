"""From mechanisms written as lines to a page: which would pay, how sure, and what it hangs on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.errors import ArgumentError, LoyaltyError
from loyalty_research.estimates import Finding
from loyalty_research.i18n import message, percent
from loyalty_research.mechanisms import (
    Coalition,
    NonMonetary,
    NoProgramme,
    PaidMembership,
    Points,
    Tiers,
)
from loyalty_research.programme.assumption_odds import assumption_odds
from loyalty_research.programme.mechanism_text import read_scenario
from loyalty_research.programme.response_needed import extra_orders_to_break_even
from loyalty_research.programme.scenarios import assumption_name, typical_member
from loyalty_research.programme.tornado import assumption_tornado, written
from loyalty_research.programme.what_if import MARGIN, compare_mechanisms
from loyalty_research.simulate import read_population

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Check, Estimate
    from loyalty_research.programme.assumption_odds import AssumptionOdds
    from loyalty_research.programme.scenarios import Scenario
    from loyalty_research.programme.tornado import AssumptionTornado
    from loyalty_research.programme.what_if import MechanismComparison
    from loyalty_research.simulate import PopulationTruth

__all__ = ["MechanismStudy", "mechanism_study"]


@dataclass(frozen=True)
class MechanismStudy:
    """Mechanisms played out on made-up customers.

    Attributes:
        comparison: Profit, retention, reach and liability of each.
        tornado: What the gain of the best one hangs on.
        odds: By label, how often each pays over the ranges of its assumptions.
        needed: By label, extra orders of members at which it breaks even; None where nobody joins.
        by_rules: By label, the rise of members' orders to break even that follows from the rules
            alone; None where members place no order.
        customers: Customers per simulated shop.
    """

    comparison: MechanismComparison
    tornado: AssumptionTornado
    odds: Mapping[str, AssumptionOdds]
    needed: Mapping[str, Estimate | None]
    by_rules: Mapping[str, float | None]
    customers: int

    @property
    def programmes(self) -> tuple[Scenario, ...]:
        """What was compared with no programme, the highest profit first."""
        made = {s.label: s for s in self.comparison.scenarios if s.label != self.comparison.reference}
        return tuple(made[label] for label in self.comparison.ranking if label in made)

    @property
    def best(self) -> str:
        """Label of the mechanism with the highest profit."""
        return self.programmes[0].label

    @property
    def n(self) -> int:
        """Customers simulated over all shops."""
        return self.customers * int(self.comparison.runs["seed"].nunique())

    def findings(self) -> tuple[Finding, ...]:
        """Return the answer: which pays, how sure that is, what it hangs on, and what it would take."""
        section = message("The answer")
        found = self.comparison
        return (
            Finding("which-pays", found.verdict(), found.difference(self.best), "caution", section),
            Finding("how-sure", self._sure(), self.odds[self.best].pays, "caution", section),
            Finding("hangs-on", self.tornado.verdict(), self.tornado.centre, "caution", section),
            Finding("what-it-takes", self._takes(), self._shown_needed(), "caution", section),
        )

    def _sure(self) -> str:
        ahead = self.comparison.ahead(self.best)
        text = message(
            "{said} Were the assumptions exactly right, a shop of this size would see it ahead in {share} of years.",
            said=self.odds[self.best].verdict(),
            share=percent(ahead.value, digits=0),
        )
        surest = max(self.programmes, key=lambda s: self.odds[s.label].pays.value).label
        if self.odds[surest].pays.value <= self.odds[self.best].pays.value:
            return text
        return message(
            "{text} Surest to pay is {name}, in {share} of draws.",
            text=text,
            name=surest,
            share=percent(self.odds[surest].pays.value, digits=0),
        )

    def _shown_needed(self) -> Estimate | None:
        needed = self.needed[self.best]
        return None if needed is None or math.isinf(needed.value) else needed

    def _takes(self) -> str:
        needed, assumed = self.needed[self.best], self.programmes[0].rate_effect
        if needed is None:
            return message("Nobody is assumed to join {name}, so nothing can make it pay.", name=self.best)
        if needed.value == 0:
            return message("{name} pays even if its members order no more than before.", name=self.best)
        if math.isinf(needed.value):
            return message(
                "Not even four times as many orders of its members would make {name} pay.", name=self.best
            )
        return message(
            "To pay for itself, {name} must bring {needed} more orders from its members; {assumed} is assumed.",
            name=self.best,
            needed=needed.format(),
            assumed=percent(assumed),
        )

    # --- evidence ----------------------------------------------------------------------------------

    def promises(self) -> pd.DataFrame:
        """Return what each mechanism promises, and whose figures these are."""
        own = message("figures of this page")
        rows = [(s.label, s.mechanism.sentence(), s.mechanism.source or own) for s in self.programmes]
        return pd.DataFrame(rows, columns=[message("Mechanism"), message("Promise"), message("Source")])

    def applied(self, source: Dataset) -> tuple[pd.DataFrame | None, str]:
        """Apply each mechanism's rules to the sales of a dataset as they are, and let it audit itself.

        Args:
            source: A dataset.

        Returns:
            Effective rebate, customers rewarded and what the audit found, by mechanism, and a
            sentence; None and the reason where the dataset has no sales of known customers.
        """
        if not source.has("transactions", "customer_id", "transacted_at", "amount"):
            return None, message("Not measurable because the data have no transactions of known customers.")
        sales = source.frame("transactions")
        rows = [(s.label, *_on_sales(s, sales)) for s in self.programmes]
        names = [
            message("Mechanism"),
            message("Effective rebate"),
            message("Customers who get something"),
            message("What its audit says"),
        ]
        said = message(
            "Sales as they were, without anybody buying more or less, and everybody a member: what was given back is "
            "what the rules would have cost at most, had they changed nothing. A heap of totals past a line that "
            "nobody was promised anything for is a habit of prices, and no pull."
        )
        return pd.DataFrame(rows, columns=names), said

    def outcomes(self) -> pd.DataFrame:
        """Return what each mechanism brings: differences from no programme, reach and what is owed."""
        found = self.comparison
        frame = {(row.metric, row.group): row.estimate for row in found.rows if row.estimand is None}

        def between(estimate: Estimate, *, signed: bool) -> str:
            low, high = (estimate.format(v, signed=signed) for v in (estimate.low, estimate.high))
            return f"{estimate.format(signed=signed)} ({low} to {high})"

        rows = [
            (
                s.label,
                between(found.difference(s.label), signed=True),
                between(found.difference(s.label, outcome="retention"), signed=True),
                frame["reach", s.label].format(),
                between(frame["liability", s.label], signed=False),
            )
            for s in self.programmes
        ]
        names = [
            message("Mechanism"),
            message("Profit per customer"),
            message("Still active after the year"),
            message("Joined"),
            message("Owed per customer"),
        ]
        return pd.DataFrame(rows, columns=names)

    def sure(self) -> pd.DataFrame:
        """Return how often each mechanism pays, over assumptions and over shops."""
        rows = []
        for s in self.programmes:
            odds, ahead = self.odds[s.label], self.comparison.ahead(s.label)
            low, high = (odds.gain.format(v, signed=True) for v in (odds.gain.low, odds.gain.high))
            rows.append(
                (
                    s.label,
                    percent(ahead.value, digits=0),
                    percent(odds.pays.value, digits=0),
                    f"{low} to {high}",
                )
            )
        names = [
            message("Mechanism"),
            message("Shops in which it pays, as assumed"),
            message("Draws of assumptions in which it pays"),
            message("Profit per customer in the middle 80% of draws"),
        ]
        return pd.DataFrame(rows, columns=names)

    def takes(self) -> pd.DataFrame:
        """Return the extra orders of members that each mechanism needs, beside those assumed."""
        rows = []
        for s in self.programmes:
            needed, rules = self.needed[s.label], self.by_rules[s.label]
            rows.append((s.label, percent(s.rate_effect), _needed(needed), _rise(rules)))
        names = [
            message("Mechanism"),
            message("Extra orders assumed"),
            message("Extra orders to break even"),
            message("The same by the rules alone"),
        ]
        return pd.DataFrame(rows, columns=names)

    def assumed(self) -> pd.DataFrame:
        """Return every assumption: one row each, one column per mechanism."""
        table = self.comparison.assumptions.set_index("scenario")
        order = [s.label for s in self.programmes]
        names = [c for c in table.columns if c != "responses"]
        cells = {
            label: [
                *(written(n, float(table[n].to_dict()[label])) for n in names),
                str(table.loc[label, "responses"]),
            ]
            for label in order
        }
        lead = [*(_capital(assumption_name(n)) for n in names), message("Responses are")]
        return pd.DataFrame({message("Assumption"): lead, **cells})

    def gains(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of the gains, with alternative text and caption."""
        yield (
            self.comparison.plot(),
            message(
                "Gain in profit of each mechanism with its interval. {said}", said=self.comparison.verdict()
            ),
            message(
                "Mean over simulated shops with the interval of the simulation; it holds under the assumptions below."
            ),
        )

    def hangs_on(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of what the best gain hangs on, with alternative text and caption."""
        yield (
            self.tornado.plot(),
            message("Gain at the low and high end of each assumption. {said}", said=self.tornado.verdict()),
            message(
                "Each assumption moved alone, on the same customers: hatched to its low value, solid to its high one. "
                "The dashed line is no gain, the grey one the gain as assumed."
            ),
        )

    def checks(self) -> tuple[Check, ...]:
        """Return every check."""
        return (*self.comparison.checks, *self.tornado.checks)

    def limits(self) -> tuple[str, ...]:
        """Return what the figures cannot say, one sentence each."""
        return (
            message(
                "Nothing here was observed to happen. What each mechanism costs follows from its rules and from made-up "
                "customers; how customers respond is assumed. Only a trial shows that."
            ),
            message(
                "Customers who join are not like others: frequent buyers join first, and are rewarded for what they "
                "would have bought anyway. Their spending beside that of others says nothing of what a programme does."
            ),
            message(
                "A year is played from the launch, with customers won in the nine months before it. New customers, habits that form later, "
                "what rivals do, and the cost of setting a programme up or ending it are not in it."
            ),
            message(
                "A head start, a game or a status may move customers more, or less, than their worth in money. By "
                "convention they do neither here; name a response of your own where a trial has shown one."
            ),
        )


def _on_sales(scenario: Scenario, sales: pd.DataFrame) -> tuple[str, str, str]:
    """Return rebate, reach and audit on observed sales; where there is none, the reason."""
    try:
        cost = scenario.mechanism.cost(sales, redeemed=scenario.redeemed)
        audit = scenario.mechanism.audit(sales)
    except LoyaltyError as error:
        return "–", "–", message("not measurable because {reason}", reason=str(error))
    rebate = cost["effective rebate"]
    return (
        f"{rebate.format()} ({rebate.format(rebate.low)} to {rebate.format(rebate.high)})",
        cost["customers rewarded"].format(),
        audit.verdict(),
    )


def _needed(needed: Estimate | None) -> str:
    if needed is None:
        return message("nobody joins")
    if math.isinf(needed.value):
        return message("over 300%")
    if needed.value == 0:
        return message("none")
    return f"{needed.format()} ({needed.format(needed.low)} to {needed.format(needed.high)})"


def _rise(rise: float | None) -> str:
    if rise is None:
        return "–"
    return message("no rise would do") if math.isinf(rise) else percent(rise)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def mechanism_study(
    mechanisms: Sequence[str],
    *,
    population: PopulationTruth | Mapping[str, Any] | None = None,
    seeds: Sequence[int] | int = 20,
    margin: float = MARGIN,
    customers: int = 1000,
    draws: int = 60,
    currency: str | None = None,
    level: float = 0.95,
) -> MechanismStudy:
    """Compare mechanisms with no programme, and ask what each answer hangs on.

    Args:
        mechanisms: Lines such as ``"boloco-card reward_value=7"``; see :func:`read_scenario`.
        population: Parameters of the customers, such as those that ``clv.customer_traits`` fits to
            your own data.
        seeds: Simulated shops: different whole numbers, or how many.
        margin: Margin before rewards, a fraction of spend.
        customers: Customers per shop.
        draws: Draws of the assumptions per mechanism.
        currency: ISO 4217 code of the money, for display.
        level: Coverage of the intervals.

    Raises:
        ArgumentError: When a line, or an option, cannot be used.

    Examples:
        >>> study = mechanism_study(
        ...     ["boloco-card reward_value=7 reward_cost=2.5"], seeds=3, customers=100, draws=20)
        >>> study.best, [finding.id for finding in study.findings()]
        ('boloco-card', ['which-pays', 'how-sure', 'hangs-on', 'what-it-takes'])
    """
    if isinstance(mechanisms, str) or not len(mechanisms):
        raise ArgumentError(f"mechanisms must be one line or more, in a list; got {mechanisms!r}")
    shops = read_population(population)
    scenarios = [read_scenario(line, population=shops) for line in mechanisms]
    none = [s.label for s in scenarios if isinstance(s.mechanism, NoProgramme)]
    if none:
        raise ArgumentError("no programme is compared with anyway; leave the line 'none' out")
    shop: dict[str, Any] = {"population": shops, "margin": margin, "customers": customers}
    found = compare_mechanisms(scenarios, seeds=seeds, currency=currency, level=level, **shop)
    best = next(label for label in found.ranking if label != found.reference)
    chosen = next(s for s in scenarios if s.label == best)
    return MechanismStudy(
        comparison=found,
        tornado=assumption_tornado(chosen, seeds=seeds, currency=currency, level=level, **shop),
        odds={
            s.label: assumption_odds(s, draws=draws, currency=currency, level=level, **shop)
            for s in scenarios
        },
        needed={s.label: _break_even(s, found, shop) for s in scenarios},
        by_rules={s.label: _by_rules(s, shops, margin) for s in scenarios},
        customers=customers,
    )


def _break_even(scenario: Scenario, found: MechanismComparison, shop: Mapping[str, Any]) -> Estimate | None:
    """Return the extra orders needed, on the first few shops of the comparison; None where nobody joins."""
    seeds = found.profits.index.tolist()[:10]
    joined = found.runs[(found.runs["scenario"] == scenario.label) & found.runs["seed"].isin(seeds)]
    if not joined["reach"].any():
        return None
    return extra_orders_to_break_even(scenario, seeds=seeds, level=found.level, **shop)


def _by_rules(scenario: Scenario, population: PopulationTruth, margin: float) -> float | None:
    """Return the rise of a typical member's orders that the mechanism's own break-even asks for."""
    rules = scenario.mechanism
    orders, value = typical_member(scenario, population)
    if not orders:
        return None
    if isinstance(rules, Points):
        return rules.break_even(margin=margin, redeemed=scenario.redeemed).value
    if isinstance(rules, Tiers):
        return rules.break_even(margin=margin, mean_spend=orders * value).value
    if isinstance(rules, Coalition):
        return rules.break_even(margin=margin, partner=next(iter(rules.partners))).value
    if margin == 0:
        return math.inf
    if isinstance(rules, PaidMembership):
        extra = rules.break_even(margin=margin * value, orders=orders, mean_order=value).value
        return extra / orders
    if isinstance(rules, NonMonetary):
        return rules.break_even(margin=margin * value, orders=orders).value / orders
    return float(rules.break_even(margin=margin * value).value)

"""Kinds of programme by name: their parameters, their rules, and who makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import (
    Coalition,
    NonMonetary,
    NoProgramme,
    PaidMembership,
    Points,
    StampCard,
    Sweepstakes,
    Tiers,
)
from loyalty_research.simulate._benefit import BenefitScheme, BenefitTruth
from loyalty_research.simulate._card_truth import CardTruth, preset
from loyalty_research.simulate._cards import stamp_cards
from loyalty_research.simulate._coalition import CoalitionScheme, CoalitionTruth
from loyalty_research.simulate._none import no_programme
from loyalty_research.simulate._paid import PaidScheme, PaidTruth
from loyalty_research.simulate._points import PointsScheme, PointsTruth
from loyalty_research.simulate._population import PopulationTruth
from loyalty_research.simulate._scheme import make_dataset
from loyalty_research.simulate._sweepstakes import SweepstakesScheme, SweepstakesTruth
from loyalty_research.simulate._tiers import TiersScheme, TiersTruth
from loyalty_research.simulate._truth import read_truth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.data import Dataset
    from loyalty_research.mechanisms import Mechanism
    from loyalty_research.simulate._scheme import Scheme

__all__ = ["KINDS", "make"]


@dataclass(frozen=True)
class _Kind:
    """A kind of programme.

    Attributes:
        parameters: Class of its parameters.
        rules: Class of its mechanism.
        scheme: Who plays it out; None where that is not a programme with members.
    """

    parameters: type[Any]
    rules: type[Mechanism]
    scheme: type[Scheme[Any, Any]] | None = None


_KINDS = {
    "points": _Kind(PointsTruth, Points, PointsScheme),
    "tiers": _Kind(TiersTruth, Tiers, TiersScheme),
    "paid": _Kind(PaidTruth, PaidMembership, PaidScheme),
    "coalition": _Kind(CoalitionTruth, Coalition, CoalitionScheme),
    "sweepstakes": _Kind(SweepstakesTruth, Sweepstakes, SweepstakesScheme),
    "non-monetary": _Kind(BenefitTruth, NonMonetary, BenefitScheme),
    "stamp-card": _Kind(CardTruth, StampCard),
    "none": _Kind(PopulationTruth, NoProgramme),
}

KINDS = tuple(_KINDS)
"""Kinds of programme that :func:`simulate` can make."""


def make(
    kind: str, *, customers: int, seed: int, rules: Mechanism | None, given: Mapping[str, Any]
) -> Dataset:
    """Simulate a kind of programme.

    Raises:
        ArgumentError: When the kind, the mechanism or a parameter is not one of its own.
    """
    if kind not in _KINDS:
        raise ArgumentError(f"there is no programme {kind!r} to simulate; there is {', '.join(KINDS)}")
    found = _KINDS[kind]
    if rules is not None and not isinstance(rules, found.rules):
        raise ArgumentError(f"{kind!r} is simulated with mechanism({kind!r}, ...); got {rules!r}")
    if found.scheme is not None:
        return _programme(found.scheme, found.parameters, customers, seed, rules, given)
    if isinstance(rules, StampCard):
        given = _card(rules, given)
    if found.parameters is CardTruth:
        truth = read_truth(CardTruth, kind, preset(given))
        return stamp_cards(truth, customers=customers, seed=seed)
    return no_programme(read_truth(PopulationTruth, kind, dict(given)), customers=customers, seed=seed)


def _programme(
    scheme: type[Scheme[Any, Any]],
    parameters: type[Any],
    customers: int,
    seed: int,
    rules: Mechanism | None,
    given: Mapping[str, Any],
) -> Dataset:
    truth = read_truth(parameters, scheme.kind, dict(given))
    if rules is not None:
        _not_twice(scheme.figures, given)
        truth = replace(truth, **{name: getattr(rules, name) for name in scheme.figures})
    programme = scheme(truth, scheme.default_rules(truth) if rules is None else rules, customers, seed)
    tables, facts = programme.build()
    return make_dataset(scheme.kind, tables, facts, programme.description(), last=programme.world.horizon)


def _not_twice(names: tuple[str, ...], given: Mapping[str, Any]) -> None:
    double = [name for name in names if name in given]
    if double:
        raise ArgumentError(f"{', '.join(double)} is stated by the mechanism; give it there alone")


def _card(rules: StampCard, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the experiment with a card: its stamps, those given, its expiry."""
    if not rules.given:
        raise ArgumentError(
            "the experiment compares cards with given stamps with cards without: state how many are given"
        )
    if rules.expiry_days is None or rules.expiry_days % 7:
        raise ArgumentError(
            f"cards are simulated week by week up to their expiry: expiry_days must be whole weeks; got "
            f"{rules.expiry_days}"
        )
    figures = {
        "required_visits": rules.paid_visits,
        "endowed_stamps": rules.given,
        "expiry_weeks": rules.expiry_days // 7,
    }
    _not_twice(tuple(figures), given)
    return {**given, **figures}

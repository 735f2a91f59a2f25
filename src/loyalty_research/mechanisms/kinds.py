"""The kinds of mechanism, and how one is made by name."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms.coalition import Coalition
from loyalty_research.mechanisms.membership import NonMonetary, NoProgramme, PaidMembership
from loyalty_research.mechanisms.points import Points
from loyalty_research.mechanisms.stamps import StampCard
from loyalty_research.mechanisms.sweepstakes import Sweepstakes
from loyalty_research.mechanisms.tiers import Tiers

if TYPE_CHECKING:
    from loyalty_research.mechanisms._base import Mechanism

__all__ = ["KINDS", "mechanism"]

_CLASSES: dict[str, type[Mechanism]] = {
    cls.kind: cls
    for cls in (
        Points,
        Tiers,
        PaidMembership,
        Coalition,
        Sweepstakes,
        NonMonetary,
        StampCard,
        NoProgramme,
    )
}

KINDS = tuple(_CLASSES)
"""Kinds of mechanism that :func:`mechanism` can make."""


def mechanism(kind: str, **rules: Any) -> Mechanism:
    """Return a programme mechanism that explains, prices and audits itself.

    Args:
        kind: ``"points"``, ``"tiers"``, ``"paid"``, ``"coalition"``, ``"sweepstakes"``,
            ``"non-monetary"``, ``"stamp-card"`` or ``"none"``.
        **rules: Rules of the kind; the classes ``Points``, ``Tiers``, ``PaidMembership``,
            ``Coalition``, ``Sweepstakes``, ``NonMonetary``, ``StampCard`` and ``NoProgramme`` list
            them with their meaning.

    Returns:
        A frozen dataclass with ``sentence()``, ``earn(transactions)``, ``cost(transactions)``,
        ``audit(...)``, ``break_even(...)`` and the closed forms of its kind.

    Raises:
        ArgumentError: When the kind or a rule is unknown, a rule is missing, or a figure is out of
            its range.

    Examples:
        >>> card = mechanism("stamp-card", stamps=10, given=2, reward_value=8)
        >>> card.sentence()
        'A card of 10 stamps starts with 2 on it: 8 visits make a reward worth 8.00.'
        >>> round(mechanism("sweepstakes", win_probability=0.25).any_win(plays=4), 4)
        0.6836
    """
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise ArgumentError(f"there is no mechanism {kind!r}; there is {', '.join(KINDS)}")
    known = {f.name: f for f in fields(_CLASSES[kind])}
    strange = [name for name in rules if name not in known]
    if strange:
        raise ArgumentError(f"{kind!r} has no rule {', '.join(strange)}; its rules are {', '.join(known)}")
    missing = [name for name, f in known.items() if f.default is MISSING and name not in rules]
    if missing:
        raise ArgumentError(f"{kind!r} needs {', '.join(missing)}; its rules are {', '.join(known)}")
    return _CLASSES[kind](**rules)

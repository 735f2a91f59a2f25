"""Rules of contact that circulate, with their source, and how a sender stands to each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._contact_rows import (
    check_consent,
    clustered_proportion,
    gate_consent,
    local_moments,
    not_measurable,
    of_customers,
    read_contacts,
    shielded,
)
from loyalty_research.programme.contact_rules import (
    HOUR,
    beyond_cap,
    messages_per_month,
    minutes_of,
    sent_messages,
    within_hours,
)
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._contact_rows import Consent

__all__ = ["CONTACT_RULES", "ContactRule", "ContactRules", "audit_contact_rules", "contact_rule"]


@dataclass(frozen=True, slots=True)
class ContactRule:
    """A rule of contact as figures.

    Attributes:
        name: Name of the preset.
        source: Where the figures come from.
        quiet_hours: ``(from, until)`` of local time, half-open.
        caps: Days of a window to the most messages a customer may get in it.
        hour_caps: Hours of a window to the most messages.
    """

    name: str
    source: str
    quiet_hours: tuple[tuple[str, str], ...] = ()
    caps: Mapping[int, int] = field(default_factory=dict)
    hour_caps: Mapping[int, int] = field(default_factory=dict)


_ALL: Final = (
    ContactRule(
        "two-a-week",
        "Advice for text messages that circulates: 1 to 2 a week; read as at most 2 in any 7 days.",
        caps={7: 2},
    ),
    ContactRule(
        "six-a-month",
        "Advice for text messages that circulates: 4 to 6 a month; read as at most 6 in any 30 days.",
        caps={30: 6},
    ),
    ContactRule(
        "not-at-noon-nor-at-night",
        "Advice for text messages that circulates: not at noon, not after 21:00; read as quiet from 12:00 to 13:00 and "
        "from 21:00 to 07:00.",
        quiet_hours=(("12:00", "13:00"), ("21:00", "07:00")),
    ),
    ContactRule(
        "viet-nam-decree-91",
        "Viet Nam, Decree 91/2020/ND-CP on spam: advertising texts from 07:00 to 22:00 only, at most 3 in 24 hours.",
        quiet_hours=(("22:00", "07:00"),),
        hour_caps={24: 3},
    ),
)

CONTACT_RULES: Final[dict[str, ContactRule]] = {rule.name: rule for rule in _ALL}
"""Rules of contact by name; none but the law rests on a study."""


def contact_rule(name: str) -> ContactRule:
    """Return a preset rule of contact.

    Raises:
        ArgumentError: When there is no such rule.

    Examples:
        >>> contact_rule("viet-nam-decree-91").hour_caps
        {24: 3}
    """
    if name not in CONTACT_RULES:
        raise ArgumentError(f"there is no rule {name!r}; the rules are {', '.join(CONTACT_RULES)}")
    return CONTACT_RULES[name]


@dataclass(frozen=True, repr=False)
class ContactRules(Result):
    """How often messages broke each of several rules.

    Attributes:
        rules: The rules, in the order of the rows.
        messages: Rule to share of messages that broke it, or None where the hour is not recorded.
        customers: Rule to share of customers who got one that broke it, likewise.
        clash: Of customers within two messages a week, the share beyond six a month; None without both rules.
    """

    title: ClassVar[str] = "Rules of contact that circulate"

    rules: tuple[ContactRule, ...]
    messages: dict[str, Estimate | None]
    customers: dict[str, Estimate | None]
    clash: Estimate | None
    level: float

    def _rows(self) -> Iterable[Row]:
        unknown = message("The hour of sending is not recorded.")
        for rule in self.rules:
            for name, found, of in (
                (
                    message("messages that broke the rule"),
                    self.messages[rule.name],
                    message("of messages sent"),
                ),
                (
                    message("customers sent one that broke it"),
                    self.customers[rule.name],
                    message("of customers sent a message"),
                ),
            ):
                shown, reason = (
                    (not_measurable(level=self.level), unknown) if found is None else shielded(found)
                )
                extra = {"reason": reason, "source": rule.source}
                yield Row(name, shown, group=rule.name, estimand=of, extra=extra)
        if self.clash is not None:
            shown, reason = shielded(self.clash)
            yield Row(
                message("customers beyond six a month"),
                shown,
                group="two-a-week",
                estimand=message("of customers never sent more than two a week"),
                extra={"reason": reason, "source": ""},
            )

    def _verdict(self) -> str:
        parts = [
            message(
                "The rule {rule} was broken for {share}.",
                share=of_customers(found),
                rule=name,
            )
            for name, found in self.customers.items()
            if found is not None
        ]
        if self.clash is not None:
            parts.append(
                message(
                    "Two a week come to {month} a month, so the rules clash: of those never sent more than two a week, "
                    "{share} were sent more than six in 30 days.",
                    month=number(messages_per_month(2), digits=1),
                    share=of_customers(self.clash),
                )
            )
        return " ".join(parts) or message("No rule could be audited.")


def audit_contact_rules(
    contacts: Any,
    *,
    timezone: str,
    rules: Sequence[str | ContactRule] = tuple(CONTACT_RULES),
    channel: str | None = None,
    without_consent: Consent = "count",
    level: float = 0.95,
) -> ContactRules:
    """Return how often messages broke rules of contact, each taken as it is written.

    The rules contradict one another: who keeps to two messages a week sends up to 8.7 a month. So
    each is judged apart, and the share of customers is shown for whom keeping one breaks another.

    Args:
        contacts: Contact events with ``sent_at`` in naive UTC; anything narwhals reads.
        timezone: IANA zone of the place where messages are read, in which every rule's hours count; a law
            binds only where it is the law.
        rules: Names of presets, or rules of your own.
        channel: Only messages of this channel, such as ``"sms"``.
        without_consent: See :func:`audit_contacts`.
        level: Confidence level.

    Raises:
        ArgumentError: When a rule or the zone is not known.
        ContractError: When a column is missing or no message was sent.

    Examples:
        >>> contacts = pd.DataFrame({"customer_id": "a", "event": "sent",
        ...     "sent_at": pd.to_datetime(["2024-05-01 10:00", "2024-05-02 10:00", "2024-05-03 10:00"])})
        >>> found = audit_contact_rules(contacts, timezone="UTC", rules=["two-a-week", "six-a-month"])
        >>> round(found.messages["two-a-week"].value, 3), found.messages["six-a-month"].value
        (0.333, 0.0)
    """
    check_level(level)
    check_consent(without_consent)
    chosen = tuple(rule if isinstance(rule, ContactRule) else contact_rule(rule) for rule in rules)
    if not chosen or len({rule.name for rule in chosen}) < len(chosen):
        raise ArgumentError("rules names no rule, or one of them twice")
    rows, consent = gate_consent(read_contacts(contacts), without_consent)
    sent = sent_messages(rows, channel).sort_values(["customer_id", "sent_at"], kind="stable")
    who = sent["customer_id"].to_numpy()
    flags = {rule.name: _breaches(sent, rule, timezone) for rule in chosen}
    local = local_moments(sent["sent_at"], timezone)
    timed = bool((local.dt.normalize() != local).any())
    known = {
        rule.name: flags[rule.name] for rule in chosen if timed or not (rule.quiet_hours or rule.hour_caps)
    }
    over = {name: pd.Series(hit).groupby(who).any() for name, hit in known.items()}
    clash = None
    if {"two-a-week", "six-a-month"} <= set(over):
        keeps = ~over["two-a-week"]
        if keeps.any():
            clash = proportion(int((keeps & over["six-a-month"]).sum()), int(keeps.sum()), level=level)
    return ContactRules(
        rules=chosen,
        messages={
            rule.name: clustered_proportion(known[rule.name], who, level=level)
            if rule.name in known
            else None
            for rule in chosen
        },
        customers={
            rule.name: proportion(int(over[rule.name].sum()), len(over[rule.name]), level=level)
            if rule.name in known
            else None
            for rule in chosen
        },
        clash=clash,
        level=level,
        checks=(_hours_check(timed=timed), consent),
    )


def _breaches(sent: pd.DataFrame, rule: ContactRule, timezone: str) -> NDArray[np.bool_]:
    """Return which messages, sorted by customer and time, break any part of a rule."""
    spans = [(minutes_of(a), minutes_of(b)) for a, b in rule.quiet_hours]
    if any(most < 1 or window < 1 for caps in (rule.caps, rule.hour_caps) for window, most in caps.items()):
        raise ContractError(f"the rule {rule.name} has a cap or a window below 1: mend it")
    local = local_moments(sent["sent_at"], timezone)
    who = sent["customer_id"].to_numpy()
    broken = within_hours((local.dt.hour * 60 + local.dt.minute).to_numpy(), spans)
    day = local.dt.normalize().to_numpy().astype("datetime64[D]").astype(np.int64)
    for days, most in rule.caps.items():
        broken |= beyond_cap(who, day, days, most)
    moment = sent["sent_at"].to_numpy().astype("datetime64[us]").astype(np.int64)
    for hours, most in rule.hour_caps.items():
        broken |= beyond_cap(who, moment, hours * HOUR, most)
    return broken


def _hours_check(*, timed: bool) -> Check:
    name = message("Hour of sending")
    if timed:
        return Check(name, "passed", message("The hour of sending is recorded."))
    return Check(
        name,
        "not measurable",
        message("Only the day of sending is recorded, so rules on hours are not judged."),
    )

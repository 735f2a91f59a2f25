"""Redemption by channel: how many times as often, and whether a claim of so many times holds here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError, listed
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._contact_rows import (
    check_consent,
    clustered_proportion,
    few,
    gate_consent,
    read_contacts,
    shielded,
)
from loyalty_research.stats.proportions import risk_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.programme._contact_rows import Consent

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["RedemptionRatio", "redemption_by_channel"]


@dataclass(frozen=True, repr=False)
class RedemptionRatio(Result):
    """Redemption in one channel against another.

    Attributes:
        one: Name of the channel the claim speaks for.
        other: Name of the channel it is compared with.
        rate_one: Share of its messages redeemed.
        rate_other: Share of the other's messages redeemed.
        ratio: The first over the second.
        claim: How many times as often the claim says, or None.
        drawn: Whether the channel was drawn by lot.
    """

    title: ClassVar[str] = "Redemption by channel"

    one: str
    other: str
    rate_one: Estimate
    rate_other: Estimate
    ratio: Estimate
    claim: float | None
    drawn: bool

    def _rows(self) -> Iterable[Row]:
        for group, found in ((self.one, self.rate_one), (self.other, self.rate_other)):
            shown, reason = shielded(found)
            yield Row(
                message("redeemed"),
                shown,
                group=group,
                estimand=message("of messages sent"),
                extra={"reason": reason},
            )
        if not few(self.rate_one) and not few(self.rate_other):
            yield Row(
                message("times as often"),
                self.ratio,
                group=message("{one} over {other}", one=self.one, other=self.other),
                estimand=message("effect of assignment")
                if self.drawn
                else message("association, chosen channel"),
                extra={"reason": ""},
            )

    def _verdict(self) -> str:
        if few(self.rate_one) or few(self.rate_other):
            return message("Fewer than five were redeemed in a channel, so no ratio is shown.")
        first = message(
            "Messages by {one} were redeemed {ratio} times as often as by {other}: {first} against {second} ({interval}).",
            one=self.one,
            other=self.other,
            ratio=number(self.ratio.value),
            first=self.rate_one.format(),
            second=self.rate_other.format(),
            interval=self.ratio.interval(),
        )
        parts = [first]
        if self.claim is not None and math.isfinite(self.ratio.low):
            shown = {"claim": f"{self.claim:g}"}
            parts.append(
                message(
                    "The {claim} times that are claimed do not hold here: they are more than these data allow.",
                    **shown,
                )
                if self.claim > self.ratio.high
                else message("The data show more than the {claim} times that are claimed.", **shown)
                if self.claim < self.ratio.low
                else message("The {claim} times that are claimed are within what these data allow.", **shown)
            )
        if not self.drawn:
            parts.append(
                message(
                    "Who got which channel was chosen, so the ratio is also one between different customers."
                )
            )
        return " ".join(parts)


def redemption_by_channel(
    contacts: Any,
    *,
    one: str = "mobile",
    other: str = "paper",
    claim: float | None = 10.0,
    drawn: bool = False,
    without_consent: Consent = "error",
    level: float = 0.95,
) -> RedemptionRatio:
    """Compare how often messages of two channels, such as mobile and paper coupons, are redeemed.

    'Mobile coupons are used ten times as often' circulates without a source; here it is held
    against the reader's own messages. A message is one campaign sent to one customer in one channel.

    Args:
        contacts: Contact events with ``channel`` and events ``sent`` and ``redeem``; anything narwhals
            reads. A redemption belongs to the channel of its message: with its own channel, to that one;
            without, to all channels of the campaign and customer.
        one: Channel the claim speaks for.
        other: Channel it is compared with.
        claim: How many times as often is claimed, or None.
        drawn: Whether customers were drawn by lot into a channel.
        without_consent: See :func:`campaign_funnel`.
        level: Confidence level.

    Returns:
        Rates with Wilson's limits; the ratio with Koopman's, or where customers have several messages by
        the delta method on its logarithm with customers as clusters.

    Raises:
        ArgumentError: When the claim is not positive or both channels are one.
        ContractError: When a column or an event is missing.
        DesignError: When a channel has no message, or neither has a redemption.

    Examples:
        >>> sent = pd.DataFrame({"customer_id": [f"c{i}" for i in range(200)], "event": "sent",
        ...                      "channel": ["mobile"] * 100 + ["paper"] * 100})
        >>> used = sent.iloc[[*range(30), *range(100, 110)]].assign(event="redeem")
        >>> contacts = pd.concat([sent, used]).assign(sent_at=pd.Timestamp("2024-05-01"))
        >>> found = redemption_by_channel(contacts)
        >>> round(found.ratio.value, 6), found.ratio.high < 10
        (3.0, True)

    References:
        Koopman (1984), Biometrics 40, 513-517.
    """
    check_level(level)
    check_consent(without_consent)
    if one == other:
        raise ArgumentError(f"one and other are the same channel, {one!r}")
    if claim is not None and not (math.isfinite(claim) and claim > 0):
        raise ArgumentError(f"claim says how many times as often, above 0; got {claim!r}")
    rows = read_contacts(contacts)
    if "channel" not in rows.columns:
        raise ContractError("contacts lacks the column channel, by which messages are to be compared")
    if not (rows["event"] == "redeem").any():
        raise ContractError("contacts records no event 'redeem', so nothing can be said of redemption")
    rows, consent = gate_consent(rows, without_consent)
    pairs = _messages(rows, one, other)
    hits, first, who = (pairs[c].to_numpy() for c in ("redeemed", "first", "customer_id"))
    rates = [
        clustered_proportion(hits[mask].astype(float), who[mask], level=level) for mask in (first, ~first)
    ]
    return RedemptionRatio(
        one=one,
        other=other,
        rate_one=rates[0],
        rate_other=rates[1],
        ratio=ratio_of_rates(hits, first, who, level=level),
        claim=claim,
        drawn=drawn,
        checks=(_design(drawn=drawn), consent),
    )


def _messages(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Return one row per message of the two channels: customer, whether of the first, whether redeemed."""
    keys = ["customer_id", "campaign_id", "channel"]
    sent = rows[(rows["event"] == "sent") & rows["channel"].isin([one, other])].drop_duplicates(keys)
    for name in (one, other):
        if not (sent["channel"] == name).any():
            known = listed(sorted(rows.loc[rows["event"] == "sent", "channel"].dropna().astype(str).unique()))
            raise DesignError(
                f"no message was sent by the channel {name!r}; the channels are {known or 'not recorded'}"
            )
    used = rows[rows["event"] == "redeem"]
    exact = pd.MultiIndex.from_frame(used.loc[used["channel"].notna(), keys])
    loose = pd.MultiIndex.from_frame(used.loc[used["channel"].isna(), keys[:2]])
    hit = pd.MultiIndex.from_frame(sent[keys]).isin(exact) | pd.MultiIndex.from_frame(sent[keys[:2]]).isin(
        loose
    )
    if not hit.any():
        raise DesignError(f"no message of {one} or {other} was redeemed, so there is no ratio")
    return pd.DataFrame(
        {
            "customer_id": sent["customer_id"].to_numpy(),
            "first": (sent["channel"] == one).to_numpy(dtype=bool),
            "redeemed": hit,
        }
    )


def ratio_of_rates(hits: Flags, first: Flags, who: Any, *, level: float) -> Estimate:
    """Return how many times as often the first group's messages have an event as the others'.

    Args:
        hits: Whether each message has the event, shape ``(n,)``.
        first: Whether it belongs to the first group.
        who: Customer of each message.
        level: Confidence level.

    Examples:
        >>> hits = np.array([True] * 30 + [False] * 70 + [True] * 10 + [False] * 90)
        >>> found = ratio_of_rates(hits, np.arange(200) < 100, np.arange(200), level=0.95)
        >>> round(found.value, 6), found.method
        (3.0, 'koopman')

    References:
        Koopman (1984), Biometrics 40; Woodruff (1971), JASA 66, for the linearised ratio.
    """
    codes = pd.factorize(np.asarray(who, dtype=object))[0]
    groups, n = int(codes.max()) + 1, len(codes)
    x = [int(hits[m].sum()) for m in (first, ~first)]
    sizes = [int(m.sum()) for m in (first, ~first)]
    if groups == n:
        return risk_ratio(x[0], sizes[0], x[1], sizes[1], method="koopman", level=level)
    rates = [a / b for a, b in zip(x, sizes, strict=True)]
    value = rates[0] / rates[1] if rates[1] else math.inf
    method = "delta method on the logarithm, customers as clusters"
    if min(x) == 0:
        return Estimate(value, math.nan, math.nan, level, method, n)
    part = np.where(
        first, (hits - rates[0]) / (sizes[0] * rates[0]), -(hits - rates[1]) / (sizes[1] * rates[1])
    )
    sums = np.bincount(codes, weights=part)
    error = math.sqrt(float(sums @ sums) * groups / (groups - 1))
    half = float(stats.t.isf((1 - level) / 2, groups - 1)) * error
    return Estimate(value, value * math.exp(-half), value * math.exp(half), level, method, n)


def _design(*, drawn: bool) -> Check:
    name = message("How the channel came about")
    if drawn:
        return Check(name, "passed", message("Drawn by lot, as declared."))
    return Check(
        name,
        "warning",
        message("It was chosen, not drawn: customers differ between channels, and so do offers."),
    )

"""Everything a page on campaigns needs in one call, and the reason where something is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, check_level
from loyalty_research.i18n import message, messages
from loyalty_research.programme._campaign_extras import CONTROLS, Asked, Extras, Lots, campaign_extras
from loyalty_research.programme._campaign_view import CampaignStudy
from loyalty_research.programme._campaign_words import caused_name, sunset_name
from loyalty_research.programme._contact_rows import gate_consent
from loyalty_research.programme.campaigns import campaign_funnel, consent_gate
from loyalty_research.programme.contact_dose import contact_dose_response
from loyalty_research.programme.contact_rules import audit_contacts, sunset_policy_test
from loyalty_research.programme.offers import offer_lift
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.data.datasets import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.campaigns import CampaignFunnel
    from loyalty_research.programme.contact_dose import ContactDoseResponse
    from loyalty_research.programme.offers import OfferLift

__all__ = ["CampaignStudy", "campaign_study"]


@dataclass(frozen=True)
class _Asked:
    """Options of a study, checked."""

    within_days: int
    lift_days: int
    margin: float
    unopened: int
    top: int
    level: float
    more: Asked


def campaign_study(
    source: Dataset,
    *,
    experiment: str | None = None,
    within_days: int = 30,
    lift_days: int = 180,
    margin: float = 1.0,
    quiet_hours: Sequence[str] = ("21:00-07:00",),
    cap: int = 2,
    cap_days: int = 7,
    unopened: int = 4,
    top: int = 10,
    offer_dates: Sequence[str] = (),
    thanks_campaigns: Sequence[str] = (),
    own_dates: Literal["birthday", "anniversary"] = "birthday",
    feedback_experiment: str | None = None,
    referral_experiment: str | None = None,
    channels: Sequence[str] = ("mobile", "paper"),
    segment: str | None = None,
    level: float = 0.95,
) -> CampaignStudy:
    """Measure what a dataset's campaigns led to, and say what it cannot tell.

    Campaigns that were not observed from start to end are left out of the rates and counted.
    Where customers were drawn by lot to be written to, the effect is read from the lots; what was
    chosen is shown as an association.

    Args:
        source: Dataset with ``contacts`` and ``transactions``; ``assignments`` where lots were drawn.
        experiment: Which experiment of ``assignments``; by default the only one.
        within_days: Days after sending in which an order counts.
        lift_days: Days after the lots were drawn in which spend counts.
        margin: Share of spend that is kept, a fraction; 1 values spend.
        quiet_hours: Spans ``"HH:MM-HH:MM"`` of local time, half-open; they may run over midnight.
        cap: Most messages a customer may get in ``cap_days``.
        cap_days: Days of the cap's window.
        unopened: Messages after which those who opened none are judged.
        top: Numbers of messages from this on are taken together.
        offer_dates: Days of an offer made to everybody, such as double points.
        thanks_campaigns: Campaigns that thank for an order.
        own_dates: Whether birthdays or the anniversaries of becoming a customer had an offer.
        feedback_experiment: Which experiment drew a reward for answering, or None.
        referral_experiment: Which experiment drew a reward for referring, or None.
        channels: Two channels whose redemption is compared.
        segment: Column of customers, known before the lots, by which writing could be chosen, or None.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When rows break the contract, or ``experiment`` is not there.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.data import Dataset
        >>> sent = pd.DataFrame({"contact_id": list("abcd"), "customer_id": list("abcd"), "event": "sent",
        ...                      "sent_at": pd.Timestamp("2024-05-01 09:00")})
        >>> orders = pd.DataFrame({"transaction_id": ["1", "2"], "customer_id": list("ab"), "currency": "EUR",
        ...                        "transacted_at": pd.to_datetime(["2024-01-02", "2024-05-03"]), "amount": 10.0})
        >>> source = Dataset.from_frames("shop", {"contacts": sent, "transactions": orders},
        ...                              description="Four customers.", kind="user", as_of="2024-12-31")
        >>> study = campaign_study(source)
        >>> study.after.value, study.audit.quiet.value
        (0.25, 0.0)
        >>> study.findings()[0].headline
        'Nobody was drawn by lot to get no message, so what the messages caused is not known.'
    """
    check_level(level)
    for value, name in (
        (within_days, "within_days"),
        (lift_days, "lift_days"),
        (cap, "cap"),
        (cap_days, "cap_days"),
        (unopened, "unopened"),
        (top, "top"),
    ):
        positive_days(value, name)
    if lift_days <= within_days:
        raise ArgumentError(
            f"lift_days must be more than within_days, so that orders pulled forward show; got {lift_days} "
            f"and {within_days}"
        )
    if not 0 < margin <= 1:
        raise ArgumentError(f"margin must be a fraction above 0 and up to 1; got {margin!r}")
    spans = tuple(_span(text) for text in quiet_hours)
    if own_dates not in {"birthday", "anniversary"}:
        raise ArgumentError(f"own_dates must be birthday or anniversary; got {own_dates!r}")
    if isinstance(channels, str) or len(channels) != 2:
        raise ArgumentError(f"channels names two channels, such as ['mobile', 'paper']; got {channels!r}")
    more = Asked(
        offer_dates=tuple(offer_dates),
        thanks=tuple(thanks_campaigns),
        own_dates=own_dates,
        feedback=feedback_experiment,
        referral=referral_experiment,
        channels=(channels[0], channels[1]),
        segment=segment,
        within_days=within_days,
        unopened=unopened,
        margin=margin,
        level=level,
    )
    asked = _Asked(within_days, lift_days, margin, unopened, top, level, more)
    for table in ("contacts", "transactions"):
        if not source.has(table):
            why = message(
                "This dataset has no table {table}, so nothing can be said about campaigns.", table=table
            )
            return _nothing(asked, why)
    contacts, orders = source.frame("contacts"), source.frame("transactions")
    return _gathered(source, contacts, orders, experiment, spans, {cap_days: cap}, asked)


def _gathered(
    source: Dataset,
    contacts: pd.DataFrame,
    orders: pd.DataFrame,
    experiment: str | None,
    spans: Sequence[tuple[str, str]],
    caps: dict[int, int],
    asked: _Asked,
) -> CampaignStudy:
    absent: list[tuple[str, str]] = []
    level = asked.level
    sales = orders[orders["type"] != "refund"] if "type" in orders.columns else orders
    end = _end(source, sales)
    consent = consent_gate(contacts, level=level)
    # a breach of hours or caps is one whether there was consent or not; everything else needs consent
    audit = audit_contacts(contacts, timezone=source.timezone, quiet_hours=spans, caps=caps, level=level)
    every, contacts = contacts, gate_consent(contacts, "leave-out")[0]
    if not (contacts["event"] == "sent").any():
        return _nothing(asked, message("Every message was sent without consent, so there is none to count."))
    whole, dropped = _whole_campaigns(contacts, sales, end)
    lift, offer, before_days, lots = _lift(source, contacts, orders, experiment, end, asked, absent)
    funnel, groups = _funnels(whole, level)
    before, after = _habit(whole, sales, end, asked, absent)
    dose = _chosen(source, contacts, orders, end, asked, absent) if lift is None else None
    study = CampaignStudy(
        funnel=funnel,
        groups=groups,
        channels=_channels(whole) if "channel" in groups else {},
        before=before,
        after=after,
        consent=consent,
        audit=audit,
        sunset=None,
        dose=dose,
        lift=lift,
        offer=offer,
        extras=campaign_extras(source, every, contacts, orders, end, lots, asked.more, absent),
        absent=(),
        within_days=asked.within_days,
        lift_days=asked.lift_days,
        before_days=before_days,
        top=asked.top,
        margin=asked.margin,
        truth=_truth(source, asked) if lift is not None else None,
        n=len(whole.loc[whole["event"] == "sent"].drop_duplicates(_pair(whole))),
        dropped=dropped,
    )
    try:
        study = replace(
            study,
            sunset=sunset_policy_test(
                contacts,
                sales,
                within_days=asked.within_days,
                as_of=end.date() - pd.Timedelta(days=1),
                unopened=asked.unopened,
                level=level,
            ),
        )
    except (ContractError, DesignError) as reason:
        absent.append((sunset_name(), _sentence(reason)))
    absent.extend(_unrecorded(study))
    kept = {check.name: check for part in study.parts() for check in part.checks}
    for check in consent.checks:
        # messages without consent are in no rate, so they are shown and take no verdict away
        kept[check.name] = replace(check, gate=False)
    own = {
        check.name: check
        for check in study.extras.checks()
        if not check.name.endswith(f": {message('Consent')}")
    }
    return replace(study, absent=tuple(absent), checks=(*kept.values(), *own.values()))


def _nothing(asked: _Asked, why: str) -> CampaignStudy:
    return CampaignStudy(
        funnel=None,
        groups={},
        channels={},
        before=None,
        after=None,
        consent=None,
        audit=None,
        sunset=None,
        dose=None,
        lift=None,
        offer=None,
        extras=Extras(),
        absent=((message("Campaigns"), why),),
        within_days=asked.within_days,
        lift_days=asked.lift_days,
        before_days=0,
        top=asked.top,
        margin=asked.margin,
        truth=None,
        n=0,
        checks=(Check(message("Campaigns"), "not measurable", why),),
    )


def _span(text: str) -> tuple[str, str]:
    start, dash, until = text.partition("-")
    if not dash:
        raise ArgumentError(f"quiet_hours are written as '21:00-07:00'; got {text!r}")
    return start.strip(), until.strip()


def _sentence(reason: Exception) -> str:
    said = str(reason)
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def _end(source: Dataset, sales: pd.DataFrame) -> pd.Timestamp:
    """Return the first moment after the observation, naive UTC."""
    last = source.as_of or sales["transacted_date"].max()
    midnight = (pd.Timestamp(last).normalize() + pd.Timedelta(days=1)).tz_localize(source.timezone)
    return midnight.tz_convert("UTC").tz_localize(None)


def _pair(contacts: pd.DataFrame) -> list[str]:
    return [c for c in ("customer_id", "campaign_id") if c in contacts.columns]


def _whole_campaigns(
    contacts: pd.DataFrame, sales: pd.DataFrame, end: pd.Timestamp
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out messages of campaigns that began before the data or ended after them."""
    keep = pd.Series(data=True, index=contacts.index)
    if "campaign_end" in contacts.columns and "campaign_id" in contacts.columns:
        began = contacts["sent_at"].where(contacts["event"] == "sent")
        first = began.groupby(contacts["campaign_id"]).transform("min")
        open_still = pd.to_datetime(contacts["campaign_end"]) >= end.normalize()
        keep = (first >= sales["transacted_at"].min().normalize()) & ~open_still
    if not (keep & (contacts["event"] == "sent")).any():
        return contacts, {}
    lost = int((~keep & (contacts["event"] == "sent")).sum())
    reason = message("messages of campaigns not observed from start to end")
    return contacts[keep].reset_index(drop=True), ({reason: lost} if lost else {})


def _funnels(contacts: pd.DataFrame, level: float) -> tuple[CampaignFunnel, dict[str, CampaignFunnel]]:
    groups = {}
    for by in ("channel", "campaign_id"):
        if by in contacts.columns and len(contacts[by].dropna().unique()) > 1:
            groups[by] = campaign_funnel(
                contacts,
                by="channel" if by == "channel" else "campaign_id",
                level=level,
            )
    return campaign_funnel(contacts, level=level), groups


def _channels(contacts: pd.DataFrame) -> dict[str, str]:
    """Return each campaign's channel, or nothing where a campaign has several or none."""
    if "campaign_id" not in contacts.columns:
        return {}
    pairs = contacts[["campaign_id", "channel"]].drop_duplicates()
    if pairs["campaign_id"].duplicated().any() or pairs.isna().any(axis=None):
        return {}
    return {str(a): str(b) for a, b in zip(pairs["campaign_id"], pairs["channel"], strict=True)}


def _habit(
    contacts: pd.DataFrame,
    sales: pd.DataFrame,
    end: pd.Timestamp,
    asked: _Asked,
    absent: list[tuple[str, str]],
) -> tuple[Estimate | None, Estimate | None]:
    """Return the share that ordered in the days before and after the same messages."""
    window = pd.Timedelta(days=asked.within_days)
    sent = contacts[contacts["event"] == "sent"]
    seen = (sent["sent_at"] - window >= sales["transacted_at"].min()) & (sent["sent_at"] + window <= end)
    if not seen.any():
        why = message(
            "No message was watched for {days} days before and after it.", days=str(asked.within_days)
        )
        absent.append((message("Orders before and after a message"), why))
        return None, None
    sent = sent[seen]
    found = []
    for moved in (sent.assign(sent_at=sent["sent_at"] - window), sent):
        funnel = campaign_funnel(
            moved,
            orders=sales,
            within_days=asked.within_days,
            as_of=end,
            level=asked.level,
        )
        found.append(funnel.rate("ordered"))
    return found[0], found[1]


def _chosen(
    source: Dataset,
    contacts: pd.DataFrame,
    orders: pd.DataFrame,
    end: pd.Timestamp,
    asked: _Asked,
    absent: list[tuple[str, str]],
) -> ContactDoseResponse | None:
    """Relate spend to the number of messages that were sent, over the days of both."""
    name = message("Spend by number of messages")
    if not source.has("customers"):
        why = message(
            "There is no table customers, so who could have been written to and was not is unknown."
        )
        absent.append((name, why))
        return None
    start = max(contacts["sent_at"].min(), orders["transacted_at"].min()).normalize()
    try:
        return contact_dose_response(
            contacts,
            source.frame("customers"),
            orders,
            start=start,
            end=end,
            margin=asked.margin,
            top=asked.top,
            currency=source.currency,
            level=asked.level,
        )
    except DesignError as reason:
        absent.append((name, _sentence(reason)))
        return None


def _lift(
    source: Dataset,
    contacts: pd.DataFrame,
    orders: pd.DataFrame,
    experiment: str | None,
    end: pd.Timestamp,
    asked: _Asked,
    absent: list[tuple[str, str]],
) -> tuple[ContactDoseResponse | None, OfferLift | None, int, Lots | None]:
    """Read the effect of being written to from the lots, where lots were drawn."""
    name = caused_name()
    if not source.has("assignments"):
        why = message("Nobody was drawn by lot to get no message, so what the messages caused is not known.")
        absent.append((name, why))
        return None, None, 0, None
    drawn = source.frame("assignments")
    # rewards drawn by lot are experiments of their own, unless they are asked for by name
    other = {asked.more.feedback, asked.more.referral} - {experiment}
    known = sorted(set(drawn["experiment_id"].astype(str)) - other)
    if experiment is not None and experiment not in known:
        raise ContractError(f"assignments has no experiment {experiment!r}; it has {', '.join(known)}")
    if not known:
        why = message("Nobody was drawn by lot to get no message, so what the messages caused is not known.")
        absent.append((name, why))
        return None, None, 0, None
    if experiment is None and len(known) > 1:
        why = message("Several experiments are recorded; name one of {known}.", known=", ".join(known))
        absent.append((name, why))
        return None, None, 0, None
    drawn = drawn[drawn["experiment_id"].astype(str) == (experiment or known[0])]
    start = drawn["assigned_at"].min()
    why = _unfit(drawn) or _too_short(start, end, asked.lift_days)
    if why:
        absent.append((name, why))
        return None, None, 0, None
    treated = ~drawn["arm"].str.lower().isin(CONTROLS)
    found = contact_dose_response(
        contacts,
        drawn.assign(drawn=treated.astype(int)),
        orders,
        start=start,
        end=start + pd.Timedelta(days=asked.lift_days),
        assigned="drawn",
        cluster=_cluster(drawn),
        margin=asked.margin,
        currency=source.currency,
        level=asked.level,
    )
    before = _days_before(start, orders, asked)
    if before < 1:
        why = message(
            "No order from before the lots is recorded, so nothing shows that the groups were alike."
        )
        absent.append((name, why))
        return None, None, 0, None
    shown = drawn.assign(drawn_as=treated.map({True: "drawn", False: "held out"}))
    offer = offer_lift(
        shown,
        orders,
        treated="drawn",
        control="held out",
        arm="drawn_as",
        start=start,
        end=start + pd.Timedelta(days=asked.within_days),
        after_days=asked.lift_days - asked.within_days,
        before_days=before,
        as_of=end,
        margin=asked.margin,
        ratio=_planned(drawn, treated),
        cluster=_cluster(drawn),
        # what somebody spent before tells much of what is spent after, and was there before the lots
        covariates=["before"] if _varied_before(orders, drawn, start, before) else [],
        currency=source.currency,
        level=asked.level,
    )
    return (
        found,
        offer,
        before,
        Lots(
            shown,
            start,
            asked.lift_days,
            before,
            sound=not offer.failed_gates,
            clustered=_cluster(drawn) is not None,
        ),
    )


def _varied_before(orders: pd.DataFrame, drawn: pd.DataFrame, start: pd.Timestamp, days: int) -> bool:
    """Return whether customers differed in what they spent before the lots."""
    inside = (orders["transacted_at"] < start) & (orders["transacted_at"] >= start - pd.Timedelta(days=days))
    sums = orders[inside].groupby("customer_id")["amount"].sum()
    return len(sums.reindex(drawn["customer_id"]).astype(float).fillna(0.0).unique()) > 1


def _days_before(start: pd.Timestamp, orders: pd.DataFrame, asked: _Asked) -> int:
    known = int((start - orders["transacted_at"].min()).days)
    return max(0, min(asked.lift_days, known))


def _truth(source: Dataset, asked: _Asked) -> float | None:
    """Return a simulation's effect on spend where it is known for the same days."""
    if asked.margin != 1 or source.truth.get("window_days") != asked.lift_days or "itt" not in source.truth:
        return None
    return float(source.truth["itt"])


def _planned(drawn: pd.DataFrame, treated: pd.Series[bool]) -> float | None:
    """Return the planned size of those drawn over that of the others, where it is recorded."""
    if "assignment_probability" not in drawn.columns:
        return None
    chance = drawn.loc[treated, "assignment_probability"].dropna().unique()
    return float(chance[0] / (1 - chance[0])) if len(chance) == 1 and 0 < chance[0] < 1 else None


def _unfit(drawn: pd.DataFrame) -> str:
    """Return why lots cannot be read as one message against none, or an empty string."""
    arms = sorted(drawn["arm"].astype(str).unique())
    controls = [a for a in arms if a.lower() in CONTROLS]
    if len(arms) != 2 or len(controls) != 1:
        return message(
            "The lots are not one group against a control; the groups are {arms}.", arms=", ".join(arms)
        )
    if len(drawn["assigned_at"].unique()) > 1:
        return message("Lots were drawn at several moments, so customers were watched over different days.")
    if "assignment_probability" in drawn.columns:
        odds = drawn.groupby("arm")["assignment_probability"].nunique(dropna=False)
        if (odds > 1).any():
            return message("Chances of being drawn differed between customers, which needs weights.")
    cluster = _cluster(drawn)
    if cluster is not None:
        sides = drawn.drop_duplicates([cluster, "arm"])["arm"].value_counts()
        if int(sides.min()) < 2:
            return message("Lots were drawn for whole clusters, and a group has one cluster only.")
    return ""


def _cluster(drawn: pd.DataFrame) -> str | None:
    """Return the column of what was drawn as a whole, or None where customers were drawn one by one."""
    if "cluster_id" not in drawn.columns or drawn["cluster_id"].isna().any():
        return None
    sizes = drawn.groupby("cluster_id")["arm"].agg(["nunique", "size"])
    return "cluster_id" if (sizes["nunique"] == 1).all() and (sizes["size"] > 1).any() else None


def _too_short(start: pd.Timestamp, end: pd.Timestamp, days: int) -> str:
    if start + pd.Timedelta(days=days) <= end:
        return ""
    return message("Customers were not watched for {days} days after the lots were drawn.", days=str(days))


def _unrecorded(study: CampaignStudy) -> list[tuple[str, str]]:
    """Return the measures whose column or event the contacts lack."""
    found = []
    if study.funnel is not None:
        lines = study.funnel.table
        missing = lines.loc[lines["reason"] != "", "numerator"].unique().tolist()
        if missing:
            found.append(
                (
                    message("Steps of the funnel"),
                    messages(
                        "The table contacts records no event of the kind {events}.",
                        "The table contacts records no events of the kinds {events}.",
                        len(missing),
                        events=", ".join(missing),
                    ),
                )
            )
    if study.audit is not None and study.audit.quiet is None:
        found.append((message("Quiet hours"), message("Only the day of sending is recorded, not the hour.")))
    if study.consent is not None and study.consent.share is None:
        found.append((message("Consent"), message("The table contacts has no column has_consent.")))
    return found

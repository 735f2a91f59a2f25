"""What a page on campaigns shows beyond rates and lots, each with the reason where it cannot be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from loyalty_research.display import prose, table
from loyalty_research.errors import ContractError, DesignError
from loyalty_research.estimates import Finding
from loyalty_research.i18n import message, number
from loyalty_research.programme._contact_rows import few
from loyalty_research.programme.contact_dose import margins, window_sums
from loyalty_research.programme.contact_presets import audit_contact_rules
from loyalty_research.programme.contact_rules import messages_per_month
from loyalty_research.programme.contact_streaks import unopened_streaks
from loyalty_research.programme.day_offers import offer_days
from loyalty_research.programme.gratitude import gratitude_latency
from loyalty_research.programme.incentives import incentive_bias
from loyalty_research.programme.offer_segments import offer_by_segment
from loyalty_research.programme.offers import coupon_cannibalisation
from loyalty_research.programme.personal_dates import personal_date_offer
from loyalty_research.programme.redemption_channels import redemption_by_channel
from loyalty_research.programme.referral_rewards import referral_reward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes

    from loyalty_research.data.datasets import Dataset
    from loyalty_research.display import Html
    from loyalty_research.estimates import Check, Result
    from loyalty_research.programme.contact_presets import ContactRules
    from loyalty_research.programme.contact_streaks import UnopenedStreaks
    from loyalty_research.programme.personal_dates import PersonalDateOffer

__all__ = ["Asked", "Extras", "Lots", "campaign_extras"]

Absent = "list[tuple[str, str]]"
CONTROLS = ("control", "holdout", "not invited", "not contacted")


@dataclass(frozen=True)
class Asked:
    """What was asked for beyond the rates.

    Attributes:
        offer_dates: Days of an offer made to everybody.
        thanks: Campaigns that thank.
        own_dates: Which own dates had an offer.
        feedback: Experiment in which a reward for answering was drawn, or None.
        referral: Experiment in which a reward for referring was drawn, or None.
        channels: Two channels whose redemption is compared.
        segment: Column of customers by which writing could be chosen, or None.
        within_days: Days in which an order or an opening counts.
        unopened: Messages in a row after which a rule would stop writing.
        margin: Share of spend that is kept.
        level: Confidence level.
    """

    offer_dates: tuple[str, ...]
    thanks: tuple[str, ...]
    own_dates: Literal["birthday", "anniversary"]
    feedback: str | None
    referral: str | None
    channels: tuple[str, str]
    segment: str | None
    within_days: int
    unopened: int
    margin: float
    level: float


@dataclass(frozen=True)
class Lots:
    """Customers drawn by lot to be written to, the time that counts, and whether the draw held.

    Attributes:
        frame: ``customer_id, drawn_as``, the latter ``"drawn"`` or ``"held out"``.
        start: When the lots were drawn, naive UTC.
        days: Days after it that count.
        before_days: Days before it in which customers are known.
        sound: Whether no gate of the draw failed.
        clustered: Whether whole clusters were drawn.
    """

    frame: pd.DataFrame
    start: pd.Timestamp
    days: int
    before_days: int
    sound: bool
    clustered: bool


@dataclass(frozen=True)
class Extras:
    """Results beyond the rates; None where they cannot be had.

    Attributes:
        rules: Rules of contact that circulate.
        streaks: Streaks of unopened messages.
        own_dates: Offer on own dates.
        others: Further results, each shown by its sentence and its table.
    """

    rules: ContactRules | None = None
    streaks: UnopenedStreaks | None = None
    own_dates: PersonalDateOffer | None = None
    others: tuple[Result, ...] = ()

    def parts(self) -> Iterator[Result]:
        """Yield the results that there are."""
        for part in (self.rules, self.streaks, self.own_dates, *self.others):
            if part is not None:
                yield part

    def checks(self) -> Iterator[Check]:
        """Yield their checks under the name of the result; each result's own verdict heeds its gates."""
        for part in self.parts():
            for check in part.checks:
                yield replace(check, name=f"{part.title}: {check.name}", gate=False)

    def findings(self, section: str) -> Iterator[Finding]:
        """Yield what belongs into the index."""
        clash = self.rules.clash if self.rules is not None else None
        if clash is not None and clash.value > 0 and not few(clash):
            words = message(
                "Rules of contact clash: two messages a week come to {month} a month. Of customers never sent more "
                "than two a week, {share} were sent more than six in 30 days ({interval}).",
                month=number(messages_per_month(2), digits=1),
                share=clash.format(),
                interval=clash.interval(),
            )
            yield Finding("rules-clash", words, clash, "finding", section)

    def shown(self) -> Iterator[Html]:
        """Yield tables and sentences for the page."""
        if self.rules is not None:
            yield self._rules_table(self.rules)
        if self.streaks is not None:
            yield prose(self.streaks.verdict())
            yield from self._streak_table(self.streaks)
        for part in (*([self.own_dates] if self.own_dates is not None else []), *self.others):
            yield prose(part.verdict())
            if not part.failed_gates:
                yield _flat(part)

    def figures(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield pictures, each with alternative text and caption."""
        part = self.own_dates
        if part is None or part.failed_gates:
            return
        weeks = part.by_week
        top = weeks.loc[weeks["estimate"].idxmax()]
        alt = message(
            "Difference in margin by week around the own date, highest in week {week} with {value}.",
            week=str(int(top["week"])),
            value=part.net.format(float(top["estimate"]), signed=True),
        )
        yield part.plot(), alt, message("Points are differences, lines their intervals; the offer is shaded.")

    def _rules_table(self, rules: ContactRules) -> Html:
        lines = []
        for rule in rules.rules:
            found, people = rules.messages[rule.name], rules.customers[rule.name]
            hide = found is None or people is None or few(found) or few(people)
            lines.append(
                {
                    "rule": rule.source,
                    "messages": None if hide or found is None else found.value,
                    "customers": None if hide or people is None else people.value,
                    "low": None if hide or people is None else people.low,
                    "high": None if hide or people is None else people.high,
                }
            )
        frame = pd.DataFrame(lines)
        return table(
            frame,
            caption=message("Rules of contact that circulate, and how often they were broken"),
            formats=dict.fromkeys(("messages", "customers", "low", "high"), "percent"),
            headings={
                "rule": message("Rule and where it comes from"),
                "messages": message("Of messages"),
                "customers": message("Of customers"),
            },
            note=message(
                "Limits are of the share of customers. Blank: the hour is not recorded, or fewer than five."
            ),
        )

    def _streak_table(self, streaks: UnopenedStreaks) -> Iterator[Html]:
        lines = []
        for row in streaks.by_streak.to_dict("records"):
            opened, ordered = row["opened"], row["ordered"]
            if opened is None or ordered is None or few(opened) or few(ordered):
                continue
            lines.append(
                {
                    "streak": int(row["streak"]),
                    "messages": int(row["messages"]),
                    "opened": opened.value,
                    "ordered": ordered.value,
                    "low": ordered.low,
                    "high": ordered.high,
                }
            )
        if not lines:
            return
        last = streaks.longest
        yield table(
            pd.DataFrame(lines),
            caption=message("What became of a message by how many before it, in a row, were unopened"),
            formats={
                "streak": lambda k: message("{k} or more", k=str(k)) if k == last else str(k),
                **dict.fromkeys(("opened", "ordered", "low", "high"), "percent"),
            },
            headings={
                "streak": message("Unopened before it"),
                "messages": message("Messages"),
                "opened": message("Opened"),
                "ordered": message("Followed by an order"),
            },
            note=message("Limits are of the share followed by an order. Openings are unreliable."),
        )


def _flat(part: Result) -> Html:
    """Return a result's estimates as a table, each in its own unit."""
    lines = []
    for row in part._rows():  # noqa: SLF001 - the rows carry the unit that the frame has not
        found = row.estimate
        how = found.format
        lines.append(
            {
                "metric": row.metric,
                "group": row.group,
                "estimand": row.estimand,
                "estimate": how(found.value) if found.value == found.value else None,
                "low": how(found.low) if found.low == found.low else None,
                "high": how(found.high) if found.high == found.high else None,
            }
        )
    return table(pd.DataFrame(lines), caption=part.title, headings={"group": message("Compared")})


def campaign_extras(
    source: Dataset,
    contacts: pd.DataFrame,
    allowed: pd.DataFrame,
    orders: pd.DataFrame,
    end: pd.Timestamp,
    lots: Lots | None,
    asked: Asked,
    absent: list[tuple[str, str]],
) -> Extras:
    """Measure what the dataset allows and note the reason for the rest.

    Args:
        source: The dataset.
        contacts: All contact events.
        allowed: Those of messages sent with consent.
        orders: Orders, refunds included.
        end: First moment after the observation, naive UTC.
        lots: Who was drawn to be written to, or None.
        asked: What was asked for.
        absent: ``(measure, reason)``; what cannot be measured is added.
    """
    sales = orders[orders["type"] != "refund"] if "type" in orders.columns else orders
    last = (end - pd.Timedelta(days=1)).date()
    level = asked.level

    def attempt(name: str, reason: str, make: Callable[[], Any]) -> Any:
        """Return the result, or note why there is none."""
        if reason:
            absent.append((name, reason))
            return None
        try:
            return make()
        except (ContractError, DesignError) as why:
            said = str(why)
            absent.append((name, f"{said[:1].upper()}{said[1:].rstrip('.')}."))
            return None

    opens = allowed["event"].isin(["open", "click"]).any()
    used = (allowed["event"] == "redeem").any() and "channel" in allowed.columns
    coupons = {"coupon_code", "coupon_discount"} & set(orders.columns)
    column = "birth_date" if asked.own_dates == "birthday" else "acquired_at"
    others = [
        attempt(
            message("Redemption by channel"),
            "" if used else message("Redemptions are not recorded by channel."),
            lambda: redemption_by_channel(
                allowed, one=asked.channels[0], other=asked.channels[1], level=level
            ),
        ),
        attempt(
            message("Sales that coupons only moved or made cheaper"),
            _no_coupons(lots, coupons),
            lambda: _cannibalised(lots, orders, level),
        ),
        attempt(
            message("Whom to write to, by segment"),
            _no_segments(source, lots, asked.segment),
            lambda: _by_segment(source, lots, orders, asked),
        ),
        attempt(
            message("Offers to everybody on a day"),
            ""
            if asked.offer_dates
            else message("No day of an offer to everybody, such as double points, was named."),
            lambda: offer_days(
                orders,
                dates=asked.offer_dates,
                as_of=last,
                timezone=source.timezone,
                margin=asked.margin,
                currency=source.currency,
                level=level,
            ),
        ),
        attempt(
            message("Time to thanks"),
            "" if asked.thanks else message("No campaign that thanks was named."),
            lambda: _thanked(allowed, sales, end, asked),
        ),
        attempt(
            message("Rewards for feedback"),
            _no_experiment(source, asked.feedback, "surveys"),
            lambda: _feedback(source, str(asked.feedback), level),
        ),
        attempt(
            message("Rewards for referrals"),
            _no_experiment(source, asked.referral, "referrals"),
            lambda: _referral(source, orders, end, str(asked.referral), asked),
        ),
    ]
    return Extras(
        rules=attempt(
            message("Rules of contact that circulate"),
            "",
            lambda: audit_contact_rules(contacts, timezone=source.timezone, level=level),
        ),
        streaks=attempt(
            message("Streaks of unopened messages"),
            "" if opens else message("Neither openings nor clicks are recorded."),
            lambda: unopened_streaks(
                allowed,
                sales,
                within_days=asked.within_days,
                as_of=last,
                unopened=asked.unopened,
                longest=max(6, asked.unopened),
                level=level,
            ),
        ),
        own_dates=attempt(
            message("Offers on birthdays")
            if asked.own_dates == "birthday"
            else message("Offers on the anniversary of becoming a customer"),
            ""
            if source.has("customers", column)
            else message("Customers' days of birth are not recorded.")
            if asked.own_dates == "birthday"
            else message("When customers came is not recorded."),
            lambda: personal_date_offer(
                orders,
                source.frame("customers"),
                kind=asked.own_dates,
                date=column if asked.own_dates == "birthday" else "acquired_date",
                as_of=last,
                timezone=source.timezone,
                margin=asked.margin,
                currency=source.currency,
                level=level,
            ),
        ),
        others=tuple(part for part in others if part is not None),
    )


def _no_coupons(lots: Lots | None, coupons: set[str]) -> str:
    if not coupons:
        return message("Orders do not say whether a coupon was used.")
    if lots is None:
        return message(
            "Who redeems a coupon chose to; without a group drawn by lot that got none, sales that would have come "
            "anyway cannot be told from new ones."
        )
    if lots.clustered:
        return message(
            "Lots were drawn for whole clusters; how sure this share is cannot be said from customers."
        )
    if not lots.sound:
        return message("The groups that were drawn are not alike, so no effect of coupons is shown.")
    return ""


def _cannibalised(lots: Lots | None, orders: pd.DataFrame, level: float) -> Result:
    if lots is None:
        raise DesignError("nobody was drawn by lot")
    inside = orders[
        (orders["transacted_at"] >= lots.start)
        & (orders["transacted_at"] < lots.start + pd.Timedelta(days=lots.days))
    ]
    used = (
        inside["coupon_code"].notna()
        if "coupon_code" in inside.columns
        else inside["coupon_discount"].fillna(0).astype(float) > 0
    )
    people = pd.Index(lots.frame["customer_id"])
    counts = [
        rows.groupby("customer_id").size().reindex(people, fill_value=0).to_numpy()
        for rows in (inside, inside[used.to_numpy(dtype=bool)])
    ]
    units = pd.DataFrame(
        {"arm": lots.frame["drawn_as"].to_numpy(), "orders": counts[0], "coupon_orders": counts[1]}
    )
    return coupon_cannibalisation(units, treated="drawn", control="held out", level=level)


def _no_segments(source: Dataset, lots: Lots | None, segment: str | None) -> str:
    if lots is None:
        return message("Nobody was drawn by lot to get no message, so the effect in a segment is not known.")
    if lots.clustered or not lots.sound:
        return message(
            "The lots do not allow it: they were drawn for whole clusters, or the groups are not alike."
        )
    if segment is None:
        return message("No column of customers was named by which writing could be chosen.")
    if not source.has("customers", segment):
        return message("The table customers has no column {column}.", column=segment)
    return ""


def _by_segment(source: Dataset, lots: Lots | None, orders: pd.DataFrame, asked: Asked) -> Result:
    if lots is None:
        raise DesignError("nobody was drawn by lot")
    people = pd.Index(lots.frame["customer_id"])
    known = source.frame("customers").set_index("customer_id")[str(asked.segment)].reindex(people)
    gains = margins(orders, asked.margin)
    gain = window_sums(gains, people, lots.start, lots.start + pd.Timedelta(days=lots.days))
    before = window_sums(gains, people, lots.start - pd.Timedelta(days=lots.before_days), lots.start)
    units = pd.DataFrame(
        {
            "arm": lots.frame["drawn_as"].to_numpy(),
            "segment": known.astype("object").where(known.notna(), message("not known")).to_numpy(),
            "gain": gain,
            "before": before,
        }
    )
    return offer_by_segment(
        units,
        treated="drawn",
        control="held out",
        segment="segment",
        outcome="gain",
        covariates=["before"],
        currency=source.currency,
        level=asked.level,
    )


def _thanked(allowed: pd.DataFrame, sales: pd.DataFrame, end: pd.Timestamp, asked: Asked) -> Result:
    if "campaign_id" not in allowed.columns:
        raise ContractError("contacts has no column campaign_id, so messages that thank are not known")
    thanks = allowed[(allowed["event"] == "sent") & allowed["campaign_id"].isin(asked.thanks)]
    if thanks.empty:
        raise DesignError("no message of the campaigns named as thanks was sent")
    first = sales[sales["customer_id"].notna()].rename(columns={"transacted_at": "occurred_at"})
    return gratitude_latency(first, thanks, as_of=end - pd.Timedelta(days=1), level=asked.level)


def _no_experiment(source: Dataset, name: str | None, needed: str) -> str:
    if not source.has(needed):
        return message("There is no table {table}.", table=needed)
    if name is None:
        return message("No experiment was named in which a reward for it was drawn by lot.")
    return "" if source.has("assignments") else message("There is no table {table}.", table="assignments")


def _drawn(source: Dataset, name: str) -> tuple[pd.DataFrame, pd.Timestamp]:
    """Return the lots of an experiment of one arm against a control, as reward and none, and their moment."""
    drawn = source.frame("assignments")
    drawn = drawn[drawn["experiment_id"].astype(str) == name]
    arms = sorted(drawn["arm"].astype(str).unique())
    controls = [a for a in arms if a.lower() in (*CONTROLS, "none", "no reward")]
    if len(arms) != 2 or len(controls) != 1:
        raise DesignError(
            f"the experiment is not one arm against a control; its arms are {', '.join(arms) or 'none'}"
        )
    if len(drawn["assigned_at"].unique()) > 1:
        raise DesignError("lots were drawn at several moments, so customers were watched over different days")
    arm = (drawn["arm"].astype(str) == controls[0]).map({True: "none", False: "reward"})
    return drawn[["customer_id"]].assign(arm=arm), drawn["assigned_at"].min()


def _feedback(source: Dataset, name: str, level: float) -> Result:
    drawn, start = _drawn(source, name)
    answers = source.frame("surveys")
    if "value" not in answers.columns:
        raise DesignError("surveys has no column value that holds the score")
    answers = answers[(answers["answered_at"] >= start) & answers["value"].notna()]
    first = answers.sort_values("answered_at", kind="stable").groupby("customer_id")["value"].first()
    invited = drawn.assign(
        score=first.reindex(drawn["customer_id"]).to_numpy(dtype=float, na_value=float("nan"))
    )
    return incentive_bias(invited, treated="reward", control="none", level=level)


def _referral(source: Dataset, orders: pd.DataFrame, end: pd.Timestamp, name: str, asked: Asked) -> Result:
    drawn, start = _drawn(source, name)
    days = int((end - start).days) - asked.within_days
    if days < 1:
        raise DesignError(f"the data end less than {asked.within_days} days after the lots were drawn")
    return referral_reward(
        drawn,
        source.frame("referrals"),
        transactions=orders,
        treated="reward",
        control="none",
        start=start,
        days=days,
        value_days=asked.within_days,
        as_of=end,
        margin=asked.margin,
        currency=source.currency,
        level=asked.level,
    )

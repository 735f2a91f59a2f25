"""What a page on campaigns says and shows of results that are there already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from loyalty_research.display import prose, table
from loyalty_research.estimates import Finding, Result, Row
from loyalty_research.i18n import message, messages
from loyalty_research.programme._campaign_words import (
    caused_name,
    flat,
    hidden,
    hours_words,
    of_words,
    short_words,
    signed,
    spoken,
    step_words,
    sunset_name,
)
from loyalty_research.programme._contact_rows import SMALLEST, few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matplotlib.axes import Axes

    from loyalty_research.display import Html
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme._campaign_extras import Extras
    from loyalty_research.programme.campaigns import CampaignFunnel, ConsentGate
    from loyalty_research.programme.contact_dose import ContactDoseResponse
    from loyalty_research.programme.contact_rules import ContactAudit, SunsetTest
    from loyalty_research.programme.offers import OfferLift

__all__ = ["CampaignStudy"]

_LINES = 40  # groups a picture can hold


def _plain(value: float) -> str:
    return f"{value:g}"


@dataclass(frozen=True, repr=False, eq=False)
class CampaignStudy(Result):
    """What campaigns led to, as far as the dataset can tell.

    Attributes:
        funnel: All messages together, or None without contacts.
        groups: Column to the funnel by it: ``campaign_id`` and, where recorded, ``channel``.
        channels: Campaign to its channel, where every campaign has one, otherwise empty.
        before: Share of messages whose customer ordered in as many days before as are counted after.
        after: The same messages: share followed by an order.
        consent: Consent of messages, or None.
        audit: Quiet hours and cap, or None.
        sunset: What those who open nothing still buy, or None.
        dose: Spend and opting out by number of messages as they were sent, or None.
        lift: The same by what was drawn by lot, or None.
        offer: Those drawn less those held out before, soon after and later, or None.
        extras: What else the dataset allows.
        absent: ``(measure, reason)`` of all that cannot be measured.
        within_days: Days after sending in which an order counts.
        lift_days: Days after the lots were drawn in which spend counts.
        before_days: Days before the lots in which the groups are compared; 0 without lots.
        top: Number of messages, when chosen, that stands for itself and more.
        margin: Share of spend that is kept; 1 values spend.
        truth: The simulation's effect where one is known for these days, or None.
        n: Messages in the rates: one campaign sent to one customer is one message.
        dropped: Reason to what was left out.
    """

    title: ClassVar[str] = "What campaigns led to"

    funnel: CampaignFunnel | None
    groups: dict[str, CampaignFunnel]
    channels: dict[str, str]
    before: Estimate | None
    after: Estimate | None
    consent: ConsentGate | None
    audit: ContactAudit | None
    sunset: SunsetTest | None
    dose: ContactDoseResponse | None
    lift: ContactDoseResponse | None
    offer: OfferLift | None
    extras: Extras
    absent: tuple[tuple[str, str], ...]
    within_days: int
    lift_days: int
    before_days: int
    top: int
    margin: float
    truth: float | None
    n: int
    dropped: dict[str, int] = field(default_factory=dict)

    def _refused(self) -> bool:
        """Whether a gate forbids showing what was drawn by lot."""
        return self.offer is None or bool(self.offer.failed_gates)

    def _dose(self, value: float) -> str:
        return message("{top} or more", top=_plain(value)) if value == self.top else _plain(value)

    def _money(self) -> str:
        return message("spend") if self.margin == 1 else message("margin")

    def parts(self) -> Iterator[Result]:
        """Yield the results behind the page that there are."""
        for part in (self.funnel, self.consent, self.audit, self.sunset, self.dose, self.lift, self.offer):
            if part is not None:
                yield part

    def _rows(self) -> Iterable[Row]:
        for found in self.findings():
            if found.estimate is not None:
                yield Row(found.id, found.estimate, estimand=found.headline)

    def _verdict(self) -> str:
        return " ".join(f.headline for f in self.findings()[:2])

    # --- what the page says -------------------------------------------------------------------

    def findings(self) -> tuple[Finding, ...]:
        """Return what the index of a site shows, the answer first."""
        section = message("The answer")
        if self.funnel is None:
            return (Finding("no-campaigns", self.absent[0][1], None, "caution", section),)
        caused, reached = list(self._caused(section)), list(self._reached(section))
        # an effect comes first; where there is none to read, what was counted does
        found = [*caused, *reached] if self.lift is not None else [*reached, *caused]
        found += [*self._habit(section), *self._chosen(section), *self._rules(section), *self._opens(section)]
        found += self.extras.findings(section)
        return tuple(found)

    def _caused(self, section: str) -> Iterator[Finding]:
        if self.lift is None:
            why = dict(self.absent)[caused_name()]
            yield Finding("caused", why, None, "caution", section)
            return
        if self.offer is None or self._refused():
            words = message(
                "Customers were drawn to be written to, but the groups differed before the first message or do not "
                "have the sizes that were planned, so no effect is shown."
            )
            yield Finding("caused", words, None, "suppressed", section)
            return
        found = self.offer.net
        shown = {
            "money": self._money(),
            "days": str(self.lift_days),
            "change": found.format(signed=True),
            "interval": found.interval(signed=True),
            "n": f"{found.n:,}",
        }
        sure = found.low > 0 or found.high < 0
        words = (
            message(
                "Being drawn to be written to changed {money} per customer by {change} in {days} days "
                "({interval}; {n} customers, drawn by lot).",
                **shown,
            )
            if sure
            else message(
                "Whether being written to changed {money} is not settled: {change} per customer in {days} days "
                "({interval}; {n} customers, drawn by lot).",
                **shown,
            )
        )
        before = self.offer.before
        uneven = before.low > 0 or before.high < 0
        if uneven:
            words = message(
                "{words} The lots fell unevenly: those drawn differed by {gap} in the {length} days before; what each "
                "customer spent before is allowed for.",
                words=words,
                gap=before.format(signed=True),
                length=str(self.before_days),
            )
        yield Finding("caused", words, found, "caution" if uneven else "finding", section)

    def _reached(self, section: str) -> Iterator[Finding]:
        line = self._line("redeemed") or self._line("clicked")
        if line is None:
            return
        rate = line["estimate"]
        words = {"share": rate.format(), "interval": rate.interval(), "n": f"{rate.n:,}"}
        under = of_words(line["denominator"])
        said = (
            message("Of {n} {under}, {share} were redeemed at least once ({interval}).", under=under, **words)
            if line["step"] == "redeemed"
            else message("Of {n} {under}, {share} were clicked ({interval}).", under=under, **words)
        )
        yield Finding("reached", said, rate, "finding", section)

    def _habit(self, section: str) -> Iterator[Finding]:
        if self.after is None or self.before is None:
            return
        words = message(
            "{after} of messages were followed by an order within {days} days, and {before} had been preceded by "
            "one in the {days} days before. The second share shows how much of the first may be habit.",
            after=self.after.format(),
            before=self.before.format(),
            days=str(self.within_days),
        )
        yield Finding("habit", words, self.after, "caution", section)

    def _chosen(self, section: str) -> Iterator[Finding]:
        if self.dose is None:
            return
        found = self.dose.margin_trend
        words = message(
            "Each message more goes with {change} of {money} per customer ({interval}). Who was sent how many was "
            "chosen, not drawn by lot, so this is no effect of writing more.",
            money=self._money(),
            change=found.format(signed=True),
            interval=found.interval(signed=True),
        )
        yield Finding("chosen-dose", words, found, "caution", section)

    def _rules(self, section: str) -> Iterator[Finding]:
        if self.consent is not None and self.consent.without:
            words = messages(
                "{count} message was sent without consent; it counts in no rate, only in the rules of contact.",
                "{count} messages were sent without consent; they count in no rate, only in the rules of contact.",
                self.consent.without,
            )
            yield Finding("consent", words, self.consent.share, "caution", section)
        if self.audit is None:
            return
        quiet = self.audit.quiet
        if quiet is not None:
            where = {"hours": hours_words(self.audit.quiet_hours), "zone": self.audit.timezone}
            words = (
                message("Fewer than five messages were sent between {hours} in {zone} time.", **where)
                if few(quiet)
                else message(
                    "{share} of messages were sent between {hours} in {zone} time ({interval}).",
                    share=quiet.format(),
                    interval=quiet.interval(),
                    **where,
                )
            )
            yield Finding("quiet-hours", words, None if few(quiet) else quiet, "finding", section)
        for days, most in self.audit.limits.items():
            over = self.audit.customers_over[days]
            rule = {"most": str(most), "days": str(days)}
            words = (
                message(
                    "Fewer than five customers were sent more than {most} messages in {days} days.", **rule
                )
                if few(over)
                else message(
                    "{share} of customers written to were sent more than {most} messages in {days} days "
                    "({interval}).",
                    share=over.format(),
                    interval=over.interval(),
                    **rule,
                )
            )
            yield Finding("cap", words, None if few(over) else over, "finding", section)

    def _opens(self, section: str) -> Iterator[Finding]:
        line = self._line("opened")
        if line is not None:
            words = message(
                "{share} of {under} count as opened. Opens are unreliable: mail programs fetch images unasked "
                "and some readers block them, so nothing here rests on them.",
                share=line["estimate"].format(),
                under=of_words(line["denominator"]),
            )
            yield Finding("opens", words, line["estimate"], "caution", section)

    def _line(self, step: str) -> dict[str, Any] | None:
        """Return a recorded step of all messages together."""
        if self.funnel is None:
            return None
        every = self.funnel.table
        rows = every[(every["step"] == step) & (every["reason"] == "")].to_dict("records")
        return {str(k): v for k, v in rows[0].items()} if rows else None

    # --- tables and pictures ------------------------------------------------------------------

    def funnel_table(self) -> pd.DataFrame:
        """Return the steps of all messages: ``step, of, estimate, low, high, count, n``."""
        if self.funnel is None:
            return pd.DataFrame(columns=["step", "of", "estimate", "low", "high", "count", "n"])
        rows = self.funnel.table[self.funnel.table["reason"] == ""]
        frame = flat(rows, "step", rows["step"].map(step_words).tolist())
        frame.insert(1, "of", [of_words(d) for d in rows["denominator"]])
        return hidden(frame)

    def group_table(self, by: str) -> pd.DataFrame:
        """Return one step of each group, the best recorded one, highest first.

        Args:
            by: ``"campaign_id"`` or ``"channel"``.

        Returns:
            ``group, estimate, low, high, count, n``; groups in which fewer than five are counted are
            blank.
        """
        main = self._line("redeemed") or self._line("clicked")
        if by not in self.groups or main is None:
            return pd.DataFrame(columns=["group", "estimate", "low", "high", "count", "n"])
        rows = self.groups[by].table
        rows = rows[(rows["step"] == main["step"]) & (rows["reason"] == "")]
        frame = flat(rows, "group", rows["group"].tolist())
        if by == "campaign_id" and self.channels:
            # the totals by channel are shown too, and would give a lone blank away
            channel = frame["group"].map(self.channels)
            frame["group"] = [f"{g} ({c})" for g, c in zip(frame["group"], channel, strict=True)]
            frame = hidden(frame.assign(channel=channel), by="channel").drop(columns="channel")
        else:
            frame = hidden(frame)
        return frame.sort_values("estimate", ascending=False, na_position="last", kind="stable").reset_index(
            drop=True
        )

    def dose_table(self, *, drawn: bool) -> pd.DataFrame:
        """Return the outcome at each number of messages: ``dose, customers, estimate, low, high, opted_out``."""
        part = self.lift if drawn else self.dose
        lines = []
        for row in part.by_dose.to_dict("records") if part is not None else []:
            if row["margin"] is not None:
                found, left = row["margin"], row["opt_out"]
                lines.append(
                    {
                        "dose": int(row["dose"]),
                        "customers": int(row["customers"]),
                        "estimate": found.value,
                        "low": found.low,
                        "high": found.high,
                        "opted_out": left.value,
                    }
                )
        frame = pd.DataFrame(lines, columns=["dose", "customers", "estimate", "low", "high", "opted_out"])
        who_left = (frame["opted_out"].astype(float) * frame["customers"].astype(float)).round()
        # a share that rests on one to four who left would name them
        if frame["opted_out"].isna().all() or who_left.between(1, SMALLEST - 1).any():
            return frame.drop(columns="opted_out")
        return frame

    # --- shown ----------------------------------------------------------------------------------

    @property
    def design(self) -> str:
        """How the numbers came about."""
        if self.lift is not None:
            return message("Messages drawn by lot (effect of assignment), and what followed them")
        return message("What followed messages that were chosen; no group was drawn by lot")

    @property
    def estimand(self) -> str:
        """What the first number stands for."""
        if self.lift is not None:
            return message(
                "Difference in {money} per customer over {days} days between those drawn to be written to and the "
                "others",
                money=self._money(),
                days=str(self.lift_days),
            )
        return message("Share of messages followed by each step")

    def shown_funnel(self) -> Html:
        """Return the funnel as a table of the page."""
        frame = self.funnel_table()
        if frame.empty:
            return prose(message("No step of the funnel is recorded."))
        return table(
            frame,
            caption=message("Steps of the funnel, each with what it is a share of"),
            formats=dict.fromkeys(("estimate", "low", "high"), "percent"),
            headings={
                "step": message("Step"),
                "of": message("Of"),
                "count": message("Messages"),
                "n": message("Of how many"),
            },
        )

    def shown_groups(self) -> Iterator[Html]:
        """Yield the best recorded step by channel and campaign as tables of the page."""
        main = self._line("redeemed") or self._line("clicked")
        for by, words in (("channel", message("channel")), ("campaign_id", message("campaign"))):
            frame = self.group_table(by)
            if main is not None and len(frame):
                yield table(
                    frame,
                    caption=message(
                        "{step} by {group}, of {under}",
                        step=step_words(main["step"]).capitalize(),
                        group=words,
                        under=of_words(main["denominator"]),
                    ),
                    formats=dict.fromkeys(("estimate", "low", "high"), "percent"),
                    headings={
                        "group": words.capitalize(),
                        "count": message("Messages"),
                        "n": message("Of how many"),
                    },
                    note=message(
                        "Blank: fewer than five customers are counted, or the blank protects another one."
                    )
                    if frame["estimate"].isna().any()
                    else None,
                )

    def shown_doses(self) -> Iterator[Html]:
        """Yield the outcome by number of messages as tables of the page."""
        for drawn, part in ((True, self.lift), (False, self.dose)):
            frame = self.dose_table(drawn=drawn)
            if part is None or (drawn and self._refused()) or frame.empty:
                continue
            money = self._money().capitalize()
            yield table(
                frame,
                caption=message("{money} per customer by number of messages drawn by lot", money=money)
                if drawn
                else message("{money} per customer by number of messages, chosen by the sender", money=money),
                formats={
                    "dose": _plain if drawn else self._dose,
                    **dict.fromkeys(("estimate", "low", "high"), part.margin_trend.format),
                    **({"opted_out": "percent"} if "opted_out" in frame.columns else {}),
                },
                headings={
                    "dose": message("Messages"),
                    "customers": message("Customers"),
                    "estimate": message("Mean {money}", money=self._money()),
                    **({"opted_out": message("Opted out")} if "opted_out" in frame.columns else {}),
                },
            )

    def shown_offer(self) -> Html:
        """Return the difference by lot before, soon after and later, as a table of the page."""
        if self.offer is None:
            return prose(dict(self.absent).get(caused_name(), self.absent[0][1]))
        if self._refused():
            return prose(self.offer.verdict())
        frame = self.offer.to_frame()[["group", "estimate", "low", "high", "p_value"]]
        first, last = str(self.within_days), str(self.lift_days)
        frame["group"] = [
            message("the {days} days before", days=str(self.before_days)),
            message("the first {days} days", days=first),
            message("from then to day {days}", days=last),
            message("all {days} days", days=last),
        ]
        return table(
            frame,
            caption=message(
                "Drawn to be written to minus held out, {money} per customer, by time", money=self._money()
            ),
            formats=dict.fromkeys(("estimate", "low", "high"), signed(self.offer.net)),
            headings={"group": message("When")},
            note=message(
                "A gain at first and a loss later would mean that orders were only pulled forward. Differences after "
                "the draw allow for what each customer spent before."
            ),
        )

    def shown_rules(self) -> Html:
        """Return quiet hours, cap and consent as a table of the page."""
        rows = [part.to_frame() for part in (self.audit, self.consent) if part is not None]
        columns = ["metric", "group", "estimate", "low", "high", "n"]
        known = [frame.dropna(subset="estimate")[columns] for frame in rows]
        # a share of one to four would name them
        known = [
            f[~(f["estimate"].astype(float) * f["n"].astype(float)).round().between(1, SMALLEST - 1)]
            for f in known
        ]
        lines = [frame for frame in known if len(frame)]
        if not lines:
            return prose(message("No rule of contact could be looked at."))
        return table(
            pd.concat(lines, ignore_index=True),
            caption=message("How often the rules were broken"),
            formats=dict.fromkeys(("estimate", "low", "high"), "percent"),
            headings={"group": message("Rule"), "n": message("Of how many")},
        )

    def rules_words(self) -> tuple[str, ...]:
        """Return what was found of those who open nothing, or why nothing was."""
        if self.sunset is not None:
            return (self.sunset.verdict(),)
        lead = message("Whether those who open nothing still buy cannot be told.")
        return tuple(f"{lead} {reason}" for name, reason in self.absent if name == sunset_name())

    def figures(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield pictures of rates, each with alternative text and caption."""
        from loyalty_research.plots.programme import rate_bars

        shown = self.funnel_table().dropna(subset="estimate")
        if len(shown) > 1:
            label = [f"{s}\n{o}" for s, o in zip(shown["step"], shown["of"].map(short_words), strict=True)]
            axes = rate_bars(
                shown.assign(label=label, unsure=shown["step"].str.contains("unreliable")),
                title=message("How far the messages came"),
                xlabel=message("share of the messages named at the bar"),
            )
            caption = message(
                "Bars are shares, lines their 95% intervals. A dashed bar is not to be relied on."
            )
            yield axes, spoken(shown, "step"), caption
        main = self._line("redeemed") or self._line("clicked")
        for by, words in (("channel", message("channel")), ("campaign_id", message("campaign"))):
            rates = self.group_table(by).dropna(subset="estimate").head(_LINES)
            if main is None or len(rates) < 2:
                continue
            axes = rate_bars(
                rates.assign(label=rates["group"]),
                title=message("{step} by {group}", step=step_words(main["step"]).capitalize(), group=words),
                xlabel=message("share of {under}", under=of_words(main["denominator"])),
                reference=main["estimate"].value,
                reference_label=message("all"),
            )
            caption = message(
                "Differences are also differences between the people written to. Groups in which fewer than five "
                "customers are counted are left out."
            )
            yield axes, spoken(rates, "group"), caption

    def dose_figures(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the outcome by number of messages, drawn ones first."""
        from loyalty_research.plots.programme import dose_response

        for drawn, part in ((True, self.lift), (False, self.dose)):
            frame = self.dose_table(drawn=drawn)
            if part is None or (drawn and self._refused()) or len(frame) < 2:
                continue
            first, last = frame.iloc[0], frame.iloc[-1]
            unit = part.margin_trend
            alt = message(
                "Mean {money} per customer by number of messages: {low} at {few}, {high} at {many}.",
                money=self._money(),
                low=unit.format(first["estimate"]),
                few=f"{first['dose']:g}",
                high=unit.format(last["estimate"]),
                many=f"{last['dose']:g}",
            )
            title = (
                message("What was drawn by lot: an effect")
                if drawn
                else message("What was chosen: no effect can be read")
            )
            ylabel = (
                message("{money} per customer, {currency}", money=self._money(), currency=unit.unit)
                if unit.unit
                else message("{money} per customer", money=self._money())
            )
            caption = (
                message(
                    "Means with 95% intervals over the {days} days after the draw, as they are; the table of "
                    "differences allows for what each customer spent before.",
                    days=str(self.lift_days),
                )
                if drawn
                else message(
                    "Means with 95% intervals over the days observed. Those written to more often were other "
                    "customers from the start. Numbers with fewer than five customers are left out."
                )
            )
            axes = dose_response(
                frame, ylabel=ylabel, title=title, drawn=drawn, top=None if drawn else self.top
            )
            yield axes, alt, caption

    def truth_words(self) -> str:
        """Return the estimate beside the truth of a simulation, or why there is none to set beside it."""
        if self.truth is None or self.offer is None or self._refused():
            return message("No true effect is known for these data and these days.")
        found = self.offer.net
        return message(
            "These customers are simulated, so the true effect is known: {truth} per customer in {days} days. The "
            "estimate is {estimate} ({interval}).",
            truth=found.format(self.truth, signed=True),
            days=str(self.lift_days),
            estimate=found.format(signed=True),
            interval=found.interval(signed=True),
        )

    def absent_table(self) -> pd.DataFrame:
        """Return what cannot be measured: ``measure, reason``."""
        return pd.DataFrame(self.absent, columns=["measure", "reason"])

    def limits(self) -> tuple[str, ...]:
        """Return what the figures do not say, one sentence each."""
        said = [
            message(
                "A rate says how many did something after a message, not how many did it because of it; only a "
                "group drawn by lot that gets no message shows that."
            ),
            message(
                "A message is one campaign sent to one customer, however often it was repeated; rates take "
                "customers with several messages as clusters."
            ),
            message(
                "Campaigns differ in whom they were sent to and when; a better rate does not make a better campaign."
            ),
        ]
        if self.margin == 1:
            said.append(
                message("Spend is not profit: the cost of goods, of coupons and of sending is not deducted.")
            )
        return tuple(said)

"""Tables and sentences of the page on promises, made from results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme.tier_spells import PERIODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.deferral_schedule import DeferralSchedule
    from loyalty_research.programme.demotion import DemotionStudy
    from loyalty_research.programme.grace import GraceWhatIf
    from loyalty_research.programme.ledger import PointsLedger
    from loyalty_research.programme.liability import ExpiryWhatIf, RedemptionLiability
    from loyalty_research.programme.tiers import TierMigration, TierReach

__all__ = [
    "ONE",
    "broken",
    "grace_table",
    "ledger_tables",
    "owed",
    "rules_table",
    "schedule_table",
    "ways_table",
    "worth_of_grace",
]

ONE = {"M": "month", "Q": "quarter", "Y": "year"}
_ROWS = 24  # periods of a schedule that a page shows; the picture shows all
_FEW = 5  # counts below this are not shown


def owed(fit: RedemptionLiability, period: str, *, worth: float | None) -> str:
    """Say what redemptions to come are expected to cost, or how many points they take."""
    held = float(fit.cohorts["held"].sum())
    shown = fit.points if worth is None else fit.liability
    fields = {
        "held": number(held, digits=0),
        "figure": shown.format(),
        "interval": shown.interval(),
        "ceiling": shown.format(held * (worth or 1.0)),
        "age": fit.lapses_after if fit.tail else fit.last_age,
        "periods": PERIODS[period],
    }
    ever = fit.tail is not None and fit.lapses_after is None
    if worth is None and ever:
        return message(
            "Of {held} points held, {figure} are expected to be redeemed at some time ({interval}). What they cost is not "
            "measurable, since no value per point was named.",
            **fields,
        )
    if worth is None:
        return message(
            "Of {held} points held, {figure} are expected to be redeemed within {age} {periods} of their issue "
            "({interval}). What they cost is not measurable, since no value per point was named.",
            **fields,
        )
    if ever:
        return message(
            "Redemptions still to come are expected to cost {figure} ({interval}), those later than any seen so far among "
            "them; at most, if every point held were redeemed, {ceiling}.",
            **fields,
        )
    return message(
        "Redemptions still to come are expected to cost {figure} ({interval}), counting those within "
        "{age} {periods} of their issue; at most, if every point held were redeemed, {ceiling}.",
        **fields,
    )


def broken(fit: RedemptionLiability, period: str) -> str:
    """Say how many points are never redeemed, or not in time."""
    found = fit.breakage
    fields = {
        "share": found.format(),
        "interval": found.interval(),
        "age": fit.lapses_after if fit.tail else fit.last_age,
        "periods": PERIODS[period],
    }
    if fit.tail is not None and fit.lapses_after is None:
        return message("{share} of all points issued will never be redeemed ({interval}).", **fields)
    return message(
        "{share} of all points issued will not have been redeemed {age} {periods} after their issue ({interval}).",
        **fields,
    )


def _band(start: float, end: float) -> str:
    low = number(start, digits=0)
    if end == float("inf"):
        return message("{low} and more", low=low)
    return message("{low} to {high}", low=low, high=number(end - 1, digits=0))


def ledger_tables(ledger: PointsLedger) -> Iterator[tuple[pd.DataFrame, str]]:
    """Yield what was booked and how old what is left is, each with its caption."""
    totals = ledger.totals.assign(points=ledger.totals["points"].astype(float))
    totals.columns = pd.Index([message("Movement"), message("Entries"), message("Points")])
    yield totals, message("What was booked up to {day}", day=ledger.as_of.isoformat())
    ages = ledger.ageing
    made = pd.DataFrame(
        {
            "age": [_band(a, b) for a, b in zip(ages["from_day"], ages["to_day"], strict=True)],
            "points": ages["points"].astype(float),
            "accounts": ages["accounts"],
        }
    )
    made = suppress_small_cells(made, count="accounts", values=["points"])
    made.columns = pd.Index([message("Days since they were earned"), message("Points"), message("Accounts")])
    yield made, message("Points still held by age, the oldest used first")


def rules_table(expiry: ExpiryWhatIf, period: str, unit: str | None) -> pd.DataFrame:
    """Return expiry rules side by side; ``unit`` is the money's name, None for points."""
    table = expiry.policies

    def between(column: str, *, money: bool = False) -> list[str]:
        def shown(value: float) -> str:
            return number(value, digits=0) if money else percent(value)

        limits = zip(table[column], table[f"{column}_low"], table[f"{column}_high"], strict=True)
        return [f"{shown(v)} ({shown(lo)} to {shown(hi)})" for v, lo, hi in limits]

    return pd.DataFrame(
        {
            message("Points lapse after, {periods}", periods=PERIODS[period]): table[
                "expires_after"
            ].tolist(),
            message("Redeemed, of points issued"): between("redemption"),
            message("Breakage"): between("breakage"),
            message("Still to be redeemed, {unit}", unit=unit or message("points")): between(
                "liability", money=True
            ),
        }
    )


def schedule_table(deferral: DeferralSchedule) -> pd.DataFrame:
    """Return deferred revenue rolled forward, the latest booked periods and the first ahead."""
    table = deferral.schedule
    over = int((table["kind"] == "booked").sum())
    first = max(0, min(over - _ROWS // 2, len(table) - _ROWS))
    shown = table.iloc[first : first + _ROWS]
    words = {"booked": message("booked"), "expected": message("expected")}

    def money(column: str) -> list[float]:
        return [float(v) for v in shown[column]]

    return pd.DataFrame(
        {
            message("Period"): shown["period"].tolist(),
            message("Kind"): [words[k] for k in shown["kind"]],
            message("At the start"): money("opening"),
            message("+ deferred"): money("deferred"),
            message("− recognised"): money("recognised"),
            message("At the end"): money("closing"),
        }
    )


def ways_table(
    moves: TierMigration, reach: TierReach, settled: Mapping[str, Estimate], period: str
) -> pd.DataFrame:
    """Return, by tier, the share now and in the long run, and the way to the highest."""
    now = moves.latest[: len(moves.held)]
    way = {row["start"]: row for row in reach.states.to_dict("records")}
    rows = []
    for tier, count in zip(moves.held, now.tolist(), strict=True):
        there = settled.get(tier)
        steps = way.get(tier)
        rows.append(
            (
                tier,
                percent(count / now.sum()) if count >= _FEW else "–",
                f"{there.format()} ({there.format(there.low)} to {there.format(there.high)})"
                if there
                else "–",
                "–"
                if steps is None
                else f"{number(steps['periods'], digits=1)} ({number(steps['periods_low'], digits=1)} to "
                f"{number(steps['periods_high'], digits=1)})",
            )
        )
    names = [
        message("Tier"),
        message("Now"),
        message("In the long run, at present moves"),
        message("{periods} to {tier}", periods=PERIODS[period].capitalize(), tier=reach.target),
    ]
    return pd.DataFrame(rows, columns=names)


def grace_table(grace: GraceWhatIf) -> pd.DataFrame:
    """Return grace periods side by side."""
    days = [int(d) for d in grace.policies["grace_days"]]

    def shown(found: list[Estimate]) -> list[object]:
        return [f"{e.format()} ({e.format(e.low)} to {e.format(e.high)})" for e in found]

    def named(figure: str) -> list[object]:
        return shown([grace.estimate(d, figure) for d in days])

    columns: dict[str, list[object]] = {
        message("Days of grace"): [*days],
        message("Missed lines made good"): named("share"),
    }
    if not grace.policies["cost"].isna().any():
        columns[message("Benefits per month of grace")] = named("cost_per_month")
        columns[message("Cost per fall avoided")] = named("per_fall")
        if grace.margin is not None:
            columns[message("Spend per month that pays for it")] = shown(
                [grace.spend_needed(d) for d in days]
            )
    return pd.DataFrame(columns)


def worth_of_grace(grace: GraceWhatIf, study: DemotionStudy | None) -> tuple[str, ...]:
    """Set the spend that pays for a fall avoided beside what a fall changes at the line, where both are known."""
    costed = grace.margin is not None and not grace.policies["cost"].isna().any()
    if study is None or study.line is None or study.failed_gates or not costed:
        return ()
    needed = grace.spend_needed(int(grace.policies["grace_days"].iloc[-1]))
    effect = study.line.effect
    return (
        message(
            "To pay, a fall avoided must bring {needed} of spend a month ({range}); at the line, {name} changed by "
            "{effect} with the loss ({interval}).",
            needed=needed.format(),
            range=needed.interval(),
            name=study.name,
            effect=effect.format(signed=True),
            interval=effect.interval(signed=True),
        ),
    )

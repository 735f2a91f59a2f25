"""How much of a gain lasts, and how much only came sooner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.endowed_progress.economics import CardContrasts
from loyalty_research.endowed_progress.visits import arm_means
from loyalty_research.estimates import Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.endowed_progress.economics import Prices
    from loyalty_research.estimates import Check, Estimate

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["PulledForwardResult", "pulled_forward"]


@dataclass(frozen=True, repr=False)
class PulledForwardResult(CardResult):
    """How much of the gain was kept later, and how much only came sooner.

    Attributes:
        arms: Arm names, control first.
        by_day: Day since issue up to which the gain is counted.
        until_day: Day since issue up to which holders are followed on.
        level: Level of every interval.
        gains: Extra visits per card by ``by_day``, per other arm.
        given_back: Fewer visits per card than the control's after it (negative: still gaining).
        kept: Extra visits per card by ``until_day``.
        reward_gains: Extra rewards per card by ``by_day``.
        rewards_given_back: Fewer rewards per card than the control's after it.
        cost_pulled_forward: Cost per card of rewards the control takes later; None without a price.
        net_early: Net value by ``by_day``; None without prices.
        net_late: Net value by ``until_day``; None without prices.
    """

    title: ClassVar[str] = "What was kept, and what only came sooner"
    finding: ClassVar[str] = "pulled-forward"

    arms: tuple[str, ...]
    by_day: int
    until_day: int
    level: float
    gains: tuple[Estimate, ...]
    given_back: tuple[Estimate, ...]
    kept: tuple[Estimate, ...]
    reward_gains: tuple[Estimate, ...]
    rewards_given_back: tuple[Estimate, ...]
    cost_pulled_forward: tuple[Estimate, ...] | None = None
    net_early: tuple[Estimate, ...] | None = None
    net_late: tuple[Estimate, ...] | None = None

    def _headline(self) -> Estimate | None:
        return self.kept[0] if len(self.kept) == 1 else None

    def _rows(self) -> Iterable[Row]:
        early = message("by day {day}", day=self.by_day)
        late = message("from day {by} to day {until}", by=self.by_day, until=self.until_day)
        whole = message("by day {day}", day=self.until_day)
        for i, arm in enumerate(self.arms[1:]):
            yield Row(message("extra visits per card"), self.gains[i], arm, early)
            yield Row(message("visits given back per card"), self.given_back[i], arm, late)
            yield Row(message("extra visits per card"), self.kept[i], arm, whole)
            yield Row(message("extra rewards per card"), self.reward_gains[i], arm, early)
            yield Row(message("rewards pulled forward per card"), self.rewards_given_back[i], arm, late)
            if self.cost_pulled_forward is not None:
                yield Row(message("cost of rewards pulled forward"), self.cost_pulled_forward[i], arm, late)
            if self.net_early is not None and self.net_late is not None:
                yield Row(message("net margin per card"), self.net_early[i], arm, early)
                yield Row(message("net margin per card"), self.net_late[i], arm, whole)

    def _verdict(self) -> str:
        said = []
        for arm, gain, back, kept in zip(self.arms[1:], self.gains, self.given_back, self.kept, strict=True):
            fields = {
                "arm": arm,
                "by": self.by_day,
                "until": self.until_day,
                "gain": number(gain.value, signed=True),
                "kept": number(kept.value, signed=True),
                "back": number(back.value),
                "interval": message(
                    "{level} interval {low} to {high}",
                    level=percent(back.level, digits=0),
                    low=number(back.low, signed=True),
                    high=number(back.high, signed=True),
                ),
            }
            if back.low > 0:
                said.append(
                    message(
                        "Of the {gain} visits per card of {arm} by day {by}, {back} only came sooner ({interval}): by day "
                        "{until} {kept} are left.",
                        **fields,
                    )
                )
            elif back.high < 0:
                said.append(
                    message(
                        "Cards of {arm} go on gaining after day {by}: {gain} visits per card by then, {kept} by day {until}.",
                        **fields,
                    )
                )
            else:
                said.append(
                    message(
                        "Whether the {gain} visits per card of {arm} by day {by} were only pulled forward is not settled: "
                        "{back} were given back by day {until} ({interval}).",
                        **fields,
                    )
                )
        return " ".join(said)


def pulled_forward(
    visits: Floats,
    rewards: Floats,
    arm_of: Ints,
    *,
    arms: tuple[str, ...],
    cluster: Ints | None,
    by_day: int,
    until_day: int,
    prices: Prices | None,
    level: float,
    checks: tuple[Check, ...] = (),
) -> PulledForwardResult:
    """Split a gain into what is kept by a later day and what the control catches up on.

    The arm's lead by ``by_day`` is real trade only as far as it is still there by ``until_day``:
    what the control's holders buy more of in between is what the arm had pulled forward. The same
    holds for rewards, whose cost would have come anyway, only later.

    Args:
        visits: Visits of each holder by ``by_day`` and by ``until_day``, shape ``(holders, 2)``.
        rewards: Rewards likewise.
        arm_of: Arm position of each holder.
        arms: Arm names, control first.
        cluster: Cluster code of each holder, or None.
        by_day: Day up to which the gain is counted.
        until_day: Day up to which holders are followed on.
        prices: Prices, or None.
        level: Level of every interval.
        checks: Checks already made.
    """
    values = np.column_stack([visits, rewards])
    made = CardContrasts(arm_means(values, arm_of, len(arms), cluster), level)
    others = range(1, len(arms))

    def each(weights: list[float], unit: str | None) -> tuple[Estimate, ...]:
        return tuple(made.estimate(a, np.array(weights, dtype=float), unit) for a in others)

    visit_unit, reward_unit = message("visits"), message("rewards")
    money: dict[str, tuple[Estimate, ...]] = {}
    if prices is not None:
        m, r, paper = prices.margin, prices.reward_cost, prices.card_cost
        money["cost_pulled_forward"] = each([0, 0, r, -r], prices.currency)
        for name, w in (("net_early", [m, 0, -r, 0]), ("net_late", [0, m, 0, -r])):
            money[name] = tuple(
                made.estimate(a, np.array(w, dtype=float), prices.currency, paper[0] - paper[a])
                for a in others
            )
    return PulledForwardResult(
        arms=arms,
        by_day=by_day,
        until_day=until_day,
        level=level,
        gains=each([1, 0, 0, 0], visit_unit),
        given_back=each([1, -1, 0, 0], visit_unit),
        kept=each([0, 1, 0, 0], visit_unit),
        reward_gains=each([0, 0, 1, 0], reward_unit),
        rewards_given_back=each([0, 0, 1, -1], reward_unit),
        checks=checks,
        **money,
    )

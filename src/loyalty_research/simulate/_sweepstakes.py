"""A game: every so many orders earn a play, and who wins is drawn, which makes it an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd

from loyalty_research.i18n import message
from loyalty_research.mechanisms import Sweepstakes
from loyalty_research.simulate._members import MemberTruth
from loyalty_research.simulate._population import Orders, cents, merge_orders, moments
from loyalty_research.simulate._programme_tables import Entries, costs_table, ledger_frame
from loyalty_research.simulate._scheme import Scheme
from loyalty_research.simulate._truth import number, stream, whole
from loyalty_research.simulate._world import Course

if TYPE_CHECKING:
    from loyalty_research.simulate._population import Bools, Floats, Ints
    from loyalty_research.simulate._scheme import Shop

__all__ = ["GameCourse", "SweepstakesScheme", "SweepstakesTruth"]


@dataclass(frozen=True, kw_only=True)
class SweepstakesTruth(MemberTruth):
    """Parameters of the game, beside those of its members.

    Attributes:
        win_effect: Change of the purchase rate after a win, a fraction.
        win_days: How long that lasts.
    """

    rate_effect: float = number(0.1, -1, 10)
    spend_effect: float = number(0.0, -1, 10)
    win_effect: float = number(0.3, -1, 10)
    win_days: int = whole(60, 1, 365)


@dataclass(frozen=True, kw_only=True)
class GameCourse(Course):
    """A course with plays; arrays have one entry per order.

    Attributes:
        plays: Whether the order earned a play.
        wins: Whether the play was won.
    """

    plays: Bools
    wins: Bools


@dataclass(frozen=True)
class _Candidates:
    """Orders that a member may place, sorted by customer and moment; one entry each."""

    orders: Orders
    extra: Bools
    mark: Floats
    luck: Floats


class SweepstakesScheme(Scheme[SweepstakesTruth, GameCourse]):
    """Members play as they order, and order more for a while after a win."""

    kind: ClassVar[str] = "sweepstakes"
    steady: ClassVar[bool] = False

    @classmethod
    def default_rules(cls, truth: SweepstakesTruth) -> Sweepstakes:
        """Return one win in four after every three orders."""
        del truth
        return Sweepstakes(win_probability=0.25, orders_per_play=3, prize_value=6)

    @property
    def game(self) -> Sweepstakes:
        """The rules."""
        return cast("Sweepstakes", self.rules)

    def description(self) -> str:
        """Return one sentence that says what the data are."""
        return message(
            "Simulated shop that launches a game with prizes, with members, non-members and invitations drawn at "
            "random, and wins drawn among plays; the truth behind it is disclosed."
        )

    def top(self) -> float:
        """Return the most that a member's rate rises at any time."""
        return (1 + self.truth.rate_effect) * (1 + max(self.truth.win_effect, 0.0)) - 1

    @cached_property
    def _luck(self) -> tuple[Floats, Floats]:
        """A uniform number per order of the world, base and extra, that decides its play."""
        sizes = len(self.world.base.customer), len(self.world.extra.customer)
        return (
            stream(self.seed, "plays").random(sizes[0]),
            stream(self.seed, "plays of extra orders").random(sizes[1]),
        )

    def course(self, joined: Floats, stop: int, *, start: int = 0) -> GameCourse:
        """Play out days [start, stop) when customers join on the days ``joined``."""
        course = self.play(joined, stop)
        within = course.orders.between(start, stop)
        return GameCourse(
            orders=course.orders.keep(within),
            gone=course.gone,
            member=course.member[within],
            plays=course.plays[within],
            wins=course.wins[within],
        )

    def play(self, joined: Floats, stop: int, *, first: bool | None = None) -> GameCourse:
        """Play out all days up to ``stop``.

        Args:
            joined: Joining days.
            stop: The day after the last.
            first: What becomes of everybody's first play; by default it is drawn.
        """
        world = self.world
        gone = world.gone(joined)
        here = (world.base.moment < gone[world.base.customer]) & (world.base.moment < stop)
        member = world.base.moment >= joined[world.base.customer]
        found = self._candidates(joined, gone, here & member, stop)
        kept, plays, wins = self._walk(found, first)
        before = world.base.keep(here & ~member)
        nothing = np.zeros((len(before.customer), 3), dtype=bool)
        orders, notes = merge_orders(
            (before, nothing),
            (
                found.orders.keep(kept),
                np.column_stack([np.ones(int(kept.sum()), bool), plays[kept], wins[kept]]),
            ),
        )
        amount = cents(orders.amount * np.where(notes[:, 0], 1 + self.truth.spend_effect, 1.0))
        orders = Orders(orders.customer, orders.moment, amount)
        return GameCourse(orders=orders, gone=gone, member=notes[:, 0], plays=notes[:, 1], wins=notes[:, 2])

    def _candidates(self, joined: Floats, gone: Floats, base: Bools, stop: int) -> _Candidates:
        world, (luck, extra_luck) = self.world, self._luck
        who, when = world.extra.customer, world.extra.moment
        extra = (when >= joined[who]) & (when < gone[who]) & (when < stop)
        marks = world.extra_mark if world.extra_mark is not None else np.zeros(len(who))
        orders, notes = merge_orders(
            (
                world.base.keep(base),
                np.column_stack([np.zeros(int(base.sum())), world.mark[base], luck[base]]),
            ),
            (
                world.extra.keep(extra),
                np.column_stack([np.ones(int(extra.sum())), marks[extra], extra_luck[extra]]),
            ),
        )
        return _Candidates(orders, notes[:, 0] == 1, notes[:, 1], notes[:, 2])

    def _walk(self, found: _Candidates, first: bool | None) -> tuple[Bools, Bools, Bools]:
        """Go through everybody's orders at once, one after the other: which happen, play and win."""
        truth, game = self.truth, self.game
        who, when = found.orders.customer, found.orders.moment
        kept, plays, wins = (np.zeros(len(who), dtype=bool) for _ in range(3))
        if not len(who):
            return kept, plays, wins
        begin = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
        length = np.diff(np.r_[begin, len(who)])
        longest = np.argsort(-length, kind="stable")
        begin, length = begin[longest], length[longest]
        done, lasting = np.zeros(len(begin), dtype=np.int64), np.full(len(begin), -np.inf)
        for step in range(int(length[0])):
            alive = int(np.searchsorted(-length, -step, side="left"))
            row = begin[:alive] + step
            rate = (1 + truth.rate_effect) * np.where(when[row] < lasting[:alive], 1 + truth.win_effect, 1.0)
            happens = np.where(
                found.extra[row], found.mark[row] * self.world.top < rate - 1, found.mark[row] < rate
            )
            done[:alive] += happens
            play = happens & (done[:alive] % game.orders_per_play == 0)
            win = play & (found.luck[row] < game.win_probability)
            if first is not None:
                win = np.where(done[:alive] == game.orders_per_play, play & first, win)
            lasting[:alive] = np.where(win, when[row] + truth.win_days, lasting[:alive])
            kept[row], plays[row], wins[row] = happens, play, win
        return kept, plays, wins

    def leaves(self, shop: Shop[GameCourse]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """Return the ledger of plays, the experiment of first plays, costs; what winning changed."""
        course, game = shop.course, self.game
        plays = np.flatnonzero(course.plays)
        who, when, won = course.orders.customer[plays], course.orders.moment[plays], course.wins[plays]
        one = np.ones(len(plays))
        parts = [
            Entries("earn", who, when, one),
            Entries("redeem", who, when, one, extra={"is_win": won.astype(object)}),
        ]
        prize = next((v for v in (game.prize_cost, game.prize_value) if v is not None), 0.0)
        tables = {
            "points_ledger": ledger_frame(shop.people, parts),
            "assignments": self._first_plays(shop, who, when, won),
            "costs": costs_table(("play", "play", "per_redemption", round(game.win_probability * prize, 2))),
        }
        facts = {
            "plays": len(plays),
            "wins": int(won.sum()),
            "prize_cost": prize * float(won.sum()),
            "any_win_in_4": game.any_win(plays=4),
        }
        return tables, facts | self._winning(shop)

    def _first_plays(self, shop: Shop[GameCourse], who: Ints, when: Floats, won: Bools) -> pd.DataFrame:
        """Return the experiment that the first play of each player is."""
        first = np.flatnonzero(np.r_[True, who[1:] != who[:-1]][: len(who)])
        chance = self.game.win_probability
        return pd.DataFrame(
            {
                "experiment_id": "first play",
                "customer_id": shop.people.keys(who[first]),
                "arm": np.where(won[first], "won", "lost").astype(object),
                "assigned_at": moments(when[first]),
                "exposed_at": moments(when[first]),
                "assignment_probability": np.where(won[first], chance, 1 - chance),
            }
        )

    def _winning(self, shop: Shop[GameCourse]) -> dict[str, float]:
        """Return what winning the first play changes in the days after it, on all who play in time."""
        days, last = self.truth.win_days, shop.world.horizon
        sums = {}
        for first in (True, False):
            course = self.play(shop.joined, last, first=first)
            at = np.full(shop.people.size, np.inf)
            rows = np.flatnonzero(course.plays)[::-1]
            at[course.orders.customer[rows]] = course.orders.moment[rows]
            who, when = course.orders.customer, course.orders.moment
            after = (when > at[who]) & (when < at[who] + days)
            players = at + days < last
            for name, weights in (("orders", np.ones(len(who))), ("spend", course.orders.amount)):
                total = np.bincount(who[after], weights=weights[after], minlength=shop.people.size)
                sums[name, first] = total[players]
        return {
            f"win_effect_{name}": float((sums[name, True] - sums[name, False]).mean())
            if len(sums[name, True])
            else float("nan")
            for name in ("orders", "spend")
        } | {"players": float(len(sums["orders", True]))}

"""Tiers: who moves where, how long it takes, and where the mix is heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._markov import order_test, reach, settled_mix
from loyalty_research.programme.tier_spells import PERIODS, tier_states

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.programme._markov import OrderTest

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["TierMigration", "TierReach", "tier_migration"]

METHOD = "Dirichlet, Jeffreys prior"
DRAWN = "Dirichlet, posterior draws"


@dataclass(frozen=True, repr=False)
class TierReach(Result):
    """How likely and how long it is to a tier.

    Attributes:
        target: The tier to reach.
        states: One row per starting tier: ``start, chance, chance_low, chance_high, periods,
            periods_low, periods_high, n``.
        leaves: Whether customers can leave before they reach it.
        level: Confidence level.
        period: Calendar period.
    """

    title: ClassVar[str] = "Way to a tier"

    target: str
    states: pd.DataFrame
    leaves: bool
    level: float
    period: str

    def _rows(self) -> Iterable[Row]:
        names = {
            "chance": message("chance to reach {tier} before leaving", tier=self.target),
            "periods": message("periods to {tier}, of those who reach it", tier=self.target),
        }
        for row in self.states.to_dict("records"):
            for column, name in names.items():
                if column == "chance" and not self.leaves:
                    continue
                limits = row[f"{column}_low"], row[f"{column}_high"]
                unit = "fraction" if column == "chance" else None
                yield Row(
                    name,
                    Estimate(row[column], *limits, self.level, DRAWN, int(row["n"]), unit),
                    group=str(row["start"]),
                )

    def _verdict(self) -> str:
        row = self.states.iloc[0]
        if self.leaves:
            return message(
                "From {start}, {chance} reach {tier} before they leave, after {periods} {unit} on average, if the "
                "next move depends on the present tier alone.",
                start=row["start"],
                chance=percent(row["chance"]),
                tier=self.target,
                periods=number(row["periods"], digits=1),
                unit=PERIODS[self.period],
            )
        return message(
            "From {start}, it takes {periods} {unit} on average to reach {tier}, if the next move depends on the "
            "present tier alone.",
            start=row["start"],
            tier=self.target,
            periods=number(row["periods"], digits=1),
            unit=PERIODS[self.period],
        )


@dataclass(frozen=True, repr=False)
class TierMigration(Result):
    """Moves between tiers from one period to the next.

    Attributes:
        tiers: Names of states, lowest tier first; last those who left, where anybody did.
        left: Name of the state of those who left, or None.
        counts: Moves, one row per state from, one column per state to.
        entries: Customers by the state they began in.
        latest: Customers by state in the last period.
        order: Test of order 1 against order 2.
        customers: Customers followed.
        level: Confidence level.
        period: Calendar period.
        draws: Posterior draws behind intervals of what is computed from the matrix.
        seed: Seed of the draws.
    """

    title: ClassVar[str] = "Tier migration"

    tiers: tuple[str, ...]
    left: str | None
    counts: Ints
    entries: Ints
    latest: Ints
    order: OrderTest
    customers: int
    level: float
    period: str
    draws: int
    seed: int

    @property
    def gone(self) -> int | None:
        """Position of the state of those who left."""
        return None if self.left is None else len(self.tiers) - 1

    @property
    def held(self) -> tuple[str, ...]:
        """The tiers proper, without those who left."""
        return self.tiers if self.left is None else self.tiers[:-1]

    @property
    def matrix(self) -> pd.DataFrame:
        """Expected shares of moves, rows summing to 1."""
        shares = _posterior(self.counts)
        return pd.DataFrame(
            shares / shares.sum(axis=1, keepdims=True), index=list(self.tiers), columns=list(self.tiers)
        )

    def move(self, start: str, end: str) -> Estimate:
        """Return the share of ``start`` that is in ``end`` a period later.

        Raises:
            ArgumentError: When a tier is unknown.
        """
        return self._move(self._code(start), self._code(end))

    def _code(self, tier: str) -> int:
        if tier not in self.tiers:
            raise ArgumentError(f"there is no tier {tier!r}; the tiers are {', '.join(self.tiers)}")
        return self.tiers.index(tier)

    def _move(self, start: int, end: int) -> Estimate:
        from scipy.special import betaincinv

        weights = _posterior(self.counts)[start]
        total, one = float(weights.sum()), float(weights[end])
        tail = (1 - self.level) / 2
        low, high = (float(betaincinv(one, total - one, q)) for q in (tail, 1 - tail))
        n = int(self.counts[start].sum())
        return Estimate(one / total, low, high, self.level, METHOD, n, "fraction")

    def _draw(self) -> tuple[Floats, Floats]:
        """Return drawn matrices and entry mixes; the first is the posterior mean."""
        rng = np.random.default_rng(self.seed)
        weights = _posterior(self.counts)
        entry = np.where(np.arange(len(self.tiers)) == self.gone, 0.0, self.entries + 0.5)
        rows = rng.standard_gamma(weights, size=(self.draws, *weights.shape))
        first = rng.standard_gamma(entry, size=(self.draws, len(entry)))
        matrices = np.concatenate([weights[None], rows])
        entries = np.concatenate([entry[None], first])
        return matrices / matrices.sum(-1, keepdims=True), entries / entries.sum(-1, keepdims=True)

    def _limits(self, drawn: Floats) -> tuple[Floats, Floats]:
        tail = (1 - self.level) / 2
        low, high = np.quantile(drawn[1:], [tail, 1 - tail], axis=0)
        return low, high

    def _need_moves(self) -> None:
        idle = [t for t, n in zip(self.held, self.counts.sum(axis=1), strict=False) if not n]
        if idle:
            raise DesignError(
                f"nobody was seen in {', '.join(idle)} for a period, so nothing is known of moves from there; "
                "merge this tier with its neighbour"
            )

    def reach(self, target: str) -> TierReach:
        """Return the chance of reaching a tier before leaving, and the periods it takes.

        Periods are those of customers who do reach it. Someone who left and came back counts as
        gone when they left.

        Args:
            target: The tier to reach.

        Raises:
            ArgumentError: When the tier is unknown.
            DesignError: When a tier has no observed period after it.
        """
        self._need_moves()
        if target not in self.held:
            raise ArgumentError(f"there is no tier {target!r} to reach; the tiers are {', '.join(self.held)}")
        code = self._code(target)
        chances, periods = reach(self._draw()[0], code, self.gone)
        limits = self._limits(chances), self._limits(periods)
        rows = [
            {
                "start": name,
                "chance": chances[0, s],
                "chance_low": limits[0][0][s],
                "chance_high": limits[0][1][s],
                "periods": periods[0, s],
                "periods_low": limits[1][0][s],
                "periods_high": limits[1][1][s],
                "n": int(self.counts[s].sum()),
            }
            for s, name in enumerate(self.held)
            if s != code
        ]
        return TierReach(
            target=target,
            states=pd.DataFrame(rows),
            leaves=self.gone is not None,
            level=self.level,
            period=self.period,
            checks=tuple(
                c for c in self.checks if c.name == message("Moves depend on the present tier alone")
            ),
        )

    def settled(self) -> dict[str, Estimate]:
        """Return the mix of tiers in the long run, at the present moves.

        Where customers leave, each is replaced by an entrant, so that the membership keeps its size.

        Raises:
            DesignError: When a tier has no observed period after it.
        """
        self._need_moves()
        matrices, entries = self._draw()
        mix = settled_mix(matrices, entries, self.gone)
        low, high = self._limits(mix)
        n = int(self.counts.sum())
        return {
            t: Estimate(float(mix[0, s]), float(low[s]), float(high[s]), self.level, DRAWN, n, "fraction")
            for s, t in enumerate(self.held)
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix of moves; states nobody was seen in are left out."""
        from loyalty_research.plots.promises import tier_moves

        seen = self.counts.sum(axis=1) > 0
        return tier_moves(self.matrix[seen], ax=ax)

    def _rows(self) -> Iterable[Row]:
        for s, start in enumerate(self.tiers):
            if not self.counts[s].sum():
                continue
            for e, end in enumerate(self.tiers):
                yield Row(
                    message("share a period later"),
                    self._move(s, e),
                    group=message("{start} to {end}", start=start, end=end),
                    extra={"count": int(self.counts[s, e])},
                )

    def _verdict(self) -> str:
        up, down, stay = (
            float(np.sum(part[: len(self.held), : len(self.held)]))
            for part in (np.triu(self.counts, 1), np.tril(self.counts, -1), np.diag(np.diag(self.counts)))
        )
        lost = 0.0 if self.gone is None else float(self.counts[: self.gone, self.gone].sum())
        total = up + down + stay + lost
        fields = {
            "up": percent(up / total),
            "down": percent(down / total),
            "stay": percent(stay / total),
            "lost": percent(lost / total),
        }
        if self.gone is None:
            return message(
                "From one period to the next, {stay} keep their tier, {up} rise and {down} fall.", **fields
            )
        return message(
            "From one period to the next, {stay} keep their tier, {up} rise, {down} fall and {lost} leave.",
            **fields,
        )


def _posterior(counts: Ints) -> Floats:
    return np.asarray(counts, dtype=float) + 0.5


def _checks(names: Sequence[str], counts: Ints, order: OrderTest) -> tuple[Check, ...]:
    idle = [name for name, n in zip(names, counts.sum(axis=1), strict=True) if not n]
    name = message("Moves depend on the present tier alone")
    if not order.degrees_of_freedom:
        memory = Check(name, "not measurable", message("Too few runs of three periods were seen."))
    else:
        kept = order.p_value >= 0.05
        memory = Check(
            name,
            "passed" if kept else "warning",
            messages(
                "{count} run of three periods speaks neither for nor against memory (p = {p}).",
                "{count} runs of three periods show no memory of the tier before (p = {p}).",
                order.triples,
                p=number(order.p_value, digits=3),
            )
            if kept
            else message(
                "The tier before matters too (p {p}), or customers differ: shares of moves stand, but periods to a "
                "tier and the long-run mix are rough.",
                p="< 0.001" if order.p_value < 0.001 else f"= {number(order.p_value, digits=3)}",
            ),
            p_value=order.p_value,
        )
    if not idle:
        return (memory,)
    unseen = Check(
        message("Every tier was seen"),
        "not measurable",
        message(
            "Nobody was seen in {tiers} for a period, so moves from there are not measurable.",
            tiers=", ".join(idle),
        ),
    )
    return memory, unseen


def tier_migration(
    memberships: Any,
    *,
    tiers: Sequence[str],
    as_of: dt.date | str,
    period: str = "M",
    left: str = "left",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> TierMigration:
    """Count moves between tiers from the end of one period to the end of the next.

    Shares are posterior means under Jeffreys' prior (half a move in every cell) with equal-tailed
    intervals. They take moves as independent given the tier, as the order test examines.

    Args:
        memberships: Table ``memberships``: ``customer_id``, ``valid_from``, ``valid_to``, ``tier``;
            such as :func:`tier_spells` derives. Any frame that narwhals knows.
        tiers: Names of tiers, lowest first.
        as_of: Last day observed; a period not over by then is left out.
        period: ``"M"``, ``"Q"`` or ``"Y"``.
        left: Name for those without a spell after their first.
        level: Confidence level.
        draws: Posterior draws for intervals of :meth:`TierMigration.reach` and ``settled``.
        seed: Seed of the draws.

    Returns:
        The matrix with its intervals and the order-1 test among its checks.

    Raises:
        ContractError: When the table breaks its contract, or tiers overlap; rows by position.
        ArgumentError: When an option is outside its range.
        DesignError: When fewer than two periods are over.

    Examples:
        >>> spells = pd.DataFrame({"customer_id": ["a", "a", "b"], "tier": ["base", "gold", "base"],
        ...     "valid_from": pd.to_datetime(["2024-01-05", "2024-03-10", "2024-01-20"]),
        ...     "valid_to": pd.to_datetime(["2024-03-10", None, None])})
        >>> moves = tier_migration(spells, tiers=["base", "gold"], as_of="2024-04-30")
        >>> moves.counts.tolist()
        [[4, 1], [0, 1]]
        >>> moves.move("base", "gold")
        25.0% (95% interval 2.3% to 62.9%; Dirichlet, Jeffreys prior; n = 5)

    References:
        Anderson, Goodman (1957), Annals of Mathematical Statistics 28, 89-110; Gelman et al.
        (2013), Bayesian Data Analysis, section 3.4.
    """
    check_level(level)
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 200:
        raise ArgumentError(f"draws is a whole number from 200; got {draws!r}")
    states = tier_states(memberships, tiers=tiers, as_of=as_of, period=period, left=left)
    counts = states.pairs()
    held = len(states.names) if states.left is None else states.left
    if not counts[:held].sum():
        raise DesignError(
            "nobody was seen in two periods in a row, so nobody can have moved; name a shorter period"
        )
    order = order_test(states.triples())
    return TierMigration(
        tiers=states.names,
        left=None if states.left is None else left,
        counts=counts,
        entries=states.entries(),
        latest=states.latest(),
        order=order,
        customers=states.customers,
        level=level,
        period=period,
        draws=draws,
        seed=seed,
        checks=_checks(states.names[:held], counts[:held], order),
    )

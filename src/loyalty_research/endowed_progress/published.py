"""Published experiments whose counts can be read from the paper."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from loyalty_research.endowed_progress.experiment import CardExperiment
from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Published", "published", "published_for"]


class _Tables(Protocol):
    """What is needed of a dataset."""

    @property
    def kind(self) -> str: ...
    def has(self, table: str, *columns: str) -> bool: ...
    def frame(self, table: str) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Published:
    """Counts of a published experiment, with every reading the paper allows.

    Attributes:
        id: Name to call it by.
        citation: Where it was published.
        description: What was done, in a sentence or two.
        control: Name of the control arm.
        required: Arm to stamps a reward takes, given ones included.
        endowed: Arm to stamps given.
        readings: Name of a reading to arm to (completed, handed out).
        horizon: By when cards were counted, in words.
        note: Why there is more than one reading.
        limits: What the paper leaves open.
    """

    id: str
    citation: str
    description: str
    control: str
    required: dict[str, int]
    endowed: dict[str, int]
    readings: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    horizon: str = ""
    note: str = ""
    limits: tuple[str, ...] = ()

    def experiment(self, reading: str | None = None, *, level: float = 0.95) -> CardExperiment:
        """Return the experiment under one reading of the counts (the first by default).

        Raises:
            ArgumentError: When the reading is unknown.
        """
        chosen = next(iter(self.readings)) if reading is None else str(reading)
        if chosen not in self.readings:
            raise ArgumentError(f"reading must be one of {', '.join(self.readings)}; got {reading!r}")
        return CardExperiment.from_counts(
            self.readings[chosen],
            control=self.control,
            horizon=self.horizon or None,
            stamps={a: (self.required[a], self.endowed[a]) for a in self.required},
            level=level,
        )

    def readings_frame(self, *, level: float = 0.95) -> pd.DataFrame:
        """Return what each reading says, one row per reading and arm beside the control.

        Returns:
            reading, arm, control_rate, arm_rate, difference, low, high, p_value (Fisher),
            probability (that the difference exceeds 0, uniform priors), number_needed.
        """
        import pandas as pd

        rows = []
        for reading in self.readings:
            result = self.experiment(reading, level=level).completion()
            rates = dict(zip(result.outcomes.arms, result.rates, strict=True))
            for c in result.comparisons:
                chance = math.nan if c.posterior is None else c.posterior.pr_above(0.0)
                rows.append(
                    {
                        "reading": reading,
                        "arm": c.arm,
                        "control_rate": rates[self.control].value,
                        "arm_rate": rates[c.arm].value,
                        "difference": c.difference.value,
                        "low": c.difference.low,
                        "high": c.difference.high,
                        "p_value": c.tests[0].p_value,
                        "probability": chance,
                        "number_needed": c.number_needed.value,
                    }
                )
        return pd.DataFrame(rows)


_PUBLISHED = {
    "nunes-dreze-2006": Published(
        id="nunes-dreze-2006",
        citation=(
            "Nunes, J. C. and Dreze, X. (2006). The endowed progress effect: how artificial advancement "
            "increases effort. Journal of Consumer Research 32(4), 504-512."
        ),
        description=(
            "A car wash handed out 300 cards for a free wash. Half asked for eight stamps; half asked for ten, "
            "two of them given. Nine months later 19% of the former and 34% of the latter had been redeemed."
        ),
        control="control",
        required={"control": 8, "endowed": 10},
        endowed={"control": 0, "endowed": 2},
        readings={
            "28": {"control": (28, 150), "endowed": (51, 150)},
            "29": {"control": (29, 150), "endowed": (51, 150)},
        },
        horizon="within nine months",
        note="The paper prints percentages: 34% of 150 is 51 cards, but 19% of 150 may be 28 or 29.",
        limits=(
            (
                "One car wash, one reward, 300 cards over nine months, published in 2006 and never repeated card by "
                "card in the open: a found effect that was worth publishing tends to be larger than the true one."
            ),
            "Redeemed cards were counted; a card filled and never handed in counts as not completed.",
            "Cards are reported as handed out at random; whether by card, by day or by cashier is not known.",
        ),
    )
}


def published_for(dataset: _Tables) -> Published | None:
    """Return the published experiment whose counts a dataset holds, or None.

    Args:
        dataset: What :func:`loyalty_research.open_dataset` returns.
    """
    if dataset.kind != "published" or not dataset.has("units", "arm", "completed"):
        return None
    found = dataset.frame("units").groupby("arm")["completed"].agg(["sum", "size"])
    counts = {str(arm): (int(x), int(n)) for arm, x, n in found.itertuples()}
    return next((p for p in _PUBLISHED.values() if counts in p.readings.values()), None)


def published(name: str) -> Published:
    """Return a published experiment by name.

    Args:
        name: ``"nunes-dreze-2006"``.

    Raises:
        ArgumentError: When no experiment of that name is known; the message lists them.

    Examples:
        >>> carwash = published("nunes-dreze-2006")
        >>> for reading in carwash.readings:
        ...     print(reading, carwash.experiment(reading).completion()["endowed"].difference)
        28 15.3% (95% interval 5.4% to 24.9%; newcombe; n = 300)
        29 14.7% (95% interval 4.7% to 24.3%; newcombe; n = 300)
    """
    if name not in _PUBLISHED:
        raise ArgumentError(f"no published experiment {name!r}; known: {', '.join(_PUBLISHED)}")
    return _PUBLISHED[name]

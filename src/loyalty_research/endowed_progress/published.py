"""Published experiments whose counts can be read from the paper."""

from __future__ import annotations

from dataclasses import dataclass, field

from loyalty_research.endowed_progress.experiment import CardExperiment
from loyalty_research.errors import ArgumentError

__all__ = ["Published", "published"]


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
        note: Why there is more than one reading.
    """

    id: str
    citation: str
    description: str
    control: str
    required: dict[str, int]
    endowed: dict[str, int]
    readings: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    note: str = ""

    def experiment(self, reading: str | None = None, *, level: float = 0.95) -> CardExperiment:
        """Return the experiment under one reading of the counts (the first by default).

        Raises:
            ArgumentError: When the reading is unknown.
        """
        chosen = next(iter(self.readings)) if reading is None else str(reading)
        if chosen not in self.readings:
            raise ArgumentError(f"reading must be one of {', '.join(self.readings)}; got {reading!r}")
        return CardExperiment.from_counts(self.readings[chosen], control=self.control, level=level)


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
        note="The paper prints percentages: 34% of 150 is 51 cards, but 19% of 150 may be 28 or 29.",
    )
}


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

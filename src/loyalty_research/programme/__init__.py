"""The programme itself: does it work, what does it cost, whom does it reach, what is promised.

Every measure comes with its interval and its denominator; what the data cannot carry is said to be
not measurable, with the reason.
"""

from __future__ import annotations

__all__: list[str] = []

"""Parameters of a page, which are texts and numbers, as the options that analyses take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["named_numbers", "scorecard_options"]


def named_numbers(texts: Sequence[str]) -> dict[str, float]:
    """Read pairs written as ``name=number``, in their order.

    Raises:
        ArgumentError: When a text is not of this form, or a name stands twice.

    Examples:
        >>> named_numbers(["retention=0.6", "net_promoter_score=20"])
        {'retention': 0.6, 'net_promoter_score': 20.0}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise ArgumentError(
                f"write a name and a number, such as 'retention=0.6'; got {text!r}"
            ) from error
    if len(found) != len(texts):
        raise ArgumentError(f"a name stands twice: {', '.join(texts)}")
    return found


def scorecard_options(
    *, purposes: Sequence[str] = (), organic_channels: Sequence[str] = ()
) -> dict[str, Any]:
    """Return options of a scorecard from texts, leaving out what is not declared.

    Args:
        purposes: Pairs such as ``"advert=acquisition"``.
        organic_channels: Acquisition channels that are not paid for.

    Raises:
        ArgumentError: When a text is no pair, or a name stands twice.

    Examples:
        >>> scorecard_options(purposes=["advert=acquisition"], organic_channels=[])
        {'purposes': {'advert': 'acquisition'}}
    """
    pairs = [tuple(part.strip() for part in text.partition("=")[::2]) for text in purposes]
    found = {name: purpose for name, purpose in pairs if name and purpose}
    if len(found) != len(pairs):
        raise ArgumentError(
            f"write each cost once with its purpose, such as 'advert=acquisition'; got {', '.join(purposes)}"
        )
    options: dict[str, Any] = {"purposes": found, "organic_channels": tuple(organic_channels)}
    return {name: value for name, value in options.items() if value}

"""Sentences for readers: message ids with named arguments, looked up through gettext.

The id of a message is its English text with ``{named}`` fields, so English needs no
catalogue and another language is a compiled ``locale/<language>/LC_MESSAGES/loyalty_research.mo``.
Ids are literals at the call (a test checks it), which lets ``xgettext`` collect them.
"""

from __future__ import annotations

import gettext
import math
import os
from functools import cache
from pathlib import Path

__all__ = ["message", "messages", "number", "percent", "set_language"]

_LOCALE = Path(__file__).with_name("locale")


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("loyalty_research", _LOCALE, languages=[language], fallback=True)


def _translations() -> gettext.NullTranslations:
    return _catalogue(os.environ.get("LOYALTY_LANGUAGE", "en"))


def set_language(language: str) -> None:
    """Choose the language of sentences for this process and the notebooks it starts.

    Args:
        language: A code such as ``"en"`` or ``"vi"``; without a catalogue, English is used.
    """
    os.environ["LOYALTY_LANGUAGE"] = language


def message(text: str, /, **arguments: object) -> str:
    """Return a reader's sentence in the chosen language.

    Args:
        text: The English sentence with ``{named}`` fields; it is the message id.
        **arguments: Values of the fields, already formatted where precision matters.

    Examples:
        >>> message("{share} of customers came back.", share=percent(0.25))
        '25.0% of customers came back.'
    """
    return _translations().gettext(text).format(**arguments)


def messages(singular: str, plural: str, count: int, /, **arguments: object) -> str:
    """Return the sentence for one or many; ``{count}`` is filled in with separators.

    Examples:
        >>> messages("{count} customer left.", "{count} customers left.", 1200)
        '1,200 customers left.'
    """
    chosen = _translations().ngettext(singular, plural, count)
    return chosen.format(count=f"{count:,}", **arguments)


def number(value: float | None, *, digits: int | None = None, signed: bool = False) -> str:
    """Format a number for a sentence or a table cell.

    Args:
        value: The number; ``None`` or NaN gives an en dash.
        digits: Decimals; by default three significant digits below 100 and none above 1,000.
        signed: Show ``+`` before positive values.

    Examples:
        >>> number(1234.5), number(0.01234), number(12.34, digits=1), number(2, signed=True)
        ('1,234', '0.0123', '12.3', '+2.00')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 or size == 0 else 4
    sign = "+" if signed else "-"
    text = f"{value:{sign},.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent(value: float | None, *, digits: int = 1, signed: bool = False) -> str:
    """Format a fraction as a percentage.

    Examples:
        >>> percent(0.1862), percent(-0.05, digits=0)
        ('18.6%', '−5%')
    """
    if value is None or math.isnan(value):
        return "–"
    return number(100 * value, digits=digits, signed=signed) + "%"

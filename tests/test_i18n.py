import gettext

import pytest

from loyalty_research import i18n


def test_numbers_read_as_people_write_them():
    assert i18n.number(-0.0001, digits=2) == "0.00"
    assert i18n.number(-1234.6) == "−1,235"
    assert i18n.number(float("nan")) == "–"
    assert i18n.number(float("inf")) == "∞"
    assert i18n.percent(0.05, signed=True) == "+5.0%"


def test_a_message_without_its_argument_fails():
    with pytest.raises(KeyError):
        i18n.message("{share} came back")


def test_plural_follows_the_count():
    assert i18n.messages("{count} card", "{count} cards", 1) == "1 card"
    assert i18n.messages("{count} card", "{count} cards", 2000) == "2,000 cards"


def test_another_language_is_a_catalogue(monkeypatch):
    class French(gettext.NullTranslations):
        def gettext(self, message):
            return {"{share} came back": "{share} sont revenus"}[message]

    monkeypatch.setattr(i18n, "_catalogue", lambda language: {"fr": French()}[language])
    monkeypatch.setenv("LOYALTY_LANGUAGE", "fr")
    assert i18n.message("{share} came back", share="5%") == "5% sont revenus"

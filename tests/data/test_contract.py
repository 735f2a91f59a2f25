from __future__ import annotations

import re

from loyalty_research.data.contract import CURRENCIES, TABLES, contract_frame


def test_every_table_of_the_contract_is_there():
    assert list(TABLES) == [
        "customers",
        "transactions",
        "memberships",
        "contacts",
        "points_ledger",
        "card_events",
        "assignments",
        "units",
        "referrals",
        "tickets",
        "carts",
        "surveys",
        "costs",
    ]


def test_keys_and_times_are_columns():
    for table in TABLES.values():
        assert set(table.key) <= set(table.names)
        for name in table.key:
            assert table.column(name).required
        assert table.happens is None or table.column(table.happens).kind == "timestamp"


def test_moments_have_a_day_of_their_own_name():
    days = [c.date_name for c in TABLES["memberships"].columns if c.kind == "timestamp"]
    assert days == ["valid_from_date", "valid_to_date"]
    assert TABLES["transactions"].column("transacted_at").date_name == "transacted_date"
    for table in TABLES.values():
        assert not {c.date_name for c in table.columns} & set(table.names)


def test_what_is_learnt_with_a_moment_names_one_of_its_table():
    for table in TABLES.values():
        for column in table.columns:
            if column.learnt_with is not None:
                assert table.column(column.learnt_with).kind == "timestamp"


def test_references_point_at_tables():
    for table in TABLES.values():
        for column in table.columns:
            assert column.references is None or column.references in TABLES


def test_currencies_are_three_capitals_once_each():
    assert all(re.fullmatch("[A-Z]{3}", code) for code in CURRENCIES)
    assert len(set(CURRENCIES)) == len(CURRENCIES)
    assert {"EUR", "USD", "VND", "JPY", "XCG"} <= set(CURRENCIES)


def test_the_data_dictionary_has_every_column(root):
    text = (root / "data" / "README.md").read_text("utf-8")
    sections = {part.split("\n", 1)[0].strip("`# "): part for part in text.split("\n### ")[1:]}
    for row in contract_frame():
        line = f"| `{row['column']}` | {row['type']} | {row['required']} |"
        assert line in sections[row["table"]], line
        assert row["meaning"] in sections[row["table"]]

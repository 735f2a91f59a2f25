from __future__ import annotations

import json

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.data import Dataset, check_dataset, open_dataset
from loyalty_research.data.rules import CODES
from loyalty_research.errors import ContractError

HEAD = "transaction_id,customer_id,transacted_at,amount,currency,type,discount_amount\n"


def orders(*lines: str) -> str:
    return HEAD + "".join(line + "\n" for line in lines)


def found(report) -> dict[tuple[str, str], tuple[int, tuple]]:
    frame = report.to_frame()
    return {
        (f"{row.table}.{row.column}", row.rule): (row.count, row.first_rows)
        for row in frame.itertuples(index=False)
    }


GOOD = [f"{i},c{i % 3},2024-01-{i:02d} 10:00,{i}.50,EUR,sale,0" for i in range(1, 11)]


def test_a_clean_file_has_nothing_to_say(project):
    project.write("transactions.csv", orders(*GOOD))
    report = check_dataset("transactions.csv")
    assert report.ok
    assert len(report.to_frame()) == 0
    assert report.to_frame().columns.tolist() == [
        "table",
        "column",
        "rule",
        "severity",
        "count",
        "first_rows",
    ]
    assert repr(report) == "transactions.csv follows the contract (1 table, 10 rows)."
    assert report.raise_if_failed() is report


def test_every_fault_of_a_file_is_reported_at_once_with_its_line(project):
    project.write(
        "transactions.csv",
        orders(
            "1,a,2024-01-01,10,EUR,sale,0",
            "1,a,2024-01-02,10,EUR,sale,0",  # line 3: double key with line 2
            ",a,2024-01-03,10,EUR,sale,0",  # line 4: no key
            "4,a,31/12/2024,10,EUR,sale,0",  # line 5: day first
            "5,a,2024-02-30 10:00,10,EUR,sale,0",  # line 6: no such day
            "6,a,2024-01-06,ten,EUR,sale,0",  # line 7
            '7,a,2024-01-07,"1,50",EUR,sale,0',  # line 8: decimal comma
            "8,a,2024-01-08,,EUR,sale,0",  # line 9
            "9,a,2024-01-09,10,EURO,sale,0",  # line 10
            "10,a,2024-01-10,10,USD,sale,0",  # line 11
            "11,a,2024-01-11,10,EUR,gift,0",  # line 12
            "12,a,2024-01-12,10,EUR,sale,-3",  # line 13
            "13,,2024-01-13,-10,EUR,refund,",  # line 14: anonymous, refund
            "14,a,2024-01-14,10,EUR,refund,",  # line 15: refund above zero
            "15,a,2024-01-15,10.555,EUR,sale,0",  # line 16: more than cents
            "16,a,2024-01-16,inf,EUR,sale,0",  # line 17
            "17,a,2024-01-17,10",  # line 18: too short
            "18,a,2024-01-18,10,EUR,sale,0,9",  # line 19: too long
        ),
    )
    report = check_dataset("transactions.csv")
    assert found(report) == {
        ("transactions.", "malformed_line"): (2, (18, 19)),
        ("transactions.transaction_id", "null_required"): (1, (4,)),
        ("transactions.transaction_id", "duplicate_key"): (2, (2, 3)),
        ("transactions.transacted_at", "not_a_timestamp"): (2, (5, 6)),
        ("transactions.amount", "not_a_decimal"): (3, (7, 8, 17)),
        ("transactions.amount", "null_required"): (1, (9,)),
        ("transactions.amount", "refund"): (1, (14,)),
        ("transactions.amount", "rounded_money"): (1, (16,)),
        ("transactions.currency", "not_a_currency"): (1, (10,)),
        ("transactions.currency", "several_currencies"): (1, (11,)),
        ("transactions.type", "not_allowed"): (1, (12,)),
        ("transactions.type, amount", "positive_refund"): (1, (15,)),
        ("transactions.discount_amount", "out_of_range"): (1, (13,)),
        ("transactions.customer_id", "anonymous"): (1, (14,)),
    }
    assert not report.ok
    with pytest.raises(ContractError) as raised:
        open_dataset("transactions.csv")
    text = str(raised.value)
    assert "11 errors, 3 warnings" in text
    assert "transactions.transacted_at: not_a_timestamp in 2 rows (at lines 5, 6); write ISO 8601" in text
    assert ".amount: refund" not in text
    assert "malformed_line in 2 rows (at lines 18, 19)" in repr(report)
    assert "<caption>" in report._repr_html_()


def table(name: str, **columns) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame(columns)}


def faults(tables: dict[str, pd.DataFrame], **options) -> dict[str, tuple]:
    from loyalty_research.data.checking import check_loaded
    from loyalty_research.data.loading import load_frames

    as_of = options.pop("as_of", None)
    loaded = load_frames("t", tables, zone=options.pop("zone", "UTC"), currency=options.pop("currency", None))
    report = check_loaded(loaded, as_of=as_of)
    return {v.rule: v.first_rows for v in report.violations}


D = ["2024-01-01", "2024-02-01", "2024-03-01"]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        pytest.param(
            table("customers", customer_id=["a", "b", "c"], age=[0, 121, 120]),
            {"out_of_range": (1,)},
            id="age",
        ),
        pytest.param(
            table("customers", customer_id=["a", "a", None]),
            {"duplicate_key": (0, 1), "null_required": (2,)},
            id="customers key",
        ),
        pytest.param(
            table("customers", customer_id=["a", "b"], is_organisation=["yes", "maybe"]),
            {"not_a_boolean": (1,)},
            id="boolean",
        ),
        pytest.param(
            table("customers", customer_id=["a", "b"], birth_date=["1980-02-30", "1980-02-28"]),
            {"not_a_date": (0,)},
            id="date",
        ),
        pytest.param(
            table(
                "memberships", customer_id=["a", "a", "b"], valid_from=D, valid_to=["2024-02-01", None, None]
            ),
            {},
            id="half-open spells touch",
        ),
        pytest.param(
            table(
                "memberships", customer_id=["a", "a", "b"], valid_from=D, valid_to=["2024-02-02", None, None]
            ),
            {"overlapping_spells": (0, 1)},
            id="spells overlap",
        ),
        pytest.param(
            table("memberships", customer_id=["a", "b", "a"], valid_from=D, valid_to=[None, None, None]),
            {"overlapping_spells": (0, 2)},
            id="an open spell covers all later ones",
        ),
        pytest.param(
            table(
                "memberships",
                customer_id=["a", "a", "a"],
                valid_from=D,
                valid_to=["2024-06-01", "2024-02-02", "2024-03-02"],
            ),
            {"overlapping_spells": (0, 1)},
            id="a long spell around short ones",
        ),
        pytest.param(
            table(
                "memberships",
                customer_id=["a", "a"],
                valid_from=D[:2],
                valid_to=[None, None],
                programme_id=["x", "y"],
            ),
            {},
            id="two programmes at once",
        ),
        pytest.param(
            table(
                "memberships", customer_id=["a", "b"], valid_from=D[:2], valid_to=["2024-01-01", "2024-01-31"]
            ),
            {"ends_before_it_starts": (0, 1)},
            id="spell without length",
        ),
        pytest.param(
            table("memberships", customer_id=["a", "a"], valid_from=[D[0]] * 2, valid_to=[D[1]] * 2),
            {"duplicate_key": (0, 1), "overlapping_spells": (0, 1)},
            id="one spell twice",
        ),
        pytest.param(
            table("contacts", contact_id=["1"], customer_id=["a"], sent_at=D[:1], event=["read"]),
            {"not_allowed": (0,)},
            id="event",
        ),
        pytest.param(
            table(
                "points_ledger",
                entry_id=["1", "2", "3", "4"],
                customer_id=["a"] * 4,
                occurred_at=[D[0]] * 4,
                points=[-5, 5, -5, -1],
                type=["earn", "redeem", "refund", "expire"],
            ),
            {"wrong_sign": (0, 1)},
            id="signs of points",
        ),
        pytest.param(
            table(
                "points_ledger",
                entry_id=["1"],
                customer_id=["a"],
                occurred_at=["2024-02-01"],
                points=[5],
                expires_at=["2024-01-01"],
            ),
            {"wrong_order": (0,)},
            id="points that lapse before they are earned",
        ),
        pytest.param(
            table(
                "card_events",
                card_id=["k", "k", "m"],
                occurred_at=D,
                event_no=[0, 1, 0],
                customer_id=["a", "a", "b"],
                required_stamps=[8, 9, 10],
                endowed_stamps=[0, 0, 10],
                arm=["x", "y", "x"],
            ),
            {"changing_card": (0, 1), "endowed_over_required": (2,)},
            id="a card that changes",
        ),
        pytest.param(
            table(
                "card_events",
                card_id=["k", "k"],
                occurred_at=[D[0]] * 2,
                event_no=[0, 0],
                customer_id=["a", "a"],
                required_stamps=[8, 8.5],
                endowed_stamps=[0, -1],
            ),
            {"duplicate_key": (0, 1), "not_an_integer": (1,), "out_of_range": (1,), "changing_card": (0, 1)},
            id="card numbers",
        ),
        pytest.param(
            table(
                "assignments",
                experiment_id=["e", "e", "f"],
                customer_id=["a", "a", "a"],
                arm=["x", "y", "x"],
                assigned_at=D,
                exposed_at=["2024-01-02", "2024-01-02", None],
                assignment_probability=[0.5, 0.0, 1.0],
            ),
            {"two_arms": (0, 1), "duplicate_key": (0, 1), "wrong_order": (1,), "out_of_range": (1,)},
            id="two arms",
        ),
        pytest.param(table("units", arm=["x", None]), {"null_required": (1,)}, id="unit without arm"),
        pytest.param(
            table("units", unit_id=["1", "1"], arm=["x", "y"]), {"duplicate_key": (0, 1)}, id="one unit twice"
        ),
        pytest.param(table("units", arm=["x", "x"], visits=[1, 1]), {}, id="units may look alike"),
        pytest.param(
            table(
                "referrals",
                referral_id=["1", "2"],
                referrer_id=["a", "a"],
                referred_id=["a", None],
                referred_at=D[:2],
            ),
            {"self_referral": (0,)},
            id="self",
        ),
        pytest.param(
            table(
                "tickets",
                ticket_id=["1", "2"],
                customer_id=["a", "a"],
                opened_at=D[:2],
                closed_at=[D[0], D[0]],
            ),
            {"wrong_order": (1,)},
            id="closed before opened",
        ),
        pytest.param(
            table(
                "carts",
                cart_id=["1", "2", "2", "3"],
                customer_id=["a", None, None, "b"],
                opened_at=["2024-01-03", "2024-01-03", "2024-01-03", None],
                ordered_at=["2024-01-02", "2024-01-03", None, None],
                amount=[10.0, -1.0, 5.0, 5.0],
            ),
            {"wrong_order": (0,), "duplicate_key": (1, 2), "out_of_range": (1,), "null_required": (3,)},
            id="carts",
        ),
        pytest.param(
            table(
                "surveys",
                response_id=["1", "2", "3", "4"],
                customer_id=["a"] * 4,
                answered_at=[D[0]] * 4,
                value=[10, 11, -1, 5],
                scale_min=[0, 0, 0, 10],
                scale_max=[10, 10, 10, 0],
            ),
            {"off_scale": (1, 2, 3)},
            id="scale",
        ),
        pytest.param(
            table(
                "costs",
                cost_id=["1", "2", "3"],
                unit=["fixed", "per_contact", "per_contact"],
                campaign_id=[None, None, "x"],
                amount=[1, 1, -1],
                currency=["EUR"] * 3,
            ),
            {"no_cost_object": (1,), "out_of_range": (2,)},
            id="costs",
        ),
        pytest.param(
            {
                **table("customers", customer_id=["a", "b"]),
                **table("tickets", ticket_id=["1", "2"], customer_id=["b", "zz"], opened_at=D[:2]),
            },
            {"unknown_customer": (1,)},
            id="customer that does not exist",
        ),
        pytest.param(
            {
                **table("customers", customer_id=["a", "b"]),
                **table(
                    "referrals",
                    referral_id=["1", "2", "3"],
                    referrer_id=["a", "x", "b"],
                    referred_id=["b", "a", None],
                    referred_at=D,
                ),
            },
            {"unknown_customer": (1,)},
            id="referrer that does not exist",
        ),
    ],
)
def test_each_rule_finds_its_rows(tables, expected):
    assert faults(tables) == expected


def test_missing_columns_are_all_named():
    from loyalty_research.data.checking import check_loaded
    from loyalty_research.data.loading import load_frames

    loaded = load_frames("t", table("transactions", customer_id=["a", "b"]), zone="UTC", currency=None)
    report = check_loaded(loaded)
    missing = [v.column for v in report.violations if v.rule == "missing_column"]
    assert missing == ["transaction_id", "transacted_at", "amount", "currency"]
    assert all(v.count == 2 for v in report.violations if v.rule == "missing_column")


def test_every_code_of_the_rule_table_has_a_mend():
    assert all(severity in {"error", "warning"} and mend for severity, mend in CODES.values())


def test_local_times_that_never_were_are_pointed_out():
    tables = table(
        "tickets",
        ticket_id=["1", "2"],
        customer_id=["a", "a"],
        opened_at=["2024-03-31 02:30", "2024-03-31 03:30"],
    )
    assert faults(tables, zone="Europe/Madrid") == {"no_such_local_time": (0,)}
    assert faults(tables, zone="UTC") == {}


FAULTS = {
    "amount": ("x", "not_a_decimal"),
    "transacted_at": ("01/02/2024", "not_a_timestamp"),
    "currency": ("ZZZ", "not_a_currency"),
    "type": ("other", "not_allowed"),
    "discount_amount": ("-1", "out_of_range"),
    "transaction_id": ("", "null_required"),
}


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(1, 30),
    spots=st.sets(st.tuples(st.integers(0, 29), st.sampled_from(sorted(FAULTS))), max_size=12),
    blank=st.integers(0, 3),
    crlf=st.booleans(),
    note=st.booleans(),
)
def test_injected_faults_are_found_where_they_are(tmp_path_factory, rows, spots, blank, crlf, note):
    folder = tmp_path_factory.mktemp("dirty")
    spots = {(row, column) for row, column in spots if row < rows}
    names = [
        "transaction_id",
        "customer_id",
        "transacted_at",
        "amount",
        "currency",
        "type",
        "discount_amount",
        "note",
    ]
    end = "\r\n" if crlf else "\n"
    lines, line_of, line = [",".join(names)], {}, 2
    for row in range(rows):
        cells = {
            "transaction_id": str(row),
            "customer_id": "c",
            "transacted_at": "2024-01-01T10:00:00",
            "amount": "1.25",
            "currency": "EUR",
            "type": "sale",
            "discount_amount": "0",
            # a line break inside quotes moves every later line
            "note": '"two\nlines"' if note and row % 3 == 0 else "one",
        }
        for at, column in spots:
            if at == row:
                cells[column] = FAULTS[column][0]
        if row == rows // 2:
            lines += [""] * blank
            line += blank
        line_of[row] = line
        lines.append(",".join(cells[name] for name in names))
        line += 1 + cells["note"].count("\n")
    (folder / "transactions.csv").write_bytes((end.join(lines) + end).encode())
    report = check_dataset(folder / "transactions.csv", quarantine=folder / "bad.parquet")
    expected = {}
    for column, (_, rule) in FAULTS.items():
        where = sorted(line_of[row] for row, name in spots if name == column)
        if where:
            expected[f"transactions.{column}", rule] = (len(where), tuple(where[:5]))
    assert found(report) == expected
    bad = {row for row, _ in spots}
    (counts,) = report.quarantined
    assert (counts.rows, counts.kept, counts.set_aside) == (rows, rows - len(bad), len(bad))
    if bad:
        written = pd.read_parquet(folder / "bad.parquet")
        assert sorted(written["row"]) == sorted(line_of[row] for row in bad)
        reasons = {
            line: {f"{column}: {FAULTS[column][1]}" for row, column in spots if line_of[row] == line}
            for line in written["row"]
        }
        assert {row.row: set(row.reasons) for row in written.itertuples()} == reasons
        cells = [json.loads(text) for text in written["cells"]]
        assert all(set(record) == set(names) for record in cells)


def quarantined(project, share: float, *lines: str) -> None:
    project.define(f"""
        mine:
          currency: EUR
          tables:
            transactions: {{from: orders.csv, on_bad_rows: quarantine, max_bad_share: {share}}}
            tickets: {{from: tickets.csv}}
    """)
    project.write("orders.csv", orders(*GOOD, *lines))
    project.write("tickets.csv", "ticket_id,customer_id,opened_at\n1,a,2024-01-01\n")


def test_bad_rows_go_into_quarantine_with_every_reason(project):
    quarantined(project, 0.5, "11,a,never,none,EUR,sale,0", "1,a,2024-01-05,3,EUR,sale,0", "12,a,2024")
    data = open_dataset("mine")
    # the double key takes both of its rows: which one is right cannot be told
    assert data.counts()["transactions"] == 9
    assert data.dropped == {"transactions: bad rows in quarantine": 4}
    report = data.check()
    assert report.ok
    (counts,) = report.quarantined
    assert (counts.rows, counts.kept, counts.set_aside) == (13, 9, 4)
    assert report.path == project.root / "data" / "cache" / "quarantine" / "mine.parquet"
    rows = duckdb.sql(f"FROM '{report.path}' ORDER BY row").fetchall()
    places = [(table, source, row) for table, source, row, *_ in rows]
    assert places == [("transactions", "orders.csv", row) for row in (2, 12, 13, 14)]
    assert rows[1][3] == ["transacted_at: not_a_timestamp", "amount: not_a_decimal"]
    assert json.loads(rows[1][4])["amount"] == "none"
    assert rows[3][3] == ["malformed_line: missing columns"]
    assert rows[3][5] == "12,a,2024"
    assert "in quarantine: transactions.amount" in repr(report)
    assert "13 rows = 9 kept + 4 in quarantine" in repr(report)
    # the same again: the same file, no more
    first = report.path.read_bytes()
    assert open_dataset("mine").check().path.read_bytes() == first
    assert [p.name for p in report.path.parent.iterdir()] == ["mine.parquet"]


def test_too_many_bad_rows_fail_and_nothing_is_written(project):
    quarantined(project, 0.1, "11,a,never,none,EUR,sale,0", "12,a,never,1,EUR,sale,0")
    with pytest.raises(ContractError, match=r"too_many_bad_rows in 2 rows; 16\.7% of the rows are bad"):
        open_dataset("mine")
    assert not (project.root / "data" / "cache").exists()
    assert not check_dataset("mine").ok


def test_quarantine_cannot_mend_a_whole_table(project):
    project.define("mine: {tables: {transactions: {from: orders.csv, on_bad_rows: quarantine}}}")
    project.write("orders.csv", "transaction_id,customer_id,amount,currency\n1,a,2,EUR\n")
    with pytest.raises(ContractError, match=r"transactions\.transacted_at: missing_column in 1 row;"):
        open_dataset("mine")


def test_rows_of_quarantined_customers_are_bad_too(project):
    project.define("""
        mine:
          tables:
            customers: {from: people.csv, on_bad_rows: quarantine, max_bad_share: 0.5}
            tickets: {from: tickets.csv, on_bad_rows: quarantine, max_bad_share: 0.5}
    """)
    project.write("people.csv", "customer_id,age\na,20\nb,200\nc,30\n")
    project.write(
        "tickets.csv", "ticket_id,customer_id,opened_at\n1,a,2024-01-01\n2,b,2024-01-01\n3,c,2024-01-02\n"
    )
    data = open_dataset("mine")
    assert data.frame("tickets")["ticket_id"].tolist() == ["1", "3"]
    assert data.counts() == {"customers": 2, "tickets": 2}


def test_a_broken_table_does_not_hide_the_others(project):
    project.define("""
        mine:
          tables:
            customers: {from: missing.csv}
            tickets: {from: tickets.csv}
            transactions: {from: broken.parquet}
    """)
    project.write("tickets.csv", "ticket_id,customer_id,opened_at\n1,a,soon\n")
    project.write("broken.parquet", b"PAR1 but nothing else")
    report = check_dataset("mine")
    assert [(v.table, v.rule) for v in report.violations] == [
        ("customers", "unreadable"),
        ("transactions", "unreadable"),
        ("tickets", "not_a_timestamp"),
    ]
    with pytest.raises(ContractError) as raised:
        open_dataset("mine")
    assert "missing.csv" in str(raised.value)
    assert "broken.parquet is no readable Parquet file" in str(raised.value)


def test_messages_never_hold_customers(project):
    project.write(
        "transactions.csv",
        orders(
            "1,secret-person,never,x,EUR,sale,0", "1,secret-person,2024-01-01,1,EUR,sale,0", "2,secret-person"
        ),
    )
    report = check_dataset("transactions.csv")
    assert not report.ok
    with pytest.raises(ContractError) as raised:
        report.raise_if_failed()
    assert "secret-person" not in repr(report) + report._repr_html_() + str(raised.value)


def test_forgotten_customers_do_not_reach_the_quarantine(project):
    project.define("""
        mine:
          erasures: gone.txt
          tables: {transactions: {from: orders.csv, on_bad_rows: quarantine, max_bad_share: 0.9}}
    """)
    project.write("gone.txt", "forgotten\n")
    project.write(
        "orders.csv",
        orders(*GOOD, "90,forgotten,never,1,EUR,sale,0", "91,forgotten,2024", "92,b,never,1,EUR,sale,0"),
    )
    report = open_dataset("mine").check()
    written = pd.read_parquet(report.path)
    assert len(written) == 2
    assert "forgotten" not in written.to_csv()


def test_check_as_of_counts_later_rows(project):
    project.write("transactions.csv", orders(*GOOD))
    report = check_dataset("transactions.csv", as_of="2024-01-07")
    assert found(report) == {("transactions.transacted_at", "after_observation_end"): (3, (9, 10, 11))}
    assert report.ok


def test_an_open_dataset_keeps_its_report():
    data = Dataset.from_frames("t", table("units", arm=["a", "b"]), description="Two.", kind="user")
    assert data.check().ok
    assert data.check().rows == {"units": 2}

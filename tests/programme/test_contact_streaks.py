import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.contact_streaks import unopened_streaks

OPTIONS = {"within_days": 5, "as_of": "2024-12-31"}
WEEK = pd.Timedelta(days=7)
START = pd.Timestamp("2024-01-01 09:00")


def mailing(rng, customers=300, weeks=10):
    """Weekly messages; each customer opens at an own rate, a day or nine days later."""
    ids = np.array([f"c{i:03}" for i in range(customers)])
    own = rng.beta(1, 2, customers)
    opened = rng.random((customers, weeks)) < own[:, None]
    delay = np.where(rng.random((customers, weeks)) < 0.7, 1, 9)
    bought = rng.random((customers, weeks)) < 0.1 + 0.3 * own[:, None]
    who, week = np.divmod(np.arange(customers * weeks), weeks)
    when = START + week * WEEK
    sent = pd.DataFrame(
        {"customer_id": ids[who], "campaign_id": [f"k{w}" for w in week], "event": "sent", "sent_at": when}
    )
    flat, late = opened.ravel(), delay.ravel()
    opens = sent[flat].assign(event="open", sent_at=when[flat] + pd.to_timedelta(late[flat], unit="D"))
    hit = bought.ravel()
    orders = pd.DataFrame({"customer_id": ids[who][hit], "transacted_at": when[hit] + pd.Timedelta(days=2)})
    return pd.concat([sent, opens], ignore_index=True), orders, opened, delay, bought


def test_streaks_agree_with_counting_one_by_one():
    contacts, orders, opened, delay, bought = mailing(np.random.default_rng(1))
    found = unopened_streaks(contacts, orders, unopened=3, longest=5, **OPTIONS)
    cells = {k: [0, 0, 0] for k in range(6)}
    for i in range(len(opened)):
        for k in range(1, opened.shape[1]):
            streak = 0
            for j in range(k - 1, -1, -1):
                # known at sending: opened, and before this message went out
                if opened[i, j] and 7 * j + delay[i, j] < 7 * k:
                    break
                streak += 1
            cell = cells[min(streak, 5)]
            cell[0] += 1
            cell[1] += opened[i, k] and delay[i, k] < 5
            cell[2] += bought[i, k]
    for row in found.by_streak.to_dict("records"):
        n, hits, sales = cells[row["streak"]]
        assert row["messages"] == n
        assert row["opened"].value == pytest.approx(hits / n)
        assert row["ordered"].value == pytest.approx(sales / n)
    late = [sum(cells[k][i] for k in (3, 4, 5)) for i in range(3)]
    assert found.reactivated.value == pytest.approx(late[1] / late[0])
    assert found.ordered.value == pytest.approx(late[2] / late[0])
    assert "needs a holdout" in found.verdict()


def coverage(replicates, seed):
    """Everybody opens half of the messages at once, whatever came before."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(replicates):
        customers, weeks = 80, 8
        who, week = np.divmod(np.arange(customers * weeks), weeks)
        sent = pd.DataFrame({"customer_id": who, "event": "sent", "sent_at": START + week * WEEK})
        opens = sent[rng.random(len(sent)) < 0.5].assign(event="open")
        opens["sent_at"] += pd.Timedelta(days=1)
        orders = pd.DataFrame({"customer_id": [0], "transacted_at": [START]})
        found = unopened_streaks(pd.concat([sent, opens]), orders, unopened=2, **OPTIONS).reactivated
        hits += found.low <= 0.5 <= found.high
    return hits / replicates


def test_the_share_that_comes_back_is_covered():
    assert coverage(50, 2) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 50)


@pytest.mark.slow
def test_the_share_that_comes_back_covers(published):
    share = coverage(2000, 3)
    published({"streaks of unopened messages: share that comes back": share}, 2000)
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000) + 0.005)


def test_texts_and_open_windows_are_left_out_and_counted():
    contacts, orders, *_ = mailing(np.random.default_rng(4), 60)
    mail = contacts.assign(channel="e-mail")
    texts = mail[mail["event"] == "sent"].head(40).assign(channel="SMS")
    plain = unopened_streaks(mail, orders, **OPTIONS)
    both = unopened_streaks(pd.concat([mail, texts]), orders, **OPTIONS)
    assert both.reactivated == plain.reactivated
    assert any("40 messages went by channels" in c.detail for c in both.checks)
    short = unopened_streaks(mail, orders, within_days=5, as_of="2024-03-01")
    assert any("were watched for less than 5 days" in c.detail for c in short.checks)


def test_nobody_after_a_streak_is_said():
    sent = pd.DataFrame(
        [(f"c{i}", START + w * WEEK) for i in range(6) for w in range(2)], columns=["customer_id", "sent_at"]
    )
    opens = sent.assign(event="open", sent_at=sent["sent_at"] + pd.Timedelta(days=1))
    orders = pd.DataFrame({"customer_id": ["c1"], "transacted_at": [START]})
    found = unopened_streaks(pd.concat([sent.assign(event="sent"), opens]), orders, **OPTIONS)
    assert found.reactivated is None
    assert found.verdict().startswith("Nobody was written to after 4")


def test_bad_input_is_refused():
    contacts, orders, *_ = mailing(np.random.default_rng(5), 20)
    with pytest.raises(ContractError, match="no event 'open'"):
        unopened_streaks(contacts[contacts["event"] == "sent"], orders, **OPTIONS)
    with pytest.raises(ArgumentError, match="at least unopened"):
        unopened_streaks(contacts, orders, unopened=8, **OPTIONS)
    with pytest.raises(DesignError, match="watch for longer"):
        unopened_streaks(contacts, orders, within_days=5, as_of="2024-01-08")
    with pytest.raises(ContractError, match="lacks the column transacted_at"):
        unopened_streaks(contacts, orders[["customer_id"]], **OPTIONS)
    with pytest.raises(ContractError, match="has_consent"):
        unopened_streaks(contacts.assign(has_consent=False), orders, **OPTIONS)

import re

import pandas as pd
import pytest

import loyalty_research as lr


def block(root, language):
    text = (root / "README.md").read_text("utf-8")
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL).group(1)


@pytest.mark.datasets
def test_the_jupyter_example_runs(root, monkeypatch):
    monkeypatch.chdir(root)
    names = {}
    exec(compile(block(root, "python"), "README.md", "exec"), names)
    assert len(names["customers"]) == 23_570
    assert "<table>" in names["model"]._repr_html_()


def test_the_definition_of_own_data_opens(root, tmp_path, monkeypatch):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "datasets.yml").write_text(block(root, "yaml"), "utf-8")
    orders = pd.DataFrame(
        {
            "order_no": [1, 2, 3],
            "card": ["a", "a", "b"],
            "sold_at": ["31/01/2024 00:30", "02/02/2024 10:00", "03/02/2024 23:59"],
            "total": [10.5, 3.2, 7.0],
        }
    )
    orders.to_csv(tmp_path / "data" / "raw" / "orders.csv", index=False)
    monkeypatch.chdir(tmp_path)
    source = lr.open_dataset("mine")
    assert source.currency == "EUR"
    frame = source.frame("transactions")
    # half past midnight in Madrid is still January there, and the day before in UTC
    assert str(frame["transacted_date"].iloc[0])[:10] == "2024-01-31"
    assert str(frame["transacted_at"].iloc[0]) == "2024-01-30 23:30:00"


def test_the_targets_it_names_exist(root):
    named = set(
        re.findall(r"(?:`|^    )make ([a-z-]+)", (root / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    made = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named
    assert named <= made


def test_every_picture_and_page_it_links_to_exists(root):
    links = re.findall(r"\]\(([^)#]+)\)", (root / "README.md").read_text("utf-8"))
    assert all((root / link).exists() for link in links if "://" not in link)

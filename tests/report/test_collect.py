import base64
import json
import sys
from pathlib import Path

import pytest

import loyalty_research as lr
from loyalty_research.report import collect


def shown(data, metadata=None):
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def provenance(**changes):
    facts = {"dataset": "d", "data": "rows", "kind": "real", "as_of": "2024-01-31", "currency": None}
    facts |= {"fingerprint": "f", "design": "randomised", "estimand": "e", "n": 1, "versions": {}}
    return shown(lr.Provenance(**{**facts, **changes})._repr_mimebundle_())


def finding(name="share"):
    estimate = lr.Estimate(0.3, 0.1, float("nan"), 0.95, "wilson", 10, "fraction")
    return shown(lr.Finding(name, f"{name} came back", estimate)._repr_mimebundle_())


@pytest.fixture
def executed(notebook):
    """An executed notebook with these outputs, one cell each, after what every page needs."""

    def make(*outputs, needed=None):
        needed = [finding(), provenance()] if needed is None else needed
        made = notebook(*("x",) * (len(outputs) + len(needed)))
        for cell, output in zip(made["cells"][2:], [*needed, *outputs], strict=True):
            cell["outputs"] = [output]
        return made

    return make


def test_findings_and_provenance_are_collected_in_order(executed):
    done = executed(finding("b"), provenance(dataset="last"))
    findings, source = collect.collect(done)
    assert [f["id"] for f in findings] == ["share", "b"]
    assert list(findings[0])[:3] == ["id", "headline", "value"]
    assert source["dataset"] == "last"
    document = json.loads(collect.metrics("r", findings, source))
    assert document["report"] == "r"
    assert document["as_of"] == "2024-01-31"
    assert document["fingerprint"] == "f"
    assert document["findings"][0]["high"] is None
    assert collect.faults(executed()) == []


PNG = base64.b64encode(b"picture").decode()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (shown({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Slider()"}), "widget-view"),
        (shown({"application/javascript": "alert()"}), "application/javascript"),
        (shown({}), "shows nothing"),
        (shown({"image/png": PNG, "text/plain": "<Figure>"}), "without alternative text"),
        (shown({"image/svg+xml": "<svg/>"}, {"alt": " "}), "without alternative text"),
        (finding("share"), "two findings are called 'share'"),
    ],
)
def test_an_output_a_page_cannot_hold_is_a_fault(executed, output, said):
    (fault,) = collect.faults(executed(output))
    assert said in fault


@pytest.mark.parametrize(
    "output",
    [
        shown({"text/html": "<p>x</p>", "application/vnd.anything+json": {}}),
        shown({"image/png": PNG}, {"alt": "a rising line"}),
        shown({"image/png": PNG}, {"image/png": {"alt": "a rising line"}}),
        shown({"text/plain": "3", "text/latex": "$3$"}),
        {"output_type": "stream", "name": "stdout", "text": "x"},
    ],
)
def test_an_output_a_page_can_hold_is_none(executed, output):
    assert collect.faults(executed(output)) == []


def test_a_page_needs_a_finding_and_a_provenance(executed):
    said = " ".join(collect.faults(executed(needed=())))
    assert "no lr.Finding" in said
    assert "no lr.provenance" in said


def test_messages_and_addresses_are_noticed(executed):
    warning = "/x/n.py:3: FutureWarning: it  will change\n  f()\n"
    said = collect.notices(
        executed(
            {"output_type": "stream", "name": "stderr", "text": warning},
            {"output_type": "stream", "name": "stderr", "text": "\n"},
            {"output_type": "stream", "name": "stdout", "text": "<object at 0x7f12ab34cd>"},
            shown({"text/plain": "<f at 0x7f12ab34cd>", "text/html": "<p>f</p>"}),
        )
    )
    assert said == [
        "cell 5 wrote to its error stream: /x/n.py:3: FutureWarning: it will change",
        "cell 7 shows the address of an object, which differs in every run",
    ]


def test_what_belongs_to_the_machine_or_the_moment_leaves(executed):
    root, site = Path("/srv/some one/project"), Path("/srv/site")
    home, python = str(Path.home()), sys.prefix
    data = f"{root}/data/x.csv {site}/r.html {home}/secret {python}/lib /tmp/ipykernel_12/34.py /srv/sites"
    done = executed(shown({"text/plain": data, "text/html": f"<p>{data}</p>"}))
    done["metadata"]["papermill"] = {"start_time": "now", "output_path": str(site)}
    done["cells"][1]["metadata"] = {"papermill": {"duration": 1}, "execution": {}, "tags": []}
    done["cells"][2]["metadata"]["tags"] = ["injected-parameters"]
    done["cells"][2]["id"] = "r4nd0m"
    tidy = collect.tidy(done, root=root, site=site)
    text = json.dumps(tidy)
    for place in (root, site, home, python, "ipykernel_", "papermill", "r4nd0m"):
        assert str(place) not in text.replace("/srv/sites", ""), place
    assert tidy["cells"][-1]["outputs"][0]["data"]["text/plain"].startswith(
        "[project]/data/x.csv [site]/r.html ~/secret ["
    )
    assert "/srv/sites" in text
    assert tidy["cells"][1]["metadata"] == {}
    assert tidy["cells"][2]["id"] == "injected-parameters"


def test_pictures_keep_their_bytes(executed):
    """Letters of base64 can spell a folder's name."""
    home = str(Path.home())
    payload = f"AAAA{home}/BBBB"
    html = f'<img src="data:image/png;base64,{payload}" alt="x"> {home}/x'
    done = executed(shown({"image/png": payload, "text/html": html}, {"alt": "x"}))
    data = collect.tidy(done, root=Path("/srv/p"), site=Path("/srv/s"))["cells"][-1]["outputs"][0]["data"]
    assert data["image/png"] == payload
    assert data["text/html"] == f'<img src="data:image/png;base64,{payload}" alt="x"> ~/x'


def test_a_message_loses_its_folders():
    said = collect.without_places("no /srv/p/data/x.csv", root=Path("/srv/p"), site=Path("/srv/s"))
    assert said == "no [project]/data/x.csv"

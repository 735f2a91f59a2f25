import json

import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.report.keys import file_hash
from loyalty_research.report.manifest import Entry, Failure, Manifest, read_manifest


@pytest.fixture
def entry():
    return Entry("Why?", "n.ipynb", "all", "public", {"weeks": 3}, failure=Failure("no", "2024-01-01"))


def test_a_manifest_survives_its_file(tmp_path, entry):
    written = Manifest(reports={"r": entry}, site={"index.html": "0"}, index_key="k", packages={"numpy": "2"})
    (tmp_path / "manifest.json").write_text(written.to_json())
    assert read_manifest(tmp_path) == written


@pytest.mark.parametrize(
    "text", ["", "{", "\x00", '{"schema": 0, "reports": {}}', '{"schema": 1, "reports": {"r": {}}}']
)
def test_a_damaged_or_older_manifest_counts_as_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert read_manifest(tmp_path) == Manifest()


def test_somebody_elses_folder_is_refused(tmp_path):
    (tmp_path / "index.html").write_text("my home page")
    with pytest.raises(ArgumentError, match=r"holds an index\.html of something else"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "my app"}))
    with pytest.raises(ArgumentError, match="was not written by this program"):
        read_manifest(tmp_path)


def test_a_page_is_intact_only_with_all_its_bytes(tmp_path, entry):
    assert not entry.intact(tmp_path)
    for name in ("r.html", "r.ipynb"):
        (tmp_path / name).write_text(name)
    entry.files = {name: file_hash(tmp_path / name) for name in ("r.html", "r.ipynb")}
    assert entry.intact(tmp_path)
    (tmp_path / "r.html").write_text("r.htmx")
    assert not entry.intact(tmp_path)
    (tmp_path / "r.html").unlink()
    assert not entry.intact(tmp_path)

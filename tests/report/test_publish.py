import subprocess
import sys
from pathlib import Path

import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.report.publish import open_site, write_atomically


def stage(site, **texts):
    folder = site.stage()
    files = {}
    for name, text in texts.items():
        path = folder / name
        path.write_text(text)
        files[name] = path
    return files


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    with open_site(tmp_path) as site:
        site.commit(stage(site, a="old a", b="old b", c="old c"))
    return tmp_path


def test_a_commit_moves_removes_and_leaves_no_trace(folder):
    with open_site(folder) as site:
        staged = stage(site, a="new a", d="new d")
        site.commit({"a": staged["a"], "sub/d": staged["d"]}, remove=["b", "never/there"])
    assert content(folder) == {"a": "new a", "c": "old c", "sub/d": "new d"}
    assert not (folder / ".staging").exists()
    with open_site(folder) as site:
        site.commit({}, remove=["sub/d"])
    assert not (folder / "sub").exists()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moves", range(6))
def test_a_commit_that_is_cut_off_is_all_or_nothing(folder, monkeypatch, moves):
    """The process ends before its n-th rename: the journal's own, then one per file."""
    old = content(folder)
    rename, left = Path.replace, [moves]

    def dying(self, target):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return rename(self, target)

    site = None
    try:
        with open_site(folder) as site:
            staged = stage(site, a="new a", b="new b", d="new d")
            monkeypatch.setattr(Path, "replace", dying)
            monkeypatch.setattr(type(site), "recover", lambda self: None)  # a dead process tidies nothing
            site.commit(staged, remove=["c"])
    except Killed:
        pass
    monkeypatch.undo()
    during = content(folder)
    if moves == 0:
        assert {k: v for k, v in during.items() if not k.startswith(".")} == old
    with open_site(folder):
        after = content(folder)
    assert after == (old if moves == 0 else {"a": "new a", "b": "new b", "d": "new d"})
    assert not (folder / ".staging").exists()


def test_a_second_run_is_refused_while_one_holds_the_site_and_not_after(folder):
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom loyalty_research.report.publish import open_site\n"
        "with open_site(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ArgumentError, match="another run is writing to"), open_site(folder):
            pass
        holder.kill()
        holder.wait()
        with open_site(folder):
            pass


def test_an_atomic_write_replaces_and_makes_folders(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644

    def full(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"three")
    assert content(tmp_path) == {"new/file": "two"}

"""Writing a site so that readers only ever find it whole.

Files are staged beside the site and moved into it under a journal: the journal is the point of
no return. A run that is killed before it leaves nothing but a staging folder, which the next
run removes; one that is killed after it is completed by the next run. The lock belongs to the
process, so a dead run holds none.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Site", "open_site", "write_atomically"]

STAGING = ".staging"
JOURNAL = "commit.json"


class Site:
    """A site's folder, locked and recovered; use :func:`open_site`.

    Args:
        folder: The site's folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._staging = folder / STAGING

    def stage(self) -> Path:
        """Return a fresh folder on the site's file system."""
        self._staging.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._staging))

    def commit(self, files: Mapping[str, Path], *, remove: Sequence[str] = ()) -> None:
        """Move staged files into the site, all of them or none.

        Args:
            files: Name in the site (may hold a folder) to a staged file, which moves.
            remove: Names that leave the site; one that is not there is fine.
        """
        self._staging.mkdir(exist_ok=True)
        moves = {name: path.relative_to(self._staging).as_posix() for name, path in files.items()}
        for path in files.values():
            _sync(path)
        for folder in {path.parent for path in files.values()}:
            _sync(folder)
        journal = self._staging / JOURNAL
        _write(journal, json.dumps({"moves": moves, "remove": list(remove)}))
        self._roll_forward(journal)

    def recover(self) -> None:
        """Finish a commit that was cut off, then clear what is left of earlier runs."""
        journal = self._staging / JOURNAL
        if journal.exists():
            self._roll_forward(journal)
        if self._staging.exists():
            # an orphan of a killed run may write there for a moment longer; the next run clears it
            shutil.rmtree(self._staging, ignore_errors=True)

    def _roll_forward(self, journal: Path) -> None:
        plan = json.loads(journal.read_text("utf-8"))
        for name, staged in plan["moves"].items():
            source, target = self._staging / staged, self.folder / name
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        for name in plan["remove"]:
            (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # a folder goes when it was the last file in it
                if "/" in name:
                    (self.folder / name).parent.rmdir()
        _sync(self.folder)
        journal.unlink()


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Lock a site's folder, make it whole, and tidy up at the end.

    Args:
        folder: The site's folder, which exists.

    Raises:
        ArgumentError: When another run is writing to it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArgumentError(
                f"another run is writing to {folder}; wait until it ends, or choose another --out"
            ) from None
        site = Site(folder)
        site.recover()
        try:
            yield site
        finally:
            site.recover()
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, "utf-8")
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it holds either its old bytes or the new ones.

    Args:
        path: Where to; its folder is made when it is not there.
        data: The bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise

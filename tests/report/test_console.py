import io
import os

from loyalty_research.report.console import Console


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def fileno(self):
        return 1


def test_plain_lines_where_there_is_no_terminal():
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err)
    console.running("churn", "cell 3 of 9")
    console.status(0, 2)
    console.line("churn: made")
    console.clear()
    assert out.getvalue() == "churn: made\n"
    assert err.getvalue() == ""


def test_a_terminal_gets_one_line_cut_to_its_width(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda handle: os.terminal_size((40, 24)))
    out, err = Terminal(), Terminal()
    console = Console(out, err)
    console.running("churn", "cell 3 of 9")
    console.running("lifetime-value", "starting")
    console.status(1, 4)
    shown = err.getvalue().removeprefix("\r\x1b[K")
    assert shown.startswith("1 of 4 done, 0 s: churn (cell 3 of 9)")
    assert len(shown) == 39
    console.running("churn", None)
    console.line("churn: made")
    assert err.getvalue().endswith("\r\x1b[K")
    console.status(2, 4)
    assert "churn" not in err.getvalue().rsplit("\x1b[K", 1)[1]

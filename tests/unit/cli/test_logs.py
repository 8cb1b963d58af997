"""Messages and the log on standard error."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.cli import logs
from callsheet.cli.main import run_command
from callsheet.cli.output import note, say

KEY = "0a1b2c3d-aaaa-bbbb:5f6e7d8c9b0a"
ENVIRONMENT = {
    "FAL_KEY": KEY,
    "FAL_ADMIN_KEY": "admin-id:admin-secret-half",
    "CALLSHEET_LEDGER_URL": "postgresql://me:p%40ssw%3Ard!@db.example/callsheet",
}
SECRETS = (KEY, "5f6e7d8c9b0a", "admin-secret-half", "p%40ssw%3Ard!", "p@ssw:rd!")
log = logging.getLogger("callsheet.engine.submit")


@pytest.fixture
def written(monkeypatch, capsys):
    """Set the loggers up, log one line and one message, and return the lines of standard error."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def write(**options: bool) -> list[str]:
        logs.configure(**options)
        facts = {"run": "spring-1", "job": "hero", "request_id": "r-1", "usd": "0.0497"}
        log.info("accepted %s", KEY, extra=facts)
        note("a note")
        say("a warning")
        return capsys.readouterr().err.splitlines()

    yield write
    logs.configure()


def test_without_an_option_only_messages_are_written(written):
    """A terminal gets sentences and no log."""
    assert written() == ["a note", "a warning"]


def test_quiet_keeps_warnings(written):
    """What has to be known is said all the same."""
    assert written(quiet=True) == ["a warning"]


def test_facts_are_shown_as_text(capsys):
    """An id with control characters changes nothing on a terminal."""
    logs.configure(verbose=True)
    log.info("saved", extra={"job": "a\x1b[2J"})
    assert capsys.readouterr().err.endswith(r"saved (job=a\x1b[2J)" + "\n")
    logs.configure()


def test_verbose_adds_the_log_with_its_facts(written):
    """One line a step: level, module, message, run, job, request and money."""
    line, *messages = written(verbose=True)
    assert line.endswith(
        " INFO engine.submit: accepted [FAL_KEY] (run=spring-1, job=hero, request_id=r-1, usd=0.0497)"
    )
    assert messages == ["a note", "a warning"]


def test_json_lines_hold_messages_and_log_alike(written):
    """Every line of standard error is an object with the same four names, and the facts that were given."""
    first, second, third = map(json.loads, written(log_json=True))
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info",
        "logger": "callsheet.engine.submit",
        "message": "accepted [FAL_KEY]",
        "run": "spring-1",
        "job": "hero",
        "request_id": "r-1",
        "usd": "0.0497",
    }
    assert (second["level"], second["message"]) == ("info", "a note")
    assert (third["level"], third["message"]) == ("warning", "a warning")


@pytest.mark.parametrize("options", [{"verbose": True}, {"log_json": True}], ids=str)
@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_written(written, capsys, options, secret):
    """Keys, their secret halves and passwords in URLs are replaced: in messages, facts and tracebacks."""
    written(**options)
    log.error("failed for %s", secret, extra={"job": secret}, exc_info=ValueError(secret))
    say(secret)
    err = capsys.readouterr().err
    assert secret not in err
    assert err.count("[") >= 4


@pytest.mark.parametrize(
    "options", [{}, {"verbose": True}, {"log_json": True}], ids=["plain", "verbose", "JSON"]
)
def test_other_packages_write_no_bare_lines(capsys, options):
    """Google's package warns at every look at a bucket. It is part of the log, and has its form."""
    logs.configure(**options)
    logging.getLogger("some.package").warning("falling back")
    lines = capsys.readouterr().err.splitlines()
    logs.configure()
    if "log_json" in options:
        assert [json.loads(line)["message"] for line in lines] == ["falling back"]
    else:
        wanted = [" WARNING some.package: falling back"] if "verbose" in options else []
        assert [line[8:] for line in lines] == wanted


@given(st.text())
def test_every_text_is_one_json_line(text):
    """Line breaks, escape sequences and lone surrogates of a prompt do not break the lines."""
    record = logging.LogRecord("callsheet.x", logging.INFO, "", 0, "%s", (text,), None)
    line = logs.JsonLines({}).format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == text


def test_a_terminal_gets_no_escape_sequence_from_a_log(capsys):
    """What fal answers is logged as it is, and shown made visible."""
    logs.configure(verbose=True)
    log.info("\x1b[2J")
    assert r"\x1b[2J" in capsys.readouterr().err


def test_a_closed_standard_error_ends_nothing(monkeypatch, tmp_path):
    """A log that cannot be written is not worth a run."""
    with (tmp_path / "closed").open("w") as closed:
        pass
    monkeypatch.setattr("sys.stderr", closed)
    logs.configure(verbose=True)
    log.info("lost")


@pytest.mark.parametrize(
    "arguments", [["-v", "models"], ["models", "--quiet"], ["prices", "show", "--log-json"]]
)
def test_every_command_takes_the_three_options(arguments, capsys):
    """Before the command or behind it."""
    assert run_command(arguments) == 0
    assert capsys.readouterr().out

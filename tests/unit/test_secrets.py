"""Where a key or a stranger could slip through: options, locked packages, the server's address."""

import ast
import logging
import pickle
import re
from dataclasses import asdict
from pathlib import Path

import pytest

import callsheet
from callsheet.cli import options
from callsheet.engine.request import RunRequest
from callsheet.errors import UsageError, without_login
from callsheet.settings import ApiKey, settings_from

ROOT = Path(callsheet.__file__).parent.parent
SECRET = "canary-9a71c3e5f0b2"
SOURCES = sorted((ROOT / "callsheet" / "cli").rglob("*.py"))
LOCKS = sorted((ROOT / "deploy").glob("requirements*.txt"))


def option_names(source: str) -> set[str]:
    """Every text in a module that is an option's name."""
    texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"--?[a-z][a-z-]*", text)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_option_takes_a_secret(path: Path) -> None:
    """A key on a command line is in the process list of every user and in the shell's history."""
    names = option_names(path.read_text("utf-8"))
    assert not [name for name in names if re.search("key|secret|token|password", name)]


def test_options_are_found_where_they_are() -> None:
    """The reading of the test above sees options at all."""
    assert {"--budget-usd", "--yes", "-j"} <= option_names(Path(options.__file__).read_text("utf-8"))


def test_no_field_of_the_flow_is_a_secret() -> None:
    """Prefect stores a flow's parameters in plain sight."""
    assert not [name for name in RunRequest.model_fields if re.search("key|secret|token|password", name)]


def test_a_key_does_not_show_itself() -> None:
    """Neither a format, nor a log line, nor the settings that hold it show a key."""
    ledger = f"postgresql://callsheet:{SECRET}@db/callsheet"
    names = ("FAL_KEY", "FAL_ADMIN_KEY", "CALLSHEET_NOTIFY_URLS", "CALLSHEET_WEBHOOK_SECRET")
    environ = dict.fromkeys(names, f"id:{SECRET}")
    settings = settings_from({**environ, "CALLSHEET_LEDGER_URL": ledger, "CALLSHEET_DATA_DIR": "x"})
    key = ApiKey(f"id:{SECRET}")
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s %r", (key, settings), None)
    for text in (str(key), repr(key), f"{key}", f"{key!r:>40}", str(settings), record.getMessage()):
        assert SECRET not in text
    assert SECRET not in str(asdict(settings))
    assert settings.key == pickle.loads(pickle.dumps(settings.key)) == key


@pytest.mark.parametrize("value", [f"{SECRET} x", f"{SECRET}\x00", f"é{SECRET}", f"{SECRET}\nX: y"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(value: str) -> None:
    """The message says what is wrong and not what was found."""
    with pytest.raises(UsageError, match="characters that no key has") as refused:
        settings_from({"FAL_KEY": value, "CALLSHEET_DATA_DIR": "x"})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_its_hash_and_no_address(path: Path) -> None:
    """What is installed is what was locked: one version each, with its hashes, from no named place."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) > 5
    assert all(
        re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in lines
    )
    assert "://" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:word@host/a.csv", "s3://[hidden]@host/a.csv"),
        ("https://user:p@ss@host:1/a@b", "https://[hidden]@host:1/a@b"),
        ("https://user:p?a#s s@host/x", "https://[hidden]@host/x"),
        ("postgresql://u:p@a/x and https://u@b/y", "postgresql://[hidden]@a/x and https://[hidden]@b/y"),
        ("a@b.example wrote //host/", "a@b.example wrote //host/"),
    ],
)
def test_a_login_in_an_address_is_hidden_whole(text: str, expected: str) -> None:
    """Also where the password holds an @; what stands behind the host is shown."""
    assert without_login(text) == expected

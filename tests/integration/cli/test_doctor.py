"""What `callsheet doctor` says of the key that runs are given."""

import asyncio
import re
import socket
import subprocess

import pytest

from callsheet.cli.commands import doctor
from callsheet.cli.commands.doctor import _clocks, _data_folder, _keeper, _key, _machines
from callsheet.engine.keeper import keep
from callsheet.ledger import Ledger
from callsheet.settings import ApiKey, settings_from


def test_a_run_key_with_admin_rights_is_warned_of(house) -> None:
    """What only an admin key may read is asked for, and fal answers."""
    is_fine, told = _key(house.settings)
    assert not is_fine
    assert told.startswith("FAL_KEY is an admin key")


def test_an_ordinary_run_key_is_fine(house) -> None:
    """Also beside an admin key in its own place."""
    house.changes["admin_key"] = house.settings.key
    house.with_an_ordinary_key()
    assert _key(house.settings) == (
        True,
        f"set; sent to {house.address.url} and {house.address.url} only",
    )


@pytest.mark.parametrize(("admin", "is_fine"), [("a", False), ("b", True)])
def test_without_a_network_only_one_key_in_both_places_is_warned_of(house, admin, is_fine) -> None:
    """What cannot be asked is no reason for a warning."""
    house.changes.update(key=ApiKey("a"), admin_key=ApiKey(admin), platform_url="http://127.0.0.1:1/v1")
    assert _key(house.settings)[0] is is_fine


def test_a_data_folder_that_others_can_read_is_named_with_the_command_that_closes_it(call, tmp_path):
    """The command can be copied, and afterwards all is well."""
    folder = tmp_path / "my data"
    settings = settings_from({"CALLSHEET_DATA_DIR": str(folder)})
    assert _data_folder(settings)[0]
    folder.mkdir(mode=0o700)
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        (folder / name).touch(mode=0o600)
    assert _data_folder(settings) == (True, f"{folder}: only you can read it")
    folder.chmod(0o755)
    (folder / "ledger.sqlite-wal").chmod(0o640)
    is_fine, told = _data_folder(settings)
    assert not is_fine
    subprocess.run(["/bin/sh", "-c", told.partition(": run ")[2]], check=True)
    assert _data_folder(settings)[0]


def test_a_keeper_is_alive_where_it_has_looked_lately(house, monkeypatch) -> None:
    """It leaves a trace in the ledger; runs that nobody works on are counted."""

    async def never(_each) -> None:
        raise AssertionError("nothing is to be started")

    async def one_round() -> None:
        async with house.account() as account:
            await keep(account, never)

    with Ledger.open(house.settings.ledger) as ledger:
        assert _keeper(ledger) == (True, "none has looked at this ledger, and no run waits for one")
        asyncio.run(one_round())
        is_fine, told = _keeper(ledger)
        assert is_fine
        assert re.match(r"looked \d+ s ago on ", told)
        house.open_run("a,A boat that nobody renders")
        assert "; 1 unfinished run has nobody" in _keeper(ledger)[1]
    with Ledger.open(house.settings.ledger, clock=lambda: house.now_ms() + 600_000) as later:
        assert not _keeper(later)[0]


def test_clocks_that_differ_are_named(house, monkeypatch) -> None:
    """By how much, and from whose."""
    with Ledger.open(house.settings.ledger) as ledger:
        assert _clocks(house.settings, ledger) == (
            True,
            "this machine's agrees with the database's and fal's within 30 s",
        )
        late_ms = doctor.wall_clock_ms() - 90_000
        monkeypatch.setattr(doctor, "wall_clock_ms", lambda: late_ms)
        is_fine, told = _clocks(house.settings, ledger)
    assert not is_fine
    assert "the database's by 9" in told
    assert "fal's by " in told


def test_a_file_ledger_that_two_machines_used_is_warned_of(house, monkeypatch) -> None:
    """Their locks do not meet; the way out is named."""
    run_id = house.open_run("a,A boat on two machines")
    with Ledger.open(house.settings.ledger) as ledger:
        with ledger.claim(run_id):
            pass
        assert _machines(ledger)[0]
    monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
    with Ledger.open(house.settings.ledger) as ledger:
        with ledger.claim(run_id, part="0-0"):
            pass
        is_fine, told = _machines(ledger)
    assert not is_fine
    assert "another-host" in told
    assert "postgresql://" in told

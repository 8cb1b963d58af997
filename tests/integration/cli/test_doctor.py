"""What `callsheet doctor` says of the key that runs are given."""

import subprocess

import pytest

from callsheet.cli.commands.doctor import _data_folder, _key
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

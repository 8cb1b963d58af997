"""Imports beside a run: in order, and no further than anybody wants them."""

import sys

import pytest

from callsheet.cli.importing import NotWanted, import_beside


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A module that imports two others, the first of which says how far the import is."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "beside_all.py").write_text("import beside_one\nimport beside_two\n")
    (tmp_path / "beside_one.py").write_text("")
    (tmp_path / "beside_two.py").write_text("")
    yield
    for name in ("beside_all", "beside_one", "beside_two"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("modules")
def test_what_is_imported_beside_a_run_is_there_as_after_any_import():
    """Nothing of the stepping back stays behind."""
    before = (list(sys.meta_path), sys.getswitchinterval())
    import_beside(["beside_all"])
    assert {"beside_all", "beside_one", "beside_two"} <= sys.modules.keys()
    assert (sys.meta_path, sys.getswitchinterval()) == before


@pytest.mark.usefixtures("modules")
def test_an_import_that_nobody_wants_any_more_ends_before_its_next_module():
    """A run that was stopped does not wait for the rest of Prefect, and nothing half imported is kept."""
    before = (list(sys.meta_path), sys.getswitchinterval())
    with pytest.raises(NotWanted):
        import_beside(["beside_all"], lambda: "beside_one" not in sys.modules)
    assert not {"beside_all", "beside_two"} & sys.modules.keys()
    assert (sys.meta_path, sys.getswitchinterval()) == before

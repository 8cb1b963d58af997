"""Imports beside an event loop: the loop goes first, and nothing is changed for anybody afterwards."""

import asyncio
import builtins
import gc
import importlib
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from callsheet.cli import garbage, importing


@pytest.fixture(autouse=True)
def _nothing_is_kept():
    """The test process looks for its garbage everywhere again."""
    yield
    gc.unfreeze()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that nobody has imported yet."""
    (tmp_path / "fresh_module_for_importing.py").write_text("made = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "fresh_module_for_importing"
    sys.modules.pop("fresh_module_for_importing", None)


def test_an_import_waits_for_a_loop_that_computes(module, monkeypatch):
    """The module is not begun before the loop rests, and is there when it does."""
    monkeypatch.setattr(importing, "PATIENCE_S", 60)
    thread = threading.Thread(target=importing.import_beside, args=([module],))

    async def computes() -> bool:
        thread.start()
        for _ in range(1000):  # the loop has not come to rest since the thread began
            assert module not in sys.modules
        await asyncio.to_thread(thread.join)
        return module in sys.modules

    assert importing.run(computes())


def test_an_import_does_not_wait_for_ever(module, monkeypatch):
    """A loop that never rests holds an import up for a moment per module."""
    monkeypatch.setattr(importing, "PATIENCE_S", 0.001)
    thread = threading.Thread(target=importing.import_beside, args=([module],))

    async def never_rests() -> None:
        thread.start()
        thread.join(timeout=30)

    importing.run(never_rests())
    assert module in sys.modules


def test_an_import_waits_for_calm_and_not_for_ever(module, monkeypatch):
    """While a place is being filled no module is begun; a fal that takes long to answer ends no import."""
    monkeypatch.setattr(importing, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(importing, "WAITS_S", 0.05)
    looks = []

    def is_calm() -> bool:
        looks.append(module in sys.modules)
        return False

    importing.import_beside([module], is_calm=is_calm)
    assert set(looks) == {False}
    assert module in sys.modules


def test_imports_wait_for_four_seconds_in_all(monkeypatch):
    """Not for as long at each module: Prefect has thousands."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(importing, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    manners = importing._Manners(lambda: False)
    for _ in range(3):
        manners.step_back()
    assert now[0] == pytest.approx(importing.WAITS_S, abs=importing.LOOK_EVERY_S)


def test_a_loop_that_never_rests_is_waited_for_no_longer_either(monkeypatch):
    """What was waited for rest counts as well."""
    monkeypatch.setattr(importing, "WAITS_S", 0.001)
    monkeypatch.setattr(importing, "PATIENCE_S", 0.01)
    waits = []
    at_rest = SimpleNamespace(wait=lambda at_most_s: waits.append(at_most_s) or not time.sleep(at_most_s))
    monkeypatch.setattr(importing, "_at_rest", at_rest)
    manners = importing._Manners(lambda: True)
    for _ in range(3):
        manners.step_back()
    assert waits == [0.01]


def test_an_import_of_what_is_there_waits_for_nothing(tmp_path, monkeypatch):
    """Neither by its whole name nor from within its package."""
    package = tmp_path / "there_already"
    package.mkdir()
    (package / "__init__.py").write_text("from . import part\nfrom .part import made\n")
    (package / "part.py").write_text("made = True\n")
    (package / "late.py").write_text("import sys\nfrom . import part\nfrom .part import made\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("there_already")
    looks = []
    importing.import_beside(["there_already.late"], is_calm=lambda: looks.append(1) or True)
    for name in ("there_already", "there_already.part", "there_already.late"):
        del sys.modules[name]
    assert len(looks) == 1  # the module itself


def test_threads_that_compute_give_way_sooner_while_the_loop_runs():
    """And as usual before and after, also where it ends badly."""
    usual_s = sys.getswitchinterval()

    async def fails() -> None:
        assert sys.getswitchinterval() == pytest.approx(importing.YIELD_EVERY_S)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        importing.run(fails())
    assert sys.getswitchinterval() == usual_s


def test_afterwards_everything_is_as_it_was(module):
    """Neither imports nor the switching of threads stay changed, also where a module is missing."""
    statement, interval_s = builtins.__import__, sys.getswitchinterval()
    threshold = gc.get_threshold()
    garbage.look_seldom()
    assert gc.get_threshold() > threshold
    importing.import_beside([module])
    with pytest.raises(ModuleNotFoundError):
        importing.import_beside(["no_module_of_this_name"])
    assert builtins.__import__ is statement
    assert sys.getswitchinterval() == pytest.approx(interval_s)
    assert gc.get_threshold() == threshold


def test_without_a_loop_nothing_is_waited_for(module, monkeypatch):
    """Before `run` and after it the loop counts as at rest."""
    monkeypatch.setattr(importing, "PATIENCE_S", 60)
    importing.run(asyncio.sleep(0))
    importing.import_beside([module])
    assert module in sys.modules


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
def test_an_import_that_nobody_wants_any_more_ends_before_its_next_module():
    """A run that was stopped does not wait for the rest of Prefect, and nothing half imported is kept."""
    before = (builtins.__import__, sys.getswitchinterval())
    with pytest.raises(importing.NotWanted):
        importing.import_beside(["beside_all"], is_wanted=lambda: "beside_one" not in sys.modules)
    assert not {"beside_all", "beside_two"} & sys.modules.keys()
    assert (builtins.__import__, sys.getswitchinterval()) == before


@pytest.mark.usefixtures("modules")
def test_a_loop_that_waits_for_a_module_of_this_thread_gets_it(monkeypatch):
    """It computes, and nothing is calm, until it has the module: waiting for either would stop them both."""
    monkeypatch.setattr(importing, "PATIENCE_S", 0.01)
    monkeypatch.setattr(importing, "WAITS_S", 3600)
    begun = threading.Event()

    def is_calm() -> bool:
        if "beside_one" not in sys.modules:
            return True
        begun.set()
        return "beside_all" in sys.modules and not blocked

    blocked = True
    thread = threading.Thread(
        target=importing.import_beside, args=(["beside_all"],), kwargs={"is_calm": is_calm}
    )

    async def imports_too() -> None:
        nonlocal blocked
        thread.start()
        await asyncio.to_thread(begun.wait)
        importlib.import_module("beside_all")
        blocked = False
        await asyncio.to_thread(thread.join)

    importing.run(imports_too())
    assert "beside_two" in sys.modules

"""Applied documents: judged together with what is there at that moment, however many apply at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.specs.samples import SLO, SOURCE, swapped, together
from tests.state.conftest import new_database, postgresql, store  # noqa: F401  fixtures
from tightrope.base.errors import ConflictError, NotFoundError, SpecsInvalidError, TightropeError
from tightrope.specs.store import Survey
from tightrope.specs.usecases import Applied, Exam, Shelf
from tightrope.state.database import Database, opened
from tightrope.state.documents import newest
from tightrope.state.journal import Journal

NOW = 1_700_000_000
CLOSER = swapped(SLO, "target: 0.999", "target: 0.99")


def judged(found: Survey) -> Exam:
    return found.specs, found.findings


def shelf(database: Database) -> Shelf:
    return Shelf(database, (), judged)


def meeting(count: int) -> Callable[[Survey], Exam]:
    """A judge that lets nobody go on before all have judged once: the worst of all moments."""
    barrier, seen = Barrier(count), set()

    def judge(found: Survey) -> Exam:
        from threading import get_ident

        if get_ident() not in seen:
            seen.add(get_ident())
            barrier.wait(20)
        return judged(found)

    return judge


def at_once(*tasks: Callable[[], Applied]) -> list[Applied | TightropeError]:
    def done(task: Callable[[], Applied]) -> Applied | TightropeError:
        try:
            return task()
        except TightropeError as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(done, tasks))


def test_of_two_who_make_the_same_document_one_is_told_that_it_is_there(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        shelf(database).apply(SOURCE, actor="me", now=NOW)
        both = Shelf(database, (), meeting(2))
        found = at_once(
            lambda: both.apply(SLO, actor="one", now=NOW, if_match=""),
            lambda: both.apply(CLOSER, actor="other", now=NOW, if_match=""),
        )
        assert sorted(type(one).__name__ for one in found) == ["Applied", "ConflictError"]
        assert all(one.precondition for one in found if isinstance(one, ConflictError))
        assert [one.version for one in shelf(database).versions("SLO", "checkout-availability")] == [1]


def test_of_two_who_change_what_they_have_read_one_is_told_to_read_anew(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        shelf(database).apply(together(SOURCE, SLO), actor="me", now=NOW)
        etag = shelf(database).document("SLO", "checkout-availability").etag
        both = Shelf(database, (), meeting(2))
        found = at_once(
            lambda: both.apply(CLOSER, actor="one", now=NOW, if_match=etag),
            lambda: both.apply(swapped(SLO, "target: 0.999", "target: 0.9"), actor="other", now=NOW, if_match=etag),
        )
        assert sorted(type(one).__name__ for one in found) == ["Applied", "ConflictError"]
        assert [one.version for one in shelf(database).versions("SLO", "checkout-availability")] == [2, 1]


def test_who_does_not_say_what_they_change_comes_after_the_other(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        shelf(database).apply(together(SOURCE, SLO), actor="me", now=NOW)
        both = Shelf(database, (), meeting(2))
        found = at_once(
            lambda: both.apply(CLOSER, actor="one", now=NOW),
            lambda: both.apply(swapped(SLO, "target: 0.999", "target: 0.9"), actor="other", now=NOW),
        )
        assert [type(one) for one in found] == [Applied, Applied]
        assert [one.version for one in shelf(database).versions("SLO", "checkout-availability")] == [3, 2, 1]
        assert not Journal(database).verify().broken


def test_nobody_takes_away_what_another_just_came_to_need(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        shelf(database).apply(SOURCE, actor="me", now=NOW)
        both = Shelf(database, (), meeting(2))
        found = at_once(
            lambda: both.apply(SLO, actor="one", now=NOW),
            lambda: both.withdraw("DataSource", "shop", actor="other", now=NOW),
        )
        assert sorted(type(one).__name__ for one in found) == ["Applied", "SpecsInvalidError"]
        specs, findings = shelf(database).examine()
        assert specs is not None
        assert findings == ()


def test_of_two_who_withdraw_a_document_one_finds_none(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        shelf(database).apply(together(SOURCE, SLO), actor="me", now=NOW)
        both = Shelf(database, (), meeting(2))
        found = at_once(*[lambda: both.withdraw("SLO", "checkout-availability", actor="me", now=NOW) for _ in range(2)])
        assert sorted(type(one).__name__ for one in found) == ["Applied", "NotFoundError"]
        assert NotFoundError in {type(one) for one in found}
        with database.reading() as connection:
            assert [one.withdrawn for one in newest(connection) if one.kind == "SLO"] == [True]


def test_many_who_apply_at_once_are_all_heard(store: str) -> None:  # noqa: F811
    count = 6
    with opened(store, create=True) as database:
        shelf(database).apply(SOURCE, actor="me", now=NOW)
        all_of_them = Shelf(database, (), meeting(count))
        names = [f"promise-{number}" for number in range(count)]
        texts = [swapped(SLO, "checkout-availability", name) for name in names]
        found = at_once(*[lambda text=text: all_of_them.apply(text, actor="me", now=NOW) for text in texts])
        assert [type(one) for one in found] == [Applied] * count
        assert sorted(one.name for one in shelf(database).documents() if one.kind == "SLO") == names


def test_a_new_document_takes_the_place_of_none(store: str) -> None:  # noqa: F811
    with opened(store, create=True) as database:
        room = shelf(database)
        room.apply(together(SOURCE, SLO), actor="me", now=NOW, if_match="")
        assert room.apply(SLO, actor="me", now=NOW, if_match="").changed[0][2] == "unchanged"
        with pytest.raises(ConflictError, match="already"):
            room.apply(CLOSER, actor="me", now=NOW, if_match="")
        with pytest.raises(SpecsInvalidError):
            room.withdraw("DataSource", "shop", actor="me", now=NOW)


def test_a_server_may_begin_with_an_empty_folder_and_what_is_applied(tmp_path: Path) -> None:
    (tmp_path / "slo").mkdir()
    with opened(str(tmp_path / "data"), create=True) as database:
        room = Shelf(database, [str(tmp_path / "slo")], judged)
        specs, findings = room.examine()
        assert (specs is not None and specs.slos, findings) == ((), ())
        room.apply(together(SOURCE, SLO), actor="me", now=NOW)
        specs, findings = room.examine()
        assert specs is not None
        assert [one.name for one in specs.slos] == ["checkout-availability"]


def test_a_folder_that_has_become_empty_is_a_volume_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "slo"
    folder.mkdir()
    (folder / "all.yaml").write_text(together(SOURCE, SLO), encoding="utf-8")
    with opened(str(tmp_path / "data"), create=True) as database:
        room = Shelf(database, [str(folder)], judged)
        assert room.examine()[0] is not None
        (folder / "all.yaml").unlink()
        specs, findings = room.examine()
        assert specs is None
        assert [one.code for one in findings] == ["TR004"]

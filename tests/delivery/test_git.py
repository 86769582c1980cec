"""Git itself is asked: real repositories, whole, bare, cut off, and gone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.delivery.worlds import report, shop
from tightrope.base.errors import NotFoundError
from tightrope.delivery.changes import Recorded, history_of
from tightrope.delivery.executors.git import Repository
from tightrope.delivery.usecases import read_git
from tightrope.specs.model import ChangeKind


class Clone:
    """A repository in a folder, made by git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Ann Lee", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str, *files: str) -> str:
        for name in files or ("all.txt",):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(message, encoding="utf-8")
        self.git("add", ".")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "shop")


def test_a_range_is_read_with_authors_messages_parents_and_files(clone: Clone) -> None:
    first = clone.commit("feat: one")
    second = clone.commit("fix: Grüße\n\nA body\x1e with signs.\n\nTightrope-Kind: security", "shop/a.py", "ü.txt")
    clone.git("checkout", "-q", "-b", "side", first)
    third = clone.commit("docs: side", "desk/b.md")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "--no-ff", "-m", "Merge branch 'side'", "side")
    head = clone.git("rev-parse", "HEAD")
    found = {one.sha: one for one in Repository(str(clone.folder)).commits(["main"], [first])}
    assert set(found) == {second, third, head}
    one = found[second]
    assert (one.author, one.files, one.parents, one.exact) == ("Ann Lee", ("shop/a.py", "ü.txt"), (first,), True)
    assert one.message.splitlines()[0] == "fix: Grüße"
    assert one.commit().kind is ChangeKind.SECURITY
    assert set(found[head].parents) == {second, third}
    assert found[head].files == ()


def test_names_of_all_kinds_are_resolved(clone: Clone) -> None:
    first = clone.commit("feat: one")
    clone.git("tag", "v1.0.0")
    clone.git("tag", "-a", "v1.0.1", "-m", "annotated")
    second = clone.commit("fix: two")
    repository = Repository(str(clone.folder))
    assert [repository.resolve(name) for name in ("v1.0.0", "v1.0.1", first[:8], "HEAD~1")] == [first] * 4
    assert (repository.tags(first), repository.tags(second)) == (["v1.0.0", "v1.0.1"], [])
    assert (repository.is_ancestor(first, second), repository.is_ancestor(second, first)) == (True, False)
    assert repository.origin() == ""


@pytest.mark.parametrize("name", ["none", "--output=x", "-v", "", "HEAD^{tree}", "v1..v2"])
def test_what_is_no_commit_is_told_and_no_option_of_git(clone: Clone, name: str) -> None:
    clone.commit("feat: one")
    with pytest.raises(NotFoundError, match="is no commit of"):
        Repository(str(clone.folder)).resolve(name)


def test_a_repository_that_is_none_or_has_vanished_is_told(clone: Clone, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no repository in"):
        Repository(str(tmp_path / "none"))
    (tmp_path / "plain").mkdir()
    with pytest.raises(NotFoundError, match="is no git repository"):
        Repository(str(tmp_path / "plain"))
    first = clone.commit("feat: one")
    repository = Repository(str(clone.folder))
    shutil.rmtree(clone.folder)
    with pytest.raises(NotFoundError):
        repository.commits([first])
    with pytest.raises(NotFoundError):
        read_git(str(clone.folder), "", "", given=False)


def test_an_empty_repository_has_no_commit(clone: Clone) -> None:
    with pytest.raises(NotFoundError, match="'HEAD' is no commit of"):
        read_git(str(clone.folder), "", "", given=False)


def test_a_bare_repository_is_read_as_well(clone: Clone, tmp_path: Path) -> None:
    head = clone.commit("feat: one")
    clone.git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    assert Repository(str(tmp_path / "bare.git")).resolve("main") == head


def test_a_clone_that_is_cut_off_says_so(clone: Clone, tmp_path: Path) -> None:
    first = clone.commit("feat: one")
    head = [clone.commit(f"fix: {number}") for number in range(3)][-1]
    clone.git("clone", "-q", "--depth", "2", f"file://{clone.folder}", str(tmp_path / "cut"))
    repository = Repository(str(tmp_path / "cut"))
    assert repository.shallow
    with pytest.raises(NotFoundError) as told:
        repository.resolve(first)
    assert "--unshallow" in told.value.remedy
    found = repository.commits(["HEAD"])
    assert [one.exact for one in found] == [True, False]
    history = history_of(found)
    assert history.is_ancestor(first, head) is None
    known = read_git(str(tmp_path / "cut"), "", first, given=False)
    assert (known.previous, len(known.history)) == ("", 1)
    assert "is not in" in known.lacking
    with pytest.raises(NotFoundError):
        read_git(str(tmp_path / "cut"), "", first, given=True)


def test_deployments_from_git_know_their_commits_and_rollbacks(clone: Clone, tmp_path: Path, store: str) -> None:
    names = [clone.commit(message) for message in ("feat: one", "fix: two", "docs: three")]
    clone.git("tag", "v3")
    clone.git("remote", "add", "origin", "git@github.com:acme/shop.git")
    with shop(store) as here:

        def deploy(name: str, at: int, revision: str):  # type: ignore[no-untyped-def]
            live = here.deliveries.live("checkout")
            read = read_git(str(clone.folder), revision, live.revision if live else "", given=False)
            told = replace(report(name, at), revision=read.revision, repository=read.repository, version=read.version)
            return here.deliveries.record(told, read.history)

        deploy("1", 0, names[0])
        second = deploy("2", 10, "")
        assert (second.version, second.repository, second.kind) == (
            "v3",
            "github.com/acme/shop",
            ChangeKind.RELIABILITY,
        )
        assert [one.title for one in second.commits] == ["docs: three", "fix: two"]
        assert {one.author for one in second.commits} == {"Ann Lee"}
        back = deploy("3", 20, names[0])
        assert (back.rollback, back.commits) == (True, ())
        assert "is in the past of" in back.because


def test_a_hooks_surroundings_do_not_lead_git_astray(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = clone.commit("feat: one")
    other = Clone(tmp_path / "other")
    other.commit("feat: another")
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    assert Repository(str(clone.folder)).resolve("HEAD") == head


def test_what_git_tells_counts_before_what_a_push_implied(clone: Clone) -> None:
    first, second = clone.commit("feat: one"), clone.commit("fix: two")
    (told,) = Repository(str(clone.folder)).commits([second], [first])
    pushed = Recorded(second, "fix: two", "ann", told.committed_at, parents=("f" * 40,))
    assert told.merged(pushed).parents == pushed.merged(told).parents == (first,)

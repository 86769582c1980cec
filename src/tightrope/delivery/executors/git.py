"""The door to git: it is asked itself, as a program, about a repository on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.base.settings import environment
from tightrope.delivery.changes import Recorded

PATIENCE_S = 30
MOST_COMMITS = 2000
"""So many commits of one range are read at most, the newest."""

_FORMAT = "%x00%H%x00%P%x00%an%x00%at%x00%ct%x00%B%x00"  # no text of git holds a NUL
_FIELDS = 7
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false")


class Repository:
    """A repository in a folder: a working tree, or a bare one.

    Args:
        folder: Where it is.

    Raises:
        NotFoundError: There is no such folder, or no repository in it.
        UsageError: There is no git on this machine.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise NotFoundError(f"there is no repository in {folder}", remedy="give the folder of a git repository")
        found = self._ask("rev-parse", "--is-shallow-repository")
        if found is None:
            raise NotFoundError(
                f"{folder} is no git repository that may be read",
                remedy="give the folder of a clone; one of another user takes `git config --global safe.directory`",
            )
        self.shallow = found.strip() == "true"

    def resolve(self, revision: str) -> str:
        """The full name of the commit that a branch, tag or short name means.

        Raises:
            NotFoundError: It means none here; in a clone that is cut off, that is said.
        """
        found = None
        if revision and not revision.startswith("-"):
            found = self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if not found:
            remedy = "this clone is cut off: `git fetch --unshallow`" if self.shallow else "fetch it, or name another"
            raise NotFoundError(f"{revision!r} is no commit of {self._folder}", remedy=remedy)
        return found.strip()

    def has(self, revision: str) -> bool:
        """Whether a name means a commit here."""
        try:
            self.resolve(revision)
        except NotFoundError:
            return False
        return True

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit is another one, or in its past, as far as this clone reaches."""
        pair = (self.resolve(older), self.resolve(newer))
        return self._ask("merge-base", "--is-ancestor", *pair) is not None

    def tags(self, revision: str) -> list[str]:
        """The tags on a commit."""
        return (self._ask("tag", "--points-at", self.resolve(revision)) or "").split()

    def origin(self) -> str:
        """The address that the clone came from, without user and password; empty: it has none."""
        return (self._ask("config", "--get", "remote.origin.url") or "").strip()

    def commits(self, wanted: Sequence[str], without: Sequence[str] = ()) -> list[Recorded]:
        """The commits that lead to some, and not to others, newest first; at most `MOST_COMMITS`.

        Raises:
            NotFoundError: One of them is not here.
        """
        ends = [self.resolve(one) for one in wanted] + [f"^{self.resolve(one)}" for one in without]
        arguments = ("log", f"--format={_FORMAT}", "--name-only", "--encoding=UTF-8", f"--max-count={MOST_COMMITS}")
        return self._read(self._ask(*arguments, *ends, "--"))

    def one(self, revision: str) -> Recorded:
        """A single commit; raises `NotFoundError`."""
        arguments = ("log", f"--format={_FORMAT}", "--name-only", "--encoding=UTF-8", "--max-count=1")
        return self._read(self._ask(*arguments, self.resolve(revision), "--"))[0]

    def between(self, one: str, other: str) -> list[Recorded]:
        """The commits that lead to one of two and not to both, and the two themselves: enough to compare them."""
        apart = [*self.commits([other], [one]), *self.commits([one], [other])]
        known = {commit.sha for commit in apart}
        return [*apart, *(commit for commit in (self.one(one), self.one(other)) if commit.sha not in known)]

    def _read(self, text: str | None) -> list[Recorded]:
        if text is None:
            raise DataError(f"git cannot read the history in {self._folder}", remedy="`git fsck` there says more")
        parts = text.split("\0")[1:]
        found = []
        for begin in range(0, len(parts) - _FIELDS + 1, _FIELDS):
            sha, parents, author, authored, committed, message, files = parts[begin : begin + _FIELDS]
            above = tuple(parents.split())
            found.append(
                Recorded(
                    sha,
                    message.strip(),
                    author.strip(),
                    int(committed),
                    int(authored),
                    parents=above,
                    # where a clone is cut off, git shows a commit as if it were the first of all
                    exact=bool(above) or not self.shallow,
                    files=tuple(sorted(line for line in files.splitlines() if line)),
                )
            )
        return found

    def _ask(self, *arguments: str) -> str | None:
        """Let git answer; None where it refuses."""
        surroundings = {
            "PATH": environment("PATH"),
            "HOME": environment("HOME"),
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
        }
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, and no argument of it begins with a dash
                ["git", *_SAFE, "-C", str(self._folder), *arguments],  # noqa: S607 - from the PATH, as for people
                capture_output=True,
                env=surroundings,
                timeout=PATIENCE_S,
                check=False,
            )
        except FileNotFoundError:
            raise UsageError("there is no git on this machine", remedy="install git, or leave out --repo") from None
        except NotADirectoryError:
            raise NotFoundError(f"the repository in {self._folder} has vanished") from None
        except subprocess.TimeoutExpired:
            raise DataError(
                f"git did not answer within {PATIENCE_S} s in {self._folder}", remedy="`git gc` there may help"
            ) from None
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

"""The door to repositories that pipelines are run from: what a name means there, and a file as of a commit."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.base.settings import environment
from tightrope.base.values import dataclass

PATIENCE_S = 60
MOST_FILES = 20_000
MOST_BYTES = 1 << 30

_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NOTHING = re.compile(r"0+")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a folder stands in a repository.

    Attributes:
        root: Of the repository; empty: the folder is in none.
        below: The folder, from there.
        revision: Full name of the commit that is checked out; empty: there is none yet.
        branch, tag: Empty: none.
        title: Of the commit.
        changed: Whether something is not committed.
    """

    root: str = ""
    below: str = ""
    revision: str = ""
    branch: str = ""
    tag: str = ""
    title: str = ""
    changed: bool = False


def is_address(repository: str) -> bool:
    """Whether a repository is elsewhere, and no path of this machine."""
    return "://" in repository or (":" in repository.partition("/")[0] and not repository.startswith("."))


def is_commit(name: str) -> bool:
    """Whether it is the full name of a commit, and nothing else."""
    return _SHA.fullmatch(name) is not None


def standing(folder: str) -> Standing:
    """Tell where a folder stands."""
    root = _ask(folder, "rev-parse", "--show-toplevel")
    if not root:
        return Standing()
    root = root.strip()
    revision = (_ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or "").strip()
    if not revision:
        return Standing(root)
    branch = (_ask(folder, "symbolic-ref", "--quiet", "--short", "HEAD") or "").strip()
    tags = (_ask(folder, "tag", "--points-at", "HEAD") or "").split()
    below = os.path.relpath(os.path.realpath(folder), os.path.realpath(root))
    changed = bool((_ask(folder, "status", "--porcelain", "--", ".") or "").strip())
    title = (_ask(folder, "log", "-1", "--format=%s", "--encoding=UTF-8", revision) or "").strip()
    return Standing(root, "" if below == "." else below, revision, branch, tags[0] if tags else "", title, changed)


def resolve(repository: str, revision: str) -> tuple[str, str]:
    """The commit that a name means in a repository, here or elsewhere, and its title where that is known.

    Raises:
        NotFoundError: There is no such repository, or no such commit in it.
    """
    if revision.startswith("-"):
        raise NotFoundError(f"{revision!r} is no commit of {repository}")
    if is_address(repository):
        if _SHA.fullmatch(revision):
            return revision, ""
        told = _ask(".", "ls-remote", "--", repository, revision or "HEAD", f"refs/tags/{revision}^{{}}")
        if told is None:
            raise NotFoundError(f"{repository} cannot be reached, or is no repository", remedy="try `git ls-remote`")
        rows = [line.split("\t") for line in told.splitlines() if "\t" in line]
        peeled = [row for row in rows if row[1].endswith("^{}")]
        if not rows:
            raise NotFoundError(f"{repository} has no branch or tag {revision!r}")
        return (peeled or rows)[0][0], ""
    if not Path(repository).is_dir():
        raise NotFoundError(f"the repository {repository} is not there", remedy="look whether it was moved or removed")
    found = _ask(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision or 'HEAD'}^{{commit}}")
    if not found:
        if _ask(repository, "rev-parse", "--git-dir") is None:
            raise NotFoundError(f"{repository} is no git repository that may be read")
        raise NotFoundError(f"{revision or 'HEAD'!r} is no commit of {repository}", remedy="push it there first")
    name = found.strip()
    return name, (_ask(repository, "log", "-1", "--format=%s", "--encoding=UTF-8", name) or "").strip()


def file_at(repository: str, revision: str, path: str) -> str | None:
    """A file of a repository on this machine as of a commit; None: it is not there.

    Raises:
        NotFoundError: There is no such commit. DataError: The file is no text.
    """
    name, _ = resolve(repository, revision)
    if _ask(repository, "cat-file", "-e", f"{name}:{path}") is None:
        return None
    return _ask(repository, "show", "--no-textconv", f"{name}:{path}")


def mirror(address: str, revision: str, folder: Path) -> str:
    """Fetch one commit of a repository elsewhere into a repository of our own; its path.

    Raises:
        NotFoundError: It cannot be fetched.
    """
    path = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True)
        _ask(str(path), "init", "--quiet", "--bare")
    if _ask(str(path), "cat-file", "-e", f"{revision}^{{commit}}") is None and (
        _ask(str(path), "fetch", "--quiet", "--depth=1", "--", address, revision) is None
    ):
        raise NotFoundError(f"{revision[:12]} cannot be fetched from {address}", remedy="look whether it is reachable")
    return str(path)


def changed_paths(repository: str, before: str, after: str) -> tuple[str, ...] | None:
    """The paths that differ between two commits; None: nobody can tell, as for a branch that is new."""
    if not before or _NOTHING.fullmatch(before) or not after:
        return None
    told = _ask(repository, "diff", "--name-only", "-z", "--no-renames", before, after, "--")
    return None if told is None else tuple(path for path in told.split("\0") if path)


def digest_of(folder: str, without: Sequence[str] = ()) -> str:
    """The sha256 of all files below a folder: what a version is called that was never committed.

    Raises:
        UsageError: There are too many of them.
    """
    digest, count, size = hashlib.sha256(), 0, 0
    left_out = {os.path.realpath(one) for one in without}
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            one for one in folders if one != ".git" and os.path.realpath(Path(where, one)) not in left_out
        )
        for name in sorted(names):
            path = Path(where, name)
            if path.is_symlink() or not path.is_file():
                continue
            count, size = count + 1, size + path.stat().st_size
            if count > MOST_FILES or size > MOST_BYTES:
                raise UsageError(f"{folder} is too large to be taken as it stands", remedy="commit it, and run that")
            digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def install_hook(repository: str, line: str, *, force: bool = False) -> str:
    """Write the post-receive hook of a bare repository; the path that it has.

    Raises:
        NotFoundError: There is no such repository. UsageError: It has a hook of somebody else.
    """
    if not Path(repository).is_dir():
        raise NotFoundError(f"the repository {repository} is not there")
    found = _ask(repository, "rev-parse", "--git-path", "hooks")
    if found is None:
        raise NotFoundError(f"{repository} is no git repository")
    told = _ask_plainly(repository, "config", "--get", "core.hooksPath")
    folder = Path(repository, (told or "").strip() or "hooks")
    if not (told or "").strip() and (Path(repository) / ".git").is_dir():
        folder = Path(repository) / ".git" / "hooks"
    path = folder / "post-receive"
    ours = "# written by `tightrope pipeline install-hook`"
    if path.exists() and ours not in path.read_text("utf-8", "replace") and not force:
        raise UsageError(
            f"{path} is there already", remedy=f"add this line to it, or write over it with --force: {line}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = path.with_name(".post-receive.new")
        new.write_text(f"#!/bin/sh\n{ours}; nothing that it does can undo the push\n{line} || true\n", "utf-8")
        new.chmod(0o755)
        new.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return str(path)


def _ask(folder: str, *arguments: str) -> str | None:
    """Let git answer; None where it refuses."""
    return _answer(folder, [*_SAFE, "-C", folder, *arguments])


def _ask_plainly(folder: str, *arguments: str) -> str | None:
    return _answer(folder, ["-C", folder, *arguments])


def _answer(folder: str, arguments: Sequence[str]) -> str | None:
    surroundings = {name: value for name in ("PATH", "HOME", "SSH_AUTH_SOCK") if (value := environment(name))}
    surroundings |= {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; no argument that others name begins with a dash
            ["git", *arguments],  # noqa: S607 - from the PATH, as for people
            capture_output=True,
            env=surroundings,
            timeout=PATIENCE_S,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError("there is no git on this machine", remedy="install git") from None
    except NotADirectoryError:
        raise NotFoundError(f"{folder} is not there") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"git did not answer within {PATIENCE_S} s in {folder}") from None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

"""Commands in containers of a real Podman: begun once whatever is killed, stopped, limited, and their logs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.podman import IMAGE, podman
from tests.live.serving import wait_for
from tightrope.base import clock
from tightrope.runs.commands import Absent, Command, Ended, Limits, Lost, Running, Seen
from tightrope.runs.executors.clients import INSIDE
from tightrope.runs.executors.container import ContainerExecutor, run_argv
from tightrope.runs.steps import ExecutorError

pytestmark = pytest.mark.live

_WITHIN_S = 60
_PATH = {"PATH": "/bin"}


@pytest.fixture(scope="module")
def client() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="tt-podman-"))
    try:
        with podman(folder) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def executor(client: str) -> Iterator[ContainerExecutor]:
    found = ContainerExecutor(client, place="here", image=IMAGE, begins_within_s=1)
    yield found
    found.close()


_numbers = iter(range(1, 1_000_000))


@pytest.fixture
def key() -> str:
    """A key that no other test has."""
    return f"R-12AB/build/unit/{os.getpid()}.{next(_numbers)}"


def _sh(line: str, **more: object) -> Command:
    return Command(("/bin/sh", "-c", line), environment=_PATH, **more)  # type: ignore[arg-type]


def _end(executor: ContainerExecutor, key: str) -> Seen:
    wait_for(lambda: isinstance(executor.look(key), Ended), _WITHIN_S)
    return executor.look(key)


def _ended(executor: ContainerExecutor, key: str, command: Command) -> Ended:
    executor.start(key, command)
    seen = _end(executor, key)
    assert isinstance(seen, Ended)
    return seen


def test_a_command_finds_what_it_was_given_and_what_it_leaves_is_ours(
    executor: ContainerExecutor, key: str, tmp_path: Path
) -> None:
    below = tmp_path / "a, b" / "below"
    below.mkdir(parents=True)
    (tmp_path / "a, b" / "there").write_text("beside\n")
    command = Command(
        ("sh", "-c", 'cat ../there; pwd; echo "$LINES"; echo "$TOKEN-$PEM"; id -u; echo left > left; exit 3'),
        folder=str(below),
        workspace=str(tmp_path / "a, b"),
        environment={"LINES": "one\ntwo", "PATH": "/nowhere:/bin", "TOKEN": "is hidden by the secret"},
        secrets={"TOKEN": "hunter2-hunter2", "PEM": "begin\nsecret\nend\n"},
    )
    began_at = clock.now()
    seen = _ended(executor, key, command)
    assert (seen.code, seen.signal, seen.ok) == (3, None, False)
    assert began_at - 1 <= (seen.began_at or 0) <= seen.ended_at <= clock.now() + 1
    log = executor.log(key)
    assert log.data.decode() == f"beside\n{INSIDE}/below\none\ntwo\n***-***\n{os.getuid()}\n"
    assert (log.ended, seen.log_bytes) == (True, len(log.data))
    assert executor.log(key, offset=7, limit=10).data == b"/workspace"
    assert (below / "left").stat().st_uid == os.getuid()
    executor.forget(key)
    assert executor.look(key) == Absent()
    assert executor.log(key).data == b""


def test_a_command_is_begun_once_however_often_it_is_started(
    executor: ContainerExecutor, key: str, tmp_path: Path
) -> None:
    command = _sh("echo once >> begun; sleep 0.3", folder=str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: executor.start(key, command), range(4)))
    assert _ended(executor, key, command).ok
    assert (tmp_path / "begun").read_text() == "once\n"


def test_a_container_that_was_made_and_not_begun_is_begun(client: str, executor: ContainerExecutor, key: str) -> None:
    argv = [one for one in run_argv(key, _sh("echo made"), IMAGE, place="here") if one != "--detach"]
    subprocess.run([client, "create", *argv[1:]], check=True, capture_output=True, timeout=_WITHIN_S)
    assert executor.look(key) == Absent()
    assert _ended(executor, key, _sh("echo made")).ok
    assert executor.log(key).data == b"made\n"


def test_whenever_a_client_is_killed_the_command_is_begun_once_or_nobody_knows(
    client: str, executor: ContainerExecutor, key: str, tmp_path: Path
) -> None:
    def killed_after(delay_s: float) -> str:
        one, folder = f"{key}/{delay_s}", tmp_path / str(delay_s)
        folder.mkdir()
        command = _sh("echo once >> begun", folder=str(folder))
        process = subprocess.Popen([client, *run_argv(one, command, IMAGE, place="here")], stdout=subprocess.DEVNULL)
        time.sleep(delay_s)  # any moment is good
        process.kill()
        process.wait()
        if isinstance(executor.look(one), Absent):
            executor.start(one, command)
        wait_for(lambda: isinstance(executor.look(one), Ended | Lost), 60)
        begun = (folder / "begun").read_text() if (folder / "begun").exists() else ""
        return begun if isinstance(executor.look(one), Ended) else f"unknown, {begun.count('once')}"

    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(killed_after, (0.04, 0.07, 0.1, 0.15)))
    assert found <= {"once\n", "unknown, 0", "unknown, 1"}


@pytest.mark.parametrize(
    ("line", "code", "sent"),
    [("kill -TERM $$", None, signal.SIGTERM), ("kill -KILL $$", None, signal.SIGKILL), ("exit 255", 255, None),
     ("nothing-of-that-name", 127, None)],
)  # fmt: skip
def test_how_a_command_ended_is_told(
    executor: ContainerExecutor, key: str, line: str, code: int | None, sent: int | None
) -> None:
    seen = _ended(executor, key, _sh(line))
    assert (seen.code, seen.signal, seen.why) == (code, sent, "")


def test_a_command_uses_no_more_than_it_may(executor: ContainerExecutor, key: str) -> None:
    greedy = Command(("/bin/sort", "/dev/zero"), limits=Limits(memory_bytes=64 << 20))
    assert "memory" in _ended(executor, f"{key}/m", greedy).why
    many = _sh("i=0; while test $((i += 1)) -le 60; do sleep 5 & done; wait", limits=Limits(processes=40))
    assert _ended(executor, f"{key}/p", many).ok is False
    assert b"can't fork" in executor.log(f"{key}/p").data
    large = _sh("ulimit -n; cd /tmp; dd if=/dev/zero of=large bs=1024 count=64",
                limits=Limits(file_bytes=1 << 15, open_files=50))  # fmt: skip
    assert _ended(executor, f"{key}/f", large).ok is False
    assert executor.log(f"{key}/f").data.startswith(b"50\n")
    assert _ended(executor, f"{key}/c", _sh("while :; do :; done", limits=Limits(cpu_s=1))).signal in {
        signal.SIGXCPU,
        signal.SIGKILL,
    }


def test_a_command_is_asked_to_end_and_killed_after_its_grace(executor: ContainerExecutor, key: str) -> None:
    told: list[str] = []
    executor.listen(told.append)
    willing, deaf = f"{key}/willing", f"{key}/deaf"
    executor.start(willing, _sh("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"))
    executor.start(
        deaf, _sh("trap '' TERM; echo up; (while :; do sleep 0.1; done) & wait; while :; do sleep 0.1; done")
    )
    for one in (willing, deaf):
        wait_for(lambda one=one: executor.log(one).data == b"up\n", _WITHIN_S)  # type: ignore[misc]
        assert isinstance(executor.look(one), Running)
    executor.forget(deaf)
    assert isinstance(executor.look(deaf), Running)
    for _ in range(2):
        executor.stop(willing, 30)
        executor.stop(deaf, 1)
    first, second = _end(executor, willing), _end(executor, deaf)
    assert isinstance(first, Ended)
    assert (first.code, executor.log(willing).data) == (7, b"up\nbye\n")
    assert isinstance(second, Ended)
    assert (second.code, second.signal) == (None, signal.SIGKILL)
    wait_for(lambda: sorted(told) == sorted([willing, deaf]), _WITHIN_S)


def test_of_a_giant_log_the_beginning_is_shown_and_any_bytes_are(executor: ContainerExecutor, key: str) -> None:
    giant = _sh("yes 'a line' | head -c 3000000", limits=Limits(log_bytes=1 << 16))
    seen = _ended(executor, f"{key}/giant", giant)
    log = executor.log(f"{key}/giant", limit=1 << 30)
    assert (seen.ok, len(log.data), log.ended) == (True, seen.log_bytes, True)
    assert log.data.startswith(b"a line\na line\n")
    assert log.data.endswith(b"\n[it goes on; only the beginning is shown here]\n")
    assert len(log.data) < (1 << 16) + 100
    assert _ended(executor, f"{key}/bytes", _sh(r"printf 'a\0b\377\r'")).ok
    assert executor.log(f"{key}/bytes").data == b"a\0b\xff\r"


def test_what_is_wrong_with_an_image_is_told(executor: ContainerExecutor, key: str) -> None:
    for number, (image, why) in enumerate(
        {"nosuch": "the image nosuch cannot be had", "No:Such:": "cannot be started"}.items()
    ):
        seen = _ended(executor, f"{key}/{number}", Command(("true",), image=image))
        assert (seen.code, seen.ok) == (None, False)
        assert why in seen.why
    unlikely = f"{key}/registry"
    executor.start(unlikely, Command(("true",), image="127.0.0.1:1/x:1"))
    assert executor.look(unlikely) == Running(why="fetches its image")

    with pytest.raises(ExecutorError, match="cannot be fetched"):
        wait_for(lambda: not isinstance(executor.look(unlikely), Running), _WITHIN_S)


def test_a_command_can_be_stopped_while_its_image_is_fetched(executor: ContainerExecutor, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        executor.start(key, Command(("true",), image=f"127.0.0.1:{silent.getsockname()[1]}/x:1"))
        executor.start(key, Command(("true",), image=f"127.0.0.1:{silent.getsockname()[1]}/x:1"))
        assert executor.look(key) == Running(why="fetches its image")
        executor.stop(key, 1)
        wait_for(lambda: executor.look(key) == Absent(), _WITHIN_S)


def test_old_containers_of_a_place_are_removed(client: str, key: str) -> None:
    here, there = (ContainerExecutor(client, place=place, image=IMAGE) for place in ("old", "elsewhere"))
    over, other, running = f"{key}/over", f"{key}/other", f"{key}/running"
    assert _ended(here, over, _sh("true")).ok
    assert _ended(there, other, _sh("true")).ok
    here.start(running, _sh("sleep 100"))
    ContainerExecutor("no-such-engine", place="old").prune(clock.now())
    here.prune(clock.now() - 100)
    assert isinstance(here.look(over), Ended)
    here.prune(clock.now() + 100)
    assert here.look(over) == Absent()
    assert isinstance(there.look(other), Ended)
    assert isinstance(here.look(running), Running)
    here.stop(running, 0)


def test_a_pipeline_goes_through_in_containers_though_its_process_is_killed(client: str, tmp_path: Path) -> None:
    source, data = tmp_path / "shop", tmp_path / "data"
    source.mkdir()
    (source / "lock").write_text("1\n")
    (source / "tightrope.yaml").write_text(
        f"""
apiVersion: tightrope.dev/v1
kind: Pipeline
metadata: {{name: boxed}}
spec:
  executor: {{container: {{image: "{IMAGE}"}}}}
  secrets: {{TOKEN: {{fromEnvironment: SHOP_TOKEN}}}}
  env: {{PATH: /bin}}
  stages:
    - name: build
      steps:
        - {{name: deps, run: "mkdir -p .deps; echo dep > .deps/one", cache: {{key: [lock], paths: [.deps]}}}}
        - {{name: long, secrets: [TOKEN],
           run: "echo begun >> count; while ! test -e go; do sleep 0.1; done; echo $TOKEN"}}
        - {{name: pack, run: "mkdir dist; cat count .deps/one > dist/all", artifacts: "dist/*"}}
    - name: test
      matrix: {{of: [a, b]}}
      steps:
        - {{name: flaky, run: "test $TIGHTROPE_ATTEMPT = 2", retries: {{count: 1, backoff: 1s}}}}
        - {{name: late, run: "sleep 100", timeout: 1s, grace: 0s, continueOnError: true}}
"""
    )
    command = [sys.executable, "-m", "tightrope", "pipeline"]
    surroundings = {**os.environ, "TIGHTROPE_CONTAINER_ENGINE": client, "SHOP_TOKEN": "hunter2-hunter2"}  # noqa: TID251
    rest = ["--data", str(data)]
    process = subprocess.Popen(
        [*command, "run", "--as-is", *rest], cwd=source, env=surroundings, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: bool(list(data.rglob("count"))), _WITHIN_S)
    process.kill()
    process.wait()
    main = next(data.rglob("count")).parent
    (main / "go").touch()
    resumed = subprocess.run(
        [*command, "resume", "1", *rest],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (main / "dist" / "all").read_text() == "begun\ndep\n"
    assert "pack: 1 artifact" in resumed.stdout
    assert "timed out" in resumed.stdout
    log = subprocess.run(
        [*command, "logs", "1", "build/long", *rest], env=surroundings, capture_output=True, check=True
    )
    assert log.stdout == b"***\n"

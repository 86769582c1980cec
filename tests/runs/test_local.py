"""Commands on this machine: begun once, followed across restarts, ended with all that they started."""

from __future__ import annotations

import json
import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from tests.live.serving import wait_for
from tightrope.base.clock import ticks
from tightrope.runs.commands import Absent, Command, Ended, Limits, Lost, Running
from tightrope.runs.executors import local
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.executors.supervisor import TAIL, descendants, is_gone, start_time, this_process
from tightrope.runs.steps import ExecutorError

KEY = "R-1/build/1"


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    one = LocalExecutor(tmp_path / "runs")
    yield one
    one.stop(KEY, 0)
    wait_for(lambda: not isinstance(one.look(KEY), Running), 5)
    one.close()


def shell(script: str, **others: object) -> Command:
    return Command(("/bin/sh", "-c", script), **others)  # type: ignore[arg-type]


def ended(executor: LocalExecutor, command: Command, key: str = KEY) -> Ended:
    """Run a command to its end."""
    executor.start(key, command)
    wait_for(lambda: isinstance(executor.look(key), Ended | Lost), 20)
    seen = executor.look(key)
    assert isinstance(seen, Ended), seen
    return seen


def text(executor: LocalExecutor, key: str = KEY) -> str:
    return executor.log(key).data.decode(errors="replace")


def _folder(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "runs" / "R-1").iterdir()
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _written(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text().strip() != ""


def test_what_never_began_is_absent(executor: LocalExecutor) -> None:
    assert executor.look(KEY) == Absent()
    executor.stop(KEY, 1)
    assert executor.log(KEY).data == b""
    executor.forget(KEY)


def test_output_and_status_are_kept(executor: LocalExecutor) -> None:
    done = ended(executor, shell("echo out; echo err >&2; exit 3"))
    assert (done.code, done.signal, done.why, done.ok) == (3, None, "", False)
    assert done.began_at is not None
    assert 0 <= done.ended_at - done.began_at < 60
    assert text(executor) == "out\nerr\n"
    assert executor.log(KEY, offset=4, limit=2).data == b"er"
    assert not executor.log(KEY, offset=4, limit=2).ended
    assert executor.log(KEY, offset=4).ended
    assert ended(executor, shell("true"), "R-1/other/1").ok


def test_a_command_begins_once_however_often_it_is_started(executor: LocalExecutor, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = shell(f"echo x >> {mark}; sleep 0.3")
    others = [LocalExecutor(tmp_path / "runs") for _ in range(3)]
    for one in (executor, *others, executor):
        one.start(KEY, command)
    ended(executor, command)
    executor.start(KEY, command)
    time.sleep(0.2)
    assert mark.read_text() == "x\n"
    for one in others:
        one.close()


def _nurse() -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-I", "-S", "-c", local._NURSE]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


def test_two_supervisors_that_race_begin_one_command(tmp_path: Path) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "one"
    folder.mkdir()
    body = marshal.dumps(local._told(shell(f"echo x >> {mark}; sleep 0.2"), str(tmp_path)))
    name = os.fsencode(folder)
    racing = [_nurse() for _ in range(4)]
    for one in racing:
        assert one.stdin is not None
        one.stdin.write(b"%08d%08d" % (len(name), len(body)) + name + body)
        one.stdin.flush()
    told = [one.communicate(timeout=20)[0] for one in racing]
    assert sorted(one == b"0\n" for one in told) == [False, True, True, True]
    wait_for((folder / "status").exists, 10)
    assert mark.read_text() == "x\n"


def test_orders_that_were_cut_short_begin_nothing(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path)
    for told in (b"", b"0000", b"nonsense" * 4, b"%08d%08d" % (len(name), 1000) + name + b"half"):
        nurse = _nurse()
        assert nurse.communicate(told, timeout=20)[0] == b""
    assert list(tmp_path.iterdir()) == []


def test_a_nurse_that_was_killed_is_replaced(executor: LocalExecutor) -> None:
    assert ended(executor, shell("true")).ok
    assert executor._nurse is not None
    executor._nurse.kill()
    executor._nurse.wait()
    assert ended(executor, shell("true"), "R-1/other/1").ok


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (Command(("no-such-program",)), "there is no program 'no-such-program'"),
        (Command(("/etc/passwd",)), "'/etc/passwd' cannot be executed"),
        (Command(("true",), folder="/no/such/folder"), "there is no folder '/no/such/folder'"),
        (Command(("true",), folder="/etc/passwd"), "there is no folder '/etc/passwd'"),
        (Command(("true",), environment={"PATH": "/nowhere"}), "there is no program 'true'"),
    ],
)
def test_what_cannot_be_started_has_ended_and_says_why(executor: LocalExecutor, command: Command, why: str) -> None:
    done = ended(executor, command)
    assert (done.why, done.ok) == (why, False)


def test_a_file_that_is_no_program_is_told_apart(executor: LocalExecutor, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo hello")
    script.chmod(0o755)
    assert "no first line that names its interpreter" in ended(executor, Command((str(script),))).why


def test_a_command_without_a_program_is_refused(executor: LocalExecutor) -> None:
    with pytest.raises(ExecutorError):
        executor.start(KEY, Command(()))


def test_it_inherits_nothing_of_the_server(executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_TOKEN", "of-the-server")
    descriptor = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    ended(executor, shell("env; ls /proc/self/fd | wc -l; umask; cat", environment={"STAGE": "production"}))
    os.close(descriptor)
    said = text(executor)
    assert "STAGE=production" in said
    names = {line.split("=")[0] for line in said.splitlines() if "=" in line}
    assert names <= {"STAGE", "PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}
    assert said.splitlines()[-2:] == ["4", "0022"]  # three, and the one that ls reads the folder with


def test_its_own_folder_is_empty(executor: LocalExecutor) -> None:
    ended(executor, shell("ls -A | wc -l"))
    assert text(executor).strip() == "0"


def test_secrets_reach_the_command_and_nothing_else(executor: LocalExecutor, tmp_path: Path) -> None:
    secret = 'correct horse/battery"staple'
    script = (
        'test "$TOKEN" = "$EXPECTED" && echo same; echo "is <$TOKEN>"; printf %s "$TOKEN" | base64 -w0; echo; '
        'printf "user:%s" "$TOKEN" | base64 -w0; echo; sleep 0.2; tr "\\0" "\\n" < /proc/$PPID/cmdline; '
        'tr "\\0" "\\n" < /proc/$PPID/environ'
    )
    done = ended(executor, shell(script, secrets={"TOKEN": secret, "EXPECTED": secret}, hidden=("bystander",)))
    assert done.ok, text(executor)
    said = text(executor)
    assert said.startswith("same\nis <***>\n***")
    assert "battery" not in said
    kept = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert b"battery" not in kept


def test_a_secret_written_in_pieces_is_found(executor: LocalExecutor) -> None:
    script = "printf 'a hunt'; sleep 0.1; printf 'er2 b hun'; sleep 0.1; echo ting"
    ended(executor, shell(script, secrets={"TOKEN": "hunter2"}))
    assert text(executor) == "a *** b hunting\n"


def test_binary_output_is_kept_as_it_is(executor: LocalExecutor) -> None:
    code = "import os; os.write(1, bytes(range(256)) * 4)"
    assert ended(executor, Command((sys.executable, "-c", code))).ok
    assert executor.log(KEY).data == bytes(range(256)) * 4


def test_of_a_giant_log_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(executor: LocalExecutor) -> None:
    most, lines = 10_000, 200_000
    done = ended(executor, shell(f"seq 1 {lines}", limits=Limits(log_bytes=most)))
    data = executor.log(KEY, limit=1 << 22).data
    assert done.ok
    assert data[:most].startswith(b"1\n2\n3\n")
    assert b"[tightrope: 10000 bytes are enough: of what follows, only the end is kept]\n" in data
    assert data.endswith(b"199999\n200000\n")
    written = len("".join(f"{n}\n" for n in range(1, lines + 1)))
    assert done.left_out == written - most - TAIL
    assert f"[tightrope: {done.left_out} bytes are left out here]".encode() in data
    assert len(data) == done.log_bytes < most + TAIL + 300


def test_a_command_that_writes_without_end_is_stopped_by_its_timeout(executor: LocalExecutor) -> None:
    done = ended(executor, Command(("yes",), timeout_s=1, grace_s=1, limits=Limits(log_bytes=1000)))
    assert (done.why, done.ok) == ("timed out", False)
    assert done.left_out > 0
    assert len(executor.log(KEY).data) < 1000 + TAIL + 300


def test_a_stopped_command_may_tidy_up(executor: LocalExecutor, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    executor.start(KEY, shell(f"trap 'echo bye; exit 7' TERM; echo x > {ready}; while :; do sleep 0.05; done"))
    wait_for(_written(ready), 10)
    executor.stop(KEY, 10)
    executor.stop(KEY, 10)
    wait_for(lambda: isinstance(executor.look(KEY), Ended), 10)
    done = executor.look(KEY)
    assert isinstance(done, Ended)
    assert (done.code, done.why) == (7, "stopped")
    assert text(executor).endswith("bye\n")


def test_one_that_ignores_being_asked_is_killed_with_all_that_it_started(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = (
        "trap '' TERM; "
        f"(trap '' TERM; sleep 61 & echo $! >> {pids}; wait) & "
        f"setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; sleep 62' & "
        f"(setsid sleep 63 & echo $! >> {pids}) ; "
        f"echo $$ >> {pids}; while :; do sleep 0.05; done"
    )
    executor.start(KEY, shell(script))
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 4, 10)
    family = [int(pid) for pid in pids.read_text().split()]
    assert all(_alive(pid) for pid in family)
    began = ticks()
    executor.stop(KEY, 1)
    wait_for(lambda: isinstance(executor.look(KEY), Ended), 10)
    done = executor.look(KEY)
    assert isinstance(done, Ended)
    assert (done.signal, done.why) == (signal.SIGKILL, "stopped")
    assert ticks() - began > 0.9
    wait_for(lambda: not any(_alive(pid) for pid in family), 5)


def test_what_a_command_leaves_behind_ends_with_it(executor: LocalExecutor, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"setsid sleep 61 & echo $! >> {pids}; (trap '' TERM; sleep 62) & echo $! >> {pids}; exit 0"
    assert ended(executor, shell(script)).ok
    assert not any(_alive(int(pid)) for pid in pids.read_text().split())


def test_one_that_was_asked_to_stop_before_it_began_never_begins(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path / "runs")
    mark = tmp_path / "mark"
    executor._of(KEY).mkdir(parents=True)
    executor.stop(KEY, 0)
    done = ended(executor, shell(f"echo x > {mark}"))
    assert (done.why, done.ok, mark.exists()) == ("stopped before it began", False, False)
    executor.close()


@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ("while :; do :; done", Limits(cpu_s=1), "it used more than 1 s of processor time"),
        ("head -c 3000000 /dev/zero > big", Limits(file_bytes=1_000_000), ""),
        ("exec 3< /dev/null 4< /dev/null 5< /dev/null 6< /dev/null 7< /dev/null", Limits(open_files=5), ""),
    ],
)
def test_limits_hold(executor: LocalExecutor, script: str, limits: Limits, why: str) -> None:
    done = ended(executor, shell(script, limits=limits))
    assert not done.ok
    assert why in done.why


def test_a_program_cannot_take_more_memory_than_it_may(executor: LocalExecutor) -> None:
    code = "x = bytearray(300 << 20)"
    done = ended(executor, Command((sys.executable, "-c", code), limits=Limits(memory_bytes=200 << 20)))
    assert done.code == 1
    assert "MemoryError" in text(executor)


def test_a_file_that_grows_too_large_ends_its_writer(executor: LocalExecutor) -> None:
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('big', 'wb').write(bytes(2000000))"
    done = ended(executor, Command((sys.executable, "-c", code), limits=Limits(file_bytes=1_000_000)))
    assert (done.signal, done.why) == (signal.SIGXFSZ, "it wrote a file of more than 1000000 bytes")


def test_a_limit_is_named_also_where_a_shell_stands_between(executor: LocalExecutor) -> None:
    done = ended(executor, shell("head -c 2000000 /dev/zero > big; exit $?", limits=Limits(file_bytes=1_000_000)))
    assert (done.code, done.why) == (128 + signal.SIGXFSZ, "it wrote a file of more than 1000000 bytes")
    other = "R-1/build/2"
    free = ended(executor, shell(f"exit {128 + signal.SIGXFSZ}"), other)
    assert free.why == "", "without a limit it is a status like any other"


def test_a_server_that_comes_back_finds_what_runs_and_hears_when_it_ends(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    executor.start(KEY, shell(f"echo begun; while [ ! -e {go} ]; do sleep 0.02; done; echo over"))
    wait_for(lambda: "begun" in text(executor), 10)
    again, heard = LocalExecutor(tmp_path / "runs"), Event()
    assert again.place == executor.place
    again.listen(lambda key: heard.set() if key == KEY else None)
    assert isinstance(again.look(KEY), Running)
    go.touch()
    assert heard.wait(10)
    seen = again.look(KEY)
    assert isinstance(seen, Ended)
    assert seen.ok
    assert text(again) == "begun\nover\n"
    again.close()


def test_a_command_whose_supervisor_was_killed_runs_as_long_as_it_does_and_is_lost_then(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    pid, heard = tmp_path / "pid", Event()
    executor.listen(lambda _: heard.set())
    executor.start(KEY, shell(f"echo $$ > {pid}; sleep 61"))
    wait_for(_written(pid), 10)
    started = json.loads((_folder(tmp_path) / "started").read_text())
    os.kill(started["pid"], signal.SIGKILL)
    orphan = Running(started["at"], "its supervisor was killed, and it runs on")
    wait_for(lambda: executor.look(KEY) == orphan, 10)
    executor.start(KEY, shell("true"))
    assert executor.look(KEY) == orphan, "what runs on must not begin again"
    heard.clear()
    executor.stop(KEY, 0)
    wait_for(lambda: not _alive(int(pid.read_text())), 5)
    assert heard.wait(10)
    assert executor.look(KEY) == Lost("its supervisor was killed")
    executor.start(KEY, shell("true"))
    assert executor.look(KEY) == Lost("its supervisor was killed"), "what was lost must not begin again"


def test_a_command_that_ran_before_the_machine_was_restarted_is_lost(executor: LocalExecutor, tmp_path: Path) -> None:
    ended(executor, shell("true"))
    folder = _folder(tmp_path)
    (folder / "status").unlink()
    started = json.loads((folder / "started").read_text())
    (folder / "started").write_text(json.dumps(started | {"boot": "another"}))
    assert executor.look(KEY) == Lost("the machine was restarted while it ran")


def test_keys_that_look_like_paths_stay_in_the_folder(executor: LocalExecutor, tmp_path: Path) -> None:
    for key in (
        "../../escape/../x",
        "/etc/passwd",
        "R-1/deploy (eu) ü/1",
        "R-1/a/b",
        "R-1/a_b",
        "..",
        "R-2/" + "x" * 400,
    ):
        assert ended(executor, shell("pwd"), key).ok
        assert text(executor, key).startswith(f"{tmp_path / 'runs'}{os.sep}")
    executor.forget("R-1/a/b")
    assert isinstance(executor.look("R-1/a/b"), Absent)
    assert isinstance(executor.look("R-1/a_b"), Ended)


def test_what_runs_is_not_forgotten(executor: LocalExecutor) -> None:
    executor.start(KEY, shell("sleep 61"))
    wait_for(lambda: isinstance(executor.look(KEY), Running), 5)
    executor.forget(KEY)
    assert isinstance(executor.look(KEY), Running)


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExecutorError, match="cannot hold the logs"):
        LocalExecutor(tmp_path / "file")


def test_the_descendants_of_a_process_are_known() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"]) as child:
        wait_for(lambda: len(descendants(child.pid)) == 1, 5)
        (grandchild,) = descendants(child.pid)
        assert start_time(grandchild)
        with suppress(ProcessLookupError):
            os.kill(grandchild, signal.SIGKILL)
    assert start_time(child.pid) == ""


def test_whether_another_process_still_is_can_be_told() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        name = f"{child.pid}.{start_time(child.pid)}"
        assert not is_gone(name)
        assert is_gone(f"{child.pid}.1")
        child.kill()
    assert is_gone(name)
    assert not is_gone(this_process())
    assert not is_gone("nobody")

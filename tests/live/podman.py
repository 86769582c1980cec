"""A real Podman with storage, settings and an image of its own, all in one folder and gone with it.

It needs the superuser and a kernel that lets it make containers; where that is not so, it says why and is skipped.
Containers have no network, and no more open files and processes than this process may have, so that a machine which is
itself a container will do.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

IMAGE = "localhost/busy:1"
_APPLETS = ("cat", "dd", "env", "head", "id", "ls", "mkdir", "printf", "sh", "sleep", "sort", "stat", "true", "yes")
_NEEDED = ("podman", "runc", "conmon", "catatonit")
_RUNC = """\
import json, os, pathlib, resource, sys
arguments = sys.argv[1:]
for before, bundle in zip(arguments, arguments[1:]):
    if before in ("--bundle", "-b"):
        file = pathlib.Path(bundle, "config.json")
        config = json.loads(file.read_text())
        for limit in config["process"].get("rlimits") or ():
            _, most = resource.getrlimit(getattr(resource, limit["type"]))
            for one in ("soft", "hard"):
                limit[one] = limit[one] if most < 0 else min(limit[one], most)
        file.write_text(json.dumps(config))
os.execv({runc!r}, [{runc!r}, *arguments])
"""


@contextmanager
def podman(folder: Path) -> Iterator[str]:
    """The client of an engine that runs containers, with `IMAGE`; its folder is to have a short name."""
    if os.geteuid() != 0:
        pytest.skip("a Podman of our own needs the superuser")
    programs = {name: shutil.which(name, path=f"{_path()}:/usr/sbin:/sbin") for name in _NEEDED}
    missing = sorted(name for name, there in programs.items() if there is None)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: apt-get install podman runc catatonit)")
    client = _client(folder, {name: str(there) for name, there in programs.items()})
    busybox = _busybox(str(programs["podman"]))
    if busybox is None:
        pytest.skip("there is no busybox for an image (Debian: apt-get install busybox-static)")
    try:
        image = _image(folder, busybox)
        for said in (["import", str(image), IMAGE], ["run", "--rm", "--init", IMAGE, "/bin/true"]):
            done = subprocess.run([client, *said], capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:
                pytest.skip(f"Podman cannot run containers here: {done.stderr.strip()[-300:]}")
        yield client
    finally:
        for said in (["rm", "--force", "--all"], ["rmi", "--force", "--all"]):
            subprocess.run([client, *said], capture_output=True, timeout=60, check=False)
        _end(folder)


def _path() -> str:
    return os.environ.get("PATH", os.defpath)  # noqa: TID251


def _client(folder: Path, programs: dict[str, str]) -> str:
    runc = folder / "runc"
    runc.write_text(f"#!{sys.executable}\n{_RUNC.format(runc=programs['runc'])}")
    settings = f"""\
[containers]
netns = "none"
log_driver = "k8s-file"
init_path = "{programs["catatonit"]}"
[engine]
runtime = "here"
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = ["{programs["conmon"]}"]
[engine.runtimes]
here = ["{runc}"]
"""
    (folder / "containers.conf").write_text(settings)
    (folder / "registries.conf").write_text("")
    policy = folder / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    root = Path(programs["podman"]).parents[2]
    libraries = (
        [] if root == Path("/") else [one for at in ("usr/lib", "lib") for one in (root / at).glob("*-linux-gnu")]
    )
    client = folder / "podman"
    client.write_text(
        f"""#!/bin/sh
export HOME={folder} CONTAINERS_CONF={folder}/containers.conf CONTAINERS_REGISTRIES_CONF={folder}/registries.conf
export XDG_RUNTIME_DIR={folder} LD_LIBRARY_PATH={":".join(map(str, libraries))}
exec {programs["podman"]} --root {folder}/r --runroot {folder}/s --tmpdir {folder}/t --storage-driver vfs "$@"
"""
    )
    for one in (client, runc):
        one.chmod(0o755)
    return str(client)


def _busybox(podman: str) -> Path | None:
    """One that needs no libraries: where Podman was unpacked, or the system's."""
    for one in (Path(podman).parents[2] / "bin" / "busybox", Path("/bin/busybox")):
        if one.exists():
            return one
    return None


def _image(folder: Path, busybox: Path) -> Path:
    image = folder / "image.tar"
    with tarfile.open(image, "w") as tar:
        for name in ("bin", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(busybox.resolve(), "bin/busybox", filter=_plainly)
        for name in _APPLETS:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return image


def _plainly(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _end(folder: Path) -> None:
    """Podman loses sight of a container's processes where its client was killed as it made it: they wait for ever."""
    ours, parents = set(), {}
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            number = int(one.name)
            parents[number] = int((one / "stat").read_text().rpartition(")")[2].split()[1])
            if str(folder).encode() in (one / "cmdline").read_bytes():
                ours.add(number)
    for number, parent in parents.items():
        if number in ours or parent in ours:
            with suppress(OSError):
                os.kill(number, signal.SIGKILL)

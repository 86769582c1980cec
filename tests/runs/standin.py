"""A stand-in for ``docker``, which is not here: it keeps what it is told by name, in files.

It re-creates what the executor rests on: a second container of one name is refused in the words of the real client,
what is over stays until it is removed, and variables that are named without a value come from the client's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def _keep(file: Path, document: dict[str, Any]) -> None:
    """Whoever looks meanwhile sees the old document or the new one, as with the real engines, and no half of one."""
    half = file.with_suffix(f".{os.getpid()}")
    half.write_text(json.dumps(document))
    half.replace(file)


def docker(folder: Path, argv: list[str]) -> int:
    """``docker``: a container ends at once, unless its program is named ``stays``."""
    with (folder / "asked").open("a") as asked:
        asked.write(json.dumps(argv) + "\n")
    verb, rest = argv[0], argv[1:]
    if (folder / "down").exists():
        sys.stderr.write("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
        return 1
    if verb == "info":
        sys.stdout.write('{"SecurityOptions": ["name=seccomp,profile=builtin"]}\n')
        return 0
    if verb == "pull":
        (folder / rest[-1].replace("/", "_")).touch()
        return 0
    if verb == "run":
        options: dict[str, list[str]] = {}
        while rest and rest[0].startswith("--"):
            name, _, value = rest.pop(0).partition("=")
            options.setdefault(name, []).append(value if value or name in {"--detach", "--init"} else rest.pop(0))
        if rest[0] != "busybox" and not (folder / rest[0].replace("/", "_")).exists():
            sys.stderr.write(f"docker: Error response from daemon: No such image: {rest[0]}\n")
            return 125
        file = folder / f"{options['--name'][0]}.json"
        if file.exists():
            sys.stderr.write(
                f'Error response from daemon: Conflict. The container name "/{file.stem}" is already in use\n'
            )
            return 125
        variables = {
            name: value if given else os.environ[name]  # noqa: TID251
            for name, given, value in (one.partition("=") for one in options.get("--env", []))
        }
        command = [options["--entrypoint"][0], *rest[1:]]
        stays = command[0] == "stays"
        document: dict[str, Any] = {
            "Name": f"/{file.stem}",
            "Config": {
                "Labels": dict(one.split("=", 1) for one in options["--label"]),
                "Env": [f"{name}={value}" for name, value in variables.items()],
            },
            "State": {"Status": "running", "StartedAt": "2026-03-01T12:00:00.123456789Z"},
        }
        if not stays:
            done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            (folder / f"{file.stem}.log").write_bytes(done.stdout)
            code = done.returncode if done.returncode >= 0 else 128 - done.returncode
            document["State"] |= {"Status": "exited", "ExitCode": code, "FinishedAt": "2026-03-01T12:00:05.5Z"}
        _keep(file, document)
        return 0
    file = folder / f"{argv[-1]}.json"
    if not file.exists():
        sys.stderr.write(f"Error: No such object: {argv[-1]}\n")
        return 1
    document = json.loads(file.read_text())
    match verb:
        case "inspect":
            sys.stdout.write(json.dumps([document]) + "\n")
        case "logs":
            log = folder / f"{file.stem}.log"
            sys.stdout.buffer.write(log.read_bytes() if log.exists() else b"")
        case "wait":
            while json.loads(file.read_text())["State"]["Status"] == "running":
                time.sleep(0.05)
        case "stop":
            document["State"] |= {"Status": "exited", "ExitCode": 143, "FinishedAt": "2026-03-01T12:00:09Z"}
            _keep(file, document)
        case "start":
            document["State"]["Status"] = "running"
            _keep(file, document)
        case "rm":
            file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit({"docker": docker}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:]))

"""Stand-ins for ``docker`` and ``kubectl``, which are not here: they keep what they are told by name, in files.

They re-create what the executors rest on: a second thing of one name is refused in the words of the real client, what
is over stays until it is removed, and variables that are named without a value come from the client's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    if verb == "run":
        options: dict[str, list[str]] = {}
        while rest and rest[0].startswith("--"):
            name = rest.pop(0)
            options.setdefault(name, []).append("" if name in {"--detach", "--init"} else rest.pop(0))
        file = folder / f"{options['--name'][0]}.json"
        if file.exists():
            sys.stderr.write(
                f'Error response from daemon: Conflict. The container name "/{file.stem}" is already in use\n'
            )
            return 125
        variables = {name: os.environ[name] for name in options.get("--env", [])}  # noqa: TID251
        command = [options["--entrypoint"][0], *rest[1:]]
        stays = command[0] == "stays"
        document: dict[str, Any] = {
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
            sys.stdout.write(json.dumps(document) + "\n")
        case "logs":
            sys.stdout.buffer.write((folder / f"{file.stem}.log").read_bytes())
        case "stop":
            document["State"] |= {"Status": "exited", "ExitCode": 143, "FinishedAt": "2026-03-01T12:00:09Z"}
            _keep(file, document)
        case "start":
            document["State"]["Status"] = "running"
            _keep(file, document)
        case "rm":
            file.unlink()
    return 0


def kubectl(folder: Path, argv: list[str]) -> int:
    """``kubectl``: keeps objects by kind and name; what becomes of a Job is written into its file by the test."""
    assert argv[0] == "--namespace"
    verb, rest = argv[2], argv[3:]
    if verb == "create":
        document = json.loads(sys.stdin.read())
        kind, name = document["kind"].lower(), document["metadata"]["name"]
        file = folder / f"{kind}-{name}.json"
        if file.exists():
            sys.stderr.write(
                f'Error from server (AlreadyExists): error when creating "STDIN": {kind}s "{name}" already exists\n'
            )
            return 1
        _keep(file, document)
        return 0
    if verb == "logs":
        file = folder / f"log-{rest[0].removeprefix('job/')}"
        if not file.exists():
            sys.stderr.write("error: timed out waiting for the condition\n")
            return 1
        sys.stdout.buffer.write(file.read_bytes())
        return 0
    if verb == "get" and rest[0] == "pods":
        file = folder / "pods.json"
        sys.stdout.write(file.read_text() if file.exists() else '{"items": []}')
        return 0
    file = folder / f"{rest[0]}-{rest[1]}.json"
    if not file.exists():
        return 0 if "--ignore-not-found" in rest else 1
    match verb:
        case "get":
            sys.stdout.write(file.read_text())
        case "patch":
            document = json.loads(file.read_text())
            document["spec"] |= json.loads(rest[rest.index("-p") + 1])["spec"]
            _keep(file, document)
        case "delete":
            file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit({"docker": docker, "kubectl": kubectl}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:]))

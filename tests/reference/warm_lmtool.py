"""`lmtool` with torch imported beforehand: tests and the pages of docs/ have hundreds to run.

A server imports what models need and then forks once a command; what stands for `lmtool` hands it
its arguments, folder, environment and standard streams, and exits as the command did. The command
runs as it does from a shell, but for the second that importing takes and for its terminal's
signals. Where its caller goes, by a timeout say, it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENT = """\
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(said).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(said)
    code = server.recv(1)
os._exit(code[0] if code else 70)
"""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Run a server while the block runs; gives the command that takes the place of `lmtool`."""
    address = str(folder / "lmtool.socket")
    client = folder / "client.py"
    client.write_text(CLIENT.format(address=address), "utf-8")
    command = folder / "bin" / "lmtool"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -SE "{client}" "$@"\n', "utf-8")
    command.chmod(0o755)
    (folder / "lmtool").symlink_to(ROOT, target_is_directory=True)
    paths = [str(folder), str(ROOT / "tests")]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    module = [sys.executable, "-m", "reference.warm_lmtool", address]
    with subprocess.Popen(module, stdout=subprocess.PIPE, env=environ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield command
        server.kill()


def serve(address: str) -> None:
    """Answer commands until killed, each in a process of its own."""
    # What every command needs that runs a model; what one of them imports besides stays its own.
    import lmtool.engine.session  # noqa: F401
    from lmtool.cli.app import COMMANDS
    from lmtool.engine import machine

    # What the machine could do takes seconds to measure well, and no test asks how well.
    machine.READ, machine.WIDTH = machine.READ // 16, machine.WIDTH // 4
    for command in COMMANDS.values():
        command.load()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            client, _ = listening.accept()
            if os.fork() == 0:  # this one waits for the command and tells how it ended
                listening.close()
                _attend(client)
            client.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _attend(client: socket.socket) -> None:
    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    said = b""
    while len(said) < int.from_bytes(size, "big"):
        said += client.recv(1 << 16)
    child = os.fork()
    if child == 0:
        client.close()
        _become(json.loads(said), streams)
    for stream in streams:
        os.close(stream)
    ended, status = 0, 0
    while not ended:
        if select.select([client], [], [], 0.005)[0]:  # nothing more is said: it has gone
            os.kill(child, signal.SIGKILL)
            os._exit(0)
        ended, status = os.waitpid(child, os.WNOHANG)
    status = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        client.sendall(bytes([status if status >= 0 else 128 - status]))
    os._exit(0)


def _become(said: tuple[list[str], str, dict[str, str]], streams: list[int]) -> None:
    """Be the command `lmtool`, started by that shell."""
    arguments, folder, environ = said
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["lmtool", *arguments]
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        number = ("stdin", "stdout", "stderr").index(name)
        buffering = 1 if name == "stderr" or os.isatty(number) else -1
        stream = open(number, mode, buffering, encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    from lmtool.cli.entry import main

    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    serve(sys.argv[1])

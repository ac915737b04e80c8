"""A model hub on loopback: what huggingface_hub asks of the real one, and every way it may fail.

`with LoopbackHub({"org/name": {"config.json": b"{}"}}) as hub:` serves it while the block runs;
`hub.endpoint` is for HF_ENDPOINT, and `hub.requests` tells what was asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS = (".safetensors", ".bin", ".gguf", ".model")
_API = re.compile(r"/api/models/(.+?)(?:/(revision|tree)/([^/?]+))?(?:\?.*)?")
_FILE = re.compile(r"/([^/]+/[^/]+|[^/]+)/resolve/([^/]+)/([^?]+)(?:\?.*)?")


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def file(self) -> str | None:
        found = _FILE.fullmatch(self.path)
        return found[3] if found else None


@dataclass
class LoopbackHub:
    """`repositories` by id, their files by name. The fields below make it fail."""

    repositories: dict[str, dict[str, bytes]]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: set[str] = field(default_factory=set)
    token: str | None = None
    """The one token that is accepted, where one is needed or given."""
    status: int | None = None
    """Answers everything with this."""
    headers: dict[str, str] = field(default_factory=dict)
    """What such an answer says besides."""
    cut_after: int | None = None
    """Drops the connection once so many bytes of a large file have gone out."""
    cuts: int = 10**9
    """How often it does so."""
    ranges: bool = True
    """Whether it goes on in the middle when asked to."""
    lies: dict[str, bytes] = field(default_factory=dict)
    """Other bytes for a file than its checksum promises."""
    slow_s: float = 0.0
    """How long it rests after each block of 64 kB."""
    requests: list[Asked] = field(default_factory=list)
    forbidden: bool = False
    """No request at all is expected: each one is counted and refused."""

    def __enter__(self) -> LoopbackHub:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for, in order."""
        return [asked.file for asked in self.requests if asked.method == "GET" and asked.file]


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Asked(self.command, self.path, headers))
        if hub.forbidden:
            self._fail(418, "Teapot", "nobody should ask")
        elif hub.status is not None:
            self._fail(hub.status, None, None, hub.headers)
        elif hub.token and headers.get("authorization", f"Bearer {hub.token}") != (
            f"Bearer {hub.token}"
        ):
            self._fail(401, None, "Invalid credentials in Authorization header")
        elif found := _FILE.fullmatch(self.path):
            self._file(*found.groups(), authorized="authorization" in headers)
        elif found := _API.fullmatch(self.path):
            self._api(*found.groups())
        else:
            self._fail(404, None, "Not Found")

    def _fail(
        self, status: int, code: str | None, message: str | None, more: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        body = json.dumps({"error": message or "no"}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _known(self, name: str, revision: str | None) -> str | None:
        """The commit, or None after an answer that says why there is none."""
        hub = self.hub
        if name not in hub.repositories:
            # As the real one: who isn't logged in may not know whether it exists.
            logged_in = self.headers.get("Authorization")
            self._fail(404 if logged_in else 401, "RepoNotFound", "Repository not found")
            return None
        revision = revision or "main"
        known = hub.revisions | {commit: commit for commit in hub.revisions.values()}
        commit = known.get(revision)
        if commit is None:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, name: str, kind: str | None, revision: str | None) -> None:
        commit = self._known(name, revision and revision.replace("%2F", "/"))
        if commit is None:
            return
        files = self.hub.repositories[name]
        if kind == "tree":
            answer: Any = [self._entry(path, data) for path, data in files.items()]
        else:
            siblings = [{"rfilename": p} | self._metadata(p, data) for p, data in files.items()]
            answer = {"id": name, "modelId": name, "sha": commit, "siblings": siblings}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        lfs = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
        entry = {"type": "file", "path": path, "oid": _git(data), "size": len(data)}
        return entry | ({"lfs": lfs} if path.endswith(LFS) else {})

    def _metadata(self, path: str, data: bytes) -> dict[str, Any]:
        if "blobs=true" not in self.path.lower():
            return {}
        lfs = {"sha256": _sha256(data), "size": len(data), "pointerSize": 134}
        found = {"size": len(data), "blobId": _git(data)}
        return found | ({"lfs": lfs} if path.endswith(LFS) else {})

    def _file(self, name: str, revision: str, path: str, authorized: bool) -> None:
        commit = self._known(name, revision)
        if commit is None:
            return
        if name in self.hub.gated and not authorized:
            self._fail(401, "GatedRepo", f"Access to model {name} is restricted")
            return
        data = self.hub.repositories[name].get(path)
        if data is None:
            self._fail(404, "EntryNotFound", "Entry not found")
            return
        large = path.endswith(LFS)
        start = self._start(len(data))
        sent = self.hub.lies.get(path, data)[start:]
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{_git(data)}"')
        if large:
            self.send_header("X-Linked-ETag", f'"{_sha256(data)}"')
            self.send_header("X-Linked-Size", str(len(data)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command != "HEAD":
            self._send(sent, large)

    def _start(self, size: int) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(found[1]) if found and self.hub.ranges and int(found[1]) < size else 0

    def _send(self, data: bytes, large: bool) -> None:
        hub = self.hub
        cut = large and hub.cut_after is not None and hub.cuts > 0
        if cut:
            hub.cuts -= 1
            data = data[: hub.cut_after]
        try:
            for at in range(0, len(data), 1 << 16):
                self.wfile.write(data[at : at + (1 << 16)])
                self.wfile.flush()
                time.sleep(hub.slow_s)
        except OSError:
            self.close_connection = True
        if cut:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

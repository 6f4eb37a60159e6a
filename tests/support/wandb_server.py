"""A local stand-in for the W&B server: it accepts runs and keeps what it was sent.

It answers the few GraphQL operations that wandb's client sends while it logs, and no more. It says
nothing about the real service.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """What the server was sent."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Run name -> the variables of its first UpsertBucket."""
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Run name -> logged rows."""
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Every request, to search for what must not be sent."""

    def of(self, job_type: str) -> dict[str, dict[str, Any]]:
        """Returns the runs of a job type."""
        return {name: run for name, run in self.runs.items() if run["jobType"] == job_type}

    def config(self, name: str) -> dict[str, Any]:
        """Returns the config a run was opened with."""
        return {key: entry["value"] for key, entry in json.loads(self.runs[name]["config"]).items()}


@contextmanager
def wandb_server() -> Iterator[tuple[str, Received]]:
    """Runs the server; gives its address and what it receives."""
    received = Received()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(received))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()


def _handler(received: Received) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self._body()
            if self.path.endswith("/graphql"):
                request = json.loads(body)
                self._answer({"data": _graphql(request, received, self.headers["Host"])})
            elif self.path.endswith("/file_stream"):
                _stream(self.path, json.loads(body), received)
                self._answer({"exitcode": None, "limits": {}})
            else:
                self._answer({})

        def do_PUT(self) -> None:
            self._body()
            received.uploads.append(self.path)
            self._answer({})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.bodies.append(body)
            return body

        def _answer(self, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Stays silent."""

    return Handler


def _stream(path: str, body: dict[str, Any], received: Received) -> None:
    run = path.split("/")[-2]
    files = body.get("files") or {}
    for line in files.get("wandb-history.jsonl", {}).get("content", []):
        received.history.setdefault(run, []).append(json.loads(line))
    for line in files.get("wandb-summary.json", {}).get("content", []):
        received.summaries.setdefault(run, {}).update(json.loads(line))


def _graphql(request: dict[str, Any], received: Received, host: str) -> dict[str, Any]:
    found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
    given = request.get("variables") or {}
    upload = f"http://{host}/upload"
    match found and found.group(1):
        case "Viewer":
            viewer = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}"}
            return {"viewer": {**viewer, "admin": False, "worker groups": {"edges": []}}}
        case "RunResumeStatus":
            return {"model": _resume_status(given, received)}
        case "UpsertBucket":
            return {"upsertBucket": _bucket(given, received)}
        case "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{upload}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        case "ArtifactType":
            return {"project": {"artifact": None}}
        case "CreateArtifact":
            received.artifacts.append(given["input"])
            sequence = {"id": "s", "latestArtifact": None}
            artifact = {"id": "a", "state": "PENDING", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        case "CreateArtifactManifest":
            file = {"id": "f", "uploadUrl": f"{upload}/manifest", "uploadHeaders": []}
            return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
        case "CreateArtifactFiles":
            edges = [_file(entry, upload) for entry in given["input"]["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        case "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
    return {}


def _resume_status(given: dict[str, Any], received: Received) -> dict[str, Any]:
    """What a client that resumes a run asks for; no bucket: the run is new."""
    name = given["name"]
    entity = {"name": "me"}
    if name not in received.runs:
        return {"name": given["project"], "entity": entity, "bucket": None}
    rows = received.history.get(name, [])
    bucket = {
        "name": name,
        "displayName": received.runs[name].get("displayName"),
        "summaryMetrics": json.dumps(received.summaries.get(name, {})),
        "logLineCount": 0,
        "historyLineCount": len(rows),
        "eventsLineCount": 0,
        "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
        "eventsTail": "[]",
        "config": received.runs[name].get("config") or "{}",
        "tags": [],
        "notes": "",
        "wandbConfig": json.dumps({"t": {"1": 1}}),
    }
    return {"name": given["project"], "entity": entity, "bucket": bucket}


def _bucket(given: dict[str, Any], received: Received) -> dict[str, Any]:
    name = given["name"]
    # The config is sent once more whenever it changes.
    known = received.runs.setdefault(name, {})
    known |= {key: value for key, value in given.items() if value is not None}
    project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
    bucket = {
        "id": "b",
        "name": name,
        "displayName": given.get("displayName"),
        "description": "",
        "config": "{}",
        "sweepName": None,
        "historyLineCount": 0,
        "project": project,
    }
    return {"bucket": bucket, "inserted": True}


def _file(entry: dict[str, Any], upload: str) -> dict[str, Any]:
    node = {
        "name": entry["name"],
        "storagePath": entry["name"],
        "uploadUrl": f"{upload}/artifact/{entry['name']}",
        "uploadHeaders": [],
        "uploadMultipartUrls": None,
        "artifact": {"id": "a"},
    }
    return {"node": node}

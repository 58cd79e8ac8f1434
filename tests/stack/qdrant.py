"""The part of Qdrant's REST API that vector clients use, over Qdrant's own engine.

`qdrant-edge-py` is the storage, the HNSW index and the query planner of Qdrant in
one process, without its server. This puts the documented paths of
https://api.qdrant.tech/api-reference in front of it: what a client sees of
recall, filters, indexing and latency is the engine's, what it sees of HTTP is
Python's. It says so in its version.

    python3 qdrant.py --port 6333 --data DIR [--host 127.0.0.1]

QDRANT__SERVICE__API_KEY asks for a key, as it does of the real server. One limit
that the real one has not: while an index is built, nothing is answered, since
the engine holds the interpreter's lock then.
"""
import argparse
import hmac
import json
import os
import re
import shutil
import socket
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge

try:
    VERSION = "edge-" + version("qdrant-edge-py")
except PackageNotFoundError:
    VERSION = "edge"

# The server's own defaults: https://qdrant.tech/documentation/concepts/indexing and
# /optimizer. Thresholds are in KB.
HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, "max_indexing_threads": 0, "on_disk": False}
OPTIMIZERS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 2,
    "max_segment_size": None,
    "indexing_threshold": 20_000,
    "flush_interval_sec": 5,
}
# An index is built once no update came for so long, in seconds.
QUIET = 0.2
MOST_BYTES = 64 << 20


class Refused(Exception):
    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


def condition(given):
    if "has_id" in given:
        return edge.HasIdCondition(set(map(identity, given["has_id"])))
    if "is_empty" in given:
        return edge.IsEmptyCondition(given["is_empty"]["key"])
    if "is_null" in given:
        return edge.IsNullCondition(given["is_null"]["key"])
    if "key" not in given:
        return filtering(given)
    parts = {}
    match = given.get("match")
    if match is not None:
        kinds = {
            "value": edge.MatchValue,
            "any": edge.MatchAny,
            "except": edge.MatchExcept,
            "text": edge.MatchText,
        }
        kind = next((kind for kind in kinds if kind in match), None)
        if kind is None:
            raise Refused(400, f"Format error in JSON body: unknown match {match}")
        parts["match"] = kinds[kind](match[kind])
    if given.get("range") is not None:
        limits = {name: limit for name, limit in given["range"].items() if limit is not None}
        parts["range"] = edge.RangeFloat(**limits)
    if not parts:
        raise Refused(400, "Format error in JSON body: a condition needs match or range")
    return edge.FieldCondition(given["key"], **parts)


def filtering(given):
    if given is None:
        return None
    unknown = set(given) - {"must", "should", "must_not"}
    if unknown or not given:
        raise Refused(400, f"Format error in JSON body: unknown field {sorted(unknown)} of a filter")
    clauses = {}
    for name, conditions in given.items():
        if conditions is not None:
            conditions = conditions if isinstance(conditions, list) else [conditions]
            clauses[name] = list(map(condition, conditions))
    return edge.Filter(**clauses)


def identity(given):
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    try:
        return uuid.UUID(given)
    except (ValueError, AttributeError, TypeError):
        raise Refused(400, f"Format error in JSON body: {given!r} is not a valid point ID") from None


def shown(found):
    return found if isinstance(found, int) else str(found)


def record(point, scored=False):
    fields = {"id": shown(point.id)}
    if scored:
        fields |= {"version": point.version, "score": point.score}
    if point.payload is not None:
        fields["payload"] = point.payload
    if point.vector is not None:
        fields["vector"] = point.vector
    return fields


class Collection:
    """One shard of the engine, and what a client may know of it."""

    def __init__(self, path, settings, exists=False):
        self.path, self.settings = path, settings
        vectors = settings["vectors"]
        hnsw = {name: value for name, value in settings["hnsw"].items() if value is not None}
        optimizers = {
            name: value
            for name, value in settings["optimizers"].items()
            if value is not None and name != "flush_interval_sec"
        }
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(vectors["size"], getattr(edge.Distance, vectors["distance"])),
            hnsw_config=edge.HnswIndexConfig(**hnsw),
            optimizers=edge.EdgeOptimizersConfig(**optimizers),
        )
        self.gone = threading.Event()
        self.changed = threading.Condition()
        self.stale = exists
        self.last_change = 0.0
        if exists:
            self.shard = edge.EdgeShard.load(path, config)
        else:
            self.shard = edge.EdgeShard.create(path, config)
            with open(os.path.join(path, "rest.json"), "w") as file:
                json.dump(settings, file)
        threading.Thread(target=self.optimize, daemon=True).start()

    def optimize(self):
        """What the server's optimizer does, when it is quiet."""
        while not self.gone.is_set():
            with self.changed:
                while not self.stale and not self.gone.is_set():
                    self.changed.wait()
                quiet = time.monotonic() - self.last_change
                if quiet < QUIET:
                    self.changed.wait(QUIET - quiet)
                    continue
                if self.gone.is_set():
                    return
                self.shard.optimize()
                self.stale = False

    def update(self, operation):
        with self.changed:
            if self.gone.is_set():
                raise Refused(404, "Not found: the collection was deleted")
            self.shard.update(operation)
            self.stale, self.last_change = True, time.monotonic()
            self.changed.notify()

    def delete(self):
        with self.changed:
            self.gone.set()
            self.changed.notify()
            self.shard.close()
        shutil.rmtree(self.path)

    def describe(self):
        info = self.shard.info()
        schema = {
            name: {"data_type": str(index.data_type).rsplit(".")[-1].lower(), "points": index.points}
            for name, index in info.payload_schema.items()
        }
        return {
            "status": "yellow" if self.stale else "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": {
                "params": {
                    "vectors": self.settings["vectors"],
                    "shard_number": 1,
                    "replication_factor": 1,
                    "write_consistency_factor": 1,
                    "on_disk_payload": True,
                },
                "hnsw_config": self.settings["hnsw"],
                "optimizer_config": self.settings["optimizers"],
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
                "quantization_config": None,
            },
            "payload_schema": schema,
        }

    def vector(self, given):
        if isinstance(given, dict) and "nearest" in given:
            given = given["nearest"]
        if isinstance(given, dict) and "vector" in given:
            given = given["vector"]
        if not isinstance(given, list):
            point = self.shard.retrieve([identity(given)], with_vector=True)
            if not point:
                raise Refused(404, f"Not found: No point with id {given} found")
            return point[0].vector
        size = self.settings["vectors"]["size"]
        if len(given) != size:
            raise Refused(
                400, f"Wrong input: Vector dimension error: expected dim: {size}, got {len(given)}"
            )
        return given

    def search(self, body, vector):
        given = body.get("params") or {}
        params = edge.SearchParams(hnsw_ef=given.get("hnsw_ef"), exact=bool(given.get("exact")))
        found = self.shard.search(
            edge.SearchRequest(
                edge.Query.Nearest(self.vector(vector)),
                body.get("limit", 10),
                offset=body.get("offset"),
                filter=filtering(body.get("filter")),
                params=params,
                with_vector=body.get("with_vector", False),
                with_payload=body.get("with_payload", False),
                score_threshold=body.get("score_threshold"),
            )
        )
        return [record(point, scored=True) for point in found]

    def sample(self, body):
        request = edge.QueryRequest(
            query=edge.Sample.Random,
            limit=body.get("limit", 10),
            filter=filtering(body.get("filter")),
            with_vector=body.get("with_vector", False),
            with_payload=body.get("with_payload", False),
        )
        return [record(point, scored=True) for point in self.shard.query(request)]

    def scroll(self, body):
        offset = body.get("offset")
        points, following = self.shard.scroll(
            edge.ScrollRequest(
                offset=None if offset is None else identity(offset),
                limit=body.get("limit", 10),
                filter=filtering(body.get("filter")),
                with_payload=body.get("with_payload", True),
                with_vector=body.get("with_vector", False),
            )
        )
        following = None if following is None else shown(following)
        return {"points": list(map(record, points)), "next_page_offset": following}

    def upsert(self, body):
        if "points" in body:
            points = [(point["id"], point["vector"], point.get("payload")) for point in body["points"]]
        else:
            batch = body["batch"]
            payloads = batch.get("payloads") or [None] * len(batch["ids"])
            points = list(zip(batch["ids"], batch["vectors"], payloads, strict=True))
        made = [edge.Point(identity(id), self.vector(vector), payload) for id, vector, payload in points]
        self.update(edge.UpdateOperation.upsert_points(made))


class Database:
    def __init__(self, data):
        self.data, self.lock, self.collections = data, threading.Lock(), {}
        os.makedirs(data, exist_ok=True)
        for name in os.listdir(data):
            path = os.path.join(data, name)
            with open(os.path.join(path, "rest.json")) as file:
                self.collections[name] = Collection(path, json.load(file), exists=True)

    def get(self, name):
        try:
            return self.collections[name]
        except KeyError:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!") from None

    def create(self, name, body):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) or name.startswith("."):
            raise Refused(422, f"Validation error: {name!r} is no name of a collection")
        vectors = body["vectors"]
        if "size" not in vectors:
            raise Refused(400, "Wrong input: this server has no named vectors")
        settings = {
            "vectors": {"size": vectors["size"], "distance": vectors["distance"]},
            "hnsw": HNSW | (body.get("hnsw_config") or {}),
            "optimizers": OPTIMIZERS | (body.get("optimizers_config") or {}),
        }
        with self.lock:
            if name in self.collections:
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            self.collections[name] = Collection(os.path.join(self.data, name), settings)
        return True

    def delete(self, name):
        with self.lock:
            collection = self.collections.pop(name, None)
        if collection is not None:
            collection.delete()
        return collection is not None


def acknowledged(_):
    return {"operation_id": 0, "status": "completed"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "qdrant-edge"
    # One write for a whole answer.
    wbufsize = -1
    timeout = 120

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_any(self):
        started = time.perf_counter()
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MOST_BYTES:
                self.close_connection = True
                raise Refused(413, f"JSON payload has exceeded the limit of {MOST_BYTES} bytes")
            content = self.rfile.read(length)
            self.admit()
            status, result = 200, self.route(json.loads(content) if content else {})
            outcome = "ok"
        except Refused as refused:
            status, result, outcome = refused.status, None, {"error": str(refused)}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            status, result, outcome = 400, None, {"error": f"Format error in JSON body: {error!r}"}
        except Exception as error:  # The engine's own errors have no kind.
            status, result, outcome = 500, None, {"error": f"Service internal error: {error}"}
        answer = {"result": result, "status": outcome, "time": time.perf_counter() - started}
        if urlsplit(self.path).path == "/" and status == 200:
            answer = result
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any

    def admit(self):
        key = os.environ.get("QDRANT__SERVICE__API_KEY")
        if not key or urlsplit(self.path).path in ("/healthz", "/livez", "/readyz"):
            return
        given = self.headers.get("api-key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not given:
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise Refused(403, "Invalid API key or JWT")

    def route(self, body):
        database = self.server.database
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        match self.command, parts:
            case "GET", []:
                return {"title": "qdrant - vector search engine", "version": VERSION, "commit": None}
            case "GET", ["healthz" | "livez" | "readyz"]:
                return "healthz check passed"
            case "GET", ["telemetry"]:
                return {"app": {"name": "qdrant", "version": VERSION}, "memory": {"resident_bytes": resident()}}
            case "GET", ["collections"]:
                return {"collections": [{"name": name} for name in sorted(database.collections)]}
            case "PUT", ["collections", name]:
                return database.create(name, body)
            case "DELETE", ["collections", name]:
                return database.delete(name)
            case "GET", ["collections", name]:
                return database.get(name).describe()
            case "GET", ["collections", name, "exists"]:
                return {"exists": name in database.collections}
            case _, ["collections", name, *what]:
                return self.of_collection(database.get(name), what, body)
        raise Refused(404, "Not found")

    def of_collection(self, collection, what, body):
        updates = edge.UpdateOperation
        match self.command, what:
            case "PUT", ["points"]:
                return acknowledged(collection.upsert(body))
            case "POST", ["points"]:
                found = collection.shard.retrieve(
                    list(map(identity, body["ids"])),
                    with_payload=body.get("with_payload", True),
                    with_vector=body.get("with_vector", False),
                )
                return list(map(record, found))
            case "POST", ["points", "query"] if body["query"] == {"sample": "random"}:
                return {"points": collection.sample(body)}
            case "POST", ["points", "query"]:
                return {"points": collection.search(body, body["query"])}
            case "POST", ["points", "query", "batch"]:
                searches = body["searches"]
                return [{"points": collection.search(search, search["query"])} for search in searches]
            case "POST", ["points", "search"]:
                return collection.search(body, body["vector"])
            case "POST", ["points", "scroll"]:
                return collection.scroll(body)
            case "POST", ["points", "count"]:
                request = edge.CountRequest(body.get("exact", True), filtering(body.get("filter")))
                return {"count": collection.shard.count(request)}
            case "POST", ["points", "delete"]:
                if "points" in body:
                    operation = updates.delete_points(list(map(identity, body["points"])))
                else:
                    operation = updates.delete_points_by_filter(filtering(body["filter"]))
                return acknowledged(collection.update(operation))
            case "PUT", ["points", "vectors"]:
                made = [
                    edge.PointVectors(identity(point["id"]), collection.vector(point["vector"]))
                    for point in body["points"]
                ]
                return acknowledged(collection.update(updates.update_vectors(made)))
            case "PUT", ["index"]:
                schema = body["field_schema"]
                kind = schema if isinstance(schema, str) else schema["type"]
                kind = getattr(edge.PayloadSchemaType, kind.capitalize())
                return acknowledged(collection.update(updates.create_field_index(body["field_name"], kind)))
            case "DELETE", ["index", field]:
                return acknowledged(collection.update(updates.delete_field_index(field)))
            case "GET", ["points", id]:
                found = collection.shard.retrieve(
                    [identity(int(id) if id.isdigit() else id)], with_payload=True, with_vector=True
                )
                if not found:
                    raise Refused(404, f"Not found: Point with id {id} does not exists!")
                return record(found[0])
        raise Refused(404, "Not found")


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6333)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    server = Server((options.host, options.port), Handler)
    server.database = Database(options.data)
    server.serve_forever()


if __name__ == "__main__":
    main()

"""A server that speaks the documented API of a Pinecone index, for tests.

https://docs.pinecone.io/reference/api/2026-04/data-plane. It searches exactly,
in Python: what a client sees of speed and recall says nothing of Pinecone.

    python3 pinecone.py --port PORT --dimension D [--metric cosine]

PINECONE_API_KEY is the key that it asks for.
"""
import argparse
import json
import math
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SCORES = {
    "cosine": lambda a, b: dot(a, b) / (math.sqrt(dot(a, a) * dot(b, b)) or 1),
    "dotproduct": lambda a, b: dot(a, b),
    "euclidean": lambda a, b: sum((x - y) ** 2 for x, y in zip(a, b)),
}
OPERATORS = {
    "$eq": lambda a, b: a == b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$in": lambda a, b: a in b,
}


def dot(a, b):
    return sum(map(float.__mul__, a, b))


class Refused(Exception):
    def __init__(self, status, code, why):
        super().__init__(why)
        self.status, self.code = status, code


def passes(metadata, wanted):
    for field, tests in wanted.items():
        tests = tests if isinstance(tests, dict) else {"$eq": tests}
        for name, limit in tests.items():
            if name not in OPERATORS:
                raise Refused(400, 3, f"{name} is not a valid operator")
            if field not in metadata or not OPERATORS[name](metadata[field], limit):
                return False
    return True


class Index:
    def __init__(self, dimension, metric):
        self.dimension, self.metric = dimension, metric
        self.lock, self.namespaces = threading.Lock(), {}

    def vector(self, values):
        if len(values) != self.dimension:
            raise Refused(
                400, 3, f"Vector dimension {len(values)} does not match the dimension of the index {self.dimension}"
            )
        return list(map(float, values))

    def namespace(self, body):
        name = body.get("namespace", "")
        if name not in self.namespaces:
            raise Refused(404, 5, "Namespace not found")
        return self.namespaces[name]

    def stats(self, _):
        counts = {name: {"vectorCount": len(records)} for name, records in self.namespaces.items()}
        return {
            "namespaces": counts,
            "dimension": self.dimension,
            "indexFullness": 0,
            "totalVectorCount": sum(map(len, self.namespaces.values())),
            "metric": self.metric,
            "vectorType": "dense",
        }

    def upsert(self, body):
        if len(body["vectors"]) > 1000:
            raise Refused(400, 3, "Request size exceeds limit of 1000 records")
        records = {
            record["id"]: {"values": self.vector(record["values"]), "metadata": record.get("metadata", {})}
            for record in body["vectors"]
        }
        self.namespaces.setdefault(body.get("namespace", ""), {}).update(records)
        return {"upsertedCount": len(records)}

    def query(self, body):
        vector, score = self.vector(body["vector"]), SCORES[self.metric]
        wanted = body.get("filter") or {}
        records = self.namespaces.get(body.get("namespace", ""), {})
        found = [
            {"id": id, "score": score(vector, record["values"]), "values": []}
            for id, record in records.items()
            if passes(record["metadata"], wanted)
        ]
        found.sort(key=lambda it: it["score"], reverse=self.metric != "euclidean")
        return {
            "matches": found[: body["topK"]],
            "namespace": body.get("namespace", ""),
            "usage": {"readUnits": 1},
        }

    def update(self, body):
        self.namespace(body)[body["id"]]["values"] = self.vector(body["values"])
        return {}

    def delete(self, body):
        records = self.namespace(body)
        if body.get("deleteAll"):
            del self.namespaces[body.get("namespace", "")]
        for id in body.get("ids", []):
            records.pop(id, None)
        return {}

    def list(self, query):
        ids = sorted(self.namespace({"namespace": query.get("namespace", [""])[0]}))
        limit = min(int(query.get("limit", ["100"])[0]), 100)
        start = int(query.get("paginationToken", ["0"])[0])
        answer = {"vectors": [{"id": id} for id in ids[start : start + limit]]}
        if start + limit < len(ids):
            answer["pagination"] = {"next": str(start + limit)}
        return answer

    def fetch(self, query):
        records = self.namespace({"namespace": query.get("namespace", [""])[0]})
        return {"vectors": {id: {"id": id} | records[id] for id in query["ids"] if id in records}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self):
        index, url = self.server.index, urlsplit(self.path)
        paths = {
            ("POST", "/describe_index_stats"): index.stats,
            ("POST", "/vectors/upsert"): index.upsert,
            ("POST", "/query"): index.query,
            ("POST", "/vectors/update"): index.update,
            ("POST", "/vectors/delete"): index.delete,
            ("GET", "/vectors/list"): index.list,
            ("GET", "/vectors/fetch"): index.fetch,
        }
        try:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Api-Key") != os.environ.get("PINECONE_API_KEY"):
                raise Refused(401, 16, "Unauthorized")
            if not self.headers.get("X-Pinecone-Api-Version"):
                raise Refused(400, 3, "no version of the API")
            operation = paths.get((self.command, url.path))
            if operation is None:
                raise Refused(404, 5, "Not Found")
            body = json.loads(content or b"{}") if self.command == "POST" else parse_qs(url.query)
            with index.lock:
                status, said = 200, operation(body)
        except Refused as refused:
            status, said = refused.status, {"code": refused.code, "message": str(refused), "details": []}
        except (KeyError, ValueError, TypeError) as error:
            status, said = 400, {"code": 3, "message": f"{error!r}", "details": []}
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_GET = do_POST = answer


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--metric", choices=SCORES, default="cosine")
    options = parser.parse_args()
    server = Server(("127.0.0.1", options.port), Handler)
    server.index = Index(options.dimension, options.metric)
    server.serve_forever()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The HTTP interface of ClickHouse before the real engine, which the package chdb-core has in it.

    front.py --path DIR [--port PORT] [--user NAME:PASSWORD] [--cert FILE --key FILE] [--until-eof]

It prints `READY PORT VERSION` when it serves, on loopback. What is here is what the clients of the tests use: the Rust
crate `clickhouse`, the Collector's exporter (clickhouse-go over HTTP) and curl. There are no sessions, no roles and no
quotas, and an answer is complete before its first byte is sent.
"""
import argparse
import gzip
import json
import os
import re
import signal
import ssl
import struct
import sys
import threading
import time
import uuid
import zlib
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.block

# Parameters of a request that are no settings of the statement.
NO_SETTINGS = {
    "query", "database", "default_format", "query_id", "user", "password", "compress", "decompress", "session_id",
    "session_timeout", "session_check", "role", "quota_key", "stacktrace", "buffer_size", "wait_end_of_query",
    "client_protocol_version", "http_make_head_request", "enable_http_compression", "http_zlib_compression_level",
}
# HTTP status by code (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp); 500 for the others.
STATUS = {
    **dict.fromkeys((6, 26, 27, 36, 38, 41, 42, 43, 44, 53, 62, 69, 72, 117, 130, 131), 400),
    **dict.fromkeys((16, 46, 47, 50, 60, 73, 81, 115), 404),
    **dict.fromkeys((192, 193, 194, 497, 516), 403),
    48: 501, 159: 408, 202: 503,
}
# From this protocol version on a column of the format Native says whether it is encoded in another way.
CUSTOM_SERIALIZATION = 54454
FIXED = {
    "UInt8": "<B", "UInt16": "<H", "UInt32": "<I", "UInt64": "<Q", "Int8": "<b", "Int16": "<h", "Int32": "<i",
    "Int64": "<q", "Float32": "<f", "Float64": "<d",
}


class Refused(Exception):
    """An answer of the server that is an error."""


class Connection:
    """A connection to the engine; it runs one statement at a time, and keeps the settings of the last one."""

    def __init__(self, path):
        self.engine, self.database, self.settings = chdb.connect(path), "default", {}
        # clickhouse-local takes `SELEC` for `SELECT SELEC`; a server does not.
        self.engine.query("SET implicit_select = 0")

    def prepare(self, database, settings):
        if self.database != database:
            self.engine.query("USE `%s`" % database.replace("`", "\\`"))
            self.database = database
        for name in self.settings.keys() - settings.keys():
            self.engine.query(f"SET {name} = DEFAULT")
            del self.settings[name]
        for name, value in settings.items():
            if self.settings.get(name) != value:
                self.engine.query(f"SET {name} = {quoted(value)}")
                self.settings[name] = value


class Engine:
    """Connections to the engine. Setting one up takes longer than a small query: one that is so already is taken."""

    def __init__(self, path, size):
        self.changed = threading.Condition()
        self.free = [Connection(path) for _ in range(size)]

    def take(self, database, settings):
        with self.changed:
            while not self.free:
                self.changed.wait()
            fits = lambda connection: (connection.database == database, connection.settings == settings)
            best = max(range(len(self.free)), key=lambda at: fits(self.free[at]))
            return self.free.pop(best)

    def give(self, connection):
        with self.changed:
            self.free.append(connection)
            self.changed.notify()


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def decompressed(data):
    """The blocks of ClickHouse's own compression: checksum (16), method (1), size with this header (4), raw size (4)."""
    out, at = [], 0
    while at < len(data):
        method, size, raw = struct.unpack_from("<BII", data, at + 16)
        block = data[at + 25:at + 16 + size]
        if method == 0x82:
            out.append(lz4.block.decompress(block, uncompressed_size=raw))
        elif method == 0x02:
            out.append(block)
        else:
            raise Refused(f"Code: 432. DB::Exception: Unknown codec family code: {method}. (UNKNOWN_CODEC)")
        at += 16 + size
    return b"".join(out)


TOKEN = re.compile(rb"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|--[^\n]*|/\*.*?\*/|[A-Za-z_]\w*|.", re.S)


def insert_of(statement):
    """(statement without its format, format, data behind it) of an INSERT whose data follow; None for all others."""
    depth, first = 0, True
    for token in TOKEN.finditer(statement):
        word = token.group().upper()
        if word.isspace() or word.startswith((b"--", b"/*")):
            continue
        if first and word != b"INSERT":
            return None
        first = False
        depth += (word == b"(") - (word == b")")
        if depth:
            continue
        if word in (b"SELECT", b"WITH"):
            return None
        if word == b"VALUES":
            behind = statement[token.end():]
            return None if behind.strip() else (statement[:token.start()], "Values", b"")
        if word == b"FORMAT":
            name = re.match(rb"\s+(\w+)(?:\r?\n|[ \t;])?", statement[token.end():])
            return statement[:token.start()], name.group(1).decode(), statement[token.end() + name.end():]
    return None if first else (statement, "Values", b"")


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def native(connection, statement, version):
    """An answer in the format Native as a client of this protocol version reads it; the engine only writes version 0."""
    lines = connection.query(statement, "JSONCompactEachRowWithNamesAndTypes").bytes().splitlines()
    names, types, rows = json.loads(lines[0]), json.loads(lines[1]), [json.loads(line) for line in lines[2:]]
    text = lambda value: varint(len(value.encode())) + value.encode()
    # Whether there are overflows: no. The bucket: none.
    out = [b"\x01\x00\x02\xff\xff\xff\xff\x00", varint(len(names)), varint(len(rows))]
    for at, (name, kind) in enumerate(zip(names, types)):
        shown = re.sub(r"^LowCardinality\((.*)\)$", r"\1", kind)
        out += [text(name), text(shown), b"\x00" if version >= CUSTOM_SERIALIZATION else b""]
        for row in rows:
            if shown == "String":
                out.append(text(row[at]))
            elif shown in FIXED:
                out.append(struct.pack(FIXED[shown], (float if shown[0] == "F" else int)(row[at])))
            else:
                raise Refused(f"Code: 48. DB::Exception: the front has no Native of {kind}. (NOT_IMPLEMENTED)")
    return b"".join(out) if rows else b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ClickHouse"
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        self.args = dict(parse_qsl(url.query, keep_blank_values=True))
        self.id = self.args.get("query_id") or str(uuid.uuid4())
        try:
            body = self.body()
            if url.path in ("/ping", "/replicas_status"):
                return self.answer(200, b"Ok.\n")
            self.authenticate()
            statement, data = self.statement(body)
            if not statement.strip():
                return self.answer(200, b"Ok.\n")
            out, headers = self.run(statement, data)
            self.answer(200, out, headers)
        except BrokenPipeError:
            pass
        except Exception as error:
            self.refuse(str(error))

    do_POST = do_GET

    def body(self):
        """What was sent, without the encodings of HTTP and of ClickHouse."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            data = b"".join(pieces)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        encoding = (self.headers.get("Content-Encoding") or "").lower()
        if encoding == "gzip":
            data = gzip.decompress(data)
        elif encoding == "deflate":
            data = zlib.decompress(data)
        return decompressed(data) if self.args.get("decompress") == "1" else data

    def authenticate(self):
        if self.server.user:
            name = self.args.get("user") or self.headers.get("X-ClickHouse-User") or "default"
            password = self.args.get("password") or self.headers.get("X-ClickHouse-Key") or ""
            if f"{name}:{password}" != self.server.user:
                raise Refused(f"Code: 516. DB::Exception: {name}: Authentication failed: password is incorrect, or "
                              "there is no user with such name. (AUTHENTICATION_FAILED)")

    def statement(self, body):
        """The statement, and the data that came beside it."""
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            form = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            for part in form.get_payload():
                name = part.get_param("name", header="content-disposition")
                self.args[name] = part.get_payload(decode=True).decode()
            body = b""
        query = self.args.get("query", "").encode()
        return (query, body) if query else (body, b"")

    def run(self, statement, data):
        """Runs a statement; gives the answer and its headers."""
        started = time.monotonic()
        database = self.args.get("database") or self.headers.get("X-ClickHouse-Database") or "default"
        settings = {name: value for name, value in self.args.items() if name not in NO_SETTINGS}
        for name in settings:
            if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
                raise Refused(f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)")
        # Parameters of a statement are set each time: there is no way to unset them, and none is needed.
        parameters = {name: settings.pop(name) for name in list(settings) if name.startswith("param_")}
        # The token of an insert is never the same twice.
        token = settings.pop("insert_deduplication_token", None)
        connection = self.server.engine.take(database, settings)
        try:
            connection.prepare(database, settings)
            for name, value in parameters.items():
                connection.engine.query(f"SET {name} = {quoted(value)}")
            if token is not None:
                connection.engine.query(f"SET insert_deduplication_token = {quoted(token)}")
            insert = insert_of(statement)
            if insert:
                out, summary, shown = b"", self.insert(connection.engine, *insert, data), "TabSeparated"
            else:
                out, summary, shown = self.query(connection.engine, (statement + data).decode())
            summary["elapsed_ns"] = int((time.monotonic() - started) * 1e9)
            summary = json.dumps({name: str(number) for name, number in summary.items()})
            return out, [("X-ClickHouse-Format", shown), ("X-ClickHouse-Summary", summary)]
        finally:
            if token is not None:
                connection.engine.query("SET insert_deduplication_token = DEFAULT")
            self.server.engine.give(connection)

    def insert(self, connection, clause, form, inline, data):
        writer = connection.send_insert(clause.decode(), form)
        try:
            data = inline + data
            for at in range(0, len(data), 1 << 20):
                writer.append(data[at:at + (1 << 20)])
            done = writer.finish()
        except BaseException:
            writer.cancel()
            raise
        return {"read_rows": 0, "read_bytes": 0, "written_rows": done.rows_written, "written_bytes": done.bytes_written}

    def query(self, connection, statement):
        shown = self.args.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        named = re.findall(r"\bFORMAT\s+(\w+)\s*;?\s*$", statement, re.I)
        shown = named[-1] if named else shown
        version = int(self.args.get("client_protocol_version") or 0)
        if shown == "Native" and version and not named:
            return native(connection, statement, version), {"read_rows": 0, "read_bytes": 0}, shown
        result = connection.query(statement, shown)
        out = bytes(result.bytes() or b"") if result is not None and hasattr(result, "bytes") else b""
        summary = {"read_rows": 0, "read_bytes": 0, "written_rows": 0, "written_bytes": 0}
        if result is not None and hasattr(result, "storage_rows_read"):
            summary.update(read_rows=result.storage_rows_read(), read_bytes=result.storage_bytes_read(),
                           result_rows=result.rows_read())
        return out, summary, shown

    def answer(self, status, data, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-ClickHouse-Query-Id", self.id)
        self.send_header("X-ClickHouse-Server-Display-Name", "devmesh-test")
        self.send_header("X-ClickHouse-Timezone", "UTC")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, message):
        found = re.search(r"Code: (\d+)", message)
        if found:
            code, message = int(found.group(1)), message[found.start():]
        else:
            code = 60 if re.search(r"does(n't| not) exist", message) else 1002
        if "(version" not in message:
            message += f" (version {self.server.version} (official build))"
        headers = [("X-ClickHouse-Exception-Code", str(code))]
        try:
            self.answer(STATUS.get(code, 500), (message.rstrip() + "\n").encode(), headers)
        except BrokenPipeError:
            pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--cert", help="speak TLS with this certificate")
    parser.add_argument("--key")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does: with who started it")
    args = parser.parse_args()
    os.makedirs(args.path, exist_ok=True)
    server = Server(("127.0.0.1", args.port), Handler)
    if args.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.user, server.engine = args.user, Engine(args.path, args.connections)
    version = server.engine.free[0].engine.query("SELECT version()", "TabSeparatedRaw")
    server.version = version.bytes().decode().strip()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if args.until_eof:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print("READY", server.server_address[1], server.version, flush=True)
    server.serve_forever()


main()

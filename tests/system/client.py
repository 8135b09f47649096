"""HTTP/1.1 as bytes: requests, responses and a blocking connection for single exchanges.

Deliberately thin: tests need to send what no proper client would. Responses are read strictly:
whatever is not what the contract promises fails here.
"""

import dataclasses
import errno
import json
import re
import socket
import struct
import time

from harness import TIME_FACTOR

ANSWER_S = 10.0 * TIME_FACTOR

SUBMISSIONS = "/v1/submissions"
JSON_TYPE = ("Content-Type", "application/json")
STATUS_LINE = re.compile(r"HTTP/1\.1 (\d{3}) .+")
RECEIPT_KEYS = {"submissionId", "journal", "sequence", "receivedAt", "sha256"}  # and findings,
# where the engine has a registry


class ProtocolError(AssertionError):
    """The engine sent something that is not an answer."""


class ConnectionEnded(ProtocolError):
    """The engine closed the connection where an answer was due."""


@dataclasses.dataclass
class Response:
    status: int
    headers: dict  # names in lower case
    body: bytes

    @property
    def closes(self):
        return self.headers.get("connection", "").lower() == "close"

    def receipt(self):
        """The receipt of a 201; anything else fails."""
        if self.status != 201:
            raise ProtocolError(f"201 expected, got {self.status}: {self.body!r}")
        receipt = json.loads(self.body)
        if set(receipt) - {"findings"} != RECEIPT_KEYS or "location" not in self.headers:
            raise ProtocolError(f"not a receipt: {self.headers} {self.body!r}")
        return receipt

    def problem(self):
        """The members of a problem document (RFC 9457), its slug under "slug"."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        prefix, _, slug = problem["type"].rpartition(":")
        assert prefix == "urn:sluice:problem"
        assert problem["status"] == self.status
        assert problem["title"] and problem["detail"]
        assert re.fullmatch(r"[0-9a-f]{32}", problem["traceId"])
        return {**problem, "slug": slug}


def take_response(received, to_head=False):
    """Cuts the first complete response off the bytearray `received`; None when it is not complete.
    `to_head`: it answers a HEAD, so that no body follows."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    status_line, *lines = received[:head_end].decode("ascii").split("\r\n")
    match = STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise ProtocolError(f"not a status line: {status_line!r}")
    status = int(match[1])
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.lower() in headers:
            raise ProtocolError(f"not a header line, or a repeated one: {line!r}")
        headers[name.lower()] = value.strip()
    body_bytes = 0
    if status >= 200 and status != 204 and not to_head:
        if not headers.get("content-length", "").isdigit():
            raise ProtocolError(f"no Content-Length: {status_line!r} {headers}")
        body_bytes = int(headers["content-length"])
    end = head_end + 4 + body_bytes
    if len(received) < end:
        return None
    body = bytes(received[head_end + 4:end])
    del received[:end]
    return Response(status, headers, body)


def request(method, target, headers=(), body=b"", version="HTTP/1.1", host="sluice.test"):
    """The bytes of a request. The caller gives Content-Length or Transfer-Encoding."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def post(body, headers=(), **options):
    """A submission with a Content-Length."""
    length = ("Content-Length", len(body))
    return request("POST", SUBMISSIONS, [JSON_TYPE, length, *headers], body, **options)


def post_chunked(body, chunk_sizes, headers=()):
    """A submission in chunks of the given sizes; the last one takes what is left."""
    coding = ("Transfer-Encoding", "chunked")
    chunks = []
    offset = 0
    for size in [*chunk_sizes, len(body)]:
        part = body[offset:offset + size]
        if part:
            chunks.append(b"%x\r\n%b\r\n" % (len(part), part))
        offset += size
    payload = b"".join(chunks) + b"0\r\n\r\n"
    return request("POST", SUBMISSIONS, [JSON_TYPE, coding, *headers], payload)


def submission(**members):
    """A small valid submission; members override, None takes one away."""
    whole = {"patientId": "P-1", "timestamp": 1341573753, "scores": {"Q1": 1}, **members}
    return json.dumps({k: v for k, v in whole.items() if v is not None}).encode()


class Connection:
    """A blocking connection; every operation ends within its timeout. Use as a context manager."""

    def __init__(self, address, receive_buffer_bytes=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(ANSWER_S)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.received = bytearray()
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Sends all of it, or what the engine takes before it hangs up: the answer says why."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _receive(self, deadline):
        """True when bytes came, False at the end of the stream (a reset counts as one)."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"no answer in time; so far {bytes(self.received)!r}")
        self.socket.settimeout(left_s)
        try:
            some = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        finally:
            self.socket.settimeout(ANSWER_S)
        self.received += some
        return bool(some)

    def response(self, to_head=False, timeout_s=ANSWER_S):
        """The next response; ConnectionEnded where the stream ends instead."""
        deadline = time.monotonic() + timeout_s
        while (response := take_response(self.received, to_head)) is None:
            if not self._receive(deadline):
                raise ConnectionEnded(f"closed; so far {bytes(self.received)!r}")
        return response

    def exchange(self, data, **options):
        self.send(data)
        return self.response(**options)

    def rest(self, timeout_s=ANSWER_S):
        """Every byte up to the end of the stream, which must come in time."""
        deadline = time.monotonic() + timeout_s
        while self._receive(deadline):
            pass
        rest = bytes(self.received)
        self.received.clear()
        return rest

    def finish_sending(self):
        """Shuts down the sending side; the other stays open for what is still to come."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # reset meanwhile; reading says so
                raise

    def reset(self):
        """Closes with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.socket.close()


def submit(address, body):
    """One submission on a connection of its own; returns the receipt."""
    with Connection(address) as connection:
        return connection.exchange(post(body)).receipt()

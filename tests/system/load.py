"""Many connections at once, in one thread: sends forms and notes every receipt in a ledger."""

import collections
import dataclasses
import errno
import itertools
import selectors
import socket
import time
import typing

import client
from harness import TIME_FACTOR

STALL_S = 20.0 * TIME_FACTOR  # nothing at all happens on any connection

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Stalled(AssertionError):
    """Requests wait for answers and nothing happens."""


@dataclasses.dataclass(frozen=True)
class Transport:
    """How forms travel. `pieces` turns a body into the sends of one request; `burst` says how many
    requests are written before responses are read, in one send when there are several."""
    name: str
    pieces: typing.Callable  # (body, random, headers) -> list of bytes
    burst: typing.Callable = lambda random: 1  # (random) -> count
    idle_connections: int = 0  # open beside those with load


def _random_chunk_sizes(body, random):
    largest = random.choice((1, 3, 64, len(body)))
    return [random.randint(1, largest) for _ in range(len(body) // largest + 1)]


def _split_at_random(whole, random):
    cuts = sorted(random.sample(range(1, len(whole)), random.randint(1, 5)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)])]


def _one_piece(body, _random, headers):
    return [client.post(body, headers)]


def _chunked(body, random, headers):
    return [client.post_chunked(body, _random_chunk_sizes(body, random), headers)]


_next_boundary = itertools.count()


def _split(body, random, headers):
    """In two at a boundary that moves on by a byte from request to request, so that a few thousand
    requests are split at each; then one of the two in more pieces."""
    whole = client.post(body, headers)
    cut = next(_next_boundary) % (len(whole) - 1) + 1
    first, second = whole[:cut], whole[cut:]
    if len(second) > 6:
        return [first, *_split_at_random(second, random)]
    return [first, second]


PLAIN = Transport("keep-alive", _one_piece)
PIPELINED = Transport("pipelined", _one_piece, burst=lambda random: random.choice((2, 16, 317)))
CHUNKED = Transport("chunked", _chunked)
SPLIT = Transport("split", _split)
IDLE_BESIDE = Transport("2000-idle", _one_piece, idle_connections=2000)


class Trigger:
    """Calls `act` once: when `acks` receipts have come or `sends` requests have gone out, whichever
    is given, and `delay_s` later. From then on connections may end without an answer."""

    def __init__(self, act, acks=None, sends=None, delay_s=0.0):
        self.act, self.acks, self.sends, self.delay_s = act, acks, sends, delay_s
        self.due = None  # on the monotonic clock, once the count is reached
        self.fired = False

    def look(self, acks, sends):
        if self.fired:
            return
        reached = acks >= self.acks if self.acks is not None else sends >= self.sends
        if reached and self.due is None:
            self.due = time.monotonic() + self.delay_s
        if self.due is not None and time.monotonic() >= self.due:
            self.fire()

    def fire(self):
        if not self.fired:
            self.fired = True
            self.act()


class _Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=STALL_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.pieces = collections.deque()  # still to send
        self.requests_in_pieces = 0
        self.awaiting = collections.deque()  # form indexes, oldest request first
        self.received = bytearray()
        self.interest = READ


class Load:
    """Sends forms of `ledger` to `address`; `run` once or several times, from one thread. Each
    request has `headers` (name, value) beside its own.
    `refused` counts the 503 answers that came after the trigger fired; before, they are faults."""

    def __init__(self, address, ledger, random, transport=PLAIN, connections=16,
                 headers=()):
        self.address, self.ledger, self.random = address, ledger, random
        self.transport, self.connections, self.headers = transport, connections, headers
        self.acks = self.sends = self.refused = 0

    def run(self, indexes, trigger=None):
        """Returns when each form is answered; with a trigger also when every connection ended."""
        self.queue = collections.deque(indexes)
        self.trigger = trigger
        self.live = set()
        with selectors.DefaultSelector() as self.selector:
            try:
                for _ in range(self.connections):
                    self._open()
                while self.live:
                    self._turn()
            finally:
                for connection in self.live:
                    connection.socket.close()
        if trigger is not None:
            trigger.fire()

    def _open(self):
        connection = _Connection(self.address)
        self.live.add(connection)
        self.selector.register(connection.socket, READ, connection)
        self._write_next_burst(connection)

    def _turn(self):
        wait_s = STALL_S
        waits_for_trigger = self.trigger and self.trigger.due and not self.trigger.fired
        if waits_for_trigger:
            wait_s = max(0.0, self.trigger.due - time.monotonic())
        events = self.selector.select(wait_s)
        if not events and not waits_for_trigger:
            waiting = sum(len(connection.awaiting) for connection in self.live)
            raise Stalled(f"{waiting} requests on {len(self.live)} connections wait for answers")
        for key, mask in events:
            if mask & WRITE:
                self._write(key.data)
            if mask & READ:
                self._read(key.data)
        self._progress()

    def _progress(self):
        if self.trigger is not None:
            self.trigger.look(self.acks, self.sends)

    def _may_end(self):
        return self.trigger is not None and self.trigger.fired

    def _write_next_burst(self, connection):
        """Fills an idle connection, or ends it where nothing is left to send."""
        count = min(self.transport.burst(self.random), len(self.queue))
        if count == 0:
            self._end(connection)
            return
        indexes = [self.queue.popleft() for _ in range(count)]
        pieces = [piece for index in indexes
                  for piece in self.transport.pieces(self.ledger.forms[index], self.random,
                                                     self.headers)]
        connection.pieces.extend(pieces if count == 1 else [b"".join(pieces)])
        connection.awaiting.extend(indexes)
        connection.requests_in_pieces = count
        self._write(connection)

    def _write(self, connection):
        """Sends one piece a turn, so that the engine has a chance to see pieces singly."""
        try:
            piece = connection.pieces.popleft()
            sent = connection.socket.send(piece)
            if sent < len(piece):
                connection.pieces.appendleft(piece[sent:])
        except BlockingIOError:
            connection.pieces.appendleft(piece)
        except (BrokenPipeError, ConnectionResetError):
            connection.pieces.clear()  # what was answered before can still be read
        if not connection.pieces:
            self.sends += connection.requests_in_pieces
            connection.requests_in_pieces = 0
        self._set_interest(connection, READ | WRITE if connection.pieces else READ)
        self._progress()

    def _set_interest(self, connection, interest):
        if interest != connection.interest:
            connection.interest = interest
            self.selector.modify(connection.socket, interest, connection)

    def _read(self, connection):
        if connection not in self.live:
            return
        try:
            some = connection.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
            some = b""
        if not some:
            self._ended_by_engine(connection)
            return
        connection.received += some
        closes = False
        while (response := client.take_response(connection.received)) is not None:
            self._answered(connection, response)
            closes = closes or response.closes
        if not connection.awaiting and not connection.pieces and not closes:
            self._write_next_burst(connection)

    def _answered(self, connection, response):
        if not connection.awaiting:
            raise client.ProtocolError(f"an answer to nothing: {response}")
        index = connection.awaiting.popleft()
        if response.status == 503 and self._may_end():
            self.refused += 1
            return
        self.ledger.record(index, response.receipt())
        self.acks += 1
        self._progress()

    def _ended_by_engine(self, connection):
        if not self._may_end():
            raise client.ConnectionEnded(f"with {len(connection.awaiting)} requests unanswered")
        self._end(connection)

    def _end(self, connection):
        self.selector.unregister(connection.socket)
        connection.socket.close()
        self.live.discard(connection)

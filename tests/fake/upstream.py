#!/usr/bin/python3
"""Upstreams with moods, on raw sockets.

An Upstream listens, records every request that reaches it byte for byte and
answers in the mood that the path names: /m/NAME[/ARGUMENT...]. Any other path
gets the mood given to the constructor ("echo" unless told).

Its reading is stricter than any real server's. A request that is not in the
one canonical form (token names, CRLF only, exactly one Host, one framing, no
control bytes, chunks without extensions) is written to `faults`, so a test
that ends with `faults == []` has shown that the proxy sent nothing that two
servers could read in two ways.

Used inside a test's process, or alone: upstream.py --port 9001 --mood echo
"""

import argparse
import base64
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ports

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\Z")
FORBIDDEN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}\Z")
HOP = {b"keep-alive", b"proxy-connection", b"http2-settings", b"proxy-authorization"}
KEPT_BODY = 1 << 20     # bytes of a body that are kept for a look; the checksum covers all


def pattern(size, start=0):
    """`size` bytes that never repeat a block, from offset `start`: a slip of one byte shows."""
    out = bytearray()
    block = start // 64
    skip = start % 64
    while len(out) < size + skip:
        out += b"%016d" % block + b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJK\n"
        block += 1
    return bytes(out[skip:skip + size])


BIG_BLOCK = pattern(1 << 16)


def big_blocks(size):
    """The bytes of a big body, block by block: one block over and over, numbered."""
    sent = 0
    while sent < size:
        block = struct.pack(">Q", sent) + BIG_BLOCK[8:]
        block = block[:size - sent]
        sent += len(block)
        yield block


def big_sum(size):
    digest = hashlib.sha256()
    for block in big_blocks(size):
        digest.update(block)
    return digest.hexdigest()


class Bye(Exception):
    """The connection is over."""


class Seen:
    """One request as it arrived."""

    def __init__(self, raw, number):
        self.raw = raw              # the head, its empty line included
        self.connection = number
        self.method = self.target = b""
        self.minor = 1
        self.fields = []            # (name as it stood, value)
        self.body = b""             # the first KEPT_BODY bytes
        self.body_raw = b""         # chunk framing included
        self.body_length = 0
        self.body_sum = hashlib.sha256()
        self.trailers = []
        self.is_invited = False     # was told 100
        self.is_complete = False    # head and body were there to the end
        self.at = time.monotonic()

    def all(self, name):
        name = name.lower().encode() if isinstance(name, str) else name.lower()
        return [v for n, v in self.fields if n.lower() == name]

    def one(self, name):
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError("%s stands %d times: %r" % (name, len(values), values))
        return values[0] if values else None

    def as_json(self, upstream):
        return {
            "upstream": upstream.name, "connection": self.connection,
            "method": self.method.decode("latin-1"), "target": self.target.decode("latin-1"),
            "minor": self.minor, "head": self.raw.decode("latin-1"),
            "fields": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in self.fields],
            "body": self.body.decode("latin-1"), "body_length": self.body_length,
            "sha256": self.body_sum.hexdigest(),
            "trailers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in self.trailers],
        }

    def __repr__(self):
        return "<%r %s>" % (self.raw, "complete" if self.is_complete else "cut")


class Peer:
    """The proxy's connection, seen from the upstream."""

    def __init__(self, upstream, sock, number):
        self.upstream = upstream
        self.sock = sock
        self.number = number
        self.nth = 0        # requests on this connection
        self.buf = b""
        self.raw = b""      # everything that came, cut at 1 MiB

    def fault(self, text):
        self.upstream.faults.append("connection %d: %s" % (self.number, text))

    def fill(self):
        """More bytes into buf; False at the end."""
        try:
            data = self.sock.recv(1 << 17)
        except (OSError, ValueError):
            return False
        if len(self.raw) < 1 << 20:
            self.raw += data
        self.buf += data
        return bool(data)

    def line(self):
        while b"\n" not in self.buf:
            if not self.fill():
                raise Bye
        at = self.buf.index(b"\n") + 1
        line, self.buf = self.buf[:at], self.buf[at:]
        if not line.endswith(b"\r\n"):
            self.fault("a line ends in a bare LF: %r" % line)
        return line

    def head(self):
        """The next request's head, or None when the connection ended before one."""
        raw = b""
        while True:
            try:
                line = self.line()
            except Bye:
                if raw or self.buf:
                    self.upstream.cut.append(raw + self.buf)
                return None
            raw += line
            if line in (b"\r\n", b"\n"):
                break
        seen = Seen(raw, self.number)
        self.check_head(seen)
        self.nth += 1
        self.upstream.note(seen)
        return seen

    def check_head(self, seen):
        lines = seen.raw.split(b"\r\n")[:-2]
        first = REQUEST_LINE.match(lines[0]) if lines else None
        if first:
            seen.method, seen.target, seen.minor = first[1], first[2], int(first[3])
        else:
            self.fault("request line %r" % seen.raw[:200])
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name):
                self.fault("field line %r" % line[:200])
            if FORBIDDEN_VALUE.search(value):
                self.fault("control byte in %r" % line[:200])
            seen.fields.append((name, value.strip(b" \t")))
        hosts, lengths, codings = seen.all("host"), seen.all("content-length"), seen.all("transfer-encoding")
        if len(hosts) != 1 and not (seen.minor == 0 and not hosts):
            self.fault("%d Host fields: %r" % (len(hosts), seen.raw[:300]))
        if lengths and codings:
            self.fault("both framings: %r" % seen.raw[:300])
        if len(lengths) > 1 or (lengths and not re.match(rb"[0-9]{1,19}\Z", lengths[0])):
            self.fault("Content-Length %r" % lengths)
        if len(codings) > 1 or (codings and (codings[0].lower() != b"chunked" or seen.minor == 0)):
            self.fault("Transfer-Encoding %r" % codings)
        for name, _ in seen.fields:
            if name.lower() in HOP:
                self.fault("%r was not for us" % name)
            if b"_" in name and name.lower().replace(b"_", b"-") in (b"content-length", b"transfer-encoding", b"host"):
                self.fault("framing by alias %r" % name)

    def take(self, seen, data):
        if len(seen.body) < KEPT_BODY:
            seen.body += data
        seen.body_length += len(data)
        seen.body_sum.update(data)

    def exactly(self, size, seen=None):
        got = []
        while size:
            if not self.buf and not self.fill():
                raise Bye
            piece, self.buf = self.buf[:size], self.buf[size:]
            size -= len(piece)
            if seen is not None:
                self.take(seen, piece)
            else:
                got.append(piece)
        return b"".join(got)

    def chunks(self, seen):
        while True:
            size = self.line()[:-2]
            if not CHUNK_SIZE.match(size):
                self.fault("chunk size %r" % size[:200])
                raise Bye
            if int(size, 16) == 0:
                break
            self.exactly(int(size, 16), seen)
            end = self.exactly(2)
            if end != b"\r\n":
                self.fault("chunk ends in %r" % end)
                raise Bye
        while True:
            line = self.line()[:-2]
            if not line:
                return
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name) or FORBIDDEN_VALUE.search(value):
                self.fault("trailer %r" % line[:200])
            if name.lower() in (b"content-length", b"transfer-encoding", b"host", b"connection"):
                self.fault("trailer %r" % line[:200])
            seen.trailers.append((name, value.strip(b" \t")))

    def body(self, seen):
        """Reads the body to its end, once; invites it where the client waits for that."""
        if seen.is_complete:
            return
        if self.upstream.invites and not self.buf and not seen.is_invited and b"100-continue" in seen.all("expect"):
            self.invite(seen)
        try:
            if seen.all("transfer-encoding"):
                self.chunks(seen)
            elif seen.all("content-length"):
                self.exactly(int(seen.all("content-length")[0]), seen)
        except ValueError:
            raise Bye from None
        seen.is_complete = True
        self.upstream.wake()

    def invite(self, seen):
        seen.is_invited = True
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (OSError, ValueError):
            raise Bye from None

    def reply(self, status=200, body=b"", fields=(), reason="OK", head_only=False):
        head = b"HTTP/1.1 %d %s\r\n" % (status, reason.encode())
        for name, value in fields:
            head += b"%s: %s\r\n" % (name.encode(), value.encode())
        if status >= 200 and status not in (204, 304):
            head += b"content-length: %d\r\n" % len(body)
        self.send(head + b"\r\n" + (b"" if head_only else body))

    def chunk(self, data):
        self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Bye

    def wait_for_end(self, limit=60):
        """Until the proxy gives up on us; returns the seconds that it took."""
        began = time.monotonic()
        try:
            self.sock.settimeout(limit)
            while self.fill():
                pass
        except OSError:
            pass
        return time.monotonic() - began


# ---- the moods; each gets the peer, the request and the rest of its path ----

MOODS = {}


def mood(function):
    MOODS[function.__name__.replace("_", "-")] = function
    return function


def raw_mood(name, answer, end=None):
    """A mood that reads the request, says `answer` byte for byte and closes (or resets, or goes on)."""
    def say(peer, seen, args):
        peer.body(seen)
        peer.send(answer)
        if end == "reset":
            peer.reset()
        if end != "stay":
            raise Bye
    MOODS[name] = say


@mood
def echo(peer, seen, args):
    peer.body(seen)
    body = json.dumps(seen.as_json(peer.upstream)).encode()
    peer.reply(200, body, [("content-type", "application/json"), ("x-upstream", peer.upstream.name)],
               head_only=seen.method == b"HEAD")


@mood
def hello(peer, seen, args):
    peer.body(seen)
    peer.reply(200, b"hello\n", [("x-upstream", peer.upstream.name)], head_only=seen.method == b"HEAD")


@mood
def boom(peer, seen, args):
    """Fails, whatever was asked."""
    peer.body(seen)
    peer.reply(500, b"boom\n", [("x-upstream", peer.upstream.name)], head_only=seen.method == b"HEAD")


@mood
def status(peer, seen, args):
    peer.body(seen)
    peer.reply(int(args[0]), b"status\n", head_only=seen.method == b"HEAD", reason="Word")


@mood
def head_cl(peer, seen, args):
    """What HEAD gets: a length, no body."""
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")


@mood
def not_modified(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: \"x\"\r\n\r\n")


@mood
def no_content_with_body(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil")


@mood
def chunked(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (b"one,", b"two,", b"three"):
        peer.chunk(piece)
    peer.send(b"0\r\n\r\n")


@mood
def chunked_extensions(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
              b"3;a=b\r\none\r\n3;c=\"d\"\r\ntwo\r\n0;end\r\n\r\n")


@mood
def trailers(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
              b"4\r\nbody\r\n0\r\nx-sum: 42\r\ncontent-length: 9\r\nset-cookie: evil=1\r\n\r\n")


@mood
def close_delimited(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    raise Bye


@mood
def http10(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nold but fine")
    raise Bye


@mood
def http10_keep_alive(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nold")


@mood
def continue_then_200(peer, seen, args):
    peer.invite(seen)
    echo(peer, seen, args)


@mood
def early_hints(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n")
    echo(peer, seen, args)


@mood
def two_interims(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n")
    echo(peer, seen, args)


@mood
def endless_interims(peer, seen, args):
    peer.body(seen)
    while not peer.upstream.stopping.wait(0.1):
        peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n")


@mood
def unsolicited_101(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
              b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil\n")
    peer.wait_for_end()
    raise Bye


# What no server may say: 502 for each.
for name, answer in {
    "garbage": b"\x16\x03\x01 what is this\r\n\r\n",
    "http09": b"just a body, as in 1991\n",
    "status-line-word": b"HTTP/1.1 OK 200\r\ncontent-length: 0\r\n\r\n",
    "status-2-digits": b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
    "status-4-digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
    "status-negative": b"HTTP/1.1 -20 OK\r\ncontent-length: 0\r\n\r\n",
    "status-too-low": b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
    "version-2": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "version-junk": b"HTTP/1.1x 200 OK\r\ncontent-length: 0\r\n\r\n",
    "other-protocol": b"ICY 200 OK\r\ncontent-length: 0\r\n\r\n",
    "leading-space": b" HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "cl-and-te": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-cl": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello",
    "cl-list": b"HTTP/1.1 200 OK\r\ncontent-length: 5, 4\r\n\r\nhello",
    "cl-negative": b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
    "cl-plus": b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
    "cl-word": b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
    "cl-empty": b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhello",
    "cl-overflow": b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551621\r\n\r\nhello",
    "te-unknown": b"HTTP/1.1 200 OK\r\ntransfer-encoding: rot13\r\n\r\nuryyb",
    "te-twice": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-obscured": b"HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te-in-http10": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello",
    "no-colon": b"HTTP/1.1 200 OK\r\nnonsense\r\ncontent-length: 5\r\n\r\nhello",
    "empty-name": b"HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 5\r\n\r\nhello",
    "name-not-token": b"HTTP/1.1 200 OK\r\nx y: z\r\ncontent-length: 5\r\n\r\nhello",
}.items():
    raw_mood(name, answer)

# Bytes in a value that split a response in two elsewhere: 502, or made harmless.
for name, piece in {
    "value-cr": b"x-a: b\rset-cookie: evil=1",
    "value-lf": b"x-a: b\nset-cookie: evil=1",
    "value-nul": b"x-a: b\x00c",
    "value-fold": b"x-a: b\r\n set-cookie: evil=1",
    "value-del": b"x-a: b\x7fc",
    "value-cr-cr-lf": b"x-a: b\r",
}.items():
    raw_mood(name, b"HTTP/1.1 200 OK\r\n" + piece + b"\r\ncontent-length: 5\r\n\r\nhello")

# A broken answer must look broken.
TRUNCATED = {
    "truncated-cl": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this", None),
    "truncated-cl-reset": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this", "reset"),
    "truncated-chunked": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n", None),
    "truncated-in-chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nonly this", None),
    "truncated-chunked-reset": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n", "reset"),
    "truncated-last-chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\n", None),
    "bad-chunk-size": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nxyz\r\n", None),
    "bad-chunk-end": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly thisXX0\r\n\r\n", None),
    "bad-chunk-lf": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n3;\nabc\r\n0\r\n\r\n", None),
}
for name, (answer, end) in TRUNCATED.items():
    raw_mood(name, answer, end)

raw_mood("close-before-head", b"")
raw_mood("reset-before-head", b"", "reset")
raw_mood("close-in-head", b"HTTP/1.1 200 OK\r\ncontent-le")
raw_mood("reset-in-head", b"HTTP/1.1 200 OK\r\ncontent-le", "reset")
raw_mood("close-in-status-line", b"HTTP/1.1 20")
raw_mood("extra-bytes", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloEXTRA", "stay")
raw_mood("second-response", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
         b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil\n", "stay")
raw_mood("extra-after-chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
         b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil\n", "stay")
raw_mood("body-after-304", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nevil\n", "stay")
raw_mood("hop-by-hop", b"HTTP/1.1 200 OK\r\nconnection: x-private, keep-alive\r\nx-private: 1\r\n"
         b"keep-alive: timeout=5\r\nproxy-connection: close\r\nupgrade: h2c\r\nproxy-authenticate: Basic\r\n"
         b"x-public: 1\r\ncontent-length: 5\r\n\r\nhello", "stay")
raw_mood("cookies", b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n", "stay")
raw_mood("same-cl-twice", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "stay")
raw_mood("no-reason", b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", "stay")
raw_mood("switching-with-body", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
         b"content-length: 5\r\n\r\nhello")


@mood
def body_on_head(peer, seen, args):
    """Sends a body to HEAD, which nobody may."""
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil\n")


@mood
def late_bytes(peer, seen, args):
    """A whole unasked answer on the connection when it is idle: wakes when the test says go()."""
    hello(peer, seen, args)
    peer.upstream.go.wait(10)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil\n")
    peer.upstream.went.set()


@mood
def close_when_idle(peer, seen, args):
    hello(peer, seen, args)
    peer.upstream.go.wait(10)
    peer.upstream.went.set()
    raise Bye


@mood
def close_on_second(peer, seen, args):
    """The idle race: the second request on a connection is read and answered by a close."""
    if peer.nth > 1:
        raise Bye
    hello(peer, seen, args)


@mood
def reset_on_second(peer, seen, args):
    if peer.nth > 1:
        peer.reset()
    hello(peer, seen, args)


@mood
def close_after(peer, seen, args):
    """Answers N requests, the last one without a word about closing."""
    hello(peer, seen, args)
    if peer.nth >= int(args[0]):
        raise Bye


@mood
def connection_close(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello")
    raise Bye


@mood
def stall_before_head(peer, seen, args):
    peer.body(seen)
    peer.upstream.waited.append(peer.wait_for_end())
    raise Bye


@mood
def stall_in_head(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\nx-a: ")
    peer.upstream.waited.append(peer.wait_for_end())
    raise Bye


@mood
def stall_in_body(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
    peer.upstream.waited.append(peer.wait_for_end())
    raise Bye


@mood
def slow_body(peer, seen, args):
    """COUNT pieces, one each GAP milliseconds: /m/slow-body/10/200."""
    count, gap = int(args[0]), int(args[1]) / 1000
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for i in range(count):
        peer.chunk(b"piece %d\n" % i)
        if i < count - 1 and peer.upstream.stopping.wait(gap):
            raise Bye
    peer.send(b"0\r\n\r\n")


@mood
def sse(peer, seen, args):
    """Events as the test asks for them (upstream.events.put)."""
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for i in range(int(args[0])):
        with peer.upstream.lock:
            peer.upstream.tick.wait_for(lambda: peer.upstream.ticks > i or peer.upstream.stopping.is_set(), 30)
        peer.chunk(b"data: %d\n\n" % i)
    peer.send(b"0\r\n\r\n")


@mood
def wait(peer, seen, args):
    """Answers 200 when the test says go()."""
    peer.body(seen)
    peer.upstream.go.wait(60)
    peer.reply(200, b"went\n")


@mood
def deaf(peer, seen, args):
    """Does not read the body before the test says go()."""
    peer.upstream.go.wait(60)
    peer.body(seen)
    peer.reply(200, json.dumps({"length": seen.body_length, "sha256": seen.body_sum.hexdigest()}).encode())


@mood
def delay(peer, seen, args):
    """Answers 200 after so many milliseconds."""
    peer.body(seen)
    peer.upstream.stopping.wait(int(args[0]) / 1000)
    peer.reply(200, b"late\n")


@mood
def part(peer, seen, args):
    """Fails once so many bytes stand behind the head: /m/part/BYTES/close, reset, hang or a status."""
    if b"100-continue" in seen.all("expect"):
        peer.invite(seen)
    while len(peer.buf) < int(args[0]):
        if not peer.fill():
            raise Bye
    if args[1] == "reset":
        peer.reset()
    if args[1] == "hang":
        peer.wait_for_end()
    if args[1] in ("hang", "close"):
        raise Bye
    peer.reply(int(args[1]), b"part\n", reason="Part")


@mood
def early_status(peer, seen, args):
    """Answers before the body has come, then reads on: /m/early-status/413."""
    peer.reply(int(args[0]), b"early\n", reason="Early")
    peer.body(seen)


@mood
def early_close(peer, seen, args):
    """Answers before the body has come and closes."""
    peer.send(b"HTTP/1.1 %d Early\r\nconnection: close\r\ncontent-length: 6\r\n\r\nearly\n" % int(args[0]))
    peer.sock.shutdown(socket.SHUT_WR)
    peer.wait_for_end(5)
    raise Bye


@mood
def checksum(peer, seen, args):
    """The checksum of what was uploaded."""
    peer.body(seen)
    peer.reply(200, json.dumps({"length": seen.body_length, "sha256": seen.body_sum.hexdigest()}).encode())


@mood
def big(peer, seen, args):
    """/m/big/BYTES: a body with a length; see big_sum."""
    size = int(args[0])
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
    for block in big_blocks(size):
        peer.send(block)


@mood
def big_chunked(peer, seen, args):
    size = int(args[0])
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for block in big_blocks(size):
        peer.chunk(block)
    peer.send(b"0\r\n\r\n")


@mood
def big_head(peer, seen, args):
    """A head of about so many bytes in fields of 1000."""
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n")
    for i in range(int(args[0]) // 1000):
        peer.send(b"x-%03d: %s\r\n" % (i, b"v" * 991))
    peer.send(b"\r\nhello")


@mood
def many_fields(peer, seen, args):
    peer.body(seen)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n" +
              b"".join(b"x-%d: v\r\n" % i for i in range(int(args[0]))) + b"\r\nhello")


@mood
def tunnel(peer, seen, args):
    """Switches protocols, then says everything back; at the end of input it says bye and closes."""
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: %s\r\n"
              b"sec-websocket-accept: %s\r\n\r\n" % ((seen.one("upgrade") or b"websocket").split(b",")[0], accept_of(seen.one("sec-websocket-key") or b"")))
    tunnel_on(peer)


@mood
def switch(peer, seen, args):
    """/m/switch/HEX: a 101 with the lines that were asked for; %A in them is the digest of the key."""
    lines = bytes.fromhex(args[0].decode() if isinstance(args[0], bytes) else args[0])
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n" + lines.replace(b"%A", accept_of(seen.one("sec-websocket-key") or b"")) + b"\r\n")
    tunnel_on(peer)


def accept_of(key):
    """Sec-WebSocket-Accept, RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def tunnel_on(peer):
    peer.upstream.tunnels += 1
    while True:
        if peer.buf:
            data, peer.buf = peer.buf, b""
            peer.send(data)
        elif not peer.fill():
            peer.send(b"bye")
            raise Bye


@mood
def refuse_upgrade(peer, seen, args):
    peer.body(seen)
    peer.reply(426, b"no\n", [("upgrade", "websocket")], reason="Upgrade Required")


class Upstream:
    """Listens at once; `with Upstream() as up:` or up.stop() ends all threads' sockets."""

    def __init__(self, mood="echo", name="up", host="127.0.0.1", port=0, path=None, tls=None, backlog=512):
        self.mood, self.name, self.tls = mood, name, tls
        self.seen, self.faults, self.cut, self.waited = [], [], [], []
        self.peers = []
        self.invites = True     # says 100 to who expects it
        self.tunnels = self.ticks = self.connections = 0
        self.lock = threading.Condition()
        self.tick = self.lock
        self.stopping, self.go, self.went = threading.Event(), threading.Event(), threading.Event()
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.address = "unix:" + path
        else:
            self.listener = socket.socket(socket.AF_INET)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port = port or ports.take(host)
            self.listener.bind((host, self.port))
            self.address = "%s:%d" % (host, self.port)
        self.listener.listen(backlog)
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.stop()

    def note(self, seen):
        with self.lock:
            self.seen.append(seen)
            self.lock.notify_all()

    def wake(self):
        with self.lock:
            self.lock.notify_all()

    def advance(self):
        """Lets the sse mood send one more event."""
        with self.lock:
            self.ticks += 1
            self.lock.notify_all()

    def accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                number = self.connections
            threading.Thread(target=self.serve, args=(sock, number), daemon=True).start()

    def serve(self, sock, number):
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except (OSError, ssl.SSLError) as error:
                self.faults.append("handshake: %s" % error)
                sock.close()
                return
        peer = Peer(self, sock, number)
        with self.lock:
            self.peers.append(peer)
        try:
            while not self.stopping.is_set():
                seen = peer.head()
                if seen is None:
                    break
                act, args = self.choose(seen)
                act(peer, seen, args)
                peer.body(seen)
        except Bye:
            pass
        finally:
            sock.close()
            with self.lock:
                self.peers.remove(peer)
                self.lock.notify_all()

    def choose(self, seen):
        path = seen.target.decode("latin-1").split("?")[0]
        if "://" in path:
            path = "/" + path.split("://", 1)[1].partition("/")[2]
        words = path.split("/")
        if len(words) > 2 and words[1] == "m" and words[2] in MOODS:
            return MOODS[words[2]], words[3:]
        if callable(self.mood):
            return self.mood, []
        words = self.mood.split("/")
        return MOODS[words[0]], words[1:]

    def wait(self, condition, limit=10):
        """Until condition() is true of this upstream; False when it never was."""
        with self.lock:
            return self.lock.wait_for(condition, limit)

    def complete(self):
        return [seen for seen in self.seen if seen.is_complete]

    def forget(self):
        with self.lock:
            self.seen, self.faults, self.cut, self.waited = [], [], [], []

    def drop_connections(self):
        """Closes all open connections, as a restart would."""
        with self.lock:
            for peer in self.peers:
                try:
                    peer.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def refuse(self):
        """Closes the listener: new connections are refused. listen_again() undoes it."""
        # shutdown wakes the thread in accept(); close alone would keep the socket alive.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop_connections()

    def listen_again(self):
        self.listener = socket.socket(socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, port = self.address.rsplit(":", 1)
        self.listener.bind((host, int(port)))
        self.listener.listen(512)
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        self.stopping.set()
        self.go.set()
        self.refuse()
        self.wake()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--unix")
    parser.add_argument("--name", default="up")
    parser.add_argument("--mood", default="echo", help="one of: " + ", ".join(sorted(MOODS)))
    args = parser.parse_args()
    upstream = Upstream(args.mood, args.name, args.host, args.port, args.unix)
    print(upstream.address, flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        upstream.stop()
        os._exit(0)


if __name__ == "__main__":
    main()

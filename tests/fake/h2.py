"""HTTP/2 frames by hand: a client that may send anything, and an upstream that may answer anything.

Header blocks are written as literals without compression and read by nghttp2's own inflater (ctypes), so that no library
stands between a test and the bytes it wants on the wire.
"""

import ctypes
import ctypes.util
import socket
import ssl
import struct
import threading
import time

import ports

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
NAMES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"]
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL,
 COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)
MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, CONNECT_PROTOCOL = 3, 4, 5, 8


# ---- header blocks ----

class NV(ctypes.Structure):
    _fields_ = [("name", ctypes.POINTER(ctypes.c_uint8)), ("value", ctypes.POINTER(ctypes.c_uint8)),
                ("namelen", ctypes.c_size_t), ("valuelen", ctypes.c_size_t), ("flags", ctypes.c_uint8)]


LIB = ctypes.CDLL(ctypes.util.find_library("nghttp2"))
LIB.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
LIB.nghttp2_hd_inflate_hd2.argtypes = [ctypes.c_void_p, ctypes.POINTER(NV), ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]


class Inflater:
    def __init__(self):
        self.at = ctypes.c_void_p()
        assert LIB.nghttp2_hd_inflate_new(ctypes.byref(self.at)) == 0

    def __del__(self):
        LIB.nghttp2_hd_inflate_del(self.at)

    def fields(self, block):
        out, nv, flags = [], NV(), ctypes.c_int()
        while True:
            flags.value = 0
            used = LIB.nghttp2_hd_inflate_hd2(self.at, ctypes.byref(nv), ctypes.byref(flags), block, len(block), 1)
            assert used >= 0, "header block that cannot be read: %d" % used
            block = block[used:]
            if flags.value & 2:
                out.append((ctypes.string_at(nv.name, nv.namelen).decode("latin-1"), ctypes.string_at(nv.value, nv.valuelen).decode("latin-1")))
            if flags.value & 1:
                LIB.nghttp2_hd_inflate_end_headers(self.at)
                return out
            if not block and not flags.value & 2:
                return out


def integer(value, bits, first=0):
    top = (1 << bits) - 1
    if value < top:
        return bytes([first | value])
    out, value = bytes([first | top]), value - top
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def literal(name, value, indexed=False):
    name = name.encode("latin-1") if isinstance(name, str) else name
    value = value.encode("latin-1") if isinstance(value, str) else value
    return (b"\x40" if indexed else b"\0") + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(fields):
    return b"".join(literal(n, v) for n, v in fields)


def request(path="/", method="GET", authority="h2.test", scheme="http", *more):
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)] + list(more)


# ---- frames ----

class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def is_end(self):
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self):
        if self.kind == RST_STREAM:
            return struct.unpack(">I", self.payload)[0]
        return struct.unpack(">I", self.payload[4:8])[0] if self.kind == GOAWAY else None

    def __repr__(self):
        kind = NAMES[self.kind] if self.kind < len(NAMES) else hex(self.kind)
        return "<%s %d flags %x%s %d bytes>" % (kind, self.stream, self.flags, "" if self.code is None else " code %d" % self.code, len(self.payload))


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    return struct.pack(">I", len(payload) if length is None else length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Gone(Exception):
    """The peer closed the connection."""


class Message:
    """What came on a stream: heads (interim ones too), body, trailers, and how it ended."""

    def __init__(self):
        self.interims, self.fields, self.trailers, self.body, self.is_ended, self.reset = [], None, None, b"", False, None

    @property
    def status(self):
        return int(dict(self.fields)[":status"]) if self.fields else None

    def all(self, name):
        return [v for n, v in self.fields or [] if n == name]

    def one(self, name):
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def is_over(self):
        return self.is_ended or self.reset is not None

    def __repr__(self):
        return "<message %r body %d trailers %r ended %r reset %r>" % (self.fields, len(self.body), self.trailers, self.is_ended, self.reset)


class Wire:
    """One end of a connection. Everything that comes is kept in `frames`; streams are put together in `messages`."""

    def __init__(self, sock, timeout=10):
        self.sock, self.buf, self.inflater = sock, b"", Inflater()
        self.frames, self.messages, self.goaway, self.settings = [], {}, None, {}
        self.pending = None         # a header block that CONTINUATION goes on with
        self.gives_window = True
        self.acks = True
        self.reader = None          # the thread that reads; None: whoever calls
        self.limit = timeout
        sock.settimeout(timeout)

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def send_settings(self, **settings):
        self.send(frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", {"max_streams": 3, "window": 4, "max_frame": 5, "table": 1, "connect": 8,
                                                                     "header_list": 6, "push": 2}[n], v) for n, v in settings.items())))

    def headers(self, stream, fields, end=True):
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, fields if isinstance(fields, bytes) else block(fields)))

    def data(self, stream, payload, end=False):
        self.send(frame(DATA, END_STREAM if end else 0, stream, payload))

    def reset(self, stream, code=CANCEL):
        self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))

    def window(self, stream, by):
        self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by)))

    def read(self):
        """The next frame. Gone at the end of the connection."""
        while len(self.buf) < 9 or len(self.buf) < 9 + int.from_bytes(self.buf[:3], "big"):
            try:
                more = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError) as error:
                raise Gone(str(error))
            if not more:
                raise Gone()
            self.buf += more
        length = int.from_bytes(self.buf[:3], "big")
        got = Frame(self.buf[3], self.buf[4], int.from_bytes(self.buf[5:9], "big") & 0x7fffffff, self.buf[9:9 + length])
        self.buf = self.buf[9 + length:]
        self.frames.append(got)
        self.take(got)
        return got

    def message(self, stream):
        return self.messages.setdefault(stream, Message())

    def take(self, got):
        if got.kind == SETTINGS and not got.flags & ACK:
            for at in range(0, len(got.payload), 6):
                name, value = struct.unpack(">HI", got.payload[at:at + 6])
                self.settings[name] = value
            if self.acks:
                self.send(frame(SETTINGS, ACK))
        elif got.kind == PING and not got.flags & ACK and self.acks:
            self.send(frame(PING, ACK, 0, got.payload))
        elif got.kind == GOAWAY:
            self.goaway = got
        elif got.kind == RST_STREAM:
            self.message(got.stream).reset = got.code
        elif got.kind in (HEADERS, CONTINUATION):
            payload = got.payload
            if got.kind == HEADERS:
                if got.flags & PADDED:
                    payload = payload[1:len(payload) - payload[0]]
                if got.flags & WITH_PRIORITY:
                    payload = payload[5:]
                self.pending = (got, payload)
            else:
                self.pending = (self.pending[0], self.pending[1] + payload)
            if got.flags & END_HEADERS:
                self.take_fields(got.stream, self.inflater.fields(self.pending[1]), self.pending[0].is_end)
        elif got.kind == DATA:
            payload = got.payload
            if got.flags & PADDED:
                payload = payload[1:len(payload) - payload[0]]
            self.message(got.stream).body += payload
            if got.is_end:
                self.message(got.stream).is_ended = True
            if self.gives_window and got.payload:
                self.window(0, len(got.payload))
                if not got.is_end:
                    self.window(got.stream, len(got.payload))

    def take_fields(self, stream, fields, is_end):
        message = self.message(stream)
        if message.fields is None or dict(message.fields).get(":status", "2")[0] == "1":
            if message.fields is not None:
                message.interims.append(message.fields)
            message.fields = fields
        else:
            message.trailers = fields
        message.is_ended = message.is_ended or is_end

    def until(self, condition):
        """Reads until condition() holds."""
        end = time.monotonic() + self.limit
        while not condition():
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            self.read()

    def answer(self, stream):
        self.until(lambda: self.message(stream).is_over)
        return self.messages[stream]

    def sync(self, token=b"syncsync"):
        """Everything sent so far has been seen by the peer."""
        self.send(frame(PING, 0, 0, token))
        self.until(lambda: any(f.kind == PING and f.flags & ACK and f.payload == token for f in self.frames))

    def until_gone(self):
        """Reads to the end of the connection; the GOAWAY that came before, if any."""
        try:
            while True:
                self.read()
        except Gone:
            return self.goaway

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()


def client(address, timeout=10, tls=None, preface=True, **settings):
    """A connection that has said its preface."""
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        tls.set_alpn_protocols(["h2"])
        sock = tls.wrap_socket(sock)
        assert sock.selected_alpn_protocol() == "h2"
    wire = Wire(sock, timeout)
    if preface:
        sock.sendall(PREFACE)
        wire.send_settings(**settings)
    return wire


class Upstream:
    """
    Listens and speaks HTTP/2 in clear or over TLS; `serve(wire, stream, message)` is called in the connection's thread for each request that has
    come whole (or, with `early`, once its head has come). The default echoes: method, path, fields and body are in the answer's fields and body.
    """

    def __init__(self, serve=None, tls=None, early=False, port=0, says_hello=True, **settings):
        self.says_hello = says_hello     # else the test sends SETTINGS, in its own time
        self.serve, self.tls, self.early, self.settings = serve or echo, tls, early, settings
        self.listener = socket.create_server(("127.0.0.1", port or ports.take("127.0.0.1")), backlog=128)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.port = self.listener.getsockname()[1]
        self.wires, self.lock, self.errors = [], threading.Lock(), []
        ports.serve_each(self.listener, self.run)

    def run(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            wire = Wire(sock, 60)
            wire.alpn = sock.selected_alpn_protocol() if self.tls else None
            with self.lock:
                self.wires.append(wire)
            magic = b""
            while len(magic) < len(PREFACE):
                more = sock.recv(len(PREFACE) - len(magic))
                if not more:
                    return
                magic += more
            if magic != PREFACE:
                self.errors.append("preface %r" % magic)
                return
            if self.says_hello:
                wire.send_settings(**self.settings)
            wire.acks = self.says_hello      # SETTINGS are the first of all
            self.loop(wire)
        except (Gone, OSError, ValueError):
            pass
        except Exception as error:      # a test looks at it
            self.errors.append(repr(error))
            raise
        finally:
            sock.close()

    def loop(self, wire):
        wire.reader = threading.get_ident()
        served = set()
        while True:
            got = wire.read()
            message = wire.messages.get(got.stream)
            if not got.stream or not message or got.stream in served or message.fields is None:
                continue
            if self.early or message.is_ended:
                served.add(got.stream)
                self.serve(wire, got.stream, message)

    @property
    def requests(self):
        with self.lock:
            return [m for w in self.wires for s, m in sorted(w.messages.items()) if m.fields]

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)    # closing alone leaves the accept() that waits, and its next guest
        except OSError:
            pass
        self.listener.close()
        for wire in self.wires:
            wire.close()


def echo(wire, stream, message):
    fields = dict(message.fields)
    path = fields.get(":path", "")
    head = [(":status", "200"), ("content-type", "text/plain"), ("x-method", fields.get(":method", "")), ("x-path", path)]
    if fields.get(":method") == "HEAD":
        wire.headers(stream, head + [("content-length", "5")])
        return
    if path.startswith("/trailers"):
        wire.headers(stream, head, end=False)
        wire.data(stream, b"body")
        wire.headers(stream, [("x-checksum", "abc"), ("grpc-status", "0")])
        return
    if path.startswith("/empty"):
        wire.headers(stream, [(":status", "204")])
        return
    body = message.body or b"hello"
    wire.headers(stream, head + [("content-length", str(len(body)))], end=False)
    send_body(wire, stream, body)


def send_body(wire, stream, body):
    """In frames of 16 KiB. The peer's window is read off its frames; the default one for a start."""
    window = {0: 65535, stream: wire.settings.get(INITIAL_WINDOW, 65535)}
    seen = 0
    at = 0
    while at < len(body):
        for got in wire.frames[seen:]:
            if got.kind == WINDOW_UPDATE and got.stream in window:
                window[got.stream] += struct.unpack(">I", got.payload)[0]
        seen = len(wire.frames)
        n = min(16384, len(body) - at, window[0], window[stream])
        if n <= 0:
            if wire.reader in (None, threading.get_ident()):
                wire.read()
            else:
                time.sleep(0.002)       # another thread reads
            continue
        wire.data(stream, body[at:at + n], end=at + n == len(body))
        window[0] -= n
        window[stream] -= n
        at += n
    if not body:
        wire.data(stream, b"", end=True)

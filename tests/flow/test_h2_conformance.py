"""HTTP/2 by the letter: what each section of RFC 9113 (and 7541, 8441, 9218) says a server answers, a row each.

A row sends frames and names the answer: `conn(code)` is a GOAWAY with that code and the end of the connection, `stream(code)` a RST_STREAM
after which another stream is served, `served(status)` an answer, `ignored` a connection that goes on as if nothing had been said. A row that
ends in a stricter answer than the RFC asks for says why in its last column. The rows are in the order of the RFC, so that a section is easy to
find; the first three tables are about what must be accepted.
"""

import struct
import unittest

from harness import SLOW, Shared, until

import h2
from h2 import frame, block, literal, request

END, MORE = h2.END_STREAM | h2.END_HEADERS, h2.END_HEADERS
OPEN = request("/x", "POST")            # a head whose body is still to come
HANG = request("/m/wait")               # a request whose answer does not come
MAX = 0x7fffffff
ALL_CODES = tuple(range(14))


class Answer:
    def __init__(self, how, codes=(), status=None):
        self.how, self.codes, self.status = how, codes, status


def conn(*codes):
    return Answer("conn", codes)


def stream(*codes):
    return Answer("stream", codes)


def served(status=200):
    return Answer("served", status=status)


ignored = Answer("ignored")
left = Answer("left")                   # closed, without an error
last = Answer("last", status=200)       # served, then closed
WHOLE = "5.4.1: a stream's error may be the connection's; a client that has lost count of its streams is better sent away"


def head(wire, fields=None, id=1, flags=END, **more):
    wire.send(frame(h2.HEADERS, flags, id, fields if isinstance(fields, bytes) else block(fields or request()), **more))


def u32(*values):
    return struct.pack(">%dI" % len(values), *values)


def setting(*pairs):
    return frame(h2.SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in pairs))


# ---- streams in the states of section 5.1 ----

def is_open(wire):
    head(wire, OPEN, flags=MORE)


def is_half_closed(wire):
    head(wire, HANG)


def is_closed(wire):
    head(wire)
    assert wire.answer(1).status == 200


def is_reset_by_us(wire):
    head(wire, HANG)
    wire.reset(1)
    wire.sync(b"reset by")


def is_reset_by_weir(wire):
    """Before its end was told, so that more may be on the way."""
    is_open(wire)
    wire.window(1, MAX)
    wire.until(lambda: wire.message(1).reset is not None)


def is_skipped(wire):
    head(wire, id=5)
    assert wire.answer(5).status == 200


def then(state, *frames):
    """Brings stream 1 into a state, then sends the frames."""
    def send(wire):
        state(wire)
        wire.send(*frames)
    return send


def says(*frames):
    return lambda wire: wire.send(*frames)


def asks(fields, flags=END, body=None):
    """A request of stream 1, in one HEADERS and perhaps a DATA frame."""
    def send(wire):
        head(wire, fields, flags=flags if body is None else MORE)
        if body is not None:
            wire.data(1, body, end=True)
    return send


def with_field(name, value, *more):
    return asks(request("/", "GET", "h2.test", "http", (name, value), *more))


DATA, HEADERS, CONTINUATION, PRIORITY = h2.DATA, h2.HEADERS, h2.CONTINUATION, h2.PRIORITY
HEAD = block(request())
HALF, REST = HEAD[:20], HEAD[20:]
PRI = b"\0\0\0\0\x0f"
SELF = b"\0\0\0\1\x0f"
CONT = frame(CONTINUATION, MORE, 1, literal("x", "y"))
INDEXED = b"\x82\x86\x84\x01\x07h2.test"                                # GET http / and an authority
HUFFMAN = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"    # the same, www.example.com

# section, what, frames, answer, why another than the RFC's
ACCEPTED = [
    # what any server takes
    ("3.4", "preface and settings", asks(request()), served()),
    ("5.1", "PRIORITY on an idle stream", says(frame(PRIORITY, 0, 1, PRI)), ignored),
    ("5.1", "PRIORITY on a half-closed stream", then(is_half_closed, frame(PRIORITY, 0, 1, PRI)), ignored),
    ("5.1", "PRIORITY on a closed stream", then(is_closed, frame(PRIORITY, 0, 1, PRI)), ignored),
    ("5.1", "WINDOW_UPDATE on a half-closed stream", then(is_half_closed, frame(h2.WINDOW_UPDATE, 0, 1, u32(100))), ignored),
    ("5.1", "WINDOW_UPDATE on a closed stream, for it may have been under way", then(is_closed, frame(h2.WINDOW_UPDATE, 0, 1, u32(100))), ignored),
    ("5.1", "RST_STREAM on a half-closed stream", then(is_half_closed, frame(h2.RST_STREAM, 0, 1, u32(8))), ignored),
    ("5.1", "RST_STREAM on a closed stream", then(is_closed, frame(h2.RST_STREAM, 0, 1, u32(8))), ignored),
    ("5.1", "DATA on a stream that weir has reset", then(is_reset_by_weir, frame(DATA, 0, 1, b"late")), ignored),
    ("5.1", "trailers on a stream that weir has reset", then(is_reset_by_weir, frame(HEADERS, END, 1, literal("x", "y"))), ignored),
    ("6.1", "DATA with padding", then(is_open, frame(DATA, 8 | 1, 1, b"\5hello\0\0\0\0\0")), served()),
    ("6.1", "DATA of nothing but padding", then(is_open, frame(DATA, 8 | 1, 1, b"\5\0\0\0\0\0")), served()),
    ("6.2", "HEADERS with padding", says(frame(HEADERS, END | 8, 1, b"\3" + HEAD + b"\0\0\0")), served()),
    ("6.2", "HEADERS with a priority", says(frame(HEADERS, END | 0x20, 1, PRI + HEAD)), served()),
    ("6.2", "HEADERS with both", says(frame(HEADERS, END | 0x28, 1, b"\3" + PRI + HEAD + b"\0\0\0")), served()),
    ("6.7", "a PING that answers nothing", says(frame(h2.PING, h2.ACK, 0, b"12345678")), ignored),
    ("6.8", "a GOAWAY, after which open streams go on", then(lambda w: head(w, request("/m/delay/100")), frame(h2.GOAWAY, 0, 0, u32(0, 0))), last),
    ("6.9", "WINDOW_UPDATE of the connection", says(frame(h2.WINDOW_UPDATE, 0, 0, u32(1000))), ignored),
    ("6.10", "a block in two pieces", says(frame(HEADERS, 1, 1, HALF), frame(CONTINUATION, 4, 1, REST)), served()),
    ("6.10", "a block in four pieces, one of them empty", says(frame(HEADERS, 1, 1, HALF[:5]), frame(CONTINUATION, 0, 1, HALF[5:]),
                                                              frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, 4, 1, REST)), served()),
    ("8.1", "GET", asks(request()), served()),
    ("8.1", "HEAD", asks(request("/", "HEAD")), served()),
    ("8.1", "POST with a body", asks(OPEN, body=b"hello"), served()),
    ("8.1", "POST with trailers", then(is_open, frame(DATA, 0, 1, b"hello"), frame(HEADERS, END, 1, literal("x-sum", "1"))), served()),
    ("8.1", "POST with trailers and no body", then(is_open, frame(HEADERS, END, 1, literal("x-sum", "1"))), served()),
    ("8.2.2", "TE: trailers", with_field("te", "trailers"), served()),
    ("8.3.1", "OPTIONS *", asks(request("*", "OPTIONS")), served()),
]

HPACK = [
    ("7541 2.3.3", "fields of the static table", asks(INDEXED), served()),
    ("7541 2.3.3", "an index beyond both tables", asks(INDEXED + b"\xff\x00"), conn(h2.COMPRESSION_ERROR)),
    ("7541 2.3.3", "a name's index beyond both tables", asks(INDEXED + b"\x7f\x40\x01y"), conn(h2.COMPRESSION_ERROR)),
    ("7541 4.2", "the table's size at a block's start", asks(b"\x20" + INDEXED), served()),
    ("7541 4.2", "the table's size twice, as it may shrink and grow", asks(b"\x20\x3f\xe1\x1f" + INDEXED), served()),
    ("7541 4.2", "the table's size behind a field", asks(INDEXED + b"\x20"), conn(h2.COMPRESSION_ERROR)),
    ("7541 5.1", "an integer that does not end", asks(INDEXED + b"\x7f" + b"\x80" * 10), conn(h2.COMPRESSION_ERROR)),
    ("7541 5.1", "an integer beyond 32 bits", asks(INDEXED + b"\x7f\xff\xff\xff\xff\xff\x7f\x01y"), conn(h2.COMPRESSION_ERROR)),
    ("7541 5.2", "Huffman", asks(HUFFMAN), served()),
    ("7541 5.2", "Huffman padded by more than 7 bits", asks(INDEXED[:3] + b"\x41\x8d" + HUFFMAN[5:] + b"\xff"), conn(h2.COMPRESSION_ERROR)),
    ("7541 5.2", "Huffman padded by zeros", asks(INDEXED[:3] + b"\x40\x01x\x81\x18"), conn(h2.COMPRESSION_ERROR)),
    ("7541 5.2", "Huffman with EOS in it", asks(INDEXED + b"\0\x01x\x84\xff\xff\xff\xff"), conn(h2.COMPRESSION_ERROR)),
    ("7541 5.2", "a string longer than its block", asks(INDEXED + b"\0\x01x\x7f\xff\x01y"), conn(h2.COMPRESSION_ERROR)),
    ("7541 6.1", "index 0", asks(INDEXED + b"\x80"), conn(h2.COMPRESSION_ERROR)),
    ("7541 6.2.1", "a literal that is kept", asks(INDEXED + literal("x-new", "1", True) + b"\xbe"), served()),
    ("7541 6.2.2", "a literal that is not kept", asks(INDEXED + literal("x-new", "1")), served()),
    ("7541 6.2.3", "a literal that is never kept", asks(INDEXED + b"\x10\x01x\x01y"), served()),
    ("7541 6.3", "a table larger than was allowed", asks(b"\x3f\xe2\x1f" + INDEXED), conn(h2.COMPRESSION_ERROR)),
]

def takes_kept_connections(wire):
    """What comes next has to wait for a connection, and so has its body."""
    for id in range(1, 61, 2):
        head(wire, HANG, id=id)


LIMITS = [
    ("4.2", "DATA of 16384 bytes", then(is_open, frame(DATA, 1, 1, b"x" * 16384)), served()),
    ("4.2", "DATA of 16385 bytes", then(is_open, frame(DATA, 1, 1, b"x" * 16385)), conn(h2.FRAME_SIZE_ERROR)),
    ("4.2", "HEADERS of 16385 bytes", says(frame(HEADERS, END, 1, HEAD + b"x" * (16385 - len(HEAD)))), conn(h2.FRAME_SIZE_ERROR)),
    ("4.2", "SETTINGS of 16386 bytes", says(frame(h2.SETTINGS, 0, 0, b"\x00\x09\0\0\0\0" * 2731)), conn(h2.FRAME_SIZE_ERROR)),
    ("4.2", "an unknown frame of 16385 bytes", says(frame(0xee, 0, 0, b"x" * 16385)), conn(h2.FRAME_SIZE_ERROR)),
    ("4.2", "HEADERS too short for their padding's length", says(frame(HEADERS, END | 8, 1, b"")), conn(h2.FRAME_SIZE_ERROR, h2.PROTOCOL_ERROR)),
    ("4.2", "HEADERS too short for their priority", says(frame(HEADERS, END | 0x20, 1, b"\0\0\0")), conn(h2.FRAME_SIZE_ERROR, h2.PROTOCOL_ERROR)),
    ("4.2", "DATA too short for its padding's length", then(is_open, frame(DATA, 8, 1, b"")), conn(h2.FRAME_SIZE_ERROR, h2.PROTOCOL_ERROR)),
    ("6.9.1", "more than the stream's window", lambda w: (takes_kept_connections(w), head(w, request("/m/deaf", "POST"), id=61, flags=MORE),
                                                        w.send(*[frame(DATA, 0, 61, b"x" * 16384)] * 5)),
     conn(h2.FLOW_CONTROL_ERROR), "the RFC leaves the choice between the stream and the connection"),
]

FRAMES = [
    # 3 and 4: how it begins, frames, blocks
    ("4.1", "a frame of an unknown type", says(frame(0xee, 0xff, 1, b"x" * 8), frame(0xee, 0, 0, b"")), ignored),
    ("4.1", "flags that have no meaning", says(frame(h2.PING, 0xfe, 0, b"flagflag")), ignored),
    ("4.1", "the reserved bit of the stream's number", says(frame(h2.PING, 0, 0x80000000, b"reserved")), ignored),
    ("4.3", "a block that cannot be read", asks(b"\x82\x86\x84\x00\x7f"), conn(h2.COMPRESSION_ERROR)),
    ("4.3", "PRIORITY inside a block", says(frame(HEADERS, 1, 1, HALF), frame(PRIORITY, 0, 1, PRI)), conn(h2.PROTOCOL_ERROR)),
    ("4.3", "HEADERS of another stream inside a block", says(frame(HEADERS, 1, 1, HALF), frame(HEADERS, END, 3, HEAD)), conn(h2.PROTOCOL_ERROR)),
    ("4.3", "DATA inside a block", says(frame(HEADERS, 0, 1, HALF), frame(DATA, 0, 1, b"x")), conn(h2.PROTOCOL_ERROR)),
    ("4.3", "PING inside a block", says(frame(HEADERS, 1, 1, HALF), frame(h2.PING, 0, 0, b"x" * 8)), conn(h2.PROTOCOL_ERROR)),
    ("4.3", "RST_STREAM inside a block", says(frame(HEADERS, 1, 1, HALF), frame(h2.RST_STREAM, 0, 1, u32(8))), conn(h2.PROTOCOL_ERROR)),
    ("4.3", "CONTINUATION of another stream", says(frame(HEADERS, 1, 1, HALF), frame(CONTINUATION, 4, 3, REST)), conn(h2.PROTOCOL_ERROR)),
    ("5.5", "an unknown frame inside a block", says(frame(HEADERS, 1, 1, HALF), frame(0xee, 0, 1, b"x")), conn(h2.PROTOCOL_ERROR)),

    # 5.1: what a state does not allow
    ("5.1", "DATA on an idle stream", says(frame(DATA, 1, 1, b"x")), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "RST_STREAM on an idle stream", says(frame(h2.RST_STREAM, 0, 1, u32(8))), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "WINDOW_UPDATE on an idle stream", says(frame(h2.WINDOW_UPDATE, 0, 1, u32(100))), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "CONTINUATION on an idle stream", says(CONT), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "DATA on a half-closed stream", then(is_half_closed, frame(DATA, 1, 1, b"x")), conn(h2.STREAM_CLOSED), WHOLE),
    ("5.1", "HEADERS on a half-closed stream", then(is_half_closed, frame(HEADERS, END, 1, HEAD)), conn(h2.STREAM_CLOSED), WHOLE),
    ("5.1", "CONTINUATION on a half-closed stream", then(is_half_closed, CONT), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "DATA on a stream that was reset", then(is_reset_by_us, frame(DATA, 1, 1, b"x")), conn(h2.STREAM_CLOSED), "5.1 allows it"),
    ("5.1", "HEADERS on a stream that was reset", then(is_reset_by_us, frame(HEADERS, END, 1, HEAD)), conn(h2.STREAM_CLOSED), "5.1 allows it"),
    ("5.1", "CONTINUATION on a stream that was reset", then(is_reset_by_us, CONT), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "DATA on a closed stream", then(is_closed, frame(DATA, 1, 1, b"x")), conn(h2.STREAM_CLOSED)),
    ("5.1", "HEADERS on a closed stream", then(is_closed, frame(HEADERS, END, 1, HEAD)), conn(h2.STREAM_CLOSED)),
    ("5.1", "CONTINUATION on a closed stream", then(is_closed, CONT), conn(h2.PROTOCOL_ERROR)),
    ("5.1", "DATA on a stream that was skipped", then(is_skipped, frame(DATA, 1, 1, b"x")), conn(h2.PROTOCOL_ERROR, h2.STREAM_CLOSED)),
    ("5.1.1", "a stream of an even number", lambda w: head(w, id=2), conn(h2.PROTOCOL_ERROR)),
    ("5.1.1", "a number lower than the last", then(is_skipped, frame(HEADERS, END, 3, HEAD)), conn(h2.PROTOCOL_ERROR)),
    ("5.3.1 of 7540", "HEADERS that depend on themselves", says(frame(HEADERS, END | 0x20, 1, SELF + HEAD)), conn(h2.PROTOCOL_ERROR),
     "RFC 7540 asks for the stream's error, RFC 9113 for none; nobody sends such a thing"),
    ("5.3.1 of 7540", "PRIORITY that depends on itself", says(frame(PRIORITY, 0, 1, SELF)), ignored,
     "RFC 9113 has dropped dependencies, and weir says NO_RFC7540_PRIORITIES: nothing is done with them"),

    # 6: frame by frame
    ("6.1", "DATA of stream 0", says(frame(DATA, 0, 0, b"x")), conn(h2.PROTOCOL_ERROR)),
    ("6.1", "DATA with more padding than payload", then(is_open, frame(DATA, 8 | 1, 1, b"\x08hello")), conn(h2.PROTOCOL_ERROR)),
    ("6.2", "HEADERS of stream 0", says(frame(HEADERS, END, 0, HEAD)), conn(h2.PROTOCOL_ERROR)),
    ("6.2", "HEADERS with more padding than payload", says(frame(HEADERS, END | 8, 1, b"\xff" + HEAD)), conn(h2.PROTOCOL_ERROR)),
    ("6.3", "PRIORITY of stream 0", says(frame(PRIORITY, 0, 0, PRI)), conn(h2.PROTOCOL_ERROR)),
    ("6.3", "PRIORITY of 4 bytes", then(is_half_closed, frame(PRIORITY, 0, 1, PRI[:4])), conn(h2.FRAME_SIZE_ERROR), WHOLE),
    ("6.4", "RST_STREAM of stream 0", says(frame(h2.RST_STREAM, 0, 0, u32(8))), conn(h2.PROTOCOL_ERROR)),
    ("6.4", "RST_STREAM of 3 bytes", then(is_half_closed, frame(h2.RST_STREAM, 0, 1, b"\0\0\0")), conn(h2.FRAME_SIZE_ERROR)),
    ("6.4", "RST_STREAM of 5 bytes", then(is_half_closed, frame(h2.RST_STREAM, 0, 1, b"\0\0\0\0\0")), conn(h2.FRAME_SIZE_ERROR)),
    ("6.5", "SETTINGS acknowledged with a payload", says(frame(h2.SETTINGS, h2.ACK, 0, b"\0\4\0\0\0\1")), conn(h2.FRAME_SIZE_ERROR)),
    ("6.5", "SETTINGS of a stream", says(frame(h2.SETTINGS, 0, 1, b"")), conn(h2.PROTOCOL_ERROR)),
    ("6.5", "SETTINGS of 5 bytes", says(frame(h2.SETTINGS, 0, 0, b"\0\4\0\0\0")), conn(h2.FRAME_SIZE_ERROR)),
    ("6.5.2", "ENABLE_PUSH 2", says(setting((2, 2))), conn(h2.PROTOCOL_ERROR)),
    ("6.5.2", "INITIAL_WINDOW_SIZE 2^31", says(setting((4, 1 << 31))), conn(h2.FLOW_CONTROL_ERROR)),
    ("6.5.2", "MAX_FRAME_SIZE 16383", says(setting((5, 16383))), conn(h2.PROTOCOL_ERROR)),
    ("6.5.2", "MAX_FRAME_SIZE 2^24", says(setting((5, 1 << 24))), conn(h2.PROTOCOL_ERROR)),
    ("6.5.2", "MAX_FRAME_SIZE 2^24 - 1", says(setting((5, (1 << 24) - 1))), ignored),
    ("6.5.2", "a setting that nobody knows", says(setting((0xff, 1), (0x0a0a, 0xffffffff))), ignored),
    ("6.5.2", "HEADER_TABLE_SIZE 0 and of 4 GiB", says(setting((1, 0)), setting((1, 0xffffffff))), ignored),
    ("6.5.2", "MAX_CONCURRENT_STREAMS 0, which is about pushes", says(setting((3, 0))), ignored),
    ("8441 3", "ENABLE_CONNECT_PROTOCOL 2", says(setting((8, 2))), conn(h2.PROTOCOL_ERROR)),
    ("9218 2.1", "NO_RFC7540_PRIORITIES 2", says(setting((9, 2))), conn(h2.PROTOCOL_ERROR)),
    ("9218 7.1", "PRIORITY_UPDATE", says(frame(0x10, 0, 0, u32(1) + b"u=3")), ignored),
    ("6.6", "PUSH_PROMISE of a client", then(is_open, frame(h2.PUSH_PROMISE, MORE, 1, u32(2) + HEAD)), conn(h2.PROTOCOL_ERROR)),
    ("6.6", "PUSH_PROMISE of stream 0", says(frame(h2.PUSH_PROMISE, MORE, 0, u32(2) + HEAD)), conn(h2.PROTOCOL_ERROR)),
    ("6.7", "PING of a stream", says(frame(h2.PING, 0, 1, b"x" * 8)), conn(h2.PROTOCOL_ERROR)),
    ("6.7", "PING of 6 bytes", says(frame(h2.PING, 0, 0, b"x" * 6)), conn(h2.FRAME_SIZE_ERROR)),
    ("6.7", "PING of 9 bytes", says(frame(h2.PING, 0, 0, b"x" * 9)), conn(h2.FRAME_SIZE_ERROR)),
    ("6.8", "GOAWAY of a stream", says(frame(h2.GOAWAY, 0, 1, u32(0, 0))), conn(h2.PROTOCOL_ERROR)),
    ("6.8", "GOAWAY of 7 bytes", says(frame(h2.GOAWAY, 0, 0, b"\0" * 7)), conn(h2.FRAME_SIZE_ERROR)),
    ("6.9", "WINDOW_UPDATE by 0 of the connection", says(frame(h2.WINDOW_UPDATE, 0, 0, u32(0))), conn(h2.PROTOCOL_ERROR)),
    ("6.9", "WINDOW_UPDATE by 0 of a stream", then(is_half_closed, frame(h2.WINDOW_UPDATE, 0, 1, u32(0))), conn(h2.PROTOCOL_ERROR), WHOLE),
    ("6.9", "WINDOW_UPDATE of 3 bytes", says(frame(h2.WINDOW_UPDATE, 0, 0, b"\0\0\1")), conn(h2.FRAME_SIZE_ERROR)),
    ("6.9", "WINDOW_UPDATE with the reserved bit", then(is_half_closed, frame(h2.WINDOW_UPDATE, 0, 1, u32(0x80000001))), ignored),
    ("6.9.1", "the connection's window beyond 2^31 - 1", says(frame(h2.WINDOW_UPDATE, 0, 0, u32(MAX))), conn(h2.FLOW_CONTROL_ERROR)),
    ("6.9.1", "a stream's window beyond 2^31 - 1", then(is_half_closed, frame(h2.WINDOW_UPDATE, 0, 1, u32(MAX))), stream(h2.FLOW_CONTROL_ERROR)),
    ("6.9.2", "a stream's window beyond 2^31 - 1 by SETTINGS", then(is_half_closed, frame(h2.WINDOW_UPDATE, 0, 1, u32(MAX - 65535)), setting((4, 65536))),
     conn(h2.FLOW_CONTROL_ERROR)),
    ("6.10", "CONTINUATION of stream 0", says(frame(HEADERS, 1, 1, HALF), frame(CONTINUATION, 4, 0, REST)), conn(h2.PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION behind a block's end", then(is_half_closed, frame(CONTINUATION, 4, 1, b"")), conn(h2.PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION behind CONTINUATION's end", says(frame(HEADERS, 0, 1, HALF), frame(CONTINUATION, 4, 1, REST), CONT), conn(h2.PROTOCOL_ERROR)),
    ("6.10", "CONTINUATION behind DATA", then(is_open, frame(DATA, 0, 1, b"x"), CONT), conn(h2.PROTOCOL_ERROR)),
    ("7", "GOAWAY with a code that nobody knows", says(frame(h2.GOAWAY, 0, 0, u32(0, 0xff))), left,
     "who says that it goes, and has no stream open, is let go"),
    ("7", "RST_STREAM with a code that nobody knows", then(is_half_closed, frame(h2.RST_STREAM, 0, 1, u32(0xff))), ignored),
]

GET = request()
MESSAGES = [
    ("8.1", "trailers without the stream's end", then(is_open, frame(HEADERS, MORE, 1, literal("x", "y"))), stream(h2.PROTOCOL_ERROR)),
    ("8.1", "DATA behind trailers", then(is_open, frame(DATA, 0, 1, b"x"), frame(HEADERS, END, 1, literal("x", "y")), frame(DATA, 1, 1, b"z")),
     conn(h2.STREAM_CLOSED), WHOLE),
    ("8.1.1", "a length that DATA does not reach", asks(OPEN + [("content-length", "5")], body=b"1234"), stream(h2.PROTOCOL_ERROR)),
    ("8.1.1", "a length that DATA exceeds", asks(OPEN + [("content-length", "5")], body=b"123456"), stream(h2.PROTOCOL_ERROR)),
    ("8.1.1", "a length that several DATA exceed", then(lambda w: head(w, OPEN + [("content-length", "5")], flags=MORE), frame(DATA, 0, 1, b"123"),
                                                       frame(DATA, 1, 1, b"456")), stream(h2.PROTOCOL_ERROR)),
    ("8.1.1", "a length and the stream's end in HEADERS", asks(request("/", "POST") + [("content-length", "5")]), stream(h2.PROTOCOL_ERROR)),
    ("8.1.1", "a length that trailers cut short", then(lambda w: head(w, OPEN + [("content-length", "5")], flags=MORE),
                                                      frame(HEADERS, END, 1, literal("x", "y"))), stream(h2.PROTOCOL_ERROR)),
    ("8.2", "a name in upper case", with_field("X-Upper", "1"), stream(h2.PROTOCOL_ERROR)),
    ("8.2", "a name in upper case, of the pseudo fields", asks([(":METHOD", "GET")] + GET[1:]), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a name with a colon in it", with_field("x:y", "1"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a name with a blank", with_field("x y", "1"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a name beyond ASCII", with_field("x\xff", "1"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a value with NUL", with_field("x", "a\0b"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a value with CR", with_field("x", "a\rb"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a value with LF", with_field("x", "a\nb"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a value that begins with a blank", with_field("x", " a"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.1", "a value that ends with a tab", with_field("x", "a\t"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.2", "connection", with_field("connection", "keep-alive"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.2", "keep-alive", with_field("keep-alive", "5"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.2", "proxy-connection", with_field("proxy-connection", "close"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.2", "transfer-encoding", with_field("transfer-encoding", "chunked"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.2", "upgrade", with_field("upgrade", "h2c"), stream(h2.PROTOCOL_ERROR)),
    ("8.2.2", "te of something else", with_field("te", "trailers, deflate;q=0.5"), stream(h2.PROTOCOL_ERROR)),
    ("8.3", "a pseudo field that nobody knows", asks(GET + [(":test", "x")]), stream(h2.PROTOCOL_ERROR)),
    ("8.3", "an answer's pseudo field", asks(GET + [(":status", "200")]), stream(h2.PROTOCOL_ERROR)),
    ("8.3", "a pseudo field in trailers", then(is_open, frame(DATA, 0, 1, b"x"), frame(HEADERS, END, 1, literal(":method", "GET"))), stream(h2.PROTOCOL_ERROR)),
    ("8.3", "a pseudo field behind a field", asks(GET[:1] + [("x", "y")] + GET[1:]), stream(h2.PROTOCOL_ERROR)),
    ("8.3", "a pseudo field twice", asks(GET + [(":path", "/")]), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "no :method", asks(GET[1:]), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "two :method", asks(GET[:1] + GET), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "no :scheme", asks(GET[:1] + GET[2:]), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "two :scheme", asks(GET[1:2] + GET), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "two :authority", asks(GET[2:3] + GET), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "no :path", asks(GET[:3]), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "an empty :path", asks(request("")), stream(h2.PROTOCOL_ERROR)),
    ("8.3.1", "neither :authority nor host", asks(GET[:2] + GET[3:]), Answer("stream or answer", (h2.PROTOCOL_ERROR,), 400)),
    ("8.3.1", "an :authority with userinfo", asks(request("/", "GET", "user@h2.test")), Answer("stream or answer", (h2.PROTOCOL_ERROR,), 400)),
    ("8.3.1", "a host that is another than :authority", with_field("host", "other.test"), stream(h2.PROTOCOL_ERROR)),
    ("8.5", "CONNECT with :path", asks([(":method", "CONNECT"), (":authority", "a:80"), (":path", "/")], flags=MORE), stream(h2.PROTOCOL_ERROR)),
    ("8.5", "CONNECT with :scheme", asks([(":method", "CONNECT"), (":authority", "a:80"), (":scheme", "http")], flags=MORE), stream(h2.PROTOCOL_ERROR)),
    ("8.5", "CONNECT without :authority", asks([(":method", "CONNECT")], flags=MORE), stream(h2.PROTOCOL_ERROR)),
    ("8.5", "CONNECT, which a gateway may refuse", asks([(":method", "CONNECT"), (":authority", "a:80")], flags=MORE),
     Answer("stream or answer", (h2.PROTOCOL_ERROR, h2.NO_ERROR), 405)),
    ("8441 4", ":protocol without CONNECT", asks(GET + [(":protocol", "websocket")]), stream(h2.PROTOCOL_ERROR)),
    ("8441 4", ":protocol without :path", asks([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a")], flags=MORE),
     stream(h2.PROTOCOL_ERROR)),
]


class Conformance(Shared):
    """One weir and a connection per row."""

    limit = 60

    def client(self, **options):
        wire = h2.client(("127.0.0.1", self.weir.port), timeout=3 * SLOW, **options)
        wire.sync(b"hellowrd")
        return wire

    def goes_on(self, wire):
        """Nothing said that it is over, and another request is served."""
        wire.sync()
        self.assertIsNone(wire.goaway)
        id = max([1] + list(wire.messages)) + 2
        head(wire, id=id)
        self.assertEqual(wire.answer(id).status, 200)

    def ends(self, wire, codes, must_tell=True):
        try:
            goaway = wire.until_gone()
        except TimeoutError:
            self.fail("the connection goes on: %r" % wire.frames[2:])
        if goaway or must_tell:
            self.assertIsNotNone(goaway, "closed without a GOAWAY")
            self.assertIn(goaway.code, codes, wire.frames[2:])

    def is_reset(self, wire, codes):
        wire.until(lambda: wire.goaway or any(m.reset is not None for m in wire.messages.values()))
        self.assertIsNone(wire.goaway)
        code = next(m.reset for m in wire.messages.values() if m.reset is not None)
        self.assertIn(code, codes, wire.frames[2:])

    def check(self, send, answer):
        with self.client() as wire:
            try:
                send(wire)
            except (h2.Gone, OSError):
                if answer.how != "conn":
                    raise
            if answer.how in ("conn", "left", "last"):
                if answer.how == "last":
                    self.assertEqual(wire.answer(1).status, answer.status)
                self.ends(wire, answer.codes or (h2.NO_ERROR,), answer.how == "conn")
                return
            if answer.how == "stream":
                self.is_reset(wire, answer.codes)
            elif answer.how == "served":
                self.assertEqual((wire.answer(1).status, wire.messages[1].reset), (answer.status, None))
                if wire.goaway is not None or any(f.kind == h2.GOAWAY for f in wire.frames):
                    self.fail("a GOAWAY")
            elif answer.how == "stream or answer":
                got = wire.answer(1)
                self.assertTrue(got.reset in answer.codes or got.status == (answer.status or 200), got)
            self.goes_on(wire)

    def table(self, rows):
        for row in rows:
            with self.subTest(section=row[0], case=row[1]):
                self.check(row[2], row[3])
        self.assertEqual(self.up.faults, [])

    def test_what_must_be_accepted(self):
        self.table(ACCEPTED)

    def test_header_compression(self):
        self.table(HPACK)

    def test_limits(self):
        self.table(LIMITS)

    def test_frames(self):
        self.table(FRAMES)

    def test_messages(self):
        self.table(MESSAGES)


class Beginnings(Shared):
    """What is said before there are streams, and what weir says first."""

    def client(self, **options):
        return self.enter(h2.client(("127.0.0.1", self.weir.port), **options))

    def test_3_4_weirs_first_frame_is_SETTINGS(self):
        wire = self.client()
        wire.until(lambda: wire.frames)
        self.assertEqual((wire.frames[0].kind, wire.frames[0].flags, wire.frames[0].stream), (h2.SETTINGS, 0, 0))

    def test_3_4_a_preface_without_SETTINGS_behind_it(self):
        wire = self.client(preface=False)
        wire.sock.sendall(h2.PREFACE + frame(h2.PING, 0, 0, b"12345678"))
        self.assertEqual(wire.until_gone().code, h2.PROTOCOL_ERROR)

    def test_3_4_a_preface_that_is_none(self):
        for preface in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"):
            wire = self.client(preface=False)
            wire.sock.sendall(preface + setting())
            goaway = wire.until_gone()
            self.assertTrue(goaway is None or goaway.code == h2.PROTOCOL_ERROR)     # 3.4 allows to leave the GOAWAY out
            self.assertFalse(any(f.kind == h2.SETTINGS and f.flags & h2.ACK for f in wire.frames))

    def test_3_4_a_preface_in_pieces(self):
        wire = self.client(preface=False)
        for byte in h2.PREFACE + setting():
            wire.sock.sendall(bytes([byte]))
        head(wire)
        self.assertEqual(wire.answer(1).status, 200)

    def test_6_5_3_each_SETTINGS_is_acknowledged_in_order(self):
        wire = self.client()
        wire.send(setting((4, 100)), setting((4, 200)), setting())
        wire.sync()
        acks = [f for f in wire.frames if f.kind == h2.SETTINGS and f.flags & h2.ACK]
        self.assertEqual(([len(f.payload) for f in acks]), [0, 0, 0, 0])

    def test_6_7_a_PING_is_answered_with_its_payload(self):
        wire = self.client()
        wire.send(frame(h2.PING, 0, 0, b"\0\1\2\3\4\5\6\7"))
        wire.until(lambda: any(f.kind == h2.PING and f.flags == h2.ACK and f.payload == b"\0\1\2\3\4\5\6\7" for f in wire.frames))

    def test_6_9_1_DATA_never_exceeds_a_window_of_one(self):
        wire = self.client(window=1)
        wire.gives_window = False
        head(wire, request("/m/hello"))
        wire.until(lambda: wire.message(1).body)
        wire.sync()
        self.assertEqual(wire.message(1).body, b"h")
        for n in range(2, 7):
            wire.window(1, 1)
            wire.until(lambda: len(wire.message(1).body) == n)
        self.assertEqual(wire.answer(1).body, b"hello\n")
        self.assertTrue(all(len(f.payload) <= 1 for f in wire.frames if f.kind == DATA))

    def test_6_9_2_a_window_of_the_settings_holds_for_open_streams(self):
        wire = self.client(window=0)
        wire.gives_window = False
        head(wire, request("/m/hello"))
        wire.until(lambda: wire.message(1).fields)
        wire.sync()
        self.assertEqual(wire.message(1).body, b"")
        wire.send_settings(window=3)
        wire.until(lambda: wire.message(1).body == b"hel")
        wire.sync(b"nothing!")
        self.assertEqual(wire.message(1).body, b"hel")
        wire.send_settings(window=0)            # now three below zero
        wire.window(1, 3)
        wire.sync(b"still it")
        self.assertLessEqual(len(wire.message(1).body), 6)
        wire.window(1, 100)
        self.assertEqual(wire.answer(1).body, b"hello\n")

    def test_4_2_no_frame_is_larger_than_the_peer_allows(self):
        wire = self.client(max_frame=16384)
        head(wire, request("/m/big/300000"))
        self.assertEqual(len(wire.answer(1).body), 300000)
        self.assertLessEqual(max(len(f.payload) for f in wire.frames), 16384)

    def test_5_1_many_late_frames_on_streams_that_weir_has_reset(self):
        """All of them were under way when the resets were: none is the client's error, however many they are."""
        wire = self.client()
        for id in range(1, 81, 2):
            head(wire, OPEN, id=id, flags=MORE)
            wire.window(id, MAX)
        for id in range(1, 81, 2):
            wire.data(id, b"late")
        wire.until(lambda: all(wire.message(id).is_over for id in range(1, 81, 2)))
        wire.sync()
        self.assertIsNone(wire.goaway)
        self.assertEqual({wire.message(id).reset for id in range(1, 81, 2)}, {h2.FLOW_CONTROL_ERROR})

    def test_8_1_an_answer_before_the_requests_end_stops_the_upload_without_error(self):
        wire = self.client()
        head(wire, request("/m/early-status/413", "POST"), flags=MORE)
        wire.data(1, b"x" * 100)
        wire.until(lambda: wire.message(1).reset is not None)
        self.assertEqual((wire.message(1).status, wire.message(1).reset), (413, h2.NO_ERROR))
        wire.data(1, b"late")
        wire.sync()
        self.assertIsNone(wire.goaway)

    def test_5_1_2_more_streams_than_allowed_are_refused_alone(self):
        """Before the limit is agreed on and after; and frames for them that are late harm nobody."""
        for acks in (False, True):
            with self.subTest(acks=acks):
                self.refused_beyond(acks)

    def refused_beyond(self, acks):
        wire = self.client()
        wire.acks = acks
        wire.sync()
        beyond = 2 * wire.settings[h2.MAX_STREAMS] + 1
        for id in range(1, beyond, 2):
            head(wire, HANG, id=id)
        wire.send(frame(HEADERS, MORE, beyond, block(OPEN)), frame(DATA, 0, beyond, b"late"))
        self.assertEqual(wire.answer(beyond).reset, h2.REFUSED_STREAM)
        wire.data(beyond, b"later")
        wire.sync()
        self.assertIsNone(wire.goaway)
        until(lambda: self.up.seen)
        wire.reset(1)           # makes room for one
        head(wire, request("/m/hello"), id=beyond + 2)
        self.assertEqual(wire.answer(beyond + 2).status, 200)


if __name__ == "__main__":
    unittest.main()

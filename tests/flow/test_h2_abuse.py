"""HTTP/2 clients that mean harm: each is sent away with its word counted, and a quiet client next to it notices nothing."""

import struct
import time
import unittest

from harness import Shared, one_pool, until, upstream as fake

import h2

FLOOD = 12000       # frames, or until the connection ends

# A stream counts until its reset is on the wire: of more than the allowed streams read in one go, the rest is too many.
PROVOKED = ("provoked_reset", "excess_streams")


class Abuse(Shared):
    limit = 60

    def client(self, **options):
        return self.enter(h2.client(("127.0.0.1", self.weir.port), **options))

    def glitches(self, *words):
        return sum(self.weir.metric("weir_h2_glitches_total", listener="http", reason=word) or 0 for word in words)

    def flood(self, wire, make, count=FLOOD, at_once=100):
        """Sends make(n) until the peer has had enough; how many were sent."""
        sent = 0
        try:
            while sent < count:
                wire.send(b"".join(make(n) for n in range(sent, sent + at_once)))
                sent += at_once
                wire.sock.setblocking(False)
                try:
                    while True:
                        wire.read()
                except (BlockingIOError, TimeoutError):
                    pass
                wire.sock.settimeout(10)
                if wire.goaway:
                    return sent
        except (h2.Gone, OSError):
            pass
        return sent

    def check(self, word, make, count=FLOOD, wire=None, at_most=FLOOD, at_once=100):
        """The flood is ended with GOAWAY ENHANCE_YOUR_CALM, counted under its word (or one of several), and others are served meanwhile."""
        words = (word,) if isinstance(word, str) else word
        quiet = self.client()
        quiet.headers(1, h2.request("/quiet"))
        self.assertEqual(quiet.answer(1).status, 200)
        before = self.glitches(*words)
        memory = self.weir.rss()
        wire = wire or self.client()
        wire.gives_window = False
        sent = self.flood(wire, make, count, at_once)
        began = time.monotonic()
        quiet.headers(3, h2.request("/quiet"))
        self.assertEqual(quiet.answer(3).status, 200)
        self.assertLess(time.monotonic() - began, 1)
        goaway = wire.until_gone()
        self.assertLessEqual(self.glitches(*words) - before, at_most, "of %d sent" % sent)
        self.assertGreater(self.glitches(*words), before, "no word was counted: " + "".join(l for l in self.weir.metrics().splitlines(True) if "glitch" in l))
        if goaway:          # it may be lost behind a reset
            self.assertIn(goaway.code, (h2.ENHANCE_YOUR_CALM, h2.PROTOCOL_ERROR, h2.STREAM_CLOSED))
        until(lambda: self.weir.metric("weir_http_requests_in_flight") == 0)
        self.assertLess(self.weir.rss() - memory, 64 << 20)
        return wire

    def test_rapid_reset(self):
        def make(n):
            stream = 2 * n + 1
            return (h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.block(h2.request("/m/wait"))) +
                    h2.frame(h2.RST_STREAM, 0, stream, struct.pack(">I", h2.CANCEL)))
        self.check("rapid_reset", make, at_most=1500)

    def test_provoked_resets__window_of_zero(self):
        def make(n):
            stream = 2 * n + 1
            return (h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.block(h2.request("/m/wait"))) +
                    h2.frame(h2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 0)))
        self.check(PROVOKED, make, at_most=1500)

    def test_provoked_resets__window_overflow(self):
        def make(n):
            stream = 2 * n + 1
            return (h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.block(h2.request("/m/wait"))) +
                    h2.frame(h2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 0x7fffffff)))
        self.check(PROVOKED, make, at_most=1500)

    def test_provoked_resets__malformed_requests(self):
        def make(n):
            return h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 2 * n + 1, h2.block(h2.request("/") + [("x-a", "b\n")]))
        self.check(PROVOKED, make, at_most=1500)

    def test_streams_beyond_the_limit(self):
        wire = self.client()
        wire.sync()
        for n in range(128):
            wire.headers(2 * n + 1, h2.request("/m/wait"))
        self.check("excess_streams", lambda n: h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 2 * n + 257, h2.block(h2.request("/"))), wire=wire, at_most=1000)

    def test_settings(self):
        self.check("settings_flood", lambda n: h2.frame(h2.SETTINGS))

    def test_pings(self):
        self.check("ping_flood", lambda n: h2.frame(h2.PING, 0, 0, b"12345678"))

    def test_empty_data(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/wait", "POST"), end=False)
        self.check("empty_frames", lambda n: h2.frame(h2.DATA, 0, 1), wire=wire)

    def test_priorities(self):
        self.check("priority_flood", lambda n: h2.frame(h2.PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10"))

    def test_priority_updates(self):
        self.check("priority_flood", lambda n: h2.frame(0x10, 0, 0, struct.pack(">I", 1) + b"u=3"))

    def test_unknown_frames(self):
        self.check("unknown_frames", lambda n: h2.frame(0xfa, 0, 0, b"x" * (n % 300)))

    def test_acknowledged_pings_that_nobody_sent(self):
        self.check("ping_flood", lambda n: h2.frame(h2.PING, h2.ACK, 0, b"12345678"))

    def test_acknowledged_settings_that_nobody_sent(self):
        self.check("settings_flood", lambda n: h2.frame(h2.SETTINGS, h2.ACK), at_once=1)

    def test_data_that_is_all_padding(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/wait", "POST"), end=False)
        self.check("empty_frames", lambda n: h2.frame(h2.DATA, h2.PADDED, 1, b"\x05" + b"\0" * 5), wire=wire)

    def test_empty_data_of_a_stream_that_is_over(self):
        wire = self.client()
        wire.headers(1, h2.request("/m/hello", "POST"), end=False)
        wire.reset(1)
        self.check("empty_frames", lambda n: h2.frame(h2.DATA, 0, 1), wire=wire)

    def test_frames_in_single_bytes_are_seen_too(self):
        before = self.glitches("unknown_frames")
        wire = self.client()
        for byte in h2.frame(0xfa, 0, 0, b"xyz") * 4:
            wire.send(bytes([byte]))
            time.sleep(0.001)
        wire.sync()
        self.assertEqual(self.glitches("unknown_frames"), before + 4)

    def test_what_well_meaning_clients_do_costs_nothing(self):
        """Their SETTINGS and its answer, padding around content, window updates for what came."""
        names = ("empty_frames", "unknown_frames", "window_update_flood", "priority_flood")
        before = [self.glitches(n) for n in names]
        wire = self.client()
        for stream in range(1, 101, 2):
            wire.headers(stream, h2.request("/m/hello", "POST"), end=False)
            wire.send(h2.frame(h2.DATA, h2.PADDED | h2.END_STREAM, stream, b"\x03" + b"body" + b"\0" * 3))
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertEqual([self.glitches(n) for n in names], before)

    def test_a_ping_for_each_message_of_a_stream_costs_nothing(self):
        """Clients of gRPC measure by it how far away the other end is."""
        before = self.glitches("ping_flood")
        wire = self.client()
        wire.headers(1, h2.request("/m/slow-body/1500/1"))
        while not wire.message(1).is_over:
            got = wire.read()
            if got.kind == h2.DATA:
                wire.send(h2.frame(h2.PING, 0, 0, b"bdp-ping"))
        self.assertEqual((wire.goaway, wire.message(1).is_ended, self.glitches("ping_flood")), (None, True, before))

    def test_window_updates_of_who_reads_little_at_a_time_cost_nothing(self):
        """Programs in Go tell of every 4 KiB that they have read, the stream and the connection."""
        before = self.glitches("window_update_flood")
        wire = self.client()
        wire.gives_window = False
        wire.headers(1, h2.request("/m/big/%d" % (6 << 20)))
        read = told = 0
        while not wire.message(1).is_over:
            got = wire.read()
            read += len(got.payload) if got.kind == h2.DATA else 0
            while read - told >= 4096:
                told += 4096
                wire.window(0, 4096)
                wire.window(1, 4096)
        self.assertEqual((wire.goaway, len(wire.message(1).body), self.glitches("window_update_flood")), (None, 6 << 20, before))

    def test_heads_too_long_for_a_frame_cost_nothing(self):
        """Many cookies: each request needs a second frame."""
        before = self.glitches("continuation_flood")
        wire = self.client()
        block = h2.block(h2.request("/m/hello") + [("cookie", "c" * 20000)])
        for stream in range(1, 501, 2):
            wire.send(h2.frame(h2.HEADERS, h2.END_STREAM, stream, block[:16384]), h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream, block[16384:]))
            self.assertEqual(wire.answer(stream).status, 200)
        self.assertEqual(self.glitches("continuation_flood"), before)

    def answered(self, wire, path, stream):
        wire.headers(stream, h2.request(path))
        return wire.answer(stream).status

    def test_answers_that_are_not_read_cost_little(self):
        """All streams of a connection ask for much and take nothing: what is held is bounded by connection, and another stream gets its answer."""
        before = self.weir.rss()
        wires = [self.client(timeout=40) for _ in range(2)]
        for wire in wires:
            wire.gives_window = False
            for stream in range(1, 255, 2):
                wire.headers(stream, h2.request("/m/big/400000"))
        for wire in wires:
            wire.until(lambda: len([m for m in wire.messages.values() if m.fields]) == 127)
        time.sleep(0.5)
        self.assertLess(self.weir.rss() - before, 2 * (3 << 20))
        for wire in wires:
            wire.window(0, 1 << 24)
            wire.until(lambda: all(len(wire.message(s).body) == 65535 for s in range(1, 255, 2)))
            self.assertEqual(self.answered(wire, "/m/hello", 255), 200)
            wire.close()
        until(lambda: self.weir.metric("weir_http_requests_in_flight") == 0)

    def test_who_stands_still_stops_no_other(self):
        """Eight downloads are not read at all; next to them a hundred others and a large one come whole."""
        wire = self.client()
        wire.gives_window = False
        wire.window(0, 1 << 24)
        for stream in range(1, 17, 2):
            wire.headers(stream, h2.request("/m/big/1000000"))
        wire.until(lambda: all(len(wire.message(s).body) == 65535 for s in range(1, 17, 2)))
        for stream in range(17, 217, 2):
            self.assertEqual(self.answered(wire, "/m/hello", stream), 200)
        wire.headers(217, h2.request("/m/big/500000"))
        wire.window(217, 1 << 20)
        answer = wire.answer(217)
        self.assertEqual((answer.status, len(answer.body), answer.is_ended), (200, 500000, True))
        for stream in range(1, 17, 2):      # and they were only waiting
            wire.window(stream, 1 << 20)
            self.assertEqual(len(wire.answer(stream).body), 1000000)

    def test_many_large_answers_at_once_come_whole(self):
        wire = self.client()
        for stream in range(1, 65, 2):
            wire.headers(stream, h2.request("/m/big-chunked/300000" if stream % 4 == 1 else "/m/big/300000"))
        for stream in range(1, 65, 2):
            answer = wire.answer(stream)
            self.assertEqual((answer.status, len(answer.body)), (200, 300000))

    def test_large_heads_in_flight_are_bounded(self):
        """An entry of HPACK's table, named seven times a request, makes 27 KB of each ten bytes: beyond half a MiB streams are refused unread."""
        before = self.weir.rss()
        wire = self.client()
        for stream in range(1, 181, 2):
            block = h2.block(h2.request("/m/wait/heads"))
            if stream == 1:
                block += h2.literal("x-big", "y" * 3900, indexed=True)
            wire.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block + b"\xbe" * 7))

        def refused():
            wire.sync(b"%08d" % len(wire.frames))
            return len([s for s, m in wire.messages.items() if m.reset == h2.REFUSED_STREAM])
        until(lambda: len(self.asked_for("/m/wait/heads")) == 90 - refused())
        self.assertIn(len(self.asked_for("/m/wait/heads")), range(10, 21))
        self.assertLess(self.weir.rss() - before, 3 << 20)
        self.up.go.set()
        for stream in range(1, 19, 2):
            self.assertEqual(wire.answer(stream).status, 200)
        wire.headers(257, h2.request("/m/hello") + [("x-big", "y" * 12000)])
        self.assertEqual(wire.answer(257).status, 200)

    def test_large_heads_that_were_sent_in_full_may_come_again_and_again(self):
        """A page with large cookies and many parts: what was refused for our own bound is asked for anew, and nobody is sent away."""
        wire = self.client()
        cookies = h2.literal("cookie", "c" * 20480)
        asked, taken = 0, 0

        def ask(stream):
            block = h2.block(h2.request("/m/wait/cookies")) + cookies
            wire.send(h2.frame(h2.HEADERS, h2.END_STREAM, stream, block[:16384]), h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream, block[16384:]))

        def is_settled():
            wire.sock.setblocking(False)
            try:
                while True:
                    wire.read()
            except BlockingIOError:
                wire.sock.settimeout(wire.limit)
            return asked == len(self.asked_for("/m/wait/cookies")) + len([m for m in wire.messages.values() if m.reset == h2.REFUSED_STREAM])
        for _ in range(8):
            for _ in range(100 - taken):
                ask(2 * asked + 1)
                asked += 1
            until(is_settled)
            taken = len(self.asked_for("/m/wait/cookies"))
            self.assertIn(taken, range(10, 30))
        self.assertIsNone(wire.goaway)
        self.up.go.set()
        wire.until(lambda: len([m for m in wire.messages.values() if m.status == 200 and m.is_ended]) == taken)

    def test_large_heads_of_few_bytes_may_not(self):
        """Nothing is answered, so that more and more are refused."""
        def make(n):
            block = h2.block(h2.request("/m/wait"))
            if n == 0:
                block += h2.literal("x-big", "y" * 3900, indexed=True)
            return h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 2 * n + 1, block + b"\xbe" * 7)
        self.check(PROVOKED, make, at_most=1500, at_once=40)

    def test_bodies_that_nobody_takes_cost_little(self):
        """All streams send as much as they may to an upstream that reads nothing; a later one is still served."""
        before = self.weir.rss()
        wire = self.client()
        wire.headers(255, h2.request("/m/hello"))
        self.assertEqual(wire.answer(255).status, 200)
        sent = 0
        for stream in range(257, 400, 2):
            wire.headers(stream, h2.request("/m/deaf", "POST"), end=False)
            wire.data(stream, b"x")
        wire.sync()
        window = 65535
        for frame in wire.frames:
            if frame.kind == h2.WINDOW_UPDATE and frame.stream == 0:
                window += struct.unpack(">I", frame.payload)[0]
        self.assertLessEqual(window, 1 << 20)
        for stream in range(257, 400, 2):
            for _ in range(3):
                if window - 16384 > sent:
                    wire.data(stream, b"x" * 16384)
                    sent += 16384
        wire.sync()
        self.assertLess(self.weir.rss() - before, 8 << 20)
        self.assertEqual(self.answered(wire, "/m/hello", 401), 200)

    def test_window_updates(self):
        self.check("window_update_flood", lambda n: h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)))

    def test_continuations_without_end(self):
        wire = self.client()
        wire.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.block(h2.request("/"))))
        self.check("continuation_flood", lambda n: h2.frame(h2.CONTINUATION, 0, 1, h2.literal("x-%d" % n, "y" * 10)), wire=wire, at_most=200)

    def test_empty_continuations(self):
        wire = self.client()
        wire.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.block(h2.request("/"))))
        self.check("continuation_flood", lambda n: h2.frame(h2.CONTINUATION, 0, 1, b""), wire=wire, at_most=1000)

    def test_a_bomb_of_one_byte_fields(self):
        """A big entry in the table, then a block that names it thousands of times."""
        wire = self.client()
        bomb = h2.block(h2.request("/bomb")) + h2.literal("x-big", "y" * 3900, indexed=True) + b"\xbe" * 8000
        memory = self.weir.rss()
        try:
            wire.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, bomb))
            wire.until_gone()
        except OSError:
            pass
        self.assertGreater(self.glitches("header_list_flood"), 0)
        self.assertLess(self.weir.rss() - memory, 4 << 20)
        self.assertEqual(self.asked_for("/bomb"), [])

    def test_a_bomb_of_cookie_crumbs(self):
        wire = self.client()
        bomb = h2.block(h2.request("/crumbs")) + h2.literal("cookie", "", indexed=True) + b"\xbe" * 12000
        try:
            wire.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, bomb))
            wire.until_gone()
        except OSError:
            pass
        self.assertGreater(self.glitches("header_list_flood"), 0)
        self.assertEqual(self.asked_for("/crumbs"), [])

    def test_a_head_somewhat_too_large_is_told(self):
        wire = self.client()
        wire.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.block(h2.request("/") + [("x-a", "y" * 15000)])),
                  h2.frame(h2.CONTINUATION, 0, 1, h2.block([("x-b", "y" * 15000)])),
                  h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.block([("x-c", "y" * 15000)])))
        self.assertEqual(wire.answer(1).status, 431)
        wire.headers(3, h2.request("/") + [("x-%d" % n, "y") for n in range(120)])
        self.assertEqual(wire.answer(3).status, 431)
        wire.headers(5, h2.request("/"))
        self.assertEqual(wire.answer(5).status, 200)

    def test_many_crumbs_count_as_fields(self):
        wire = self.client()
        wire.headers(1, h2.request("/") + [("cookie", "a=%d" % n) for n in range(120)])
        self.assertEqual(wire.answer(1).status, 431)

    def test_half_a_header_block_ends(self):
        weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": {"header_timeout": "300ms"}}}))
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        wire.headers(1, h2.request("/"))
        self.assertEqual(wire.answer(1).status, 200)
        wire.send(h2.frame(h2.HEADERS, h2.END_STREAM, 3, h2.block(h2.request("/"))))
        wire.until_gone()
        self.assertGreater(weir.metric("weir_h2_glitches_total", listener="http", reason="idle_stream"), 0)

    def test_half_a_preface_ends(self):
        weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": {"header_timeout": "300ms"}}}))
        wire = self.enter(h2.client(("127.0.0.1", weir.port), preface=False))
        wire.sock.sendall(h2.PREFACE[:12])
        wire.until_gone()

    def test_an_answer_that_nobody_reads_is_given_up(self):
        weir = self.start(one_pool(self.up.address, listeners={"http": {"limits": {"idle_timeout": "500ms"}}}))
        wire = self.enter(h2.client(("127.0.0.1", weir.port), window=0))
        for stream in range(1, 100, 2):
            wire.headers(stream, h2.request("/m/big/1000000"))
        wire.until(lambda: sum(1 for m in wire.messages.values() if m.reset is not None) == 50)
        until(lambda: weir.metric("weir_http_requests_in_flight") == 0)

    def test_memory_of_zero_window_readers_is_bounded(self):
        memory = self.weir.rss()
        wires = [self.client(window=0) for _ in range(4)]
        for wire in wires:
            for stream in range(1, 200, 2):
                wire.headers(stream, h2.request("/m/big/4000000"))
        until(lambda: len(self.asked_for("/m/big/4000000")) == 400, 30)
        for wire in wires:
            wire.sync()
        time.sleep(0.5)
        self.assertLess(self.weir.rss() - memory, 64 << 20)


if __name__ == "__main__":
    unittest.main()

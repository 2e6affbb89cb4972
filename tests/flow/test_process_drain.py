"""Leaving in order, with what lasts: tunnels, events and long polls are told to go, go on to the deadline, and are seen to be cut there."""

import signal
import time
import unittest

from harness import SLOW, Case, get, one_pool, until, websocket

import h2
from test_h2_streaming import connect

DEADLINE = 30       # seconds from SIGTERM, weir's own


class Lasting(Case):
    limit = 90

    def setUp(self):
        self.up = self.upstream()
        self.weir = self.start(one_pool(self.up.address, pool={"timeouts": {"first_byte": "90s", "idle": "90s"}}, workers=1))

    def leave(self):
        self.left = time.monotonic()
        self.weir.tell(signal.SIGTERM)
        until(lambda: self.weir.admin("GET", "/readyz").status == 503, 5)

    def client(self):
        client = self.enter(self.weir.client(timeout=60))
        return client

    def wire(self):
        return self.enter(h2.client(("127.0.0.1", self.weir.port), timeout=60 * SLOW))

    def tunnel(self):
        client = self.client()
        client.send(websocket())
        self.assertEqual(client.answer(upgrade=True).status, 101)
        return client

    def tunnel_h2(self):
        wire = self.wire()
        wire.headers(1, connect(), end=False)
        wire.until(lambda: wire.message(1).fields)
        self.assertEqual(wire.message(1).status, 200)
        return wire

    def events(self):
        client = self.client()
        client.send(get("/m/sse/1000"))
        self.assertEqual(client.head().status, 200)
        return client

    def events_h2(self):
        wire = self.wire()
        wire.headers(1, h2.request("/m/sse/1000"))
        wire.until(lambda: wire.message(1).fields)
        return wire

    def polls(self, path):
        """One of each version, asked and not answered."""
        client, wire = self.client(), self.wire()
        client.send(get(path))
        wire.headers(1, h2.request(path))
        until(lambda: len([s for s in self.up.seen if s.target == path.encode()]) == 2)
        return client, wire

    def ends(self, client):
        """Nothing more comes but the connection's end."""
        while client.fill():
            pass
        return client.buf

    def test_all_of_it_goes_on_to_the_deadline_and_is_cut_there(self):
        idle, idle_h2 = self.client(), self.wire()
        self.assertEqual(idle.ask(get("/")).status, 200)
        idle_h2.headers(1, h2.request("/"))
        self.assertEqual(idle_h2.answer(1).status, 200)
        tunnel, tunnel_h2, events, events_h2 = self.tunnel(), self.tunnel_h2(), self.events(), self.events_h2()
        poll, poll_h2 = self.polls("/m/wait")
        late, late_h2 = self.polls("/m/delay/3000")
        self.leave()

        # Who has nothing to wait for is gone at once, the others are told.
        self.assertTrue(idle.is_closed(5))
        self.assertEqual(idle_h2.until_gone().code, h2.NO_ERROR)
        for wire in (tunnel_h2, events_h2, poll_h2):
            wire.until(lambda: len([f for f in wire.frames if f.kind == h2.GOAWAY]) == 2)
            notice, last = [f for f in wire.frames if f.kind == h2.GOAWAY]
            self.assertEqual((notice.code, notice.payload[:4]), (h2.NO_ERROR, b"\x7f\xff\xff\xff"))
            self.assertEqual((last.code, last.payload[:4]), (h2.NO_ERROR, b"\0\0\0\1"))
        seen = len(self.up.seen)
        poll_h2.headers(3, h2.request("/too-late"))     # behind the last GOAWAY: nobody's

        answer = late.answer()
        self.assertEqual((answer.status, answer.one("connection")), (200, "close"))
        self.assertEqual((late_h2.answer(1).status, late_h2.message(1).is_ended), (200, True))
        late_h2.until_gone()

        told = 0
        while time.monotonic() - self.left < DEADLINE - 6:
            told += 1
            tunnel.send(b"ping")
            self.assertEqual(tunnel.exactly(4), b"ping")
            tunnel_h2.data(1, b"ping")
            tunnel_h2.until(lambda: tunnel_h2.message(1).body == b"ping" * told)
            self.up.advance()
            events_h2.until(lambda: events_h2.message(1).body.count(b"\n\n") == told)
            self.event(events)
            time.sleep(2)
        self.assertIsNone(self.weir.process.poll())
        self.assertEqual(len(self.up.seen), seen)

        self.assertEqual(self.weir.process.wait(DEADLINE * SLOW), 0)
        self.assertGreater(time.monotonic() - self.left, DEADLINE - 2)
        self.assertEqual(self.ends(tunnel), b"")
        self.assertNotIn(b"0\r\n\r\n", self.ends(events))       # cut, not ended
        self.assertFalse(self.ends(poll).startswith(b"HTTP/1.1 200"))
        for wire in (tunnel_h2, events_h2, poll_h2):
            wire.until_gone()
            self.assertFalse(wire.message(1).is_ended, wire.message(1))

    def event(self, client):
        """One event, which is a chunk of its own."""
        size = int(client.line(), 16)
        text = client.exactly(size + 2)
        self.assertTrue(text.startswith(b"data: "), text)
        return 1

    def check_it_ends_soon(self):
        self.assertEqual(self.weir.process.wait(8 * SLOW), 0)
        self.assertLess(time.monotonic() - self.left, 8 * SLOW)

    def test_the_last_tunnels_end_is_the_drains(self):
        tunnel, tunnel_h2 = self.tunnel(), self.tunnel_h2()
        self.leave()
        tunnel.half_close()
        self.assertEqual(tunnel.exactly(3), b"bye")
        self.assertIsNone(self.weir.process.poll())
        tunnel_h2.data(1, b"", end=True)
        tunnel_h2.until(lambda: tunnel_h2.message(1).is_over)
        self.check_it_ends_soon()

    def test_an_upstream_that_ends_its_events_ends_the_drain(self):
        events, events_h2 = self.events(), self.events_h2()
        self.leave()
        self.up.advance()
        self.event(events)
        events_h2.until(lambda: events_h2.message(1).body)
        self.up.drop_connections()
        self.check_it_ends_soon()
        self.assertNotIn(b"0\r\n\r\n", self.ends(events))
        with self.assertRaises((h2.Gone, AssertionError)):
            events_h2.until(lambda: events_h2.message(1).is_ended)

    def test_a_poll_that_is_answered_ends_the_drain(self):
        poll, poll_h2 = self.polls("/m/wait")
        self.leave()
        self.up.go.set()
        answer = poll.answer()
        self.assertEqual((answer.status, answer.body, answer.one("connection")), (200, b"went\n", "close"))
        self.assertEqual(poll_h2.answer(1).body, b"went\n")
        self.check_it_ends_soon()

    def test_streams_begun_between_the_notice_and_the_last_word_are_served(self):
        wire = self.wire()
        wire.headers(1, h2.request("/m/delay/1000"))
        until(lambda: self.up.seen)
        self.leave()
        wire.until(lambda: wire.goaway)
        wire.headers(3, h2.request("/meanwhile"))
        self.assertEqual(wire.answer(3).status, 200)
        self.assertEqual(wire.answer(1).status, 200)
        wire.until_gone()
        self.check_it_ends_soon()

    def test_a_client_that_leaves_ends_the_drain(self):
        tunnel, events_h2 = self.tunnel(), self.events_h2()
        self.leave()
        tunnel.close()
        events_h2.reset(1)
        self.check_it_ends_soon()


if __name__ == "__main__":
    unittest.main()

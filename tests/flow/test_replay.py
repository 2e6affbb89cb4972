"""Bodies that came after their head are sent again: all of what had left, in every framing, and only where that is allowed."""

import struct
import unittest

from harness import Case, get, one_pool, post, until, upstream as fake

import h2

BODY = fake.pattern(5000)       # longer than what is kept beside a head: it always comes "later"


def chunks(*parts, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + end


def put(method="PUT", **fields):
    return get("/x", method=method, transfer_encoding="chunked", **fields)


class Replay(Case):
    limit = 60

    def pool(self, *ups, retry=None, pool=None, **more):
        retry = dict({"on": ["connect", 503], "max": 1, "budget": "100%"}, **(retry or {}))
        return self.start(one_pool(*[u.address for u in ups], pool=dict(
            {"balance": "round_robin", "retry": retry, "outliers": {"consecutive": 1000}}, **(pool or {})), workers=1, **more))

    def bad_and_good(self, mood, good="echo", **options):
        bad, good = self.upstream(mood, name="bad"), self.upstream(good, name="good")
        return bad, good, self.pool(bad, good, **options)

    def until_bad(self, bad, ask):
        """Asks until the endpoint that fails was the first one."""
        for _ in range(2):
            answer = ask()
            if bad.seen:
                return answer
        self.fail("the bad endpoint was never asked")

    def lost(self, weir, reason="too_long"):
        return weir.metric("weir_pool_replay_lost_total", pool="app", reason=reason)

    def replays(self, weir):
        return weir.metric("weir_pool_replays_total", pool="app")


class Http1(Replay):
    def test_a_whole_body_goes_elsewhere_however_the_first_one_failed(self):
        bad, good, weir = self.bad_and_good("hello")
        for kind in ("reset", "close", "503"):
            for request in (post("/x", BODY, method="PUT"), put() + chunks(BODY[:1000], BODY[1000:])):
                with self.subTest(kind=kind, head=request[:60]):
                    bad.mood = "part/5000/" + kind
                    bad.forget()
                    good.forget()
                    before = self.replays(weir)
                    answer = self.until_bad(bad, lambda: weir.ask(request))
                    self.assertEqual(answer.status, 200, answer)
                    self.assertEqual(answer.json()["body"], BODY.decode())
                    self.assertEqual(good.faults, [])
                    self.assertEqual(self.replays(weir), before + 1)
        self.assertEqual(self.lost(weir), 0)

    def test_the_rest_follows_what_was_kept(self):
        for kind in ("reset", "503"):
            bad, good, weir = self.bad_and_good("part/3000/" + kind)

            def ask(end):
                with weir.client() as client:
                    seen = len(good.seen)
                    client.send(put(te="trailers", connection="te") + chunks(BODY[:3000], end=b""))
                    until(lambda: len(good.seen) > seen)        # the first or the second attempt
                    client.send(chunks(BODY[3000:], end=end))
                    return client.answer()
            with self.subTest(kind=kind):
                answer = self.until_bad(bad, lambda: ask(b"0\r\nx-sum: 7\r\n\r\n"))
                self.assertEqual((answer.status, answer.json()["body"]), (200, BODY.decode()))
                self.assertEqual(good.seen[-1].trailers, [(b"x-sum", b"7")])
                self.assertEqual(good.faults, [])
                self.assertEqual(self.replays(weir), 1)

    def test_trailers_that_have_left_are_sent_again(self):
        bad, good, weir = self.bad_and_good("part/5020/reset")
        request = put(te="trailers", connection="te") + chunks(BODY, end=b"0\r\nx-sum: 7\r\n\r\n")
        answer = self.until_bad(bad, lambda: weir.ask(request))
        self.assertEqual((answer.status, answer.json()["trailers"]), (200, [["x-sum", "7"]]))
        self.assertEqual(good.faults, [])

    def test_several_attempts_get_the_same(self):
        ups = [self.upstream("part/5000/reset", name="bad%d" % i) for i in range(3)]
        good = self.upstream("echo", name="good")
        weir = self.pool(*ups, good, retry={"max": 3})
        for _ in range(4):
            answer = weir.ask(put() + chunks(BODY))
            self.assertEqual((answer.status, answer.json()["body"]), (200, BODY.decode()))
        self.assertEqual(good.faults, [])

    def test_a_body_that_outgrows_the_bound_is_not_sent_again(self):
        bad, good, weir = self.bad_and_good("part/9000/reset", retry={"replay": "8KiB"})
        long = fake.pattern(8193)
        lost = 0
        for request in (post("/x", long + b"more" * 300, method="PUT"), put() + chunks(long[:5000], long[5000:] + b"more" * 300)):
            lost += 1
            bad.forget()
            self.until_bad(bad, lambda: self.ask_502_or_200(weir, request))
            self.assertGreaterEqual(self.lost(weir), lost)
        self.assertEqual(self.replays(weir), 0)
        # to the byte
        bad.mood = "part/8192/reset"
        bad.forget()
        answer = self.until_bad(bad, lambda: weir.ask(put() + chunks(long[:8192])))
        self.assertEqual((answer.status, answer.json()["body_length"]), (200, 8192))
        self.assertEqual(self.replays(weir), 1)

    def ask_502_or_200(self, weir, request):
        """502 when the bad endpoint had it."""
        answer = weir.ask(request)
        self.assertIn(answer.status, (200, 502))
        return answer

    def test_what_may_not_be_repeated_is_not_kept(self):
        bad, good, weir = self.bad_and_good("part/5000/reset")
        answer = self.until_bad(bad, lambda: weir.ask(put("POST") + chunks(BODY)))
        self.assertEqual(answer.status, 502)
        self.assertEqual((self.replays(weir), self.lost(weir)), (0, 0))
        self.assertEqual([s.is_complete for s in good.seen], [True] * len(good.seen))

    def test_zero_keeps_nothing(self):
        bad, good, weir = self.bad_and_good("part/5000/reset", retry={"replay": "0"})
        self.assertEqual(self.until_bad(bad, lambda: weir.ask(put() + chunks(BODY))).status, 502)
        self.assertEqual(self.replays(weir), 0)

    def test_nothing_is_kept_where_nothing_is_tried_again(self):
        bad, good, weir = self.bad_and_good("part/5000/reset", retry={"max": 0})
        self.assertEqual(self.until_bad(bad, lambda: weir.ask(put() + chunks(BODY))).status, 502)
        self.assertEqual((self.replays(weir), self.lost(weir)), (0, 0))

    def test_a_kept_connection_that_had_closed_is_nobodys_fault(self):
        up = self.upstream("close-on-second")
        weir = self.pool(up, retry={"max": 0})
        for _ in range(3):
            self.assertEqual(weir.ask(put() + chunks(BODY)).status, 200)
        self.assertGreater(self.replays(weir), 0)
        self.assertEqual(up.faults, [])

    def test_a_slow_attempt_is_given_up_from_the_bodys_end_on(self):
        bad, good, weir = self.bad_and_good("part/5000/hang", retry={"per_try": "200ms"},
                                            pool={"timeouts": {"first_byte": "30s"}})
        answer = self.until_bad(bad, lambda: weir.ask(put() + chunks(BODY)))
        self.assertEqual((answer.status, answer.json()["body"]), (200, BODY.decode()))
        self.assertEqual(weir.metric("weir_upstream_errors_total", endpoint=bad.address, reason="first_byte_timeout"), 1)

    def test_the_client_is_told_to_go_on_once(self):
        bad, good, weir = self.bad_and_good("part/5000/reset")

        def ask():
            with weir.client() as client:
                client.send(put(expect="100-continue"))
                self.assertEqual(client.head().status, 100)
                client.send(chunks(BODY))
                return client.answer()
        answer = self.until_bad(bad, ask)
        self.assertEqual((answer.status, answer.interims, answer.json()["body"]), (200, [], BODY.decode()))

    def test_an_answer_that_has_begun_is_the_last(self):
        bad, good, weir = self.bad_and_good("stall-in-body", pool={"timeouts": {"idle": "300ms"}})
        answer = self.until_bad(bad, lambda: weir.ask(put() + chunks(BODY)))
        self.assertTrue(answer.broken)
        self.assertEqual(self.replays(weir), 0)

    def test_an_early_answer_ends_keeping(self):
        up = self.upstream("early-status/413")
        weir = self.pool(up)
        with weir.client() as client:
            client.send(put() + chunks(BODY, end=b""))
            self.assertEqual(client.answer().status, 413)
        self.assertEqual(weir.ask(get("/m/hello")).status, 200)
        self.assertEqual((self.replays(weir), self.lost(weir)), (0, 0))

    def test_a_client_may_leave_between_the_attempts(self):
        bad, good, weir = self.bad_and_good("part/3000/reset", good="deaf")
        for _ in range(4):
            good.forget()
            with weir.client() as client:
                client.send(put() + chunks(BODY[:3000], end=b""))
                until(lambda: good.seen)
        until(lambda: weir.metric("weir_http_requests_in_flight") == 0)

    def test_a_slow_upstream_gets_it_all_the_same(self):
        """What is sent again is more than its socket takes at once."""
        body = fake.pattern(250000)
        bad, good, weir = self.bad_and_good("part/250000/reset", good="deaf", retry={"replay": "256KiB"})
        good.go.set()
        answer = self.until_bad(bad, lambda: weir.ask(put() + chunks(body[:100000], body[100000:])))
        self.assertEqual((answer.status, answer.json()["length"]), (200, 250000))
        self.assertEqual(good.faults, [])


class Http2(Replay):
    def h2_upstream(self, serve=None, **options):
        up = h2.Upstream(serve, **options)
        self.addCleanup(up.close)
        self.addCleanup(lambda: self.assertEqual(up.errors, []))
        return up

    def client(self, weir):
        return self.enter(h2.client(("127.0.0.1", weir.port)))

    def ask(self, weir, method, body=BODY, trailers=None):
        wire = self.client(weir)
        wire.headers(1, h2.request("/x", method, "t", "http", ("te", "trailers")), end=False)
        wire.data(1, body, end=trailers is None)
        if trailers:
            wire.headers(1, trailers)
        return wire.answer(1)

    def failing_first(self, fail, **options):
        """An upstream whose first request is failed by `fail` once its body is there, all others echoed."""
        state = {"failed": 0}

        def serve(wire, stream, message):
            if not state["failed"]:
                state["failed"] += 1
                fail(wire, stream)
            else:
                h2.echo(wire, stream, message)
        return self.h2_upstream(serve, **options)

    def test_a_client_of_http_2_and_an_endpoint_of_http_1(self):
        for kind in ("reset", "close", "503"):
            bad, good, weir = self.bad_and_good("part/5000/" + kind)
            with self.subTest(kind=kind):
                answer = self.until_bad(bad, lambda: self.ask(weir, "PUT", trailers=[("x-sum", "9")]))
                self.assertEqual(answer.status, 200)
                self.assertEqual((good.seen[-1].body, good.seen[-1].trailers), (BODY, [(b"x-sum", b"9")]))
                self.assertEqual(good.faults, [])
                self.assertEqual(self.replays(weir), 1)

    def test_the_rest_of_a_stream_follows_what_was_kept(self):
        bad, good, weir = self.bad_and_good("part/3000/reset")

        def ask():
            wire, seen = self.client(weir), len(good.seen)
            wire.headers(1, h2.request("/x", "PUT"), end=False)
            wire.data(1, BODY[:3000])
            until(lambda: len(good.seen) > seen)
            wire.data(1, BODY[3000:], end=True)
            return wire.answer(1)
        self.assertEqual(self.until_bad(bad, ask).status, 200)
        self.assertEqual(good.seen[-1].body, BODY)
        self.assertEqual(good.faults, [])

    def test_a_refused_stream_is_repeated_whatever_its_method(self):
        for method in ("POST", "PUT"):
            up = self.failing_first(lambda wire, stream: wire.reset(stream, h2.REFUSED_STREAM))
            weir = self.pool(up, pool={"protocol": "h2"})
            with self.subTest(method=method, client=2):
                answer = self.ask(weir, method, trailers=[("x-sum", "9")])
                self.assertEqual((answer.status, answer.body), (200, BODY))
                self.assertEqual(up.requests[-1].trailers, [("x-sum", "9")])
                self.assertEqual(self.replays(weir), 1)
            up = self.failing_first(lambda wire, stream: wire.reset(stream, h2.REFUSED_STREAM))
            weir = self.pool(up, pool={"protocol": "h2"})
            with self.subTest(method=method, client=1):
                answer = weir.ask(put(method, te="trailers", connection="te") + chunks(BODY, end=b"0\r\nx-sum: 9\r\n\r\n"))
                self.assertEqual((answer.status, answer.body), (200, BODY))
                self.assertEqual(up.requests[-1].trailers, [("x-sum", "9")])

    def test_who_says_goodbye_unread_is_no_failure(self):
        """GOAWAY by which no stream was looked at, while the body is on its way."""
        for method in ("POST", "PUT"):
            state = {"failed": 0}

            def serve(wire, stream, message):
                if not state["failed"]:
                    state["failed"] += 1
                    wire.until(lambda: len(message.body) >= 3000)
                    wire.send(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
                else:
                    wire.until(lambda: message.is_ended)
                    h2.echo(wire, stream, message)
            up = self.h2_upstream(serve, early=True)
            weir = self.pool(up, retry={"max": 0}, pool={"protocol": "h2"})
            with self.subTest(method=method):
                wire = self.client(weir)
                wire.headers(1, h2.request("/x", method), end=False)
                wire.data(1, BODY[:3000])
                until(lambda: len(up.wires) == 2)
                wire.data(1, BODY[3000:], end=True)
                answer = wire.answer(1)
                self.assertEqual((answer.status, answer.body), (200, BODY))
                self.assertEqual(weir.metric("weir_upstream_errors_total", reason="reset") or 0, 0)

    def test_a_reset_is_repeated_only_where_it_may_be(self):
        for method, status in (("POST", 502), ("PUT", 200)):
            up = self.failing_first(lambda wire, stream: wire.reset(stream, h2.INTERNAL_ERROR))
            weir = self.pool(up, pool={"protocol": "h2"})
            with self.subTest(method=method):
                answer = self.ask(weir, method)
                self.assertEqual(answer.status, status)
                self.assertEqual(self.replays(weir), int(status == 200))

    def test_a_long_message_is_not_kept(self):
        up = self.failing_first(lambda wire, stream: wire.reset(stream, h2.REFUSED_STREAM))
        weir = self.pool(up, retry={"replay": "4KiB"}, pool={"protocol": "h2"})
        self.assertEqual(self.ask(weir, "POST").status, 502)
        self.assertEqual((self.replays(weir), self.lost(weir)), (0, 1))

    def test_an_end_without_a_body_is_repeated_too(self):
        """HEADERS, then an empty DATA: the end comes apart from the head."""
        for protocol in ("h1", "h2"):
            if protocol == "h2":
                up = self.failing_first(lambda wire, stream: wire.reset(stream, h2.REFUSED_STREAM))
                weir = self.pool(up, pool={"protocol": "h2"})
            else:
                up = self.upstream("part/5/reset", name="bad")
                good = self.upstream("echo", name="good")
                weir = self.pool(up, good)
            with self.subTest(protocol=protocol):
                for _ in range(2):
                    self.assertEqual(self.ask(weir, "PUT", b"").status, 200)
                if protocol == "h1":
                    self.assertEqual((good.faults, len(up.seen) > 0), ([], True))
                    self.assertTrue(all(s.is_complete for s in good.seen))


if __name__ == "__main__":
    unittest.main()

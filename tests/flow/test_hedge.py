"""A second attempt beside a slow first one: who gets it, who wins, what is charged, and what it may cost."""

import time
import unittest

from harness import SLOW, Case, get, one_pool, post, until

import h2


class Hedge(Case):
    limit = 60

    def weir_to(self, *ups, retry=None, pool=None, **more):
        retry = dict({"hedge": "100ms", "budget": "100%", "on": ["connect", 503]}, **(retry or {}))
        return self.start(one_pool(*[u.address for u in ups], pool=dict(
            {"balance": "round_robin", "retry": retry, "timeouts": {"first_byte": "20s"}}, **(pool or {})), workers=1, **more))

    def hedges(self, weir, result):
        return weir.metric("weir_pool_hedges_total", pool="app", result=result)

    def pair(self, slow, quick="hello", **options):
        slow, quick = self.upstream(slow, name="slow"), self.upstream(quick, name="quick")
        return slow, quick, self.weir_to(slow, quick, **options)

    def all_over(self, weir):
        """Nothing is left of any attempt."""
        until(lambda: weir.metric("weir_endpoint_in_flight") == 0 and weir.metric("weir_http_requests_in_flight") == 0)


class Http1(Hedge):
    def test_the_other_endpoint_answers_and_the_first_one_is_left(self):
        slow, quick, weir = self.pair("stall-before-head")
        began = time.monotonic()
        for _ in range(4):
            answer = weir.ask(get("/x"))
            self.assertEqual((answer.status, answer.one("x-upstream"), answer.body), (200, "quick", b"hello\n"))
        self.assertLess(time.monotonic() - began, 10)
        until(lambda: len(slow.waited) == len(slow.seen))       # its connections were closed
        self.assertGreater(len(slow.seen), 0)
        self.assertEqual(self.hedges(weir, "used"), len(slow.seen))
        self.assertEqual(self.hedges(weir, "lost") + self.hedges(weir, "failed"), 0)
        self.assertEqual(weir.metric("weir_http_requests_total"), 4)
        self.assertEqual(weir.metric("weir_upstream_retries_total"), len(slow.seen))
        self.assertEqual(weir.metric("weir_upstream_errors_total") or 0, 0)     # it has not failed
        until(lambda: len(weir.access()) == 4)
        self.assertEqual(sorted(line["weir.attempts"] for line in weir.access()),
                         sorted([1] * (4 - len(slow.seen)) + [2] * len(slow.seen)))
        self.all_over(weir)

    def test_it_goes_out_when_it_should(self):
        """Not with a tick of 50 ms: half of ten hedges are at most 12 ms late, in the best of a few tries."""
        slow, quick, weir = self.pair("stall-before-head", retry={"hedge": "20ms"})

        def lateness():
            began = time.monotonic()
            count = len(slow.seen)
            self.assertEqual(weir.ask(get("/x")).status, 200)
            return time.monotonic() - began - 0.020 if len(slow.seen) > count else None

        def median():
            late = sorted(t for t in (lateness() for _ in range(20)) if t is not None)
            return late[len(late) // 2]
        seen = []
        while not seen or min(seen) > 0.012 and len(seen) < 10:
            seen.append(median())
        self.assertLessEqual(min(seen), 0.012 * SLOW, seen)
        self.assertGreaterEqual(min(seen), 0)

    def test_who_is_sooner_wins(self):
        slow, quick, weir = self.pair("delay/400", "delay/5000")
        for _ in range(2):      # once each way round
            answer = weir.ask(get("/x"))
            self.assertEqual((answer.status, answer.body), (200, b"late\n"))
        self.assertEqual(len(slow.seen) + len(quick.seen), 4)
        self.assertEqual((self.hedges(weir, "used"), self.hedges(weir, "lost")), (1, 1))
        self.all_over(weir)

    def test_quick_ones_are_not_hedged(self):
        slow, quick, weir = self.pair("hello")
        for _ in range(20):
            self.assertEqual(weir.ask(get("/x")).status, 200)
        self.assertEqual(len(slow.seen) + len(quick.seen), 20)

    def test_only_what_is_safe_and_has_no_body(self):
        slow, quick, weir = self.pair("delay/500", "delay/500")
        for request, method, count in ((get("/x", method="DELETE"), "DELETE", 1), (post("/x", b"x"), "POST", 1),
                                       (post("/x", b"x", method="GET"), "GET", 1), (get("/x", method="HEAD"), "HEAD", 2)):
            with self.subTest(method=method):
                slow.forget()
                quick.forget()
                self.assertEqual(weir.ask(request, method).status, 200)
                self.assertEqual(len(slow.seen) + len(quick.seen), count)
        self.all_over(weir)

    def test_a_bad_answer_does_not_win(self):
        slow, quick, weir = self.pair("delay/600", "status/503")
        for _ in range(2):
            answer = weir.ask(get("/x"))
            self.assertEqual((answer.status, answer.body), (200, b"late\n"))
        self.assertEqual(weir.metric("weir_upstream_errors_total", endpoint=quick.address, reason="status"), len(quick.seen))
        self.all_over(weir)

    def test_a_hedge_that_fails_harms_nobody(self):
        slow, quick, weir = self.pair("delay/600", "reset-before-head", retry={"on": [503]})
        seen = set()
        for _ in range(4):
            seen.add(weir.ask(get("/x")).status)
        self.assertLessEqual(seen, {200, 502})  # 502: the one that resets was first, and nothing is retried
        self.assertGreater(self.hedges(weir, "failed"), 0)
        self.all_over(weir)

    def test_a_first_attempt_that_fails_leaves_it_to_the_hedge(self):
        """Each end of the first attempt, while the hedge is out."""
        for mood in ("part/0/hang", "dies"):
            quick = self.upstream("delay/700", name="quick")

            def dies(peer, seen, args):
                peer.body(seen)
                peer.upstream.stopping.wait(0.4)
                peer.reset()
            slow = self.upstream(dies if mood == "dies" else mood, name="slow")
            weir = self.weir_to(slow, quick, retry={"per_try": "400ms", "max": 1})
            with self.subTest(mood=mood):
                for _ in range(3):
                    answer = weir.ask(get("/x"))
                    self.assertEqual((answer.status, answer.body), (200, b"late\n"))
                    self.assertEqual(weir.ask(get("/m/hello")).status, 200)     # the other's turn
                until(lambda: weir.metric("weir_upstream_errors_total", endpoint=slow.address) == len(slow.seen))
                self.all_over(weir)

    def test_one_endpoint_has_no_other(self):
        up = self.upstream("delay/400")
        weir = self.weir_to(up)
        self.assertEqual(weir.ask(get("/x")).status, 200)
        self.assertEqual(len(up.seen), 1)

    def test_it_is_paid_for(self):
        slow, quick, weir = self.pair("delay/1000", "delay/1000", retry={"budget": "0%"})
        clients = [self.enter(weir.client()) for _ in range(60)]
        for client in clients:
            client.send(get("/x"))
        for client in clients:
            self.assertEqual(client.answer().status, 200)
        made = len(slow.seen) + len(quick.seen) - 60
        self.assertGreater(made, 0)
        self.assertLessEqual(made, 25)      # ten, and ten more each second
        self.all_over(weir)

    def test_a_client_may_leave_both(self):
        slow, quick, weir = self.pair("stall-before-head", "stall-before-head")
        with weir.client() as client:
            client.send(get("/x"))
            until(lambda: slow.seen and quick.seen)
        until(lambda: slow.waited and quick.waited)
        self.assertEqual(self.hedges(weir, "lost"), 1)
        self.all_over(weir)

    def test_both_time_out(self):
        slow, quick, weir = self.pair("stall-before-head", "stall-before-head", pool={"timeouts": {"first_byte": "500ms"}})
        self.assertEqual(weir.ask(get("/x")).status, 504)
        self.assertEqual((len(slow.seen), len(quick.seen)), (1, 1))
        self.all_over(weir)

    def test_an_endpoint_that_refuses_the_hedge_is_no_loss(self):
        slow, quick, weir = self.pair("delay/500")
        self.assertEqual(weir.ask(get("/x")).status, 200)
        quick.refuse()
        for _ in range(3):
            self.assertEqual(weir.ask(get("/x")).status, 200)
        self.all_over(weir)

    def test_the_pools_own_pace_says_what_is_slow(self):
        slow, quick, weir = self.pair("hello", retry={"hedge": "p95"})
        with weir.client() as client:
            client.send(get("/m/delay/300"))    # nothing is known yet: nothing is hedged
            self.assertEqual(client.answer().status, 200)
            self.assertEqual(len(slow.seen) + len(quick.seen), 1)

            def is_hedged():
                for _ in range(120):
                    self.assertEqual(client.ask(get("/x")).status, 200)
                before = len(slow.seen) + len(quick.seen)
                self.assertEqual(client.ask(get("/m/delay/300")).status, 200)
                return len(slow.seen) + len(quick.seen) == before + 2
            until(is_hedged, 20)
        self.assertEqual(weir.admin("GET", "/v1/config").status, 200)
        self.all_over(weir)

    def test_a_limit_leaves_no_place_for_it(self):
        slow, quick, weir = self.pair("delay/400", "delay/400", pool={"limits": {"in_flight": 1}})
        self.assertEqual(weir.ask(get("/x")).status, 200)
        self.assertEqual(len(slow.seen) + len(quick.seen), 1)
        self.all_over(weir)

    def test_it_works_for_clients_of_http_2(self):
        slow, quick, weir = self.pair("stall-before-head")
        wire = self.enter(h2.client(("127.0.0.1", weir.port)))
        for stream in (1, 3, 5):
            wire.headers(stream, h2.request("/x"))
        for stream in (1, 3, 5):
            answer = wire.answer(stream)
            self.assertEqual((answer.status, answer.body), (200, b"hello\n"))
        self.assertGreater(self.hedges(weir, "used"), 0)
        self.all_over(weir)


class Http2(Hedge):
    def up(self, serve):
        up = h2.Upstream(serve)
        self.addCleanup(up.close)
        return up

    def test_the_loser_is_cancelled(self):
        hung = self.up(lambda wire, stream, message: None)
        quick = self.up(h2.echo)
        weir = self.weir_to(hung, quick, pool={"protocol": "h2"})
        for _ in range(4):
            answer = weir.ask(get("/x"))
            self.assertEqual((answer.status, answer.body), (200, b"hello"))
        until(lambda: hung.requests and all(m.reset == h2.CANCEL for m in hung.requests))
        self.assertEqual(self.hedges(weir, "used"), len(hung.requests))
        self.assertEqual(len(hung.wires), 1)        # and its session goes on
        self.all_over(weir)

    def test_a_session_that_dies_takes_one_of_the_two(self):
        """Of the first attempts' session, then of the hedges'."""
        for victim in (0, 1):
            seen = []       # in this order: the first attempt, its hedge

            def serve(wire, stream, message):
                seen.append(wire)
            a, b = self.up(serve), self.up(serve)
            weir = self.weir_to(a, b, pool={"protocol": "h2"})
            with self.subTest(victim=victim):
                with weir.client() as client:
                    client.send(get("/x"))
                    until(lambda: len(seen) == 2)
                    dead, alive = seen[victim], seen[1 - victim]
                    dead.sock.shutdown(2)
                    until(lambda: (weir.metric("weir_endpoint_in_flight") or 0) == 1)
                    alive.headers(1, [(":status", "200"), ("content-length", "2")], end=False)
                    alive.data(1, b"ok", end=True)
                    answer = client.answer()
                    self.assertEqual((answer.status, answer.body), (200, b"ok"))
                self.all_over(weir)


if __name__ == "__main__":
    unittest.main()

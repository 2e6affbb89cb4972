"""Endpoints that go and come back, and weir's own goodbye."""

import signal
import time
import unittest

from harness import Case, Client, Closed, Load, SLOW, get, one_pool, post, until


class Refusal(Case):
    limit = 60

    def test_no_client_sees_a_refused_endpoint_and_it_comes_back(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={"balance": "round_robin", "retry": {"on": ["connect"], "max": 1, "budget": "100%"}}))
        with Load(weir.address, clients=2) as load:
            a.refuse()
            until(lambda: weir.metric("weir_endpoint_up", endpoint=a.address) == 0, 10, "taken out")
            self.assertEqual(weir.metric("weir_endpoint_up", endpoint=b.address), 1)
            a.listen_again()
            until(lambda: weir.metric("weir_endpoint_up", endpoint=a.address) == 1, 15, "taken in again")
            count = len(a.seen)
            until(lambda: len(a.seen) > count + 10, 10, "it gets requests again")
        self.assertEqual(load.failures, [])
        self.assertGreater(weir.metric("weir_upstream_errors_total", endpoint=a.address, reason="connect_refused"), 0)

    def test_an_endpoint_that_is_killed_under_load_costs_get_nothing(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address))
        with Load(weir.address, clients=2) as load:
            before = load.done
            until(lambda: load.done > before + 100)
            b.refuse()
            before = load.done
            until(lambda: load.done > before + 200)
        # A connection that breaks inside an answer cannot be mended; one per client at most.
        self.assertLessEqual(len(load.failures), 2, load.failures)

    def test_when_all_are_down_it_is_said_and_ends_when_one_is_back(self):
        a = self.upstream("hello", name="a")
        weir = self.start(one_pool(a.address))
        self.assertEqual(weir.ask().status, 200)
        a.refuse()
        for _ in range(5):
            self.assertIn(weir.ask().status, (502, 503))
        a.listen_again()
        until(lambda: weir.ask().status == 200, 10)

    def test_post_is_tried_elsewhere_only_when_nothing_was_sent(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={"balance": "round_robin"}))
        a.refuse()
        for _ in range(6):
            self.assertEqual(weir.ask(post("/", b"x" * 100)).one("x-upstream"), "b")

    def test_a_status_that_is_retried_is_answered_by_another(self):
        a, b = self.upstream("status/503", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={"balance": "round_robin", "retry": {"on": ["connect", 503], "max": 1, "budget": "100%"}}))
        for _ in range(10):
            self.assertEqual(weir.ask().status, 200)
        for _ in range(4):
            weir.ask(post("/", b"x"))
        bodies = [s for s in a.seen + b.seen if s.method == b"POST"]
        self.assertEqual(len(bodies), 4, "POST was repeated")

    def test_retries_keep_to_their_budget(self):
        a, b = self.upstream("status/503", name="a"), self.upstream("status/503", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={"retry": {"on": [503], "max": 5, "budget": "20%"}}))
        began = time.monotonic()
        for _ in range(200):
            self.assertEqual(weir.ask().status, 503)
        # a share of the requests, and ten a second on top
        self.assertLessEqual(len(a.seen) + len(b.seen), 200 * 1.2 + 10 * (time.monotonic() - began) + 11)
        self.assertEqual(weir.metric("weir_http_requests_total", code="503"), 200)

    def test_500s_of_the_upstream_pass_and_are_counted(self):
        a = self.upstream("status/500", name="a")
        weir = self.start(one_pool(a.address))
        for _ in range(5):
            self.assertEqual(weir.ask().status, 500)
        until(lambda: weir.metric("weir_http_requests_total", code="500") == 5, 3)


class Drain(Case):
    limit = 60

    def begin(self, count=50):
        self.up = self.upstream("wait")
        self.weir = self.start(one_pool(self.up.address))
        self.clients = []
        for _ in range(count):
            client = self.weir.client(timeout=30)
            self.addCleanup(client.close)
            client.send(get("/"))
            self.clients.append(client)
        self.assertTrue(self.up.wait(lambda: len(self.up.complete()) == count))

    def test_50_slow_requests_finish_with_200_and_the_exit_is_0(self):
        self.begin()
        self.weir.tell(signal.SIGTERM)
        until(lambda: self.weir.admin("GET", "/readyz").status == 503, 5, "/readyz 503 while draining")
        self.assertEqual(self.weir.admin("GET", "/healthz").status, 200)
        self.assertIsNone(self.weir.process.poll())

        def is_refused():
            try:
                with Client(self.weir.address, timeout=2) as client:
                    answer = client.ask(get("/"))
                    return answer.status == 503 and answer.one("connection") == "close"
            except (Closed, OSError):
                return True
        self.assertTrue(is_refused(), "a new connection was served while draining")
        self.up.go.set()
        for client in self.clients:
            answer = client.answer()
            self.assertEqual((answer.status, answer.body, answer.broken), (200, b"went\n", None))
        self.weir.stop()

    def test_kept_connections_without_a_request_do_not_hold_it_up(self):
        self.begin(2)
        idle = [self.weir.client() for _ in range(10)]
        self.up.go.set()
        for client in self.clients:
            client.answer()
        began = time.monotonic()
        self.weir.stop()
        self.assertLess(time.monotonic() - began, 4 * SLOW)
        for client in idle:
            client.close()

    def test_sigint_stops_now(self):
        self.begin(5)
        began = time.monotonic()
        self.weir.tell(signal.SIGINT)
        self.weir.process.wait(5 * SLOW)
        self.assertLess(time.monotonic() - began, 4 * SLOW)
        self.weir.stop(code=None)

    def test_a_second_sigterm_stops_now(self):
        self.begin(5)
        self.weir.tell(signal.SIGTERM)
        until(lambda: self.weir.admin("GET", "/readyz").status == 503, 5)
        self.weir.tell(signal.SIGTERM)
        self.weir.process.wait(5 * SLOW)
        self.weir.stop(code=None)

    def test_sigquit_drains_too(self):
        self.begin(3)
        self.weir.tell(signal.SIGQUIT)
        until(lambda: self.weir.admin("GET", "/readyz").status == 503, 5)
        self.up.go.set()
        for client in self.clients:
            self.assertEqual(client.answer().status, 200)
        self.weir.stop()

    def test_under_load_every_accepted_request_is_answered(self):
        up = self.upstream("hello")
        weir = self.start(one_pool(up.address))
        with Load(weir.address, clients=4) as load:
            before = load.done
            until(lambda: load.done > before + 200)
            weir.tell(signal.SIGTERM)
            weir.process.wait(15 * SLOW)
            load.finish()
        # What fails then is a connection that was never accepted or that ended between two requests.
        self.assertFalse([f for f in load.failures if not f.startswith(("ConnectionRefused", "Closed", "ConnectionReset", "BrokenPipe")) and "503" not in f], load.failures)


if __name__ == "__main__":
    unittest.main()

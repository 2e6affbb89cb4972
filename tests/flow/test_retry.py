"""Further attempts: elsewhere, only of what may be repeated, paid for, and no storm."""

import time
import unittest

from harness import Case, get, one_pool, post, until


def pool(*ups, retry=None, **more):
    return one_pool(*[u.address for u in ups], pool=dict(
        {"balance": "round_robin", "retry": dict({"on": ["connect", 503], "budget": "100%"}, **(retry or {}))}, **more))


class Retry(Case):
    limit = 60

    def test_no_endpoint_is_tried_twice_while_there_is_another(self):
        bad = [self.upstream("status/503", name="bad%d" % i) for i in range(3)]
        good = self.upstream("hello", name="good")
        weir = self.start(pool(*bad, good, retry={"max": 3}))
        for _ in range(5):    # what they earn and the reserve pay for three each
            self.assertEqual(weir.ask().status, 200)
        for up in bad:
            self.assertLessEqual(len(up.seen), 5)

    def test_a_further_attempt_takes_nobodys_turn(self):
        a, b = self.upstream("status/503", name="a"), self.upstream("hello", name="b")
        weir = self.start(pool(a, b))
        for _ in range(100):
            self.assertEqual(weir.ask().status, 200)
        self.assertEqual((len(a.seen), len(b.seen)), (50, 100))

    def test_the_endpoint_is_charged_and_the_client_is_not(self):
        a, b = self.upstream("reset-before-head", name="a"), self.upstream("hello", name="b")
        weir = self.start(pool(a, b))
        for _ in range(8):
            self.assertEqual(weir.ask().status, 200)
        self.assertGreater(weir.metric("weir_upstream_errors_total", endpoint=a.address), 0)
        self.assertEqual(weir.metric("weir_upstream_retries_total", endpoint=b.address),
                         weir.metric("weir_upstream_errors_total", endpoint=a.address))
        self.assertEqual(weir.metric("weir_http_requests_total"), 8)
        self.assertEqual(weir.metric("weir_http_requests_total", code="200"), 8)

    def test_a_slow_attempt_is_given_up_for_another_one(self):
        a, b = self.upstream("stall-before-head", name="a"), self.upstream("hello", name="b")
        weir = self.start(pool(a, b, retry={"per_try": "100ms"}, timeouts={"first_byte": "2s"}))
        for _ in range(4):
            began = time.monotonic()
            self.assertEqual(weir.ask().one("x-upstream"), "b")
            self.assertLess(time.monotonic() - began, 1.5)
        self.assertEqual(weir.metric("weir_upstream_errors_total", endpoint=a.address, reason="first_byte_timeout"), 2)
        # what may not be repeated is waited for
        statuses, began = set(), time.monotonic()
        for _ in range(2):
            statuses.add(weir.ask(post("/", b"x")).status)
        self.assertEqual(statuses, {200, 504})
        self.assertGreater(time.monotonic() - began, 1.9)

    def test_the_last_attempt_has_all_the_time(self):
        a = self.upstream("stall-before-head", name="a")
        weir = self.start(pool(a, retry={"per_try": "100ms", "max": 1}, timeouts={"first_byte": "1s"}))
        began = time.monotonic()
        self.assertEqual(weir.ask().status, 504)
        self.assertGreater(time.monotonic() - began, 1.0)
        self.assertEqual(len(a.seen), 2)

    def test_a_client_may_leave_while_its_request_rests(self):
        a = self.upstream("status/503", name="a")
        weir = self.start(pool(a, retry={"max": 5}))
        for _ in range(10):
            with weir.client() as client:
                client.send(get())
                until(lambda: a.seen)
        self.assertEqual(weir.ask().status, 503)
        until(lambda: weir.metric("weir_http_requests_in_flight") == 0)


class Trial(Case):
    limit = 60

    def test_after_an_ejection_one_request_finds_out(self):
        a, b = self.upstream("status/500", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={
            "balance": "round_robin", "retry": {"max": 0}, "outliers": {"consecutive": 3, "eject": "1s"}}))
        for _ in range(10):
            weir.ask()
        self.assertEqual(weir.metric("weir_endpoint_up", endpoint=a.address), 0)
        a.mood = "wait"
        until(lambda: weir.metric("weir_endpoint_up", endpoint=a.address) == 1, 10)
        a.forget()
        with weir.client() as first:
            first.send(get())
            until(lambda: len(a.seen) == 1)
            for _ in range(10):     # until it is known, nobody else goes there
                self.assertEqual(weir.ask().one("x-upstream"), "b")
            self.assertEqual(len(a.seen), 1)
            a.go.set()
            self.assertEqual(first.answer().status, 200)
        for _ in range(4):
            weir.ask()
        self.assertEqual(len(a.seen), 3)


if __name__ == "__main__":
    unittest.main()

"""Adaptive limits: an upstream with so many hands gets about as many requests at once, fewer when it loses some, and the rest waits or is told."""

import threading
import time
import unittest

from harness import Case, Load, get, one_pool, until

import upstream

SERVICE = 0.04  # seconds of work for a request


def work(peer, seen, args):
    """Takes SERVICE seconds of one of the upstream's hands."""
    peer.body(seen)
    with peer.upstream.hands:
        time.sleep(SERVICE)
    peer.reply(200, b"done\n")


upstream.MOODS["work"] = work


class Adaptive(Case):
    limit = 120

    def begin(self, limits, mood="work", hands=8, **more):
        self.up = self.upstream(mood)
        self.up.hands = threading.Semaphore(hands)
        self.weir = self.start(one_pool(self.up.address, pool={"limits": limits}, **more))

    def limits(self):
        return self.weir.admin("GET", "/v1/pools/app").json["limits"]

    def adaptive(self):
        return self.limits()["adaptive"]

    def value(self):
        return self.adaptive()["limit"]

    def mean(self, seconds):
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            seen.append(self.value())
            time.sleep(0.1)
        return sum(seen) / len(seen)

    def test_it_finds_what_the_upstream_can_and_follows_it(self):
        self.begin({"in_flight": 200, "queue": 200, "queue_timeout": "20s", "adaptive": {"min": 2}}, workers=2)
        with Load(self.weir.address, clients=60) as load:
            until(lambda: self.adaptive()["probes"] > 0 and self.adaptive()["state"] == "steady", 30)
            time.sleep(3)
            before = self.mean(3)
            self.assertGreater(before, 6)
            self.assertLess(before, 45)
            self.assertGreater(self.limits()["waiting"], 5)
            for _ in range(4):          # half of the hands leave
                self.up.hands.acquire()
            until(lambda: self.value() < 0.75 * before, 20, "a lower limit than %g" % before)
            for _ in range(4):
                self.up.hands.release()
            until(lambda: self.value() > 0.8 * before, 30, "%g again" % before)
        self.assertEqual(load.failures, [])
        # what was counted last is seen at the controller's next look
        until(lambda: self.weir.metric("weir_pool_limit_samples_total", pool="app") == self.adaptive()["samples"])
        until(lambda: self.weir.metric("weir_pool_limit", pool="app") == self.value())
        self.assertGreater(self.weir.metric("weir_pool_limit_latency_seconds", pool="app", kind="usual"), 0.8 * SERVICE)
        done = self.weir.ctl("pool", "app")
        self.assertRegex(done.stdout, r"(?m)^limit: \d+ of 200 \([a-z]+\), 0 in use, 0 waiting; answers take ")

    def test_who_is_over_it_is_told_and_the_log_has_its_word(self):
        self.begin({"in_flight": 100, "adaptive": True}, mood="wait")
        until(lambda: self.adaptive())
        first = self.value()
        self.assertLess(first, 30)
        clients = [self.enter(self.weir.client(timeout=30)) for _ in range(first)]
        for client in clients:
            client.send(get("/"))
        until(lambda: self.limits()["taken"] == first)
        answer = self.weir.ask()
        self.assertEqual((answer.status, answer.json()["error"]), (503, "pool_held"))
        self.assertRegex(answer.one("retry-after"), r"\A[0-9]+\Z")
        self.assertEqual(self.weir.metric("weir_pool_shed_total", pool="app", reason="held"), 1)
        self.assertEqual(self.weir.metric("weir_pool_shed_total", pool="app", reason="full"), 0)
        row = until(lambda: next((r for r in self.weir.access() if r["http.response.status_code"] == 503), None))
        self.assertEqual(row["error.type"], "pool_held")
        self.up.go.set()
        for client in clients:
            self.assertEqual(client.answer().status, 200)

    def test_a_reload_turns_it_on_and_off(self):
        self.begin({"in_flight": 30}, mood="wait")
        self.assertIsNone(self.adaptive())
        self.assertIsNone(self.weir.metric("weir_pool_limit", pool="app"))
        on = one_pool(self.up.address, pool={"limits": {"in_flight": 30, "adaptive": {"min": 3, "tolerance": "20%"}}})
        self.weir.reload(on)
        until(lambda: self.adaptive())
        shown = self.adaptive()
        self.assertEqual((shown["min"], shown["state"]), (3, "start"))
        self.assertLess(shown["limit"], 30)
        self.weir.reload(one_pool(self.up.address, pool={"limits": {"in_flight": 30}}))
        self.assertIsNone(self.adaptive())
        time.sleep(0.3)
        clients = [self.enter(self.weir.client(timeout=30)) for _ in range(30)]
        for client in clients:
            client.send(get("/"))
        until(lambda: self.limits()["taken"] == 30)
        self.assertEqual(self.weir.ask().json()["error"], "pool_full")
        self.up.go.set()
        for client in clients:
            self.assertEqual(client.answer().status, 200)

    def test_without_load_nothing_moves(self):
        self.begin({"in_flight": 100, "adaptive": True}, mood="hello")
        until(lambda: self.adaptive())
        first = self.value()
        for _ in range(100):
            self.assertEqual(self.weir.ask().status, 200)
        until(lambda: self.adaptive()["samples"] == 100)
        self.assertEqual(self.value(), first)


if __name__ == "__main__":
    unittest.main()

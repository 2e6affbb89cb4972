"""Endpoints that are taken out: what they have is finished, until their time is over."""

import json
import subprocess
import time
import unittest

from harness import SLOW, Case, Load, get, one_pool, post, until, websocket


class Draining(Case):
    limit = 60

    def put(self, weir, address, state, pool="app"):
        reply = weir.admin("PUT", "/v1/pools/%s/endpoints/%s/state" % (pool, address), {"state": state, "reason": "test"})
        self.assertEqual(reply.status, 200, reply)
        return reply.json

    def endpoint(self, weir, address):
        return next(e for e in weir.admin("GET", "/v1/pools/app").json["endpoints"] if e["address"] == address)

    def events(self, weir, what):
        events = weir.admin("GET", "/v1/events?follow=0").json["events"]
        return [e for e in events if json.dumps(e).find('"%s"' % what) >= 0]

    def test_what_is_in_flight_is_finished_and_then_it_is_said_to_be_drained(self):
        a, b = self.upstream("wait", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={"balance": "round_robin"}, workers=1))
        both = [self.enter(weir.client(timeout=30)) for _ in range(2)]
        for n, client in enumerate(both):
            client.send(get("/%d" % n))
        until(lambda: a.seen and b.seen)
        slow = both[int(a.seen[0].target[1:])]
        self.put(weir, a.address, "drain")
        self.assertEqual([weir.ask().one("x-upstream") for _ in range(6)], ["b"] * 6)
        until(lambda: self.endpoint(weir, a.address)["leaving"], 5)
        shown = self.endpoint(weir, a.address)
        self.assertEqual((shown["state"], shown["in_flight"], shown["leaving"]["drained"]), ("drain", 1, False))
        self.assertAlmostEqual(shown["leaving"]["seconds_left"], 600, delta=30)
        self.assertEqual(weir.metric("weir_endpoint_state", endpoint=a.address, state="drain"), 1)
        self.assertEqual(weir.metric("weir_endpoint_in_flight", endpoint=a.address), 1)
        a.go.set()
        self.assertEqual(slow.answer().status, 200)
        until(lambda: self.endpoint(weir, a.address)["leaving"]["drained"], 5)
        self.assertIn("endpoint is drained", weir.err())
        self.assertTrue(self.events(weir, "drained"))
        until(lambda: self.endpoint(weir, a.address)["idle"] == 0, 5, "no connection is kept to it")
        self.put(weir, a.address, "active")
        until(lambda: self.endpoint(weir, a.address)["leaving"] is None, 5)
        count = len(a.seen)
        until(lambda: weir.ask().status == 200 and len(a.seen) > count, 10)

    def test_at_the_deadline_the_rest_is_closed(self):
        a, b = self.upstream("wait", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address, pool={"drain": "500ms"}))
        self.put(weir, b.address, "drain")
        posted, read = self.enter(weir.client(timeout=30)), self.enter(weir.client(timeout=30))
        posted.send(post("/", b"x"))
        read.send(get("/"))
        self.assertTrue(a.wait(lambda: len(a.complete()) == 2))
        self.put(weir, b.address, "active")
        self.put(weir, a.address, "maint")
        # One may be repeated elsewhere, the other may not.
        answer = posted.answer()
        self.assertEqual((answer.status, answer.one("x-upstream")), (503, None))
        self.assertEqual(read.answer().one("x-upstream"), "b")
        self.assertIn("endpoint's time to finish is over", weir.err())
        self.assertTrue(self.events(weir, "cut"))
        until(lambda: weir.metric("weir_endpoint_in_flight", endpoint=a.address) == 0)

    def test_a_tunnel_has_until_the_deadline_and_no_longer(self):
        a = self.upstream("tunnel", name="a")
        weir = self.start({"pools": {"app": {"endpoints": [a.address], "drain": "700ms"}},
                           "routes": [{"name": "all", "match": {"path_prefix": "/"}, "pool": "app", "upgrade": ["websocket"]}]})
        client = self.enter(weir.client(timeout=30))
        client.send(websocket("/m/tunnel"))
        self.assertEqual(client.answer(upgrade=True).status, 101)
        began = time.monotonic()
        self.put(weir, a.address, "drain")
        self.assertTrue(client.is_closed(10 * SLOW))
        self.assertGreater(time.monotonic() - began, 0.6)

    def test_never_waits_for_ever(self):
        a = self.upstream("wait", name="a")
        weir = self.start(one_pool(a.address, pool={"drain": "never"}))
        client = self.enter(weir.client(timeout=30))
        client.send(get("/"))
        self.assertTrue(a.wait(lambda: len(a.complete()) == 1))
        self.put(weir, a.address, "drain")
        until(lambda: self.endpoint(weir, a.address)["leaving"], 5)
        self.assertIsNone(self.endpoint(weir, a.address)["leaving"]["seconds_left"])
        a.go.set()
        self.assertEqual(client.answer().status, 200)

    def test_an_endpoint_that_a_reload_takes_away_has_the_same_deadline(self):
        a, b = self.upstream("wait", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, pool={"drain": "500ms"}))
        client = self.enter(weir.client(timeout=30))
        client.send(post("/", b"x"))
        self.assertTrue(a.wait(lambda: len(a.complete()) == 1))
        weir.reload(one_pool(b.address, pool={"drain": "500ms"}))
        self.assertEqual(client.answer().status, 503)

    def test_http2_streams_are_cut_one_by_one(self):
        a = self.upstream("wait", name="a")
        b = self.upstream("hello", name="b")
        weir = self.start({"pools": {"app": {"endpoints": [a.address], "drain": "500ms"}, "other": {"endpoints": [b.address]}},
                           "routes": [{"name": "b", "match": {"path_prefix": "/b"}, "pool": "other"},
                                      {"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}]})
        url = "http://%s:%d" % weir.address[:2] if isinstance(weir.address, tuple) else "http://" + weir.address
        curl = subprocess.Popen(["curl", "-s", "--http2-prior-knowledge", "-Z", "--parallel-immediate", "-w", "%{http_code}\n", "-o", "/dev/null",
                                 "-d", "x", url + "/", "-o", "/dev/null", url + "/two"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(curl.kill)
        self.assertTrue(a.wait(lambda: len(a.complete()) == 2))
        self.put(weir, a.address, "drain")
        out, _ = curl.communicate(timeout=20 * SLOW)
        self.assertEqual(out.split(), ["503", "503"])
        self.assertEqual(weir.ask(get("/b")).status, 200)

    def test_under_load_draining_and_coming_back_costs_no_request(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address))
        with Load(weir.address, clients=3) as load:
            for _ in range(5):
                before = load.done
                self.put(weir, a.address, "drain")
                until(lambda: load.done > before + 50)
                self.put(weir, a.address, "active")
                until(lambda: load.done > before + 100)
        self.assertEqual(load.failures, [])

    def test_what_was_acknowledged_survives_kill_9(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(one_pool(a.address, b.address))
        self.put(weir, a.address, "drain")
        weir.kill()
        weir.start()
        self.assertEqual(self.endpoint(weir, a.address)["state"], "drain")
        self.assertEqual([weir.ask().one("x-upstream") for _ in range(6)], ["b"] * 6)
        self.put(weir, a.address, "active")
        weir.kill()
        weir.start()
        self.assertEqual(self.endpoint(weir, a.address)["state"], "active")


if __name__ == "__main__":
    unittest.main()

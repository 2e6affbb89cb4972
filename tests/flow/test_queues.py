"""Limits of a pool: exact over all workers, a bounded queue, 503 with Retry-After for who comes too many."""

import time
import unittest

from harness import SLOW, Case, Load, get, one_pool, post, until


class Places(Case):
    limit = 60

    def begin(self, limits, workers=1, mood="wait", **more):
        self.up = self.upstream(mood)
        self.weir = self.start(one_pool(self.up.address, pool=dict({"limits": limits}, **more), workers=workers))

    def send(self, count, request=None):
        """Clients that have asked, each on a connection of its own."""
        clients = []
        for _ in range(count):
            client = self.weir.client(timeout=20)
            self.addCleanup(client.close)
            client.send(request or get("/"))
            clients.append(client)
        return clients

    def places(self):
        return self.weir.admin("GET", "/v1/pools/app").json["limits"]

    def await_places(self, taken, waiting):
        until(lambda: (self.places()["taken"], self.places()["waiting"]) == (taken, waiting), 10,
              "%d taken and %d waiting, not %s" % (taken, waiting, self.places()))

    def test_who_comes_too_many_is_told_when_to_come_again(self):
        self.begin({"in_flight": 3})
        clients = self.send(3)
        self.await_places(3, 0)
        with self.weir.client() as late:
            answer = late.ask(get("/"))
            self.assertEqual(answer.status, 503)
            self.assertRegex(answer.one("retry-after"), r"\A[0-9]+\Z")
            self.assertEqual(answer.json()["error"], "pool_full")
            self.assertEqual(late.ask(get("/")).status, 503, "the connection goes on")
        self.up.go.set()
        for client in clients:
            self.assertEqual(client.answer().status, 200)
        self.await_places(0, 0)
        self.assertEqual(self.weir.ask().status, 200)
        self.assertEqual(self.weir.metric("weir_pool_shed_total", pool="app", reason="full"), 2)

    def test_the_limit_is_exact_over_all_workers(self):
        self.begin({"in_flight": 7}, workers=4)
        clients = self.send(40)
        refused = waiting = 0
        until(lambda: self.weir.metric("weir_pool_shed_total", pool="app", reason="full") == 33, 10)
        self.await_places(7, 0)
        self.assertEqual(len(self.up.seen), 7)
        self.up.go.set()
        for client in clients:
            status = client.answer().status
            refused += status == 503
            waiting += status == 200
        self.assertEqual((refused, waiting), (33, 7))

    def test_the_queue_is_served_in_its_order(self):
        self.begin({"in_flight": 1, "queue": 10, "queue_timeout": "20s"})
        first = self.send(1)
        self.await_places(1, 0)
        others = []
        for i in range(5):
            others += self.send(1, get("/%d" % i))
            self.await_places(1, i + 1)
        self.assertEqual(self.weir.metric("weir_pool_queue", pool="app"), 5)
        self.up.go.set()
        for client in first + others:
            self.assertEqual(client.answer().status, 200)
        self.assertEqual([s.target for s in self.up.seen], [b"/"] + [b"/%d" % i for i in range(5)])
        self.await_places(0, 0)

    def test_the_queue_is_bounded(self):
        self.begin({"in_flight": 1, "queue": 2, "queue_timeout": "20s"})
        clients = self.send(1)
        self.await_places(1, 0)
        clients += self.send(2)
        self.await_places(1, 2)
        self.assertEqual(self.weir.ask().status, 503)
        self.up.go.set()
        for client in clients:
            self.assertEqual(client.answer().status, 200)

    def test_nobody_waits_longer_than_queue_timeout(self):
        self.begin({"in_flight": 1, "queue": 5, "queue_timeout": "300ms"})
        holder = self.send(1)
        self.await_places(1, 0)
        began = time.monotonic()
        late = self.send(3)
        for client in late:
            answer = client.answer()
            self.assertEqual((answer.status, answer.json()["error"]), (503, "queue_timeout"))
            self.assertTrue(answer.one("retry-after"))
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.29)
        self.assertLess(took, 2 * SLOW)
        self.assertEqual(self.weir.metric("weir_pool_shed_total", pool="app", reason="late"), 3)
        self.await_places(1, 0)
        self.up.go.set()
        self.assertEqual(holder[0].answer().status, 200)

    def test_a_client_that_leaves_the_queue_leaves_its_place_in_it(self):
        self.begin({"in_flight": 1, "queue": 1, "queue_timeout": "20s"})
        holder = self.send(1)
        self.await_places(1, 0)
        waiting = self.send(1)
        self.await_places(1, 1)
        waiting[0].sock.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")   # a reset
        waiting[0].close()
        self.await_places(1, 0)
        next_one = self.send(1)
        self.await_places(1, 1)
        self.up.go.set()
        self.assertEqual(holder[0].answer().status, 200)
        self.assertEqual(next_one[0].answer().status, 200)
        self.assertEqual(len(self.up.seen), 2)

    def test_bodies_wait_with_their_requests(self):
        self.begin({"in_flight": 1, "queue": 5, "queue_timeout": "20s"})
        body = b"x" * 200000
        clients = self.send(1)
        self.await_places(1, 0)
        clients += self.send(2, post("/", body))
        self.await_places(1, 2)
        self.up.go.set()
        for client in clients:
            self.assertEqual(client.answer().status, 200)
        self.assertEqual([s.body_length for s in self.up.seen], [0, len(body), len(body)])

    def test_a_failed_request_gives_its_place_back(self):
        self.begin({"in_flight": 1, "queue": 50, "queue_timeout": "20s"}, mood="reset-before-head", retry={"max": 1})
        clients = self.send(20)
        for client in clients:
            self.assertEqual(client.answer().status, 502)
        self.await_places(0, 0)
        self.up.refuse()
        clients = self.send(20)
        for client in clients:
            self.assertIn(client.answer().status, (502, 503))
        self.await_places(0, 0)

    def test_workers_share_what_becomes_free(self):
        self.begin({"in_flight": 2, "queue": 100, "queue_timeout": "20s"}, workers=4, mood="hello")
        with Load(self.weir.address, clients=16) as load:
            until(lambda: load.done > 1500, 30)
        self.assertEqual(load.failures, [])
        self.await_places(0, 0)

    def test_a_tunnel_holds_its_place(self):
        from harness import websocket
        self.begin({"in_flight": 1}, mood="tunnel")
        with self.weir.client() as client:
            client.send(websocket("/"))
            self.assertEqual(client.answer(upgrade=True).status, 101)
            self.await_places(1, 0)
            self.assertEqual(self.weir.ask().status, 503)
        self.await_places(0, 0)

    def test_reloads_change_the_limit_and_lose_no_place(self):
        self.begin({"in_flight": 2, "queue": 10, "queue_timeout": "20s"})
        clients = self.send(2)
        self.await_places(2, 0)
        waiting = self.send(2)
        self.await_places(2, 2)
        self.weir.reload(one_pool(self.up.address, pool={"limits": {"in_flight": 3, "queue": 10, "queue_timeout": "20s"}}))
        self.await_places(2, 2)
        more = self.send(1)
        self.up.go.set()
        for client in clients + waiting + more:
            self.assertEqual(client.answer().status, 200)
        self.await_places(0, 0)
        self.weir.reload(one_pool(self.up.address))
        self.assertEqual(self.weir.ask().status, 200)

    def test_shutting_down_ends_the_queue(self):
        self.begin({"in_flight": 1, "queue": 10, "queue_timeout": "20s"})
        self.send(1)
        self.await_places(1, 0)
        self.send(5)
        self.await_places(1, 5)
        import signal
        self.weir.tell(signal.SIGINT)
        self.weir.process.wait(10 * SLOW)
        self.weir.stop(code=None)


if __name__ == "__main__":
    unittest.main()

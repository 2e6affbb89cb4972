"""Endpoints that fail while others do not: taken out by what they answer, for longer each time, never too many."""

import unittest

from harness import Case, Load, one_pool, post, until


def pool(*addresses, outliers=None, **more):
    return one_pool(*addresses, pool=dict({"balance": "round_robin", "retry": {"max": 0},
                                           "outliers": dict({"consecutive": 3, "eject": "1s"}, **(outliers or {}))}, **more))


class Ejection(Case):
    limit = 60

    def health(self, weir, up):
        rows = weir.admin("GET", "/v1/pools/app").json["endpoints"]
        return next(row["health"] for row in rows if row["address"] == up.address)

    def test_a_failing_endpoint_is_ejected_and_comes_back(self):
        a, b = self.upstream("hello", name="a"), self.upstream("hello", name="b")
        weir = self.start(pool(a.address, b.address))
        for _ in range(4):
            self.assertEqual(weir.ask().status, 200)
        a.mood = "status/500"
        statuses = [weir.ask().status for _ in range(40)]
        self.assertEqual(statuses.count(500), 3, statuses)
        self.assertEqual(self.health(weir, a)["state"], "ejected")
        self.assertIn("failures in a row", self.health(weir, a)["text"])
        self.assertEqual(weir.metric("weir_endpoint_up", endpoint=a.address), 0)
        until(lambda: "endpoint is ejected" in weir.err())
        a.mood = "hello"
        until(lambda: self.health(weir, a)["state"] == "up", 10, "its time is over")
        count = len(a.seen)
        for _ in range(10):
            self.assertEqual(weir.ask().status, 200)
        self.assertGreater(len(a.seen), count)
        until(lambda: "endpoint is back after its ejection" in weir.err())

    def test_back_in_its_first_failure_ejects_it_again(self):
        a, b = self.upstream("status/500", name="a"), self.upstream("hello", name="b")
        weir = self.start(pool(a.address, b.address))
        failures = 0
        for _ in range(20):
            failures += weir.ask().status == 500
        self.assertEqual(failures, 3)
        until(lambda: self.health(weir, a)["state"] == "up", 10)
        statuses = [weir.ask().status for _ in range(20)]
        self.assertEqual(statuses.count(500), 1, statuses)

    def test_resets_and_timeouts_count_as_well(self):
        for mood in ("reset-before-head", "stall-before-head", "garbage"):
            with self.subTest(mood=mood):
                a, b = self.upstream(mood, name="a"), self.upstream("hello", name="b")
                weir = self.start(pool(a.address, b.address, timeouts={"first_byte": "100ms"}))
                for _ in range(8):
                    weir.ask()
                self.assertEqual(self.health(weir, a)["state"], "ejected")

    def test_never_more_than_max_ejected(self):
        ups = [self.upstream("status/500", name=str(i)) for i in range(4)]
        weir = self.start(pool(*[u.address for u in ups], outliers={"consecutive": 1, "eject": "60s", "max_ejected": "50%"}, ))
        for _ in range(60):
            weir.ask()
        states = [self.health(weir, u)["state"] for u in ups]
        self.assertEqual(states.count("ejected"), 2, states)
        self.assertFalse(weir.admin("GET", "/v1/pools/app").json["panic"])

    def test_when_all_are_out_they_serve_and_it_is_said(self):
        a, b = self.upstream("status/500", name="a"), self.upstream("status/500", name="b")
        weir = self.start(pool(a.address, b.address, outliers={"consecutive": 1, "eject": "2s", "max_ejected": "100%"}))
        for _ in range(4):
            self.assertEqual(weir.ask().status, 500)
        self.assertTrue(weir.admin("GET", "/v1/pools/app").json["panic"])
        self.assertEqual(weir.metric("weir_pool_panic", pool="app"), 1)
        until(lambda: "all endpoints are out" in weir.err())
        a.mood = b.mood = "hello"
        self.assertEqual(weir.ask().status, 200)
        until(lambda: weir.metric("weir_pool_panic", pool="app") == 0, 10)
        until(lambda: "endpoints are in service again" in weir.err())

    def test_client_errors_and_lost_clients_do_not_count(self):
        a = self.upstream("status/404", name="a")
        b = self.upstream("hello", name="b")
        weir = self.start(pool(a.address, b.address, outliers={"consecutive": 1}))
        for _ in range(20):
            weir.ask()
        for _ in range(4):
            with weir.client() as client:
                client.send(post("/", b"x", ))
        self.assertEqual(self.health(weir, a)["state"], "up")

    def test_it_needs_no_more_than_a_row_under_load(self):
        ups = [self.upstream("hello", name=str(i)) for i in range(4)]
        weir = self.start(pool(*[u.address for u in ups], outliers={"consecutive": 5, "eject": "60s"}))
        with Load(weir.address, clients=4) as load:
            ups[0].mood = "status/503"
            until(lambda: self.health(weir, ups[0])["state"] == "ejected")
            before = load.done
            until(lambda: load.done > before + 200)
        self.assertLessEqual(len(load.failures), 5 + 4, load.failures[:20])


if __name__ == "__main__":
    unittest.main()

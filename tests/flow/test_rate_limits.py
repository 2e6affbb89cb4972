"""Rate limits: who asks too often is told so, and nobody else notices."""

import time

from harness import Case, get, one_pool, until

ROUTE = {"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}


def limited(address, rate="10/m", burst=5, key=None, **more):
    limit = dict({"rate": rate, "burst": burst}, **({"key": key} if key else {}), **more)
    return one_pool(address, routes=[dict(ROUTE, rate_limit=limit)])


class Limited(Case):

    def weir_with(self, *args, config=None, **limit):
        self.up = self.upstream("echo")
        base = limited(self.up.address, *args, **limit)
        base.update(config or {})
        self.weir = self.start(base)
        return self.weir

    def statuses(self, n, request=None, **options):
        with self.weir.client(**options) as client:
            return [client.ask(request or get()).status for _ in range(n)]


class Floods(Limited):
    """The same head again and again: known by its bytes, with the same outcome as ever."""

    def test_every_answer_is_the_first_one_again(self):
        self.weir_with("1/h", 1)
        with self.weir.client() as client:
            client.ask(get())
            answers = [client.ask(get()) for _ in range(30)]
        self.assertEqual({a.status for a in answers}, {429})
        self.assertEqual(len({a.body for a in answers}), 1)
        names = [[name for name, _ in a.fields] for a in answers]
        self.assertEqual(names, [names[0]] * 30)
        self.assertEqual({a.one("ratelimit-limit") for a in answers}, {"1"})
        self.assertEqual(self.weir.metric("weir_rate_limit_decisions_total", route="all", decision="limited"), 30)
        self.assertEqual(self.weir.metric("weir_http_requests_total", route="all", code="429"), 30)

    def test_a_pipeline_has_all_its_answers_in_order(self):
        self.weir_with("1/h", 1)
        with self.weir.client() as client:
            client.ask(get())
            client.ask(get())
            client.send(get() * 50 + get("/b") + get() * 20)
            self.assertEqual([client.answer().status for _ in range(71)], [429] * 71)
        self.assertEqual(len(self.up.seen), 1)

    def test_the_seconds_go_on(self):
        self.weir_with("30/m", 1)
        with self.weir.client() as client:
            client.ask(get())
            self.assertEqual(client.ask(get()).one("retry-after"), "2")
            until(lambda: client.ask(get()).one("retry-after") == "1")
            until(lambda: client.ask(get()).status == 200)

    def test_another_head_is_judged_for_itself(self):
        self.weir_with("1/h", 1, key={"by": "header", "name": "x-key"})
        with self.weir.client() as client:
            for _ in range(3):
                client.ask(get(x_key="a"))
            self.assertEqual(client.ask(get(x_key="b")).status, 200)
            self.assertEqual(client.ask(get(x_key="a")).status, 429)
            self.assertEqual(client.ask(get(x_key="b")).status, 429)

    def test_another_client_is_judged_for_itself(self):
        self.weir_with("1/h", 1)
        self.assertEqual(self.statuses(4), [200, 429, 429, 429])
        self.assertEqual(self.statuses(2, source=("127.0.0.9", 0)), [200, 429])

    def test_a_reload_is_seen(self):
        self.weir_with("1/h", 1)
        with self.weir.client() as client:
            for _ in range(3):
                client.ask(get())
            self.weir.reload(one_pool(self.up.address, routes=[ROUTE]))
            until(lambda: client.ask(get()).status == 200)

    def test_a_last_request_is_answered_as_one(self):
        self.weir_with("1/h", 1)
        with self.weir.client() as client:
            for _ in range(3):
                client.ask(get())
            answer = client.ask(get(connection="close"))
            self.assertEqual((answer.status, answer.one("connection")), (429, "close"))


class Limits(Limited):

    def test_a_burst_passes_and_what_is_above_it_does_not(self):
        self.weir_with()
        self.assertEqual(self.statuses(8), [200] * 5 + [429] * 3)
        self.assertEqual(len(self.up.seen), 5)
        self.assertEqual(self.weir.metric("weir_rate_limit_decisions_total", route="all", decision="allowed"), 5)
        self.assertEqual(self.weir.metric("weir_rate_limit_decisions_total", route="all", decision="limited"), 3)

    def test_the_answer_says_when_to_come_back(self):
        self.weir_with()
        self.statuses(5)
        with self.weir.client() as client:
            answer = client.ask(get())
            self.assertEqual(answer.status, 429)
            self.assertEqual(answer.json()["error"], "rate_limited")
            self.assertEqual(answer.one("ratelimit-limit"), "5")
            self.assertEqual(answer.one("ratelimit-remaining"), "0")
            self.assertEqual(answer.one("ratelimit-policy"), "5;w=30")
            self.assertIn(int(answer.one("retry-after")), (5, 6))
            self.assertIn(int(answer.one("ratelimit-reset")), (29, 30))
            # The connection is kept: a client that waits does not pay for a new one.
            self.assertEqual(client.ask(get()).status, 429)

    def test_what_was_spent_comes_back_with_time(self):
        self.weir_with("20/s", 2)
        with self.weir.client() as client:
            until(lambda: client.ask(get()).status == 429)
            wait = until(lambda: client.ask(get()).status == 200)
        self.assertTrue(wait)

    def test_the_long_run_is_the_rate(self):
        self.weir_with("50/s", 10)
        began = time.monotonic()
        with self.weir.client() as client:
            passed = 0
            while time.monotonic() - began < 2:
                passed += client.ask(get()).status == 200
            took = time.monotonic() - began
        self.assertLessEqual(passed, 10 + 50 * took + 1)
        self.assertGreaterEqual(passed, (10 + 50 * took) * 0.8)

    def test_clients_are_counted_apart(self):
        self.weir_with()
        self.assertEqual(self.statuses(6), [200] * 5 + [429])
        self.assertEqual(self.statuses(6, source=("127.0.0.2", 0)), [200] * 5 + [429])

    def test_the_address_is_the_real_one_behind_trusted_proxies(self):
        self.weir_with(config={"listeners": {"http": {"client_ip": {"trusted_proxies": ["127.0.0.0/8"]}}}})
        for last in (1, 2):
            who = get(x_forwarded_for="192.0.2.%d" % last)
            self.assertEqual(self.statuses(6, who), [200] * 5 + [429])
        # An IPv6 client is its /64.
        spent = [self.statuses(1, get(x_forwarded_for="2001:db8::%d" % i))[0] for i in range(1, 7)]
        self.assertEqual(spent, [200] * 5 + [429])
        self.assertEqual(self.statuses(1, get(x_forwarded_for="2001:db8:0:1::1")), [200])

    def test_the_prefix_of_ipv6_is_a_setting(self):
        self.weir_with(key={"by": "client_ip", "v6_prefix": 48},
                       config={"listeners": {"http": {"client_ip": {"trusted_proxies": ["127.0.0.0/8"]}}}})
        spent = [self.statuses(1, get(x_forwarded_for="2001:db8:0:%d::1" % i))[0] for i in range(1, 7)]
        self.assertEqual(spent, [200] * 5 + [429])
        self.assertEqual(self.statuses(1, get(x_forwarded_for="2001:db8:1::1")), [200])

    def test_a_header_is_a_key_and_without_it_the_address_is(self):
        self.weir_with(key={"by": "header", "name": "X-Key"})
        self.assertEqual(self.statuses(6, get(x_key="a")), [200] * 5 + [429])
        self.assertEqual(self.statuses(6, get(x_key="b")), [200] * 5 + [429])
        self.assertEqual(self.statuses(6), [200] * 5 + [429])
        self.assertEqual(self.statuses(1, source=("127.0.0.2", 0)), [200])

    def test_a_cookie_is_a_key(self):
        self.weir_with(key={"by": "cookie", "name": "user"})
        self.assertEqual(self.statuses(6, get(cookie="x=1; user=ann")), [200] * 5 + [429])
        self.assertEqual(self.statuses(1, get(cookie="user=bob")), [200])

    def test_a_token_is_a_key_however_its_scheme_is_spelt(self):
        self.weir_with(key="token")
        self.assertEqual(self.statuses(3, get(authorization="Bearer abc")), [200] * 3)
        self.assertEqual(self.statuses(3, get(authorization="bearer  abc")), [200] * 2 + [429])
        self.assertEqual(self.statuses(1, get(authorization="Bearer abd")), [200])

    def test_a_route_may_be_limited_as_a_whole(self):
        self.weir_with(key="route")
        self.assertEqual(self.statuses(3), [200] * 3)
        self.assertEqual(self.statuses(3, source=("127.0.0.2", 0)), [200] * 2 + [429])

    def test_a_dry_run_says_what_it_would_do(self):
        self.weir_with(dry_run=True)
        self.assertEqual(self.statuses(8), [200] * 8)
        self.assertEqual(self.weir.metric("weir_rate_limit_decisions_total", route="all", decision="dry_run"), 3)
        self.assertEqual(self.weir.metric("weir_rate_limit_decisions_total", route="all", decision="limited"), 0)
        until(lambda: len(self.weir.access()) == 8)
        self.assertEqual([line.get("weir.rate_limit") for line in self.weir.access()], [None] * 5 + ["dry_run"] * 3)

    def test_the_log_names_it(self):
        self.weir_with(burst=1)
        self.statuses(2)
        until(lambda: len(self.weir.access()) == 2)
        good, bad = self.weir.access()
        self.assertNotIn("error.type", good)
        self.assertNotIn("weir.rate_limit", good)
        self.assertEqual(bad["error.type"], "rate_limited")
        self.assertEqual(bad["weir.rate_limit"], "limited")
        self.assertEqual(bad["weir.ended_by"], "client")
        self.assertEqual(bad["http.route"], "all")

    def test_a_body_that_nobody_wants_ends_the_connection(self):
        self.weir_with(burst=1)
        self.statuses(1)
        with self.weir.client() as client:
            client.send(get(method="POST", content_length="100000"))
            answer = client.answer()
            self.assertEqual(answer.status, 429)
            self.assertEqual(answer.one("connection"), "close")
            self.assertTrue(client.is_closed())

    def test_routes_that_answer_themselves_are_limited_too(self):
        self.up = self.upstream("echo")
        config = one_pool(self.up.address, routes=[
            {"name": "hello", "match": {"path": "/hello"}, "respond": {"body": "hi"}, "rate_limit": {"rate": "1/m"}}, ROUTE])
        self.weir = self.start(config)
        self.assertEqual(self.statuses(2, get("/hello")), [200, 429])
        self.assertEqual(self.statuses(3), [200] * 3)


class Reload(Limited):

    def test_what_was_spent_stays_spent_unless_the_limit_changes(self):
        self.weir_with()
        self.assertEqual(self.statuses(4), [200] * 4)
        config = dict(self.weir.config)
        config["pools"] = {"app": dict(config["pools"]["app"], timeouts={"connect": "2s"})}
        self.weir.reload(config)
        self.assertEqual(self.statuses(2), [200, 429])
        self.assertEqual(self.weir.metric("weir_rate_limit_decisions_total", route="all", decision="limited"), 1)
        config["routes"] = [dict(ROUTE, rate_limit={"rate": "10/m", "burst": 7})]
        self.weir.reload(config)
        self.assertEqual(self.statuses(8), [200] * 7 + [429])

    def test_a_limit_comes_and_goes_by_reload(self):
        self.weir_with()
        config = dict(self.weir.config)
        config["routes"] = [ROUTE]
        self.weir.reload(config)
        self.assertEqual(self.statuses(8), [200] * 8)
        config["routes"] = [dict(ROUTE, rate_limit={"rate": "1/m"})]
        self.weir.reload(config)
        self.assertEqual(self.statuses(2), [200, 429])


class Http2(Limited):

    def test_a_limit_counts_streams_and_answers_each(self):
        import h2
        self.weir_with()
        wire = self.enter(h2.client(self.weir.address))
        streams = range(1, 16, 2)
        for stream in streams:
            wire.message(stream)
            wire.headers(stream, h2.request("/", "GET", "a", "http"), end=True)
        answers = [wire.answer(stream) for stream in streams]
        self.assertEqual(sorted(answer.status for answer in answers), [200] * 5 + [429] * 3)
        late = next(answer for answer in answers if answer.status == 429)
        fields = dict(late.fields)
        self.assertEqual((fields["ratelimit-limit"], fields["ratelimit-policy"]), ("5", "5;w=30"))
        self.assertIn(int(fields["retry-after"]), (5, 6))

    def test_a_body_that_nobody_wants_ends_its_stream_only(self):
        import h2
        self.weir_with(burst=1)
        self.statuses(1)
        wire = self.enter(h2.client(self.weir.address))
        wire.message(1)
        wire.headers(1, h2.request("/", "POST", "a", "http", ("content-length", "100000")), end=False)
        self.assertEqual(wire.answer(1).status, 429)
        wire.message(3)
        wire.headers(3, h2.request("/", "GET", "a", "http"), end=True)
        self.assertEqual(wire.answer(3).status, 429)


class Api(Limited):

    def test_it_tells_what_a_key_may_still_do(self):
        self.weir_with()
        self.statuses(4)
        said = self.weir.admin("GET", "/v1/rate_limits/all?key=127.0.0.1").json
        self.assertEqual(said["schema"], "weir.rate_limit/v1")
        self.assertEqual((said["route"], said["key"], said["rate"], said["limit"], said["remaining"], said["limited"]),
                         ("all", "127.0.0.1", "10/m", 5, 1, False))
        self.statuses(2)
        said = self.weir.admin("GET", "/v1/rate_limits/all?key=127.0.0.1").json
        self.assertEqual((said["remaining"], said["limited"]), (0, True))
        self.assertGreater(said["retry_after_ms"], 3000)
        self.assertEqual(said["decisions"]["limited"], 1)

    def test_it_forgives(self):
        self.weir_with()
        self.statuses(6)
        done = self.weir.admin("DELETE", "/v1/rate_limits/all?key=127.0.0.1&reason=a%20friend")
        self.assertEqual((done.status, done.json["remaining"]), (200, 5))
        self.assertEqual(self.statuses(6), [200] * 5 + [429])
        entry = self.weir.admin("GET", "/v1/audit?limit=1").json["entries"][0]
        self.assertEqual(entry["reason"], "a friend")

    def test_a_dry_run_forgives_nothing(self):
        self.weir_with()
        self.statuses(6)
        self.assertEqual(self.weir.admin("DELETE", "/v1/rate_limits/all?key=127.0.0.1&dry_run=1").status, 200)
        self.assertEqual(self.statuses(1), [429])

    def test_what_it_does_not_know_it_says(self):
        self.weir_with()
        self.assertEqual(self.weir.admin("GET", "/v1/rate_limits/nope?key=1").status, 404)
        bad = self.weir.admin("GET", "/v1/rate_limits/all?key=ann")
        self.assertEqual((bad.status, bad.json["field"]), (422, "key"))
        self.assertEqual(self.weir.admin("DELETE", "/v1/rate_limits/all").status, 422)
        self.assertEqual(self.weir.admin("GET", "/v1/rate_limits/all").json["decisions"]["allowed"], 0)
        config = dict(self.weir.config)
        config["routes"] = [ROUTE]
        self.weir.reload(config)
        self.assertEqual(self.weir.admin("GET", "/v1/rate_limits/all?key=127.0.0.1").status, 404)

    def test_a_header_is_asked_by_its_value(self):
        self.weir_with(key={"by": "header", "name": "x-key"})
        self.statuses(2, get(x_key="a b"))
        self.assertEqual(self.weir.admin("GET", "/v1/rate_limits/all?key=a%20b").json["remaining"], 3)


class Flood(Case):

    limit = 60

    def test_workers_share_one_count(self):
        up = self.upstream("echo")
        weir = self.start(dict(limited(up.address, "1/h", 40), workers=4))
        seen = [weir.ask().status for _ in range(60)]
        self.assertEqual((seen.count(200), seen.count(429)), (40, 20))

    def test_many_keys_cost_no_memory_of_their_own(self):
        up = self.upstream("echo")
        weir = self.start(limited(up.address, "1/h", 1, key={"by": "header", "name": "x-key"}))
        before = weir.rss()
        with weir.client() as client:
            for i in range(0, 20000, 200):
                client.send(b"".join(get(x_key=str(j)) for j in range(i, i + 200)))
                for _ in range(200):
                    self.assertEqual(client.answer().status, 200)
        # A key touches at most one page, however many there are.
        self.assertLess(weir.rss() - before, 20000 * 4096 * 1.1)
        self.assertEqual(weir.metric("weir_rate_limit_evictions_total"), 0)

"""Rate limits that instances share: what they add up to, and what happens while Redis is away."""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from harness import SLOW, Case, Client, get, one_pool, run, until

import ports
from redis import Redis

ALL = {"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}


class Global(Case):

    limit = 60

    def setUp(self):
        self.up = self.upstream("echo")

    def redis(self, *options, **more):
        self.server = self.enter(Redis(*options, **more))
        return self.server

    def config(self, limit, redis=None, **more):
        settings = dict({"url": "redis://" + self.server.address, "prefix": "t"}, **(redis or {}))
        return one_pool(self.up.address, routes=[dict(ALL, rate_limit=dict({"scope": "global", "key": "route"}, **limit))],
                        redis=settings, logs={"access": {"path": "off"}}, **more)

    def fleet(self, n, limit, redis=None, **more):
        self.weirs = [self.start(self.config(limit, redis, **more)) for _ in range(n)]
        self.agree(n)
        return self.weirs

    def agree(self, n):
        for weir in self.weirs:
            until(lambda: weir.metric("weir_rate_limit_instances") == n, 10, "%d instances" % n)

    def flood(self, weirs, seconds, request=None):
        """All at once, one connection each; how many passed, in what time."""
        passed = [0] * len(weirs)
        until_time = time.monotonic() + seconds

        def drive(i):
            with Client(weirs[i].address) as client:
                while time.monotonic() < until_time:
                    passed[i] += client.ask(request or get()).status == 200

        began = time.monotonic()
        threads = [threading.Thread(target=drive, args=(i,)) for i in range(len(weirs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(passed), time.monotonic() - began

    def statuses(self, weir, n):
        with weir.client() as client:
            return [client.ask(get()).status for _ in range(n)]


class Together(Global):

    def test_three_instances_let_pass_what_one_would(self):
        self.redis()
        weirs = self.fleet(3, {"rate": "50/s", "burst": 100})
        passed, took = self.flood(weirs, 4)
        allowed = 100 + 50 * took
        self.assertLessEqual(passed, allowed * 1.05)
        self.assertGreaterEqual(passed, allowed * 0.85)

    def test_who_comes_to_one_instance_only_has_the_whole_limit(self):
        self.redis()
        weirs = self.fleet(3, {"rate": "50/s", "burst": 60})
        passed, took = self.flood(weirs[:1], 3)
        allowed = 60 + 50 * took
        self.assertLessEqual(passed, allowed * 1.05)
        self.assertGreaterEqual(passed, allowed * 0.85)

    def test_what_one_instance_let_pass_the_others_know(self):
        self.redis()
        first, second = self.fleet(2, {"rate": "1/m", "burst": 10})
        # Until the news are there it has the half; with them, what is left.
        self.assertEqual(self.statuses(first, 5), [200] * 5)
        def remaining(weir):
            return weir.admin("GET", "/v1/rate_limits/all").json["remaining"]
        until(lambda: remaining(first) == 5)
        self.assertEqual(self.statuses(second, 1), [200])
        until(lambda: remaining(second) == 4)

    def test_a_burst_below_the_number_of_instances_still_passes(self):
        self.redis()
        weirs = self.fleet(3, {"rate": "5/s", "burst": 1})
        passed, took = self.flood(weirs, 4)
        self.assertGreaterEqual(passed, 5 * took * 0.7)
        self.assertLessEqual(passed, 5 * took + 1 + 2)  # at most one each is let pass too early

    def test_keys_are_shared_each_for_itself(self):
        self.redis()
        weirs = self.fleet(2, {"rate": "1/m", "burst": 8, "key": {"by": "header", "name": "x-key"}})
        for key in "ab":
            passed = 0
            for _ in range(10):
                for weir in weirs:
                    passed += weir.ask(get(x_key=key)).status == 200
                time.sleep(0.03)
            self.assertIn(passed, (8, 9))
        until(lambda: len(self.server.ask("keys", "t:limit:*")) == 2)

    def test_forgiving_one_forgives_everywhere(self):
        self.redis()
        first, second = self.fleet(2, {"rate": "1/h", "burst": 6})
        until(lambda: self.statuses(first, 1) == [429])
        until(lambda: self.server.ask("keys", "t:limit:*") != [""] and self.server.ask("keys", "t:limit:*"))
        until(lambda: self.statuses(second, 1) == [429])

        def forgiven():     # what the other one had let pass may not have been told yet
            first.admin("DELETE", "/v1/rate_limits/all?key=x")
            return "t:limit" not in "".join(self.server.ask("keys", "t:limit:*"))
        until(forgiven)
        # The other one asks when it refuses, and hears of it.
        until(lambda: self.statuses(second, 1) == [200])

    def test_an_instance_that_goes_leaves_its_share(self):
        self.redis()
        weirs = self.fleet(2, {"rate": "50/s", "burst": 50})
        weirs[1].stop()
        self.weirs = weirs[:1]
        self.agree(1)

    def test_prefixes_keep_fleets_apart(self):
        self.redis()
        self.weirs = [self.start(self.config({"rate": "1/h", "burst": 3}, {"prefix": p})) for p in ("a", "b")]
        self.agree(1)
        for weir in self.weirs:
            self.assertEqual(self.statuses(weir, 4), [200] * 3 + [429])


class Known(Global):
    """What one instance let pass, the others know before they are asked."""

    def keyed(self, n, burst=3, rate="1/m", **more):
        return self.fleet(n, {"rate": rate, "burst": burst, "key": {"by": "header", "name": "x-api-key"}}, **more)

    def key(self, weir, key):
        return weir.admin("GET", "/v1/rate_limits/all?key=" + key).json

    def use_up(self, weir, key, burst):
        for _ in range(burst):      # each one as soon as Redis has said that it was the only one
            until(lambda: weir.ask(get(x_api_key=key)).status == 200, 5)
        self.assertEqual(weir.ask(get(x_api_key=key)).status, 429)

    def test_an_instance_that_was_never_asked_refuses_what_others_let_pass(self):
        self.redis()
        weirs = self.keyed(3)
        for n in range(6):
            name, first = "k%d" % n, weirs[n % 3]
            self.use_up(first, name, 3)
            for weir in weirs:
                until(lambda: self.key(weir, name)["remaining"] == 0, 2, "known everywhere")
            self.assertEqual([w.ask(get(x_api_key=name)).status for w in weirs], [429] * 3)

    def test_the_time_to_wait_is_the_same_everywhere(self):
        self.redis()
        weirs = self.keyed(3)
        until(lambda: [w.ask(get(x_api_key="k")).status for w in weirs] == [429] * 3, 10)
        until(lambda: self.spread([self.key(w, "k")["retry_after_ms"] for w in weirs]) < 200 * SLOW, 3, "they agree")
        self.assertGreater(self.key(weirs[0], "k")["retry_after_ms"], 0)

        def told():
            answers = [w.ask(get(x_api_key="k")) for w in weirs]
            return all(a.status == 429 for a in answers) and self.spread([int(a.one("retry-after")) for a in answers]) <= 1
        until(told, 5, "all say the same")

    def spread(self, values):
        return max(values) - min(values)

    def test_a_key_that_moves_from_one_to_the_next_has_one_burst(self):
        self.redis()
        weirs = self.keyed(3, burst=60, rate="1/h")
        passed = 0
        for weir in weirs:
            with weir.client() as client:
                end = time.monotonic() + 1.5
                while time.monotonic() < end:
                    passed += client.ask(get(x_api_key="k")).status == 200
                    time.sleep(0.002)
        self.assertGreaterEqual(passed, 60)
        self.assertLessEqual(passed, 63)

    def test_forgiving_is_known_everywhere_without_being_asked(self):
        self.redis()
        weirs = self.keyed(3)
        for n in range(4):
            self.use_up(weirs[0], "k", 3)
            for weir in weirs:
                until(lambda: self.key(weir, "k")["remaining"] == 0, 2)
            reply = weirs[n % 3].admin("DELETE", "/v1/rate_limits/all?key=k")
            self.assertEqual((reply.status, reply.json["remaining"], reply.json["forgiven"]), (200, 3, "everywhere"))
            for weir in weirs:
                until(lambda: self.key(weir, "k")["remaining"] == 3, 2, "forgiven everywhere")
            time.sleep(0.1)         # and it stays so
            self.assertEqual([self.key(w, "k")["remaining"] for w in weirs], [3] * 3)

    def test_forgiving_without_redis_says_that_it_is_here_only(self):
        self.redis()
        weirs = self.keyed(2)
        self.use_up(weirs[0], "k", 3)
        until(lambda: self.key(weirs[1], "k")["remaining"] == 0, 2)
        self.server.kill()
        for weir in weirs:
            until(lambda: weir.metric("weir_redis_up") == 0, 10)
        reply = weirs[0].admin("DELETE", "/v1/rate_limits/all?key=k").json
        self.assertEqual((reply["forgiven"], reply["remaining"]), ("here", 3))
        self.assertIn("Redis is away", reply["why"])
        self.assertEqual(self.key(weirs[1], "k")["remaining"], 0)

    def test_a_flood_of_keys_is_told_within_bounds(self):
        self.redis()
        weirs = self.keyed(2, rate="1/h")
        for weir in weirs:
            until(lambda: weir.metric("weir_rate_limit_instances") == 2, 10)

        def sent():
            return int(next(x for x in self.server.ask("info", "stats") if x.startswith("total_net_output_bytes:")).split(":")[1])

        def memory():
            with open("/proc/%d/statm" % weirs[1].process.pid) as f:
                return int(f.read().split()[1]) * 4096
        was, memory_was, began = sent(), memory(), time.monotonic()
        with weirs[0].client() as client:
            for n in range(3000):
                client.ask(get(x_api_key="flood-%d" % n))
        until(lambda: self.key(weirs[1], "flood-2999")["remaining"] == 2, 2)
        took = time.monotonic() - began
        # a key's answer and what is told of it, to two listeners, and what is said anyway
        self.assertLess(sent() - was, 3000 * 120 + took * 100000)
        self.assertLess(memory() - memory_was, 16 << 20)

    def test_who_may_not_use_channels_shares_as_before(self):
        self.redis()
        self.server.ask("acl", "setuser", "default", "resetchannels")
        weirs = self.keyed(2)
        until(lambda: "cannot be heard" in weirs[0].err())
        self.use_up(weirs[0], "k", 3)
        until(lambda: weirs[1].ask(get(x_api_key="k")).status == 429, 5)
        self.assertEqual([w.metric("weir_redis_up") for w in weirs], [1, 1])


class Away(Global):

    def away(self, weir):
        until(lambda: weir.metric("weir_redis_up") == 0, 10, "redis is away")

    def back(self, weirs):
        for weir in weirs:
            until(lambda: weir.metric("weir_redis_up") == 1, 10, "redis is back")
        self.agree(len(weirs))

    def test_local_counts_alone_and_together_again_afterwards(self):
        server = self.redis()
        weirs = self.fleet(2, {"rate": "1/h", "burst": 6, "on_failure": "local", "key": {"by": "header", "name": "x-key"}})
        server.kill()
        for weir in weirs:
            self.away(weir)
            self.assertEqual(self.statuses(weir, 7), [200] * 6 + [429])
            self.assertGreaterEqual(weir.metric("weir_redis_failures_total"), 1)
            self.assertIn("redis is away", weir.err())
        server.start()
        self.back(weirs)
        # The debts that were made alone stay debts.
        self.assertEqual(self.statuses(weirs[0], 1), [429])
        until(lambda: self.statuses(weirs[1], 1) == [429])
        # And a key that was not seen meanwhile is one count again: 6 together,
        # one more while the two tell each other. Alone they would pass 12. A
        # machine that stands still between two requests gets another key.
        keys = itertools.count()

        def passed():
            fresh = "fresh-%d" % next(keys)
            return sum(weir.ask(get(x_key=fresh)).status == 200 for _ in range(8) for weir in weirs)
        until(lambda: 6 <= passed() <= 7, 20, "one count")

    def test_open_lets_everybody_pass_meanwhile(self):
        server = self.redis()
        weir, = self.fleet(1, {"rate": "1/h", "burst": 2}, {"on_failure": "open"})
        self.assertEqual(self.statuses(weir, 3), [200, 200, 429])
        server.kill()
        self.away(weir)
        self.assertEqual(self.statuses(weir, 5), [200] * 5)
        self.assertEqual(weir.metric("weir_rate_limit_decisions_total", decision="open"), 5)
        server.start()
        self.back([weir])
        self.assertEqual(self.statuses(weir, 1), [429])

    def test_closed_lets_nobody_pass_meanwhile(self):
        server = self.redis()
        weir, = self.fleet(1, {"rate": "1000/s", "on_failure": "closed"}, {"on_failure": "open"})
        self.assertEqual(self.statuses(weir, 3), [200] * 3)
        server.kill()
        self.away(weir)
        with weir.client() as client:
            answer = client.ask(get())
            self.assertEqual((answer.status, answer.json()["error"]), (503, "limit_unknown"))
            self.assertEqual(answer.one("retry-after"), "1")
        self.assertGreaterEqual(weir.metric("weir_rate_limit_decisions_total", decision="closed"), 1)
        server.start()
        self.back([weir])
        self.assertEqual(self.statuses(weir, 3), [200] * 3)

    def test_a_server_that_does_not_answer_delays_no_request(self):
        server = self.redis()
        weir, = self.fleet(1, {"rate": "100000/s", "burst": 100000}, {"timeouts": {"answer": "300ms"}})
        times = []
        with weir.client() as client:
            client.ask(get())
            server.freeze()
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                began = time.monotonic()
                self.assertEqual(client.ask(get()).status, 200)
                times.append(time.monotonic() - began)
        times.sort()
        self.assertLess(times[len(times) * 99 // 100], 0.1 * SLOW)
        self.away(weir)
        self.assertIn("no answer in time", weir.err())
        server.thaw()
        self.back([weir])

    def test_it_starts_and_reloads_without_the_server(self):
        server = self.redis()
        server.kill()
        began = time.monotonic()
        weir = self.start(self.config({"rate": "1/h", "burst": 2}))
        self.weirs = [weir]
        self.assertLess(time.monotonic() - began, 5 * SLOW)
        self.assertEqual(self.statuses(weir, 3), [200, 200, 429])
        weir.reload()
        server.start()
        self.back([weir])

    def test_a_server_that_cannot_write_counts_as_away(self):
        server = self.redis("--replica-read-only", "yes", "--replicaof", "127.0.0.1 1")
        weir = self.start(self.config({"rate": "1/h", "burst": 2}))
        until(lambda: "READONLY" in weir.err() or "MASTERDOWN" in weir.err())
        self.assertEqual(self.statuses(weir, 3), [200, 200, 429])


class Login(Global):

    def up_with(self, redis, env=None):
        config = self.config({"rate": "1/h", "burst": 3}, redis)
        self.weirs = [self.start(config, env=env)]
        self.agree(1)
        return self.weirs[0]

    def test_password_and_database(self):
        server = self.redis("--requirepass", "secret one")
        weir = self.up_with({"url": "redis://%s/3" % server.address, "password": {"env": "WEIR_TEST_REDIS"}},
                            {"WEIR_TEST_REDIS": "secret one"})
        self.assertEqual(self.statuses(weir, 4), [200] * 3 + [429])
        until(lambda: "t:limit" in "".join(server.ask("-n", "3", "keys", "*", auth=("-a", "secret one"))))
        self.assertNotIn("secret one", weir.err() + weir.admin("GET", "/v1/config").text)

    def test_a_user_of_an_access_list(self):
        self.redis("--user", "edge", "on", ">pass", "~t:*", "+@all")
        weir = self.up_with({"user": "edge", "password": {"env": "WEIR_TEST_REDIS"}}, {"WEIR_TEST_REDIS": "pass"})
        self.assertEqual(self.statuses(weir, 4), [200] * 3 + [429])

    def password(self):
        """A function that writes a password file, and its path."""
        path = os.path.join(tempfile.mkdtemp(prefix="weir-secret-"), "password")
        self.addCleanup(shutil.rmtree, os.path.dirname(path), ignore_errors=True)

        def put(text):
            with open(path, "w") as out:
                out.write(text)
            os.chmod(path, 0o600)
        return put, path

    def test_a_wrong_password_is_said_once_and_a_reload_brings_the_right_one(self):
        self.redis("--requirepass", "right")
        put, path = self.password()
        put("wrong\n")
        weir = self.start(self.config({"rate": "1/h", "burst": 3}, {"password": {"file": path}}))
        self.weirs = [weir]
        until(lambda: "login: WRONGPASS" in weir.err())
        self.assertEqual(self.statuses(weir, 1), [200])
        until(lambda: weir.metric("weir_redis_failures_total") >= 3)
        self.assertEqual(weir.err().count("redis is away"), 1)
        put("right\n")
        weir.reload()
        self.agree(1)

    def test_a_reload_takes_a_new_password_for_the_next_connection(self):
        server = self.redis("--requirepass", "old")
        put, path = self.password()
        put("old\n")
        weir = self.up_with({"password": {"file": path}})
        put("new\n")
        weir.reload()
        self.assertEqual(weir.metric("weir_redis_failures_total"), 0)
        server.kill()
        until(lambda: weir.metric("weir_rate_limit_instances") == 0)
        server.options = ("--requirepass", "new")
        server.start()
        self.agree(1)

    def test_a_password_out_of_reach_refuses_nothing_else(self):
        server = self.redis("--requirepass", "right")
        put, path = self.password()
        put("right\n")
        weir = self.up_with({"password": {"file": path}})
        server.kill()
        until(lambda: weir.metric("weir_rate_limit_instances") == 0)
        put("")
        before = weir.admin("GET", "/v1/config").json
        answer = weir.admin("POST", "/v1/config/reload", {})
        self.assertEqual((answer.status, answer.json.get("result")), (200, "reloaded"), answer.text)
        self.assertEqual(weir.admin("GET", "/v1/config").json, before)
        self.assertIn("redis stays as it was", weir.err())
        self.assertNotIn("nothing was changed", weir.err())
        server.start()
        self.agree(1)   # with the password that was right

    def test_a_unix_socket(self):
        server = self.redis()
        path = os.path.join(server.dir, "s")
        server.ask("config", "set", "save", "")
        server.kill()
        server.options += ("--unixsocket", path)
        server.start()
        weir = self.up_with({"url": "unix:" + path})
        self.assertEqual(self.statuses(weir, 4), [200] * 3 + [429])

    def certify(self, cert, key):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                        "-out", cert, "-days", "30", "-subj", "/CN=redis.test", "-addext", "subjectAltName=DNS:redis.test"],
                       check=True, capture_output=True)

    def certificate(self):
        folder = tempfile.mkdtemp(prefix="weir-redis-tls-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        cert, key = os.path.join(folder, "r.crt"), os.path.join(folder, "r.key")
        self.certify(cert, key)
        return cert, key

    def test_a_reload_takes_another_ca_of_the_same_file_for_the_next_connection(self):
        cert, key = self.certificate()
        server = self.redis(tls=(cert, key, cert))
        weir = self.up_with({"url": "rediss://" + server.address, "tls": {"ca": cert, "server_name": "redis.test"}})
        self.certify(cert, key)
        weir.reload()
        self.assertEqual(weir.metric("weir_redis_failures_total"), 0)
        server.kill()
        until(lambda: weir.metric("weir_rate_limit_instances") == 0)
        server.start()
        self.agree(1)

    def test_tls_is_verified(self):
        cert, key = self.certificate()
        server = self.redis("--requirepass", "p", tls=(cert, key, cert))
        settings = {"url": "rediss://" + server.address, "password": {"env": "WEIR_TEST_REDIS"},
                    "tls": {"ca": cert, "server_name": "redis.test"}}
        weir = self.up_with(settings, {"WEIR_TEST_REDIS": "p"})
        self.assertEqual(self.statuses(weir, 4), [200] * 3 + [429])
        settings["tls"]["server_name"] = "other.test"
        weir.reload(self.config({"rate": "1/h", "burst": 3}, settings))
        until(lambda: weir.metric("weir_redis_up") == 0 and weir.metric("weir_redis_failures_total") >= 1)
        self.assertRegex(weir.err(), "redis is away.*wrong_host")


class Hostile(Global):
    """Who answers in the place of Redis says things about sizes."""

    def serve(self, first, again=b""):
        self.asked = 0

        def answer(sock):
            with contextlib.suppress(OSError), sock:
                while sock.recv(65536):
                    self.asked += 1
                    sock.sendall(first)
                    while again:
                        sock.sendall(again)
        listener = socket.create_server(("127.0.0.1", ports.take()))
        self.addCleanup(listener.close)
        ports.serve_each(listener, answer)
        return "127.0.0.1:%d" % listener.getsockname()[1]

    def endures(self, words, first, again=b""):
        config = one_pool(self.up.address, redis={"url": "redis://" + self.serve(first, again)})
        weir = self.start(config)
        until(lambda: self.asked > 0, 10)
        before, worst = weir.rss(), 0
        end = time.monotonic() + 2
        while time.monotonic() < end:
            began = time.monotonic()
            self.assertEqual(weir.admin("GET", "/v1/version").status, 200)
            worst = max(worst, time.monotonic() - began)
            time.sleep(0.02)
        self.assertLess(worst, 0.5 * SLOW, "an answer of the admin API")
        if SLOW == 1:       # a sanitizer keeps what is freed
            self.assertLess(weir.rss() - before, 24 << 20)
        until(lambda: weir.metric("weir_redis_failures_total") > 0, 10)
        self.assertIn(words, weir.err())
        weir.stop()

    def test_lists_that_say_they_are_long(self):
        for first in (b"*2147483647\r\n", b"*1000000\r\n"):
            with self.subTest(first):
                self.endures("too large", first)

    def test_a_long_list_of_small_things(self):
        self.endures("too large", b"*50000000\r\n", b":1\r\n" * 20000)

    def test_lists_in_lists(self):
        self.endures("too large", b"*1000\r\n" * 3)

    def test_texts_without_end(self):
        self.endures("too large", b"*1000\r\n", b"$10000\r\n" + b"x" * 10000 + b"\r\n")

    def test_a_line_without_end(self):
        self.endures("without end", b"+", b"x" * 65536)


class Poisoned(Global):
    """What others have written below the same prefix."""

    def test_debts_that_no_burst_makes_are_none(self):
        server = self.redis()
        weir, = self.fleet(1, {"rate": "20/s", "burst": 100000})
        self.assertEqual(self.statuses(weir, 60), [200] * 60)
        key = until(lambda: next(iter(k for k in server.ask("keys", "t:limit:*")), None))
        for words in (("set", key, "1e308"), ("set", key, "nan"), ("set", key, "junk"), ("set", key, "9" * 400), ("set", key, "-1e308"),
                      ("hset", key, "a", "b")):
            with self.subTest(words):
                server.ask("del", key)
                server.ask(*words)
                end = time.monotonic() + 0.5
                while time.monotonic() < end:
                    self.assertEqual(self.statuses(weir, 3), [200] * 3)
        for words in (("set", "t:instances", "x"), ("zadd", "t:instances", "inf", "evil"),
                      ("zadd", "t:instances", *sum([[str(int(time.time() * 1000) + 10 ** 9), "i%d" % i] for i in range(2000)], []))):
            if words[0] == "set":
                server.ask("del", words[1])
            server.ask(*words)
            time.sleep(0.7)
            until(lambda: weir.metric("weir_rate_limit_instances") == 1)
        self.assertEqual(weir.metric("weir_redis_failures_total"), 0, "the connection has held")


class Mistakes(Global):

    def check(self, redis, limit=None):
        import json
        folder = tempfile.mkdtemp(prefix="weir-check-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        config = one_pool("127.0.0.1:1", routes=[dict(ALL, rate_limit=limit or {"rate": "1/s", "scope": "global"})],
                          version=1, listeners={"http": {"bind": "127.0.0.1:1"}})
        if redis is not None:
            config["redis"] = redis
        with open(os.path.join(folder, "weir.yaml"), "w") as out:
            json.dump(config, out, indent=1)
        done = run("check", "-c", os.path.join(folder, "weir.yaml"))
        return done.returncode, done.stdout + done.stderr

    def test_they_are_named(self):
        self.assertEqual(self.check({"url": "redis://127.0.0.1"})[0], 0)
        self.assertEqual(self.check({"url": "redis://[::1]:6379/7"})[0], 0)
        for redis, word in ((None, "a global limit needs redis"), ({"url": "http://x"}, "begins with redis://"),
                            ({"url": "redis://"}, "host is missing"), ({"url": "redis://h/x"}, "database is a number"),
                            ({"url": "redis://:pass@h"}, "never stands in the file"),
                            ({"url": "redis://h", "tls": {"verify": "system"}}, "rediss://"),
                            ({"url": "redis://h", "on_failure": "closd"}, 'did you mean "closed"'), ({}, '"url" is missing')):
            code, said = self.check(redis)
            self.assertEqual(code, 2, said)
            self.assertIn(word, said)
        self.assertNotIn(":pass@", self.check({"url": "redis://:pass@h"})[1])
        code, said = self.check({"url": "redis://h"}, {"rate": "1/s", "on_failure": "open"})
        self.assertEqual((code, "on_failure is for global limits" in said), (2, True))

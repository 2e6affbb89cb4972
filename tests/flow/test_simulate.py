"""weir simulate: a plan in virtual time, from the command line."""

import json
import os
import subprocess
import tempfile
import unittest

from harness import SLOW, WEIR, Case, Weir, blue_green, get
from upstream import Upstream

CONFIG = """
version: 1
listeners: {http: {bind: ["127.0.0.1:23010"]}}
pools:
  blue: {endpoints: ["127.0.0.1:23011"]}
  green: {endpoints: ["127.0.0.1:23012"]}
splits: {shop: {stable: blue, weights: {blue: 100, green: 0}}}
routes: [{name: all, split: shop}]
plans:
  quick:
    phases:
      - {name: canary, weight: 10, hold: 1m, until: proven, timeout: 10m}
      - {name: half, weight: 50, ramp: 30s, hold: 1m}
    guards:
      - {name: errors, metric: errors, max_increase: 2pp, tolerance: 0.5pp, action: rollback}
      - {name: latency, metric: latency, max_increase: 20%, tolerance: 5%, action: rollback}
      - {name: shape, metric: shape, action: observe}
"""


class Simulate(Case):

    def setUp(self):
        super().setUp()
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.config = os.path.join(self.dir.name, "weir.yaml")
        with open(self.config, "w") as file:
            file.write(CONFIG)

    def simulate(self, *words):
        return subprocess.run([WEIR, "simulate", "-c", self.config, *words], capture_output=True, text=True,
                              timeout=120 * SLOW)

    def test_a_healthy_candidate_is_promoted_and_a_bad_one_is_not(self):
        done = self.simulate("--split", "shop", "--plan", "quick", "--runs", "10", "-o", "json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = json.loads(done.stdout)
        self.assertEqual(sorted(found), ["pass_rate", "requests_to_rollback", "rollback_rate", "rollback_rate_high", "runs",
                                         "schema"])
        self.assertEqual((found["schema"], found["runs"], found["pass_rate"]), ("weir.simulation/v1", 10, 1))
        self.assertEqual(found["requests_to_rollback"], {"mean": None, "p50": None, "p95": None})
        done = self.simulate("--effect", "errors:+10pp", "--runs", "10", "-o", "json")
        found = json.loads(done.stdout)
        self.assertEqual((found["rollback_rate"], found["pass_rate"]), (1, 0))
        self.assertLess(found["requests_to_rollback"]["mean"], 5000)

    def test_the_same_seed_gives_the_same_bytes(self):
        words = ["--effect", "latency:+50%", "--runs", "5", "--seed"]
        first, second, other = (self.simulate(*words, seed).stdout for seed in ("7", "7", "8"))
        self.assertIn("requests until rollback", first)
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)

    def test_what_an_observing_guard_saw_is_told(self):
        done = self.simulate("--effect", "size:20%", "--runs", "2")
        self.assertRegex(done.stdout, r"guard shape failed, which is to observe  2")
        self.assertRegex(done.stdout, r"promoted +2")

    def test_mistakes_are_told_with_what_was_meant(self):
        for words, said in ((["--plan", "quik"], 'did you mean "quick"?'),
                            (["--split", "shopp"], 'did you mean "shop"?'),
                            (["--effect", "errors"], "say how much"),
                            (["--rps", "many"], "say a number"),
                            (["--weather", "rain"], "steady, drift"),
                            (["--runs", "0"], "from 1 to"),
                            (["--seed", "x"], "whole number"),
                            (["--log", "/nonexistent"], "No such file"),
                            (["--log", "x", "--rps", "5"], "its own traffic"),
                            (["-o", "xml"], "table or json")):
            with self.subTest(words=words):
                done = self.simulate(*words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(said, done.stderr)
        done = subprocess.run([WEIR, "simulate"], capture_output=True, text=True, timeout=30 * SLOW)
        self.assertEqual(done.returncode, 2)
        self.assertIn("-c FILE", done.stderr)

    def test_the_log_that_weir_wrote_is_replayed(self):
        log = os.path.join(self.dir.name, "access.jsonl")
        with Upstream() as upstream:
            config = blue_green(upstream.address, upstream.address, logs={"access": {"path": log}})
            with Weir(config) as weir:
                client = weir.client()
                for _ in range(200):
                    client.ask(get("/"))
                weir.stop()
        with open(log) as file:
            split = json.loads(file.readline())["weir.split"]
        with open(self.config) as file:
            text = file.read().replace("shop", split)
        with open(self.config, "w") as file:
            file.write(text)
        words = ["--log", log, "--runs", "3", "-o", "json"]
        first, second = self.simulate(*words), self.simulate(*words)
        self.assertEqual((first.returncode, first.stderr), (0, ""))
        self.assertEqual(first.stdout, second.stdout)
        self.assertEqual(json.loads(first.stdout)["rollback_rate"], 0)
        bad = self.simulate(*words, "--effect", "errors:+30pp")
        self.assertEqual(json.loads(bad.stdout)["rollback_rate"], 1)


if __name__ == "__main__":
    unittest.main()

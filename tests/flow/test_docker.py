"""What docker/ brings along: the pipeline script against a running weir, and the files against the tools that read them."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import Case, Load, ROOT, SLOW, WEIR, blue_green, run, until

DOCKER = os.path.join(ROOT, "docker")


@unittest.skipUnless(shutil.which("jq"), "jq is not installed")
class Shift(Case):
    limit = 60

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-shift-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.ctl = os.path.join(self.dir, "weirctl")
        os.symlink(os.path.abspath(WEIR), self.ctl)

    def begin(self, green):
        config = blue_green(self.upstream("hello").address, self.upstream(green).address)
        config["pools"]["green"]["retry"] = {"max": 0}
        self.weir = self.start(config)

    def shift(self, *steps, **settings):
        env = dict(os.environ, WEIR_ADMIN="unix:" + self.weir.admin_path, WEIRCTL=self.ctl, HOLD="1", MIN_REQUESTS="20", **settings)
        return subprocess.Popen(["sh", os.path.join(DOCKER, "pipeline", "shift.sh"), "shop", "green", *steps], env=env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self, process):
        out, err = process.communicate(timeout=50 * SLOW)
        return process.returncode, out + err

    def test_a_healthy_pool_is_promoted_step_by_step(self):
        self.begin("hello")
        with Load(self.weir.address) as load:
            code, said = self.end(self.shift("25", "100", RELEASE="2026.09"))
        self.assertEqual((code, load.failures), (0, []), said)
        self.assertEqual(self.weir.weights(), {"blue": 0, "green": 100})
        changes = [e for e in self.weir.admin("GET", "/v1/audit").json["entries"] if e["action"] == "weights"]
        self.assertEqual([e["after"]["green"] for e in changes], [25, 100])
        self.assertEqual(changes[0]["reason"], "shift.sh: 2026.09")

    def test_a_pool_that_fails_is_taken_back(self):
        self.begin("garbage")
        with Load(self.weir.address):
            code, said = self.end(self.shift("25", "100"))
        self.assertEqual(code, 10, said)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.assertRegex(said, r"requests to green failed")

    def test_without_traffic_nothing_is_decided_and_it_is_taken_back(self):
        self.begin("hello")
        code, said = self.end(self.shift("5", TIMEOUT="2"))
        self.assertEqual(code, 13, said)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_somebody_elses_weights_stay(self):
        self.begin("hello")
        process = self.shift("5", TIMEOUT="20")
        until(lambda: self.weir.weights()["green"] == 5)
        self.weir.admin("PUT", "/v1/splits/shop/weights", {"weights": {"blue": 70, "green": 30}})
        code, said = self.end(process)
        self.assertEqual(code, 6, said)
        self.assertEqual(self.weir.weights(), {"blue": 70, "green": 30})

    def test_an_interrupt_takes_it_back(self):
        self.begin("hello")
        process = self.shift("5", TIMEOUT="20")
        until(lambda: self.weir.weights()["green"] == 5)
        process.send_signal(signal.SIGTERM)
        code, said = self.end(process)
        self.assertEqual(code, 130, said)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})


class Files(Case):

    def tool(self, name, *words, **more):
        if not shutil.which(name):
            self.skipTest(name + " is not installed")
        done = subprocess.run([name, *words], capture_output=True, text=True, timeout=60 * SLOW, **more)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_rules_hold(self):
        folder = os.path.join(DOCKER, "prometheus")
        self.tool("promtool", "check", "rules", "rules.yml", cwd=folder)
        self.tool("promtool", "test", "rules", "rules_test.yml", cwd=folder)

    def test_the_rules_name_metrics_that_there_are(self):
        up = self.upstream("hello")
        metrics = self.start(blue_green(up.address, up.address)).admin("GET", "/metrics").text
        with open(os.path.join(DOCKER, "prometheus", "rules.yml")) as rules:
            exprs = "\n".join(re.findall(r"^ *expr: (.*)", rules.read(), re.M))
        names = {n for n in re.findall(r"(?<![:\w])(?:weir|process)_\w+", exprs)}
        self.assertGreater(len(names), 12)
        for name in names:
            with self.subTest(metric=name):
                self.assertRegex(metrics, r"(?m)^# TYPE %s " % re.sub(r"_bucket$", "", name))

    def test_the_unit_is_locked_up(self):
        self.tool("systemd-analyze", "security", "--offline=true", "--threshold=20", os.path.join(DOCKER, "systemd", "weir.service"))

    def test_the_compose_file_is_one(self):
        self.tool("docker-compose", "-f", os.path.join(DOCKER, "compose.yaml"), "config", "-q")

    def test_the_example_is_fine(self):
        done = run("check", "--strict", os.path.join(DOCKER, "weir.yaml"))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_image_has_every_library(self):
        with open(os.path.join(DOCKER, "Dockerfile")) as text:
            packages = text.read().split("\nFROM ")[-1]
        needed = re.findall(r"NEEDED.*\[lib(\w+)[-.]", self.tool("readelf", "-d", WEIR))
        self.assertIn("event_core", needed)
        for library in needed:
            if library not in ("c", "m", "crypto", "gcc_s", "asan", "ubsan", "tsan"):
                with self.subTest(library=library):
                    self.assertIn("lib" + {"cares": "c-ares"}.get(library, library.replace("_", "-")), packages)


if __name__ == "__main__":
    unittest.main()

"""The command line, the metrics and the access log, as scripts and dashboards see them."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import Case, Client, Load, ROOT, Shared, SLOW, WEIR, blue_green, free_port, get, post, run, until

# Five mistakes, each with the place and the words that the answer must hold.
MISTAKES = """\
version: 1
workers: many
listeners:
  http:
    bind: ["127.0.0.1:8080"]
pools:
  blue:
    endpoints: ["127.0.0.1:9001"]
    balance: round_robbin
  green:
    endpoints: ["127.0.0.1:9002"]
    timeouts: {conect: 1s}
    balance: p2c
    balance: random
routes:
  - name: shop
    match: {path_prefix: /}
    pool: gren
"""
PLACES = {(2, 10): "many", (9, 14): "round_robin", (12, 16): "connect", (14, 5): "balance", (18, 11): "green"}
GOOD = """\
version: 1
listeners: {http: {bind: ["127.0.0.1:8080"]}}
pools: {app: {endpoints: ["127.0.0.1:9001"]}}
routes: [{name: all, match: {path_prefix: /}, pool: app}]
"""
COMMANDS = ("run", "check", "proxy", "demo", "demo-upstream", "schema", "explain", "health", "drain", "completion", "version")


class Files(Case):

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-cli-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def file(self, text, name="weir.yaml"):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as out:
            out.write(text if isinstance(text, bytes) else text.encode())
        return path

    def test_a_good_file_is_good(self):
        self.assertEqual(run("check", "-c", self.file(GOOD)).returncode, 0)
        self.assertEqual(run("-t", "-c", self.file(GOOD)).returncode, 0)

    def test_the_examples_are_good(self):
        folder = os.path.join(ROOT, "docker", "examples")
        names = sorted(os.listdir(folder))
        self.assertTrue({"express.yaml", "standard.yaml", "guarded.yaml", "blue-green.yaml"} <= set(names), names)
        for name in names:
            with self.subTest(name=name):
                done = run("check", "--strict", "-c", os.path.join(folder, name))
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_same_as_json(self):
        text = json.dumps({"version": 1, "listeners": {"http": {"bind": ["127.0.0.1:8080"]}}, "pools": {"app": {"endpoints": ["127.0.0.1:9001"]}},
                           "routes": [{"name": "all", "match": {"path_prefix": "/"}, "pool": "app"}]}, indent=2)
        self.assertEqual(run("check", "-c", self.file(text)).returncode, 0)

    def test_five_mistakes_at_their_places(self):
        path = self.file(MISTAKES)
        done = run("check", "-c", path)
        self.assertEqual(done.returncode, 2)
        said = done.stdout + done.stderr
        found = re.findall(r"^%s:(\d+):(\d+): error\[(E\d+)\]: (.*)" % re.escape(path), said, re.M)
        self.assertEqual(len(found), 5, said)
        self.assertEqual({(int(l), int(c)) for l, c, _, _ in found}, set(PLACES), said)
        self.assertGreaterEqual(said.count("did you mean"), 3)
        for line in said.splitlines():
            if "did you mean" in line:
                self.assertRegex(line, r"\^|did you mean")
        self.assertRegex(said, r"5 errors\b.*Nothing was changed")
        self.assertNotIn("\x1b", said)

    def test_the_same_five_as_json(self):
        done = run("check", "-c", self.file(MISTAKES), "--format", "json")
        self.assertEqual(done.returncode, 2)
        document = json.loads(done.stdout)
        self.assertEqual(document["schema"], "weir.check/v1")
        self.assertEqual({(e["line"], e["column"]) for e in document["errors"]}, set(PLACES))
        for error in document["errors"]:
            self.assertRegex(error["code"], r"\AE\d{3}\Z")
            self.assertTrue(error["message"])
            self.assertTrue({"file", "hint"} <= set(error))
            if "round_robbin" in error["message"] or "conect" in error["message"]:
                self.assertIn(PLACES[(error["line"], error["column"])], error["hint"])

    def test_files_that_are_none(self):
        big = self.file(b"", "big.yaml")
        with open(big, "r+b") as out:
            out.truncate(100 << 20)
        for path in (os.path.join(self.dir, "missing.yaml"), self.dir, self.file("", "empty.yaml"), self.file(os.urandom(4096), "junk.yaml"), big):
            with self.subTest(path=os.path.basename(path)):
                began = time.monotonic()
                done = run("check", "-c", path)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(os.path.basename(path), done.stderr)
                self.assertLess(time.monotonic() - began, 1.5 * SLOW)

    def test_a_code_is_explained(self):
        done = run("check", "--explain", "E012")
        self.assertEqual(done.returncode, 0)
        self.assertIn("key", done.stdout)
        self.assertEqual(run("check", "--explain", "E999").returncode, 2)

    def test_the_schema_is_json_schema(self):
        done = run("schema")
        self.assertEqual(done.returncode, 0)
        schema = json.loads(done.stdout)
        self.assertIn("2020-12", schema["$schema"])
        self.assertIn("listeners", schema["properties"])

    def test_a_key_is_explained_and_a_typo_suggested(self):
        done = run("explain", "pools.balance")
        self.assertEqual(done.returncode, 0)
        self.assertIn("round_robin", done.stdout)
        done = run("explain", "pools.balence")
        self.assertEqual(done.returncode, 2)
        self.assertIn("balance", done.stderr)

    def test_a_secret_is_never_printed(self):
        key = self.file("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n", "bad.key")
        text = GOOD.replace('bind: ["127.0.0.1:8080"]', 'bind: ["127.0.0.1:8080"], tls: {certificates: [{cert: %s, key: {file: %s}}]}' % (key, key))
        done = run("check", "-c", self.file(text))
        self.assertEqual(done.returncode, 2)
        self.assertNotIn("c2VjcmV0", done.stdout + done.stderr)

    def test_the_words_of_other_proxies_are_understood(self):
        for wrong, near in (("listeners: {http: {listen: ['127.0.0.1:8080']}}", '"bind"'), ("pools: {app: {servers: ['127.0.0.1:1']}}", '"endpoints"'),
                            ("backends: {app: {endpoints: ['127.0.0.1:1']}}", '"pools"'), ("routes: [{path_prefix: /a, pool: app}]", "match: {path_prefix: ...}"),
                            ("listeners: {http: {bind: ['127.0.0.1:1'], idle_timeout: 5s}}", "limits: {idle_timeout: ...}")):
            with self.subTest(wrong=wrong):
                done = run("check", self.file("version: 1\n%s\n" % wrong))
                self.assertEqual(done.returncode, 2)
                self.assertIn(near, done.stderr)

    def test_an_address_has_no_scheme(self):
        done = run("check", self.file(GOOD.replace('"127.0.0.1:9001"', '"https://127.0.0.1:9001"')))
        self.assertEqual(done.returncode, 2)
        self.assertIn('without "https://"', done.stderr)

    def test_a_star_in_a_path_is_a_warning(self):
        done = run("check", self.file(GOOD.replace("path_prefix: /", "path: /api/*")))
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"warning\[W011\].*ordinary")
        self.assertIn("path_prefix: /api", done.stderr)
        self.assertNotIn("W011", run("check", self.file(GOOD)).stderr)

    def test_a_config_on_standard_input(self):
        self.assertEqual(run("check", "-", stdin=GOOD).returncode, 0)
        done = run("check", "-c", "-", stdin=GOOD.replace("bind", "bnd"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("-:2:", done.stderr)

    def test_a_limit_of_descriptors_that_is_too_low_is_told(self):
        done = subprocess.run(["sh", "-c", 'ulimit -n 20; exec "$0" run -c "$1"', WEIR, self.file(GOOD)], capture_output=True, text=True, timeout=20 * SLOW)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"limit of open files is 20, and \d+ are needed")

    @unittest.skipIf(os.geteuid() != 0, "drops to another user")
    def test_what_a_user_may_not_do_is_told_with_what_helps(self):
        os.chmod(self.dir, 0o755)
        weir = os.path.join(self.dir, "weir")
        shutil.copy(WEIR, weir)
        state = os.path.join(self.dir, "state")
        os.mkdir(state, 0o700)

        def as_nobody(*words, **env):
            return subprocess.run(words, capture_output=True, text=True, timeout=20 * SLOW, user=65534, group=65534, extra_groups=[], env={"PATH": os.environ["PATH"], **env})
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as limit:
            if int(limit.read()) > 1:
                done = as_nobody(weir, "run", "-c", self.file(GOOD.replace(":8080", ":1")))
                self.assertEqual(done.returncode, 2)
                self.assertIn("CAP_NET_BIND_SERVICE", done.stderr)
        done = as_nobody(weir, "run", "-c", self.file(GOOD.replace(":8080", ":%d" % free_port()) + "state_dir: %s\n" % state))
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, "state_dir %s: Permission denied; give it" % state)
        with tempfile.TemporaryDirectory() as locked:
            os.symlink(weir, os.path.join(self.dir, "weirctl"))
            done = as_nobody(os.path.join(self.dir, "weirctl"), "status", WEIR_ADMIN="unix:%s/admin.sock" % locked)
        self.assertEqual(done.returncode, 5)
        self.assertIn("permission denied", done.stderr)


class Words(Case):

    def test_help_of_every_command(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        for command in COMMANDS:
            with self.subTest(command=command):
                self.assertIn(command, done.stdout)
                helped = run(command, "--help")
                self.assertEqual(helped.returncode, 0, helped.stderr)
                self.assertIn("weir " + command, helped.stdout)
                self.assertNotIn("\x1b", helped.stdout)

    def test_typos_are_suggested_and_exit_2(self):
        for args, word in ((["rn"], "run"), (["chek"], "check"), (["shema"], "schema"), (["check", "--formt", "json"], "--format")):
            with self.subTest(args=args):
                done = run(*args)
                self.assertEqual(done.returncode, 2)
                self.assertIn(word, done.stderr)

    def test_nothing_at_all_is_usage(self):
        done = run()
        self.assertIn(done.returncode, (0, 2))
        self.assertIn("weir", done.stdout + done.stderr)

    def test_run_without_a_file_is_usage(self):
        self.assertEqual(run("run").returncode, 2)
        self.assertEqual(run("run", "-c", "/nonexistent/weir.yaml").returncode, 2)

    def test_version(self):
        done = run("version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"\d+\.\d+\.\d+")

    def test_completion_can_be_sourced(self):
        done = run("completion", "bash")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(subprocess.run(["bash", "-n"], input=done.stdout, text=True).returncode, 0)

    def test_a_busy_port_is_named(self):
        import socket
        directory = tempfile.mkdtemp(prefix="weir-cli-")
        self.addCleanup(shutil.rmtree, directory, True)
        with socket.socket() as busy:
            port = free_port()
            busy.bind(("127.0.0.1", port))
            busy.listen()
            path = os.path.join(directory, "weir.yaml")
            with open(path, "w") as out:
                out.write(GOOD.replace("8080", str(port)) + "state_dir: %s/state\nadmin: {listen: [\"unix:%s/a.sock\"]}\n" % (directory, directory))
            done = run("run", "-c", path)
        self.assertEqual(done.returncode, 2)
        self.assertIn("127.0.0.1:%d" % port, done.stderr)
        self.assertIn("in use", done.stderr)

    def test_a_state_dir_that_cannot_be_written_is_named(self):
        directory = tempfile.mkdtemp(prefix="weir-cli-")
        self.addCleanup(shutil.rmtree, directory, True)
        path = os.path.join(directory, "weir.yaml")
        with open(path, "w") as out:
            out.write(GOOD.replace("8080", str(free_port())) + "state_dir: /proc/nowhere/state\nadmin: {listen: [\"unix:%s/a.sock\"]}\n" % directory)
        done = run("run", "-c", path)
        self.assertIn(done.returncode, (1, 2))
        self.assertIn("/proc/nowhere/state", done.stderr)


class ProxyWithoutAFile(Case):

    def test_weights_on_the_command_line(self):
        blue, canary = self.upstream("hello", name="blue"), self.upstream("hello", name="canary")
        port = free_port()
        with tempfile.TemporaryFile() as err:
            process = subprocess.Popen([WEIR, "proxy", "127.0.0.1:%d" % port, "blue=%s@90" % blue.address, "canary=%s@10" % canary.address], stdout=err, stderr=err)
            try:
                address = ("127.0.0.1", port)

                def answers():
                    self.assertIsNone(process.poll())
                    try:
                        with Client(address) as client:
                            return client.ask(get()).status == 200
                    except OSError:
                        return False
                until(answers, 10)
                count = len(canary.seen)
                with Client(address) as client:
                    for _ in range(1000):
                        self.assertEqual(client.ask(get()).status, 200)
                self.assertAlmostEqual(len(canary.seen) - count, 100, delta=30)
            finally:
                process.terminate()
                code = process.wait(10 * SLOW)
            self.assertEqual(code, 0)

    def test_wrong_words_are_usage(self):
        for args in (["127.0.0.1:0"], ["127.0.0.1:1", "blue"], ["127.0.0.1:1", "blue=127.0.0.1:1@60", "green=127.0.0.1:2@60"], ["nonsense", "a=127.0.0.1:1"]):
            with self.subTest(args=args):
                done = run("proxy", *args)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertTrue(done.stderr)


class Ctl(Case):

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-ctl-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.name = os.path.join(self.dir, "weirctl")
        os.symlink(os.path.abspath(WEIR), self.name)
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.weir = self.start(blue_green(self.blue.address, self.green.address))

    def ctl(self, *args, env=None):
        return subprocess.run([self.name, *args], capture_output=True, text=True, timeout=20 * SLOW,
                              env=dict(os.environ, WEIR_ADMIN="unix:" + self.weir.admin_path, **(env or {})))

    def document(self, *args):
        done = self.ctl(*args, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        self.assertRegex(document["schema"], r"\Aweir\.[a-z_.-]+/v1\Z")
        return document

    def test_status_as_a_table_and_as_json(self):
        done = self.ctl("status")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("shop", done.stdout)
        self.assertNotIn("\x1b", done.stdout)
        self.document("status")

    def test_weights_are_set(self):
        done = self.ctl("weights", "shop", "blue=75", "green=25", "--reason", "by hand")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.weir.weights(), {"blue": 75, "green": 25})
        self.document("split", "shop")

    def test_exit_codes(self):
        for args, code in ((["weights", "shop", "blue=75", "green=26"], 2), (["weights", "shop", "blue=-5", "green=105"], 2), (["weights", "shop", "blue=nan", "green=1"], 2),
                           (["weights", "nosuch", "blue=75", "green=25"], 3), (["weights", "shop", "blue=75", "green=25", "--if-match", "\"stale\""], 6),
                           (["nonsense"], 2), (["weights"], 2), (["status", "--nonsense"], 2)):
            with self.subTest(args=args):
                done = self.ctl(*args)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertTrue(done.stderr)
                self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_an_unknown_pool_is_2_or_3_with_a_hint(self):
        done = self.ctl("weights", "shop", "blue=95", "gren=5")
        self.assertIn(done.returncode, (2, 3))
        self.assertIn("green", done.stderr)

    def test_nobody_there_is_5(self):
        done = self.ctl("status", "--admin", "unix:" + self.dir + "/nobody.sock")
        self.assertEqual(done.returncode, 5)
        self.assertIn("nobody.sock", done.stderr)

    def test_a_dry_run_changes_nothing(self):
        self.assertEqual(self.ctl("weights", "shop", "blue=75", "green=25", "--dry-run").returncode, 0)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_undo(self):
        self.ctl("weights", "shop", "blue=75", "green=25")
        self.assertEqual(self.ctl("undo", "shop").returncode, 0)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_config_reload_tells_what_is_wrong(self):
        self.weir.write("version: 1\nlisteners: {http: {bnd: [\"@HTTP@\"]}}\n")
        done = self.ctl("config", "reload")
        self.assertEqual(done.returncode, 2)
        self.assertIn("bind", done.stderr + done.stdout)

    def test_help_and_typos(self):
        self.assertEqual(self.ctl("--help").returncode, 0)
        done = self.ctl("weigths", "shop")
        self.assertEqual(done.returncode, 2)
        self.assertIn("weights", done.stderr)

    def test_weir_health_follows_readyz(self):
        env = {"WEIR_ADMIN": "unix:" + self.weir.admin_path}
        self.assertEqual(run("health", env=env).returncode, 0)
        self.assertNotEqual(run("health", env={"WEIR_ADMIN": "unix:/nonexistent.sock"}).returncode, 0)


FAMILIES = """weir_build_info weir_config_last_reload_successful weir_config_last_reload_success_timestamp_seconds weir_http_requests_total
weir_http_request_duration_seconds weir_http_requests_in_flight weir_connections weir_http_request_bytes_total weir_http_response_bytes_total
weir_upstream_requests_total weir_upstream_errors_total weir_upstream_retries_total weir_upstream_connect_seconds weir_endpoint_up
weir_split_weight_ratio weir_event_loop_lag_seconds process_resident_memory_bytes""".split()


class Metrics(Case):

    def setUp(self):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.weir = self.start(blue_green(self.blue.address, self.green.address, weights=(75, 25)))
        with self.weir.client() as client:
            for i in range(100):
                client.ask(get("/path-%d" % i, host="host-%d.example" % i))
            client.ask(get("/", method="WEIRD"))
            client.ask(get("/m/status/500"))

    def test_promtool_has_nothing_to_say(self):
        promtool = shutil.which("promtool")
        self.assertTrue(promtool, "promtool is not installed")
        done = subprocess.run([promtool, "check", "metrics"], input=self.weir.metrics(), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_the_families_are_there(self):
        text = self.weir.metrics()
        for family in FAMILIES:
            self.assertIn("# TYPE %s " % family, text)

    def test_openmetrics_by_accept(self):
        reply = self.weir.admin("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        self.assertIn("application/openmetrics-text", reply.headers["Content-Type"])
        self.assertTrue(reply.text.endswith("# EOF\n"))

    def test_requests_are_counted_once(self):
        until(lambda: self.weir.metric("weir_http_requests_total") == 102, 3, "102 requests")
        self.assertEqual(self.weir.metric("weir_http_requests_total", code="500"), 1)
        self.assertEqual(self.weir.metric("weir_http_requests_total", pool="green"), len(self.green.seen))
        self.assertEqual(self.weir.metric("weir_http_request_duration_seconds_count"), 102)

    def test_no_label_comes_from_a_request(self):
        text = self.weir.metrics()
        for word in ("path-", "host-", "WEIRD"):
            self.assertNotIn(word, text)

    def test_the_weights_are_there(self):
        self.assertEqual(self.weir.metric("weir_split_weight_ratio", split="shop", pool="green", kind="desired"), 0.25)

    def test_counters_only_grow(self):
        def counters():
            return {m[1]: float(m[2]) for m in re.finditer(r"(?m)^(\w+_total(?:\{[^}]*\})?) (\S+)$", self.weir.metrics())}
        before = counters()
        with Load(self.weir.address) as load:
            for _ in range(10):
                now = counters()
                for name, value in before.items():
                    self.assertGreaterEqual(now.get(name, value), value, name)
                before = now
        self.assertEqual(load.failures, [])


KEYS = {"http.request.method", "url.path", "http.response.status_code", "client.address", "network.peer.address", "network.protocol.version",
        "user_agent.original", "http.route", "trace_id", "span_id", "weir.pool", "weir.upstream.address", "weir.request_id",
        "weir.ms.connect", "weir.ms.first_byte", "weir.ms.total", "weir.bytes_in", "weir.bytes_out"}


class AccessLog(Shared):

    def row(self, path):
        return until(lambda: next((r for r in self.weir.access() if r.get("url.path") == path), None), 5, "the row of %s" % path)

    def test_the_keys_of_the_contract(self):
        self.ask(post("/keys?a=b", b"hello", user_agent="test/1"))
        row = self.row("/keys")
        self.assertLessEqual(KEYS, set(row), KEYS - set(row))
        self.assertEqual((row["http.request.method"], row["http.response.status_code"], row["http.route"], row["weir.pool"]), ("POST", 200, "all", "app"))
        self.assertEqual((row["user_agent.original"], row["client.address"], row["weir.upstream.address"]), ("test/1", "127.0.0.1", self.up.address))
        self.assertEqual(row["weir.request_id"], self.up.seen[0].one("x-request-id").decode())
        self.assertEqual(row["trace_id"], self.up.seen[0].one("traceparent").decode().split("-")[1])
        self.assertGreaterEqual(row["weir.ms.total"], row["weir.ms.first_byte"])
        self.assertGreaterEqual(row["weir.bytes_in"], 5)

    def test_the_queue_ends_where_the_connection_begins(self):
        self.ask(get("/parts"))
        row = self.row("/parts")
        self.assertLessEqual(row["weir.ms.queue"] + row["weir.ms.connect"] + row["weir.ms.first_byte"], row["weir.ms.total"] + 0.003)

    def test_quotes_and_controls_are_escaped(self):
        nasty = 'a"b\\c\'<x>\t{"k": 1}'
        self.ask(get("/escape%0d%0aset-cookie:%20x", user_agent=nasty))
        row = until(lambda: next((r for r in self.weir.access() if r.get("url.path", "").lower() == "/escape%0d%0aset-cookie:%20x"), None), 5)
        self.assertEqual(row["user_agent.original"], nasty)

    def test_bytes_that_are_not_utf_8_are_still_one_valid_line(self):
        self.ask(b"GET /latin HTTP/1.1\r\nHost: t\r\nUser-Agent: caf\xe9 \xff\xfe\r\n\r\n")
        until(lambda: [r for r in self.weir.access() if r.get("url.path") == "/latin"] or self.weir.access()[-1:], 5)

    def test_a_long_field_is_cut_and_the_line_stays_valid(self):
        self.ask(get("/long/" + "a" * 7000, user_agent="u" * 20000))
        until(lambda: [r for r in self.weir.access() if r.get("url.path", "").startswith("/long/")], 5)
        with open(self.weir.access_path, "rb") as log:
            self.assertLessEqual(max(len(line) for line in log), 8192)

    def test_a_refusal_is_logged_with_its_error(self):
        self.ask(get("/m/garbage"))
        row = self.row("/m/garbage")
        self.assertEqual((row["http.response.status_code"], row["error.type"], row["weir.ended_by"]), (502, "upstream_protocol", "pool"))

    def test_what_is_no_request_is_logged_too(self):
        for raw, status, word in ((b"GET /no-host HTTP/1.1\r\n\r\n", 400, "host"), (b"GET / HTTP/7.0\r\nHost: t\r\n\r\n", 505, "version"),
                                  (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 70000 + b"\r\n\r\n", 431, "")):
            with self.subTest(status=status), self.weir.client() as client:
                client.send(raw)
                self.assertEqual(client.answer().status, status)
                row = until(lambda: next((r for r in self.weir.access() if r["http.response.status_code"] == status), None), 5)
                self.assertEqual((row["client.address"], row["weir.listener"], row["weir.ended_by"]), ("127.0.0.1", "http", "client"))
                self.assertIn(word, row["error.type"])

    def test_a_method_that_nobody_knows_is_logged_as_it_came(self):
        self.ask(b"BREW /pot HTTP/1.1\r\nHost: t\r\n\r\n")
        row = self.row("/pot")
        self.assertEqual((row["http.request.method"], row["http.request.method_original"]), ("_OTHER", "BREW"))

    def test_no_secret_is_logged(self):
        self.ask(get("/secret", authorization="Bearer hunter2", cookie="session=hunter2"))
        self.row("/secret")
        with open(self.weir.access_path) as log:
            self.assertNotIn("hunter2", log.read())

    def test_logs_are_reopened_on_sigusr1(self):
        import signal
        self.ask(get("/before"))
        self.row("/before")
        os.rename(self.weir.access_path, self.weir.access_path + ".1")
        self.weir.tell(signal.SIGUSR1)
        until(lambda: os.path.exists(self.weir.access_path), 5)
        self.ask(get("/rotated"))
        self.row("/rotated")

    def test_every_request_has_its_line(self):
        with self.weir.client() as client:
            for i in range(200):
                client.ask(get("/counted"))
        until(lambda: len([r for r in self.weir.access() if r.get("url.path") == "/counted"]) == 200, 5, "200 lines")


class AdminDoor(Case):
    """Who gets in: security.md section 8, as far as the contract names it."""

    def setUp(self):
        self.up = self.upstream("hello")
        self.dir = tempfile.mkdtemp(prefix="weir-door-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.port = free_port()
        for name in ("op", "view"):
            with open(os.path.join(self.dir, name), "w") as out:
                out.write("token-of-%s-0123456789\n" % name)
            os.chmod(os.path.join(self.dir, name), 0o600)
        config = blue_green(self.up.address, self.up.address)
        config["state_dir"] = os.path.join(self.dir, "state")
        self.sock = os.path.join(self.dir, "a.sock")
        config["admin"] = {"listen": ["unix:" + self.sock, "127.0.0.1:%d" % self.port], "access": [
            {"who": "uid:%d" % os.getuid(), "role": "admin"},
            {"who": "token:op", "secret": {"file": self.dir + "/op"}, "role": "operator"},
            {"who": "token:view", "secret": {"file": self.dir + "/view"}, "role": "viewer"}]}
        self.weir = self.start(config)
        self.weir.admin_path = self.sock

    def http(self, method, path, token=None, body=None, **headers):
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10 * SLOW)
        fields = {k.replace("_", "-"): v for k, v in headers.items()}
        if token:
            fields["Authorization"] = "Bearer token-of-%s-0123456789" % token
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, fields)
            return connection.getresponse().status
        finally:
            connection.close()

    def test_roles(self):
        change = {"weights": {"blue": 90, "green": 10}}
        path = "/v1/splits/shop/weights"
        self.assertEqual(self.http("GET", "/v1/splits"), 401)
        self.assertEqual(self.http("GET", "/v1/splits", "view"), 200)
        self.assertEqual(self.http("PUT", path, None, change), 401)
        self.assertEqual(self.http("PUT", path, "wrong", change), 401)
        self.assertEqual(self.http("PUT", path, "view", change), 403)
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})
        self.assertEqual(self.http("PUT", path, "op", change), 200)

    def test_cross_origin_and_foreign_hosts_are_refused(self):
        change = {"weights": {"blue": 90, "green": 10}}
        path = "/v1/splits/shop/weights"
        self.assertEqual(self.http("PUT", path, "op", change, Origin="https://evil.example"), 403)
        self.assertIn(self.http("GET", "/v1/splits", "view", Host="evil.example"), (403, 421))
        self.assertIn(self.http("PUT", path, "op", change, Content_Type="text/plain"), (400, 403, 415))
        self.assertIn(self.http("GET", path, "op"), (404, 405))
        self.assertEqual(self.weir.weights(), {"blue": 100, "green": 0})

    def test_the_socket_is_for_its_owner(self):
        self.assertEqual(os.stat(self.sock).st_mode & 0o777, 0o600)

    def test_a_large_body_is_refused(self):
        self.assertIn(self.http("PUT", "/v1/splits/shop/weights", "op", {"weights": {"blue": 100, "green": 0}, "reason": "x" * 100000}), (400, 413))

    def test_unknown_paths_and_methods(self):
        self.assertEqual(self.weir.admin("GET", "/v1/nothing").status, 404)
        self.assertEqual(self.weir.admin("DELETE", "/v1/splits/shop").status, 405)
        self.assertEqual(self.weir.admin("GET", "/healthz").status, 200)
        self.assertEqual(self.weir.admin("GET", "/readyz").status, 200)
        self.assertEqual(self.weir.admin("GET", "/v1/version").status, 200)
        self.assertEqual(self.weir.admin("GET", "/v1/openapi.json").status, 200)


if __name__ == "__main__":
    unittest.main()

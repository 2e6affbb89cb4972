"""The command line: help, mistakes, and the commands that need no file."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import ROOT, SLOW, WEIR, UnixConnection, Weir, blue_green, free_port, one_pool, until
from upstream import Upstream

COMMANDS = ["run", "check", "proxy", "demo", "demo-upstream", "simulate", "explain", "schema", "health", "drain", "completion", "version"]


def weir(*words, **more):
    more.setdefault("timeout", 60 * SLOW)
    return subprocess.run([WEIR, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", **more)


@contextlib.contextmanager
def running(*words, env=None):
    """A weir of its own until the block ends; SIGTERM then, and exit code 0."""
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([WEIR, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, text=True,
                                   env=dict(os.environ, **(env or {})))

        def said():
            err.seek(0)
            return err.read()
        process.said = said
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(60 * SLOW)
            assert code == 0, "exit code %d: %s" % (code, said())
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()


def ask(port, path="/", **fields):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOW)
    try:
        link.request("GET", path, headers={k.replace("_", "-"): v for k, v in fields.items()})
        answer = link.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        link.close()


class HelpAndTypos(unittest.TestCase):

    def test_every_command_has_help_with_an_example(self):
        for name in COMMANDS:
            for words in ([name, "--help"], [name, "-h"], ["help", name]):
                with self.subTest(words=words):
                    done = weir(*words)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertIn("example:\n  ", done.stdout)
                    self.assertRegex(done.stdout, r"\Ausage: weir %s\b" % name)

    def test_the_overview_lists_every_command(self):
        for words in (["--help"], ["-h"], ["help"]):
            done = weir(*words)
            self.assertEqual(done.returncode, 0)
            listed = re.findall(r"^  ([a-z-]+) ", done.stdout, re.M)
            self.assertEqual(sorted(listed), sorted(COMMANDS))

    def test_nothing_at_all_is_a_mistake_that_shows_the_overview(self):
        done = weir()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("usage: weir COMMAND", done.stderr)

    def test_a_typo_is_exit_2_and_a_suggestion(self):
        for words, meant in ((["rn"], "run"), (["chekc"], "check"), (["prxy"], "proxy"), (["dmeo"], "demo"),
                             (["demo-upstraem"], "demo-upstream"), (["Check"], "check"),
                             (["check", "--srtict", "x"], "--strict"), (["demo", "--onec"], "--once"),
                             (["check", "--format", "jsn", "x"], "json"), (["completion", "bsh"], "bash"),
                             (["explain", "pool.balance"], "pools")):
            with self.subTest(words=words):
                done = weir(*words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(meant, done.stderr)

    def test_what_resembles_nothing_gets_no_suggestion(self):
        done = weir("zzzzzz")
        self.assertEqual(done.returncode, 2)
        self.assertNotIn("did you mean", done.stderr)

    def test_no_escape_codes_without_a_terminal(self):
        for words in (["--help"], ["check", "/nonexistent"], ["rn"]):
            done = weir(*words)
            self.assertNotIn("\033", done.stdout + done.stderr)

    def test_the_version_is_said_in_three_ways(self):
        said = {weir(*words).stdout for words in (["version"], ["--version"], ["-v"])}
        self.assertEqual(len(said), 1)
        self.assertRegex(said.pop(), r"\Aweir \d+\.\d+\.\d+\n\Z")

    def test_the_demo_breaks_only_in_the_ways_that_it_knows(self):
        for word, hint in (("error", "did you mean errors"), ("well", "errors, latency, crash or hang"), ("", "errors, latency, crash or hang")):
            done = weir("demo", "--break", word)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(hint, done.stderr)

    def test_by_the_name_weirctl_it_is_the_client(self):
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "weirctl")
            os.symlink(os.path.abspath(WEIR), name)
            done = subprocess.run([name, "--help"], capture_output=True, text=True, timeout=60 * SLOW)
            self.assertEqual(done.returncode, 0)
            self.assertIn("weirctl", done.stdout)
            self.assertIn("weights", done.stdout)

    def test_what_cannot_be_written_is_not_success(self):
        with open("/dev/full", "w") as full:
            self.assertNotEqual(subprocess.run([WEIR, "schema"], stdout=full, stderr=subprocess.DEVNULL).returncode, 0)


FIVE = """\
version: 1
listeners:
  web: {bind: ["127.0.0.1:1"]}
pools:
  blue:
    endpoints: ["127.0.0.1:2"]
    balnce: p2c
  green:
    endpoints: ["127.0.0.1:3"]
    balance: round_robbin
    timeouts: {connect: [1]}
  red: {endpoints: ["127.0.0.1:4"]}
  red: {endpoints: ["127.0.0.1:5"]}
routes:
  - {pool: blu}
"""
FINE = """\
listeners: {web: {bind: ["127.0.0.1:1"]}}
pools: {app: {endpoints: ["127.0.0.1:2"]}}
routes: [{pool: app}]
"""
UNUSED = FINE.replace("routes:", "splits: {x: {stable: app}}\nroutes:")


class Check(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, text, name="weir.yaml"):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as out:
            out.write(text if isinstance(text, bytes) else text.encode())
        return path

    def test_a_good_file_is_exit_0_in_every_spelling(self):
        path = self.file(FINE)
        for words in (["check", path], ["check", "-c", path], ["check", "--config=" + path], ["-t", "-c", path], ["-tc", path],
                      ["-c", path, "-t"], ["check", "--strict", path]):
            with self.subTest(words=words):
                done = weir(*words)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("fine", done.stdout)

    def test_quiet_says_nothing_of_a_good_file_and_all_of_a_bad_one(self):
        done = weir("check", "-q", self.file(UNUSED))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        done = weir("check", "-q", self.file(FIVE))
        self.assertEqual(done.returncode, 2)
        self.assertIn("error[", done.stderr)

    def test_five_mistakes_are_five_errors_with_their_places(self):
        path = self.file(FIVE)
        done = weir("check", path)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        places = [tuple(map(int, p)) for p in re.findall(r"^%s:(\d+):(\d+): error\[E\d+\]" % re.escape(path), done.stderr, re.M)]
        self.assertEqual(places, [(7, 5), (10, 14), (11, 25), (13, 3), (15, 12)])
        self.assertGreaterEqual(done.stderr.count("did you mean"), 3)
        self.assertIn("5 errors", done.stderr)

    def test_json_says_the_same_as_the_text(self):
        path = self.file(FIVE)
        done = weir("check", path, "--format", "json")
        self.assertEqual((done.returncode, done.stderr), (2, ""))
        told = json.loads(done.stdout)
        self.assertEqual(told["schema"], "weir.check/v1")
        self.assertEqual([(e["line"], e["column"]) for e in told["errors"]], [(7, 5), (10, 14), (11, 25), (13, 3), (15, 12)])
        for error in told["errors"]:
            self.assertRegex(error["code"], r"\AE\d{3}\Z")
            self.assertEqual(error["file"], path)
            self.assertEqual(weir("check", "--explain", error["code"]).returncode, 0)

    def test_what_the_documents_show_is_accepted(self):
        done = weir("check", "--strict", os.path.join(ROOT, "docker", "weir.yaml"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(os.path.join(ROOT, "README.md")) as readme:
            whole = [block for block in re.findall(r"```yaml\n(.*?)```", readme.read(), re.S) if "listeners:" in block]
        self.assertTrue(whole)
        for block in whole:
            done = weir("check", "--strict", self.file(block))
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_warning_is_an_error_when_strict(self):
        path = self.file(UNUSED)
        done = weir("check", path)
        self.assertEqual(done.returncode, 0)
        self.assertIn("warning[W001]", done.stderr)
        self.assertEqual(weir("check", "--strict", path).returncode, 2)
        self.assertEqual(weir("check", "--strict", "--format=json", path).returncode, 2)

    def test_what_is_no_config_is_one_clear_line(self):
        big = os.path.join(self.folder.name, "big")
        with open(big, "wb") as out:
            out.truncate(100 << 20)
        for path in ("/nonexistent", self.folder.name, self.file("", "empty"), self.file(os.urandom(5000), "junk"), big):
            with self.subTest(path=path):
                done = weir("check", path, timeout=5 * SLOW)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertEqual(len(re.findall(r"error\[E", done.stderr)), 1, done.stderr)

    def test_an_unknown_code_says_which_there_are(self):
        done = weir("check", "--explain", "E999")
        self.assertEqual(done.returncode, 2)
        self.assertIn("E001", done.stderr)

    def test_a_key_of_another_certificate_is_found(self):
        base = self.folder.name
        for name in ("a", "b"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
                            "-addext", "subjectAltName=DNS:" + name, "-keyout", "%s/%s.key" % (base, name), "-out", "%s/%s.crt" % (base, name),
                            "-days", "90"], check=True, capture_output=True)
        text = FINE.replace("[\"127.0.0.1:1\"]", "[\"127.0.0.1:1\"], tls: {certificates: [{cert: %s/a.crt, key: {file: %s/KEY.key}}]}" % (base, base))
        self.assertEqual(weir("check", self.file(text.replace("KEY", "a"))).returncode, 0)
        done = weir("check", self.file(text.replace("KEY", "b")))
        self.assertEqual(done.returncode, 2)
        self.assertIn("web", done.stderr)
        told = json.loads(weir("check", "--format", "json", self.file(text.replace("KEY", "b"))).stdout)
        self.assertEqual(len(told["errors"]), 1)

    def test_a_certificate_that_ends_soon_is_a_warning(self):
        base = self.folder.name
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a",
                        "-keyout", base + "/a.key", "-out", base + "/a.crt", "-days", "3"], check=True, capture_output=True)
        path = self.file(FINE.replace("[\"127.0.0.1:1\"]", "[\"127.0.0.1:1\"], tls: {certificates: [{cert: %s/a.crt, key: {file: %s/a.key}}]}" % (base, base)))
        self.assertEqual(weir("check", path).returncode, 0)
        self.assertEqual(weir("check", "--strict", path).returncode, 2)
        told = weir("check", path).stderr
        line = next(i for i, text in enumerate(open(path), 1) if "a.crt" in text)
        self.assertRegex(told, r":%d:\d+: warning\[W007\]: .*a\.crt" % line)
        with open(base + "/a.crt", "w") as file:
            file.write("no certificate\n")
        self.assertRegex(weir("check", path).stderr, r":%d:\d+: error\[E034\]: .*a\.crt" % line)

    def test_a_key_that_others_can_read_is_told_once(self):
        base = self.folder.name
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a",
                        "-keyout", base + "/a.key", "-out", base + "/a.crt", "-days", "90"], check=True, capture_output=True)
        path = self.file(FINE.replace("[\"127.0.0.1:1\"]", "[\"127.0.0.1:1\"], tls: {certificates: [{cert: %s/a.crt, key: {file: %s/a.key}}]}" % (base, base)))
        os.chmod(base + "/a.key", 0o600)
        self.assertEqual(weir("check", "--strict", path).returncode, 0)
        os.chmod(base + "/a.key", 0o644)
        self.assertIn("0 errors, 1 warning.", weir("check", path).stderr)

    def test_run_refuses_what_check_refuses(self):
        done = weir("run", "-c", self.file(FIVE))
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("5 errors", done.stderr)


class ProxyWithoutAFile(unittest.TestCase):

    def test_its_words_are_a_config_that_check_accepts(self):
        with tempfile.TemporaryDirectory() as folder:
            for words in (["127.0.0.1:1", "blue=127.0.0.1:2"],
                          ["[::1]:1", "blue=127.0.0.1:2,[::1]:3@90", "green=unix:/run/app.sock"],
                          ["unix:/run/w.sock", "a=name.example:80@33.33", "b=name:81@33.33", "c=name:82@33.34"],
                          ["127.0.0.1:1", "--tls", "self-signed", "no=127.0.0.1:2@0", "123=127.0.0.1:3", "--pool-header", "x-pool"]):
                with self.subTest(words=words):
                    done = weir("proxy", "--print-config", *words)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    path = os.path.join(folder, "weir.yaml")
                    with open(path, "w") as out:
                        out.write(done.stdout)
                    self.assertEqual(weir("check", path).returncode, 0)

    def test_one_pool_may_take_the_rest(self):
        done = weir("proxy", "--print-config", "127.0.0.1:1", "a=h:1@12.5", "b=h:2", "c=h:3@0.25%")
        self.assertIn('weights: {"a": 12.5, "b": 87.25, "c": 0.25}', done.stdout)

    def test_wrong_words_are_exit_2_and_say_why(self):
        for words, why in (([], "where shall it listen"), (["127.0.0.1:1"], "where shall requests go"),
                           (["nonsense", "a=h:1"], "no address"), (["name:80", "a=h:1"], "literal"),
                           (["127.0.0.1:1", "a"], "no pool"), (["127.0.0.1:1", "a="], "no address"),
                           (["127.0.0.1:1", "a=h:1,"], "no address"), (["127.0.0.1:1", "a=h"], "no address"),
                           (["127.0.0.1:1", "A=h:1"], "no name"), (["127.0.0.1:1", "=h:1"], "no name"),
                           (["127.0.0.1:1", "a=h:1", "a=h:2"], "two pools"), (["127.0.0.1:1", "a=h:1", "b=h:2"], "without a percentage"),
                           (["127.0.0.1:1", "a=h:1@50", "b=h:2@51"], "101"), (["127.0.0.1:1", "a=h:1@99.99"], "99.99"),
                           (["127.0.0.1:1", "a=h:1@101"], "no percentage"), (["127.0.0.1:1", "a=h:1@"], "no percentage"),
                           (["127.0.0.1:1", "a=h:1@nan"], "no percentage"), (["127.0.0.1:1", "a=h:1@-1"], "no percentage"),
                           (["127.0.0.1:1", 'a=unix:/x"', "--print-config"], "no address"), (["127.0.0.1:1", "a=unix:/${HOME}"], "no address"),
                           (["127.0.0.1:1", "a=h:1", "--tls", "yes"], "self-signed"), (["127.0.0.1:1", "a=h:1", "--pool-header", "X Y"], "header"),
                           (["127.0.0.1:1"] + ["p%d=h:1@%d" % (i, i == 0 and 100) for i in range(9)], "at most 8")):
            with self.subTest(words=words):
                done = weir("proxy", *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(why, done.stderr)

    def test_it_splits_as_asked_and_leaves_nothing_behind(self):
        port = free_port()
        with Upstream() as blue, Upstream() as canary, tempfile.TemporaryDirectory() as folder:
            with running("proxy", "127.0.0.1:%d" % port, "blue=127.0.0.1:%d@90" % blue.port, "canary=127.0.0.1:%d@10" % canary.port,
                         env={"XDG_RUNTIME_DIR": folder}) as process:
                until(lambda: "ready" in process.said())
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOW)
                for _ in range(1000):
                    link.request("GET", "/")
                    answer = link.getresponse()
                    answer.read()
                    self.assertEqual(answer.status, 200)
                    self.assertFalse({"x-pool", "x-weir-pool", "via"} & {n.lower() for n in answer.headers})
                link.close()
                self.assertEqual(len(canary.seen), 100)
                self.assertEqual(len(blue.seen), 900)
                (name,) = os.listdir(folder)
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o777, 0o700)
            self.assertEqual(os.listdir(folder), [])

    def test_a_busy_port_is_exit_2_with_the_address(self):
        with Upstream() as other:
            done = weir("proxy", "127.0.0.1:%d" % other.port, "a=127.0.0.1:9")
        self.assertEqual(done.returncode, 2)
        self.assertIn("127.0.0.1:%d" % other.port, done.stderr)


class Demo(unittest.TestCase):

    def addresses(self):
        return ["--listen", "127.0.0.1:%d" % free_port(), "--clear", "127.0.0.1:%d" % free_port(), "--admin", "127.0.0.1:%d" % free_port()]

    def test_the_story_passes_and_leaves_nothing_behind(self):
        words = self.addresses()
        with tempfile.TemporaryDirectory() as folder:
            done = weir("demo", "--once", *words, env=dict(os.environ, XDG_RUNTIME_DIR=folder))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(os.listdir(folder), [])
        self.assertNotIn("FAILED", done.stdout)
        last = done.stdout.splitlines()[-2:]
        self.assertIn("https://%s/" % words[1], last[0])
        self.assertIn("http://%s/" % words[5], last[0])
        passed = re.fullmatch(r"(\d+) passed, 0 failed", last[1])
        self.assertTrue(passed, last[1])
        self.assertEqual(int(passed[1]), done.stdout.count("\n  ok "))

    def test_what_breaks_goes_back_by_the_guard_that_is_there_for_it(self):
        for mood, guard in (("errors", "errors"), ("latency", "latency")):
            with self.subTest(mood=mood):
                done = weir("demo", "--once", "--break", mood, *self.addresses())
                self.assertRegex(done.stdout, r"  ok +it breaks \(%s\) and is rolled back: .* by guard %s\n" % (mood, guard), done.stdout)

    def test_without_a_terminal_it_runs_until_it_is_told_to_end(self):
        words = self.addresses()
        clear = int(words[3].rsplit(":", 1)[1])
        with tempfile.TemporaryDirectory() as folder:
            with running("demo", *words, env={"XDG_RUNTIME_DIR": folder}) as process:
                head = []
                while not any("Ctrl-C" in line for line in head):
                    head.append(process.stdout.readline())
                status, fields, body = ask(clear)
                self.assertEqual(status, 200)
                self.assertIn(fields["x-pool"], body)
                (name,) = os.listdir(folder)
                base = os.path.join(folder, name)
                link = UnixConnection(base + "/admin.sock", 10 * SLOW)

                def users():
                    link.request("GET", "/metrics")
                    return sum(float(line.rsplit(" ", 1)[1]) for line in link.getresponse().read().decode().splitlines()
                               if line.startswith("weir_http_requests_total{"))
                until(lambda: users() > 50)
                link.close()
                with open(base + "/weir.yaml") as config:
                    self.assertIn("Made by `weir demo`", config.readline())
            self.assertEqual(os.listdir(folder), [])

    def test_an_interrupt_in_mid_traffic_ends_it_in_order(self):
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(6):
                process = subprocess.Popen([WEIR, "demo", *self.addresses()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE, text=True, env=dict(os.environ, XDG_RUNTIME_DIR=folder))
                for line in process.stdout:
                    if "Ctrl-C" in line:
                        break
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=60 * SLOW)[1]
                self.assertEqual(process.returncode, 0, said)
                self.assertEqual(os.listdir(folder), [])

    def test_an_address_that_was_asked_for_must_be_free(self):
        with Upstream() as other:
            done = weir("demo", "--once", "--listen", "127.0.0.1:%d" % other.port)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("127.0.0.1:%d" % other.port, done.stderr)


class DemoUpstream(unittest.TestCase):

    def test_it_names_itself_in_html_and_json(self):
        port = free_port()
        with running("demo-upstream", "--listen", "127.0.0.1:%d" % port, "--name", "blue", "--padding", "100") as process:
            until(lambda: "ready" in process.said())
            self.assertIn("<h1>blue</h1>", ask(port)[2])
            self.assertEqual(json.loads(ask(port, "/api/x")[2])["pool"], "blue")
            self.assertEqual(json.loads(ask(port, accept="application/json")[2])["pool"], "blue")

    def test_it_keeps_its_framing_over_bodies_and_pipelines(self):
        port = free_port()
        with running("demo-upstream", "--listen", "127.0.0.1:%d" % port, "--latency", "1ms") as process:
            until(lambda: "ready" in process.said())
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOW)
            for body, fields in ((b"x" * 100000, {}), (iter([b"a" * 70000, b"b", b"c" * 9]), {"Transfer-Encoding": "chunked"}), (None, {})):
                link.request("POST", "/api", body, fields, encode_chunked=bool(fields))
                answer = link.getresponse()
                self.assertEqual(answer.status, 200)
                self.assertEqual(json.loads(answer.read())["pool"], "demo")
            link.request("HEAD", "/")
            self.assertEqual(link.getresponse().read(), b"")
            link.sock.sendall(b"GET /api HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
            for _ in range(3):
                answer = http.client.HTTPResponse(link.sock)
                answer.begin()
                self.assertEqual(answer.status, 200)
                answer.read(int(answer.headers["content-length"]))
            link.close()

    def test_it_fails_as_often_as_asked(self):
        port = free_port()
        with running("demo-upstream", "--listen", "127.0.0.1:%d" % port, "--fail", "50%") as process:
            until(lambda: "ready" in process.said())
            statuses = [ask(port)[0] for _ in range(200)]
            self.assertEqual(set(statuses), {200, 500})
            self.assertTrue(50 < statuses.count(500) < 150)     # 7 sigma
            self.assertEqual({ask(port, "/healthz")[0] for _ in range(20)}, {200})

    def test_wrong_words_are_exit_2(self):
        for words in ([], ["--listen", "x"], ["--listen", "name:80"], ["--listen", "127.0.0.1:0", "--fail", "101"],
                      ["--listen", "127.0.0.1:0", "--latency", "20"], ["--listen", "127.0.0.1:0", "--latency", "20ms,x"],
                      ["--listen", "127.0.0.1:0", "--latency", "20ms,"], ["--listen", "127.0.0.1:0", "--latency", "20ms,nan"],
                      ["--listen", "127.0.0.1:0", "--name", "<b>"], ["--listen", "127.0.0.1:0", "--padding", "1TB"],
                      ["--listen", "127.0.0.1:0", "more"]):
            with self.subTest(words=words):
                done = weir("demo-upstream", *words, timeout=5 * SLOW)
                self.assertEqual(done.returncode, 2)


class Health(unittest.TestCase):

    def test_alive_is_0_and_dead_is_1(self):
        with Upstream() as up, Weir(one_pool(up.address)) as proxy:
            where = "unix:" + proxy.admin_path
            for done in (weir("health", "--admin", where), weir("health", env=dict(os.environ, WEIR_ADMIN=where))):
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        done = weir("health", "--admin", where)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(where, done.stderr)

    def test_what_does_not_answer_in_time_is_dead(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(folder + "/s")
            deaf.listen()
            done = weir("health", "--admin", "unix:%s/s" % folder, "--timeout", "50ms")
            self.assertEqual(done.returncode, 1)
            self.assertIn("in time", done.stderr)

    def test_wrong_words_are_exit_2(self):
        for words in (["--admin", "nonsense"], ["--timeout", "2"], ["--timeout", "0s"], ["now"]):
            with self.subTest(words=words):
                self.assertEqual(weir("health", *words).returncode, 2)


class Completion(unittest.TestCase):

    def completed(self, *words, command="weir", env=None):
        script = ('set -eu; source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  '_${1##*/} || true; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, WEIR, command, *words], capture_output=True, text=True, timeout=60 * SLOW,
                              env=dict(os.environ, **(env or {})))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_bash_completes_commands_flags_and_words(self):
        self.assertEqual(self.completed("ch"), ["check"])
        self.assertEqual(sorted(self.completed("demo")), ["demo", "demo-upstream"])
        self.assertEqual(self.completed("check", "--str"), ["--strict"])
        self.assertEqual(self.completed("check", "--format", "j"), ["json"])
        self.assertEqual(self.completed("completion", "f"), ["fish"])
        self.assertIn("/etc/passwd", self.completed("check", "/etc/passw"))
        self.assertIn("/etc/passwd", self.completed("run", "-c", "/etc/passw"))
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.abspath(WEIR), os.path.join(folder, "weir"))
            self.assertEqual(self.completed("explain", "pools.bal", command=os.path.join(folder, "weir")), ["pools.balance"])

    def test_the_list_of_settings_is_what_explain_knows(self):
        keys = weir("explain", "--list").stdout.split()
        self.assertGreater(len(keys), 90)
        for key in ("listeners.tls.certificates.cert", "pools.retry.max", "admin.access.who"):
            self.assertIn(key, keys)
            self.assertEqual(weir("explain", key).returncode, 0)
        self.assertIn("## `pools.NAME.balance`", weir("explain", "--all").stdout)

    def test_weirctl_completes_what_runs(self):
        with tempfile.TemporaryDirectory() as folder, Upstream() as blue, Upstream() as green:
            name = os.path.join(folder, "weirctl")
            os.symlink(os.path.abspath(WEIR), name)
            with Weir(blue_green(blue.address, green.address)) as proxy:
                env = {"WEIR_ADMIN": "unix:" + proxy.admin_path}
                self.assertEqual(self.completed("wei", command=name, env=env), ["weights"])
                self.assertEqual(self.completed("weights", "", command=name, env=env), ["shop"])
                self.assertEqual(self.completed("undo", "s", command=name, env=env), ["shop"])
                self.assertEqual(self.completed("weights", "shop", "", command=name, env=env), ["blue=", "green="])
                self.assertEqual(self.completed("pool", "gr", command=name, env=env), ["green"])
                self.assertEqual(self.completed("weights", "shop", "--rea", command=name, env=env), ["--reason"])
                self.assertEqual(sorted(self.completed("endpoint", "", command=name, env=env)), sorted([blue.address, green.address]))
                self.assertEqual(self.completed("endpoint", blue.address, "dr", command=name, env=env), ["drain"])
                self.assertEqual(self.completed("status", "-o", "j", command=name, env=env), ["json"])
                self.assertEqual(self.completed("config", "re", command=name, env=env), ["reload", "render"])
                self.assertEqual(self.completed("audit", "", command=name, env=env), ["verify"])
            self.assertEqual(self.completed("weights", "", command=name, env=env), [])

    def test_no_text_of_the_tables_ends_a_shells_quotes(self):
        for shell in ("bash", "zsh", "fish"):
            for line in weir("completion", shell).stdout.splitlines():
                if shell == "fish":
                    self.assertEqual(line.count('"') % 2, 0, line)
                    self.assertNotIn("$", line)

    def test_an_unknown_shell_is_exit_2(self):
        self.assertEqual(weir("completion", "tcsh").returncode, 2)
        self.assertEqual(weir("completion").returncode, 2)


if __name__ == "__main__":
    unittest.main()

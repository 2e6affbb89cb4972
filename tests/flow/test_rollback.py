"""A candidate that breaks loses its traffic by itself, and its users hardly notice.

The upstreams are `weir demo-upstream`, which break on command and say when
and how often; the load is bench/steady, which keeps its pace.
"""

import collections
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from harness import ROOT, SLOW, WEIR, Case, free_port, get, post, until

TRIES = 3       # for what is said in milliseconds: a busy machine may spoil one


def steady_path():
    """The load's program: beside the binary under test, else made for this run."""
    built = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(WEIR))), "bench", "steady")
    if os.access(built, os.X_OK):
        return built
    made = os.path.join(tempfile.gettempdir(), "weir-steady-%d" % os.getpid())
    if not os.path.exists(made):
        subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", made, os.path.join(ROOT, "bench", "steady.c")],
                       check=True)
    return made


class Version:
    """One version of the application, which can be told to break."""

    def __init__(self, name, latency="1ms,0.3"):
        self.port = free_port()
        self.address = "127.0.0.1:%d" % self.port
        self.process = subprocess.Popen([WEIR, "demo-upstream", "--listen", self.address, "--name", name, "--latency",
                                         latency], stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert "ready" in line, line

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()

    def mood(self, word=""):
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10 * SLOW)
        try:
            connection.request("GET", "/mood" + word)
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            if word != "/crash":
                raise
            return None
        finally:
            connection.close()


class Load:
    """So many requests a second for so long; counts() when it has ended. A slow
    build gets as many requests in more time: what it cannot keep up with would
    be a test of its queues."""

    def __init__(self, weir, rate, seconds, path="/api"):
        self.process = subprocess.Popen([steady_path(), "-c", "1024", str(weir.port), path, str(int(rate / SLOW)),
                                         str(seconds * SLOW)], stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def counts(self):
        """A slow build's load ends with what the test has waited for."""
        if SLOW > 1:
            self.process.send_signal(signal.SIGINT)
        out = self.process.stdout.read()
        counts = json.loads(out)
        counts["failed"] = counts["client_error"] + counts["server_error"] + counts["broken"] + counts["late"]
        return counts


GUARDS = [{"name": "errors", "metric": "errors", "max_increase": "2pp", "action": "rollback"},
          {"name": "latency", "metric": "latency", "max_increase": "50%", "action": "rollback"},
          {"name": "fuse", "metric": "excess_failures", "max": 500, "action": "rollback"}]


class Rollouts(Case):
    """blue and green behind the split "shop", and a plan that begins with 5 %."""

    limit = 120

    def pair(self, shield=True, guards=GUARDS, phases=None, split=None, latency="1ms,0.3", pool=None, is_one=False, spares=(), **more):
        self.blue = self.enter(Version("blue", latency))
        self.green = self.blue if is_one else self.enter(Version("green", latency))
        pool = dict({"timeouts": {"first_byte": "2s"}}, **(pool or {}))
        config = {"pools": {"blue": dict(pool, endpoints=[self.blue.address]),
                            "green": dict(pool, endpoints=[self.green.address, *spares])},
                  "splits": {"shop": dict({"stable": "blue", "weights": {"blue": 100, "green": 0}, "shield": shield},
                                          **(split or {}))},
                  "routes": [{"name": "shop", "split": "shop",
                              "headers": {"response": {"set": {"x-pool": "${pool}"}}}}],
                  "plans": {"test": {"phases": phases or [{"name": "canary", "weight": 5, "hold": "1h", "until": "held"},
                                                          {"name": "all", "weight": 100, "hold": "1h", "until": "held"}],
                                     "guards": guards, "keep_warm": "1h"}}}
        config.update(more)
        self.weir = self.start(config)
        return self.weir

    def begin(self):
        reply = self.weir.admin("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "test", "reason": "t"})
        self.assertEqual(reply.status, 201, reply)
        self.name = reply.json["id"]
        until(lambda: self.weights()["green"] > 0, 10, "the first phase's weight")
        return self.name

    def weights(self):
        return self.weir.weights()

    def rollout(self):
        return self.weir.admin("GET", "/v1/rollouts/" + self.name).json

    def evidence(self):
        reply = self.weir.admin("GET", "/v1/rollouts/%s/evidence" % self.name)
        self.assertEqual(reply.status, 200, reply)
        return reply.json

    def guard(self, name):
        """The evidence object of that guard, wherever in the document it stands."""
        def search(thing):
            if isinstance(thing, dict):
                if thing.get("guard") == name and "n" in thing:
                    return thing
                thing = list(thing.values())
            for value in thing if isinstance(thing, list) else ():
                found = search(value)
                if found:
                    return found
            return None
        found = search(self.evidence())
        self.assertIsNotNone(found, "no evidence of guard %s: %s" % (name, self.evidence()))
        return found

    def judged(self, least):
        """Waits until so many candidate requests have been judged."""
        return until(lambda: self.guard("errors")["n"]["canary"] >= least, 20, "%d judged requests" % least)

    def baseline(self, least):
        """Waits until so many latencies of the stable version are known, and nothing has been decided before."""
        def known():
            rollout = self.rollout()
            self.assertEqual(rollout["state"], "running", "%s\n%s" % (rollout["cause"], json.dumps(self.evidence(), indent=1)))
            return self.guard("latency")["n"]["baseline"] >= least
        until(known, 20, "a baseline of %d latencies" % least)

    def rolled_back(self, limit=10):
        until(lambda: self.rollout()["state"] in ("rolling_back", "rolled_back"), limit, "a rollback")
        self.assertEqual(self.weights()["green"], 0)


class Dead(Rollouts):
    """Every answer of the candidate is bad, at 1,000 requests a second and 5 %."""

    def broken_once(self, kind, shield):
        self.pair(shield=shield)
        with Load(self.weir, 1000, 3) as load:
            self.begin()
            self.judged(20)
            self.green.mood("/" + kind)
            self.rolled_back()
            counts = load.counts()
        mood = self.green.mood()
        self.doCleanups()
        self.assertEqual(mood["mood"], kind)
        return mood, counts

    def in_time(self, kind, shield, failed):
        """Within 300 ms of the first bad answer, 12 requests, and so many failures, in the best of a few tries."""
        seen = []
        for _ in range(TRIES):
            mood, counts = self.broken_once(kind, shield)
            seen.append((mood["last_request_ms"] - mood["first_bad_ms"], mood["bad"], counts["failed"]))
            if seen[-1][0] <= 300 * SLOW and seen[-1][1] <= 12 * SLOW and seen[-1][2] <= failed * SLOW:
                return
        self.fail("last request after ms, requests seen, failures: %s" % seen)

    def test_errors_with_the_shield_hardly_reach_a_client(self):
        self.in_time("errors", True, 5)

    def test_errors_without_it_are_as_many_as_were_judged(self):
        self.in_time("errors", False, 12)

    def test_a_crash_is_as_clear(self):
        self.pair()
        with Load(self.weir, 1000, 3) as load:
            self.begin()
            self.judged(20)
            self.green.mood("/crash")
            self.rolled_back(3)
            counts = load.counts()
        self.assertLessEqual(counts["failed"], 5 * SLOW, counts)

    def test_a_hang_is_seen_before_anything_times_out(self):
        # four times as slow is no reason, as a starved machine makes one version for a while: a hang is slower than that
        guards = [dict(guard, max_increase="300%") if guard["name"] == "latency" else guard for guard in GUARDS]
        self.pair(pool={"timeouts": {"first_byte": "60s"}}, guards=guards)
        with Load(self.weir, 1000, 7):
            self.begin()
            self.baseline(2500)
            self.green.mood("/hang")
            self.rolled_back(5)
        self.assertEqual(self.guard("latency")["verdict"], "fail")

    def test_a_hang_is_seen_though_hedges_answer(self):
        """One of the candidate's two endpoints hangs. Its requests are answered by the other one, and are slow all the same."""
        guards = [dict(guard, max_increase="300%") if guard["name"] == "latency" else guard for guard in GUARDS]
        spare = self.enter(Version("spare"))
        self.pair(pool={"timeouts": {"first_byte": "60s"}, "balance": "random", "retry": {"hedge": "50ms", "budget": "100%"}},
                  guards=guards, spares=[spare.address])
        with Load(self.weir, 1000, 7) as load:
            self.begin()
            self.baseline(2500)
            self.green.mood("/hang")
            self.rolled_back(5)
            counts = load.counts()
        self.assertEqual(self.guard("latency")["verdict"], "fail")
        self.assertGreater(self.weir.metric("weir_pool_hedges_total", pool="green", result="used"), 0)
        self.assertEqual((counts["server_error"], counts["broken"]), (0, 0), counts)

    def test_slow_answers_are_rolled_back(self):
        self.pair()
        with Load(self.weir, 1000, 7) as load:
            self.begin()
            self.baseline(2500)
            self.green.mood("/latency")
            self.rolled_back(5)
            self.assertEqual(load.counts()["failed"], 0)
        self.assertEqual(self.guard("latency")["verdict"], "fail")


class Shield(Rollouts):
    """Who answers, and what is counted where."""

    ONLY_FUSE = [{"name": "errors", "metric": "errors", "max_increase": "2pp", "action": "observe"},
                 {"name": "fuse", "metric": "excess_failures", "max": 100000, "action": "observe"}]

    def half(self, **more):
        self.pair(guards=self.ONLY_FUSE, phases=[{"name": "half", "weight": 50, "hold": "1h", "until": "held"},
                                                 {"name": "all", "weight": 100}], **more)
        self.begin()

    def answers(self, count, request=None):
        """(status, pool that answered) by how often."""
        seen = collections.Counter()
        with self.weir.client() as client:
            for _ in range(count):
                answer = client.ask(request or get("/api"))
                seen[answer.status, answer.one("x-pool")] += 1
        return seen

    def requests(self, pool):
        return self.weir.metric("weir_http_requests_total", pool=pool) or 0

    def test_a_failed_get_is_answered_by_stable(self):
        self.half()
        self.green.mood("/errors")
        self.assertEqual(self.answers(20), {(200, "blue"): 20})
        found = until(lambda: (lambda g: g if sum(g["n"].values()) >= 20 else None)(self.guard("errors")))
        self.assertEqual((found["n"], found["bad"]), ({"canary": 10, "baseline": 10}, {"canary": 10, "baseline": 0}))
        self.assertEqual((found["exposed"], found["shielded"]), (10, 10))
        # stable has had its own requests and no others
        self.assertEqual((self.requests("blue"), self.requests("green")), (10, 10))

    def test_the_log_shows_both(self):
        self.half()
        self.green.mood("/errors")
        self.answers(20)
        lines = until(lambda: len(self.weir.access()) >= 20 and self.weir.access())
        shielded = [line for line in lines if "weir.shielded" in line]
        self.assertEqual(len(shielded), 10)
        for line in shielded:
            self.assertEqual((line["weir.pool"], line["weir.shielded"], line["weir.attempts"],
                              line["weir.upstream.address"], line["http.response.status_code"]),
                             ("green", "blue", 2, self.blue.address, 200))

    def test_a_body_that_came_after_its_head_is_sent_to_stable_too(self):
        self.half()
        self.green.mood("/errors")
        late = get("/api", method="PUT", transfer_encoding="chunked") + b"3\r\nbuy\r\n0\r\n\r\n"
        self.assertEqual(self.answers(20, late), {(200, "blue"): 20})
        until(lambda: self.guard("errors")["shielded"] == 10)
        # ... but what has outgrown what is kept is not
        self.assertEqual(self.answers(20, post("/api", b"x" * 70000, method="PUT")), {(200, "blue"): 10, (500, "green"): 10})
        self.assertEqual(self.weir.metric("weir_pool_replay_lost_total", pool="green", reason="too_long"), 10)

    def test_what_may_not_be_repeated_is_not(self):
        self.half()
        self.green.mood("/errors")
        self.assertEqual(self.answers(20, post("/api", b"buy")), {(200, "blue"): 10, (500, "green"): 10})
        self.assertEqual(self.guard("errors")["shielded"], 0)

    def test_switched_off_it_is_off(self):
        self.half(shield=False)
        self.green.mood("/errors")
        self.assertEqual(self.answers(20), {(200, "blue"): 10, (500, "green"): 10})

    def test_without_a_rollout_there_is_none(self):
        self.pair()
        self.assertEqual(self.weir.set_weights(blue=50, green=50).status, 200)
        self.green.mood("/errors")
        self.assertEqual(self.answers(20), {(200, "blue"): 10, (500, "green"): 10})

    def test_a_dead_endpoint_is_shielded_too(self):
        self.half()
        self.green.mood("/crash")
        self.assertEqual(self.answers(20), {(200, "blue"): 20})

    def test_a_hung_one_after_its_time(self):
        self.half(pool={"timeouts": {"first_byte": "300ms"}})
        self.green.mood("/hang")
        self.assertEqual(self.answers(4 * 20 // 20 * 2), {(200, "blue"): 8})

    def test_a_broken_stable_is_not_tried_again(self):
        self.half()
        self.green.mood("/errors")
        self.blue.mood("/errors")
        self.assertEqual(sum(self.answers(20).values()), 20)
        self.assertEqual(self.blue.mood()["bad"], 20)
        self.assertEqual(self.green.mood()["bad"], 10)
        self.assertEqual(self.guard("errors")["shielded"], 0)

    def test_it_stays_within_the_budget(self):
        self.half(pool={"retry": {"budget": "0%"}})
        self.green.mood("/errors")
        began = time.monotonic()
        seen = self.answers(60)
        # nothing is earned by requests; ten are in reserve, and ten a second come back
        self.assertGreaterEqual(seen[(200, "blue")], 40)
        self.assertLessEqual(seen[(200, "blue")], 40 + 1 + 10 * (time.monotonic() - began))


class Evidence(Rollouts):
    """What is counted, and what is not."""

    def half(self, **more):
        self.pair(guards=Shield.ONLY_FUSE, phases=[{"name": "half", "weight": 50, "hold": "1h", "until": "held"},
                                                   {"name": "all", "weight": 100}], **more)
        self.begin()

    def ask(self, count, request=None):
        with self.weir.client() as client:
            for _ in range(count):
                client.ask(request or get("/api"))

    def test_pinned_requests_are_none(self):
        self.half(split={"pins": [{"header": {"x-canary": "always"}, "pool": "green"}]})
        self.green.mood("/errors")
        with self.weir.client() as client:
            for _ in range(20):
                self.assertEqual(client.ask(get("/api", x_canary="always")).status, 500)
        self.ask(2)
        found = until(lambda: sum(self.guard("errors")["n"].values()) >= 2 and self.guard("errors"))
        self.assertEqual(sum(found["n"].values()), 2)

    def test_a_client_that_leaves_is_none(self):
        self.half(pool={"timeouts": {"first_byte": "60s"}})
        self.green.mood("/hang")
        self.blue.mood("/hang")
        for _ in range(10):
            with self.weir.client() as client:
                client.send(get("/api"))
                until(lambda: self.weir.metric("weir_http_requests_in_flight"))
        until(lambda: not self.weir.metric("weir_http_requests_in_flight"))
        self.blue.mood("/well")
        self.green.mood("/well")
        self.ask(2)
        found = until(lambda: sum(self.guard("errors")["n"].values()) >= 2 and self.guard("errors"))
        self.assertEqual((sum(found["n"].values()), found["bad"]), (2, {"canary": 0, "baseline": 0}))

    def test_a_user_counts_once(self):
        self.half(split={"affinity": {"by": "header", "name": "x-user"}})
        self.green.mood("/errors")
        with self.weir.client() as client:
            for _ in range(5):
                for user in range(40):
                    client.ask(get("/api", x_user="user-%d" % user))
        found = until(lambda: sum(self.guard("errors")["n"].values()) >= 40 and self.guard("errors"))
        self.assertEqual(sum(found["n"].values()), 40)
        self.assertEqual(found["bad"]["canary"], found["n"]["canary"])

    def test_an_unchanged_reload_goes_on_counting(self):
        self.half()
        self.ask(20)
        until(lambda: sum(self.guard("errors")["n"].values()) == 20)
        self.weir.reload()
        self.ask(20)
        until(lambda: sum(self.guard("errors")["n"].values()) == 40)

    def test_a_stopped_process_blames_nobody(self):
        """SIGSTOP for 3 s under load: whatever is late is late because of weir.
        Both pools are one process, so that the machine's own moods hit both alike."""
        self.pair(is_one=True, phases=[{"name": "half", "weight": 50, "hold": "1h", "until": "held"}, {"name": "all", "weight": 100}],
                  guards=GUARDS + [{"name": "slo", "metric": "errors", "max_rate": "1%", "window": "1m", "action": "rollback"}],
                  pool={"timeouts": {"first_byte": "1s"}})
        with Load(self.weir, 500, 120):
            self.begin()
            until(lambda: self.guard("latency")["n"]["baseline"] >= 2100, 60, "a baseline of latencies")
            self.weir.tell(signal.SIGSTOP)
            time.sleep(3)
            self.weir.tell(signal.SIGCONT)
            before = self.guard("errors")["n"]["canary"]
            self.judged(before + 200)
            self.assertIn(self.rollout()["state"], ("running", "held"), self.rollout())


class Lossless(Rollouts):
    """Weights that move by themselves cost no request."""

    QUICK = [{"name": "some", "weight": 25, "hold": "500ms", "until": "held"},
             {"name": "half", "weight": 50, "ramp": "500ms", "hold": "500ms", "until": "held"},
             {"name": "all", "weight": 100, "ramp": "500ms", "hold": "500ms", "until": "held"}]

    def test_a_promotion_loses_none(self):
        self.pair(phases=self.QUICK, latency="0ms", guards=GUARDS[:1])
        with Load(self.weir, 2000, 5) as load:
            self.begin()
            until(lambda: self.rollout()["state"] in ("promoted", "done"), 20)
            self.assertEqual(load.counts()["failed"], 0)
        self.assertEqual(self.weights()["green"], 100)

    def test_an_abort_loses_none(self):
        self.pair(phases=self.QUICK, latency="0ms", guards=GUARDS[:1])
        with Load(self.weir, 2000, 4) as load:
            self.begin()
            until(lambda: self.weights()["green"] >= 30, 20)
            self.assertEqual(self.weir.admin("POST", "/v1/rollouts/%s/abort" % self.name, {"reason": "t"}).status, 200)
            until(lambda: self.rollout()["state"] == "aborted", 20)
            self.assertEqual(load.counts()["failed"], 0)
        self.assertEqual(self.weights()["green"], 0)

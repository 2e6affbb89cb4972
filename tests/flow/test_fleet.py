"""Several weirs as one: what is changed on one holds on all, and what happens while they cannot hear each other."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

from harness import SLOW, Case, Load, blue_green, get, run, until

from redis import Redis

PHASES = [{"name": "canary", "weight": 10, "hold": "60s", "until": "held"},
          {"name": "half", "weight": 50, "hold": "60s", "until": "held"}]


def plan(phases=PHASES, guards=(), **more):
    return dict({"phases": phases, "guards": list(guards), "keep_warm": "10m"}, **more)


class Relay:
    """A TCP relay in front of a server that can be cut and mended: one instance's own network."""

    def __init__(self, address):
        host, port = address.split(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pairs, self.is_cut, self.lock = set(), False, threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.cut()
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(self.target, 2)
                except OSError:
                    near.close()
                    continue
                with self.lock:
                    if self.is_cut:
                        near.close()
                        far.close()
                        continue
                    self.pairs |= {near, far}
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        with contextlib.suppress(OSError):
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self.lock:
            self.is_cut = True
            for s in self.pairs:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
            self.pairs.clear()

    def mend(self):
        self.is_cut = False


class Fleet(Case):

    limit = 90

    def setUp(self):
        self.blue, self.green = self.upstream("hello", name="blue"), self.upstream("hello", name="green")
        self.plans = {"plan": plan()}
        self.weirs, self.relays = [], []

    def redis(self):
        self.server = self.enter(Redis())
        return self.server

    def config(self, address=None, prefix="t", **more):
        return blue_green(self.blue.address, self.green.address, plans=self.plans,
                          redis={"url": "redis://" + (address or self.server.address), "prefix": prefix}, **more)

    def join(self, **more):
        """One more instance, behind a relay of its own."""
        relay = self.enter(Relay(self.server.address))
        weir = self.start(self.config(relay.address, **more))
        self.relays.append(relay)
        self.weirs.append(weir)
        return weir

    def fleet(self, n, **more):
        if not hasattr(self, "server"):
            self.redis()
        for _ in range(n):
            self.join(**more)
        self.agree()
        return self.weirs

    def look(self, weir):
        return weir.admin("GET", "/v1/fleet").json

    def agree(self, weirs=None, limit=10):
        weirs = weirs or self.weirs

        def agreed():
            for weir in weirs:
                fleet = self.look(weir)
                there = [i for i in fleet["instances"] if i["state"] != "away"]
                if not fleet["up"] or len(there) != len(weirs) or any(i["state"] != "agrees" for i in there) or not all(
                        s["agreed"] for s in fleet["splits"]):
                    return False
            return True
        try:
            until(agreed, limit)
        except AssertionError:
            raise AssertionError("no agreement: %s" % json.dumps([self.look(w) for w in weirs], indent=1)) from None

    def set(self, weir, green, split="shop", expect=200):
        reply = weir.admin("PUT", "/v1/splits/%s/weights" % split, {"weights": {"blue": 100 - green, "green": green}, "reason": "test"})
        self.assertEqual(reply.status, expect, reply)
        return time.monotonic()

    def green_of(self, weir, split="shop"):
        return weir.weights(split)["green"]

    def all_at(self, green, weirs=None, limit=5):
        weirs = weirs or self.weirs
        try:
            until(lambda: all(self.green_of(w) == green for w in weirs), limit)
        except AssertionError:
            raise AssertionError("not all at %s: %s" % (green, [self.green_of(w) for w in weirs])) from None

    def begin(self, weir, **more):
        reply = weir.admin("POST", "/v1/rollouts", dict({"split": "shop", "to": "green", "plan": "plan"}, **more))
        self.assertEqual(reply.status, 201, reply)
        return reply.json["id"]

    def rollout(self, weir, id):
        reply = weir.admin("GET", "/v1/rollouts/" + id)
        return reply.json if reply.status == 200 else {"state": None, "phase": None}

    def verb(self, weir, id, verb, expect=200):
        reply = weir.admin("POST", "/v1/rollouts/%s/%s" % (id, verb), {})
        self.assertEqual(reply.status, expect, reply)

    def all_in(self, id, weirs=None, limit=15, **want):
        weirs = weirs or self.weirs

        def there():
            return all(all(r.get(k) == v for k, v in want.items()) for r in (self.rollout(w, id) for w in weirs))
        try:
            until(there, limit)
        except AssertionError:
            raise AssertionError("not all in %s: %s" % (want, json.dumps([self.rollout(w, id) for w in weirs], indent=1))) from None

    def holder(self):
        """The instance that moves the split's rollout."""
        return until(lambda: next((w for w in self.weirs if w.process.poll() is None and
                                   w.metric("weir_fleet_lease", split="shop") == 1), None), 10, "a holder")

    def cut_off(self, weir):
        self.relays[self.weirs.index(weir)].cut()
        until(lambda: not self.look(weir)["up"], 10, "the partition is noticed")

    def mend(self, weir):
        self.relays[self.weirs.index(weir)].mend()
        until(lambda: self.look(weir)["up"], 10, "the fleet is reached again")

    def audit(self, weir, action):
        rows = weir.admin("GET", "/v1/audit?limit=1000").json["entries"]
        return [r for r in rows if r["action"] == action]


class Weights(Fleet):

    def test_weights_set_on_one_instance_hold_on_all_within_a_second(self):
        weirs = self.fleet(3)
        took = []
        for n, weir in enumerate(weirs * 3):
            began = self.set(weir, n + 1)
            self.all_at(n + 1)
            took.append(time.monotonic() - began)
        self.assertLess(sorted(took)[len(took) // 2], 1 * SLOW, took)
        self.agree()
        self.assertTrue(all(self.audit(w, "fleet_adopt") for w in weirs))
        split = weirs[0].admin("GET", "/v1/splits/shop").json
        self.assertEqual(split["reason"], "test")


if __name__ == "__main__":
    import unittest
    unittest.main()

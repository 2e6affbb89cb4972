"""Rate limits with `scope: global`: what Redis's troubles cost requests.

A route has a shared limit that nobody reaches, steady requests go through it
(steady.c: late answers are seen as late), and Redis, behind a relay, is well,
stopped (SIGSTOP), answers after 2 s, or is killed and started again and again.
The p99 of each is compared with that of a Redis that is well, run in turn.
"""
import argparse
import contextlib
import functools
import heapq
import json
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

import proxies
from proxies import Bench, Failed, Origin, Program, Proxy

SLOW = 2.0          # seconds until an answer
RESTART = 0.6       # seconds between two deaths
NOISE_MS = 1.0      # or half as much again: what two rounds of the same differ by here


class Redis(Program):
    def __init__(self, bench, port):
        super().__init__(bench, "redis", ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                          "--appendonly", "no"], bench.load_cpu)


class Relay(threading.Thread):
    """Bytes both ways; those of the server after `delay` seconds."""

    def __init__(self, port, to):
        super().__init__(daemon=True)
        self.to, self.delay, self.is_over = to, 0.0, False
        self.listening = socket.create_server(("127.0.0.1", port))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listening, selectors.EVENT_READ)
        self.other, self.late, self.n = {}, [], 0

    def run(self):
        while not self.is_over:
            wait = max(0.0, self.late[0][0] - time.monotonic()) if self.late else 0.05
            for key, _ in self.selector.select(min(wait, 0.05)):
                if key.fileobj is self.listening:
                    self.accept()
                else:
                    self.move(key.fileobj, key.data)
            while self.late and self.late[0][0] <= time.monotonic():
                _, _, to, data = heapq.heappop(self.late)
                if to in self.other:
                    with contextlib.suppress(OSError):
                        to.sendall(data)

    def accept(self):
        client, _ = self.listening.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.to), 1)
        except OSError:
            client.close()
            return
        for one, other, is_server in ((client, server, False), (server, client, True)):
            self.other[one] = other
            self.selector.register(one, selectors.EVENT_READ, is_server)

    def move(self, one, is_server):
        if one not in self.other:
            return
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        if not data:
            for gone in (one, self.other[one]):
                self.selector.unregister(gone)
                del self.other[gone]
                gone.close()
            return
        self.n += 1
        heapq.heappush(self.late, (time.monotonic() + (self.delay if is_server else 0), self.n, self.other[one], data))


def conf(bench, port, tls_port, blue, green, redis):
    routes = ("  - {name: api, match: {path_prefix: /128}, split: shop, rate_limit: {key: client_ip, rate: 100000/s, "
              "burst: 100000, scope: global, on_failure: local}}\n")
    return (proxies.weir_conf(bench, port, tls_port, blue, green, routes=routes)
            + f'redis: {{url: "redis://127.0.0.1:{redis}", prefix: "weir:bench"}}\n')


def well(_bench, _redis, _relay, seconds):
    time.sleep(seconds)


def stopped(_bench, redis, _relay, seconds):
    os.kill(redis.child.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(redis.child.pid, signal.SIGCONT)


def slow(_bench, _redis, relay, seconds):
    relay.delay = SLOW
    time.sleep(seconds)
    relay.delay = 0.0


def restarted(bench, redis, relay, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        redis.stop(signal.SIGKILL)
        redis = Redis(bench, relay.to)
        time.sleep(RESTART)
    redis.stop()


TROUBLES = {"well": well, "stopped": stopped, "slow": slow, "restarted": restarted}


def measure(bench, trouble, options):
    origin = Origin(bench)
    redis = Redis(bench, bench.port(30))
    relay = Relay(bench.port(31), bench.port(30))
    relay.start()
    try:
        proxy = Proxy(bench, "weir", origin, conf=functools.partial(conf, redis=bench.port(31)))
        try:
            load = subprocess.Popen([bench.tool("steady"), str(proxy.port), "/128", str(options.rate),
                                     str(options.seconds)], stdout=subprocess.PIPE, text=True,
                                    preexec_fn=lambda: os.sched_setaffinity(0, {bench.load_cpu}))
            try:
                TROUBLES[trouble](bench, redis, relay, options.seconds - 1)
                out, _ = load.communicate(timeout=60)
            finally:
                proxies.cut(load)
        finally:
            proxy.stop()
    finally:
        relay.is_over = True
        relay.join()
        relay.listening.close()
        redis.stop(signal.SIGKILL)
        origin.stop()
    return json.loads(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    options = parser.parse_args()
    rounds = {trouble: [] for trouble in TROUBLES}
    with Bench(options.port_base) as bench:
        for i in range(options.rounds):
            for trouble in list(TROUBLES)[::1 if i % 2 else -1]:
                rounds[trouble].append(measure(bench, trouble, options))
    status, p99 = 0, {t: statistics.median(r["p99_ms"] for r in found) for t, found in rounds.items()}
    print("| Redis is | p99 ms of requests | failed | |\n|---|---:|---:|---|")
    for trouble, found in rounds.items():
        failed = sum(r["sent"] - r["ok"] for r in found)
        ok = failed == 0 and p99[trouble] <= max(p99["well"] + NOISE_MS, p99["well"] * 1.5)
        print(f"| {trouble} | {p99[trouble]:.2f} | {failed} of {sum(r['sent'] for r in found)} | {'ok' if ok else 'TOO MUCH'} |")
        status = status if ok else 1
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.shared/v1", "rounds": rounds}, out, indent=1)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError, subprocess.SubprocessError) as why:
        print(f"shared: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

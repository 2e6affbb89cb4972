"""Instructions and system calls of one keep-alive HTTP/1.1 request, and of one
of HTTP/2 in clear (to an origin of HTTP/1.1, and of HTTP/2).

Time on a shared machine varies by a third; a count does not. The proxy runs
once for the lower and once for the higher number of requests; start-up,
connections and shutdown are the same in both, so the difference over the
additional requests is the price of one. The client goes in lockstep over 16
connections, so that the event loop sees the same batches each time. h2load has
16 streams on each of 16 connections and a proxy that is slow enough under the
tool, so that it always finds all of them waiting.

Instructions are user mode, by callgrind, of the threads that serve. (valgrind's CPU has no
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

import compare
import proxies
from proxies import Bench, Failed, Origin, Proxy

CONNECTIONS = 16
IO_CALLS = ("read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto", "sendmsg", "sendmmsg",
            "sendfile", "splice")
H2_GATE, H2H2_GATE = 25000, 48000

class Kind:
    """What is counted: requests of which version, to origins of which; how many of them, and the bounds for weir."""

    def __init__(self, word, text, peers, few=1, gate=None, io=None, h2=False, h2_up=False):
        self.word, self.text, self.peers, self.few = word, text, peers, few
        self.gate, self.io, self.h2, self.h2_up = gate, io, h2, h2_up


KINDS = [
    Kind("http", "HTTP/1.1", ("nginx", "haproxy"), gate=8000, io=4),
    Kind("h2", "HTTP/2 to HTTP/1.1", ("nginx", "haproxy", "nghttpx", "h2o"), few=2, gate=H2_GATE, io=2.6, h2=True),
    Kind("h2h2", "HTTP/2 to HTTP/2", ("haproxy", "nghttpx"), few=2, gate=H2H2_GATE, io=0.6, h2=True, h2_up=True),
]
TOOL_START = 120  # seconds: a program starts slowly under valgrind


def drive_h2(bench, proxy, requests):
    argv = ["h2load", f"-c{CONNECTIONS}", "-m16", "-t1", f"-n{requests}"]
    for line in compare.BROWSER:
        argv += ["-H", line]
    argv += ["-H", ":authority: " + proxies.HOST, f"http://127.0.0.1:{proxy.port}/128"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if f"status codes: {requests} 2xx" not in done.stdout:
        raise Failed(f"{proxy.name}: {done.stdout}{done.stderr}\n{proxy.why()}")


def drive(bench, proxy, kind, requests):
    """Exactly so many requests, at once in lockstep; the client checks each answer."""
    if kind.h2:
        drive_h2(bench, proxy, requests)
        return
    done = subprocess.run([bench.tool("client"), str(proxy.port), "/128", str(requests), str(CONNECTIONS)],
                          capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Failed(f"{proxy.name}: {done.stderr.strip()}\n{proxy.why()}")


def under(bench, name, kind, wrapper, requests):
    """One life of a proxy under a tool, with so many requests in it."""
    origin = Origin(bench, is_h2=kind.h2_up)
    bench.is_clear_h2 = kind.h2
    try:
        proxy = Proxy(bench, name, origin, wrapper=wrapper, patience=TOOL_START,
                      conf=proxies.H2_CONFS[name] if kind.h2_up else None)
        try:
            drive(bench, proxy, kind, requests)
        finally:
            proxy.stop()
    finally:
        origin.stop()


def instructions(bench, name, kind, requests):
    """Of the threads that serve: weir's first one starts it and then works by the second, not by the request."""
    out = os.path.join(bench.dir, f"callgrind.{name}.{requests}")
    under(bench, name, kind, ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--callgrind-out-file=" + out + ".%p", "-q"], requests)
    total = 0
    for file in os.listdir(bench.dir):
        if not file.startswith(os.path.basename(out) + "."):
            continue
        with open(os.path.join(bench.dir, file)) as f:
            found = re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M)
        os.unlink(os.path.join(bench.dir, file))
        if found and not (name == "weir" and file.endswith("-01")):
            total += int(found[1])
    if total == 0:
        raise Failed(f"{name}: callgrind wrote no total")
    return total


def calls(bench, name, kind, requests):
    """Calls by name; I/O calls only on TCP sockets."""
    out = os.path.join(bench.dir, f"strace.{name}.{requests}")
    under(bench, name, kind, ["strace", "-f", "-yy", "-s", "0", "-o", out], requests)
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


def slope(count, bench, name, kind, options):
    """(what `count` gives) for the higher number minus that for the lower, a request."""
    few, many = options.few * kind.few, options.many * kind.few
    a, b = count(bench, name, kind, few), count(bench, name, kind, many)
    if isinstance(a, int):
        return (b - a) / (many - few)
    return {word: (b[word] - a[word]) / (many - few) for word in set(a) | set(b)}


def bound(kind, options):
    return options.gate if options.gate and kind.word == "http" else kind.gate


def callgrind_report(bench, name, kind, options):
    values = sorted(slope(instructions, bench, name, kind, options) for _ in range(options.repeat))
    middle = values[len(values) // 2]
    gate = bound(kind, options)
    ok = name != "weir" or middle <= gate
    spread = f", {options.repeat} times: {values[0]:,.0f}..{values[-1]:,.0f}" if options.repeat > 1 else ""
    print(f"{proxies.version(name):16} {middle:9,.0f} instructions a request, {kind.text}{spread}"
          + (f"  (at most {gate:,}: {'ok' if ok else 'TOO MANY'})" if name == "weir" else ""), flush=True)
    return ok, {"instructions": middle, "all": values}


def strace_report(bench, name, kind, options):
    per = {word: n for word, n in slope(calls, bench, name, kind, options).items() if abs(n) >= 0.005}
    io = sum(n for word, n in per.items() if word in IO_CALLS)
    ctl = per.get("epoll_ctl", 0)
    ok = name != "weir" or (io < kind.io + 0.05 and abs(ctl) < 0.01)
    words = ", ".join(f"{word} {n:.2f}" for word, n in sorted(per.items(), key=lambda item: -item[1]))
    print(f"{proxies.version(name):16} {io:9.2f} I/O calls a request, {ctl:.2f} epoll_ctl, {kind.text}"
          + (f"  (at most {kind.io} and 0: {'ok' if ok else 'NOT SO'})" if name == "weir" else "")
          + f"\n{'':16} {words}", flush=True)
    return ok, {"io_calls": io, "epoll_ctl": ctl, "calls": per}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0],
                                     epilog="Without --callgrind and --strace both are done.")
    parser.add_argument("--callgrind", action="store_true")
    parser.add_argument("--strace", action="store_true")
    parser.add_argument("--peers", action="store_true", help="the others too")
    parser.add_argument("--proxy", action="append", choices=("floor",) + proxies.H2_PROXIES, help="may be repeated")
    parser.add_argument("--kind", action="append", choices=[k.word for k in KINDS], help="may be repeated")
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--many", type=int, default=2500)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--gate", type=int, help="of HTTP/1.1 (default 8000)")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    options = parser.parse_args()
    if not options.callgrind and not options.strace:
        options.callgrind = options.strace = True
    if not 0 < options.few < options.many:
        parser.error("--few must be below --many")
    return options


def names_of(kind, options):
    asked = options.proxy or (["weir"] if proxies.find("weir") else []) + (list(kind.peers) if options.peers else [])
    return [name for name in asked if name == "weir" or name in kind.peers or (name == "floor" and not kind.h2)]


def main():
    options = arguments()
    if not options.peers and not options.proxy and not proxies.find("weir"):
        raise Failed(f"no weir at {proxies.weir_path()} (WEIR=PATH names it), and no --peers asked for")
    fine, report = True, {}
    with Bench(options.port_base) as bench:
        for kind in KINDS:
            if options.kind and kind.word not in options.kind:
                continue
            for wanted, counted in ((options.callgrind, callgrind_report), (options.strace, strace_report)):
                for name in names_of(kind, options) if wanted else ():
                    ok, found = counted(bench, name, kind, options)
                    fine = fine and ok
                    report.setdefault(kind.word, {}).setdefault(name, {}).update(found)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.ir/v2", "kinds": report}, out, indent=1)
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"ir: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

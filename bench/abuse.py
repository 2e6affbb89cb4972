"""What a quiet client notices while another one abuses HTTP/2.

One worker. The quiet client asks RATE times a second over HTTP/1.1 and keeps
its pace whatever happens; the other one floods, and comes back at once on a
new connection whenever it is sent away.

quiet     the quiet client's p99 with nobody else there, ms, before and after
p99       the same while the abuse goes on
memory    MiB (PSS) that weir took on top of its quiet value, at most
sent      frames of the abuse, and how often it was sent away
cpu       share of weir's CPU meanwhile
"""
import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time

from proxies import Bench, Failed, Origin, Proxy

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "fake"))
import h2  # noqa: E402

P99_FACTOR, MEMORY_MIB = 3.0, 64
CHUNK = 32 << 10            # bytes of frames at once
READERS = 64                # connections of those that hold instead of flooding
LONG = "/131072"            # more than a window takes, and little work for the origins


def opened(stream, method="GET", path="/128", end=True):
    return h2.frame(h2.HEADERS, h2.END_HEADERS | (h2.END_STREAM if end else 0), stream, h2.block(h2.request(path, method)))


def word(number):
    return struct.pack(">I", number)


def many(frame):
    """The same frame, again and again."""
    return b"", lambda n: frame


def in_stream(head, frame):
    return head, lambda n: frame


def by_stream(make):
    return b"", lambda n: make(2 * n + 1)


UNENDED = h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.block(h2.request("/128")))
BIG = h2.literal("x-big", "y" * 3900, indexed=True)

# name: (what a connection begins with, its n-th repetition)
FLOODS = {
    "rapid reset": by_stream(lambda s: opened(s, path=LONG) + h2.frame(h2.RST_STREAM, 0, s, word(h2.CANCEL))),
    "provoked resets": by_stream(lambda s: opened(s, path=LONG) + h2.frame(h2.WINDOW_UPDATE, 0, s, word(0))),
    "SETTINGS": many(h2.frame(h2.SETTINGS)),
    "PING": many(h2.frame(h2.PING, 0, 0, b"12345678")),
    "empty DATA": in_stream(opened(1, "POST", end=False), h2.frame(h2.DATA, 0, 1)),
    "PRIORITY": by_stream(lambda s: h2.frame(h2.PRIORITY, 0, s, b"\0\0\0\0\x10")),
    "WINDOW_UPDATE": many(h2.frame(h2.WINDOW_UPDATE, 0, 0, word(1))),
    "unknown frames": many(h2.frame(0xfa, 0, 0, b"x" * 16)),
    "CONTINUATION": (UNENDED, lambda n: h2.frame(h2.CONTINUATION, 0, 1, h2.literal("x-%d" % n, "y" * 10))),
    "empty CONTINUATION": in_stream(UNENDED, h2.frame(h2.CONTINUATION, 0, 1, b"")),
    "HPACK bomb": (h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, h2.block(h2.request("/128")) + BIG + b"\xbe" * 8000),
                   lambda n: h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 2 * n + 3,
                                      h2.block(h2.request("/128")) + b"\xbe" * 8000)),
}
# name: what each of many connections asks for, and then reads nothing (the window is 0, or nobody gives it back)
HOLDS = {
    "zero windows": (dict(window=0), b"".join(opened(s, path=LONG) for s in range(1, 201, 2))),
    "windows never given back": ({}, b"".join(opened(s, path=LONG) for s in range(1, 201, 2))),
    "idle streams": ({}, b"".join(opened(s, "POST", end=False) for s in range(1, 201, 2))),
}


def is_away(wire):
    """Reads what there is; True when the peer has said or shown that it is over."""
    try:
        while True:
            if not wire.recv(1 << 16, socket.MSG_DONTWAIT):
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def flood(name, port, until):
    opening, make = FLOODS[name]
    frames = away = 0
    chunks, n, size = [], 0, 1
    while size < 4 << 20 and n < 200000:        # as much as any connection may come to send, made before
        chunk = b"".join(make(n + i) for i in range(max(1, CHUNK // max(1, len(make(n))))))
        count = max(1, CHUNK // max(1, len(make(n))))
        chunks.append((chunk, count))
        n, size = n + count, size + len(chunk)
    print("ready", flush=True)
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as wire:
                wire.sendall(h2.PREFACE + h2.frame(h2.SETTINGS) + opening)
                for chunk, count in chunks:
                    wire.sendall(chunk)
                    frames += count
                    if is_away(wire) or time.monotonic() > until:
                        break
                away += 1
        except OSError:
            away += 1
    return frames, away


def hold(name, port, until):
    settings, requests = HOLDS[name]
    frames = away = 0
    wires = []
    print("ready", flush=True)
    while time.monotonic() < until:
        if len(wires) < READERS:
            wire = h2.client(("127.0.0.1", port), **settings).sock
            wire.sendall(requests)
            frames += 100
            wires.append(wire)
        if "window" not in settings and "never" not in name:
            away += sum(is_away(wire) for wire in wires)
        time.sleep(0.005)
    return frames, away


def attack(name, port, seconds):
    os.nice(19)         # it shares its CPU with the quiet client, whose pace is what counts
    act = flood if name in FLOODS else hold
    frames, away = act(name, port, time.monotonic() + seconds)
    print(json.dumps({"frames": frames, "away": away}))


class Attack:
    def __init__(self, bench, name, port, seconds):
        self.child = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--attack", name, "--port", str(port),
                                       "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True,
                                      preexec_fn=lambda: os.sched_setaffinity(0, {bench.load_cpu}))
        if self.child.stdout.readline() != "ready\n":
            raise Failed(f"{name}: the abuse did not begin")

    def result(self):
        return json.loads(self.child.communicate(timeout=60)[0])


def quiet(bench, proxy, rate, seconds):
    """The quiet client's numbers, weir's memory at most, and its CPU."""
    client = subprocess.Popen([bench.tool("steady"), "-c", "64", str(proxy.port), "/128", str(rate), str(seconds)],
                              stdout=subprocess.PIPE, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, {bench.load_cpu}))
    most, cpu, began = 0, proxy.cpu_ns(), time.monotonic()
    while client.poll() is None:
        most = max(most, proxy.memory_kib("Pss"))
        time.sleep(0.1)
    busy = (proxy.cpu_ns() - cpu) / 1e9 / (time.monotonic() - began)
    told = json.loads(client.stdout.read())
    told["bad"] = told["client_error"] + told["server_error"] + told["broken"] + told["late"]
    return told, most / 1024, busy


def once(bench, proxy, options, name):
    before, memory, _ = quiet(bench, proxy, options.rate, options.seconds)
    abuse = Attack(bench, name, proxy.port, options.seconds + 0.5)
    during, most, cpu = quiet(bench, proxy, options.rate, options.seconds)
    sent = abuse.result()
    after, _, _ = quiet(bench, proxy, options.rate, options.seconds)
    calm = statistics.mean((before["p99_ms"], after["p99_ms"]))
    return {"quiet_ms": calm, "p99_ms": during["p99_ms"], "factor": during["p99_ms"] / calm,
            "memory_mib": most - memory, "failed": during["bad"], "cpu": cpu, **sent}


def measure(bench, options, name):
    """Medians of the rounds; of memory and failures the worst, of the abuse the sum."""
    origin = Origin(bench)
    try:
        proxy = Proxy(bench, "weir", origin)
        try:
            rounds = [once(bench, proxy, options, name) for _ in range(options.rounds)]
        finally:
            proxy.stop()
    finally:
        origin.stop()
    row = {key: statistics.median(r[key] for r in rounds) for key in ("quiet_ms", "p99_ms", "factor", "cpu")}
    row |= {key: max(r[key] for r in rounds) for key in ("memory_mib", "failed")}
    row |= {key: sum(r[key] for r in rounds) for key in ("frames", "away")}
    return {"abuse": name, **row}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=500, help="requests a second of the quiet client")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", metavar="WORD", help="abuses whose name holds WORD")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=24900)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        attack(options.attack, options.port, options.seconds)
        return 0
    names = [name for name in (*FLOODS, *HOLDS) if (options.only or "") in name]
    if not names:
        raise Failed(f"no abuse has {options.only!r} in its name: {', '.join((*FLOODS, *HOLDS))}")
    print(f"{'abuse':26}{'quiet':>8}{'p99':>8}{'factor':>8}{'memory':>8}{'failed':>8}{'cpu':>6}{'sent':>12}{'away':>8}")
    rows = []
    with Bench(options.port_base) as bench:
        for name in names:
            row = measure(bench, options, name)
            rows.append(row)
            print(f"{name:26}{row['quiet_ms']:>8.2f}{row['p99_ms']:>8.2f}{row['factor']:>8.1f}{row['memory_mib']:>8.1f}"
                  f"{row['failed']:>8}{row['cpu']:>6.0%}{row['frames']:>12,}{row['away']:>8,}", flush=True)
    fine = all(row["factor"] <= P99_FACTOR and row["memory_mib"] <= MEMORY_MIB and not row["failed"] for row in rows)
    print(f"p99 at most {P99_FACTOR:g} times the quiet one, at most {MEMORY_MIB} MiB more, no failed request: "
          f"{'ok' if fine else 'TOO MUCH'}")
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.abuse-bench/v1", "rows": rows}, out, indent=1)
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"abuse: {error}")

#!/usr/bin/env python3
"""What an idle keep-alive connection costs in memory: in clear, with TLS, and
with HTTP/2 over TLS.

Connections make one request each and then rest. The figure is the slope of the
proxy's private anonymous memory (smaps_rollup, all its processes) between two
numbers of resting connections, so that what is there anyway, and what is kept
for the next ones, counts for nothing. The kernel's socket memory is the same
for all and not in it. nginx takes about 424 bytes more for each connection
that it may have (worker_connections), at its start.
"""
import argparse
import json
import socket
import ssl
import struct
import sys
import time

import proxies
from proxies import Bench, Failed, Origin, Proxy

LIMITS = {"clear": 512, "tls": 14.4 * 1024, "h2": 32 * 1024}  # bytes a connection, for weir
REQUEST = f"""GET /128 HTTP/1.1
Host: {proxies.HOST}
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-GB,en;q=0.5
Accept-Encoding: gzip, deflate, br
Cookie: session=8d1f5c0e7a9b4d3c; theme=light

""".replace("\n", "\r\n").encode()


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_block():
    """The same request, all fields as literals that enter the proxy's table, as a browser's do."""
    lines = REQUEST.decode().split("\r\n")
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", proxies.HOST), (":path", "/128")]
    fields += [line.lower().split(": ", 1) for line in lines[2:] if line]
    return b"".join(b"\x40" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
                    for name, value in fields)


def connect_h2(conn, proxy):
    """Its first stream is answered; what the proxy has to acknowledge is."""
    conn.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, header_block()))
    got, is_over = b"", False
    while not is_over:
        more = conn.recv(4096)
        if not more:
            raise Failed(f"{proxy.name}: closed a connection after {len(got)} bytes")
        got += more
        while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
            size, kind, flags, stream = int.from_bytes(got[:3], "big"), got[3], got[4], int.from_bytes(got[5:9], "big")
            got = got[9 + size:]
            if kind == 4 and not flags & 1:
                conn.sendall(frame(4, 1, 0))
            if kind in (3, 7):
                raise Failed(f"{proxy.name}: reset or goaway")
            is_over = is_over or (stream == 1 and kind in (0, 1) and flags & 1)
    return conn


def connect(proxy, context):
    """A connection that has had its first answer."""
    conn = socket.create_connection(("127.0.0.1", proxy.tls_port if context else proxy.port), timeout=10)
    if context:
        conn = context.wrap_socket(conn, server_hostname=proxies.HOST)
        if conn.selected_alpn_protocol() == "h2":
            return connect_h2(conn, proxy)
    conn.sendall(REQUEST)
    got = b""
    while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 128:
        more = conn.recv(4096)
        if not more:
            raise Failed(f"{proxy.name}: closed a connection after {len(got)} bytes")
        got += more
    if not got.startswith(b"HTTP/1.1 200"):
        raise Failed(f"{proxy.name}: {got[:40]!r}")
    return conn


def settled_kib(proxy):
    """Anonymous memory once it has stopped moving (frees come at a turn's end)."""
    last = None
    for _ in range(20):
        now = proxy.memory_kib("Anonymous")
        if now == last:
            return now
        last = now
        time.sleep(0.1)
    return last


def measure(bench, name, kind, few, many):
    """Bytes a connection."""
    context = None
    if kind != "clear":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if kind == "h2":
            context.set_alpn_protocols(["h2"])
    origin = Origin(bench)
    conns = []
    try:
        proxy = Proxy(bench, name, origin)
        try:
            conns += [connect(proxy, context) for _ in range(few)]
            before = settled_kib(proxy)
            conns += [connect(proxy, context) for _ in range(many - few)]
            after = settled_kib(proxy)
        finally:
            for conn in conns:
                conn.close()
            proxy.stop()
    finally:
        origin.stop()
    return (after - before) * 1024 / (many - few)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--proxy", action="append", choices=proxies.PROXIES, help="may be repeated")
    parser.add_argument("--kind", action="append", choices=list(LIMITS), help="may be repeated")
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--many", type=int, default=3500)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--port-base", type=int, default=22000)
    options = parser.parse_args()
    names = options.proxy or [n for n in proxies.PROXIES if proxies.find(n)]
    status, report = 0, {}
    with Bench(options.port_base) as bench:
        if bench.files < options.many + 500:
            raise Failed(f"{options.many} connections need more than {bench.files} descriptors: ulimit -n, or --many")
        for name in names:
            for kind, limit in LIMITS.items():
                if options.kind and kind not in options.kind:
                    continue
                cost = measure(bench, name, kind, options.few, options.many)
                report.setdefault(name, {})[kind] = cost
                ok = name != "weir" or cost <= limit
                print(f"{proxies.version(name):16} {kind:5} {cost:9,.0f} bytes a connection ({cost / 1024:.2f} KiB)"
                      + (f"  (at most {limit:,.0f}: {'ok' if ok else 'TOO MUCH'})" if name == "weir" else ""),
                      flush=True)
                status = status if ok else 1
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"schema": "weir.memory/v1", "proxies": report}, out, indent=1)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"memory: {why}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

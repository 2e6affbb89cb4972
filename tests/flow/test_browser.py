"""What a browser makes of weir: Debian's Chromium over TLS and HTTP/2, with a self-signed certificate."""

import base64
import hashlib
import os
import shutil
import unittest

from harness import SLOW, Case, one_pool, until, upstream as fake

import chromium


def program():
    """Chromium's path. WEIR_NO_BROWSER=REASON, which tests/run.sh sets when it could not be installed, makes the tests skipped."""
    if os.environ.get("WEIR_NO_BROWSER"):
        raise unittest.SkipTest(os.environ["WEIR_NO_BROWSER"])
    at = shutil.which("chromium")
    if not at:
        raise AssertionError("there is no chromium: apt-get install chromium")
    return at


PAGE = b"<!doctype html><title>weir</title><link rel=icon href=data:,><p>hello"


def chat(peer, seen):
    """A WebSocket that says every message back; those of the browser are masked, and short enough for two bytes of length."""
    key = seen.one("sec-websocket-key") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %s\r\n\r\n"
              % base64.b64encode(hashlib.sha1(key).digest()))

    def take(count):
        while len(peer.buf) < count:
            if not peer.fill():
                raise fake.Bye
        taken, peer.buf = peer.buf[:count], peer.buf[count:]
        return taken
    while True:
        first, length = take(2)
        head = bytes([first, length & 127])
        length &= 127
        if length == 126:
            more = take(2)
            head, length = head + more, int.from_bytes(more, "big")
        mask = take(4)
        peer.send(head + bytes(byte ^ mask[at & 3] for at, byte in enumerate(take(length))))
        if first & 15 == 8:
            raise fake.Bye


def site(peer, seen, args):
    """A page, and a stream of events that goes on after the last one that was seen."""
    peer.body(seen)
    if seen.target == b"/chat":
        chat(peer, seen)
    if seen.target != b"/events":
        peer.reply(200, PAGE, [("content-type", "text/html")])
        return
    last = int(seen.one("last-event-id") or b"0")
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n")
    peer.chunk(b"retry: 50\n\n")
    for number in range(last + 1, 1000):
        with peer.upstream.lock:
            peer.upstream.tick.wait_for(lambda: peer.upstream.ticks >= number or peer.upstream.stopping.is_set(), 30)
            if peer.upstream.ticks < number:
                raise fake.Bye
        peer.chunk(b"id: %d\ndata: event %d\n\n" % (number, number))


LISTEN = """
    window.got = []; window.opened = 0;
    window.source = new EventSource('/events');
    source.onopen = () => opened++;
    source.onmessage = (event) => got.push([event.lastEventId, event.data]);
    undefined"""


class InABrowser(Case):
    limit = 90

    @classmethod
    def setUpClass(cls):
        cls.browser = chromium.Browser(program(), 20 * SLOW)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.up = self.upstream(site)
        self.weir = self.start(self.config())
        self.page = self.browser
        self.origin = "https://localhost:%d" % self.weir.port
        self.page.open(self.origin + "/")

    def tearDown(self):
        self.page.open("about:blank")
        until(lambda: self.weir.process.poll() is not None or self.weir.metric("weir_http_requests_in_flight") == 0)

    def config(self):
        return one_pool(self.up.address, listeners={"http": {"tls": {"self_signed": True}}})

    def seen_of(self, path):
        return [seen for seen in self.up.seen if seen.target == path]

    def test_a_page_comes_over_http_2(self):
        self.assertEqual(self.page.run("document.title + ' ' + document.body.innerText.trim()"), "weir hello")
        self.assertEqual(self.page.run("performance.getEntriesByType('navigation')[0].nextHopProtocol"), "h2")
        self.assertEqual(self.up.faults, [])

    def test_many_fetches_at_once_share_one_connection(self):
        before = self.weir.metric("weir_connections_total")
        got = self.page.run("""
            Promise.all(Array.from({length: 200}, (_, n) => fetch('/m/echo/?' + n).then(r => r.json()).then(j => j.target == '/m/echo/?' + n)))""")
        self.assertEqual(got, [True] * 200)
        protocols = self.page.run("[...new Set(performance.getEntriesByType('resource').map(e => e.nextHopProtocol))]")
        self.assertEqual(protocols, ["h2"])
        self.assertEqual(self.weir.metric("weir_connections_total"), before)
        self.assertEqual(self.up.faults, [])

    def test_an_upload_and_a_download_are_whole(self):
        size = 5 << 20
        got = self.page.run("""(async () => {
            const hex = async (data) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', data))].map(b => b.toString(16).padStart(2, '0')).join('');
            const body = new Uint8Array(%d).map((_, i) => (i * 31 + (i >> 8) * 7) & 255);
            const told = await (await fetch('/m/checksum', {method: 'POST', body})).json();
            const down = await (await fetch('/m/big/%d')).arrayBuffer();
            return [told.sha256 == await hex(body), told.length, await hex(down)];
        })()""" % (size, size))
        self.assertEqual(got, [True, size, fake.big_sum(size)])

    def test_a_fetch_that_is_given_up_lets_its_upstream_go(self):
        self.page.run("""(async () => {
            const stop = new AbortController();
            window.fate = fetch('/m/wait', {signal: stop.signal}).catch(error => error.name);
            window.stop = stop;
        })()""")
        until(lambda: self.seen_of(b"/m/wait"))
        self.page.run("stop.abort()")
        self.assertEqual(self.page.run("fate"), "AbortError")
        until(lambda: self.weir.metric("weir_http_requests_in_flight") == 0)

    def test_a_broken_answer_is_an_error_to_the_page(self):
        for mood in fake.TRUNCATED:
            self.assertIn(self.page.run("fetch('/m/%s').then(async r => r.status + (await r.text()).slice(0, 4)).catch(error => error.name)" % mood),
                          ("TypeError", '502{"st'))

    def test_a_websocket_is_a_stream_of_the_pages_connection(self):
        before = self.weir.metric("weir_connections_total")
        got = self.page.run("""new Promise((done, bad) => {
            const socket = new WebSocket('/chat'.replace(/^/, location.origin.replace('https', 'wss')));
            const sent = ['a', 'b'.repeat(125), 'c'.repeat(60000), 'last'], got = [];
            socket.onopen = () => sent.forEach(text => socket.send(text));
            socket.onerror = () => bad(Error('no socket'));
            socket.onmessage = (event) => { got.push(event.data); if (event.data == 'last') socket.close(4001, 'enough'); };
            socket.onclose = (event) => done([got.join() == sent.join(), event.code, event.reason, event.wasClean]);
        })""")
        self.assertEqual(got, [True, 4001, "enough", True])
        self.assertEqual(self.weir.metric("weir_connections_total"), before)
        self.assertEqual(self.up.faults, [])

    def test_events_come_as_they_are_sent(self):
        self.page.run(LISTEN)
        until(lambda: self.page.run("opened") == 1)
        for number in range(1, 21):
            self.up.advance()
            until(lambda: self.page.run("got.length") == number)
        self.assertEqual(self.page.run("got[19]"), ["20", "event 20"])
        self.assertEqual(self.page.run("opened"), 1)

    def test_an_upstream_that_ends_its_events_is_asked_for_the_rest(self):
        self.page.run(LISTEN)
        until(lambda: self.page.run("opened") == 1)
        for number in range(1, 11):
            self.up.advance()
            until(lambda: self.page.run("got.length") == number)
            if number in (3, 7):
                self.up.drop_connections()
                until(lambda: self.page.run("opened") == (2 if number == 3 else 3))
        self.assertEqual(self.page.run("got.map(g => g[0]).join()"), ",".join(map(str, range(1, 11))))
        self.assertEqual([seen.one("last-event-id") for seen in self.seen_of(b"/events")], [None, b"3", b"7"])

    def test_reloads_and_a_second_page_go_on_beside_the_events(self):
        self.page.run(LISTEN)
        until(lambda: self.page.run("opened") == 1)
        for number in range(1, 6):
            self.weir.reload(dict(self.weir.config, pools={"app": dict(self.weir.config["pools"]["app"], timeouts={"first_byte": "%ds" % (20 + number)})}))
            self.up.advance()
            until(lambda: self.page.run("got.length") == number)
            self.assertEqual(self.page.run("fetch('/m/hello').then(r => r.text())"), "hello\n")
        self.assertEqual(self.page.run("opened"), 1)

    def test_a_restart_in_order_loses_no_event(self):
        """SIGTERM tells the browser to go elsewhere, and what it asks meanwhile is not lost; then weir comes back."""
        self.page.run(LISTEN)
        until(lambda: self.page.run("opened") == 1)
        self.up.advance()
        until(lambda: self.page.run("got.length") == 1)
        self.weir.process.terminate()
        until(lambda: "draining" in self.weir.err())
        self.up.advance()
        until(lambda: self.page.run("got.length") == 2)
        self.weir.process.terminate()           # the second one: at once
        self.assertEqual(self.weir.process.wait(20 * SLOW), 0)
        self.weir.start()
        self.up.advance()
        until(lambda: self.page.run("got.length") == 3, 20)
        self.assertEqual(self.page.run("got.map(g => g[0]).join()"), "1,2,3")
        self.assertEqual(self.seen_of(b"/events")[-1].one("last-event-id"), b"2")


if __name__ == "__main__":
    unittest.main()

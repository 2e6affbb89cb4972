"""The cases of request smuggling: what goes in, what may come out.

A case is bytes for one connection. The rules that hold for all of them are
checked by test_smuggling.py: the upstream sees nothing that a strict reader
refuses, nothing that was hidden in a body or behind a refusal, and a sentinel
request afterwards is answered by its own answer.
"""

NEXT = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"

CASES = []


class Attempt:
    """`status`: what the first answer may be. `closed`: the connection must end after it.
    `complete`: how many whole requests the upstream may have seen.
    `plain`: an alternative outcome that is fine too: forwarded as this many clean requests, answered 200.
    `check`: looks at the upstream's requests when something got through."""

    def __init__(self, group, name, data, status=(400,), closed=True, complete=(0,), plain=None, check=None, after=None):
        self.group, self.name, self.data = group, name, data
        self.status, self.closed, self.complete = set(status), closed, set(complete)
        self.plain, self.check, self.after = plain, check, after


def refuse(group, name, data, status=(400,), **more):
    """An answer of that status, then the end; nothing whole goes upstream."""
    CASES.append(Attempt(group, name, data, status, **more))


def either(group, name, data, plain=1, status=(400,), check=None):
    """Refused, or understood and forwarded clean."""
    CASES.append(Attempt(group, name, data, status, plain=plain, check=check))


def accept(group, name, data, requests=1, check=None, status=(200,)):
    CASES.append(Attempt(group, name, data, status, closed=None, complete=(requests,), check=check))


def body_is(expected):
    def check(seen):
        assert seen[0].body == expected, "body %r, not %r" % (seen[0].body, expected)
    return check


def no_field(*names):
    def check(seen):
        for name in names:
            for request in seen:
                assert not request.all(name), "%s went upstream: %r" % (name, request.raw)
    return check


def one_framing(seen):
    assert not (seen[0].all("content-length") and seen[0].all("transfer-encoding")), seen[0].raw


def head(fields, line=b"POST / HTTP/1.1", host=b"Host: t\r\n"):
    return line + b"\r\n" + host + fields + b"\r\n"


CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

# ---- both framings: RFC 9112 section 6.1 and 6.3 ----
for name, fields in {
    "content-length first": b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
    "transfer-encoding first": b"Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
    "content-length of 6": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
    "content-length 0": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    "content-length over all": b"Content-Length: 51\r\nTransfer-Encoding: chunked\r\n",
    "other case": b"content-LENGTH: 4\r\ntransfer-ENCODING: Chunked\r\n",
}.items():
    either("both framings", name, head(fields) + CHUNKS + NEXT, check=one_framing)
for name, fields in {
    "identity and length": b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
    "unknown coding and length": b"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
    "empty coding and length": b"Content-Length: 5\r\nTransfer-Encoding:\r\n",
    "two codings and length": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "bad length and coding": b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
    "two lengths and coding": b"Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n",
}.items():
    refuse("both framings", name, head(fields) + CHUNKS + NEXT, (400, 501))
either("both framings", "on GET", head(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"GET / HTTP/1.1") + CHUNKS + NEXT, check=one_framing)

# ---- Transfer-Encoding in disguise ----
for name, value in {
    "xchunked": b"xchunked", "chunkedx": b"chunkedx", "identity": b"identity", "gzip": b"gzip", "cow": b"cow",
    "chunked then identity": b"chunked, identity", "chunked then gzip": b"chunked, gzip", "chunked twice": b"chunked, chunked",
    "parameter q": b"chunked;q=1", "parameter": b"chunked; a=b", "bare semicolon": b"chunked;", "double quotes": b"\"chunked\"",
    "single quotes": b"'chunked'", "vertical tab before": b"\x0bchunked", "vertical tab after": b"chunked\x0b",
    "form feed before": b"\x0cchunked", "form feed after": b"chunked\x0c", "nul before": b"\x00chunked", "nul after": b"chunked\x00",
    "nbsp before": b"\xa0chunked", "nbsp after": b"chunked\xa0", "utf-8 nbsp": b"\xc2\xa0chunked", "bom": b"\xef\xbb\xbfchunked",
    "tab inside": b"chu\tnked", "space inside": b"chun ked", "word after": b"chunked x", "word before": b"x chunked",
    "tab word after": b"chunked\tx", "del after": b"chunked\x7f", "bell": b"\x07chunked", "backspace": b"chunked\x08",
    "kelvin sign": b"chun\xe2\x84\xaaed", "fullwidth": b"\xef\xbd\x83hunked", "colon": b": chunked", "equals": b"=chunked",
    "semicolon list": b"gzip; chunked", "cr after": b"chunked\r", "cr before": b"\rchunked", "brackets": b"[chunked]",
    "percent": b"%63hunked", "backslash": b"chunked\\", "nul inside": b"chun\x00ked",
}.items():
    refuse("transfer-encoding", name, head(b"Transfer-Encoding: " + value + b"\r\n") + CHUNKS + NEXT, (400, 501))
for name, value in {
    "empty element first": b", chunked", "empty element last": b"chunked,", "empty elements around": b",chunked,",
    "gzip then chunked": b"gzip, chunked", "identity then chunked": b"identity, chunked",
}.items():
    either("transfer-encoding", name, head(b"Transfer-Encoding: " + value + b"\r\n") + CHUNKS + NEXT, status=(400, 501), plain=2 if b"," in value[:1] + value[-1:] else None)
for name, fields in {
    "two lines, identity last": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "two lines, identity first": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "two lines, both chunked": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "two lines, cow last": b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n",
    "folded": b"Transfer-Encoding:\r\n chunked\r\n", "folded with tab": b"Transfer-Encoding:\r\n\tchunked\r\n",
    "folded field before": b"X-A: b\r\n Transfer-Encoding: chunked\r\n",
    "space before colon": b"Transfer-Encoding : chunked\r\n", "tab before colon": b"Transfer-Encoding\t: chunked\r\n",
    "leading space": b" Transfer-Encoding: chunked\r\n", "leading tab": b"\tTransfer-Encoding: chunked\r\n",
    "nul in name": b"Transfer-Encoding\x00: chunked\r\n", "latin-1 in name": b"Transfer-Encoding\xff: chunked\r\n",
    "semicolon in name": b"Transfer-Encoding;: chunked\r\n", "vertical tab in name": b"\x0bTransfer-Encoding: chunked\r\n",
    "behind a bare LF": b"X-A: b\nTransfer-Encoding: chunked\r\n", "behind a bare CR": b"X-A: b\rTransfer-Encoding: chunked\r\n",
    "before a bare LF": b"Transfer-Encoding: chunked\nX-A: b\r\n", "ends in CR CR LF": b"Transfer-Encoding: chunked\r\r\n",
    "no colon": b"Transfer-Encoding chunked\r\n", "empty": b"Transfer-Encoding:\r\n", "blank": b"Transfer-Encoding:   \r\n",
    "only a comma": b"Transfer-Encoding: ,\r\n",
}.items():
    refuse("transfer-encoding", name, head(fields) + CHUNKS + NEXT, (400, 501))
for name, fields in {
    "lower case": b"transfer-encoding: chunked\r\n", "upper case": b"TRANSFER-ENCODING: CHUNKED\r\n", "mixed case": b"tRANSFER-eNCODING: cHuNkEd\r\n",
    "no space": b"Transfer-Encoding:chunked\r\n", "tab as space": b"Transfer-Encoding:\tchunked\r\n", "trailing blanks": b"Transfer-Encoding: chunked \t \r\n",
}.items():
    accept("transfer-encoding", name, head(fields) + CHUNKS, check=body_is(b"hello"))
for alias in (b"Transfer_Encoding", b"transfer_encoding"):
    either("transfer-encoding", "alias " + alias.decode(), head(alias + b": chunked\r\n", b"GET / HTTP/1.1"), plain=1,
           check=no_field("transfer_encoding", "transfer-encoding"))

# ---- Transfer-Encoding in HTTP/1.0: faulty framing, RFC 9112 section 6.1 ----
for name, fields in {
    "plain": b"Transfer-Encoding: chunked\r\n", "with keep-alive": b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
    "with length": b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
    "with length and keep-alive": b"Connection: keep-alive\r\nContent-Length: 15\r\nTransfer-Encoding: chunked\r\n",
}.items():
    either("http/1.0", name, head(fields, b"POST / HTTP/1.0") + CHUNKS + NEXT, status=(400, 501), check=one_framing)

# ---- Content-Length that is no number, or more than one ----
for name, value in {
    "plus": b"+5", "minus": b"-5", "minus zero": b"-0", "hex": b"0x5", "octal word": b"0o5", "binary word": b"0b101", "list differing": b"5, 6",
    "empty": b"", "blank": b" ", "two words": b"5 5", "semicolon": b"5;", "fraction": b"5.0", "exponent": b"5e0", "overflow by 5": b"18446744073709551621",
    "overflow": b"99999999999999999999999", "forty nines": b"9" * 40, "nbsp after": b"5\xa0", "nbsp before": b"\xa05", "vertical tab": b"5\x0b",
    "vertical tab before": b"\x0b5", "form feed": b"5\x0c", "nul": b"5\x00", "nul before": b"\x005", "arabic digit": b"\xd9\xa5", "underscore": b"5_0",
    "thousands": b"1,000", "quotes": b"\"5\"", "word": b"five", "nan": b"nan", "cr after": b"5\r", "letter after": b"5a", "list with empty": b"5,,5x",
    "only a comma": b",", "tab inside": b"5\t5", "del": b"5\x7f", "2^64": b"18446744073709551616", "2^63": b"9223372036854775808x", "sign twice": b"++5",
}.items():
    refuse("content-length", name, head(b"Content-Length: " + value + b"\r\n") + b"hello" + NEXT, (400, 413))
for name, fields in {
    "two lines differing": b"Content-Length: 5\r\nContent-Length: 6\r\n", "two lines, 0 first": b"Content-Length: 0\r\nContent-Length: 5\r\n",
    "two lines, 0 last": b"Content-Length: 5\r\nContent-Length: 0\r\n", "two lines, case": b"Content-Length: 5\r\ncontent-length: 39\r\n",
    "two lines, one empty": b"Content-Length: 5\r\nContent-Length:\r\n",
    "space before colon": b"Content-Length : 5\r\n", "tab before colon": b"Content-Length\t: 5\r\n", "leading space": b" Content-Length: 5\r\n",
    "folded": b"Content-Length:\r\n 5\r\n", "folded digits": b"Content-Length: 5\r\n 5\r\n", "nul in name": b"Content-Length\x00: 5\r\n",
    "no colon": b"Content-Length 5\r\n", "behind a bare CR": b"X: y\rContent-Length: 5\r\n", "behind a bare LF": b"X: y\nContent-Length: 5\r\n",
    "bare CR then letter": b"Content-Length: 5\rX\r\n",
}.items():
    refuse("content-length", name, head(fields) + b"hello" + NEXT)
for name, fields in {
    "same twice": b"Content-Length: 5\r\nContent-Length: 5\r\n", "same in a list": b"Content-Length: 5, 5\r\n", "same in a tight list": b"Content-Length: 5,5\r\n",
    "leading zeros": b"Content-Length: 00005\r\n", "forty zeros": b"Content-Length: " + b"0" * 40 + b"5\r\n",
}.items():
    either("content-length", name, head(fields) + b"hello", check=body_is(b"hello"))
for name, fields in {
    "trailing blanks": b"Content-Length: 5 \t\r\n", "no space": b"Content-Length:5\r\n", "lower case": b"content-length: 5\r\n",
}.items():
    accept("content-length", name, head(fields) + b"hello", check=body_is(b"hello"))
for alias in (b"Content_Length", b"content_length"):
    either("content-length", "alias " + alias.decode(), head(alias + b": 5\r\n", b"GET / HTTP/1.1"), check=no_field("content_length", "content-length"))

# ---- a body belongs to its request, whatever the method: CL.0 and 0.CL ----
for method in (b"GET", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"POST", b"PROPFIND", b"X"):
    accept("body of any method", method.decode() + " with a length",
           head(b"Content-Length: %d\r\n" % len(NEXT), method + b" / HTTP/1.1") + NEXT, check=body_is(NEXT))
    accept("body of any method", method.decode() + " chunked",
           head(b"Transfer-Encoding: chunked\r\n", method + b" / HTTP/1.1") + b"%x\r\n" % len(NEXT) + NEXT + b"\r\n0\r\n\r\n", check=body_is(NEXT))
accept("body of any method", "HEAD with a length", head(b"Content-Length: %d\r\n" % len(NEXT), b"HEAD / HTTP/1.1") + NEXT, check=body_is(NEXT))
either("body of any method", "TRACE with a length", head(b"Content-Length: %d\r\n" % len(NEXT), b"TRACE / HTTP/1.1") + NEXT, status=(400, 405, 501))
refuse("body of any method", "to an answer of weir's own", head(b"Content-Length: %d\r\n" % len(NEXT), b"POST /fixed HTTP/1.1") + NEXT, (200,), closed=None)
refuse("body of any method", "chunked, to an answer of weir's own",
       head(b"Transfer-Encoding: chunked\r\n", b"POST /fixed HTTP/1.1") + b"%x\r\n" % len(NEXT) + NEXT + b"\r\n0\r\n\r\n", (200,), closed=None)
refuse("body of any method", "to a forbidden path", head(b"Content-Length: %d\r\n" % len(NEXT), b"GET /admin HTTP/1.1") + NEXT, (403,), closed=None)
refuse("body of any method", "bad chunks to an answer of weir's own",
       head(b"Transfer-Encoding: chunked\r\n", b"POST /fixed HTTP/1.1") + b"zz\r\n" + NEXT, (200, 400))

# ---- chunk sizes ----
for name, size in {
    "0x": b"0x5", "plus": b"+5", "minus": b"-5", "leading space": b" 5", "leading tab": b"\t5", "underscore": b"0_5", "empty": b"", "word": b"hello",
    "letter after": b"5g", "two words": b"5 5", "comma": b"5,5", "fraction": b"5.0", "nul": b"5\x00", "nul before": b"\x005", "vertical tab": b"5\x0b",
    "overflow 2^64+5": b"10000000000000005", "overflow 17 F": b"F" * 17, "forty F": b"F" * 40, "nbsp": b"5\xa0", "quotes": b"\"5\"", "h suffix": b"5h",
    "minus zero": b"-0", "semicolon only": b";", "300 zeros": b"0" * 300 + b"5", "libevent 0_2e": b"0_2e", "plus zero": b"+0", "0x0": b"0x0",
    "colon": b"5:", "cr": b"5\r", "exponent sign": b"5-", "leading vertical tab": b"\x0b5",
}.items():
    refuse("chunk size", name, head(b"Transfer-Encoding: chunked\r\n") + size + b"\r\nhello\r\n0\r\n\r\n" + NEXT)
for name, size in {"trailing space": b"5 ", "trailing tab": b"5\t", "semicolon without name": b"5;", "twenty zeros": b"0" * 20 + b"5", "space before extension": b"5 ;a=b"}.items():
    either("chunk size", name, head(b"Transfer-Encoding: chunked\r\n") + size + b"\r\nhello\r\n0\r\n\r\n", check=body_is(b"hello"))
for name, size, data in (("upper case hex", b"A", b"0123456789"), ("lower case hex", b"a", b"0123456789"), ("leading zero", b"05", b"hello")):
    accept("chunk size", name, head(b"Transfer-Encoding: chunked\r\n") + size + b"\r\n" + data + b"\r\n0\r\n\r\n", check=body_is(data))
accept("chunk size", "several zeros end", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n000\r\n\r\n", check=body_is(b"hello"))
accept("chunk size", "one byte chunks", head(b"Transfer-Encoding: chunked\r\n") + b"".join(b"1\r\n%c\r\n" % c for c in b"hello") + b"0\r\n\r\n", check=body_is(b"hello"))

# ---- chunk extensions and line ends: CVE-2025-22871, CVE-2025-55315 ----
for name, line in {
    "LF": b"5\n", "LF in extension": b"5;a\nb\r\n", "LF after semicolon": b"5;\n", "CR in extension": b"5;a\rb\r\n", "NUL in extension": b"5;a\x00b\r\n",
    "CR CR LF": b"5\r\r\n", "bare CR": b"5\r", "LF CR": b"5\n\r", "LF in quoted": b"5;a=\"\n\"\r\n", "CR in quoted": b"5;a=\"\r\"\r\n",
    "extension of 300 bytes": b"5;" + b"a" * 300 + b"\r\n", "endless extension": b"5;" + b"a" * 70000 + b"\r\n", "control in extension": b"5;a\x01\r\n",
}.items():
    refuse("chunk line", name, head(b"Transfer-Encoding: chunked\r\n") + line + b"hello\r\n0\r\n\r\n" + NEXT)
refuse("chunk line", "TERM.EXT", head(b"Transfer-Encoding: chunked\r\n") + b"2;\nxx\r\n47\r\n0\r\n\r\n" + NEXT)
refuse("chunk line", "EXT.TERM", head(b"Transfer-Encoding: chunked\r\n") + b"5;a\r\nhello\r\n0;\n\r\n" + NEXT)
refuse("chunk line", "last chunk ends in LF", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\n\r\n" + NEXT)
refuse("chunk line", "last chunk ends in CR", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\rX\r\n\r\n" + NEXT)
for name, line in {"plain extension": b"5;a=b\r\n", "extension without value": b"5;a\r\n", "quoted extension": b"5;a=\"b c\"\r\n"}.items():
    either("chunk line", name, head(b"Transfer-Encoding: chunked\r\n") + line + b"hello\r\n0\r\n\r\n", check=body_is(b"hello"))

# ---- the end of a chunk's data ----
for name, data in {
    "two other bytes": b"helloXX0\r\n\r\n", "LF": b"hello\n0\r\n\r\n", "CR": b"hello\r0\r\n\r\n", "CR CR LF": b"hello\r\r\n0\r\n\r\n", "LF CR": b"hello\n\r0\r\n\r\n",
    "space CRLF": b"hello \r\n0\r\n\r\n", "nothing": b"hello0\r\n\r\n", "one byte too many": b"hello!\r\n0\r\n\r\n", "spill of a request": b"hello" + NEXT,
    "NUL": b"hello\x00\r\n0\r\n\r\n", "X LF": b"helloX\n0\r\n\r\n", "CR X": b"hello\rX0\r\n\r\n",
}.items():
    refuse("chunk end", name, head(b"Transfer-Encoding: chunked\r\n") + b"5\r\n" + data + NEXT)
for name, data in {
    "zero then X": b"0\r\nX", "zero then LF": b"0\r\n\n", "zero LF LF": b"0\n\n", "zero CR X": b"0\r\n\rX", "zero then request": b"0\r\n" + NEXT[:-2] + b" x\r\n\r\n",
}.items():
    refuse("chunk end", name, head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n" + data + NEXT)

# ---- trailers ----
FORBIDDEN = ("content-length", "transfer-encoding", "host", "connection", "x-forwarded-for", "x-forwarded-proto", "x-real-ip",
             "forwarded", "x-request-id", "authorization", "cookie", "trailer", "te", "upgrade", "keep-alive")


def clean_trailers(seen):
    for request in seen:
        names = [n.lower().decode() for n, _ in request.trailers]
        assert not set(names) & set(FORBIDDEN), "trailers %r" % names
        assert not set(names) & {n.replace("-", "_") for n in FORBIDDEN}, "trailers %r" % names
        assert b"evil" not in request.raw, "a trailer became a header: %r" % request.raw


for te in (b"", b"TE: trailers\r\n"):
    for name, line in {
        "content-length": b"Content-Length: 666", "transfer-encoding": b"Transfer-Encoding: evil", "host": b"Host: evil", "connection": b"Connection: evil",
        "x-forwarded-for": b"X-Forwarded-For: evil", "alias x_forwarded_for": b"X_Forwarded_For: evil", "x-request-id": b"X-Request-Id: evil",
        "authorization": b"Authorization: evil", "cookie": b"Cookie: evil",
    }.items():
        either("trailers", name + (" with TE" if te else ""), head(te + (b"Connection: te\r\n" if te else b"") + b"Transfer-Encoding: chunked\r\n")
               + b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n", check=clean_trailers)
for name, line in {
    "no colon": b"nonsense", "space before colon": b"x : y", "empty name": b": y", "bare CR": b"x: a\rb", "NUL": b"x: a\x00b", "folded": b"x: a\r\n b",
    "leading space": b" x: y", "name no token": b"x(y: z", "a request": b"GET /smuggled HTTP/1.1", "control": b"x: \x01",
}.items():
    refuse("trailers", name, head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n" + NEXT)
refuse("trailers", "bare LF", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\nx: y\n\r\n" + NEXT)
refuse("trailers", "end in LF LF", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\nx: y\r\n\n" + NEXT)
refuse("trailers", "9 KiB", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\n" + b"x: %s\r\n" % (b"v" * 990) * 9 + b"\r\n", (400, 431))
refuse("trailers", "40 fields", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 40 + b"\r\n", (400, 431))
accept("trailers", "a good one", head(b"Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", check=body_is(b"hello"))

# ---- line ends and controls in the head ----
for name, data in {
    "LF after request line": b"GET / HTTP/1.1\nHost: t\r\n\r\n", "LF after a field": b"GET / HTTP/1.1\r\nHost: t\n\r\n", "LF only": b"GET / HTTP/1.1\nHost: t\n\n",
    "LF as the empty line": b"GET / HTTP/1.1\r\nHost: t\r\n\n", "LF CR": b"GET / HTTP/1.1\r\nHost: t\n\r\r\n\r\n", "CR after request line": b"GET / HTTP/1.1\rHost: t\r\n\r\n",
    "CR CR LF": b"GET / HTTP/1.1\r\r\nHost: t\r\n\r\n", "CR CR LF after a field": b"GET / HTTP/1.1\r\nHost: t\r\r\n\r\n", "CR as line end": b"GET / HTTP/1.1\r\nHost: t\rX: y\r\n\r\n",
    "CR in the empty line": b"GET / HTTP/1.1\r\nHost: t\r\n\r\r\n", "CR in a value": b"GET / HTTP/1.1\r\nHost: t\r\nX: a\rb\r\n\r\n", "CR LF hidden by LF": b"GET / HTTP/1.1\r\nHost: t\r\nX: a\nGET /smuggled HTTP/1.1\r\n\r\n",
    "NUL in the method": b"GE\x00T / HTTP/1.1\r\nHost: t\r\n\r\n", "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: t\r\n\r\n", "NUL in a name": b"GET / HTTP/1.1\r\nHost: t\r\nX\x00: y\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: t\r\nX: a\x00b\r\n\r\n", "NUL at a value's end": b"GET / HTTP/1.1\r\nHost: t\r\nX: a\x00\r\n\r\n", "NUL line": b"GET / HTTP/1.1\r\nHost: t\r\n\x00\r\n\r\n",
}.items():
    refuse("line ends", name, data + NEXT)
for byte in (0x01, 0x07, 0x08, 0x0b, 0x0c, 0x0e, 0x1b, 0x1f, 0x7f):
    refuse("line ends", "control %02x in a value" % byte, b"GET / HTTP/1.1\r\nHost: t\r\nX: a%cb\r\n\r\n" % byte + NEXT)
accept("line ends", "tab in a value", b"GET / HTTP/1.1\r\nHost: t\r\nX: a\tb\r\n\r\n")
either("line ends", "latin-1 in a value", b"GET / HTTP/1.1\r\nHost: t\r\nX: \xe9\r\n\r\n")
either("line ends", "one empty line before", b"\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n")
refuse("line ends", "LF before", b"\nGET / HTTP/1.1\r\nHost: t\r\n\r\n" + NEXT)
refuse("line ends", "CR before", b"\rGET / HTTP/1.1\r\nHost: t\r\n\r\n" + NEXT)

# ---- folding, white space at the wrong place ----
for name, fields in {
    "space fold": b"X: a\r\n b\r\n", "tab fold": b"X: a\r\n\tb\r\n", "fold of nothing": b"X:\r\n \r\n", "fold before the first field": b" X: a\r\n",
    "fold that hides a field": b"X: a\r\n Content-Length: 5\r\n", "fold at the end": b"X: a\r\n ", "empty fold": b"X: a\r\n \r\n",
}.items():
    refuse("folding", name, b"GET / HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n" + NEXT)
refuse("folding", "white space before Host", b"GET / HTTP/1.1\r\n Host: t\r\n\r\n" + NEXT)
refuse("folding", "blank line of spaces", b"GET / HTTP/1.1\r\nHost: t\r\n \r\n\r\n" + NEXT)
refuse("folding", "Host folded", b"GET / HTTP/1.1\r\nHost:\r\n t\r\n\r\n" + NEXT)

# ---- names ----
for name, field in {
    "space before colon": b"X : y", "tab before colon": b"X\t: y", "empty name": b": y", "no colon": b"X", "no colon, words": b"X y z", "space inside": b"X Y: z",
    "latin-1": b"X\xe9: y", "nbsp": b"X\xa0: y", "utf-8": b"\xc3\xa9: y", "only a colon": b":", "space first": b"X: a\r\n : b",
}.items():
    refuse("names", name, b"GET / HTTP/1.1\r\nHost: t\r\n" + field + b"\r\n\r\n" + NEXT)
for byte in b"(),/;<=>?@[\\]{}\"\x7f\x01\x0b":
    refuse("names", "byte %02x" % byte, b"GET / HTTP/1.1\r\nHost: t\r\nX%cY: z\r\n\r\n" % byte + NEXT)
for byte in b"!#$%&'*+-.^`|~":
    accept("names", "token byte %02x" % byte, b"GET / HTTP/1.1\r\nHost: t\r\nX%cY: z\r\n\r\n" % byte)
refuse("names", "of 300 bytes", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x" * 300 + b": y\r\n\r\n", (400, 431))
refuse("names", "of 60 KiB", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x" * 61440 + b": y\r\n\r\n", (400, 431))

# ---- the request line ----
for name, line in {
    "version lower case": b"GET / http/1.1", "version mixed": b"GET / Http/1.1", "HTTP/1.1x": b"GET / HTTP/1.1x", "HTTP/1.": b"GET / HTTP/1.", "HTTP/11": b"GET / HTTP/11",
    "HTTP/1.10": b"GET / HTTP/1.10", "HTTP/01.1": b"GET / HTTP/01.1", "HTTP/1,1": b"GET / HTTP/1,1", "HTTP /1.1": b"GET / HTTP /1.1", "HTP/1.1": b"GET / HTP/1.1",
    "HTTP/+1.1": b"GET / HTTP/+1.1", "no version": b"GET /", "no version, space": b"GET / ", "only a method": b"GET", "two spaces first": b"GET  / HTTP/1.1",
    "two spaces second": b"GET /  HTTP/1.1", "tab first": b"GET\t/ HTTP/1.1", "tab second": b"GET /\tHTTP/1.1", "trailing space": b"GET / HTTP/1.1 ", "trailing word": b"GET / HTTP/1.1 x",
    "leading space": b" GET / HTTP/1.1", "vertical tab": b"GET\x0b/ HTTP/1.1", "form feed": b"GET /\x0cHTTP/1.1", "space in target": b"GET /a b HTTP/1.1", "fragment": b"GET /#x HTTP/1.1",
    "fragment hides a path": b"GET /a#/../admin HTTP/1.1", "control in target": b"GET /\x01 HTTP/1.1", "DEL in target": b"GET /\x7f HTTP/1.1", "no slash": b"GET x HTTP/1.1",
    "query only": b"GET ?x HTTP/1.1", "dots": b"GET .. HTTP/1.1", "star with GET": b"GET * HTTP/1.1", "method with colon": b"GE:T / HTTP/1.1", "method with bracket": b"GE(T / HTTP/1.1",
    "method empty": b" / HTTP/1.1", "method latin-1": b"G\xc9T / HTTP/1.1", "backslash": b"GET \\ HTTP/1.1", "http:/ only": b"GET http:/x HTTP/1.1", "http:// only": b"GET http:// HTTP/1.1",
    "userinfo": b"GET http://u@t/ HTTP/1.1", "userinfo with password": b"GET http://u:p@t/ HTTP/1.1", "ftp": b"GET ftp://t/ HTTP/1.1", "javascript": b"GET javascript:x HTTP/1.1",
    "absolute with space": b"GET http://t x/ HTTP/1.1", "absolute with comma": b"GET http://t,u/ HTTP/1.1", "absolute with fragment": b"GET http://t/#x HTTP/1.1", "absolute bad port": b"GET http://t:x/ HTTP/1.1",
    "authority form": b"GET t:80 HTTP/1.1",
}.items():
    refuse("request line", name, line + b"\r\nHost: t\r\n\r\n" + NEXT, (400, 404, 501, 505))
for name, line in {"HTTP/2.0": b"GET / HTTP/2.0", "HTTP/3.0": b"GET / HTTP/3.0", "HTTP/0.9": b"GET / HTTP/0.9", "HTTP/9.9": b"GET / HTTP/9.9", "HTTP/0.1": b"GET / HTTP/0.1"}.items():
    refuse("request line", name, line + b"\r\nHost: t\r\n\r\n" + NEXT, (400, 505))
either("request line", "HTTP/1.2", b"GET / HTTP/1.2\r\nHost: t\r\n\r\n", status=(400, 505))
either("request line", "latin-1 in target", b"GET /\xe9 HTTP/1.1\r\nHost: t\r\n\r\n")
either("request line", "lower case method", b"get / HTTP/1.1\r\nHost: t\r\n\r\n", status=(400, 405, 501))
refuse("request line", "HTTP/0.9 request", b"GET /\r\n", (400, 505))
refuse("request line", "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 501, 505))
refuse("request line", "40 KiB target", b"GET /" + b"a" * 40960 + b" HTTP/1.1\r\nHost: t\r\n\r\n", (400, 414, 431))
refuse("request line", "4 KiB method", b"A" * 4096 + b" / HTTP/1.1\r\nHost: t\r\n\r\n", (400, 414, 431, 501), closed=True)
accept("request line", "8000 octets", b"GET /" + b"a" * 7986 + b" HTTP/1.1\r\nHost: t\r\n\r\n")
accept("request line", "absolute form", b"GET http://t/x?y HTTP/1.1\r\nHost: t\r\n\r\n")
either("request line", "OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", status=(400, 404))
either("request line", "empty query", b"GET /? HTTP/1.1\r\nHost: t\r\n\r\n")

# ---- Host and the authority ----
for name, fields in {
    "none": b"", "two differing": b"Host: t\r\nHost: u\r\n", "two the same": b"Host: t\r\nHost: t\r\n", "two, other case": b"Host: t\r\nhOST: u\r\n", "userinfo": b"Host: u@t\r\n",
    "comma": b"Host: t,u\r\n", "comma and space": b"Host: t, u\r\n", "space inside": b"Host: t u\r\n", "slash": b"Host: t/x\r\n", "hash": b"Host: t#x\r\n", "question mark": b"Host: t?x\r\n",
    "backslash": b"Host: t\\x\r\n", "port word": b"Host: t:x\r\n", "port too big": b"Host: t:99999\r\n", "port negative": b"Host: t:-1\r\n", "two colons": b"Host: t:80:80\r\n",
    "bracket open": b"Host: [::1\r\n", "bracket junk": b"Host: [::1]x\r\n", "bracket close": b"Host: ::1]\r\n", "empty brackets": b"Host: []\r\n", "NUL": b"Host: t\x00\r\n", "nbsp": b"Host: t\xa0\r\n",
    "latin-1": b"Host: t\xe9\r\n", "tab inside": b"Host: t\tu\r\n", "scheme": b"Host: http://t\r\n", "space before colon": b"Host : t\r\n", "quote": b"Host: \"t\"\r\n", "angle": b"Host: <t>\r\n",
    "vertical tab": b"Host: \x0bt\r\n", "semicolon and host": b"Host: t\r\nHost\x0b: u\r\n", "caret": b"Host: t^u\r\n", "braces": b"Host: {t}\r\n", "pipe": b"Host: t|u\r\n", "percent": b"Host: t%\r\n",
}.items():
    refuse("host", name, b"GET / HTTP/1.1\r\n" + fields + b"\r\n" + NEXT)


def host_is(*allowed):
    def check(seen):
        assert seen[0].one("host") in allowed, "Host %r" % seen[0].one("host")
    return check


either("host", "empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n")
either("host", "absolute form wins", b"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", check=host_is(b"a.example"))
either("host", "absolute form, no Host", b"GET http://a.example/ HTTP/1.1\r\n\r\n", check=host_is(b"a.example"))
refuse("host", "absolute form, two Hosts", b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n" + NEXT)
refuse("host", "absolute form, bad Host", b"GET http://a.example/ HTTP/1.1\r\nHost: a b\r\n\r\n" + NEXT)
for good in (b"t", b"t:8080", b"T.Example.COM", b"127.0.0.1:80", b"[::1]", b"[::1]:8080", b"a_b.example", b"xn--bcher-kva.example"):
    accept("host", "good " + good.decode(), b"GET / HTTP/1.1\r\nHost: " + good + b"\r\n\r\n", check=lambda seen, good=good: host_is(good, good.lower())(seen))
either("host", "alias", b"GET / HTTP/1.1\r\nHost: t\r\nH_ost: u\r\n\r\n", check=host_is(b"t"))

# ---- CONNECT, TRACE ----
for name, data in {
    "authority": b"CONNECT t:80 HTTP/1.1\r\nHost: t:80\r\n\r\n", "with a length": b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
    "path": b"CONNECT / HTTP/1.1\r\nHost: t\r\n\r\n", "chunked": b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "absolute": b"CONNECT http://t/ HTTP/1.1\r\nHost: t\r\n\r\n", "1.0": b"CONNECT t:80 HTTP/1.0\r\n\r\n",
}.items():
    refuse("connect", name, data + NEXT, (400, 405, 501))

# ---- Upgrade ----
WS = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
no_upgrade = no_field("upgrade", "http2-settings")
either("upgrade", "POST with a length", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n" + WS + b"\r\nhello", check=no_upgrade)
either("upgrade", "POST chunked", b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n" + WS + b"\r\n" + CHUNKS, check=no_upgrade)
either("upgrade", "GET with a length", b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n" % len(NEXT) + WS + b"\r\n" + NEXT, check=no_upgrade)
either("upgrade", "HTTP/1.0", b"GET / HTTP/1.0\r\nHost: t\r\n" + WS + b"\r\n", check=no_upgrade)
either("upgrade", "h2c", b"GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", check=no_upgrade)
either("upgrade", "h2c without Connection", b"GET / HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", check=no_upgrade)
either("upgrade", "h2c beside websocket", b"GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AA\r\n\r\n",
       check=lambda seen: no_field("http2-settings")(seen) or [1 / 0 for r in seen if b"h2c" in r.raw.lower()])
either("upgrade", "unknown protocol", b"GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n\r\n", check=no_upgrade)
either("upgrade", "no Connection", b"GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n", check=no_upgrade)
either("upgrade", "TLS", b"GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n", check=no_upgrade)

# ---- Expect ----
refuse("expect", "unknown, with a body that is a request", b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 200-ok\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT, (417, 400, 200), closed=None, complete=(0, 1))
for value in (b"y 100-continue", b"100-continue, x", b"100-continue;q=1", b"\x0b100-continue", b"", b"100-continue\x00"):
    refuse("expect", repr(value), b"POST / HTTP/1.1\r\nHost: t\r\nExpect: " + value + b"\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT, (417, 400, 200), closed=None, complete=(0, 1))
accept("expect", "100-continue with the body at once", b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT, check=body_is(NEXT))
accept("expect", "100-continue in other case", b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello", check=body_is(b"hello"))
refuse("expect", "refused by weir, then the body", b"POST /admin HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT, (403,), closed=None)
accept("expect", "on GET without a body", b"GET / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n")

# ---- too much ----
refuse("too much", "101 fields", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x: y\r\n" * 101 + b"\r\n", (400, 431))
refuse("too much", "5000 fields", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x: y\r\n" * 5000 + b"\r\n", (400, 431))
refuse("too much", "40 KiB of fields", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x: %s\r\n" % (b"y" * 1000) * 40 + b"\r\n", (400, 431))
refuse("too much", "one field of 40 KiB", b"GET / HTTP/1.1\r\nHost: t\r\nx: " + b"y" * 40960 + b"\r\n\r\n", (400, 431))
accept("too much", "90 fields are fine", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(90)) + b"\r\n")
accept("too much", "24 KiB of fields are fine", b"GET / HTTP/1.1\r\nHost: t\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 990) for i in range(24)) + b"\r\n")

// Both ends of a WebSocket, by npm's ws, for tests/flow/test_ws.py.
//
//   node ws.mjs MODULE_DIR server VERSION [CERT KEY]   listens, says {"port": N}, echoes
//   node ws.mjs MODULE_DIR client URL VERSION          obeys one JSON line each, answers with one
//
// VERSION is h1 or h2. ws knows HTTP/1.1 only: over HTTP/2 (RFC 8441) the stream
// is node's own and ws gets its handshake from an adapter, which says in one
// version what the stream has said in the other; all frames are ws's own.
// Certificates are not checked.
//
// The server echoes each message in its kind; the text "close 4001 why" makes
// it close with that code and reason. What it sees of a close it says on
// stdout. The end of stdin ends either.

import { createRequire } from 'node:module';
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { Duplex } from 'node:stream';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';

const [moduleDir, role, ...rest] = process.argv.slice(2);
const { WebSocket, WebSocketServer } = createRequire(moduleDir + '/')('ws');
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const sum = (data) => createHash('sha256').update(data).digest('hex');
const once = (emitter, name) => new Promise((done) => emitter.once(name, (...values) => done(values)));

// Bytes that never repeat a block, and as text no more than ASCII.
function pattern(size, isBinary) {
	const data = Buffer.alloc(size);
	for (let i = 0; i < size; i++)
		data[i] = isBinary ? (i * 31 + (i >> 8) * 7) & 255 : 33 + ((i + (i >> 7)) % 90);
	return data;
}

// ---- RFC 8441 ----

/*
 * A stream of HTTP/2 that a user of HTTP/1.1 takes for a socket. The first head
 * that is written goes to `begin`; what comes after it is the tunnel's.
 */
class Adapted extends Duplex {
	constructor(begin) {
		super();
		Object.assign(this, { begin, head: Buffer.alloc(0), stream: undefined });
	}
	open(stream) {
		this.stream = stream;
		stream.on('data', (data) => this.push(data) || stream.pause());
		stream.on('end', () => this.push(null));
		stream.on('error', (error) => this.destroy(error));
		stream.on('close', () => this.destroy(stream.rstCode ? new Error(`reset with ${stream.rstCode}`) : undefined));
	}
	_read() { this.stream?.resume(); }
	_write(data, encoding, done) {
		if (this.stream)
			return this.stream.write(data, done);
		this.head = Buffer.concat([this.head, data]);
		if (this.head.includes('\r\n\r\n')) {
			const [line, ...fields] = this.head.toString().trim().split('\r\n');
			this.begin(line, Object.fromEntries(fields.map((f) => [f.slice(0, f.indexOf(':')).toLowerCase(), f.slice(f.indexOf(':') + 1).trim()])));
		}
		done();
	}
	_final(done) { this.stream ? this.stream.end(done) : done(); }
	_destroy(error, done) {
		if (this.stream && !this.stream.closed)
			this.stream.close(error ? http2.constants.NGHTTP2_CANCEL : http2.constants.NGHTTP2_NO_ERROR);
		done(error);
	}
	setTimeout() { return this; }
	setNoDelay() { return this; }
	setKeepAlive() { return this; }
	ref() { return this; }
	unref() { return this; }
}

const pick = (fields, ...names) => Object.fromEntries(names.filter((name) => fields[name]).map((name) => [name, fields[name]]));
const ABOUT = ['sec-websocket-version', 'sec-websocket-protocol', 'sec-websocket-extensions'];

// The socket of a client: its Upgrade goes as an extended CONNECT, the 200 comes back as a 101.
function socketOver(session, scheme) {
	const socket = new Adapted((line, fields) => {
		const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': scheme, ':path': line.split(' ')[1],
			':authority': fields.host, ...pick(fields, ...ABOUT) }, { endStream: false });
		stream.on('error', (error) => socket.destroy(error));
		stream.once('response', (answer) => {
			const more = Object.entries(pick(answer, ...ABOUT)).map(([name, value]) => `${name}: ${value}\r\n`).join('');
			const accept = createHash('sha1').update(fields['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
			socket.push(answer[':status'] !== 200 ? `HTTP/1.1 ${answer[':status']} Refused\r\ncontent-length: 0\r\n\r\n` :
				`HTTP/1.1 101 Switched\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}\r\n${more}\r\n`);
			socket.open(stream);
		});
	});
	return socket;
}

async function sessionTo(url) {
	const session = http2.connect(url.origin.replace(/^ws/, 'http'), { rejectUnauthorized: false });
	session.on('goaway', (code) => say({ goaway: code }));
	const [settings] = await once(session, 'remoteSettings');
	if (!settings.enableConnectProtocol)
		throw new Error('no ENABLE_CONNECT_PROTOCOL');
	return session;
}

// A server of HTTP/2, whose extended CONNECTs are given to ws as Upgrades.
function listenHttp2(server, files) {
	const settings = { enableConnectProtocol: true };
	const under = files ? http2.createSecureServer({ ...files, settings }) : http2.createServer({ settings });
	under.on('stream', (stream, head) => {
		if (head[':protocol'] !== 'websocket')
			return stream.respond({ ':status': 400 }, { endStream: true });
		const socket = new Adapted((line, fields) => {
			stream.respond({ ':status': Number(line.split(' ')[1]) === 101 ? 200 : 400, ...pick(fields, ...ABOUT) });
			socket.open(stream);
		});
		const request = { method: 'GET', url: head[':path'], headers: { ...pick(head, ...ABOUT), upgrade: 'websocket', connection: 'upgrade',
			'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } };
		server.handleUpgrade(request, socket, Buffer.alloc(0), (end) => server.emit('connection', end, request));
	});
	return under;
}

function serve(version, cert, key) {
	const files = cert && { cert: readFileSync(cert), key: readFileSync(key) };
	const server = new WebSocketServer({ noServer: true, maxPayload: 1 << 22, perMessageDeflate: true });
	const under = version === 'h2' ? listenHttp2(server, files) : files ? https.createServer(files) : http.createServer();
	under.on('upgrade', (request, socket, head) => server.handleUpgrade(request, socket, head, (end) => server.emit('connection', end, request)));
	under.listen(0, '127.0.0.1', () => say({ port: under.address().port }));
	server.on('connection', (socket) => {
		socket.on('message', (data, isBinary) => {
			const order = !isBinary && /^close (\d+) (.*)$/.exec(data.toString());
			if (order)
				socket.close(Number(order[1]), order[2]);
			else
				socket.send(data, { binary: isBinary });
		});
		socket.on('close', (code, reason) => say({ closed: code, reason: reason.toString() }));
		socket.on('error', (error) => say({ error: error.message }));
	});
}

const orders = {
	async echo(socket, { size, binary, fragments }) {
		const sent = pattern(size, binary);
		const answer = once(socket, 'message');
		const step = Math.ceil(size / (fragments || 1));
		for (let at = 0; at < size; at += step)
			socket.send(sent.subarray(at, at + step), { binary, fin: at + step >= size });
		const [data, isBinary] = await answer;
		return { size: data.length, binary: isBinary, whole: sum(data) === sum(sent) };
	},
	async ping(socket, { payload }) {
		const answer = once(socket, 'pong');
		socket.ping(payload);
		return { pong: (await answer)[0].toString() };
	},
	async close(socket, { code, reason }) {
		const end = once(socket, 'close');
		socket.close(code, reason);
		const [got, why] = await end;
		return { code: got, reason: why.toString() };
	},
	// Waits for an end that nobody here has asked for.
	async end(socket) {
		const [got, why] = await once(socket, 'close');
		return { code: got, reason: why.toString() };
	},
	async told(socket, { code, reason }) {
		const end = once(socket, 'close');
		socket.send(`close ${code} ${reason}`);
		const [got, why] = await end;
		return { code: got, reason: why.toString() };
	},
};

async function ask(url, version) {
	const options = { perMessageDeflate: process.env.WS_DEFLATE === '1', rejectUnauthorized: false };
	if (version === 'h2') {
		const session = await sessionTo(new URL(url));
		options.createConnection = () => socketOver(session, url.startsWith('wss:') ? 'https' : 'http');
	}
	const socket = new WebSocket(url, ['chat'], options);
	socket.on('error', (error) => { say({ error: error.message }); process.exit(1); });
	await once(socket, 'open');
	say({ open: true, protocol: socket.protocol, extensions: socket.extensions });
	for await (const line of createInterface({ input: process.stdin })) {
		const order = JSON.parse(line);
		say(await orders[order.do](socket, order));
	}
	process.exit(0);
}

if (role === 'server') {
	process.stdin.on('end', () => process.exit(0)).resume();
	serve(...rest);
} else {
	await ask(...rest);
}

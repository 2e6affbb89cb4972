// Both ends of a WebSocket, by npm's ws, for tests/flow/test_ws.py.
//
//   node ws.mjs MODULE_DIR server          listens, says {"port": N}, echoes
//   node ws.mjs MODULE_DIR client URL      obeys one JSON line each, answers with one
//
// The server echoes each message in its kind; the text "close 4001 why" makes
// it close with that code and reason. What it sees of a close it says on
// stdout. The end of stdin ends either.

import { createRequire } from 'node:module';
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

const [moduleDir, role, url] = process.argv.slice(2);
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

function serve() {
	const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 1 << 22, perMessageDeflate: true });
	server.on('listening', () => say({ port: server.address().port }));
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
	async told(socket, { code, reason }) {
		const end = once(socket, 'close');
		socket.send(`close ${code} ${reason}`);
		const [got, why] = await end;
		return { code: got, reason: why.toString() };
	},
};

async function ask() {
	const socket = new WebSocket(url, ['chat'], { perMessageDeflate: process.env.WS_DEFLATE === '1' });
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
	serve();
} else {
	await ask();
}

// Both ends of gRPC, by npm's @grpc/grpc-js, for tests/flow/test_grpc.py.
//
//   node grpc.mjs MODULE_DIR server [CERT KEY]          listens, says {"port": N}
//   node grpc.mjs MODULE_DIR client HOST:PORT [CA]      obeys one JSON line each, answers with one
//
// The service is cart.proto's. The server says on stdout what it sees of a
// call that was cancelled. With GRPC_HEALTH it has gRPC's health service too,
// which says what it was told to. The end of stdin ends either.

import { createRequire } from 'node:module';
import { createHash, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [moduleDir, role, ...rest] = process.argv.slice(2);
const load = createRequire(moduleDir + '/');
const grpc = load('@grpc/grpc-js');
const define = (proto) => grpc.loadPackageDefinition(load('@grpc/proto-loader').loadSync(fileURLToPath(new URL(proto, import.meta.url)),
	{ defaults: true }));
const { Cart } = define('cart.proto').cart;
const { Health } = define('health.proto').grpc.health.v1;
const LIMITS = { 'grpc.max_receive_message_length': 1 << 25, 'grpc.max_send_message_length': 1 << 25 };
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const sum = (data) => createHash('sha256').update(data).digest('hex');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- the server ----

// What the request's metadata ask for comes back, at the head and behind.
function greet(call) {
	const head = new grpc.Metadata(), tail = new grpc.Metadata();
	for (const [name, value] of Object.entries(call.metadata.getMap()))
		if (name.startsWith('x-'))
			head.set(name, value), tail.set(name.replace(/^x-/, 'tail-'), value);
	call.sendMetadata(head);
	return tail;
}

const failure = (ask, metadata) => ({ code: ask.status, details: ask.why, metadata });
const told = (ask, number) => ({ text: ask.text, blob: ask.blob, number });

// grpc-js says "cancelled" of calls that ended well too: those are left out.
function watch(name, call) {
	let isOver = false;
	call.on('cancelled', () => isOver || say({ cancelled: name, text: call.request?.text }));
	return () => (isOver = true);
}

// grpc-js lets a cancelled stream end first: who is told "never" does not mind.
function whenThrough(call, then) {
	let never = false;
	call.on('data', (ask) => (never ||= ask.never));
	call.on('end', () => never || then());
}

const service = {
	One(call, done) {
		const over = watch('One', call);
		if (call.request.head)
			greet(call);
		if (call.request.never)
			return;
		over();
		if (call.request.status)
			return done(failure(call.request));      // nothing but a status: "trailers only"
		const tail = greet(call);
		done(null, told(call.request, 1), tail);
	},
	Up(call, done) {
		const hash = createHash('sha256');
		const over = watch('Up', call);
		let number = 0;
		call.on('data', (ask) => {
			number++;
			hash.update(ask.blob);
			if (ask.head)
				greet(call);
			if (ask.status)
				over(), done(failure(ask));      // before the client is through
		});
		whenThrough(call, () => { over(); done(null, { text: hash.digest('hex'), number }); });
	},
	async Down(call) {
		const { count, gap, status, after, never } = call.request;
		const over = watch('Down', call);
		if (call.request.tells)
			say({ begun: 'Down' });
		greet(call);
		for (let n = 1; n <= count && !call.cancelled; n++) {
			if (status && n > after)
				return over(), call.emit('error', failure(call.request));
			if (!call.write(told(call.request, n)))
				await new Promise((drained) => call.once('drain', drained));
			if (gap)
				await pause(gap);
		}
		if (!never && !call.cancelled)
			over(), call.end();
	},
	Both(call) {
		const over = watch('Both', call);
		greet(call);
		call.on('data', (ask) => call.write(told(ask, 1)));
		whenThrough(call, () => { over(); call.end(); });
	},
};

// By service: a status by its number or name, or {code} of an error; who asks is told to the test.
let healths = {};
let asked = [];
const health = {
	Check(call, done) {
		const found = healths[call.request.service];
		asked.push({ service: call.request.service, fields: call.metadata.getMap(), authority: call.getHost(), path: call.getPath() });
		if (found === undefined)
			done({ code: grpc.status.NOT_FOUND, details: 'unknown service' });
		else if (found.code)
			done({ code: found.code, details: 'as told' });
		else if (!found.never)
			done(null, { status: found });
	},
};

function serve(cert, key) {
	const server = new grpc.Server(LIMITS);
	const how = cert ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(cert), private_key: readFileSync(key) }]) :
	      grpc.ServerCredentials.createInsecure();
	server.addService(Cart.service, service);
	if (process.env.GRPC_HEALTH)
		server.addService(Health.service, health);
	server.bindAsync('127.0.0.1:0', how, (error, port) => say(error ? { error: error.message } : { port }));
	createInterface({ input: process.stdin }).on('line', (line) => {
		const order = JSON.parse(line);
		if (order.do === 'health') {
			healths = order.healths;
			say({ asked });
			asked = [];
		}
		if (order.do === 'leave')
			server.tryShutdown(() => say({ left: true }));
	}).on('close', () => process.exit(0));
}

// ---- the client ----

const metadataOf = (fields) => {
	const metadata = new grpc.Metadata();
	for (const [name, value] of Object.entries(fields ?? {}))
		metadata.set(name, name.endsWith('-bin') ? Buffer.from(value, 'base64') : value);
	return metadata;
};
const fieldsOf = (metadata) => Object.fromEntries(Object.entries(metadata?.getMap() ?? {})
	.map(([name, value]) => [name, Buffer.isBuffer(value) ? value.toString('base64') : value]));

function begin(client, order) {
	const options = order.within ? { deadline: Date.now() + order.within } : {};
	const seen = { head: {}, told: [] };
	let over;
	const ended = new Promise((done) => (over = done));
	const metadata = metadataOf(order.metadata);
	const answered = (error, answer) => { if (answer) seen.answer = answer; };
	const call = order.method === 'One' ? client.One(order.ask, metadata, options, answered) :
	      order.method === 'Up' ? client.Up(metadata, options, answered) :
	      order.method === 'Down' ? client.Down(order.ask, metadata, options) : client.Both(metadata, options);
	call.on('metadata', (head) => (seen.head = fieldsOf(head)));
	call.on('status', ({ code, details, metadata }) => over({ ...seen, code, details, tail: fieldsOf(metadata) }));
	call.on('error', () => {});
	if (order.method === 'Down' || order.method === 'Both')
		call.on('data', (answer) => { seen.told.push(answer); call.emit('told', answer); });
	return { call, ended };
}

// As JSON: no bytes, but their sum.
const shown = ({ answer, told, ...end }) => ({
	...end, count: told.length, numbers: told.slice(0, 100).map((t) => t.number),
	...(answer && { text: answer.text, number: answer.number, size: answer.blob.length, sum: sum(answer.blob) }),
});

const orders = {
	// A call with one question; `size` bytes of blob, whose sum must come back.
	async call(client, order) {
		const blob = randomBytes(order.size ?? 0);
		const end = shown(await begin(client, { ...order, ask: { ...order.ask, blob } }).ended);
		return { ...end, whole: end.sum === sum(blob) };
	},
	async many(client, order) {
		const ends = await Promise.all(Array.from({ length: order.count }, (_, n) =>
			begin(client, { ...order, ask: { ...order.ask, text: `n${n}` } }).ended));
		return { good: ends.filter((end, n) => end.code === 0 && end.answer.text === `n${n}`).length, bad: [...new Set(ends.filter((e) => e.code).map((e) => `${e.code} ${e.details}`))] };
	},
	async up(client, order) {
		const { call, ended } = begin(client, { ...order, method: 'Up' });
		const hash = createHash('sha256');
		for (let n = 0; n < order.count; n++) {
			const blob = randomBytes(order.size);
			hash.update(blob);
			if (!call.write({ blob, status: n + 1 === order.fails ? 9 : 0, why: 'enough' }))
				await Promise.race([new Promise((drained) => call.once('drain', drained)), ended]);
		}
		call.end();
		const end = shown(await ended);
		return { ...end, whole: end.text === hash.digest('hex') };
	},
	// Each next question only after the last one's answer.
	async both(client, order) {
		const { call, ended } = begin(client, { ...order, method: 'Both' });
		let whole = 0;
		for (let n = 0; n < order.count; n++) {
			const blob = randomBytes(order.size);
			const answer = new Promise((done) => call.once('told', done));
			call.write({ blob });
			whole += sum((await answer).blob) === sum(blob);
		}
		call.end();
		return { ...shown(await ended), whole };
	},
	async cancel(client, order) {
		const { call, ended } = begin(client, order);
		if (order.method === 'Up')
			call.write(order.ask);
		await new Promise((done) => call.once('metadata', done));       // the server has it
		if (order.method === 'Both')
			await new Promise((done) => { call.once('told', done); call.write(order.ask); });
		call.cancel();
		return shown(await ended);
	},
};

async function ask(address, ca) {
	const how = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();
	const client = new Cart(address, how, { ...LIMITS, 'grpc.ssl_target_name_override': 'localhost', 'grpc.default_authority': 'localhost',
		'grpc.default_compression_algorithm': Number(process.env.GRPC_COMPRESSION ?? 0),
		'grpc.initial_reconnect_backoff_ms': 100, 'grpc.enable_retries': 0 });
	for await (const line of createInterface({ input: process.stdin })) {
		const order = JSON.parse(line);
		say(await orders[order.do](client, order));
	}
	process.exit(0);
}

if (role === 'server')
	serve(...rest);
else
	await ask(...rest);

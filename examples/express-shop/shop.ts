/**
 * A shop of one page: the button that leads a signed-in member to the event, and the endpoint that takes what the webhook messenger sends. Plain
 * node:http, so that it runs with nothing installed; with Express only the routing is written otherwise (docs/guides/shop-engineers.md).
 *
 *   EVENT_URL=http://127.0.0.1:8080 CAMPAIGN=first-snow SHOP_TOKEN_SECRET=... node examples/express-shop/shop.ts
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { memberToken } from './member-token.ts';
import { isGenuine } from './webhook-signature.ts';

const { EVENT_URL, CAMPAIGN, SHOP_TOKEN_SECRET, SHOP_WEBHOOK_SECRET, PORT } = process.env;
if (!EVENT_URL || !CAMPAIGN || !SHOP_TOKEN_SECRET)
  throw new Error('set EVENT_URL, CAMPAIGN and SHOP_TOKEN_SECRET');

/** Ids of messages that were taken. A real shop keeps them in its database, in the transaction that stores the message. */
const seen = new Set<string>();

/** The member of the shop's own session. Here the address says who; never do that. */
function signedInMember(request: IncomingMessage) {
  const id = new URL(request.url ?? '/', 'http://shop.invalid').searchParams.get('member') ?? 'member-0001';
  return /^member-\d{4}$/.test(id) ? { id, email: `${id}@shop.example`, locale: 'ko' as const } : null;
}

function event(request: IncomingMessage, response: ServerResponse): void {
  const member = signedInMember(request);
  if (!member) return void response.writeHead(400).end('Unknown member');
  const token = memberToken(SHOP_TOKEN_SECRET ?? '', member, Date.now());
  // The page holds a token of one member: no cache may keep it. All values here are free of characters that HTML would read.
  response
    .writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
    .end(`<!doctype html>
<html lang="ko"><meta charset="utf-8"><title>Event</title>
<form method="post" action="${EVENT_URL}/c/${CAMPAIGN}/hand-off">
  <input type="hidden" name="token" value="${token}">
  <input type="hidden" name="returnUrl" value="http://${request.headers.host}/event">
  <button>To the event</button>
</form>`);
}

async function message(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  if (!SHOP_WEBHOOK_SECRET || !isGenuine(SHOP_WEBHOOK_SECRET, request.headers, body, Date.now()))
    return void response.writeHead(401).end();
  const id = String(request.headers['webhook-id']);
  if (!seen.has(id)) {
    const { data } = JSON.parse(body.toString()) as {
      data: { contact: { email?: string }; subject: string };
    };
    // Here the shop hands it to its own push service, AlimTalk or SMS.
    process.stdout.write(
      `${JSON.stringify({ message: id, to: data.contact.email, subject: data.subject })}\n`,
    );
    seen.add(id);
  }
  // 2xx says "I have it": only now, and for a repeat too.
  response.writeHead(204).end();
}

const server = createServer((request, response) => {
  const path = request.url?.split('?')[0];
  if (request.method === 'GET' && path === '/event') event(request, response);
  else if (request.method === 'POST' && path === '/doorbuster-messages')
    message(request, response).catch(() => response.writeHead(500).end());
  else response.writeHead(404).end();
});
server.listen(Number(PORT ?? 3000), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}/event` })}\n`);
});
process.once('SIGTERM', () => server.close(() => process.exit(0)));

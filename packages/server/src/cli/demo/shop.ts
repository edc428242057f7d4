/**
 * The shop of the demo: one page that plays the shop's site, as in the guide for shop engineers. It signs a token for a made-up member and posts it to the
 * hand-off of the member page, so that no token is ever in an address.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { emailOf, memberIdOf } from './crowd-plan.ts';
import { memberTokenSigner } from './member-token.ts';

export interface ShopOffer {
  readonly url: string;
  readonly campaignId: string;
  readonly tokenSecret: string;
}
export interface Shop {
  readonly url: string;
  offer(offer: ShopOffer): void;
  close(): Promise<void>;
}

export async function openShop(): Promise<Shop> {
  let current: ShopOffer | null = null;
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://shop.invalid');
    if (pathname !== '/' || request.method !== 'GET') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n');
      return;
    }
    const member = Math.min(99, Math.max(0, Number(searchParams.get('member') ?? 0) || 0));
    response
      .writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
      .end(page(current, member, url));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    offer: (offer) => void (current = offer),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function page(offer: ShopOffer | null, member: number, ownUrl: string): string {
  const head =
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>The demo shop</title><style>body{font:1.1rem/1.6 system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem}button{font:inherit;padding:.8rem 1.4rem}</style>';
  if (!offer) return `${head}<h1>The demo shop</h1><p>No event is on yet.</p>`;
  const sign = memberTokenSigner(offer.tokenSecret, 'doorbuster');
  const token = sign(
    { sub: memberIdOf(member), email: emailOf(member), locale: 'ko', jti: randomBytes(8).toString('hex') },
    Date.now(),
    30,
  );
  return `${head}<h1>The demo shop</h1><p>You are signed in as <b>${memberIdOf(member)}</b>. (<a href="/?member=${(member + 1) % 100}">Be another member</a>)</p>
<form method="post" action="${offer.url}/c/${offer.campaignId}/hand-off"><input type="hidden" name="token" value="${token}"><input type="hidden" name="returnUrl" value="${ownUrl}/"><button>To the event</button></form>`;
}

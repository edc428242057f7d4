import { DatabaseSync } from 'node:sqlite';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, type FixtureOptions, openFixture, tester } from '../app-fixture.ts';
import { OperationalError } from '../../errors.ts';

let fixture: Fixture;
afterEach(() => fixture.close());

const shop = 'https://shop.example';

async function open(options: Partial<FixtureOptions> = {}): Promise<void> {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    config: { allowedOrigins: [shop] },
    ...options,
  });
}

/** A browser with its cookies, on our own origin. */
class Browser {
  readonly #cookies = new Map<string, string>();

  async get(url: string, headers: Record<string, string> = {}) {
    return this.#keep(await fixture.app.inject({ url, headers: { ...this.#sent(url), ...headers } }));
  }

  async post(url: string, fields: Record<string, string>, headers: Record<string, string> = {}) {
    const payload = new URLSearchParams(fields).toString();
    const form = {
      'content-type': 'application/x-www-form-urlencoded',
      origin: 'http://localhost',
      host: 'localhost',
    };
    return this.#keep(
      await fixture.app.inject({
        method: 'POST',
        url,
        headers: { ...form, ...this.#sent(url), ...headers },
        payload,
      }),
    );
  }

  async signIn(
    memberId: string,
    fields: Record<string, string> = {},
    headers: Record<string, string> = { origin: shop },
  ) {
    return this.post(
      '/c/gift/hand-off',
      { token: await fixture.token(memberId, { email: 'jane@example.com' }), ...fields },
      headers,
    );
  }

  #keep<T extends { cookies: readonly { name: string; value: string; path?: string }[] }>(response: T): T {
    for (const { name, value, path } of response.cookies) this.#cookies.set(`${path} ${name}`, value);
    return response;
  }

  #sent(url: string): Record<string, string> {
    const own = [...this.#cookies]
      .map(([key, value]) => [...key.split(' '), value] as const)
      .filter(([path]) => url.startsWith(path!));
    return own.length > 0
      ? { cookie: own.map(([, name, value]) => `${name}=${encodeURIComponent(value!)}`).join('; ') }
      : {};
  }
}

const oneQuestion = {
  survey: {
    questions: [{ id: 'why', type: 'text' as const, label: { ko: '왜요?', en: 'Why?' }, required: true }],
  },
};

describe('the member page without script', () => {
  it('hand-off, page, form, result, reload', async () => {
    await open();
    await fixture.campaign('gift');
    const browser = new Browser();
    expect((await browser.get('/c/gift')).body).toContain('봄 선물');
    const handed = await browser.signIn('m1', { returnUrl: `${shop}/events/1` });
    expect(handed.statusCode).toBe(303);
    expect(handed.headers.location).toBe('/c/gift');
    expect(handed.cookies.filter(({ name }) => name === 'doorbuster_session')).toEqual([
      expect.objectContaining({ httpOnly: true, sameSite: 'Lax', path: '/v1/campaigns/gift' }),
      expect.objectContaining({ httpOnly: true, sameSite: 'Lax', path: '/c/gift' }),
    ]);
    const page = await browser.get('/c/gift?lang=en');
    expect(page.headers['cache-control']).toContain('no-store');
    expect(page.body).toContain(`${shop}/events/1`);
    const sent = await browser.post('/c/gift/entries?lang=en', {});
    expect(sent.statusCode).toBe(303);
    expect(sent.headers.location).toBe('/c/gift?lang=en');
    for (const _ of [1, 2]) {
      const result = await browser.get('/c/gift?lang=en');
      expect(result.statusCode).toBe(200);
      expect(result.body).toContain('ja***@example.com');
    }
    expect((await browser.post('/c/gift/entries', {})).statusCode).toBe(303);
    expect((await fixture.ledger.campaigns.get('gift'))!.lane!.seq).toBe(1);
  });

  it('every state has its page and status', async () => {
    await open();
    const states: Record<string, number> = {};
    const look = async (name: string, browser = new Browser()) => {
      const page = await browser.get('/c/gift?lang=en');
      states[name] = page.statusCode;
      expect(page.headers['content-type']).toContain('text/html');
      return page.body;
    };
    await look('not found');
    await fixture.campaign(
      'gift',
      {
        startsAt: new Date(fixture.clock.now() + 60_000).toISOString(),
        stock: { capacity: 1, waitlistLimit: 1, closeWhenSoldOut: false },
      },
      false,
    );
    const [a, b, c] = [new Browser(), new Browser(), new Browser()];
    await a.signIn('a');
    await b.signIn('b');
    await c.signIn('c');
    await look('before', a);
    fixture.clock.advance(60_000);
    await look('open', a);
    await a.post('/c/gift/entries', {});
    await look('won', a);
    await b.post('/c/gift/entries', {});
    await look('waitlisted', b);
    await c.post('/c/gift/entries', {});
    await look('sold out', c);
    await fixture.ledger.campaigns.command(
      'gift',
      { type: 'change-stock', capacity: 5, safetyStock: 0 },
      tester,
    );
    await fixture.ledger.campaigns.command('gift', { type: 'pause' }, tester);
    await look('paused', c);
    await fixture.ledger.campaigns.command('gift', { type: 'close' }, tester);
    await look('closed', c);
    await look('won after the end', a);
    expect(states).toEqual({
      'not found': 404,
      before: 200,
      open: 200,
      won: 200,
      waitlisted: 200,
      'sold out': 200,
      paused: 200,
      closed: 200,
      'won after the end': 200,
    });
  });

  it('a form sent before the opening comes back as it was, and is taken after it', async () => {
    await open();
    await fixture.campaign(
      'gift',
      { ...oneQuestion, startsAt: new Date(fixture.clock.now() + 60_000).toISOString() },
      false,
    );
    const browser = new Browser();
    await browser.signIn('m1');
    const typed = { 'q.why': 'because of the <snow>' };
    const early = await browser.post('/c/gift/entries?lang=en', typed);
    expect(early.statusCode).toBe(200);
    expect(early.body).toContain('because of the &lt;snow&gt;');
    expect(early.body).not.toContain('http-equiv="refresh"');
    const other = await browser.get('/c/gift/entries?lang=ko');
    expect([other.statusCode, other.headers.location]).toEqual([303, '/c/gift?lang=ko']);
    expect((await fixture.ledger.campaigns.get('gift'))!.lane!.seq).toBe(0);
    fixture.clock.advance(60_000);
    await fixture.ledger.campaigns.tick();
    expect((await browser.post('/c/gift/entries?lang=en', typed)).statusCode).toBe(303);
    expect((await browser.get('/c/gift?lang=en')).body).toContain('You won');
  });

  it('answers with faults come back with what was typed, 422, and nothing is stored', async () => {
    await open();
    await fixture.campaign('gift', {
      survey: {
        questions: [
          ...oneQuestion.survey.questions,
          { id: 'age', type: 'number', label: { en: 'Age' }, min: 1, max: 120 },
        ],
      },
    });
    const browser = new Browser();
    await browser.signIn('m1');
    const answer = await browser.post('/c/gift/entries?lang=en', { 'q.why': 'because <b>', 'q.age': '400' });
    expect(answer.statusCode).toBe(422);
    expect(answer.body).toContain('because &lt;b&gt;');
    expect(answer.body).not.toContain('because <b>');
    expect((await fixture.ledger.campaigns.get('gift'))!.lane!.seq).toBe(0);
    expect((await browser.post('/c/gift/entries', { 'q.why': 'because', 'q.age': '40' })).statusCode).toBe(
      303,
    );
  });

  it('busy: the form comes back with Retry-After and what was typed', async () => {
    let busy = true;
    await open({
      around: (ledger) => ({
        ...ledger,
        admission: {
          ...ledger.admission,
          admit: (id, commands) =>
            busy ? Promise.reject(new OperationalError('LEDGER_BUSY')) : ledger.admission.admit(id, commands),
        },
      }),
    });
    await fixture.campaign('gift', oneQuestion);
    const browser = new Browser();
    await browser.signIn('m1');
    const answer = await browser.post('/c/gift/entries', { 'q.why': 'typed once' });
    expect(answer.statusCode).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(answer.body).toContain('typed once');
    busy = false;
    expect((await browser.post('/c/gift/entries', { 'q.why': 'typed once' })).statusCode).toBe(303);
  });

  it('not eligible: 403 with the reason of the campaign', async () => {
    await open();
    await fixture.campaign('gift', { eligibility: { audience: 'listed' } });
    const browser = new Browser();
    await browser.signIn('m1');
    const answer = await browser.post('/c/gift/entries?lang=en', {});
    expect(answer.statusCode).toBe(403);
    expect(answer.headers['content-type']).toContain('text/html');
  });
});

describe('the hand-off', () => {
  it('refuses a wrong token with a page, and a foreign shop altogether', async () => {
    await open();
    await fixture.campaign('gift');
    const browser = new Browser();
    const wrong = await browser.post('/c/gift/hand-off', { token: 'a.b.c' }, { origin: shop });
    expect(wrong.statusCode).toBe(401);
    expect(wrong.headers['content-type']).toContain('text/html');
    expect(wrong.cookies).toEqual([]);
    expect((await browser.post('/c/gift/hand-off', {}, { origin: shop })).statusCode).toBe(401);
    const foreign = await browser.signIn('m1', {}, { origin: 'https://evil.example' });
    expect(foreign.statusCode).toBe(403);
    expect(foreign.cookies).toEqual([]);
  });

  it('never sends anyone back to a foreign address', async () => {
    await open();
    await fixture.campaign('gift');
    for (const returnUrl of [
      'https://evil.example/',
      'javascript:alert(1)',
      '//evil.example',
      `${shop}.evil.example/`,
      `https://shop.example@evil.example/`,
      'x',
    ]) {
      const browser = new Browser();
      const handed = await browser.signIn('m1', { returnUrl });
      expect(handed.headers.location).toBe('/c/gift');
      const page = (await browser.get('/c/gift')).body;
      expect(page).not.toContain('evil');
      expect(page).not.toContain('javascript:alert');
    }
  });
});

describe('cookies', () => {
  it('of one campaign open no other', async () => {
    await open();
    await fixture.campaign('gift');
    await fixture.campaign('other');
    const browser = new Browser();
    const handed = await browser.signIn('m1');
    const session = handed.cookies.find(({ path }) => path === '/c/gift')!;
    const answer = await fixture.app.inject({
      url: '/v1/campaigns/other/entries/mine',
      cookies: { [session.name]: session.value },
    });
    expect(answer.statusCode).toBe(401);
  });

  it.each([
    ['our own page', { origin: 'http://localhost', host: 'localhost' }, 201],
    ['our own page, as the browser says it', { 'sec-fetch-site': 'same-origin' }, 201],
    ['a foreign page', { origin: 'https://evil.example' }, 403],
    [
      'a foreign page, as the browser says it',
      { 'sec-fetch-site': 'cross-site', origin: 'http://localhost' },
      403,
    ],
    ['a sister site', { 'sec-fetch-site': 'same-site' }, 403],
    ['an unknown page', { origin: 'null' }, 403],
    ['nowhere', {}, 403],
  ])('an entry with a cookie from %s', async (_name, headers, status) => {
    await open();
    await fixture.campaign('gift');
    const { session } = fixture.deps.sessions.issue('gift', fixture.deps.vault.memberKey('gift', 'm1'));
    const answer = await fixture.app.inject({
      method: 'POST',
      url: '/v1/campaigns/gift/entries',
      headers: headers as Record<string, string>,
      cookies: { doorbuster_session: session },
    });
    expect(answer.statusCode).toBe(status);
  });

  it('are Secure behind TLS', async () => {
    await open({ config: { publicUrl: 'https://give.example', trustProxy: true } });
    await fixture.campaign('gift');
    const answer = await fixture.app.inject({
      method: 'POST',
      url: '/v1/campaigns/gift/sessions',
      payload: { token: await fixture.token('m1') },
    });
    expect(answer.statusCode).toBe(201);
    expect(answer.cookies.every(({ secure }) => secure)).toBe(true);
    expect(answer.headers['strict-transport-security']).toBeDefined();
  });
});

describe('assets and public routes', () => {
  it('assets are immutable and named by their content; the page names them', async () => {
    await open();
    await fixture.campaign('gift');
    const page = await new Browser().get('/c/gift');
    expect(page.cookies).toEqual([]);
    const [path] = /\/c\/assets\/[\w.-]+/.exec(page.body)!;
    const asset = await fixture.app.inject(path);
    expect(asset.statusCode).toBe(200);
    expect(asset.headers['cache-control']).toContain('immutable');
    expect(page.headers['content-security-policy']).not.toContain('unsafe');
  });
});

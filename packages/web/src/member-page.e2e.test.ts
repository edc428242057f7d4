/**
 * The page in a real browser: read by axe, measured, and driven through its script against a server that answers as told. The whole
 * product behind the page has its own test; here each answer that the page must live with can be given on purpose.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findChromium, launchOptions } from '../testing/chromium.ts';
import { memberPageAssets } from './assets.ts';
import { exampleViews } from '../testing/example-views.ts';
import { answersFromForm } from './form-fields.ts';
import { memberPageHeaders, memberPageStatus } from './page-response.ts';
import type { CampaignView, Locale, MemberPageView } from './page-view.ts';
import { renderMemberPage } from './render.ts';

const chromiumPath = findChromium(process.env);
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const examples: Readonly<Record<string, MemberPageView>> = exampleViews;
const campaignPath = '/c/winter-coffee';
const api = '/v1/campaigns/winter-coffee';

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** What the server shows and answers; a test sets it. */
let view: () => MemberPageView;
let onEntry: (body: string) => Answer;
let status: () => unknown = () => ({ state: 'scheduled' });
let mine: () => Answer = () => ({ status: 404 });
/** Answers who asks for events; null: not now. */
let events: ((response: ServerResponse) => void) | null = null;
/** Questions for `entries/mine`: for events, and by polling. */
const asked = { events: 0, polls: 0 };
const posted: { path: string; type: string; body: string }[] = [];

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://x');
  let body = '';
  for await (const chunk of request) body += String(chunk);
  if (request.method === 'POST')
    posted.push({ path: pathname, type: request.headers['content-type'] ?? '', body });
  const send = (shown: MemberPageView, locale: Locale): void => {
    response.writeHead(memberPageStatus(shown), memberPageHeaders(shown, locale));
    response.end(renderMemberPage(shown, locale));
  };
  const json = ({ status: code, headers, body: value }: Answer): void => {
    response.writeHead(code, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(value ?? {}));
  };
  const asset = memberPageAssets.find(({ path }) => path === pathname);
  const locale = searchParams.get('lang') === 'en' ? 'en' : 'ko';
  if (asset) {
    response.writeHead(200, { 'content-type': asset.contentType });
    response.end(asset.body);
  } else if (pathname.startsWith('/examples/')) send(examples[pathname.slice(10)] as MemberPageView, locale);
  else if (pathname === `${api}/status`) json({ status: 200, body: status() });
  else if (pathname === `${api}/entries/mine`) {
    const wanted = request.headers.accept === 'text/event-stream';
    asked[wanted ? 'events' : 'polls'] += 1;
    if (!wanted) json(mine());
    else if (events) events(response);
    else json({ status: 503 });
  } else if (pathname === `${api}/entries`) json(onEntry(body));
  else if (pathname === `${campaignPath}/entries` || pathname === campaignPath) send(view(), locale);
  else json({ status: 404 });
}

it('a browser is there to look with', (test) => {
  if (chromiumPath === null)
    test.skip('no Chromium on this machine: install the package chromium, or set CHROMIUM_PATH');
  expect(chromiumPath).toMatch(/chrom/i);
});

describe.skipIf(chromiumPath === null)('the member page in a browser', () => {
  let server: Server;
  let browser: Browser;
  let base: string;
  let context: BrowserContext | undefined;
  const problems: string[] = [];

  beforeAll(async () => {
    server = createServer((request, response) => void answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await chromium.launch(launchOptions(chromiumPath ?? ''));
  });
  afterEach(async () => {
    await context?.close();
    posted.length = 0;
    events = null;
    Object.assign(asked, { events: 0, polls: 0 });
    problems.length = 0;
  });
  afterAll(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
  });

  async function open(path: string, options: BrowserContextOptions = {}): Promise<Page> {
    context = await browser.newContext({ viewport: { width: 360, height: 740 }, ...options });
    const page = await context.newPage();
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
        problems.push(message.text());
    });
    await page.goto(base + path);
    return page;
  }

  const looks: readonly { name: string; lang: Locale; options: BrowserContextOptions }[] = [
    { name: 'a phone, light, ko', lang: 'ko', options: { colorScheme: 'light' } },
    {
      name: 'a desktop, dark, en',
      lang: 'en',
      options: { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
    },
  ];

  // One context for all examples of a look: a context costs more than a page.
  describe.each(looks)('on $name', ({ lang, options }) => {
    let page: Page;
    beforeAll(async () => {
      page = await (
        await browser.newContext({ viewport: { width: 360, height: 740 }, ...options, bypassCSP: true })
      ).newPage();
    });
    afterAll(() => page?.context().close());

    it.each(Object.keys(examples))('%s has no fault that axe finds', async (name) => {
      await page.goto(`${base}/examples/${name}?lang=${lang}`);
      for (const details of await page.locator('summary').all()) await details.click();
      expect(await axeFaults(page)).toEqual([]);
    });
  });

  it('control: axe sees a button without a name and text without contrast', async () => {
    const page = await open('/examples/open', { bypassCSP: true });
    await page.evaluate(
      "document.querySelector('#send').textContent = ''; document.querySelector('h1').style.color = '#eee'",
    );
    expect((await axeFaults(page)).map((fault) => fault.split(':')[0])).toEqual(
      expect.arrayContaining(['button-name', 'color-contrast']),
    );
  });

  it.each(Object.keys(examples))(
    '%s reflows at 320 px, its targets are large enough, its policy holds',
    async (name) => {
      const page = await open(`/examples/${name}?lang=en`, { viewport: { width: 320, height: 640 } });
      for (const details of await page.locator('summary').all()) await details.click();
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(320);
      for (const target of await page
        .locator('button:visible, a.button:visible, a.lang, .opt:visible, summary, .in:visible, .faults a')
        .all()) {
        const box = await target.boundingBox();
        expect
          .soft(box?.height, (await target.textContent()) ?? '')
          .toBeGreaterThanOrEqual(name === 'open-faults' ? 44 : 48);
      }
      expect(problems).toEqual([]);
    },
  );

  /** A server whose clock is a day behind the device's: only its own clock may open the form. */
  function opensIn(ms: number): { readonly serverNow: () => number; readonly startsAtMs: number } {
    const behind = 86_400_000;
    const serverNow = (): number => Date.now() - behind;
    const startsAtMs = serverNow() + ms;
    status = () => ({
      state: 'scheduled',
      serverTime: new Date(serverNow()).toISOString(),
      startsAt: new Date(startsAtMs).toISOString(),
    });
    return { serverNow, startsAtMs };
  }

  /** Made when the page is asked for, so that a browser that takes its time to start costs none of it. */
  function onFirstAsk<T>(make: () => T): () => T {
    let made: T | undefined;
    return () => (made ??= make());
  }

  it('opens on the server’s clock, waits as asked when it is busy, sends once more, and lands on the result', async () => {
    let result: CampaignView | undefined;
    const opening = onFirstAsk(() => opensIn(5000));
    const serverNow = (): number => opening().serverNow();
    view = () =>
      result ?? { ...exampleViews.before, startsAtMs: opening().startsAtMs, serverNowMs: serverNow() };
    const arrivals: number[] = [];
    onEntry = () => {
      arrivals.push(serverNow());
      if (arrivals.length === 1) return { status: 503, headers: { 'retry-after': '1' } };
      result = exampleViews.won;
      return { status: 201, body: { verdict: 'won' } };
    };
    mine = () => ({ status: 200, body: { verdict: 'won', delivery: { state: 'due' } } });
    const page = await open(campaignPath);
    const button = page.locator('#send');
    await page.locator('label', { hasText: '기타' }).click();
    await page.locator('[id="f-where"]').fill('길에서');
    await page.locator('[id="f-score.4"]').check();
    await page.locator('#send:enabled').waitFor();
    // Half a round trip may be taken for time that has passed; the device's clock is a day ahead.
    expect(serverNow()).toBeGreaterThanOrEqual(opening().startsAtMs - 2000);
    expect(await page.locator('#live').textContent()).toBe('지금 참여하실 수 있습니다.');
    await button.click();
    await page.locator('#why', { hasText: '다시 시도합니다' }).waitFor();
    expect(await page.locator('[id="f-where"]').inputValue()).toBe('길에서');
    await page.locator('.big', { hasText: '128' }).waitFor({ timeout: 60_000 });
    expect((arrivals[1] ?? 0) - (arrivals[0] ?? 0)).toBeGreaterThanOrEqual(1000);
    const sent = posted.filter(({ path }) => path === `${api}/entries`).map(({ body }) => JSON.parse(body));
    expect(sent).toEqual([
      { answers: { visit: 'other', where: '길에서', score: 4 } },
      { answers: { visit: 'other', where: '길에서', score: 4 } },
    ]);
    expect(problems).toEqual([]);
  });

  it('announces the last minute once, and not the seconds', async () => {
    const opening = onFirstAsk(() => opensIn(68_000));
    view = () => {
      const { startsAtMs, serverNow } = opening();
      return { ...exampleViews['before-plain'], startsAtMs, serverNowMs: serverNow() };
    };
    const page = await open(campaignPath);
    await page.evaluate(`window.told = []; new MutationObserver(() => told.push(document.querySelector('#live').textContent))
      .observe(document.querySelector('#live'), { childList: true, characterData: true, subtree: true })`);
    await expect.poll(() => page.evaluate('window.told.length'), { timeout: 60_000 }).toBe(1);
    const shown = await page.locator('#s').textContent();
    await expect.poll(() => page.locator('#s').textContent(), { timeout: 60_000 }).not.toBe(shown);
    expect(await page.evaluate('window.told')).toEqual(['오픈 1분 전입니다.']);
  });

  it('keeps the form over a reload, and sends the draft of no other page', async () => {
    const { serverNow, startsAtMs } = opensIn(600_000);
    view = () => ({ ...exampleViews.before, startsAtMs, serverNowMs: serverNow() });
    const page = await open(campaignPath);
    await page.locator('[id="f-visit.friend"]').check();
    await page.locator('[id="f-likes.tea"]').check();
    await page.locator('[id="f-wish"]').fill('창가 자리\n더 많이');
    await page.reload();
    expect(await page.locator('[id="f-visit.friend"]').isChecked()).toBe(true);
    expect(await page.locator('[id="f-likes.tea"]').isChecked()).toBe(true);
    expect(await page.locator('[id="f-likes.latte"]').isChecked()).toBe(false);
    expect(await page.locator('[id="f-wish"]').inputValue()).toBe('창가 자리\n더 많이');
    expect(await page.locator('[id="f-where"]').isVisible()).toBe(false);
  });

  it('answers with faults come back from the server with the form as it was', async () => {
    view = () =>
      posted.some(({ path }) => path === `${campaignPath}/entries`)
        ? exampleViews['open-faults']
        : exampleViews.open;
    onEntry = () => ({ status: 422, body: {} });
    status = () => ({ state: 'open', remaining: 12 });
    const page = await open(campaignPath);
    await page.locator('[id="f-visit.friend"]').check();
    await page.locator('[id="f-score.5"]').check();
    await page.locator('#send').click();
    await page.locator('#faults').waitFor();
    expect(await page.locator('[id="f-likes.brew"]').isChecked()).toBe(true);
    await page.locator('#faults a').first().click();
    expect(await page.evaluate('document.activeElement.id')).toBe('f-likes.latte');
  });

  it('a queued entry is told its verdict by an event, without asking again', async () => {
    let decided = false;
    let told: ServerResponse | undefined;
    view = () => (decided ? exampleViews.waitlisted : exampleViews.pending);
    const entry = (verdict: string) =>
      `id: ${verdict}\nevent: entry\ndata: ${JSON.stringify({ verdict })}\n\n`;
    events = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(entry('pending'));
      told = response;
    };
    const page = await open(campaignPath);
    await expect.poll(() => told, { timeout: 30_000 }).toBeDefined();
    decided = true;
    told?.write(entry('waitlisted'));
    await page.locator('.big', { hasText: '541' }).waitFor();
    expect(asked).toEqual({ events: 1, polls: 0 });
    expect(problems).toEqual([]);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['is refused', (response) => void response.writeHead(503).end()],
    ['ends', (response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).end()],
    [
      'is held back',
      (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders(),
    ],
  ])('where the stream %s, the page asks as ever', async (_, answerEvents) => {
    let decided = false;
    view = () => (decided ? exampleViews.waitlisted : exampleViews.pending);
    mine = () => {
      decided = true;
      return { status: 200, body: { verdict: 'waitlisted' } };
    };
    events = answerEvents;
    const page = await open(campaignPath);
    await page.locator('.big', { hasText: '541' }).waitFor({ timeout: 60_000 });
    expect(asked).toEqual({ events: 1, polls: 1 });
  });

  it('a queued entry shows its verdict when it is there', async () => {
    let decided = false;
    view = () => (decided ? exampleViews.waitlisted : exampleViews.pending);
    mine = () => ({ status: 200, body: { verdict: decided ? 'waitlisted' : 'pending' } });
    const page = await open(campaignPath);
    await page.locator('h2', { hasText: '결과를 확인하고 있습니다' }).waitFor();
    decided = true;
    await page.locator('.big', { hasText: '541' }).waitFor({ timeout: 60_000 });
    expect(await page.locator('#badge').textContent()).toBe('대기');
  });

  it('without script the form is sent by the browser, conditions and all', async () => {
    view = () => exampleViews.open;
    const page = await open(campaignPath, { javaScriptEnabled: false });
    await page.locator('[id="f-visit.other"]').check();
    await page.locator('[id="f-where"]').fill('길에서');
    await page.locator('[id="f-likes.tea"]').check();
    await page.locator('[id="f-likes.brew"]').check();
    await page.locator('[id="f-score.2"]').check();
    await Promise.all([page.waitForURL(/\/entries\?lang=ko$/), page.locator('#send').click()]);
    const sent = posted.at(-1);
    expect(sent).toMatchObject({
      path: `${campaignPath}/entries`,
      type: 'application/x-www-form-urlencoded',
    });
    const form = new URLSearchParams(sent?.body);
    const fields = Object.fromEntries(
      [...form.keys()].map((name) => [
        name,
        form.getAll(name).length > 1 ? form.getAll(name) : form.get(name),
      ]),
    );
    expect(answersFromForm(exampleViews.open.survey, fields).answers).toEqual({
      visit: 'other',
      where: '길에서',
      likes: ['brew', 'tea'],
      score: 2,
    });
  });

  it('without script the page before opening refreshes itself into the open one', async () => {
    const before = exampleViews['before-plain'];
    let shown = 0;
    view = () =>
      shown++ === 0 ? { ...before, serverNowMs: before.startsAtMs - 1000 } : exampleViews['open-plain'];
    const page = await open(campaignPath, { javaScriptEnabled: false });
    await page.locator('#send:enabled').waitFor({ timeout: 60_000 });
    expect(shown).toBe(2);
  });

  it('without script a survey filled early is never lost: sent too early, it comes back as it was', async () => {
    let opened = false;
    view = () => {
      const sent = posted.filter(({ path }) => path === `${campaignPath}/entries`);
      if (opened && sent.length > 1) return exampleViews.won;
      if (sent.length === 0) return exampleViews.before;
      const { values } = answersFromForm(
        exampleViews.before.survey,
        Object.fromEntries(new URLSearchParams(sent[0]?.body)),
      );
      return { ...exampleViews.before, form: { values } };
    };
    const page = await open(campaignPath, { javaScriptEnabled: false });
    const early = page.getByRole('button', { name: '열렸는지 확인하고 참여하기' });
    expect(await page.locator('#send').isDisabled()).toBe(true);
    await page.locator('[id="f-visit.friend"]').check();
    await page.locator('[id="f-wish"]').fill('창가 자리');
    await page.locator('[id="f-score.3"]').check();
    await Promise.all([page.waitForURL(/\/entries\?lang=ko$/), early.click()]);
    expect(await page.locator('[id="f-wish"]').inputValue()).toBe('창가 자리');
    expect(await page.locator('[id="f-score.3"]').isChecked()).toBe(true);
    opened = true;
    await early.click();
    await page.locator('.big', { hasText: '128' }).waitFor();
  });
});

async function axeFaults(page: Page): Promise<readonly string[]> {
  await page.evaluate(axeSource);
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  const found = await page.evaluate(`axe.run({ runOnly: ${JSON.stringify(tags)} })`);
  const { violations } = found as { violations: { id: string; nodes: { html: string }[] }[] };
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`,
  );
}

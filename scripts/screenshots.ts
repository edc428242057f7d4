// `npm run screenshots`: the member page before, open, won, sold out and halted, in both languages, as a phone shows it, into
// docs/images/. Nothing is staged: a server of its own with mail, a campaign from examples/, members who enter over HTTP,
// and one who uses the page; for `halted` an older copy of the ledger is put back under a server that has seen more.
//
// Exit codes: 0 written, 1 something failed, 3 no Chromium on this machine.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { parse as parseYaml } from 'yaml';
import { emailOf, memberIdOf } from '../packages/server/src/cli/demo/crowd-plan.ts';
import { memberTokenSigner } from '../packages/server/src/cli/demo/member-token.ts';
import { type Rig, seedCampaign, startRig } from '../packages/server/src/cli/demo/rig.ts';
import { findChromium, launchOptions } from '../packages/web/testing/chromium.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const images = join(root, 'docs/images');
const languages = ['ko', 'en'] as const;
const units = 500;
const members = 600;
/** Of the phone, in CSS pixels. */
const width = 360;
const maximumBytes = 150_000;

/** Members 0 and 1 are people with a browser; the crowd is the rest. */
const winner = 0;
const lateComer = 1;
const crowdStart = 2;

const answers = { favourite: 'latte', satisfaction: 5 };

async function main(): Promise<number> {
  const executable = findChromium(process.env);
  if (!executable) {
    process.stderr.write(
      'No Chromium on this machine: install the package chromium, or set CHROMIUM_PATH.\n',
    );
    return 3;
  }
  mkdirSync(images, { recursive: true });
  const dataDir = mkdtempSync(join(tmpdir(), 'doorbuster-screenshots-'));
  const environment = { ...process.env, DOORBUSTER_ALLOW_VOLATILE: 'true' };
  try {
    const rig = await startRig({ dataDir, port: 0, env: environment });
    const browser = await chromium.launch(launchOptions(executable));
    try {
      const phone = await browser.newContext({ viewport: { width, height: 740 }, deviceScaleFactor: 1.5 });
      await before(rig, phone);
      await openWonSoldOut(rig, phone);
      await rig.stop();
      await halted({ dataDir, port: 0, env: environment }, phone);
    } finally {
      await browser.close();
      await rig.stop();
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
  return 0;
}

async function before(rig: Rig, phone: BrowserContext): Promise<void> {
  const id = 'first-snow-tomorrow';
  // The next full hour but one: a countdown in hours, and a time that a shop would choose.
  await seed(rig, id, Math.ceil(Date.now() / 3_600_000 + 1) * 3_600_000);
  await enterFromShop(rig, phone, id, winner);
  await shoot(rig, phone, id, 'before', async (page) => page.locator('#send:disabled').waitFor());
}

async function openWonSoldOut(rig: Rig, phone: BrowserContext): Promise<void> {
  const id = 'first-snow';
  await seed(rig, id, Date.now() + 3_000);
  await enterFromShop(rig, phone, id, winner);
  const page = await phone.newPage();
  await page.goto(`${rig.url}/c/${id}`);
  await page.locator('#send:enabled').waitFor();
  await crowd(rig, id, crowdStart, 127);
  await shoot(rig, phone, id, 'open', async (shown) => shown.locator('#send:enabled').waitFor());

  await page.locator('[id="f-favourite.latte"]').check();
  await page.locator('[id="f-satisfaction.5"]').check();
  await page.locator('#send').click();
  await page.locator('.big').waitFor();
  // The page looks for its delivery by itself: this is the mail arriving.
  await page.locator('#fate[data-state=sent]').waitFor({ timeout: 60_000 });
  await page.close();
  await shoot(rig, phone, id, 'won', async (shown) => shown.locator('.big').waitFor());

  await crowd(rig, id, crowdStart + 127, units - 128);
  await phone.clearCookies();
  await enterFromShop(rig, phone, id, lateComer);
  await shoot(rig, phone, id, 'sold-out', async (shown) =>
    shown.locator('#receipt').waitFor({ state: 'attached' }),
  );
}

/** The newest entries are lost with the file that held them; the witness beside it remembers. */
async function halted(options: Parameters<typeof startRig>[0], phone: BrowserContext): Promise<void> {
  const id = 'first-snow-again';
  const [file, older] = [join(options.dataDir, 'ledger.sqlite'), join(options.dataDir, 'older.sqlite')];
  const first = await startRig(options);
  try {
    await seed(first, id, Date.now() + 1_000);
  } finally {
    await first.stop();
  }
  copyFileSync(file, older);
  const second = await startRig(options);
  try {
    await enterFromShop(second, phone, id, winner);
    const page = await phone.newPage();
    await page.goto(`${second.url}/c/${id}`);
    await page.locator('#send:enabled').waitFor();
    await page.close();
    await crowd(second, id, crowdStart, 20);
  } finally {
    await second.stop();
  }
  copyFileSync(older, file);
  const third = await startRig(options);
  try {
    await shoot(third, phone, id, 'halted', async (shown) => shown.locator('.act h2').waitFor());
  } finally {
    await third.stop();
  }
}

async function seed(rig: Rig, id: string, startsAtMs: number): Promise<void> {
  const text = readFileSync(join(root, 'examples/giveaway/campaign.yaml'), 'utf8');
  const definition = parseYaml(text) as Record<string, unknown>;
  const stock = { ...(definition['stock'] as object), capacity: units, closeWhenSoldOut: false };
  await seedCampaign(rig.client, {
    id,
    definition: { ...definition, stock, endsAt: new Date(startsAtMs + 12 * 3_600_000).toISOString() },
    entrants: members,
    units,
    startsAtMs,
  });
}

function tokenOf(rig: Rig, member: number): string {
  const sign = memberTokenSigner(rig.tokenSecret, 'doorbuster');
  return sign({ sub: memberIdOf(member), email: emailOf(member), locale: 'ko' }, Date.now(), 30);
}

/** The shop's form, posted with the cookies of the phone. */
async function enterFromShop(rig: Rig, phone: BrowserContext, id: string, member: number): Promise<void> {
  const form = { token: tokenOf(rig, member) };
  const answer = await phone.request.post(`${rig.url}/c/${id}/hand-off`, { form });
  if (!answer.ok()) throw new Error(`hand-off answered ${answer.status()}: ${await answer.text()}`);
}

/** Members who enter over HTTP, a few at a time. */
async function crowd(rig: Rig, id: string, first: number, count: number): Promise<void> {
  const queue = Array.from({ length: count }, (_, i) => first + i);
  const walk = async (): Promise<void> => {
    for (let member = queue.shift(); member !== undefined; member = queue.shift()) {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${tokenOf(rig, member)}` };
      const request = { method: 'POST', headers, body: JSON.stringify({ answers }) };
      const answer = await fetch(`${rig.url}/v1/campaigns/${id}/entries`, request);
      if (answer.status !== 201)
        throw new Error(`an entry answered ${answer.status}: ${await answer.text()}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, walk));
}

type Ready = (page: Page) => Promise<unknown>;

async function shoot(
  rig: Rig,
  phone: BrowserContext,
  id: string,
  state: string,
  ready: Ready,
): Promise<void> {
  for (const language of languages) {
    const page = await phone.newPage();
    await page.goto(`${rig.url}/c/${id}?lang=${language}`);
    await ready(page);
    const path = join(images, `member-page-${state}-${language}.png`);
    // Down to the end of the panel: the campaign's own texts below it say nothing about the state.
    const panel = await page.locator('.side').boundingBox();
    const height = Math.ceil((panel?.y ?? 0) + (panel?.height ?? 0)) + 16;
    await page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width, height } });
    await page.close();
    const { size } = statSync(path);
    if (size > maximumBytes) throw new Error(`${path} has ${size} bytes, at most ${maximumBytes} are wanted`);
    process.stdout.write(`${path} ${size}\n`);
  }
}

process.exitCode = await main();

// Answers that get lost between the server and the members, and data that comes back damaged from a power cut: whole processes.
import { randomBytes } from 'node:crypto';
import { appendFileSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { Crowd, range } from '../packages/server/src/acceptance/testing/crowd.ts';
import { Installation } from '../packages/server/src/acceptance/testing/installation.ts';
import { exportChain, gather, judge, verified } from '../packages/server/src/acceptance/testing/judge.ts';
import { until } from '../packages/server/src/acceptance/testing/process.ts';
import { type AnswerCutter, startAnswerCutter } from './answer-cutter.ts';

const endings: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

async function install(defect?: string): Promise<Installation> {
  const shop = await Installation.start(defect === undefined ? {} : { defect });
  endings.push(() => shop.stop());
  return shop;
}

async function cutterTo(url: string): Promise<AnswerCutter> {
  const cutter = await startAnswerCutter();
  endings.push(() => cutter.close());
  cutter.leadTo(url);
  return cutter;
}

function crowdAt(shop: Installation, url: string, campaignId: string): Crowd {
  const crowd = new Crowd({ url, tokenSecret: shop.tokenSecret }, campaignId);
  endings.push(() => crowd.close());
  return crowd;
}

/** Places by member key, of answers that were given. */
function places(bodies: readonly unknown[]): Record<string, unknown> {
  return Object.fromEntries(
    (bodies as { opening: { memberKey: string }; seq: number; verdict: string }[]).map(
      ({ opening, seq, verdict }) => [opening.memberKey, [seq, verdict]],
    ),
  );
}

/** Every member enters twice; whoever is not let through by `fate` the first time has an answer only from the second. */
async function enterTwice(shop: Installation, shares: readonly number[]) {
  const campaign = await shop.seed({
    id: 'cut',
    members: 40,
    units: 30,
    stock: { waitlistLimit: 10 },
    opensInMs: 0,
  });
  await shop.opened(campaign);
  const cutter = await cutterTo(shop.url);
  const crowd = crowdAt(shop, cutter.url, campaign.id);
  // Half with sessions, half with the shop's tokens: two ways through the server.
  await crowd.each(range(20), 8, (member) => crowd.signIn(member));
  let turn = 0;
  cutter.fate = () => shares[turn++ % shares.length] as number;
  await crowd.each(range(40), 8, (member) => crowd.enter(member));
  const lost = cutter.withheld.filter(({ status }) => status === 201);
  cutter.fate = () => 1;
  await crowd.each(range(40), 8, (member) => crowd.enter(member));
  return { crowd, campaign, lost };
}

it('answers lost whole or in the middle: the retry gets the very place that the lost answer told of', async () => {
  const shop = await install();
  const { crowd, campaign, lost } = await enterTwice(shop, [0, 1, 0.5]);
  expect(lost.length).toBeGreaterThan(10);
  expect(crowd.unanswered).toBeGreaterThanOrEqual(lost.length);
  const told = places(crowd.answers.filter(({ status }) => status < 300).map(({ body }) => body));
  expect(told).toMatchObject(places(lost.map(({ body }) => body)));
  expect(Object.keys(told)).toHaveLength(40);
  await shop.delivered(campaign);
  const { faults, lane } = judge(await gather(shop, campaign, crowd.answers));
  expect([...faults, ...crowd.faults, ...(await verified(shop))]).toEqual([]);
  expect(lane).toMatchObject({ issued: 30, waiting: 10, seq: 40 });
});

it('control: a server that forgets who is in gives the retry another place', async () => {
  const shop = await install('no-unique-member');
  const { crowd, lost } = await enterTwice(shop, [0]);
  expect(lost.length).toBeGreaterThan(0);
  const told = places(crowd.answers.filter(({ status }) => status < 300).map(({ body }) => body));
  expect(told).not.toMatchObject(places(lost.map(({ body }) => body)));
});

/**
 * 60 entries in the WAL alone: what came before was brought home by an orderly end, and few deliveries follow, so that SQLite does not bring it home by itself.
 * The server is killed.
 */
async function killedWithEntriesInTheWal(shop: Installation) {
  const campaign = await shop.seed({
    id: 'power-cut',
    members: 60,
    units: 5,
    stock: { waitlistLimit: 55 },
    opensInMs: 0,
  });
  await shop.opened(campaign);
  expect(await shop.drain()).toBe(0);
  await shop.startServer();
  const crowd = crowdAt(shop, shop.url, campaign.id);
  await crowd.each(range(60), 4, (member) => crowd.enter(member));
  const { records } = await exportChain(shop, campaign.id);
  const recordNo = records.at(-1)?.recordNo ?? 0;
  expect(records.filter(({ type }) => type === 'ENTRY')).toHaveLength(60);
  await until('the witness has seen all entries', () => witnessedRecord(shop, campaign.id) >= recordNo);
  await shop.kill();
  return { campaign, crowd, wal: join(shop.dataDir, 'ledger.sqlite-wal') };
}

function witnessedRecord(shop: Installation, campaignId: string): number {
  const { lanes } = JSON.parse(readFileSync(join(shop.dataDir, 'witness.json'), 'utf8')) as {
    lanes: Record<string, { recordNo: number }>;
  };
  return lanes[campaignId]?.recordNo ?? 0;
}

it('a torn last page at start-up is nobody’s entry: all who were acknowledged are in', async () => {
  const shop = await install();
  const { campaign, crowd, wal } = await killedWithEntriesInTheWal(shop);
  for (const file of [wal, join(shop.dataDir, 'bus.sqlite-wal')]) appendFileSync(file, randomBytes(2_500));
  await shop.startServer();
  const again = crowdAt(shop, shop.url, campaign.id);
  for (const member of range(60)) expect((await again.insist(member)).status).toBe(200);
  await shop.delivered(campaign);
  const { faults } = judge(await gather(shop, campaign, [...crowd.answers, ...again.answers]));
  expect([...faults, ...again.faults, ...(await verified(shop))]).toEqual([]);
});

it('a WAL that lost its end is told: verify names the lane, the lane stands still, and the receipts say who is missing', async () => {
  const shop = await install();
  const { campaign, crowd, wal } = await killedWithEntriesInTheWal(shop);
  truncateSync(wal, Math.floor(statSync(wal).size * 0.1));
  await shop.startServer();
  const again = crowdAt(shop, shop.url, campaign.id);
  expect((await again.enter(0))?.status).toBe(503);
  const [fault = ''] = await verified(shop);
  expect(fault).toMatch(/was witnessed/);
  const { audit } = judge(await gather(shop, campaign, crowd.answers));
  expect(audit.acknowledgedLost).toBeGreaterThan(0);
});

// `npm run abuse`: the two sieges of the tests, as long as one likes, against a real server with a real mail server.
//
//   npm run -s abuse -- --storm-seconds 60 --bad-tokens 1000000 --json
//
//   storm       connections fifty times the places there are, none of which honours a Retry-After; then nobody does anything, and newcomers
//               must be served on their first try. Judged by receipts, records, mails and `doorbuster verify`.
//   bad tokens  credentials that nobody gave, all different, while members who are in go on asking.
//
// stdout: with --json one line at the end, else the same as text. Exit code 0 when nothing is wrong; 1 otherwise; 2 for wrong arguments.

import { parseArgs } from 'node:util';
import { systemClock } from '@doorbuster/messaging';
import { Crowd, range } from '../packages/server/src/acceptance/testing/crowd.ts';
import { Installation } from '../packages/server/src/acceptance/testing/installation.ts';
import { gather, judge, verified } from '../packages/server/src/acceptance/testing/judge.ts';
import {
  type FloodReport,
  flood,
  memoryMiB,
  storm,
} from '../packages/server/src/acceptance/testing/siege.ts';

interface StormReport {
  readonly seconds: number;
  readonly connections: number;
  readonly places: number;
  readonly answers: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** Who was let in while the storm went on, of so many members. */
  readonly takenInStorm: number;
  readonly members: number;
  /** The first newcomer after the storm, and the slowest of the 50 after him, ms. */
  readonly firstServedAfterMs: number;
  readonly slowestAfterMs: number;
  readonly refusedAfter: number;
  readonly memoryMiB: readonly [before: number, after: number];
  readonly faults: readonly string[];
}

const places = 16;
const say = (text: string): void => void process.stderr.write(`${text}\n`);

const wholeNumber = (name: string, text: string): number => {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  say(`--${name} is a whole number, not "${text}"`);
  process.exit(2);
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      'storm-seconds': { type: 'string', default: '10' },
      'bad-tokens': { type: 'string', default: '50000' },
      connections: { type: 'string', default: String(places * 50) },
      json: { type: 'boolean', default: false },
    },
  });
  const seconds = wholeNumber('storm-seconds', values['storm-seconds']);
  const count = wholeNumber('bad-tokens', values['bad-tokens']);
  const connections = wholeNumber('connections', values.connections);
  const stormed = seconds > 0 ? await besiege(seconds, connections) : null;
  const flooded = count > 0 ? await sendBadTokens(count) : null;
  const faults = [...(stormed?.faults ?? []), ...(flooded?.faults ?? [])];
  for (const fault of faults) say(fault);
  const report = { storm: stormed, badTokens: flooded, faults: faults.length };
  process.stdout.write(`${JSON.stringify(report, null, values.json ? 0 : 2)}\n`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

async function besiege(seconds: number, connections: number): Promise<StormReport> {
  const members = 1_500;
  const limits = { waitingEntries: places, memberPerSecond: 5, memberBurst: 10 };
  const shop = await Installation.start({ config: { limits } });
  try {
    const campaign = await shop.seed({ id: 'storm', members: members + 200, units: members + 100 });
    const crowd = new Crowd(shop, campaign.id, { connections });
    await shop.opened(campaign);
    const before = memoryMiB(shop.pid);
    say(`${connections} connections on ${places} places for ${seconds} s`);
    const end = systemClock.monotonic() + seconds * 1_000;
    await storm(crowd, { members, connections, goesOn: () => systemClock.monotonic() < end });
    const takenInStorm = crowd.statuses['201'] ?? 0;
    const answers = crowd.answers.length;
    const statuses = { ...crowd.statuses };
    const calm = new Crowd(shop, campaign.id, { connections: 4 });
    for (const i of range(51)) await calm.enter(members + i);
    const [first = 0, ...others] = calm.answers.map(({ sentAt, answeredAt }) => answeredAt - sentAt);
    const refusedAfter = calm.answers.filter(({ status }) => status !== 201).length;
    const after = memoryMiB(shop.pid);
    await crowd.each(range(members), 8, (member) => crowd.insist(member));
    for (const i of range(51)) await calm.insist(members + i);
    await shop.delivered(campaign, 120_000);
    const { faults, lane } = judge(await gather(shop, campaign, [...crowd.answers, ...calm.answers]));
    const odd = Object.keys(statuses).filter(
      (status) => !['200', '201', '410', '429', '503'].includes(status),
    );
    await crowd.close();
    await calm.close();
    const broken = await verified(shop);
    return {
      seconds,
      connections,
      places,
      answers,
      statuses,
      takenInStorm,
      members,
      firstServedAfterMs: first,
      slowestAfterMs: Math.max(...others),
      refusedAfter,
      memoryMiB: [before, after],
      faults: [
        ...faults,
        ...crowd.faults,
        ...calm.faults,
        ...broken,
        ...odd.map((status) => `answers with ${status}`),
        ...(lane.issued === members + 51 ? [] : [`${lane.issued} of ${members + 51} are in`]),
        ...(refusedAfter === 0 ? [] : [`${refusedAfter} newcomers were refused after the storm`]),
      ],
    };
  } finally {
    await shop.stop();
  }
}

async function sendBadTokens(count: number): Promise<FloodReport> {
  const shop = await Installation.start();
  try {
    const campaign = await shop.seed({ id: 'flooded', members: 50, units: 50 });
    await shop.opened(campaign);
    const good = new Crowd(shop, campaign.id, { connections: 8 });
    for (const member of range(8)) await good.insist(member);
    say(`${count} bad tokens`);
    const report = await flood(shop, { campaignId: campaign.id, count, connections: 64, good });
    const broken = await verified(shop);
    await good.close();
    return { ...report, faults: [...report.faults, ...broken] };
  } finally {
    await shop.stop();
  }
}

await main();

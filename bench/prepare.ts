/**
 * A process of the benchmark: makes the installations of a run and the sessions of its members, once; every round starts from copies. Says
 * `{}` when it is done.
 */
import { randomBytes } from 'node:crypto';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import { createSessions } from '../packages/server/src/http/auth/sessions.ts';
import { openSecrets } from '../packages/server/src/secrets.ts';
import { optionsOf, say } from './child-process.ts';
import { makeInstallation, type Stocked, stock } from './installation.ts';
import { campaignOf, crowdUnits, type Installation, preparedFiles } from './system.ts';

export interface PrepareOptions {
  readonly directory: string;
  readonly installations: readonly Installation[];
  /** Members with a session. */
  readonly members: number;
  /** Units of the campaign that has one for everybody who may be accepted; a server that refuses is asked by more. */
  readonly units: number;
  /** Of them so many have an address, and as many units a code: more than are delivered while it is served. */
  readonly deliverable: number;
  /** Campaigns of `thousand`. */
  readonly campaigns: number;
}

/** Comes before all the others. */
const winner = randomBytes(16).toString('hex');
/** The first members to come are among these, whatever is refused on the way. */
const mayWin = 5_000;

async function prepare(options: PrepareOptions): Promise<void> {
  const { directory, installations, members, units, deliverable, campaigns } = options;
  const at = (name: string): string => join(directory, name);
  const { secrets } = openSecrets(at(preparedFiles.secrets), Date.now(), true);
  const sessions = createSessions(secrets.sessions, 720, systemClock);
  const keys = Array.from({ length: members }, () => randomBytes(16).toString('hex'));
  const write = (file: string, campaignOfMember: (n: number) => number, count = members): void => {
    const lines = keys
      .slice(0, count)
      .map((key, n) => sessions.issue(campaignOf(campaignOfMember(n)), key).session);
    writeFileSync(at(file), lines.join('\n'));
  };
  write(preparedFiles.sessions, () => 0);
  if (installations.includes('crowd')) write(preparedFiles.rehearsal, () => 1, units);
  if (installations.includes('thousand')) write(preparedFiles.spread, (n) => n % campaigns, units);

  const make = async (name: Installation, stocked: readonly Stocked[]): Promise<void> => {
    await makeInstallation(at(name), at(preparedFiles.secrets));
    await stock(at(name), stocked);
  };
  const few = keys.slice(0, mayWin);
  const reached = keys.slice(0, deliverable);
  const everybody = { id: campaignOf(0), units, codes: reached.length, contacts: reached };
  const crowd = { units: crowdUnits, codes: crowdUnits, contacts: few };
  if (installations.includes('crowd'))
    await make(
      'crowd',
      [0, 1].map((n) => ({ ...crowd, id: campaignOf(n) })),
    );
  if (installations.includes('soldOut'))
    await make('soldOut', [{ id: campaignOf(0), units: 1, codes: 1, contacts: [winner], entered: [winner] }]);
  if (installations.includes('everybody') || installations.includes('thousand'))
    await make('everybody', [everybody]);
  if (!installations.includes('thousand')) return;
  cpSync(at('everybody'), at('thousand'), { recursive: true });
  const shares = Array.from({ length: campaigns }, (): string[] => []);
  for (const [n, key] of reached.entries()) shares[n % campaigns]?.push(key);
  const beside = shares.map((contacts, n) => ({
    id: campaignOf(n),
    units: Math.ceil(units / campaigns),
    codes: contacts.length,
    contacts,
  }));
  await stock(at('thousand'), beside.slice(1));
}

if (import.meta.main) {
  await prepare(optionsOf<PrepareOptions>());
  await say({});
  process.exit(0);
}

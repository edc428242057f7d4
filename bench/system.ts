/**
 * What is compared. All of them answer `POST /v1/campaigns/{id}/entries` with the same session check and the same body, each in a process of its
 * own: what differs is what they do between the check and the answer.
 */

/** Campaign 0 is the one under load; the others stand beside it. */
export const campaignOf = (n: number): string => (n === 0 ? 'bench' : `beside-${n}`);

/** What a server says when it listens. */
export interface Ready {
  readonly url: string;
}

export interface BaselineOptions {
  /** Where it may write. */
  readonly directory: string;
  /** The secrets file of the prepared installations: a session is good everywhere. */
  readonly secretsFile: string;
  readonly units: number;
  /** Characters of the answer's body, where it matters. */
  readonly answerBytes: number | null;
}

export interface ServerOptions {
  /** Prepared by `prepare.ts` or `load-ledger.ts`. */
  readonly dataDir: string;
  readonly mailPort: number;
  /** What the mail provider is asked for at most, a second. */
  readonly mailsPerSecond: number;
}

/** A data directory that is made once and copied for each run. */
export const installations = ['everybody', 'crowd', 'soldOut', 'thousand'] as const;
export type Installation = (typeof installations)[number];

export const crowdUnits = 500;

/** Where things lie in the directory of what was prepared; the installations by their names. */
export const preparedFiles = {
  secrets: 'secrets.json',
  /** One session a line: of the campaign under load; of the rehearsal's; of each campaign in turn. */
  sessions: 'sessions',
  rehearsal: 'sessions-rehearsal',
  spread: 'sessions-spread',
} as const;

type Comparison = {
  /** The only status that is right; null: any verdict. */
  readonly expected: number | null;
} & (
  | { readonly baseline: string; readonly answerBytes?: number }
  | {
      readonly installation: Installation;
      /** Each request goes to the next one of all campaigns. */
      readonly spread?: true;
      /** A crowd of the same kind goes before it, to another campaign. */
      readonly rehearsal?: true;
    }
);

/** About what Doorbuster's answer to an entry has; a test compares them. */
const receiptBytes = 1_500;

export const scenarios = {
  /** Fastify, the session check, a short answer: the plain way, deciding and storing nothing. No ceiling: Doorbuster's short way in front of the router is quicker. */
  bare: { baseline: 'bare-server.ts', expected: 201 },
  /** The same with an answer as long as one with a receipt. */
  bareSameSize: { baseline: 'bare-server.ts', answerBytes: receiptBytes, expected: 201 },
  /** Who is in, a unit, a verdict: everything but durability. */
  inMemory: { baseline: 'memory-server.ts', expected: 201 },
  /** One transaction per entry, fairly written. */
  naive: { baseline: 'naive-server.ts', expected: 201 },
  /** Doorbuster, a unit for everybody. */
  admission: { installation: 'everybody', expected: 201 },
  /** As `admission`, with a thousand open campaigns. */
  thousandPresent: { installation: 'thousand', expected: 201 },
  /** Doorbuster, 500 units: the rest is refused. */
  crowd: { installation: 'crowd', rehearsal: true, expected: null },
  /** Doorbuster after the last unit. */
  soldOut: { installation: 'soldOut', expected: 410 },
  /** The same stream of entries, one to each of them in turn. */
  thousandSpread: { installation: 'thousand', spread: true, expected: 201 },
} as const satisfies Readonly<Record<string, Comparison>>;
export type Scenario = keyof typeof scenarios;
export const comparison = (name: Scenario): Comparison => scenarios[name];
export const allScenarios = Object.keys(scenarios) as Scenario[];

/** A small survey, as most campaigns have. */
export const survey = {
  questions: [
    {
      id: 'flavour',
      type: 'single' as const,
      required: true,
      label: { en: 'Which one?' },
      options: [
        { id: 'green', label: { en: 'Green' } },
        { id: 'black', label: { en: 'Black' } },
      ],
    },
    { id: 'again', type: 'scale' as const, required: true, label: { en: 'Again?' }, min: 1, max: 5 },
  ],
};
export const answers = { flavour: 'green', again: 5 };
export const entryJson = JSON.stringify({ answers });

/** Where the ledger's opening says how large its page cache is; `steady-memory.ts` writes a smaller one there. */
export const cacheSetting = /PRAGMA cache_size = -\d+/;
/** Tells every thread of a server to collect its garbage. */
export const collectChannel = 'bench-collect';

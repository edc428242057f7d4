/**
 * What is compared. All of them answer `POST /v1/campaigns/{id}/entries` with the same session check and the same body, each in a process of its
 * own: what differs is what they do between the check and the answer.
 */

export const campaignId = 'bench';

/** What a system says when it listens. */
export interface Ready {
  readonly url: string;
  /** File with one session a line, each of another member. */
  readonly sessions: string;
}

export interface SystemOptions {
  /** Where it may write. */
  readonly directory: string;
  /** Members with a session. */
  readonly members: number;
  /** Units of the campaign. */
  readonly units: number;
}

interface Comparison {
  readonly file: string;
  readonly units: number | 'all';
  readonly perSecond: number;
  /** The only status that is right; null: any verdict. */
  readonly expected: number | null;
}

/** `perSecond`: sessions prepared for each second of a run, more than the system can use. Units cost an import each. */
export const scenarios = {
  /** The ceiling: fastify, the session check, an answer. Nothing is decided or stored. */
  bare: { file: 'bare-server.ts', units: 'all', perSecond: 60_000, expected: 201 },
  /** One transaction per entry, fairly written. */
  naive: { file: 'naive-server.ts', units: 'all', perSecond: 20_000, expected: 201 },
  /** Doorbuster, a unit for everybody. */
  admission: { file: 'doorbuster-server.ts', units: 'all', perSecond: 25_000, expected: 201 },
  /** Doorbuster, 500 units: the rest is refused. */
  crowd: { file: 'doorbuster-server.ts', units: 500, perSecond: 60_000, expected: null },
  /** Doorbuster after the last unit. */
  soldOut: { file: 'doorbuster-server.ts', units: 1, perSecond: 60_000, expected: 410 },
} as const satisfies Readonly<Record<string, Comparison>>;
export type Scenario = keyof typeof scenarios;

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
export const entryJson = JSON.stringify({ answers: { flavour: 'green', again: 5 } });

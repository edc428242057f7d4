/**
 * Named failpoints: places in the production sources where a process is killed by its own hand. The product has no switch for any of them: `preload.ts`
 * puts the call into the text of the one file as it is loaded. Each place is named by a line that stands there exactly once; one that does not, or stands
 * there twice, ends the process with 99, so that none goes stale in silence.
 */

export interface Failpoint {
  /** End of the file's path. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly anchor: string;
  readonly strikes: 'before' | 'after';
  /** It is passed about once a second at most: the first hit has to do. */
  readonly seldom?: true;
  /**
   * When it can be reached.
   *   serving   while a crowd enters; `direct`, `queued`: only with that intake
   *   import    while voucher codes are imported, before the opening
   *   start     while the server starts on what an earlier kill left
   *   backup    in the process of `doorbuster backup`, while the server serves
   */
  readonly phase: 'serving' | 'direct' | 'queued' | 'import' | 'start' | 'backup';
}

const sqlite = '/server/src/ledgers/sqlite';
const fulfilment = '/server/src/fulfilment';

export const failpoints = {
  // One transaction of the ledger, in its order.
  'before-begin': {
    file: `${sqlite}/group-commit.ts`,
    anchor: "sql.db.exec('BEGIN IMMEDIATE');",
    strikes: 'before',
    phase: 'serving',
  },
  'batch-sealed': {
    file: `${sqlite}/batch-log.ts`,
    anchor: 'tx.sealed.push(row);',
    strikes: 'after',
    phase: 'serving',
  },
  'before-commit': {
    file: `${sqlite}/group-commit.ts`,
    anchor: "sql.db.exec('COMMIT');",
    strikes: 'before',
    phase: 'serving',
  },
  'after-commit': {
    file: `${sqlite}/group-commit.ts`,
    anchor: "sql.db.exec('COMMIT');",
    strikes: 'after',
    phase: 'serving',
  },
  'after-signature': {
    file: `${sqlite}/group-commit.ts`,
    anchor: 'log.sign(tx.sealed);',
    strikes: 'after',
    phase: 'serving',
  },
  'witness-before-rename': {
    file: `${sqlite}/witness.ts`,
    anchor: 'await rename(draft, this.#path);',
    strikes: 'before',
    seldom: true,
    phase: 'serving',
  },
  'checkpoint-signed': {
    file: `${sqlite}/store-evidence.ts`,
    anchor: 'this.#checkpoints.set(campaignId,',
    strikes: 'before',
    seldom: true,
    phase: 'serving',
  },
  'before-answer': {
    file: '/server/src/http/member/entries.ts',
    anchor: 'return sendVerdict(',
    strikes: 'before',
    phase: 'serving',
  },
  'before-fast-answer': {
    file: '/server/src/http/member/fast-entries.ts',
    anchor: 'if (!response.destroyed && !response.headersSent) {',
    strikes: 'before',
    phase: 'direct',
  },

  // From the commit to the queue.
  'relay-before-publish': {
    file: '/messaging/src/relay.ts',
    anchor: 'await bus.forward(rows);',
    strikes: 'before',
    phase: 'serving',
  },
  'relay-after-publish': {
    file: '/messaging/src/relay.ts',
    anchor: 'await bus.forward(rows);',
    strikes: 'after',
    phase: 'serving',
  },
  'bus-before-commit': {
    file: '/engines/embedded/store.ts',
    anchor: 'this.#purge();\n',
    strikes: 'after',
    phase: 'serving',
  },
  'bus-after-confirm': {
    file: '/engines/embedded/publisher.ts',
    anchor: 'const confirmedAt = this.#parts.endedAt();',
    strikes: 'before',
    phase: 'serving',
  },
  'queued-before-answer': {
    file: '/server/src/admission/queued.ts',
    anchor: 'await this.#options.queue.publish({ campaignId, sealed: this.#seal(command) });',
    strikes: 'after',
    phase: 'queued',
  },
  'queued-before-ack': {
    file: '/server/src/admission/queued.ts',
    anchor: 'this.#options.onAnswers(campaignId, commands, answers,',
    strikes: 'before',
    phase: 'queued',
  },

  // One delivery.
  'worker-after-claim': {
    file: `${fulfilment}/saga.ts`,
    anchor: 'ports.onClaim?.(delivery);',
    strikes: 'before',
    phase: 'serving',
  },
  'voucher-before-record': {
    file: `${fulfilment}/voucher-step.ts`,
    anchor: 'switch (answer.result) {',
    strikes: 'before',
    phase: 'serving',
  },
  'provider-after-answer': {
    file: `${fulfilment}/message-step.ts`,
    anchor: "if (answer.result === 'sent')",
    strikes: 'before',
    phase: 'serving',
  },
  'worker-before-ack': {
    file: `${fulfilment}/workers.ts`,
    anchor: 'return ack();',
    strikes: 'before',
    phase: 'serving',
  },

  // Imports: staged row by row, switched in at once.
  'import-staging': {
    file: `${sqlite}/store-imports.ts`,
    anchor: "const staged = this.#staging(importId, 'voucher-codes');",
    strikes: 'after',
    phase: 'import',
  },
  'import-switch-in': {
    file: `${sqlite}/store-imports.ts`,
    anchor: 'const total =',
    strikes: 'before',
    phase: 'import',
  },

  // What a start does with what a kill left.
  'start-wal-home': {
    file: `${sqlite}/ledger-file.ts`,
    anchor: 'if (!isTooLargeToLookOver(path)) lookOver(db);',
    strikes: 'before',
    phase: 'start',
  },
  'start-signatures': {
    file: `${sqlite}/prepare.ts`,
    anchor: 'store.log.signMissing();',
    strikes: 'after',
    phase: 'start',
  },
  'start-queue': {
    file: '/server/src/admission/queued.ts',
    anchor: 'this.#strangers = await this.#options.queue.backlog();',
    strikes: 'after',
    phase: 'start',
  },

  // A backup beside the running server.
  'backup-before-sync': {
    file: `${sqlite}/offline.ts`,
    anchor: 'syncDirectory(to);',
    strikes: 'before',
    phase: 'backup',
  },
  'backup-before-manifest': {
    file: '/server/src/cli/backup.ts',
    anchor: 'const manifest: Manifest =',
    strikes: 'before',
    phase: 'backup',
  },
} as const satisfies Readonly<Record<string, Failpoint>>;

export type FailpointName = keyof typeof failpoints;

export const failpointNames = Object.keys(failpoints) as FailpointName[];

export function isFailpointName(name: string): name is FailpointName {
  return Object.hasOwn(failpoints, name);
}

export const failpointOf = (name: FailpointName): Failpoint => failpoints[name];

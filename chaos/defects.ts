/**
 * Negative controls: defects planted in the production sources as they are loaded (`preload.ts`), never in the product. Each has to be caught by the same
 * kills and the same audit that find nothing without it.
 */

export interface Change {
  /** End of the file's path. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
}

const sqlite = '/server/src/ledgers/sqlite';

export const defects = {
  /** Once entries come in, transactions stay open while their answers leave: a kill takes what was acknowledged. */
  'acknowledge-before-commit': [
    {
      file: `${sqlite}/group-commit.ts`,
      from: 'if (synchronous === this.#synchronous) return;',
      to: 'if (synchronous === this.#synchronous || this.#store.sql.db.isTransaction) return;',
    },
    {
      file: `${sqlite}/group-commit.ts`,
      from: "sql.db.exec('BEGIN IMMEDIATE');",
      to: "if (!sql.db.isTransaction) sql.db.exec('BEGIN IMMEDIATE');",
    },
    {
      file: `${sqlite}/group-commit.ts`,
      from: "sql.db.exec('COMMIT');",
      to: "if (!calls.some((c) => c.name === 'admit')) sql.db.exec('COMMIT');",
    },
  ],
  /** The answer 202 does not wait until the queue holds the entry. */
  'pending-before-published': [
    {
      file: '/server/src/admission/queued.ts',
      from: 'await this.#options.queue.publish({ campaignId, sealed: this.#seal(command) });',
      to: 'const { publish } = this.#options.queue; const message = { campaignId, sealed: this.#seal(command) }; globalThis.setTimeout(() => void publish(message).catch(() => {}), 300);',
    },
  ],
  /** Codes are handed out in the order of asking, counted in memory, and not by their unit. */
  'vouchers-in-order-of-asking': [
    {
      file: '/server/src/fulfilment/voucher-sources/pool.ts',
      from: "if (voucher) return { result: 'issued', voucher };",
      to: "const all = globalThis as { asked?: Map<string, number> }; const asked = (all.asked ??= new Map()); const next = (asked.get(campaignId) ?? 0) + 1; asked.set(campaignId, next); const other = await ledger.deliveries.poolCode(campaignId, next); if (other) return { result: 'issued', voucher: other };",
    },
  ],
  /** A delivery is recorded as done, then the message is sent. */
  'delivered-before-sent': [
    {
      file: '/server/src/fulfilment/message-step.ts',
      from: 'const passage = await this.#run.pass(',
      to: "await this.#run.settle({ result: 'delivered', messenger: messenger.name }); const passage = await this.#run.pass(",
    },
    {
      file: '/server/src/fulfilment/message-step.ts',
      from: "{ step: 'message-sending', messenger: messenger.name },",
      to: 'null,',
    },
  ],
  /** What a killed import had staged stays, and refuses the same codes. */
  'half-import-stays': [
    {
      file: `${sqlite}/ledger-facade.ts`,
      from: "await purgeDropped(backend);\n      return backend.write('beginImport', ...args);",
      to: "return backend.write('beginImport', ...args);",
    },
  ],
  /** The first entry after a start is met with a failure. */
  'fails-while-cold': [
    {
      file: '/server/src/http/member/entries.ts',
      from: 'const entered = await enter(',
      to: "const room = globalThis as { warm?: boolean }; if (!room.warm) { room.warm = true; throw new Error('cold'); } const entered = await enter(",
    },
  ],
} as const satisfies Readonly<Record<string, readonly Change[]>>;

export type DefectName = keyof typeof defects;

export function isDefectName(name: string): name is DefectName {
  return Object.hasOwn(defects, name);
}

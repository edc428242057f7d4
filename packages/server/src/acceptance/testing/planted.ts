/**
 * Defects for controls. Given to Node with `--import`, it changes the text of one source file of the server as it is loaded, in this process and its threads; which
 * one, `PLANTED_DEFECT` says. The product has no switch for any of them. A defect whose place is not found in the source ends the process, so that none goes stale.
 */
import { readFileSync } from 'node:fs';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';

interface Change {
  /** End of the file's path. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const defects: Readonly<Record<string, readonly Change[]>> = {
  /** Entries are acknowledged while their transaction is still open: a kill loses them. */
  'acknowledge-early': [
    {
      file: '/ledgers/sqlite/group-commit.ts',
      from: 'if (synchronous === this.#synchronous) return;',
      to: 'if (synchronous === this.#synchronous || this.#store.sql.db.isTransaction) return;',
    },
    {
      file: '/ledgers/sqlite/group-commit.ts',
      from: "sql.db.exec('BEGIN IMMEDIATE');",
      to: "if (!sql.db.isTransaction) sql.db.exec('BEGIN IMMEDIATE');",
    },
    {
      file: '/ledgers/sqlite/group-commit.ts',
      from: "sql.db.exec('COMMIT');",
      to: "if (calls.some((c) => c.name === 'admit')) (globalThis as { late?: boolean }).late = true; if (!(globalThis as { late?: boolean }).late) sql.db.exec('COMMIT');",
    },
  ],
  /** Nobody looks whether the member is in already, and nothing makes a second entry impossible to store. */
  'no-unique-member': [
    {
      file: '/ledgers/sqlite/entry-keys.ts',
      from: 'const loaded = this.#upToDate(campaign);',
      to: 'if (this.#writes) return null; const loaded = this.#upToDate(campaign);',
    },
    { file: '/core/src/admit.ts', from: 'if (earlier !== undefined) return earlier;', to: '' },
    {
      file: '/migrations/0001-ledger.ts',
      from: 'PRIMARY KEY (campaign, member_key)\n) STRICT, WITHOUT ROWID;\nCREATE TABLE key_runs',
      to: 'PRIMARY KEY (campaign, member_key, seq)\n) STRICT, WITHOUT ROWID;\nCREATE TABLE key_runs',
    },
  ],
  /** A full buffer drops in silence. */
  'drops-in-silence': [
    {
      file: '/admission/micro-batch.ts',
      from: "if (this.isFull) throw new OperationalError('ADMISSION_FULL', { retryAfterMs: 1_000 });",
      to: 'if (this.isFull) return;',
    },
  ],
  /** One after the other, and each waits until the one before has taken the answer. */
  'waits-for-the-absent': [
    {
      file: '/http/member/entries.ts',
      from: 'const entered = await enter(',
      to: "const room = globalThis as { turn?: Promise<unknown> }; const before = room.turn; room.turn = new Promise((taken) => reply.raw.once('finish', () => taken(null))); await before; const entered = await enter(",
    },
  ],
  /** The answer 202 does not wait for the queue to hold the entry. */
  'pending-before-published': [
    {
      file: '/admission/queued.ts',
      from: 'await this.#options.queue.publish({ campaignId, sealed: this.#seal(command) });',
      to: 'const { publish } = this.#options.queue; const message = { campaignId, sealed: this.#seal(command) }; globalThis.setTimeout(() => void publish(message).catch(() => {}), 3_000);',
    },
  ],
  /** One handler falls over an unknown campaign, another answers with a field that the document does not show. */
  'answers-as-not-documented': [
    {
      file: '/http/operator/operator-deps.ts',
      from: "throw new OperationalError('CAMPAIGN_UNKNOWN')",
      to: "throw new TypeError('no campaign')",
    },
    {
      file: '/http/operator/api-keys.ts',
      from: 'items: (await ledger.access.listApiKeys()).map(viewOf),',
      to: 'items: (await ledger.access.listApiKeys()).map(viewOf), inside: 1,',
    },
  ],
  /** A lane that sold out stays so, whatever is added. */
  'forgets-to-reopen': [{ file: '/core/src/lane.ts', from: "if (!full) return 'REOPENED';", to: '' }],
  /** A unit taken back is free, though its voucher was sent. */
  'frees-what-was-shown': [
    {
      file: '/ledgers/sqlite/store-campaigns.ts',
      from: 'unitShown: entry.voucher_shown === 1',
      to: 'unitShown: false',
    },
  ],
  /** The authority no longer looks whether the lane is closed; what waits in the process goes in. */
  'admits-behind-closed': [
    {
      file: '/core/src/admit.ts',
      from: "if (lane.closedRecordNo !== null && lane.closeReason !== 'sold-out')",
      to: 'if (lane.closedRecordNo === 0)',
    },
    {
      file: '/core/src/evolve.ts',
      from: "if (lane.phase !== 'open') diverge(",
      to: "if (lane.phase === 'draft') diverge(",
    },
  ],
  /** The transaction of a publication does not look whether there is a lane. */
  'publishes-again': [
    {
      file: '/ledgers/sqlite/store-campaigns.ts',
      from: "if (readLane(sql, row.campaign, id) !== null) return { ok: false, code: 'already-published' };",
      to: '',
    },
    {
      file: '/ledgers/sqlite/store-campaigns.ts',
      from: "if (lookedAt && hasLess(viewOf(sql, row), lookedAt)) return { ok: false, code: 'version-changed' };",
      to: '',
    },
  ],
  /** No limit for the head of a request. */
  'waits-for-headers': [{ file: '/http/app.ts', from: 'headersTimeout: 10_000', to: 'headersTimeout: 0' }],
  /** The parser takes what it should refuse. */
  'reads-leniently': [
    {
      file: '/http/app.ts',
      from: 'headersTimeout: 10_000',
      to: 'insecureHTTPParser: true, headersTimeout: 10_000',
    },
  ],
};

const name = process.env.PLANTED_DEFECT ?? '';
const changes = defects[name];
if (!changes) throw new Error(`there is no defect "${name}" to plant`);

registerHooks({
  load(url, context, next) {
    const mine = changes.filter(({ file }) => url.endsWith(file));
    if (mine.length === 0) return next(url, context);
    let source = readFileSync(fileURLToPath(url), 'utf8');
    for (const { file, from, to } of mine) {
      if (!source.includes(from)) {
        process.stderr.write(`the defect ${name} no longer finds its place in ${file}\n`);
        process.exit(99);
      }
      source = source.replace(from, to);
    }
    return { format: 'module', source: stripTypeScriptTypes(source), shortCircuit: true };
  },
});

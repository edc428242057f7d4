/** Audit records: who did what, stored in the transaction of the change itself. */
import type { Actor } from '../../ledger.ts';
import type { Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

export const system: Actor = { kind: 'system', id: 'ledger' };

export function note(
  sql: Sql,
  tx: Transaction,
  actor: Actor,
  action: string,
  target: { readonly name: string; readonly campaign: number | null },
  detail: Readonly<Record<string, unknown>> = {},
): void {
  sql.run(
    'INSERT INTO audit_records (at, actor_kind, actor_id, request_id, action, target, campaign, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    tx.now,
    actor.kind,
    actor.id,
    actor.requestId ?? null,
    action,
    target.name,
    target.campaign,
    JSON.stringify(detail),
  );
}

/**
 * What can be judged only at the very end of a run, when everything had its time: every message counted once by its reader, every grant with its
 * doorbell, the operator's export against what members sent, and the retention that follows, with a crash in its middle.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Ledger } from '../packages/server/src/ledger.ts';
import { type DeliveryRequested, deliveriesOf } from '../packages/server/src/messages.ts';
import type { Finding } from './auditor.ts';
import { type Book, placeOf } from './book.ts';
import { personalRows, readEvidence } from './ledger-snapshot.ts';
import type { Machine } from './machine.ts';
import type { Shop } from './shop.ts';

/** Outbox, relay, bus and inbox together lose nothing and double nothing; what a fault took is nobody's fault. */
export function everyMessageOnce(machine: Machine, ledger: DatabaseSync, tally: DatabaseSync): Finding[] {
  const { outbox, deliveries } = readEvidence(ledger, machine.vault);
  const counted = new Map(
    (
      tally.prepare('SELECT message_id AS id, times FROM counted').all() as unknown as {
        id: string;
        times: number;
      }[]
    ).map(({ id, times }) => [id, times]),
  );
  const told = new Set<string>();
  const found: Finding[] = [];
  for (const { id, body } of outbox) {
    const { data } = JSON.parse(body) as { readonly data: DeliveryRequested };
    for (const deliveryId of deliveriesOf(data)) told.add(deliveryId);
    const times = counted.get(id) ?? 0;
    if (times === 1 || (times === 0 && machine.lostMessages.ids.has(id))) continue;
    found.push({ rule: 'every-message-once', detail: `message ${id} was counted ${times} times` });
  }
  for (const { campaign, seq, unit } of deliveries) {
    const deliveryId = `${campaign}.${seq}.${unit}`;
    if (!told.has(deliveryId))
      found.push({
        rule: 'doorbell-with-the-grant',
        detail: `no message of the outbox tells of ${deliveryId}`,
      });
  }
  return found;
}

/** The export says of each entry what its member sent. */
export async function exportIsTrue(ledger: Ledger, shop: Shop, book: Book): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const { id } of shop.campaigns) {
    const memberOf = new Map(
      book.answers.flatMap(({ campaign, seq, memberKey }) =>
        campaign === id && seq !== null ? [[seq, memberKey]] : [],
      ),
    );
    for await (const entries of ledger.evidence.allEntries(id)) {
      for (const { seq, answers, erased } of entries) {
        const memberKey = memberOf.get(seq);
        if (memberKey === undefined || erased) continue;
        const sent = (book.submitted.get(placeOf(id, memberKey)) ?? []).map((one) =>
          JSON.stringify(one.answers),
        );
        if (!sent.includes(JSON.stringify(answers)))
          found.push({
            rule: 'export-is-true',
            detail: `${id} entry ${seq}: ${JSON.stringify(answers)} was never sent`,
          });
      }
    }
  }
  return found;
}

/** After retention: nothing personal is left of closed campaigns, and everything of the others is still there. */
export function retentionIsExact(shop: Shop, before: LanesAndRows, db: DatabaseSync): Finding[] {
  const found: Finding[] = [];
  for (const { id, members } of shop.campaigns) {
    const closed = before.closed.has(id);
    for (const { name, memberKey } of members) {
      const rows = personalRows(db, id, memberKey);
      const had = before.rows.get(placeOf(id, memberKey)) ?? [];
      if (closed && rows.length > 0)
        found.push({ rule: 'retention', detail: `${id} is closed, ${name} is still in ${rows.join(', ')}` });
      if (!closed && rows.length < had.length)
        found.push({
          rule: 'retention',
          detail: `${id} is not closed, ${name} is gone from ${had.join(', ')}`,
        });
    }
  }
  return found;
}

export interface LanesAndRows {
  readonly closed: ReadonlySet<string>;
  readonly rows: ReadonlyMap<string, readonly string[]>;
}

export function personalDataOf(machine: Machine, shop: Shop, db: DatabaseSync): LanesAndRows {
  const { lanes } = readEvidence(db, machine.vault);
  const rows = new Map<string, readonly string[]>();
  for (const { id, members } of shop.campaigns)
    for (const { memberKey } of members) rows.set(placeOf(id, memberKey), personalRows(db, id, memberKey));
  return {
    closed: new Set(lanes.filter(({ phase }) => phase === 'closed').map(({ campaign }) => campaign)),
    rows,
  };
}

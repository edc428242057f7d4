/**
 * Admission: one batch of one campaign, in one transaction, decided by core's `admit` on what that transaction reads.
 *
 *   lane -> known entries -> qualifications -> admit -> batch, lane, entries, grants -> (commit, signature) -> answers with receipts
 */
import {
  admit,
  type Decision,
  type EntryCommand,
  type EntryRecord,
  type KnownEntry,
  type LaneState,
  type MemberKey,
  type Qualification,
  qualify,
} from '@doorbuster/core';
import { sha256Hex } from '../../audit/signer.ts';
import { deliveryIdOf } from '../../delivery-id.ts';
import { OperationalError } from '../../errors.ts';
import type { Actor, Contact, MemberEntry } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import type { MemberAttributes } from '@doorbuster/core';
import type { Randomness } from '../../randomness.ts';
import { type AnsweredSalt, AnswerPacker, PackedCommands } from './admission-codec.ts';
import { note } from './audit-log.ts';
import type { BatchLog } from './batch-log.ts';
import type { CampaignRow, CampaignRows } from './campaign-rows.ts';
import type { EntryKeys } from './entry-keys.ts';
import type { Grants } from './grants.ts';
import type { Halts } from './halts.ts';
import type { KeyRuns } from './key-runs.ts';
import { type LaneRow, readLane, updateLane } from './lane-rows.ts';
import type { MemberRows } from './member-rows.ts';
import { maskedContact } from './member-rows.ts';
import type { Scrubber } from './scrubber.ts';
import { blobOf, hexOfBlob, type Sql } from './sql.ts';
import { AfterCommit, type Transaction } from './transaction.ts';

export interface AdmissionParts {
  readonly sql: Sql;
  readonly campaigns: CampaignRows;
  readonly log: BatchLog;
  readonly grants: Grants;
  readonly keys: EntryKeys;
  readonly runs: KeyRuns;
  readonly members: MemberRows;
  readonly scrubber: Scrubber;
  readonly halts: Halts;
  readonly vault: Vault;
  readonly randomness: Randomness;
}

interface KnownRow {
  seq: number;
  record_no: number;
  verdict: 'won' | 'waitlisted';
  unit: number | null;
  salt: Uint8Array | null;
  at: number;
}
/** What a repeat needs beside core's decision. */
interface Known extends KnownEntry {
  readonly salt: Uint8Array | null;
  readonly at: number;
}

const selectKnown =
  'SELECT seq, record_no, verdict, unit, salt, at FROM entries WHERE campaign = ? AND lane = 0 AND seq = ?';
const insertEntry = `INSERT INTO entries (campaign, lane, seq, record_no, member_key, verdict, unit, status, current_unit, at, salt, answers)
  VALUES (?, ?, ?, ?, ?, ?, ?, 'live', ?, ?, ?, ?)`;
const eligible: Qualification = { eligible: true };

export class AdmissionStore {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /** Of a packed batch, in the place it came in: see the codec. The answers are packed too. */
  admit(tx: Transaction, campaignId: string, packed: Uint8Array): AfterCommit<Uint8Array> {
    const { sql, campaigns, halts } = this.#parts;
    const campaign = campaigns.find(campaignId);
    const lane = campaign === null ? null : readLane(sql, campaign.campaign, campaignId);
    if (campaign === null || lane === null)
      throw new OperationalError('CAMPAIGN_UNKNOWN', { detail: campaignId });
    halts.check(campaignId);
    const commands = new PackedCommands(packed);
    const known = new Map<MemberKey, Known>();
    const entries = this.#entryCommands(campaign, commands, known);
    const result = admit(lane.state, known, entries, tx.now);
    if (result.records.length > 0) this.#store(tx, campaign, lane, result, commands);
    return new AfterCommit(() =>
      this.#answers(campaign, lane.state.lane, commands, entries, result.decisions, known, tx.now),
    );
  }

  /** What core decides on; puts those who are in into `known`. Nothing new is recorded of them, so their commitments are not needed. */
  #entryCommands(
    campaign: CampaignRow,
    commands: PackedCommands,
    known: Map<MemberKey, Known>,
  ): EntryCommand[] {
    const { sql } = this.#parts;
    const anyBan = sql.get('SELECT 1 FROM bans WHERE campaign = ? LIMIT 1', campaign.campaign) !== undefined;
    const entries: EntryCommand[] = [];
    for (let i = 0; i < commands.count; i++) {
      const memberKey = commands.memberKey(i);
      const earlier = this.#knownEntry(campaign, commands.key(i));
      if (earlier !== null) known.set(memberKey, earlier);
      const qualification = this.#qualification(campaign, commands, i, anyBan);
      const opening = earlier === null && qualification.eligible;
      const answers = opening ? commands.answersOpening(i) : null;
      entries.push({
        memberKey,
        member: opening ? sha256Hex(commands.memberOpening(i)) : '',
        answers: answers === null ? null : sha256Hex(answers),
        qualification,
      });
    }
    return entries;
  }

  #knownEntry(campaign: CampaignRow, memberKey: Uint8Array): Known | null {
    const entry = this.#parts.keys.seqOf(campaign.campaign, memberKey);
    if (entry === null) return null;
    const row = this.#parts.sql.get<KnownRow>(selectKnown, campaign.campaign, entry);
    if (row === undefined) throw new Error(`no entry ${entry} of ${campaign.id}`);
    const { seq, record_no: recordNo, verdict, unit, at, salt } = row;
    return { seq, recordNo, verdict, unit, at, salt };
  }

  /** Reasons are keys, see the port. */
  #qualification(
    campaign: CampaignRow,
    commands: PackedCommands,
    index: number,
    anyBan: boolean,
  ): Qualification {
    if (anyBan && this.#isBanned(campaign, commands.key(index))) return { eligible: false, reason: 'banned' };
    if (campaign.eligibility.audience === 'listed') {
      const attributes = this.#parts.members.listedAttributes(campaign.campaign, commands.key(index));
      const qualified = qualify(campaign.eligibility, attributes ?? undefined);
      if (!qualified.eligible)
        return {
          eligible: false,
          reason: qualified.ruleIndex === null ? 'not-listed' : `rule-${qualified.ruleIndex}`,
        };
    }
    return commands.screenedOut(index) ? { eligible: false, reason: 'screening' } : eligible;
  }

  #isBanned(campaign: CampaignRow, memberKey: Uint8Array): boolean {
    const text = 'SELECT 1 FROM bans WHERE campaign = ? AND member_key = ?';
    return this.#parts.sql.get(text, campaign.campaign, memberKey) !== undefined;
  }

  #store(
    tx: Transaction,
    campaign: CampaignRow,
    before: LaneRow,
    result: ReturnType<typeof admit>,
    commands: PackedCommands,
  ): void {
    const { sql, log, scrubber, keys, runs } = this.#parts;
    const sealed = log.seal(campaign, before, result.lane, result.records, tx.now);
    updateLane(sql, campaign.campaign, sealed.lane);
    log.append(tx, sealed.row);
    let at = 0;
    for (let i = 0; i < commands.count; i++) {
      const decision = result.decisions[i] as Decision;
      if (!('repeated' in decision) || decision.repeated) continue;
      while (result.records[at]?.type !== 'ENTRY') at++;
      this.#storeEntry(tx, campaign, before.state, result.records[at++] as EntryRecord, commands, i);
    }
    const closed = result.lane.phase === 'closed';
    if (before.state.phase !== 'closed' && closed) {
      scrubber.replaceKeys(campaign.campaign);
      keys.closed(campaign.campaign);
    }
    tx.entered += result.lane.seq - before.state.seq;
    runs.grew(campaign.campaign, result.lane.seq, closed);
    tx.lanes.push(result.lane);
  }

  #storeEntry(
    tx: Transaction,
    campaign: CampaignRow,
    before: LaneState,
    record: EntryRecord,
    commands: PackedCommands,
    index: number,
  ): void {
    const { sql, vault, grants, keys } = this.#parts;
    const answers = commands.answers(index);
    sql.run(
      insertEntry,
      campaign.campaign,
      before.lane,
      record.seq,
      record.recordNo,
      commands.key(index),
      record.verdict,
      record.unit,
      record.unit,
      record.at,
      commands.salt(index),
      answers === null ? null : vault.sealBytes(commands.salt(index), 'answers', answers),
    );
    keys.added(campaign.campaign, commands.key(index), record.seq);
    if (record.unit !== null)
      grants.grant(tx, campaign, before.lane, record.seq, record.unit, record.unit < before.nextUnit);
  }

  #answers(
    campaign: CampaignRow,
    lane: number,
    commands: PackedCommands,
    entries: readonly EntryCommand[],
    decisions: readonly Decision[],
    known: ReadonlyMap<MemberKey, Known>,
    now: number,
  ): Uint8Array {
    const { log } = this.#parts;
    /** Those whose entry this batch made, for their repeats in it. */
    const made = new Map<MemberKey, number>();
    const answers = new AnswerPacker(decisions.length);
    decisions.forEach((decision, i) => {
      const { memberKey } = entries[i] as EntryCommand;
      const receipt = 'recordNo' in decision ? log.receiptParts(campaign, lane, decision.recordNo) : null;
      const earlier = known.get(memberKey);
      let salt: AnsweredSalt = null;
      if ('repeated' in decision) {
        const first = made.get(memberKey);
        if (!decision.repeated) made.set(memberKey, i);
        if (earlier !== undefined) salt = earlier.salt;
        else salt = first === undefined ? 'own' : commands.salt(first);
      }
      answers.add(decision, receipt, salt, 'repeated' in decision ? (earlier?.at ?? now) : now);
    });
    return answers.pack();
  }

  register(
    _tx: Transaction,
    campaignId: string,
    memberKey: MemberKey,
    contact: Contact | null,
    attributes: MemberAttributes | null,
  ): void {
    const campaign = this.#require(campaignId);
    const { vault, randomness, sql } = this.#parts;
    const key = blobOf(memberKey);
    const salt = contact === null ? null : Buffer.from(randomness.bytes(16)).toString('hex');
    const sealed =
      contact === null || salt === null ? null : vault.seal(salt, 'contact', JSON.stringify(contact));
    sql.run(
      `INSERT INTO registrations (campaign, member_key, attributes, salt, contact) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET attributes = coalesce(excluded.attributes, attributes),
         salt = CASE WHEN excluded.contact IS NULL THEN salt ELSE excluded.salt END, contact = coalesce(excluded.contact, contact)`,
      campaign.campaign,
      key,
      attributes === null ? null : JSON.stringify(attributes),
      salt === null ? null : blobOf(salt),
      sealed,
    );
  }

  setBan(tx: Transaction, campaignId: string, memberKey: MemberKey, banned: boolean, actor: Actor): void {
    const campaign = this.#require(campaignId);
    const { sql } = this.#parts;
    if (banned)
      sql.run(
        'INSERT OR IGNORE INTO bans (campaign, member_key, at) VALUES (?, ?, ?)',
        campaign.campaign,
        blobOf(memberKey),
        tx.now,
      );
    else
      sql.run('DELETE FROM bans WHERE campaign = ? AND member_key = ?', campaign.campaign, blobOf(memberKey));
    note(
      sql,
      tx,
      actor,
      banned ? 'member.banned' : 'member.unbanned',
      { name: campaignId, campaign: campaign.campaign },
      { memberKey },
    );
  }

  entryOf(campaignId: string, memberKey: MemberKey): MemberEntry | null {
    const { sql, campaigns, log, members, keys } = this.#parts;
    const campaign = campaigns.find(campaignId);
    if (campaign === null) return null;
    const row = sql.get<EntryRow>(
      `SELECT e.lane, e.seq, e.record_no, e.verdict, e.unit, e.status, e.current_unit, e.at, e.salt, e.erased, d.state AS delivery_state, u.voucher_state, u.voucher IS NOT NULL AS has_voucher
       FROM entries e LEFT JOIN deliveries d ON d.campaign = e.campaign AND d.lane = e.lane AND d.seq = e.seq AND d.unit = e.current_unit
       LEFT JOIN units u ON u.campaign = e.campaign AND u.unit = e.current_unit WHERE e.campaign = ? AND e.lane = 0 AND e.seq = ?`,
      campaign.campaign,
      keys.seqOf(campaign.campaign, blobOf(memberKey)),
    );
    if (row === undefined) return null;
    const receipt = log.receiptOf(campaign, row.lane, row.record_no);
    if (receipt === null) throw new Error(`entry ${row.seq} of ${campaignId} has no record`);
    const contact = members.contactOf(campaign.campaign, blobOf(memberKey));
    return entryView(campaignId, row, receipt, contact === null ? null : maskedContact(contact));
  }

  receiptOf(campaignId: string, recordNo: number): string | null {
    const campaign = this.#parts.campaigns.find(campaignId);
    return campaign === null ? null : this.#parts.log.receiptOf(campaign, 0, recordNo);
  }

  #require(campaignId: string): CampaignRow {
    const campaign = this.#parts.campaigns.find(campaignId);
    if (campaign === null) throw new OperationalError('CAMPAIGN_UNKNOWN', { detail: campaignId });
    return campaign;
  }
}

interface EntryRow {
  lane: number;
  seq: number;
  record_no: number;
  verdict: 'won' | 'waitlisted';
  unit: number | null;
  status: 'live' | 'promoted' | 'revoked';
  current_unit: number | null;
  at: number;
  salt: Uint8Array | null;
  erased: number;
  delivery_state: NonNullable<MemberEntry['delivery']>['state'] | null;
  voucher_state: string | null;
  has_voucher: number;
}

function entryView(campaignId: string, row: EntryRow, receipt: string, masked: string | null): MemberEntry {
  const { seq, record_no: recordNo, verdict, status, current_unit: unit, at } = row;
  const delivery =
    unit === null || row.delivery_state === null
      ? null
      : {
          deliveryId: deliveryIdOf(campaignId, seq, unit),
          state: row.delivery_state,
          voucherReady: row.voucher_state === 'issued' && row.has_voucher === 1,
        };
  return {
    seq,
    recordNo,
    verdict,
    status,
    unit,
    at,
    receipt,
    salt: row.salt === null ? null : hexOfBlob(row.salt),
    maskedContact: masked,
    delivery,
  };
}

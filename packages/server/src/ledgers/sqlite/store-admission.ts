/**
 * Admission: one batch of one campaign, in one transaction, decided by core's `admit` on what that transaction reads.
 *
 *   lane -> known entries -> qualifications -> admit -> batch, lane, entries, grants -> (commit, signature) -> answers with receipts
 */
import {
  admit,
  answersCommitment,
  type Decision,
  type EntryCommand,
  type EntryRecord,
  type KnownEntry,
  type LaneState,
  memberCommitment,
  type MemberKey,
  type Qualification,
  qualify,
} from '@doorbuster/core';
import { sha256 } from '../../audit/signer.ts';
import { deliveryIdOf } from '../../delivery-id.ts';
import { OperationalError } from '../../errors.ts';
import type { Actor, AdmissionAnswer, AdmissionCommand, Contact, MemberEntry } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import type { MemberAttributes } from '@doorbuster/core';
import type { Randomness } from '../../randomness.ts';
import { note } from './audit-log.ts';
import type { BatchLog } from './batch-log.ts';
import type { CampaignRow, CampaignRows } from './campaign-rows.ts';
import type { Grants } from './grants.ts';
import type { Halts } from './halts.ts';
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
  readonly salt: string | null;
  readonly at: number;
}

const selectKnown =
  'SELECT seq, record_no, verdict, unit, salt, at FROM entries WHERE campaign = ? AND member_key = ?';
const insertEntry = `INSERT INTO entries (campaign, lane, seq, record_no, member_key, verdict, unit, status, current_unit, at, salt, answers)
  VALUES (?, ?, ?, ?, ?, ?, ?, 'live', ?, ?, ?, ?)`;
const eligible: Qualification = { eligible: true };

export class AdmissionStore {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  admit(
    tx: Transaction,
    campaignId: string,
    commands: readonly AdmissionCommand[],
  ): AfterCommit<AdmissionAnswer[]> {
    const { sql, campaigns, halts } = this.#parts;
    const campaign = campaigns.find(campaignId);
    const lane = campaign === null ? null : readLane(sql, campaign.campaign, campaignId);
    if (campaign === null || lane === null)
      throw new OperationalError('CAMPAIGN_UNKNOWN', { detail: campaignId });
    halts.check(campaignId);
    const known = this.#known(campaign, commands);
    const qualifications = this.#qualifications(campaign, commands);
    const entries = commands.map((command, i) =>
      entryCommand(command, qualifications[i] as Qualification, known.has(command.memberKey)),
    );
    const result = admit(lane.state, known, entries, tx.now);
    if (result.records.length > 0) this.#store(tx, campaign, lane, result, commands);
    return new AfterCommit(() =>
      this.#answers(campaign, lane.state.lane, commands, result.decisions, known, tx.now),
    );
  }

  #known(campaign: CampaignRow, commands: readonly AdmissionCommand[]): Map<MemberKey, Known> {
    const known = new Map<MemberKey, Known>();
    for (const { memberKey } of commands) {
      const row = this.#parts.sql.get<KnownRow>(selectKnown, campaign.campaign, blobOf(memberKey));
      if (row === undefined) continue;
      const { seq, record_no: recordNo, verdict, unit, at } = row;
      known.set(memberKey, {
        seq,
        recordNo,
        verdict,
        unit,
        at,
        salt: row.salt === null ? null : hexOfBlob(row.salt),
      });
    }
    return known;
  }

  /** Reasons are keys, see the port. */
  #qualifications(campaign: CampaignRow, commands: readonly AdmissionCommand[]): Qualification[] {
    const { sql } = this.#parts;
    const anyBan = sql.get('SELECT 1 FROM bans WHERE campaign = ? LIMIT 1', campaign.campaign) !== undefined;
    return commands.map((command) => {
      if (anyBan && this.#isBanned(campaign, command.memberKey)) return { eligible: false, reason: 'banned' };
      return this.#qualification(campaign, command);
    });
  }

  #isBanned(campaign: CampaignRow, memberKey: MemberKey): boolean {
    return (
      this.#parts.sql.get(
        'SELECT 1 FROM bans WHERE campaign = ? AND member_key = ?',
        campaign.campaign,
        blobOf(memberKey),
      ) !== undefined
    );
  }

  #qualification(campaign: CampaignRow, command: AdmissionCommand): Qualification {
    if (campaign.eligibility.audience === 'listed') {
      const attributes = this.#parts.members.listedAttributes(campaign.campaign, blobOf(command.memberKey));
      const qualified = qualify(campaign.eligibility, attributes ?? undefined);
      if (!qualified.eligible)
        return {
          eligible: false,
          reason: qualified.ruleIndex === null ? 'not-listed' : `rule-${qualified.ruleIndex}`,
        };
    }
    return command.screenedOut ? { eligible: false, reason: 'screening' } : eligible;
  }

  #store(
    tx: Transaction,
    campaign: CampaignRow,
    before: LaneRow,
    result: ReturnType<typeof admit>,
    commands: readonly AdmissionCommand[],
  ): void {
    const { sql, log, scrubber } = this.#parts;
    const sealed = log.seal(campaign, before, result.lane, result.records, tx.now);
    updateLane(sql, campaign.campaign, sealed.lane);
    log.append(tx, sealed.row);
    let at = 0;
    for (let i = 0; i < commands.length; i++) {
      const decision = result.decisions[i] as Decision;
      if (!('repeated' in decision) || decision.repeated) continue;
      while (result.records[at]?.type !== 'ENTRY') at++;
      this.#storeEntry(
        tx,
        campaign,
        before.state,
        result.records[at++] as EntryRecord,
        commands[i] as AdmissionCommand,
      );
    }
    if (before.state.phase !== 'closed' && result.lane.phase === 'closed')
      scrubber.replaceKeys(campaign.campaign);
    tx.lanes.push(result.lane);
  }

  #storeEntry(
    tx: Transaction,
    campaign: CampaignRow,
    before: LaneState,
    record: EntryRecord,
    command: AdmissionCommand,
  ): void {
    const { sql, vault, grants } = this.#parts;
    const answers =
      command.answers === null ? null : vault.seal(command.salt, 'answers', JSON.stringify(command.answers));
    sql.run(
      insertEntry,
      campaign.campaign,
      before.lane,
      record.seq,
      record.recordNo,
      blobOf(command.memberKey),
      record.verdict,
      record.unit,
      record.unit,
      record.at,
      blobOf(command.salt),
      answers,
    );
    if (record.unit !== null)
      grants.grant(tx, campaign, before.lane, record.seq, record.unit, record.unit < before.nextUnit);
  }

  #answers(
    campaign: CampaignRow,
    lane: number,
    commands: readonly AdmissionCommand[],
    decisions: readonly Decision[],
    known: ReadonlyMap<MemberKey, Known>,
    now: number,
  ): AdmissionAnswer[] {
    const { log } = this.#parts;
    const saltOf = new Map<MemberKey, string>();
    return decisions.map((decision, i) => {
      const command = commands[i] as AdmissionCommand;
      const receipt = 'recordNo' in decision ? log.receiptOf(campaign, lane, decision.recordNo) : null;
      if (!('repeated' in decision)) return { decision, receipt, salt: null, at: now };
      const earlier = known.get(command.memberKey);
      if (earlier !== undefined) return { decision, receipt, salt: earlier.salt, at: earlier.at };
      if (!decision.repeated) saltOf.set(command.memberKey, command.salt);
      return { decision, receipt, salt: saltOf.get(command.memberKey) ?? null, at: now };
    });
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
    const { sql, campaigns, log, members } = this.#parts;
    const campaign = campaigns.find(campaignId);
    if (campaign === null) return null;
    const row = sql.get<EntryRow>(
      `SELECT e.lane, e.seq, e.record_no, e.verdict, e.unit, e.status, e.current_unit, e.at, e.salt, e.erased, d.state AS delivery_state, u.voucher_state, u.voucher IS NOT NULL AS has_voucher
       FROM entries e LEFT JOIN deliveries d ON d.campaign = e.campaign AND d.lane = e.lane AND d.seq = e.seq AND d.unit = e.current_unit
       LEFT JOIN units u ON u.campaign = e.campaign AND u.unit = e.current_unit WHERE e.campaign = ? AND e.member_key = ?`,
      campaign.campaign,
      blobOf(memberKey),
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

/** A known member's commitments are not needed: nothing new is recorded. */
function entryCommand(command: AdmissionCommand, qualification: Qualification, known: boolean): EntryCommand {
  const { memberKey, salt, answers } = command;
  if (known || !qualification.eligible) return { memberKey, member: '', answers: null, qualification };
  return {
    memberKey,
    member: memberCommitment(salt, memberKey, sha256),
    answers: answers === null ? null : answersCommitment(salt, answers, sha256),
    qualification,
  };
}

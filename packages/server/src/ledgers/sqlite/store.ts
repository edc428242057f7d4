/**
 * The store: all groups over one connection, and the table of what may be asked of it by name. Synchronous and without threads: the writer
 * thread, the reader thread and the simulator run the same code. Writes take the transaction they belong to; reads take nothing.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { EpochMs } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import type { Signer } from '../../audit/signer.ts';
import { newId, type Randomness } from '../../randomness.ts';
import type { OperatorLaneCommand } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import { AuthorityClock } from './authority-clock.ts';
import { BatchLog } from './batch-log.ts';
import { CampaignRows } from './campaign-rows.ts';
import { Grants } from './grants.ts';
import { EntryKeys } from './entry-keys.ts';
import { Halts } from './halts.ts';
import { KeyRuns } from './key-runs.ts';
import { MemberRows } from './member-rows.ts';
import { OutboxRows } from './outbox-rows.ts';
import { Scrubber } from './scrubber.ts';
import { Sql } from './sql.ts';
import { AccessStore } from './store-access.ts';
import { AdmissionStore } from './store-admission.ts';
import { CampaignStore } from './store-campaigns.ts';
import { DeliveryStore } from './store-deliveries.ts';
import { DeliveryViews } from './store-delivery-views.ts';
import { EvidenceStore } from './store-evidence.ts';
import { ImportStore, sealCodes, sealMembers } from './store-imports.ts';
import { ReconcileStore } from './store-reconcile.ts';
import type { AfterCommit, Transaction } from './transaction.ts';

export interface StoreParts {
  readonly db: DatabaseSync;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly vault: Vault;
  readonly signer: Signer;
  readonly role: 'writer' | 'reader';
  /** Entries of a run of keys at least; default 50,000. */
  readonly shortestRun?: number;
}

export type Store = ReturnType<typeof openStore>;

export function openStore(parts: StoreParts) {
  const { vault, signer, randomness } = parts;
  const sql = new Sql(parts.db);
  const clock = new AuthorityClock(parts.clock);
  const campaigns = new CampaignRows(sql);
  const log = new BatchLog(sql, signer);
  const outbox = new OutboxRows(sql, parts.clock, randomness);
  const grants = new Grants(sql);
  const keys = new EntryKeys(sql, parts.role);
  const members = new MemberRows(sql, vault);
  const halts = new Halts();
  const runs = new KeyRuns({ sql, campaigns, halts, shortest: parts.shortestRun });
  const scrubber = new Scrubber(sql, randomness, keys, runs);
  const base = {
    sql,
    campaigns,
    log,
    grants,
    members,
    scrubber,
    keys,
    runs,
    halts,
    vault,
    randomness,
    signer,
    clock,
    outbox,
  };
  const deliveries = new DeliveryStore(base);
  return {
    ...base,
    campaignStore: new CampaignStore(base),
    admission: new AdmissionStore(base),
    deliveries,
    deliveryViews: new DeliveryViews({ ...base, deliveries }),
    reconcile: new ReconcileStore({ ...base, deliveries }),
    imports: new ImportStore(base),
    evidence: new EvidenceStore(base),
    access: new AccessStore({ ...base, run: newId(randomness) }),
  };
}

/** What changes something. Each runs inside a transaction of the group commit. */
export function writesOf(store: Store) {
  const {
    campaignStore,
    admission,
    deliveries,
    deliveryViews,
    reconcile,
    imports,
    evidence,
    access,
    outbox,
  } = store;
  return {
    createCampaign: campaignStore.create.bind(campaignStore),
    updateCampaign: campaignStore.update.bind(campaignStore),
    publishCampaign: campaignStore.publish.bind(campaignStore),
    commandLane: campaignStore.command.bind(campaignStore),
    tick: campaignStore.tick.bind(campaignStore),
    admit: admission.admit.bind(admission),
    register: admission.register.bind(admission),
    setBan: admission.setBan.bind(admission),
    claim: deliveries.claim.bind(deliveries),
    progress: deliveries.progress.bind(deliveries),
    settle: deliveries.settle.bind(deliveries),
    reveal: deliveries.reveal.bind(deliveries),
    startDeliveryBatch: deliveryViews.startBatch.bind(deliveryViews),
    abortDeliveryBatch: deliveryViews.abortBatch.bind(deliveryViews),
    runDeliveryBatches: deliveryViews.runBatches.bind(deliveryViews),
    ringAgain: reconcile.ringAgain.bind(reconcile),
    beginImport: imports.begin.bind(imports),
    stageMembers: imports.stageMembers.bind(imports),
    moveMembers: imports.moveMembers.bind(imports),
    stageCodes: imports.stageCodes.bind(imports),
    commitImport: imports.commit.bind(imports),
    abortImport: imports.abort.bind(imports),
    purgeImports: imports.purge.bind(imports),
    erase: evidence.erase.bind(evidence),
    expire: evidence.expire.bind(evidence),
    createApiKey: access.createApiKey.bind(access),
    rotateApiKey: access.rotateApiKey.bind(access),
    revokeApiKey: access.revokeApiKey.bind(access),
    usedApiKey: access.usedApiKey.bind(access),
    reserveRequest: access.reserveRequest.bind(access),
    storeResponse: access.storeResponse.bind(access),
    releaseRequest: access.releaseRequest.bind(access),
    note: access.note.bind(access),
    markPublished: (_tx: Transaction, upTo: number) => outbox.markPublished(upTo),
  };
}

/** What only reads, or only computes (sealing): runs in the reader thread. */
export function readsOf(store: Store) {
  const {
    campaignStore,
    admission,
    deliveries,
    deliveryViews,
    reconcile,
    imports,
    evidence,
    access,
    outbox,
    vault,
    randomness,
  } = store;
  const now = (): EpochMs => store.clock.now();
  return {
    getCampaign: campaignStore.get.bind(campaignStore),
    listCampaigns: campaignStore.list.bind(campaignStore),
    foreseeLane: (id: string, command: OperatorLaneCommand) => campaignStore.foresee(id, command, now()),
    entryOf: admission.entryOf.bind(admission),
    receiptOf: admission.receiptOf.bind(admission),
    due: (limit: number, after?: string) => deliveries.due(now(), limit, after),
    poolCode: deliveries.poolCode.bind(deliveries),
    listDeliveries: deliveryViews.list.bind(deliveryViews),
    summarizeDeliveries: deliveryViews.summary.bind(deliveryViews),
    attempts: deliveryViews.attempts.bind(deliveryViews),
    deliveryBatch: deliveryViews.batch.bind(deliveryViews),
    reconcileLook: reconcile.look.bind(reconcile),
    contactCount: reconcile.contactCount.bind(reconcile),
    issuedCounts: reconcile.issuedCounts.bind(reconcile),
    issuedCodes: reconcile.issuedCodes.bind(reconcile),
    sealMembers: (rows: Parameters<typeof sealMembers>[2]) => sealMembers(vault, randomness, rows),
    sealCodes: (importId: string, rows: Parameters<typeof sealCodes>[3]) =>
      sealCodes(vault, randomness, imports.campaignOf(importId), rows),
    stagedOrder: imports.stagedOrder.bind(imports),
    entries: evidence.entries.bind(evidence),
    entriesAfter: evidence.entriesAfter.bind(evidence),
    memberKeysAfter: evidence.memberKeysAfter.bind(evidence),
    batchBefore: evidence.batchBefore.bind(evidence),
    batchesAfter: evidence.batchesAfter.bind(evidence),
    auditRecords: evidence.auditRecords.bind(evidence),
    checkpoint: (campaignId: string) => evidence.checkpoint(campaignId, now()),
    closingRoot: evidence.closingRoot.bind(evidence),
    holdsMember: evidence.holds.bind(evidence),
    listApiKeys: access.listApiKeys.bind(access),
    findApiKey: (keyId: string) => access.findApiKey(keyId, now()),
    readUnpublished: outbox.readUnpublished.bind(outbox),
  };
}

export type Writes = ReturnType<typeof writesOf>;
export type Reads = ReturnType<typeof readsOf>;
export type WriteName = keyof Writes;
export type ReadName = keyof Reads;
type Tail<F> = F extends (tx: Transaction, ...args: infer A) => unknown ? A : never;
export type WriteArgs<K extends WriteName> = Tail<Writes[K]>;
export type WriteResult<K extends WriteName> =
  ReturnType<Writes[K]> extends AfterCommit<infer T>
    ? T
    : Exclude<ReturnType<Writes[K]>, AfterCommit<unknown>>;
export type ReadArgs<K extends ReadName> = Parameters<Reads[K]>;
export type ReadResult<K extends ReadName> = ReturnType<Reads[K]>;

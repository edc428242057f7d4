/** The port over a backend: names and arguments go to the writer or the reader, whichever they are for. Knows no SQL and no thread. */
import type { LaneState } from '@doorbuster/core';
import { OperationalError } from '../../errors.ts';
import type {
  AccessLedger,
  AdmissionAnswer,
  AdmissionCommand,
  AdmissionLedger,
  CampaignLedger,
  DeliveryLedger,
  EntryView,
  EvidenceLedger,
  HaltedLane,
  ImportLedger,
  Ledger,
  ReconcileLedger,
  RecordBatch,
  VerifyReport,
} from '../../ledger.ts';
import { packCommands, unpackAnswers } from './admission-codec.ts';
import type { ReadArgs, ReadName, ReadResult, WriteArgs, WriteName, WriteResult } from './store.ts';

export interface Reader {
  read<K extends ReadName>(name: K, ...args: ReadArgs<K>): Promise<ReadResult<K>>;
}
export interface Snapshot extends Reader {
  close(): Promise<void>;
}
export interface Backend extends Reader {
  write<K extends WriteName>(name: K, ...args: WriteArgs<K>): Promise<WriteResult<K>>;
  /** For work that must not hold up admission: at most one such call goes into a transaction. */
  writeLater<K extends WriteName>(name: K, ...args: WriteArgs<K>): Promise<WriteResult<K>>;
  /** Reads of one state of the ledger, until closed. */
  snapshot(): Promise<Snapshot>;
  onLane(listener: (lane: LaneState) => void): () => void;
  onOutbox(listener: () => void): () => void;
  /** Lanes that stand still for a person. */
  readonly halted: readonly HaltedLane[];
  verify(): Promise<VerifyReport>;
  backup(path: string): Promise<void>;
  close(): Promise<void>;
}

/** Rows of an import that go into one transaction beside admission: about 1 ms of the writer each. Codes go into a random index, so fewer. */
const memberSlice = 100;
const codeSlice = 50;
const keysAChunk = 4096;
const entriesAChunk = 500;
const batchesAChunk = 20;

export function createLedger(backend: Backend): Ledger {
  return {
    campaigns: campaignsOf(backend),
    admission: admissionOf(backend),
    deliveries: deliveriesOf(backend),
    reconcile: reconcileOf(backend),
    imports: importsOf(backend),
    evidence: evidenceOf(backend),
    access: accessOf(backend),
    outbox: {
      readUnpublished: (limit) => backend.read('readUnpublished', limit),
      markPublished: (upTo) => backend.write('markPublished', upTo),
    },
    onOutbox: (listener) => backend.onOutbox(listener),
    halted: () => backend.halted,
    verify: () => backend.verify(),
    backup: (path) => backend.backup(path),
    close: () => backend.close(),
  };
}

function campaignsOf(backend: Backend): CampaignLedger {
  return {
    create: (...args) => backend.write('createCampaign', ...args),
    update: (...args) => backend.write('updateCampaign', ...args),
    get: (id) => backend.read('getCampaign', id),
    list: (page) => backend.read('listCampaigns', page),
    publish: (...args) => backend.write('publishCampaign', ...args),
    command: (...args) => backend.write('commandLane', ...args),
    foresee: async (id, command) => {
      refuseHalted(backend, id);
      return backend.read('foreseeLane', id, command);
    },
    tick: () => backend.write('tick'),
    onLane: (listener) => backend.onLane(listener),
  };
}

function admissionOf(backend: Backend): AdmissionLedger {
  return {
    admit: (campaignId, commands) => admit(backend, campaignId, commands),
    isHalted: (campaignId) => backend.halted.some((halt) => halt.campaignId === campaignId),
    entryOf: (...args) => entryOf(backend, ...args),
    receiptOf: (...args) => backend.read('receiptOf', ...args),
    memberKeys: (campaignId) => memberKeys(backend, campaignId),
    register: (...args) => backend.write('register', ...args),
    setBan: (...args) => backend.write('setBan', ...args),
  };
}

async function admit(
  backend: Backend,
  campaignId: string,
  commands: readonly AdmissionCommand[],
): Promise<readonly AdmissionAnswer[]> {
  return unpackAnswers(await backend.write('admit', campaignId, packCommands(commands)), commands);
}

/** A halted lane shows less than was acknowledged: that it shows no entry of a member proves nothing. */
async function entryOf(backend: Backend, ...args: ReadArgs<'entryOf'>): Promise<ReadResult<'entryOf'>> {
  const entry = await backend.read('entryOf', ...args);
  if (entry === null) refuseHalted(backend, args[0]);
  return entry;
}

/** Throws LEDGER_HALTED. The writer refuses by itself; this is for answers of the reader, which knows of no halt. */
function refuseHalted(backend: Backend, id: string): void {
  const halt = backend.halted.find(({ campaignId }) => campaignId === id);
  if (halt) throw new OperationalError('LEDGER_HALTED', { detail: `${halt.campaignId}: ${halt.reason}` });
}

async function* memberKeys(backend: Backend, campaignId: string): AsyncGenerator<Uint8Array> {
  for (let seq = 0; ; ) {
    const chunk = await backend.read('memberKeysAfter', campaignId, seq, keysAChunk);
    if (chunk.keys.length === 0) return;
    yield chunk.keys;
    // Set free at once: bytes outside the heap wait long for a collection, at a million members 30 MB of them.
    chunk.keys.buffer.transfer(0);
    seq = chunk.seq;
  }
}

function deliveriesOf(backend: Backend): DeliveryLedger {
  return {
    due: (...args) => backend.read('due', ...args),
    claim: (...args) => backend.write('claim', ...args),
    progress: (...args) => backend.write('progress', ...args),
    settle: (...args) => backend.write('settle', ...args),
    list: (...args) => backend.read('listDeliveries', ...args),
    summary: (campaignId) => backend.read('summarizeDeliveries', campaignId),
    attempts: (deliveryId) => backend.read('attempts', deliveryId),
    startBatch: (...args) => backend.write('startDeliveryBatch', ...args),
    batch: (batchId) => backend.read('deliveryBatch', batchId),
    abortBatch: (...args) => backend.write('abortDeliveryBatch', ...args),
    runBatches: (slice) => backend.writeLater('runDeliveryBatches', slice),
    reveal: (...args) => backend.write('reveal', ...args),
    poolCode: (...args) => backend.read('poolCode', ...args),
  };
}

function reconcileOf(backend: Backend): ReconcileLedger {
  return {
    look: (...args) => backend.read('reconcileLook', ...args),
    contactCount: (campaignId) => backend.read('contactCount', campaignId),
    issuedCounts: () => backend.read('issuedCounts'),
    issuedCodes: (...args) => backend.read('issuedCodes', ...args),
    ringAgain: (...args) => backend.writeLater('ringAgain', ...args),
  };
}

function importsOf(backend: Backend): ImportLedger {
  return {
    /** Codes of a dropped import refuse the same codes: what a killed process left is out of the way before the next import stages anything. */
    async begin(...args) {
      await purgeDropped(backend);
      return backend.write('beginImport', ...args);
    },
    async members(importId, rows) {
      for (let i = 0; i < rows.length; i += memberSlice) {
        await backend.writeLater(
          'stageMembers',
          importId,
          await backend.read('sealMembers', rows.slice(i, i + memberSlice)),
        );
      }
    },
    async voucherCodes(importId, rows) {
      const refused: number[] = [];
      for (let i = 0; i < rows.length; i += codeSlice) {
        const sealed = await backend.read('sealCodes', importId, rows.slice(i, i + codeSlice));
        refused.push(...(await backend.writeLater('stageCodes', importId, sealed)));
      }
      return refused;
    },
    async commit(importId) {
      const order = await backend.read('stagedOrder', importId);
      for (let i = 0; i < order.length; i += memberSlice)
        await backend.writeLater('moveMembers', importId, order.slice(i, i + memberSlice));
      const done = await backend.write('commitImport', importId);
      await purgeDropped(backend);
      return done;
    },
    async abort(importId) {
      await backend.write('abortImport', importId);
      await purgeDropped(backend);
    },
  };
}

async function purgeDropped(backend: Backend): Promise<void> {
  while ((await backend.writeLater('purgeImports', memberSlice)) > 0);
}

function evidenceOf(backend: Backend): EvidenceLedger {
  return {
    entries: (...args) => backend.read('entries', ...args),
    allEntries: (campaignId) => allEntries(backend, campaignId),
    records: (campaignId, fromRecordNo) => records(backend, campaignId, fromRecordNo),
    auditRecords: (...args) => backend.read('auditRecords', ...args),
    checkpoint: (campaignId) => backend.read('checkpoint', campaignId),
    closingRoot: (campaignId) => backend.read('closingRoot', campaignId),
    holds: (...args) => backend.read('holdsMember', ...args),
    erase: (...args) => backend.write('erase', ...args),
    expire: (...args) => backend.writeLater('expire', ...args),
  };
}

async function* allEntries(backend: Backend, campaignId: string): AsyncGenerator<readonly EntryView[]> {
  const snapshot = await backend.snapshot();
  try {
    for (let seq = 0; ; ) {
      const chunk = await snapshot.read('entriesAfter', campaignId, seq, entriesAChunk);
      const last = chunk.at(-1);
      if (last === undefined) return;
      yield chunk;
      seq = last.seq;
    }
  } finally {
    await snapshot.close();
  }
}

/** Batches are append-only, so pages of them are one state without a snapshot. */
async function* records(
  backend: Backend,
  campaignId: string,
  fromRecordNo: number,
): AsyncGenerator<RecordBatch> {
  let batchNo = await backend.read('batchBefore', campaignId, fromRecordNo);
  for (;;) {
    const chunk = await backend.read('batchesAfter', campaignId, batchNo, batchesAChunk);
    const last = chunk.at(-1);
    if (last === undefined) return;
    yield* chunk;
    batchNo = last.batchNo;
  }
}

function accessOf(backend: Backend): AccessLedger {
  return {
    createApiKey: (...args) => backend.write('createApiKey', ...args),
    listApiKeys: () => backend.read('listApiKeys'),
    rotateApiKey: (...args) => backend.write('rotateApiKey', ...args),
    revokeApiKey: (...args) => backend.write('revokeApiKey', ...args),
    usedApiKey: (keyId) => backend.write('usedApiKey', keyId),
    findApiKey: (keyId) => backend.read('findApiKey', keyId),
    reserveRequest: (...args) => backend.write('reserveRequest', ...args),
    storeResponse: (...args) => backend.write('storeResponse', ...args),
    releaseRequest: (...args) => backend.write('releaseRequest', ...args),
    note: (...args) => backend.write('note', ...args),
  };
}

/**
 * Imports: members and voucher codes, CSV or JSON, 100,000 rows in one request. Rows stream into a staging area nobody reads, in small
 * chunks, each awaited: so memory stays flat, the sender is slowed to what the ledger takes, and entries of other campaigns go between. At the
 * end all rows are switched in at once, or none.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static, type TSchema } from 'typebox';
import { OperationalError } from '../../errors.ts';
import type { Campaign, ImportKind, MemberRow, VoucherRow } from '../../ledger.ts';
import { actorOf } from '../access/guard.ts';
import { codeColumns, memberColumns, type RawRow, readMember, readVoucherCode } from './import-rows.ts';
import { csvRows, jsonRows, maxImportBytes, type SourceRow } from './import-source.ts';
import { describe, type Operation } from './operation.ts';
import { campaignOf, type OperatorDeps } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';

const strict = { additionalProperties: false } as const;
/** Small enough that a chunk does not hold up a batch of entries (the ledger takes up to 1,000). */
const chunkRows = 100;
const shownFaults = 100;
/** Of all campaigns together. One more would only make each slower. */
const maxImportsAtOnce = 4;
const busyMs = 2_000;

const importQuery = Type.Object(
  {
    dryRun: Type.Optional(
      Type.Boolean({
        default: false,
        description:
          'Check only: every row is read and compared with what is there (in the staging area, which nobody reads and which is cleared), and none is imported.',
      }),
    ),
    mode: Type.Optional(
      schemas.oneOf(['append', 'replace'], {
        default: 'append',
        description:
          '`replace` drops what was imported before; refused for voucher codes once the campaign is published.',
      }),
    ),
    onError: Type.Optional(
      schemas.oneOf(['refuse', 'skip'], {
        default: 'refuse',
        description:
          '`refuse`: one bad row and nothing is imported. `skip`: the good rows are, the bad ones are reported.',
      }),
    ),
  },
  strict,
);

const rowFault = Type.Object(
  {
    line: Type.Integer({
      description: 'Line of the CSV (the header is 1), or number of the object in the array.',
    }),
    message: Type.String(),
  },
  strict,
);
const importResult = Type.Object(
  {
    rows: Type.Integer({ description: 'Rows that were imported; with `dryRun`: that would be.' }),
    total: Type.Integer({ description: 'What the campaign has now.' }),
    skipped: Type.Integer({ description: 'Rows with faults.' }),
    faults: Type.Array(rowFault, { maxItems: shownFaults, description: `The first ${shownFaults} of them.` }),
    warnings: Type.Array(Type.String()),
  },
  { ...strict, $id: 'ImportResult' },
);

/** Null means as much as left out, as an empty cell of a CSV does. */
const maybe = <T extends TSchema>(schema: T) => Type.Optional(schemas.nullable(schema));

const memberItem = Type.Object(
  {
    memberId: schemas.memberId,
    email: maybe(Type.String({ maxLength: 254, examples: ['kim@example.com'] })),
    phone: maybe(Type.String({ maxLength: 32, examples: ['+821012345678'] })),
    locale: maybe(schemas.oneOf(['ko', 'en'])),
    lastPurchaseAt: maybe(Type.String({ description: 'RFC 3339, or a date.', examples: ['2026-09-01'] })),
    orders: maybe(Type.Integer({ minimum: 0 })),
    tier: maybe(Type.String({ maxLength: 64 })),
    tags: maybe(
      Type.Array(Type.String({ maxLength: 64 }), { maxItems: 50, description: 'In CSV separated by `;`.' }),
    ),
  },
  strict,
);
const codeItem = Type.Object(
  {
    code: Type.String({ minLength: 1, maxLength: 256, examples: ['GIFT-7K2M-9QPA'] }),
    pin: maybe(Type.String({ maxLength: 64 })),
    url: maybe(Type.String({ maxLength: 2000, description: 'http or https.' })),
    validUntil: maybe(Type.String({ description: 'RFC 3339, or a date.' })),
  },
  strict,
);

type ImportQuery = Static<typeof importQuery>;
interface ImportRoute {
  Params: schemas.CampaignParams;
  Querystring: ImportQuery;
  Body: AsyncIterable<Uint8Array>;
}

/** What differs between the kinds: the columns, and how a chunk of good rows is stored. */
interface Sink {
  readonly kind: ImportKind;
  readonly columns: readonly string[];
  /** Reads a row into the chunk, or says what is wrong with it. */
  take(raw: RawRow, line: number): string | null;
  /** Rows in the chunk. */
  waiting(): number;
  /** Stores the chunk; returns the rows that the ledger refused. */
  flush(importId: string): Promise<readonly RowFault[]>;
  warnings(campaign: Campaign, total: number): readonly string[];
}
interface RowFault {
  readonly line: number;
  readonly message: string;
}
type OpenSink = (deps: OperatorDeps, campaignId: string) => Sink;

/** A scope of its own: here, and only here, a body is a stream. */
export function importRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(['text/csv', 'application/json'], (_request, payload, done) =>
    done(null, payload),
  );
  const running = new Set<string>();
  importRoute(app, deps, running, 'members', membersSink, {
    id: 'importMembers',
    scope: 'members:write',
    summary: 'Import members',
    description: `CSV columns: ${memberColumns.join(', ')}; only memberId is required. Of a member that comes twice the last row counts.`,
    streamedBody: { 'text/csv': Type.String(), 'application/json': Type.Array(memberItem) },
  });
  importRoute(app, deps, running, 'voucher-codes', codesSink, {
    id: 'importVoucherCodes',
    scope: 'campaigns:write',
    summary: 'Import voucher codes',
    description: `CSV columns: ${codeColumns.join(', ')}; only code is required. A code that is there already is a fault of its row.`,
    streamedBody: { 'text/csv': Type.String(), 'application/json': Type.Array(codeItem) },
  });
}

function importRoute(
  app: FastifyInstance,
  deps: OperatorDeps,
  running: Set<string>,
  path: string,
  openSink: OpenSink,
  words: Pick<Operation, 'id' | 'scope' | 'summary' | 'description' | 'streamedBody'>,
): void {
  const operation = describe({
    ...words,
    tag: 'imports',
    params: schemas.campaignParams,
    query: importQuery,
    idempotent: true,
    answers: { 200: Type.Unsafe<Static<typeof importResult>>({ $ref: 'ImportResult#' }) },
    refusals: [409, 422],
  });
  if (!app.getSchema('ImportResult')) app.addSchema(importResult);
  app.post<ImportRoute>(
    `/v1/campaigns/:campaignId/${path}`,
    { ...operation, bodyLimit: maxImportBytes },
    async (request) => {
      const { campaignId } = request.params;
      // Without a length and a type no parser is asked, and the body is nothing at all.
      if (!request.body) throw refusal('import-unreadable', { detail: 'It has no body.' });
      const place = `${campaignId}/${path}`;
      // Two at once into one list would race for whose `replace` holds.
      if (running.has(place)) throw refusal('import-running', { retryAfterMs: busyMs });
      if (running.size >= maxImportsAtOnce)
        throw new OperationalError('LEDGER_BUSY', { retryAfterMs: busyMs });
      running.add(place);
      try {
        return await runImport(deps, request, openSink(deps, campaignId));
      } finally {
        running.delete(place);
      }
    },
  );
}

async function runImport(
  deps: OperatorDeps,
  request: FastifyRequest<ImportRoute>,
  sink: Sink,
): Promise<Static<typeof importResult>> {
  const { campaignId } = request.params;
  const campaign = await campaignOf(deps, campaignId);
  if (Number(request.headers['content-length'] ?? 0) > maxImportBytes) throw refusal('import-too-large');
  const skip = request.query.onError === 'skip';
  const importId = await begin(deps, request, sink.kind);
  try {
    const { stored, faults } = await stage(importId, rowsOf(request, sink.columns), sink);
    if (faults.count > 0 && !skip) {
      throw refusal('import-faulty', {
        detail: `${faults.count} rows.`,
        faults: faults.first.map(({ line, message }) => ({ pointer: `/${line}`, message })),
        members: { rows: faults.first, faultyRows: faults.count },
      });
    }
    if (request.query.dryRun) return await foreseen(deps, campaign, importId, sink, stored, faults);
    const done = await deps.ledger.imports.commit(importId);
    if ('ok' in done)
      throw done.code === 'published'
        ? publishedCodes()
        : refusal('import-running', { retryAfterMs: busyMs });
    const { rows, total } = done;
    deps.campaigns.forget(campaignId);
    const repeated = stored > rows ? [`${stored - rows} rows repeat a member; the last one counts`] : [];
    return {
      rows,
      total,
      skipped: faults.count,
      faults: faults.first,
      warnings: [...repeated, ...sink.warnings(campaign, total)],
    };
  } catch (error) {
    // What is staged is read by nobody; failing to clear it must not hide why.
    await deps.ledger.imports
      .abort(importId)
      .catch((cause: unknown) => request.log.warn({ err: cause }, 'an import was not cleared'));
    throw cutOff(error);
  }
}

/** What was staged is dropped again; the rows were judged as an import judges them. */
async function foreseen(
  deps: OperatorDeps,
  campaign: Campaign,
  importId: string,
  sink: Sink,
  rows: number,
  faults: Faults,
): Promise<Static<typeof importResult>> {
  await deps.ledger.imports.abort(importId);
  const total = sink.kind === 'members' ? campaign.memberCount : campaign.voucherCodeCount;
  const warnings = [...sink.warnings(campaign, total + rows)];
  return { rows, total, skipped: faults.count, faults: faults.first, warnings };
}

async function begin(
  deps: OperatorDeps,
  request: FastifyRequest<ImportRoute>,
  kind: ImportKind,
): Promise<string> {
  const begun = await deps.ledger.imports.begin(
    request.params.campaignId,
    kind,
    request.query.mode ?? 'append',
    actorOf(request),
  );
  if (begun.ok) return begun.value;
  if (begun.code === 'unknown') throw new OperationalError('CAMPAIGN_UNKNOWN');
  if (begun.code === 'closed') throw refusal('campaign-closed');
  throw publishedCodes();
}

const publishedCodes = () =>
  refusal('already-published', { detail: 'Codes can be added now, not replaced.' });

function rowsOf(request: FastifyRequest<ImportRoute>, columns: readonly string[]): AsyncIterable<SourceRow> {
  const csv = request.headers['content-type']?.toLowerCase().startsWith('text/csv');
  return csv ? csvRows(request.body, columns) : jsonRows(request.body);
}

interface Faults {
  count: number;
  readonly first: RowFault[];
}

/** Streams all rows into staging. It goes on after a bad row, so that all faults are told together. */
async function stage(
  importId: string,
  rows: AsyncIterable<SourceRow>,
  sink: Sink,
): Promise<{ stored: number; faults: Faults }> {
  const faults: Faults = { count: 0, first: [] };
  let stored = 0;
  const fault = (line: number, message: string): void => {
    faults.count += 1;
    if (faults.first.length < shownFaults) faults.first.push({ line, message });
  };
  const flush = async (): Promise<void> => {
    const chunk = sink.waiting();
    const refused = await sink.flush(importId);
    stored += chunk - refused.length;
    for (const { line, message } of refused) fault(line, message);
  };
  for await (const row of rows) {
    const message = 'fault' in row ? row.fault : sink.take(row.raw, row.line);
    if (message !== null) fault(row.line, message);
    if (sink.waiting() >= chunkRows) await flush();
  }
  if (sink.waiting() > 0) await flush();
  faults.first.sort((a, b) => a.line - b.line);
  return { stored, faults };
}

function membersSink({ vault, ledger }: OperatorDeps, campaignId: string): Sink {
  let chunk: MemberRow[] = [];
  let unreachable = 0;
  return {
    kind: 'members',
    columns: memberColumns,
    take(raw) {
      const read = readMember(raw);
      if (!read.ok) return read.message;
      const { memberId, contact, attributes } = read.row;
      if (contact === null) unreachable += 1;
      chunk.push({ memberKey: vault.memberKey(campaignId, memberId), contact, attributes });
      return null;
    },
    waiting: () => chunk.length,
    async flush(importId) {
      const rows = chunk;
      chunk = [];
      await ledger.imports.members(importId, rows);
      return [];
    },
    warnings: () => (unreachable > 0 ? [`${unreachable} members have neither email nor phone`] : []),
  };
}

function codesSink({ ledger }: OperatorDeps): Sink {
  let chunk: VoucherRow[] = [];
  return {
    kind: 'voucher-codes',
    columns: codeColumns,
    take(raw, line) {
      const read = readVoucherCode(raw);
      if (!read.ok) return read.message;
      chunk.push({ ...read.row, line });
      return null;
    },
    waiting: () => chunk.length,
    async flush(importId) {
      const rows = chunk;
      chunk = [];
      const refused = await ledger.imports.voucherCodes(importId, rows);
      return refused.map((line) => ({ line, message: 'this code is there already' }));
    },
    warnings: ({ definition }, total) => {
      const missing = definition.stock.capacity - total;
      return missing > 0 ? [`${missing} units have no code yet`] : [];
    },
  };
}

/** The upload ended in the middle: the sender is gone, and nothing was imported. */
function cutOff(error: unknown): unknown {
  const code = (error as { code?: string }).code;
  return code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE'
    ? refusal('import-unreadable', { detail: 'The upload was cut off.' })
    : error;
}

/** Entries and what they answered: lists, the export, the tally of the survey, and the look-up of one member for support. */
import { Readable } from 'node:stream';
import {
  createCrossTab,
  createSurveyTally,
  type CrossTab,
  isCrossTabbable,
  type SurveyDefinition,
  type SurveyResult,
} from '@doorbuster/core';
import type { FastifyInstance, FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import { surveyOf } from '../../campaign/definition.ts';
import type { EntryView } from '../../ledger.ts';
import { actorOf } from '../access/guard.ts';
import { attachment, type Cell, csvFile, csvType, wantsCsv } from './csv-export.ts';
import { describe } from './operation.ts';
import { campaignOf, type OperatorDeps, pageRequestOf, sendPage } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';

const strict = { additionalProperties: false } as const;
const entryVerdict = schemas.oneOf(['won', 'waitlisted']);
const entryStatus = schemas.oneOf(['live', 'promoted', 'revoked']);

const entryView = Type.Object(
  {
    seq: schemas.seq,
    recordNo: Type.Integer(),
    verdict: entryVerdict,
    status: entryStatus,
    unit: schemas.nullable(Type.Integer()),
    at: schemas.instant('Recorded.'),
    answers: schemas.nullable(
      Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Array(Type.String())])),
    ),
    erased: Type.Boolean(),
  },
  { ...strict, $id: 'RecordedEntry' },
);
const entriesQuery = Type.Object(
  { ...schemas.pageQuery, verdict: Type.Optional(entryVerdict), status: Type.Optional(entryStatus) },
  strict,
);
const exportQuery = Type.Object(
  { verdict: Type.Optional(entryVerdict), status: Type.Optional(entryStatus) },
  strict,
);
const resultsQuery = Type.Object(
  {
    cross: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9-]{1,64},[a-z0-9-]{1,64}$',
        description: 'Two question ids: their cross-table too.',
      }),
    ),
  },
  strict,
);
const crossTable = Type.Object(
  {
    rows: Type.Array(Type.String()),
    columns: Type.Array(Type.String()),
    counts: Type.Array(Type.Array(Type.Integer()), { description: 'counts[row][column]' }),
    answered: Type.Integer(),
  },
  { additionalProperties: true },
);
const questionResult = Type.Object(
  {
    question: Type.String(),
    type: Type.String(),
    answered: Type.Integer(),
    choices: Type.Optional(
      Type.Array(
        Type.Object(
          {
            choice: Type.String(),
            count: Type.Integer(),
            share: Type.Number({ description: '0..1 of those who answered.' }),
          },
          strict,
        ),
      ),
    ),
    summary: Type.Optional(
      schemas.nullable(Type.Object({ mean: Type.Number(), min: Type.Number(), max: Type.Number() }, strict)),
    ),
  },
  strict,
);
const surveyResults = Type.Object(
  {
    entries: Type.Integer({ description: 'Entries with answers.' }),
    questions: Type.Array(questionResult),
    cross: Type.Optional(crossTable),
  },
  strict,
);

type Params = { Params: schemas.CampaignParams };
type EntryFilter = Static<typeof exportQuery>;

export function entryRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  if (!app.getSchema('RecordedEntry')) app.addSchema(entryView);
  listRoute(app, deps);
  exportRoute(app, deps);
  resultsRoute(app, deps);
}

const csvOrJson = (json: Parameters<typeof describe>[0]['answers'][number]) => ({
  'application/json': json as never,
  'text/csv': Type.String(),
});

function listRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const entryPage = schemas.pageOf(Type.Unsafe<Static<typeof entryView>>({ $ref: 'RecordedEntry#' }));
  const operation = describe({
    id: 'listEntries',
    tag: 'entries',
    scope: 'entries:read',
    summary: 'List entries in their order',
    description: 'With `Accept: text/csv` the whole list, as `entries/export`.',
    params: schemas.campaignParams,
    query: entriesQuery,
    answers: { 200: csvOrJson(entryPage) },
  });
  app.get<Params & { Querystring: Static<typeof entriesQuery> }>(
    '/v1/campaigns/:campaignId/entries',
    operation,
    async (request, reply) => {
      const { campaignId } = request.params;
      const { verdict, status } = request.query;
      const filter = { ...(verdict && { verdict }), ...(status && { status }) };
      if (wantsCsv(request.headers.accept)) return exportEntries(deps, request, reply, filter);
      await campaignOf(deps, campaignId);
      const page = await deps.ledger.evidence.entries(campaignId, filter, pageRequestOf(request.query));
      return sendPage(request, reply, { items: page.items.map(viewOf), next: page.next });
    },
  );
}

function viewOf({ seq, recordNo, verdict, status, unit, at, answers, erased }: EntryView) {
  return { seq, recordNo, verdict, status, unit, at: schemas.timeOf(at), answers, erased };
}

function exportRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'exportEntries',
    tag: 'entries',
    scope: 'entries:read',
    summary: 'Export all entries with their answers as CSV',
    description:
      'UTF-8 with BOM, streamed from one snapshot. A cell that a spreadsheet would run as a formula starts with an apostrophe. Erased answers are empty. Exporting is noted in the audit records.',
    params: schemas.campaignParams,
    query: exportQuery,
    answers: { 200: { 'text/csv': Type.String() } },
  });
  app.get<Params & { Querystring: EntryFilter }>(
    '/v1/campaigns/:campaignId/entries/export',
    operation,
    async (request, reply) => exportEntries(deps, request, reply, request.query),
  );
}

async function exportEntries(
  deps: OperatorDeps,
  request: Parameters<typeof actorOf>[0] & { params: schemas.CampaignParams },
  reply: FastifyReply,
  filter: EntryFilter,
): Promise<FastifyReply> {
  const { id, definition } = await campaignOf(deps, request.params.campaignId);
  await deps.ledger.access.note(actorOf(request), 'entries.exported', id, { ...filter });
  const questions = surveyOf(definition)?.questions.map((question) => question.id) ?? [];
  const header = ['seq', 'recordNo', 'verdict', 'status', 'unit', 'recordedAt', ...questions];
  const file = csvFile(header, entryCells(deps.ledger.evidence.allEntries(id), questions, filter));
  return sendCsv(reply, `${id}-entries.csv`, file);
}

function sendCsv(reply: FastifyReply, name: string, file: AsyncIterable<string>): FastifyReply {
  reply.type(csvType).header('content-disposition', attachment(name)).header('cache-control', 'no-store');
  return reply.send(Readable.from(file));
}

async function* entryCells(
  chunks: AsyncIterable<readonly EntryView[]>,
  questions: readonly string[],
  { verdict, status }: EntryFilter,
): AsyncGenerator<readonly (readonly Cell[])[]> {
  for await (const chunk of chunks) {
    yield chunk
      .filter(
        (entry) =>
          (verdict === undefined || entry.verdict === verdict) &&
          (status === undefined || entry.status === status),
      )
      .map((entry) => [...fixedCells(entry), ...questions.map((question) => answerCell(entry, question))]);
  }
}

function fixedCells({ seq, recordNo, verdict, status, unit, at }: EntryView): readonly Cell[] {
  return [seq, recordNo, verdict, status, unit, schemas.timeOf(at)];
}

function answerCell({ answers }: EntryView, question: string): Cell {
  const answer = answers && Object.hasOwn(answers, question) ? answers[question] : undefined;
  if (answer === undefined) return null;
  return typeof answer === 'object' ? answer.join(';') : answer;
}

function resultsRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'getSurveyResults',
    tag: 'entries',
    scope: 'entries:read',
    summary: 'Count the answers, per question',
    description:
      'Counts, shares, mean and range; with `cross` the cross-table of two questions. Also as CSV (`Accept: text/csv`).',
    params: schemas.campaignParams,
    query: resultsQuery,
    answers: { 200: csvOrJson(surveyResults) },
  });
  app.get<Params & { Querystring: Static<typeof resultsQuery> }>(
    '/v1/campaigns/:campaignId/survey-results',
    operation,
    async (request, reply) => {
      const { id, definition } = await campaignOf(deps, request.params.campaignId);
      const survey = surveyOf(definition) ?? { questions: [] };
      const tally = createSurveyTally(survey);
      const cross = crossOf(survey, request.query.cross);
      for await (const chunk of deps.ledger.evidence.allEntries(id)) {
        for (const { answers } of chunk) {
          if (answers === null) continue;
          tally.add(answers);
          cross?.add(answers);
        }
      }
      const results = { ...tally.result(), ...(cross && { cross: cross.result() }) };
      if (!wantsCsv(request.headers.accept)) return results;
      return sendCsv(reply, `${id}-survey-results.csv`, resultsFile(results, cross !== null));
    },
  );
}

function crossOf(survey: SurveyDefinition, asked: string | undefined): CrossTab | null {
  if (asked === undefined) return null;
  const [row = '', column = ''] = asked.split(',');
  if (row === column || !isCrossTabbable(survey, row) || !isCrossTabbable(survey, column))
    throw refusal('cross-unknown');
  return createCrossTab(survey, row, column);
}

type Results = SurveyResult & { readonly cross?: ReturnType<CrossTab['result']> };

/** One line a choice; with `cross` the cross-table instead, as it stands on paper. */
function resultsFile(results: Results, crossed: boolean): AsyncIterable<string> {
  if (crossed && results.cross) {
    const { rows, columns, counts } = results.cross;
    return csvFile(['', ...columns], once(rows.map((row, index) => [row, ...(counts[index] ?? [])])));
  }
  return csvFile(
    ['question', 'type', 'answered', 'choice', 'count', 'share', 'mean', 'min', 'max'],
    once(results.questions.flatMap(questionLines)),
  );
}

function questionLines(question: SurveyResult['questions'][number]): readonly (readonly Cell[])[] {
  const start: readonly Cell[] = [question.question, question.type, question.answered];
  const choices = 'choices' in question ? question.choices : [];
  const summary = 'summary' in question ? question.summary : null;
  const lines = choices.map(({ choice, count, share }): readonly Cell[] => [
    ...start,
    choice,
    count,
    share,
    null,
    null,
    null,
  ]);
  if (summary !== null)
    return [...lines, [...start, null, null, null, summary.mean, summary.min, summary.max]];
  return lines.length > 0 ? lines : [[...start, null, null, null, null, null, null]];
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield value;
}

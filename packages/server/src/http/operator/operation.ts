/**
 * One operation of the operator's API, described once: what validates a request and what the OpenAPI document shows are made from the same
 * value, so neither can be forgotten. Handlers stay beside it in the file of their resource.
 */
import type { FastifyContextConfig, FastifySchema } from 'fastify';
import Type, { type TSchema } from 'typebox';
import type { Scope } from '../access/scopes.ts';

export const tags = {
  campaigns: 'Create, change, publish, pause and close campaigns.',
  imports: 'Members and voucher codes, 100,000 rows in a request.',
  entries: 'Who is in, what they answered.',
  deliveries: 'Vouchers on their way; retry, resend, replace, revoke.',
  members: 'Look up, ban, erase. Member ids travel in bodies, never in URLs.',
  evidence: 'Records of the chain, audit records, reconciliation.',
  'api-keys': 'Keys of the operator and their scopes.',
} as const;
export type Tag = keyof typeof tags;

export interface Operation {
  /** camelCase verb and noun; the name of the method in generated clients. */
  readonly id: string;
  readonly tag: Tag;
  readonly scope: Scope;
  readonly summary: string;
  readonly description?: string;
  readonly params?: TSchema;
  readonly query?: TSchema;
  readonly body?: TSchema;
  /** Content types of a body that the handler reads as a stream; documented, and checked row by row by the handler. */
  readonly streamedBody?: Readonly<Record<string, TSchema>>;
  readonly ifMatch?: 'required' | 'optional';
  /** A POST that changes something takes an Idempotency-Key. */
  readonly idempotent?: boolean;
  /** Successful answers: a schema (JSON), other content types, or null for no body. */
  readonly answers: Readonly<Record<number, TSchema | Readonly<Record<string, TSchema>> | null>>;
  /** Refusals beyond those that every route has (400, 401, 403, 429, 503; 413 and 415 wherever a body may come). */
  readonly refusals?: readonly number[];
  readonly storedBody?: (body: string) => string;
}

const refusalMeaning: Readonly<Record<number, string>> = {
  400: 'The request is not valid.',
  401: 'A valid API key is needed.',
  403: 'The API key lacks the scope.',
  404: 'There is nothing of this id.',
  409: 'The state does not allow this; `reason` says why.',
  412: 'The campaign was changed since it was read.',
  413: 'The body is too large.',
  415: 'The body has a type that is not read here.',
  422: 'The content breaks a rule (`faults`, `findings` or `rows` say which), or the Idempotency-Key came with another request.',
  428: 'An If-Match header is needed.',
  429: 'Too many requests; see Retry-After.',
  503: 'Not now; nothing was changed. See Retry-After.',
};

const answerMeaning: Readonly<Record<number, string>> = {
  200: 'Done.',
  201: 'Created.',
  202: 'Accepted; it goes on by itself.',
  204: 'Done; nothing to say.',
};

const problemContent = { 'application/problem+json': { schema: { $ref: 'Problem#' } } };

/** Schema and configuration of the route. */
export function describe(operation: Operation): { schema: FastifySchema; config: FastifyContextConfig } {
  const { params, query, body } = operation;
  const headers = headersOf(operation);
  return {
    schema: {
      operationId: operation.id,
      tags: [operation.tag],
      summary: operation.summary,
      description: `${operation.description ?? ''}\n\nScope: \`${operation.scope}\`.`.trim(),
      security: [{ apiKey: [] }],
      ...(params && { params }),
      ...(query && { querystring: query }),
      ...(body && { body }),
      ...(headers && { headers }),
      response: { ...answersOf(operation), ...refusalsOf(operation) },
    },
    config: {
      scope: operation.scope,
      ...(operation.streamedBody && { streamed: true, documentedBody: operation.streamedBody }),
      ...(operation.storedBody && { storedBody: operation.storedBody }),
    },
  };
}

function headersOf({ ifMatch, idempotent }: Operation): TSchema | null {
  const fields: Record<string, TSchema> = {};
  // Not `required` for ajv: its absence is answered 428, not 400.
  if (ifMatch)
    fields['if-match'] = Type.Optional(
      Type.String({
        description: `ETag of the campaign as you read it${ifMatch === 'required' ? '; without it: 428' : ''}.`,
        examples: ['"3"'],
      }),
    );
  if (idempotent)
    fields['idempotency-key'] = Type.Optional(
      Type.String({
        // An empty one is answered by name; what a header cannot hold never arrives.
        pattern: '^[\\x21-\\x7e]{1,257}$',
        description:
          'A repeat with the same key is answered with the first answer (draft-ietf-httpapi-idempotency-key-header).',
        examples: ['8e03978e-40d5-43dd-bc93-6894a57f9324'],
      }),
    );
  return Object.keys(fields).length > 0 ? Type.Object(fields) : null;
}

function answersOf({ answers }: Operation): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => {
      const description = answerMeaning[Number(status)] ?? 'Done.';
      if (answer === null) return [status, { description, type: 'null' }];
      return [status, { description, content: contentOf(answer) }];
    }),
  );
}

function contentOf(answer: TSchema | Readonly<Record<string, TSchema>>): Record<string, { schema: TSchema }> {
  const types = Object.entries(answer).filter(([type]) => type.includes('/'));
  if (types.length === 0) return { 'application/json': { schema: answer as TSchema } };
  return Object.fromEntries(types.map(([type, schema]) => [type, { schema: schema as TSchema }]));
}

function refusalsOf(operation: Operation): Record<string, unknown> {
  const { refusals = [], params, idempotent } = operation;
  const statuses = new Set([400, 401, 403, 429, 503, ...refusals]);
  // A key whose first request is still under way, and a key that came with another request.
  if (idempotent) [409, 422].forEach((status) => statuses.add(status));
  if (params) statuses.add(404);
  return Object.fromEntries(
    [...statuses]
      .sort((a, b) => a - b)
      .map((status) => [
        status,
        { description: refusalMeaning[status] ?? 'Refused.', content: problemContent },
      ]),
  );
}

/**
 * Why the operator's API says no, finer than a problem type: `reason` is stable and for programs, `detail` for people. The problem types
 * themselves (status, title) are in `http/problem.ts`. The reference of the errors is generated from this table.
 */
import type { Fault } from '../../errors.ts';
import { HttpProblem, type ProblemSlug } from '../problem.ts';

export const refusalTable = {
  'api-key-missing': {
    slug: 'api-key-needed',
    detail: 'No API key was sent.',
    remedy: 'Send `Authorization: Bearer dbk_...`.',
  },
  'api-key-wrong': {
    slug: 'api-key-needed',
    detail: 'The API key is malformed, unknown, expired or revoked.',
    remedy: 'Check that it is whole; else create another.',
  },
  'scope-missing': {
    slug: 'scope-missing',
    detail: 'The API key lacks the scope named in `scope`.',
    remedy: 'Use a key that has it.',
  },
  'scope-not-held': {
    slug: 'scope-missing',
    detail: 'A key can only give scopes that it has itself.',
    remedy: 'Ask for fewer scopes, or use a key that has them.',
  },
  'unknown-id': {
    slug: 'not-found',
    detail: 'There is nothing of this id here.',
    remedy: 'List what there is; check the id.',
  },
  'member-unknown': {
    slug: 'not-found',
    detail: 'This campaign knows nothing of the member.',
    remedy: 'Check the member id.',
  },
  'seq-unknown': {
    slug: 'not-found',
    detail: 'The campaign has no entry of this seq.',
    remedy: 'List the entries; check the seq.',
  },
  'cross-unknown': {
    slug: 'request-invalid',
    detail: '`cross` names two questions of the survey that have countable answers.',
    remedy: 'Use two question ids, separated by a comma.',
  },
  'id-taken': {
    slug: 'state-conflict',
    detail: 'Another campaign has this id.',
    remedy: 'Choose another id, or leave it out to be given one.',
  },
  'fields-frozen': {
    slug: 'state-conflict',
    detail: 'The fields in `frozen` cannot change once the campaign is published.',
    remedy: 'Leave them out, or copy the campaign.',
  },
  'campaign-closed': {
    slug: 'state-conflict',
    detail: 'The campaign is closed.',
    remedy: 'Copy it to run it again.',
  },
  'already-published': {
    slug: 'state-conflict',
    detail: 'The campaign is already published.',
    remedy: 'Nothing is left to do; for another run copy it.',
  },
  'not-published': {
    slug: 'state-conflict',
    detail: 'The campaign is not published yet.',
    remedy: 'Publish it first.',
  },
  'lane-rejected': {
    slug: 'state-conflict',
    detail: 'The campaign cannot do this now; nothing was changed.',
    remedy: '`rejection` says what stands against it.',
  },
  'codes-missing': {
    slug: 'state-conflict',
    detail: 'There are fewer voucher codes than units; nothing was changed.',
    remedy: 'Import the missing codes first.',
  },
  'version-changed': {
    slug: 'precondition-failed',
    detail: 'The campaign was changed since you read it; nothing was changed now.',
    remedy: 'Read it again and send its new ETag in If-Match.',
  },
  'version-missing': {
    slug: 'precondition-required',
    detail: 'A change needs If-Match with the ETag of what you read.',
    remedy: 'Read the campaign and send its ETag in If-Match.',
  },
  'preflight-failed': {
    slug: 'not-valid',
    detail: 'The campaign is not ready to be published.',
    remedy: 'Mend every finding of level `error`.',
  },
  'import-faulty': {
    slug: 'not-valid',
    detail: 'Rows have faults; nothing was imported.',
    remedy: 'Mend the lines in `rows`, or load the good ones with `?onError=skip`.',
  },
  'import-unreadable': {
    slug: 'not-valid',
    detail: 'The file cannot be read; nothing was imported.',
    remedy: 'Send UTF-8 CSV with a header line, or a JSON array of objects.',
  },
  'import-too-large': {
    slug: 'body-too-large',
    detail: 'An import has at most 64 MiB; nothing was imported.',
    remedy: 'Split it into several imports.',
  },
  'import-running': {
    slug: 'request-in-progress',
    detail: 'Another import into this list is under way; nothing was imported.',
    remedy: 'Retry after the given time.',
  },
  'key-in-progress': {
    slug: 'request-in-progress',
    detail: 'A request with this Idempotency-Key is still under way.',
    remedy: 'Retry after the given time with the same key.',
  },
  'key-reused': {
    slug: 'idempotency-mismatch',
    detail: 'This Idempotency-Key came with another request before.',
    remedy: 'Use a fresh key for a different request.',
  },
  'key-malformed': {
    slug: 'request-invalid',
    detail: 'An Idempotency-Key has 1 to 255 visible characters.',
    remedy: 'Use a UUID.',
  },
} as const satisfies Record<string, { slug: ProblemSlug; detail: string; remedy: string }>;

export type RefusalReason = keyof typeof refusalTable;

export interface RefusalOptions {
  /** Said after the table's own sentence. */
  readonly detail?: string | undefined;
  readonly faults?: readonly Fault[];
  readonly members?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number;
}

/** The problem to throw. */
export function refusal(reason: RefusalReason, options: RefusalOptions = {}): HttpProblem {
  const { slug, detail, remedy } = refusalTable[reason];
  const { members, detail: more, ...rest } = options;
  return new HttpProblem(slug, {
    ...rest,
    detail: more ? `${detail} ${more}` : detail,
    members: { reason, remedy, ...members },
  });
}

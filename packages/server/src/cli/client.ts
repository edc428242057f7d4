/**
 * The CLI's way to a running server: its HTTP API. On the server's own machine nothing needs to be given: `serve` leaves its address in `server.json`
 * and an operator key in `operator-key` (mode 0600) of the data directory. Elsewhere --url and --api-key, or DOORBUSTER_URL and DOORBUSTER_API_KEY.
 */
import { readFileSync } from 'node:fs';
import { catalogue, type ErrorCode, type Fault } from '../errors.ts';
import { operatorKeyPath, serverInfoPath } from '../paths.ts';
import { CliError, type CliFault, type ExitCode, exitCodes } from './failure.ts';

export interface ClientOptions {
  readonly url?: string | undefined;
  readonly apiKey?: string | undefined;
  readonly dataDir: string;
  readonly env: NodeJS.ProcessEnv;
}
export interface CallOptions {
  readonly body?: unknown;
  /** Sent as it is, with this content type. */
  readonly raw?: { readonly contentType: string; readonly content: ReadableStream<Uint8Array> | Uint8Array };
  readonly accept?: string;
  readonly ifMatch?: string;
}
export interface Reply {
  readonly status: number;
  readonly etag: string | null;
  readonly location: string | null;
  readonly json: Record<string, unknown>;
}

export interface ApiClient {
  readonly url: string;
  /** Throws CliError with the problem's title, detail and faults on any answer but 2xx. */
  call(method: string, path: string, options?: CallOptions): Promise<Reply>;
  /** The body as a stream, for exports. */
  stream(path: string, accept: string): Promise<ReadableStream<Uint8Array>>;
  /** Follows the cursor through all pages of a list. */
  all(path: string): AsyncIterable<Record<string, unknown>>;
}

export function createClient(options: ClientOptions): ApiClient {
  const url = (options.url ?? options.env.DOORBUSTER_URL ?? savedUrl(options.dataDir)).replace(/\/$/, '');
  const apiKey = options.apiKey ?? options.env.DOORBUSTER_API_KEY ?? savedKey(options.dataDir);
  const send = async (method: string, path: string, o: CallOptions): Promise<Response> => {
    const headers: Record<string, string> = {
      accept: o.accept ?? 'application/json',
      authorization: `Bearer ${apiKey}`,
    };
    if (o.ifMatch) headers['if-match'] = o.ifMatch;
    if (o.raw) headers['content-type'] = o.raw.contentType;
    else if (o.body !== undefined) headers['content-type'] = 'application/json';
    const body = o.raw ? o.raw.content : o.body === undefined ? undefined : JSON.stringify(o.body);
    try {
      return await fetch(url + path, {
        method,
        headers,
        ...(body === undefined ? {} : { body: body as never, duplex: 'half' }),
      } as RequestInit);
    } catch (cause) {
      throw unreachable(url, cause);
    }
  };
  const call: ApiClient['call'] = async (method, path, o = {}) => {
    const response = await send(method, path, o);
    const text = await response.text();
    if (!response.ok) throw problemError(response.status, text, path);
    const json = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    return {
      status: response.status,
      etag: response.headers.get('etag'),
      location: response.headers.get('location'),
      json,
    };
  };
  return {
    url,
    call,
    async stream(path, accept) {
      const response = await send('GET', path, { accept });
      if (!response.ok || !response.body) throw problemError(response.status, await response.text(), path);
      return response.body;
    },
    async *all(path) {
      let after: string | null = '';
      while (after !== null) {
        const separator = path.includes('?') ? '&' : '?';
        const page: Reply = await call(
          'GET',
          `${path}${separator}limit=200${after ? `&after=${encodeURIComponent(after)}` : ''}`,
        );
        yield* (page.json.items ?? []) as Record<string, unknown>[];
        after = (page.json.next as string | null | undefined) ?? null;
      }
    },
  };
}

/** A server whose certificate nobody here knows does answer: starting it again would not help. */
function unreachable(url: string, cause: unknown): CliError {
  const code = String(((cause as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? '');
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(code))
    return new CliError(
      exitCodes.unreachable,
      `The certificate of ${url} is not trusted here (${code}).`,
      'Name the server with --url as its certificate does, and give the root of a private one by NODE_EXTRA_CA_CERTS=root.pem.',
      { cause },
    );
  return new CliError(
    exitCodes.unreachable,
    `No server answers at ${url}.`,
    'Start it with `doorbuster serve`, or name another with --url.',
    { cause },
  );
}

interface ToldProblem {
  readonly title?: string;
  readonly detail?: string;
  readonly code?: string;
  readonly remedy?: string;
  readonly faults?: readonly Fault[];
  readonly findings?: readonly Finding[];
  /** Faulty lines of an import. */
  readonly rows?: readonly { readonly line: number; readonly message: string }[];
  readonly requestId?: string;
}

/** What the pre-flight found. */
export interface Finding {
  readonly level: string;
  readonly pointer?: string;
  readonly message: string;
  readonly remedy?: string;
}

export function faultOfFinding({ level, pointer, message, remedy }: Finding): CliFault {
  return { level, pointer: pointer ?? '', message: remedy ? `${message} ${remedy}` : message };
}

function problemError(status: number, text: string, path: string): CliError {
  let problem: ToldProblem;
  try {
    problem = JSON.parse(text) as ToldProblem;
  } catch {
    problem = { detail: text.slice(0, 200) };
  }
  const faults =
    problem.rows?.map(({ line, message }) => ({ pointer: `line ${line}`, message })) ??
    problem.faults ??
    (problem.findings ?? []).map(faultOfFinding);
  return new CliError(
    exitFor(status),
    `${toldIn(problem, status, path)}${problem.requestId ? ` (request ${problem.requestId})` : ''}`,
    remedyOf(problem, status),
    { faults, ...(problem.code === undefined ? {} : { code: problem.code }) },
  );
}

function toldIn({ title, detail, code }: ToldProblem, status: number, path: string): string {
  const id = /^\/v1\/campaigns\/([^/?]+)/.exec(path)?.[1];
  if (code === 'CAMPAIGN_UNKNOWN' && id !== undefined)
    return `There is no campaign of the id "${decodeURIComponent(id)}".`;
  const what = title ?? `The server answered ${status}.`;
  return detail && detail !== what ? `${what} ${detail}` : what;
}

function remedyOf({ rows, remedy, findings, code = '' }: ToldProblem, status: number): string {
  if (rows) return 'Mend these lines, or load the good ones with --skip-faulty.';
  if (remedy) return remedy;
  if (status === 401 || status === 403) return 'Check the API key (--api-key) and its scopes.';
  if (findings) return 'Mend what is an error, then publish again.';
  if (Object.hasOwn(catalogue, code)) return catalogue[code as ErrorCode].remedy;
  return status >= 500
    ? 'Try again; if it stays, see the log of the server.'
    : 'Mend the request and try again.';
}

function exitFor(status: number): ExitCode {
  if (status === 400 || status === 415 || status === 422) return exitCodes.usage;
  if (status === 401 || status === 403) return exitCodes.configuration;
  if (status === 429 || status === 503) return exitCodes.unreachable;
  return exitCodes.failed;
}

function savedUrl(dataDir: string): string {
  try {
    return String((JSON.parse(readFileSync(serverInfoPath(dataDir), 'utf8')) as { url: string }).url);
  } catch {
    return 'http://127.0.0.1:8080';
  }
}

function savedKey(dataDir: string): string {
  try {
    return readFileSync(operatorKeyPath(dataDir), 'utf8').trim();
  } catch (cause) {
    throw new CliError(
      exitCodes.configuration,
      `There is no API key: ${operatorKeyPath(dataDir)} cannot be read.`,
      'Name the data directory of the server with --data, or give --api-key (DOORBUSTER_API_KEY).',
      { cause },
    );
  }
}

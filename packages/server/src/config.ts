/**
 * Configuration: one schema with type, default, unit, bounds and consequence of each field. Sources, later wins: the defaults here, a YAML
 * file, the environment (`DOORBUSTER_` + the path in capitals, `DOORBUSTER_LIMITS_ADDRESS_PER_SECOND`), flags of the CLI. Unknown keys and bad values are
 * refused, all faults together. The result is frozen and passed by argument; nothing is read at import.
 *
 * Secrets (passwords, bearer tokens) may be written `env:NAME` or `file:PATH`, so that the file itself holds none.
 */
import { readFileSync } from 'node:fs';
import AjvModule from 'ajv';
import addFormatsModule from 'ajv-formats';
import Type, { type Static, type TSchema } from 'typebox';
import { parse as parseYaml } from 'yaml';
import { longestRunMs } from './fulfilment/longest-run.ts';
import { type Fault, OperationalError } from './errors.ts';

const strict = { additionalProperties: false } as const;
const name = '^[a-z0-9][a-z0-9-]{0,63}$';
const secret = (description: string) =>
  Type.String({ minLength: 1, description: `${description} Secret: may be \`env:NAME\` or \`file:PATH\`.` });

const outbound = {
  timeoutMs: Type.Integer({
    default: 5_000,
    minimum: 100,
    maximum: 60_000,
    description: 'How long one call may take (ms); then its outcome is unknown.',
  }),
  ratePerSecond: Type.Number({
    default: 50,
    exclusiveMinimum: 0,
    maximum: 10_000,
    description: 'Calls per second at most; further ones wait.',
  }),
  concurrency: Type.Integer({
    default: 8,
    minimum: 1,
    maximum: 256,
    description: 'Calls under way at once at most; a slow provider holds up only itself.',
  }),
};

const fileMessenger = Type.Object(
  {
    type: Type.Literal('file'),
    path: Type.String({
      default: 'messages.ndjson',
      description:
        'File, relative to the data directory. For development: it holds voucher codes in the clear.',
    }),
  },
  { ...strict },
);
const smtpMessenger = Type.Object(
  {
    type: Type.Literal('smtp'),
    host: Type.String({ minLength: 1, description: 'The mail server.' }),
    port: Type.Integer({
      default: 587,
      minimum: 1,
      maximum: 65_535,
      description: 'Its port: 587 with STARTTLS, 465 with `secure`.',
    }),
    secure: Type.Boolean({
      default: false,
      description: 'TLS from the first byte (port 465). Otherwise STARTTLS is used when offered.',
    }),
    requireTls: Type.Boolean({
      default: true,
      description: 'Refuse to send without TLS. Only switch off for a server on this machine.',
    }),
    user: Type.Optional(Type.String({ minLength: 1, description: 'Who logs in; left out, nobody does.' })),
    password: Type.Optional(secret('Password of the user.')),
    from: Type.String({ minLength: 3, description: 'Sender, for example `Shop <event@shop.example>`.' }),
    ...outbound,
  },
  { ...strict },
);
const webhookMessenger = Type.Object(
  {
    type: Type.Literal('webhook'),
    url: Type.String({ format: 'uri', description: 'Receives each message as a Standard Webhook.' }),
    secret: secret('Signing secret, `whsec_` + base64.'),
    allowPrivateAddress: Type.Boolean({
      default: false,
      description: 'Allow an address of a private network or of this machine.',
    }),
    ...outbound,
  },
  { ...strict },
);
const remoteSource = (type: 'http-idempotent' | 'http-queryable') =>
  Type.Object(
    {
      type: Type.Literal(type),
      url: Type.String({ format: 'uri', description: 'Base address of the provider.' }),
      bearer: Type.Optional(secret('Bearer token for the provider.')),
      longestFlightMs: Type.Integer({
        default: 60_000,
        minimum: 1,
        maximum: 3_600_000,
        description: 'After this long an unanswered request can no longer take effect (ms).',
      }),
      ...outbound,
    },
    { ...strict },
  );

export const configSchema = Type.Object(
  {
    dataDir: Type.String({
      default: './data',
      description: 'Directory of ledger, bus and secrets. One process at a time; a local disk.',
    }),
    secretsFile: Type.Optional(
      Type.String({
        description:
          'Secrets file; default `secrets.json` in the data directory. Losing it makes sealed data unreadable and receipts unverifiable.',
      }),
    ),
    host: Type.String({
      default: '127.0.0.1',
      description:
        'Address to listen on. Anything but loopback needs TLS, a trusted proxy or `insecureHttp`.',
    }),
    port: Type.Integer({
      default: 8080,
      minimum: 0,
      maximum: 65_535,
      description: 'Port to listen on; 0 lets the system choose.',
    }),
    publicUrl: Type.Optional(
      Type.String({
        format: 'uri',
        description: 'Address that members use, for links; default the listening address.',
      }),
    ),
    insecureHttp: Type.Boolean({
      default: false,
      description: 'Allow plain HTTP on an address that is not loopback.',
    }),
    allowVolatile: Type.Boolean({
      default: false,
      description: 'Allow a data directory on a memory file system: a power cut loses everything.',
    }),
    trustProxy: Type.Union([Type.Boolean(), Type.Array(Type.String())], {
      default: false,
      description: 'Proxies whose X-Forwarded-For is believed (addresses or networks), or false.',
    }),
    tls: Type.Optional(
      Type.Object(
        {
          certFile: Type.String({
            minLength: 1,
            description: 'Serve HTTPS with this certificate and those that lead to its root (PEM).',
          }),
          keyFile: Type.String({
            minLength: 1,
            description:
              'The key of the certificate (PEM). Refused when everybody on the machine can read it.',
          }),
        },
        { ...strict, description: 'Serve HTTPS with this certificate and key (PEM).' },
      ),
    ),
    allowedOrigins: Type.Array(Type.String({ pattern: '^https?://[^/]+$' }), {
      default: [],
      description:
        "The shop's origins: CORS, form hand-off and return addresses. The server's own origin is always allowed.",
    }),
    logLevel: Type.Union(
      [
        Type.Literal('silent'),
        Type.Literal('error'),
        Type.Literal('warn'),
        Type.Literal('info'),
        Type.Literal('debug'),
      ],
      { default: 'info', description: 'How much goes to stderr.' },
    ),
    tokens: Type.Object(
      {
        sharedSecret: Type.Optional(
          secret("HS256 secret shared with the shop, at least 32 bytes. Default: the secrets file's own."),
        ),
        jwksFile: Type.Optional(
          Type.String({
            description: "File with the shop's public keys as a JWK set (RS256, ES256, EdDSA).",
          }),
        ),
        algorithms: Type.Array(
          Type.Union([
            Type.Literal('HS256'),
            Type.Literal('RS256'),
            Type.Literal('ES256'),
            Type.Literal('EdDSA'),
          ]),
          { default: ['HS256'], minItems: 1, description: 'Algorithms accepted, and no others.' },
        ),
        issuer: Type.Optional(Type.String({ description: 'Required `iss` of a token.' })),
        audience: Type.String({ default: 'doorbuster', description: 'Required `aud` of a token.' }),
        maxAgeMinutes: Type.Integer({
          default: 60,
          minimum: 1,
          maximum: 1440,
          description: 'Tokens whose `iat` is older are refused (minutes).',
        }),
        clockToleranceSeconds: Type.Integer({
          default: 10,
          minimum: 0,
          maximum: 300,
          description: 'Tolerance for `exp`, `nbf` and `iat` (s).',
        }),
      },
      { ...strict, default: {}, description: "How the shop's member tokens are checked." },
    ),
    sessionMinutes: Type.Integer({
      default: 720,
      minimum: 5,
      maximum: 10_080,
      description: "How long a member's session lasts (minutes).",
    }),
    limits: Type.Object(
      {
        addressPerSecond: Type.Number({
          default: 200,
          exclusiveMinimum: 0,
          description:
            'Requests per second of one address. Mobile networks put many members behind one address.',
        }),
        addressBurst: Type.Integer({
          default: 2_000,
          minimum: 1,
          description: 'Requests of one address at once.',
        }),
        addressStreams: Type.Integer({
          default: 500,
          minimum: 1,
          description:
            'Event streams of one address at once, of 5,000 in all; more are answered 503 with Retry-After, and the member page polls instead.',
        }),
        memberPerSecond: Type.Number({
          default: 5,
          exclusiveMinimum: 0,
          description: 'Entry requests per second of one member.',
        }),
        memberBurst: Type.Integer({
          default: 20,
          minimum: 1,
          description: 'Entry requests of one member at once.',
        }),
        waitingEntries: Type.Integer({
          default: 20_000,
          minimum: 1,
          description: 'Entries waiting per campaign; more are answered 503 with Retry-After.',
        }),
        tokenChecks: Type.Integer({
          default: 2_000,
          minimum: 1,
          description: 'Token checks waiting at the hand-off; more are answered 503 with Retry-After.',
        }),
        connections: Type.Integer({ default: 20_000, minimum: 1, description: 'Open connections.' }),
      },
      { ...strict, default: {}, description: 'What sheds the crowd. A limit may refuse, it never grants.' },
    ),
    delivery: Type.Object(
      {
        workers: Type.Integer({
          default: 16,
          minimum: 1,
          maximum: 256,
          description: 'Deliveries under way at once.',
        }),
        leaseMs: Type.Integer({
          default: 60_000,
          minimum: 1_000,
          maximum: 600_000,
          description:
            'A claim that is older may be taken over (ms). Longer than the slowest voucher source and messenger may take together.',
        }),
        maxAttempts: Type.Integer({
          default: 12,
          minimum: 1,
          maximum: 100,
          description:
            'Failed calls to one provider for a delivery; then the next messenger, or parked for a person.',
        }),
        firstRetryMs: Type.Integer({
          default: 1_000,
          minimum: 10,
          description: 'First delay between attempts (ms); doubles, with jitter.',
        }),
        maxRetryMs: Type.Integer({
          default: 600_000,
          minimum: 10,
          description: 'Longest delay between attempts (ms).',
        }),
        reconcileEveryMs: Type.Integer({
          default: 60_000,
          minimum: 1_000,
          description: 'How often the reconciliation job runs (ms).',
        }),
      },
      { ...strict, default: {}, description: 'The fulfilment workers.' },
    ),
    messengers: Type.Record(
      Type.String({ pattern: name }),
      Type.Union([fileMessenger, smtpMessenger, webhookMessenger]),
      {
        default: { file: { type: 'file', path: 'messages.ndjson' } },
        description: 'What carries vouchers to members, by name.',
      },
    ),
    voucherSources: Type.Record(
      Type.String({ pattern: name }),
      Type.Union([remoteSource('http-idempotent'), remoteSource('http-queryable')]),
      {
        default: {},
        description: 'Remote voucher sources, by name. `pool`, the imported codes, is always there.',
      },
    ),
    retentionDays: Type.Integer({
      default: 180,
      minimum: 1,
      maximum: 3_650,
      description: 'Personal data of a campaign is erased this long after it closed (days).',
    }),
    verifyEveryMinutes: Type.Integer({
      default: 60,
      minimum: 0,
      description: 'How often the running server verifies its own ledger (minutes); 0 never.',
    }),
    drainMs: Type.Integer({
      default: 20_000,
      minimum: 0,
      maximum: 300_000,
      description: 'How long a stopping process waits for what is under way (ms).',
    }),
  },
  { ...strict, $id: 'Configuration' },
);

export type Config = Readonly<Static<typeof configSchema>>;

const Ajv = AjvModule.default;
const addFormats = addFormatsModule.default;

export interface ConfigSources {
  /** Path of a YAML file. */
  readonly file?: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Flags of the CLI, already typed. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/** Reads, merges and checks. Throws CONFIG_INVALID with every fault at once. */
export function loadConfig(sources: ConfigSources): Config {
  const faults: Fault[] = [];
  const merged: Record<string, unknown> = sources.file ? readYaml(sources.file, faults) : {};
  applyEnvironment(merged, sources.environment, faults);
  for (const [key, value] of Object.entries(sources.flags ?? {}))
    if (value !== undefined) merged[key] = value;
  const ajv = new Ajv({ allErrors: true, useDefaults: true, discriminator: false, strict: false });
  addFormats(ajv);
  const validate = ajv.compile(configSchema);
  checkBranches(merged, ajv, faults);
  if (!validate(merged))
    for (const e of validate.errors ?? [])
      if (!insideUnion(e.instancePath)) faults.push({ pointer: e.instancePath || '/', message: describe(e) });
  if (faults.length === 0) crossCheck(merged as unknown as Config, faults);
  if (faults.length > 0) {
    const list = faults.map((f) => `\n  ${f.pointer}: ${f.message}`).join('');
    throw new OperationalError('CONFIG_INVALID', { faults, detail: list });
  }
  return deepFreeze(merged as unknown as Config);
}

/** The value of a secret field: itself, or what `env:NAME` or `file:PATH` names. */
export function resolveSecret(
  value: string,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  if (value.startsWith('env:')) {
    const found = environment[value.slice(4)];
    if (!found)
      throw new OperationalError('CONFIG_INVALID', {
        detail: `The environment variable ${value.slice(4)} is not set.`,
      });
    return found;
  }
  if (!value.startsWith('file:')) return value;
  try {
    return readFileSync(value.slice(5), 'utf8').trim();
  } catch (cause) {
    throw new OperationalError('CONFIG_INVALID', {
      detail: `The secret file ${value.slice(5)} cannot be read.`,
      cause,
    });
  }
}

/** HS256 needs a key as long as its hash (RFC 7518, 3.2). */
const SHARED_SECRET_BYTES = 32;

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

function crossCheck(config: Config, faults: Fault[]): void {
  const protectedOnTheWire = config.tls !== undefined || config.trustProxy !== false || config.insecureHttp;
  if (!isLoopback(config.host) && !protectedOnTheWire)
    faults.push({
      pointer: '/host',
      message: `listening on ${config.host} without TLS: set tls, trustProxy (a proxy that ends TLS) or insecureHttp`,
    });
  if (config.tokens.algorithms.some((a) => a !== 'HS256') && !config.tokens.jwksFile)
    faults.push({
      pointer: '/tokens/jwksFile',
      message: 'RS256, ES256 and EdDSA need the public keys of the shop',
    });
  const shared = config.tokens.sharedSecret;
  if (shared !== undefined && !/^(env|file):/.test(shared) && Buffer.byteLength(shared) < SHARED_SECRET_BYTES)
    faults.push({
      pointer: '/tokens/sharedSecret',
      message: `needs ${SHARED_SECRET_BYTES} bytes or more: a shorter one can be guessed from a token`,
    });
  if (config.delivery.firstRetryMs > config.delivery.maxRetryMs)
    faults.push({ pointer: '/delivery/firstRetryMs', message: 'is above maxRetryMs' });
  const longest = longestRunMs(
    Object.values(config.voucherSources).map((c) => ({
      sourceClass: c.type === 'http-queryable' ? 'queryable' : 'idempotent',
      limits: c,
    })),
    Object.values(config.messengers).map((c) => (c.type === 'file' ? {} : { limits: c })),
  );
  if (config.delivery.leaseMs <= longest)
    faults.push({
      pointer: '/delivery/leaseMs',
      message: `must be above ${longest} ms: so long the slowest voucher source and messenger together may take for one delivery`,
    });
}

function readYaml(file: string, faults: Fault[]): Record<string, unknown> {
  try {
    const parsed: unknown = parseYaml(readFileSync(file, 'utf8'));
    if (parsed === null) return {};
    if (typeof parsed === 'object' && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
    faults.push({ pointer: file, message: 'is not a YAML mapping' });
  } catch (error) {
    faults.push({ pointer: file, message: error instanceof Error ? error.message : String(error) });
  }
  return {};
}

/** Variables of other programs of the project; they are no settings of the server. */
const reserved = new Set([
  'DOORBUSTER_CONFIG',
  'DOORBUSTER_NODE',
  'DOORBUSTER_API_KEY',
  'DOORBUSTER_URL',
  'DOORBUSTER_BUS_URL',
]);

/** Maps every scalar path of the schema to its variable, and refuses variables that map to none. */
export function environmentNames(): ReadonlyMap<
  string,
  { readonly path: readonly string[]; readonly schema: TSchema }
> {
  const names = new Map<string, { path: readonly string[]; schema: TSchema }>();
  const walk = (schema: TSchema, path: readonly string[]): void => {
    const properties = (schema as { properties?: Record<string, TSchema> }).properties;
    if (properties) for (const [key, child] of Object.entries(properties)) walk(child, [...path, key]);
    else if (!(schema as { patternProperties?: unknown }).patternProperties)
      names.set(
        `DOORBUSTER_${path.map((p) => p.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()).join('_')}`.replace(
          'DOORBUSTER_DATA_DIR',
          'DOORBUSTER_DATA',
        ),
        { path, schema },
      );
  };
  walk(configSchema, []);
  return names;
}

function applyEnvironment(
  target: Record<string, unknown>,
  environment: ConfigSources['environment'],
  faults: Fault[],
): void {
  const names = environmentNames();
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('DOORBUSTER_') || text === undefined || reserved.has(variable)) continue;
    const known = names.get(variable);
    if (!known) {
      faults.push({ pointer: variable, message: 'no such setting' });
      continue;
    }
    const section = sectionOf(target, known.path.slice(0, -1));
    if (section) section[known.path.at(-1) ?? ''] = fromText(text, known.schema);
  }
}

/** Null where the file has something else in the section's place: the check of the whole says so. */
function sectionOf(target: Record<string, unknown>, path: readonly string[]): Record<string, unknown> | null {
  let at: unknown = target;
  for (const key of path) {
    at = (at as Record<string, unknown>)[key] ??= {};
    if (typeof at !== 'object') return null;
  }
  return at as Record<string, unknown>;
}

/** A list is written with commas; a text stays a text, whatever it looks like. */
function fromText(text: string, schema: TSchema): unknown {
  const { type, anyOf } = schema as { type?: string; anyOf?: readonly { type?: string }[] };
  if (type === 'string') return text;
  if ((type === 'integer' || type === 'number') && text.trim() !== '' && Number.isFinite(Number(text)))
    return Number(text);
  if (text === 'true' && type !== 'array') return true;
  if (text === 'false' && type !== 'array') return false;
  if (type === 'array' || anyOf?.some((branch) => branch.type === 'array'))
    return text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
  return text;
}

const branchesOf = {
  messengers: [fileMessenger, smtpMessenger, webhookMessenger],
  voucherSources: [remoteSource('http-idempotent'), remoteSource('http-queryable')],
} as const;

/** A union reports the faults of every branch; naming the branch by its `type` keeps the list to what the writer meant. */
const insideUnion = (pointer: string): boolean => /^\/(messengers|voucherSources)\/./.test(pointer);

/** Checks each member of a union against the branch that its `type` names, and fills in that branch's defaults. */
function checkBranches(
  config: Record<string, unknown>,
  ajv: InstanceType<typeof Ajv>,
  faults: Fault[],
): void {
  for (const [field, branches] of Object.entries(branchesOf)) {
    const entries = config[field];
    if (typeof entries !== 'object' || entries === null || Array.isArray(entries)) continue;
    for (const [key, value] of Object.entries(entries)) {
      if (!new RegExp(name).test(key))
        faults.push({
          pointer: `/${field}/${key}`,
          message: 'a name has lower-case letters, digits and hyphens, at most 64',
        });
      const branch = branches.find(
        (b) => b.properties.type.const === (value as { type?: unknown } | null)?.type,
      );
      if (!branch) {
        faults.push({
          pointer: `/${field}/${key}/type`,
          message: `is one of ${branches.map((b) => b.properties.type.const).join(', ')}`,
        });
        continue;
      }
      const validate = ajv.compile(branch);
      if (!validate(value))
        for (const e of validate.errors ?? [])
          faults.push({ pointer: `/${field}/${key}${e.instancePath}`, message: describe(e) });
    }
  }
}

function describe(error: { keyword: string; message?: string; params: Record<string, unknown> }): string {
  if (error.keyword === 'additionalProperties')
    return `unknown field "${String(error.params.additionalProperty)}"`;
  if (error.keyword === 'enum' || error.keyword === 'const')
    return `${error.message ?? ''} ${JSON.stringify(error.params.allowedValues ?? error.params.allowedValue)}`;
  return error.message ?? error.keyword;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const child of Object.values(value)) deepFreeze(child);
    Object.freeze(value);
  }
  return value;
}

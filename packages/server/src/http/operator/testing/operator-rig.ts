/**
 * The operator's room as a test meets it: the routes on a real in-process ledger, asked through `inject()`. Every JSON answer is checked against
 * the schema that the OpenAPI document shows for it, so that what is documented is what is sent.
 */
import { generateKeyPairSync } from 'node:crypto';
import swagger from '@fastify/swagger';
import { createManualClock, type ManualClock } from '@doorbuster/messaging/conformance';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import type { CampaignDefinition } from '../../../campaign/definition.ts';
import type { Ledger } from '../../../ledger.ts';
import { openInProcessLedger } from '../../../ledgers/sqlite/in-process.ts';
import { createCampaignBook } from '../../../live/campaign-book.ts';
import { systemRandomness } from '../../../randomness.ts';
import type { SigningKey } from '../../../secrets.ts';
import { Vault } from '../../../vault.ts';
import { createApiKey } from '../../access/api-keys.ts';
import type { PreflightFinding } from '../../../campaign/preflight.ts';
import { HttpProblem, sendProblem } from '../../problem.ts';
import { buildSerializer, buildValidator } from '../../schema-compilers.ts';
import type { OperatorDeps } from '../operator-deps.ts';
import { documentOptions, operatorTags } from '../reference.ts';
import { operatorRoutes } from '../routes.ts';

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

export const startMs = Date.parse('2026-12-01T00:00:00Z');

export const definition: CampaignDefinition = {
  title: { ko: '봄 선물', en: 'Spring drop' },
  prize: { en: 'Voucher' },
  startsAt: '2026-12-01T00:10:00Z',
  stock: { capacity: 3, waitlistLimit: 1 },
  survey: {
    questions: [
      {
        id: 'colour',
        type: 'single',
        label: { en: 'Colour' },
        options: [
          { id: 'red', label: { en: 'Red' } },
          { id: 'blue', label: { en: 'Blue' } },
        ],
      },
      { id: 'taste', type: 'scale', label: { en: 'Taste' } },
      { id: 'why', type: 'text', label: { en: 'Why' } },
    ],
  },
  reward: { messengers: ['file'] },
};

/** JSON of any shape: tests look into it by its keys. */
export type Parsed = ReturnType<typeof JSON.parse>;

export interface Ask {
  readonly body?: unknown;
  readonly text?: string;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly token?: string | null;
}
export interface Told {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly json: Parsed;
}

export interface OperatorRig {
  readonly app: FastifyInstance;
  readonly ledger: Ledger;
  readonly vault: Vault;
  readonly clock: ManualClock;
  readonly deps: OperatorDeps;
  readonly signingKeys: readonly SigningKey[];
  /** What the next pre-flight finds. */
  readonly findings: PreflightFinding[];
  /** A key with every scope. */
  readonly token: string;
  keyWith(scopes: readonly string[]): Promise<string>;
  ask(method: string, url: string, ask?: Ask): Promise<Told>;
  /** A draft of `definition` with as many codes as units. */
  draft(id: string, changes?: Partial<CampaignDefinition>): Promise<void>;
  /** Published and open. */
  open(id: string, changes?: Partial<CampaignDefinition>): Promise<void>;
  /** Members enter, one after the other. */
  enter(id: string, ...members: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

function signingKey(): SigningKey {
  return { kid: 'k1', ...generateKeyPairSync('ed25519'), validFrom: 0, validUntil: null };
}

export interface RigOptions {
  readonly requestsPerMinute?: number;
  /** Another ledger than the in-process one. */
  readonly openLedger?: (parts: {
    master: Uint8Array;
    signingKeys: readonly SigningKey[];
    clock: ManualClock;
  }) => Promise<Ledger>;
}

export async function openOperatorRig(options: RigOptions = {}): Promise<OperatorRig> {
  const clock = createManualClock(startMs);
  const randomness = systemRandomness();
  const master = randomness.bytes(32);
  const signingKeys = [signingKey()];
  const ledger = options.openLedger
    ? await options.openLedger({ master, signingKeys, clock })
    : openInProcessLedger({ master, signingKeys, clock, randomness });
  const vault = new Vault(master);
  const findings: PreflightFinding[] = [];
  const campaigns = createCampaignBook(ledger.campaigns, clock);
  const deps: OperatorDeps = {
    ledger,
    vault,
    campaigns,
    preflight: async () => findings,
    reconcile: async () => ({ repaired: 0 }),
    clock,
    randomness,
  };
  const app = await openApp(deps, options.requestsPerMinute ?? 100_000);
  const check = answerCheck(app);
  const keyWith = async (scopes: readonly string[]): Promise<string> =>
    (await createApiKey(ledger.access, randomness, { name: 'test', scopes }, { kind: 'system', id: 'test' }))
      .token;
  const token = await keyWith(['*']);

  const ask: OperatorRig['ask'] = async (
    method,
    url,
    { body, text, type, headers = {}, token: with_ = token } = {},
  ) => {
    const response = await app.inject({
      method: method as 'GET',
      url,
      headers: {
        ...(with_ === null ? {} : { authorization: `Bearer ${with_}` }),
        ...(type ? { 'content-type': type } : {}),
        ...headers,
      },
      ...(text !== undefined ? { payload: text } : body !== undefined ? { payload: body as object } : {}),
    });
    const isJson =
      /json/.test(String(response.headers['content-type'])) &&
      !/ndjson/.test(String(response.headers['content-type']));
    const json = isJson ? JSON.parse(response.body) : null;
    check(method, url, response.statusCode, String(response.headers['content-type'] ?? ''), json);
    return { status: response.statusCode, headers: response.headers, text: response.body, json };
  };

  const rig: OperatorRig = {
    app,
    ledger,
    vault,
    clock,
    deps,
    signingKeys,
    findings,
    token,
    keyWith,
    ask,
    async draft(id, changes = {}) {
      const made = await ask('POST', '/v1/campaigns', {
        body: { id, definition: { ...definition, ...changes } },
      });
      if (made.status !== 201) throw new Error(made.text);
      const units = (changes.stock ?? definition.stock).capacity;
      const lines = Array.from({ length: units }, (_, index) => `${id}-${index + 1}`);
      const imported = await ask('POST', `/v1/campaigns/${id}/voucher-codes`, {
        text: `code\n${lines.join('\n')}\n`,
        type: 'text/csv',
      });
      if (imported.status !== 200) throw new Error(imported.text);
    },
    async open(id, changes = {}) {
      await rig.draft(id, changes);
      const published = await ask('POST', `/v1/campaigns/${id}/publications`);
      if (published.status !== 200) throw new Error(published.text);
      clock.advance(Math.max(0, Date.parse(definition.startsAt) - clock.now()));
      await ledger.campaigns.tick();
    },
    async enter(id, ...members) {
      for (const [index, member] of members.entries()) {
        const answers = { colour: index % 2 === 0 ? 'red' : 'blue', taste: 4, why: '=cmd()' };
        const salt = Buffer.from(randomness.bytes(16)).toString('hex');
        await ledger.admission.admit(id, [
          { memberKey: vault.memberKey(id, member), salt, answers, screenedOut: false },
        ]);
      }
    },
    async close() {
      await app.close();
      campaigns.close();
      await ledger.close();
    },
  };
  return rig;
}

async function openApp(deps: OperatorDeps, requestsPerMinute: number): Promise<FastifyInstance> {
  const app = fastify({
    exposeHeadRoutes: true,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    bodyLimit: 64 * 1024,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      void sendProblem(reply, request, error, deps.randomness),
    schemaController: { compilersFactory: { buildValidator, buildSerializer } },
  } as unknown as FastifyServerOptions);
  app.setErrorHandler((error, request, reply) => sendProblem(reply, request, error, deps.randomness));
  app.setNotFoundHandler((request, reply) =>
    sendProblem(reply, request, new HttpProblem('not-found'), deps.randomness),
  );
  await app.register(swagger, {
    ...documentOptions,
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Doorbuster', version: '1' },
      components: { securitySchemes: { apiKey: { type: 'http', scheme: 'bearer' } } },
      tags: operatorTags,
    },
  });
  await app.register(operatorRoutes(deps, { requestsPerMinute }));
  await app.ready();
  return app;
}

type Doc = Parsed;

/** Fails when an answer has a status, a type or a shape that the document does not show. */
function answerCheck(app: FastifyInstance) {
  const doc: Doc = app.swagger();
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema({ $id: 'doc', components: doc.components });
  const paths = Object.keys(doc.paths).map((path) => ({
    path,
    pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
  }));
  const local = (schema: object) =>
    JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"doc#/components/')) as object;

  return (method: string, url: string, status: number, type: string, json: unknown): void => {
    const path = url.split('?')[0]!;
    // A literal path comes before one with a parameter, as in the router.
    const known = paths
      .filter(({ pattern }) => pattern.test(path))
      .sort((a, b) => a.path.split('{').length - b.path.split('{').length)[0];
    const operation = known && doc.paths[known.path][method.toLowerCase()];
    if (!operation) return;
    const response = operation.responses[status];
    if (!response)
      throw new Error(
        `${method} ${known.path} answered ${status}, which is not documented: ${JSON.stringify(json)}`,
      );
    if (json === null) return;
    const schema = response.content?.[type.split(';')[0]!]?.schema;
    if (!schema)
      throw new Error(`${method} ${known.path} answered ${status} as ${type}, which is not documented`);
    const validate = ajv.compile(local(schema));
    if (!validate(json))
      throw new Error(
        `${method} ${known.path} ${status}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(json)}`,
      );
  };
}

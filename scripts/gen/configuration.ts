// docs/reference/configuration.md: every setting with its variable, type, default and bounds, from the schema that checks them.

import { configSchema, environmentNames } from '../../packages/server/src/config.ts';
import { notice, type Generator } from './generated.ts';

/** What is read of a schema: typebox schemas are JSON Schema. */
interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly default?: unknown;
  readonly description?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const code = (value: unknown): string => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;

function typeOf(schema: Schema): string {
  if (schema.const !== undefined) return code(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(', ');
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(schema.items) : 'anything'}`;
  if (schema.type === 'string') return schema.format === 'uri' ? 'address' : 'text';
  if (schema.type === 'integer') return 'whole number';
  return schema.type === 'boolean' ? '`true`, `false`' : (schema.type ?? 'anything');
}

function boundsOf(schema: Schema): string {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const above = schema.minimum === undefined ? 'above ' : '';
  if (low !== undefined && schema.maximum !== undefined) return `${above}${low} to ${schema.maximum}`;
  if (low !== undefined) return above ? `above ${low}` : `${low} or more`;
  return schema.maximum === undefined ? '' : `${schema.maximum} or less`;
}

function defaultOf(schema: Schema, required: boolean): string {
  if (schema.const !== undefined) return '';
  if (schema.default !== undefined) return code(schema.default);
  return required ? 'required' : '';
}

type Setting = { readonly path: string; readonly schema: Schema; readonly required: boolean };

/** The leaves below a schema, in its order. Named collections (`messengers`) are leaves here and have tables of their own. */
function settings(schema: Schema, path = ''): Setting[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]) => {
    const at = path === '' ? key : `${path}.${key}`;
    if (child.properties) {
      const asked = (schema.required ?? []).includes(key) || child.default !== undefined;
      // A section that may be left out asks for its fields only once it is there.
      return settings(asked ? child : { ...child, required: [] }, at);
    }
    const hasDefault = child.default !== undefined;
    const required = !hasDefault && (schema.required ?? []).includes(key);
    return [{ path: at, schema: child, required }];
  });
}

function table(rows: readonly Setting[], variables: ReadonlyMap<string, string> | null): string[] {
  const head = variables ? ['setting', 'variable'] : ['field'];
  const columns = [...head, 'type', 'default', 'bounds', 'what it does'];
  const lines = rows.map(({ path, schema, required }) => {
    const variable = variables ? [variables.has(path) ? `\`${variables.get(path)}\`` : 'file only'] : [];
    const cells = [`\`${path}\``, ...variable, typeOf(schema), defaultOf(schema, required), boundsOf(schema)];
    return `| ${[...cells, schema.description ?? ''].map(cell).join(' | ')} |`;
  });
  return [`| ${columns.join(' | ')} |`, `|${columns.map(() => '---').join('|')}|`, ...lines, ''];
}

/** One table for each type that an entry of a named collection may have. */
function branches(collection: Schema): string[] {
  const entry = Object.values(collection.patternProperties ?? {})[0];
  return (entry?.anyOf ?? []).flatMap((branch) => {
    const { type, ...properties } = branch.properties ?? {};
    return [`### \`type: ${String(type?.const)}\``, '', ...table(settings({ ...branch, properties }), null)];
  });
}

/** Shown on the page; a test gives it to the loader. */
export const example = `# doorbuster.yaml
publicUrl: https://event.shop.example
trustProxy: [10.0.0.0/8]
allowedOrigins: [https://shop.example]
tokens:
  sharedSecret: env:SHOP_TOKEN_SECRET
messengers:
  email:
    type: smtp
    host: smtp.shop.example
    user: event
    password: file:/etc/doorbuster/smtp-password
    from: Shop <event@shop.example>`;

export const generate: Generator = () => {
  const schema = configSchema as unknown as Schema;
  const variables = new Map([...environmentNames()].map(([name, { path }]) => [path.join('.'), name]));
  const all = settings(schema);
  const named = all.filter((setting) => setting.schema.patternProperties);
  const text = [
    notice,
    '# Configuration',
    '',
    'Nothing needs to be set: every setting has a default that is safe on one machine. Sources, later wins: the defaults, a YAML file',
    '(`--config`, `DOORBUSTER_CONFIG`), the environment, options of the command. Unknown settings, unknown `DOORBUSTER_` variables and bad',
    'values are refused at start, all of them together, with exit code 3.',
    '',
    '```yaml',
    example,
    '```',
    '',
    'Lists in variables are separated by commas. A secret may be written `env:NAME` or `file:PATH`, so that the file itself holds none.',
    'Besides the settings six variables are known: `DOORBUSTER_CONFIG` names the file, `DOORBUSTER_URL` and `DOORBUSTER_API_KEY` are the',
    "command line's way to a server, `DOORBUSTER_NODE` names the Node that runs it, `DOORBUSTER_BUS_URL` and `DOORBUSTER_STORE_URL` are read by `doorbuster-bus`.",
    '',
    '## Settings',
    '',
    ...table(
      all.filter((setting) => !setting.schema.patternProperties),
      variables,
    ),
    ...named.flatMap((setting) => [
      `## \`${setting.path}\``,
      '',
      `${setting.schema.description ?? ''} Only in the file: a mapping from a name of your choice (lower-case letters, digits, hyphens) to one of the types below. Default: ${code(setting.schema.default)}.`,
      '',
      ...branches(setting.schema),
    ]),
  ].join('\n');
  return [{ path: 'docs/reference/configuration.md', text: `${text.trimEnd()}\n` }];
};

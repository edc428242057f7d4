import { describe, expect, it } from 'vitest';
import { type ConfigSources, environmentNames, isLoopback, loadConfig } from './config.ts';
import { OperationalError } from './errors.ts';

const load = (environment: ConfigSources['environment'] = {}, flags: Record<string, unknown> = {}) =>
  loadConfig({ environment, flags });

/** The faults of a configuration that must be refused. */
function faultsOf(environment: ConfigSources['environment'], flags: Record<string, unknown> = {}) {
  try {
    load(environment, flags);
  } catch (error) {
    if (error instanceof OperationalError && error.code === 'CONFIG_INVALID') return error.faults;
    throw error;
  }
  throw new Error('the configuration was accepted');
}
const pointersOf = (environment: ConfigSources['environment'], flags: Record<string, unknown> = {}) =>
  faultsOf(environment, flags).map((fault) => fault.pointer);

describe('the configuration', () => {
  it('needs nothing', () => {
    const config = load();
    expect(config).toMatchObject({ dataDir: './data', host: '127.0.0.1', port: 8080, trustProxy: false });
    expect(config.messengers).toEqual({ file: { type: 'file', path: 'messages.ndjson' } });
    expect(config.delivery.leaseMs).toBe(60_000);
  });

  it('is frozen to the last leaf', () => {
    const config = load();
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.limits)).toBe(true);
    expect(Object.isFrozen(config.messengers['file'])).toBe(true);
    expect(() => Object.assign(config.limits, { addressPerSecond: 1 })).toThrow(TypeError);
  });

  it('is made afresh each time: nothing of one stays in the next', () => {
    load({}, { messengers: { out: { type: 'file' } } });
    expect(Object.keys(load().messengers)).toEqual(['file']);
  });

  it('lists every fault at once', () => {
    const pointers = pointersOf(
      { DOORBUSTER_PORT: 'many', DOORBUSTER_LIMITS_ADDRESS_PER_SECOND: '0', DOORBUSTER_PORTS: '80' },
      { messengers: { mail: { type: 'smtp', host: 'mail.example', colour: 'red' } }, retentionDays: 0 },
    );
    expect(pointers).toEqual(
      expect.arrayContaining([
        '/port',
        '/limits/addressPerSecond',
        'DOORBUSTER_PORTS',
        '/messengers/mail',
        '/retentionDays',
      ]),
    );
  });

  it('names what is unknown, missing and out of bounds', () => {
    const faults = faultsOf(
      {},
      { colour: 'red', messengers: { mail: { type: 'smtp', timeoutMs: 99, host: 'mail.example' } } },
    );
    const text = faults.map((fault) => `${fault.pointer} ${fault.message}`).join('\n');
    expect(text).toContain('unknown field "colour"');
    expect(text).toContain("/messengers/mail must have required property 'from'");
    expect(text).toContain('/messengers/mail/timeoutMs must be >= 100');
  });

  it('refuses a messenger of an unknown type, one that is no mapping, and a name that is none', () => {
    expect(pointersOf({}, { messengers: { m: { type: 'pigeon' } } })).toEqual(['/messengers/m/type']);
    expect(pointersOf({}, { messengers: { m: null } })).toContain('/messengers/m/type');
    expect(pointersOf({}, { messengers: { 'Two Words': { type: 'file' } } })).toContain(
      '/messengers/Two Words',
    );
    expect(pointersOf({}, { messengers: [] })).toEqual(['/messengers']);
  });

  it('fills in the defaults of the branch that a messenger names', () => {
    const config = load(
      {},
      { messengers: { mail: { type: 'smtp', host: 'mail.example', from: 'Shop <a@shop.example>' } } },
    );
    expect(config.messengers['mail']).toMatchObject({ port: 587, requireTls: true, timeoutMs: 5_000 });
  });
});

describe('the environment', () => {
  it('reaches every scalar of the schema, numbers and booleans typed', () => {
    const config = load({
      DOORBUSTER_DATA: '/var/lib/doorbuster',
      DOORBUSTER_PORT: '9000',
      DOORBUSTER_INSECURE_HTTP: 'true',
      DOORBUSTER_TOKENS_MAX_AGE_MINUTES: '5',
      DOORBUSTER_DELIVERY_LEASE_MS: '90000',
      DOORBUSTER_LOG_LEVEL: 'warn',
    });
    expect(config).toMatchObject({
      dataDir: '/var/lib/doorbuster',
      port: 9000,
      insecureHttp: true,
      tokens: { maxAgeMinutes: 5 },
      delivery: { leaseMs: 90_000 },
      logLevel: 'warn',
    });
  });

  it('splits lists at commas, a list of one included', () => {
    const origins = 'https://shop.example, https://m.shop.example';
    expect(load({ DOORBUSTER_ALLOWED_ORIGINS: origins }).allowedOrigins).toEqual([
      'https://shop.example',
      'https://m.shop.example',
    ]);
    expect(load({ DOORBUSTER_ALLOWED_ORIGINS: '' }).allowedOrigins).toEqual([]);
    expect(load({ DOORBUSTER_TRUST_PROXY: '172.16.0.0/12' }).trustProxy).toEqual(['172.16.0.0/12']);
    expect(load({ DOORBUSTER_TRUST_PROXY: 'false' }).trustProxy).toBe(false);
  });

  it('leaves a text a text, also where it looks like something else', () => {
    expect(load({ DOORBUSTER_TOKENS_AUDIENCE: 'true' }).tokens.audience).toBe('true');
    expect(
      load({ DOORBUSTER_TOKENS_SHARED_SECRET: '12345678901234567890123456789012' }).tokens.sharedSecret,
    ).toBe('12345678901234567890123456789012');
  });

  it('refuses a variable of ours that maps to nothing, and leaves those of others alone', () => {
    expect(pointersOf({ DOORBUSTER_DATABASE: 'x' })).toEqual(['DOORBUSTER_DATABASE']);
    expect(pointersOf({ DOORBUSTER_MESSENGERS: 'x' })).toEqual(['DOORBUSTER_MESSENGERS']);
    expect(() => load({ PATH: '/bin', DATABASE: 'x', DOORBUSTER_URL: 'http://127.0.0.1:1' })).not.toThrow();
    expect(() => load({ DOORBUSTER_BUS_URL: 'redis://127.0.0.1:1' })).not.toThrow();
  });

  it('comes after the file and before the flags', () => {
    expect(load({ DOORBUSTER_PORT: '9000' }, { port: 9001, host: undefined })).toMatchObject({
      port: 9001,
      host: '127.0.0.1',
    });
  });

  it('has a name of its own for every setting', () => {
    const names = environmentNames();
    expect(new Set([...names.values()].map((n) => n.path.join('/'))).size).toBe(names.size);
    expect([...names.keys()].every((name) => /^DOORBUSTER_[A-Z0-9_]+$/.test(name))).toBe(true);
    expect(names.get('DOORBUSTER_DATA')?.path).toEqual(['dataDir']);
  });
});

describe('what the schema cannot say', () => {
  it.each(['0.0.0.0', '::', '192.0.2.7', 'shop.example'])('refuses %s without TLS', (host) => {
    expect(pointersOf({ DOORBUSTER_HOST: host })).toEqual(['/host']);
    expect(() => load({ DOORBUSTER_HOST: host, DOORBUSTER_INSECURE_HTTP: 'true' })).not.toThrow();
    expect(() => load({ DOORBUSTER_HOST: host, DOORBUSTER_TRUST_PROXY: '10.0.0.1' })).not.toThrow();
    expect(() =>
      load({ DOORBUSTER_HOST: host, DOORBUSTER_TLS_CERT_FILE: 'c.pem', DOORBUSTER_TLS_KEY_FILE: 'k.pem' }),
    ).not.toThrow();
  });

  it('knows loopback', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1', 'localhost'].every(isLoopback)).toBe(true);
    expect(['0.0.0.0', '10.127.0.1', 'localhost.example', '127.evil.example'].some(isLoopback)).toBe(false);
  });

  it('wants public keys for public-key tokens', () => {
    expect(pointersOf({ DOORBUSTER_TOKENS_ALGORITHMS: 'EdDSA' })).toEqual(['/tokens/jwksFile']);
  });

  it('wants a shared secret of 32 bytes, where its value is written out', () => {
    expect(pointersOf({ DOORBUSTER_TOKENS_SHARED_SECRET: 'too short' })).toEqual(['/tokens/sharedSecret']);
    expect(() => load({ DOORBUSTER_TOKENS_SHARED_SECRET: 'env:SHOP' })).not.toThrow();
  });

  it('wants a lease that outlives the slowest source and the slowest messenger together', () => {
    const source = { url: 'https://v.example/', bearer: 'x', timeoutMs: 9_000 };
    const slow = (type: string) => ({
      messengers: { hook: { type: 'webhook', url: 'https://a.example/', secret: 'x', timeoutMs: 40_000 } },
      voucherSources: { v: { ...source, type } },
    });
    // Per call its time-out, 5 s for its turn and 1 s to come back; a queryable source is called three times.
    expect(pointersOf({}, slow('http-idempotent'))).toEqual(['/delivery/leaseMs']);
    const load61 = () => load({ DOORBUSTER_DELIVERY_LEASE_MS: '61001' }, slow('http-idempotent'));
    expect(load61).not.toThrow();
    expect(pointersOf({ DOORBUSTER_DELIVERY_LEASE_MS: '61000' }, slow('http-idempotent'))).toEqual([
      '/delivery/leaseMs',
    ]);
    expect(pointersOf({ DOORBUSTER_DELIVERY_LEASE_MS: '91000' }, slow('http-queryable'))).toEqual([
      '/delivery/leaseMs',
    ]);
    const load91 = () => load({ DOORBUSTER_DELIVERY_LEASE_MS: '91001' }, slow('http-queryable'));
    expect(load91).not.toThrow();
  });

  it('wants retries that begin below where they end', () => {
    expect(pointersOf({ DOORBUSTER_DELIVERY_FIRST_RETRY_MS: '700000' })).toEqual(['/delivery/firstRetryMs']);
  });
});

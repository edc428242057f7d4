// TLS by configuration: a certificate made for the test, a whole server, clients that check it.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type SecureVersion } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand, type StartedProcess, commandLine, startProcess } from './testing/process.ts';

const folder = mkdtempSync(join(tmpdir(), 'tls-'));
const certFile = join(folder, 'cert.pem');
const keyFile = join(folder, 'key.pem');
const other = join(folder, 'other-key.pem');

/** Node makes keys, but no certificates. */
const openssl = (...args: string[]) => spawnSync('openssl', args, { encoding: 'utf8' });
const request = [
  'req',
  '-x509',
  '-newkey',
  'ec',
  '-pkeyopt',
  'ec_paramgen_curve:P-256',
  '-nodes',
  '-days',
  '2',
];
const made = openssl(
  ...request,
  '-subj',
  '/CN=localhost',
  '-addext',
  'subjectAltName=DNS:localhost,IP:127.0.0.1',
  '-keyout',
  keyFile,
  '-out',
  certFile,
);
const isMade = made.status === 0 && existsSync(certFile);
if (isMade) chmodSync(certFile, 0o600);
if (isMade) openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', other);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function configured(name: string, config: object): string {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, JSON.stringify({ allowVolatile: true, logLevel: 'warn', ...config }));
  return file;
}

const serveArgs = (name: string, config: object): string[] => [
  'serve',
  '--json',
  '--port',
  '0',
  '--data',
  join(folder, `data-${name}`),
  '--config',
  configured(name, config),
];

interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

function get(url: string, ca?: Buffer): Promise<Got> {
  const done = Promise.withResolvers<Got>();
  const ask = url.startsWith('https:') ? httpsRequest(url, { ca }) : httpRequest(url);
  ask.end();
  ask.once('error', done.reject);
  ask.once('response', (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    response.once('end', () =>
      done.resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
    );
    response.once('error', done.reject);
  });
  return done.promise.finally(() => ask.destroy()) as Promise<Got>;
}

const failureOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'it worked',
    (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error),
  );

/** The version that a handshake ends with, or the code of its failure. */
function handshake(url: string, maxVersion: SecureVersion): Promise<string> {
  const done = Promise.withResolvers<string>();
  const { hostname: host, port } = new URL(url);
  const minVersion = 'TLSv1.1';
  const socket = connect({ host, port: Number(port), ca: readFileSync(certFile), minVersion, maxVersion });
  socket.once('secureConnect', () => done.resolve(socket.getProtocol() ?? ''));
  socket.once('error', (error: NodeJS.ErrnoException) => done.resolve(error.code ?? 'failed'));
  return done.promise.finally(() => socket.destroy());
}

describe.skipIf(!isMade)('TLS by configuration (needs openssl to make a certificate)', () => {
  let server: StartedProcess;
  let url: string;
  beforeAll(async () => {
    server = startProcess(commandLine, serveArgs('good', { tls: { certFile, keyFile } }));
    url = String((await server.next()).url);
  });
  afterAll(() => server?.kill('SIGKILL'));

  it('serves HTTPS with that certificate, says so, and tells browsers to stay with it', async () => {
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const got = await get(`${url}/readyz`, readFileSync(certFile));
    expect(got.status).toBe(200);
    expect(got.headers['strict-transport-security']).toBe('max-age=31536000');
  });

  it('a client that does not know the certificate refuses it: the control of the one above', async () => {
    expect(await failureOf(get(`${url}/readyz`))).toMatch(/SELF_SIGNED|UNABLE_TO_VERIFY/);
  });

  it('plain HTTP on its port gets no answer of the application', async () => {
    const plain = get(url.replace('https:', 'http:'));
    expect(await failureOf(plain)).not.toBe('it worked');
  });

  it('nothing older than TLS 1.2', async () => {
    expect(await handshake(url, 'TLSv1.1')).not.toMatch(/^TLSv/);
    expect(await handshake(url, 'TLSv1.2')).toBe('TLSv1.2');
  });
});

describe.skipIf(!isMade)(
  'serve refuses, with 3 CONFIG_INVALID and the names of the files (needs openssl)',
  () => {
    const empty = join(folder, 'empty.pem');
    writeFileSync(empty, '', { mode: 0o600 });
    const open = join(folder, 'open.pem');
    if (isMade) writeFileSync(open, readFileSync(keyFile));
    if (isMade) chmodSync(open, 0o644);
    it.each([
      ['a key that is not there', { certFile, keyFile: join(folder, 'nowhere.pem') }],
      ['a certificate that is not there', { certFile: join(folder, 'nowhere.pem'), keyFile }],
      ['a key of another certificate', { certFile, keyFile: other }],
      ['a key that is none', { certFile, keyFile: empty }],
      ['a key that everybody can read', { certFile, keyFile: open }],
      ['a certificate for a key', { certFile, keyFile: certFile }],
    ])('%s', async (name, tls) => {
      const { code, json } = await runCommand(serveArgs(name.replaceAll(' ', '-'), { tls }));
      expect({ code, json }).toMatchObject({ code: 3, json: { code: 'CONFIG_INVALID' } });
      expect(String(json?.error)).toContain(tls.keyFile);
    });

    it('an address of the network without TLS, before anything is opened', async () => {
      const { code, json } = await runCommand(serveArgs('open', { host: '0.0.0.0' }));
      expect({ code, json }).toMatchObject({ code: 3, json: { code: 'CONFIG_INVALID' } });
      expect(existsSync(join(folder, 'data-open', 'ledger.sqlite'))).toBe(false);
    });
  },
);

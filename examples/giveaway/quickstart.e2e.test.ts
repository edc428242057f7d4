/** Every command of the quickstart, as it stands on the page, in a shell, against the real server. Only the port and the folder are others. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(join(root, 'docs/guides/quickstart.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'doorbuster-quickstart-'));
const blocks = (info: string): string[] =>
  [...page.matchAll(/^```([^\n]*)\n([\s\S]*?)^```$/gm)]
    .filter(([, i]) => i === info)
    .map(([, , text]) => text ?? '');

let port = 0;
let server: ReturnType<typeof spawn> | null = null;

/** Paths of the page are those of a clone; here the examples are the clone's and everything else lies in the folder. */
const moved = (script: string): string =>
  script
    .replaceAll('+ 30000', '+ 9000')
    .replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`)
    .replaceAll('npm run -s doorbuster --', `npm run -s --prefix ${root} doorbuster --`)
    .replaceAll('examples/giveaway/', `${root}examples/giveaway/`)
    .replaceAll(/(--to|--from|--data) (backup|restored|\w+\.\w+)/g, `$1 ${folder}/$2`)
    .replaceAll(/(--receipt|--records|--keys) (\S+)/g, `$1 ${folder}/$2`);
const environment = () => ({
  ...process.env,
  DOORBUSTER_PORT: String(port),
  DOORBUSTER_DATA: join(folder, 'data'),
  DOORBUSTER_NODE: process.execPath,
});

beforeAll(async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  port = (probe.address() as { port: number }).port;
  probe.close();
  await once(probe, 'close');
  const [serve = ''] = blocks('sh server');
  // In a group of its own, because what npm starts must end with it.
  server = spawn('bash', ['-c', moved(serve)], {
    env: environment(),
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: server.stdout! }))
    if (line.includes('member pages')) break;
});

afterAll(async () => {
  if (server?.pid && server.exitCode === null) {
    process.kill(-server.pid, 'SIGTERM');
    await once(server, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

it('runs to the end, and every check of the proof says so', () => {
  const script = `set -euo pipefail\nshopt -s expand_aliases\n${moved(blocks('sh').join('\n'))}`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], {
    env: environment(),
    cwd: folder,
    encoding: 'utf8',
    timeout: 150_000,
  });
  expect(status, stderr).toBe(0);
  expect(stdout).toContain('20 imported');
  expect(stdout).toContain('"verdict":"won","seq":1');
  expect(stdout).toContain('쿠폰 번호: SNOW-');
  expect(stdout.match(/^Verified: /gm)).toHaveLength(5);
  expect(stdout).not.toContain('NOT verified');
  expect(stdout).toContain('each in a new epoch');
  expect(existsSync(join(folder, 'restored', 'ledger.sqlite'))).toBe(true);
});

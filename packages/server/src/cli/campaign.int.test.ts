import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { catalogue } from '../errors.ts';
import { CliError, failureOf, faultText } from './failure.ts';
import { createProgram } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-campaign-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const example = fileURLToPath(new URL('../../../../examples/giveaway/campaign.yaml', import.meta.url));

/** Runs one command in this process, without a server. */
async function run(...args: string[]): Promise<unknown> {
  const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await createProgram({}).parseAsync(['node', 'doorbuster', ...args, '--data', folder]);
    return stdout.mock.calls.map(([text]) => String(text)).join('');
  } catch (error) {
    return error;
  } finally {
    stdout.mockRestore();
  }
}
function changed(from: string | RegExp, to: string): string {
  const file = join(folder, 'campaign.yaml');
  const text = readFileSync(example, 'utf8');
  const written = text.replace(from, to);
  expect(written).not.toBe(text);
  writeFileSync(file, written);
  return file;
}

describe('campaign create --dry-run', () => {
  it('takes the example, without a server', async () => {
    expect(await run('campaign', 'create', example, '--dry-run')).toContain('is a valid definition');
  });

  it.each([
    ['an unknown field', 'prize:', 'price:', '/price'],
    ['a stock of nothing', 'capacity: 10', 'capacity: 0', '/stock/capacity'],
    ['safety stock above the stock', 'safetyStock: 0', 'safetyStock: 11', '/stock/safetyStock'],
    ['rules that nobody would look at', 'audience: listed', 'audience: anyone', '/eligibility/rules'],
    ['a scale upside down', 'max: 5', 'max: 0', '/survey/questions/1/max'],
  ])('names %s', async (_, from, to, pointer) => {
    const error = await run('campaign', 'create', changed(from, to), '--dry-run');
    expect(error).toBeInstanceOf(CliError);
    expect((error as CliError).exitCode).toBe(2);
    expect((error as CliError).faults.map((fault) => fault.pointer).join(' ')).toContain(pointer);
  });
});

describe('a command without a server', () => {
  it('says that there is no key, or that nothing answers, each with its exit code', async () => {
    expect(await run('campaign', 'list')).toMatchObject({
      exitCode: 3,
      remedy: expect.stringContaining('--data') as string,
    });
    const unreachable = await run('campaign', 'list', '--api-key', 'dbk_0_0', '--url', 'http://127.0.0.1:9');
    expect(unreachable).toMatchObject({
      exitCode: 4,
      remedy: expect.stringContaining('doorbuster serve') as string,
    });
  });

  it('asks for the name before anything final, and never where it may not ask', async () => {
    const key = ['--api-key', 'dbk_0_0', '--url', 'http://127.0.0.1:9', '--no-input'];
    expect(await run('campaign', 'close', 'spring', ...key)).toMatchObject({ exitCode: 2 });
    expect(await run('campaign', 'close', 'spring', '--confirm', 'autumn', ...key)).toMatchObject({
      exitCode: 2,
    });
    expect(await run('campaign', 'close', 'spring', '--confirm', 'spring', ...key)).toMatchObject({
      exitCode: 4,
    });
  });
});

describe('what a person is told', () => {
  const lane = { capacity: 6, free: 1, reserved: 1, issued: 3, void: 1, waiting: 2 };
  const answers: Record<string, readonly [status: number, body: unknown]> = {
    'GET /v1/campaigns/spring': [200, { state: 'open', lane }],
    'GET /v1/campaigns/spring/status': [200, { campaignId: 'spring', remaining: 1 }],
    'GET /v1/campaigns/spring/delivery-summary': [
      200,
      { byState: { due: 1, delivered: 2, parked: 0 }, byError: [] },
    ],
    'GET /v1/campaigns/draft': [200, { state: 'draft', lane: null, memberCount: 3, voucherCodeCount: 2 }],
    'GET /v1/campaigns/draft/preflight': [
      200,
      {
        ready: false,
        findings: [
          { code: 'codes-short', level: 'error', message: 'The pool holds 2 codes.', remedy: 'Import.' },
        ],
      },
    ],
    'POST /v1/campaigns/draft/members': [
      422,
      {
        title: 'The content breaks a rule.',
        faults: [{ pointer: '/3', message: 'memberId is missing' }],
        rows: [{ line: 3, message: 'memberId is missing' }],
        remedy: 'Mend the lines in `rows`, or load the good ones with `?onError=skip`.',
      },
    ],
  };
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const what = `${request.method} ${request.url}`;
    asked.push(what);
    const [status, body] = answers[what] ?? [404, { title: `nothing at ${what}` }];
    request.resume().on('end', () => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    });
  });
  let to: readonly string[] = [];
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    to = ['--api-key', 'dbk_0_0', '--url', `http://127.0.0.1:${(server.address() as AddressInfo).port}`];
  });
  afterAll(() => void server.close());

  it('the status names the stock and the deliveries, of a draft what was imported', async () => {
    const text = await run('campaign', 'status', 'spring', ...to);
    expect(text).toContain('capacity 6   free 1   reserved 1   issued 3   void 1   waiting 2');
    expect(text).toContain('due 1   delivered 2   parked 0');
    expect(JSON.parse(String(await run('campaign', 'status', 'spring', '--json', ...to)))).toMatchObject({
      deliveries: { byState: { delivered: 2 } },
    });
    expect(await run('campaign', 'status', 'draft', ...to)).toMatch(/members +3\ncodes +2/);
  });

  it('publish --dry-run tells the findings, publishes nothing and exits like publish', async () => {
    const before = process.exitCode;
    try {
      expect(await run('campaign', 'publish', 'draft', '--dry-run', ...to)).toContain(
        'The pool holds 2 codes.',
      );
      expect(process.exitCode).toBe(2);
    } finally {
      process.exitCode = before;
    }
    expect(asked.filter((what) => what.includes('publications'))).toEqual([]);
  });

  const given = { ...lane, free: 3, capacity: 8 };
  it.each<[string, readonly string[], string, unknown, string]>([
    ['pause', ['campaign', 'pause', 'spring'], 'POST /v1/campaigns/spring/pauses', {}, 'would be paused'],
    [
      'resume',
      ['campaign', 'resume', 'spring'],
      'DELETE /v1/campaigns/spring/pauses/current',
      {},
      'would be resumed',
    ],
    ['close', ['campaign', 'close', 'spring'], 'POST /v1/campaigns/spring/closures', {}, 'would be closed'],
    [
      'stock',
      ['campaign', 'stock', 'spring', '--by', '2'],
      'POST /v1/campaigns/spring/stock-changes',
      { lane: given },
      'capacity 8   free 3',
    ],
    [
      'copy',
      ['campaign', 'copy', 'spring', '--starts-at', '2026-12-24T00:00:00Z'],
      'POST /v1/campaigns/spring/copies',
      { dryRun: true, definition: {} },
      'nothing was made',
    ],
    [
      'replace',
      ['delivery', 'replace', 'spring', '--seq', '2'],
      'POST /v1/campaigns/spring/replacements',
      {},
      'would be replaced',
    ],
    [
      'revoke',
      ['delivery', 'revoke', 'spring', '--seq', '2'],
      'POST /v1/campaigns/spring/revocations',
      {},
      'would be revoked',
    ],
    [
      'erase',
      ['member', 'erase', 'spring', 'm-1'],
      'POST /v1/campaigns/spring/erasures',
      { erased: false },
      'would be erased; nothing was changed',
    ],
  ])(
    '%s --dry-run asks the server to check only, and needs no confirmation',
    async (_, command, path, body, text) => {
      answers[`${path}?dryRun=true`] = [200, body];
      expect(await run(...command, '--dry-run', '--no-input', ...to)).toContain(text);
      expect(asked.at(-1)).toBe(`${path}?dryRun=true`);
    },
  );

  it('import --dry-run tells what would be imported', async () => {
    const file = join(folder, 'more.csv');
    writeFileSync(file, 'memberId\na\n');
    answers['POST /v1/campaigns/spring/members?dryRun=true'] = [
      200,
      { rows: 1, total: 3, skipped: 0, faults: [], warnings: [] },
    ];
    expect(await run('campaign', 'import', 'spring', '--members', file, '--dry-run', ...to)).toContain(
      'members: 1 would be imported, nothing was changed, 3 in all',
    );
  });

  it('a refused import names the line, and the option of this command', async () => {
    const file = join(folder, 'members.csv');
    writeFileSync(file, 'memberId\na\n""\n');
    expect(await run('campaign', 'import', 'draft', '--members', file, ...to)).toMatchObject({
      exitCode: 2,
      remedy: expect.stringContaining('--skip-faulty') as string,
      faults: [{ pointer: 'line 3', message: 'memberId is missing' }],
    });
  });

  const refused = [
    422,
    {
      title: 'The content breaks a rule.',
      detail: 'Rows have faults; nothing was imported.',
      code: 'not-valid',
      rows: [{ line: 2, message: 'code is missing' }],
    },
  ] as const;
  const oneRow = [200, { rows: 1, total: 1, skipped: 0, faults: [], warnings: [] }] as const;
  const twoFiles = (): readonly [members: string, codes: string] => {
    const [members, codes] = [join(folder, 'good.csv'), join(folder, 'bad.csv')];
    writeFileSync(members, 'memberId\na\n');
    writeFileSync(codes, 'code\n""\n');
    return [members, codes];
  };

  it('an import of two files names the faulty one and looks at the second before the first is in', async () => {
    const [members, codes] = twoFiles();
    answers['POST /v1/campaigns/autumn/members'] = oneRow;
    answers['POST /v1/campaigns/autumn/voucher-codes?dryRun=true'] = refused;
    const both = ['--members', members, '--codes', codes];
    const error = await run('campaign', 'import', 'autumn', ...both, ...to);
    expect(error).toMatchObject({ exitCode: 2, code: 'not-valid', faults: [{ pointer: 'line 2' }] });
    expect((error as CliError).message).toContain(`${codes}: The content breaks a rule.`);
    expect(asked.filter((what) => what.includes('autumn'))).toEqual([
      'POST /v1/campaigns/autumn/voucher-codes?dryRun=true',
    ]);
  });

  it('an import that fails after the first file says which is in, and ends as done in part', async () => {
    const [members, codes] = twoFiles();
    answers['POST /v1/campaigns/winter/members'] = oneRow;
    answers['POST /v1/campaigns/winter/voucher-codes?dryRun=true'] = oneRow;
    answers['POST /v1/campaigns/winter/voucher-codes'] = refused;
    const both = ['--members', members, '--codes', codes];
    const error = await run('campaign', 'import', 'winter', ...both, ...to);
    expect(error).toMatchObject({ exitCode: 5 });
    expect((error as CliError).message).toContain(`${members} was imported`);
    expect((error as CliError).message).toContain(`${codes}: The content breaks a rule.`);
  });

  it('an unknown campaign is named, with the code and the remedy of the catalogue', async () => {
    const { message: title, remedy } = catalogue.CAMPAIGN_UNKNOWN;
    answers['GET /v1/campaigns/sprnig'] = [404, { title, code: 'CAMPAIGN_UNKNOWN', requestId: 'r-1' }];
    expect(failureOf(await run('campaign', 'status', 'sprnig', ...to))).toEqual({
      error: 'There is no campaign of the id "sprnig". (request r-1)',
      code: 'CAMPAIGN_UNKNOWN',
      remedy,
      faults: [],
      exitCode: 1,
    });
  });

  it('a refused publish tells errors from warnings, and where each is', async () => {
    const findings = [
      { code: 'codes-short', level: 'error', message: 'The pool holds 2 codes.', remedy: 'Import.' },
      {
        code: 'korean-text-missing',
        level: 'warning',
        pointer: '/title',
        message: 'There is no Korean text.',
        remedy: 'Add it.',
      },
    ];
    answers['POST /v1/campaigns/draft/publications'] = [
      422,
      { title: 'The content breaks a rule.', code: 'not-valid', findings },
    ];
    const lines = [
      'error: The pool holds 2 codes. Import.',
      'warning: /title: There is no Korean text. Add it.',
    ];
    const error = await run('campaign', 'publish', 'draft', ...to);
    expect(failureOf(error)?.faults.map(faultText)).toEqual(lines);

    answers['GET /v1/campaigns/unready/preflight'] = [200, { ready: true, findings: findings.slice(1) }];
    expect(await run('campaign', 'publish', 'unready', '--dry-run', ...to)).toContain(lines[1]);
  });
});

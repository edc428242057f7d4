/** What the start of a child process counts for: nothing, however long it takes; what it tells from then on counts. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startChild, type ToldProcess } from './child-process.ts';
import { limitPatience } from './fixture.ts';

const PATIENCE_MS = 200;
/** As a machine at work takes over loading. */
const slowly = (script: string): string => `setTimeout(() => { ${script} }, ${PATIENCE_MS * 3});`;
const STAYS = 'setInterval(() => {}, 1_000);';

describe('a child process that tells what it does', () => {
  let folder = '';
  const children: ToldProcess[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'child-'));
  });
  beforeEach(() => limitPatience(PATIENCE_MS));
  afterEach(async () => {
    limitPatience(30_000);
    for (const child of children.splice(0)) {
      child.send('SIGKILL');
      await child.ended;
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function start(script: string): ToldProcess {
    const path = join(folder, `${children.length}.mjs`);
    writeFileSync(path, script);
    const child = startChild(pathToFileURL(path), []);
    children.push(child);
    return child;
  }

  it('is waited for beyond the patience of a case until it is ready', async () => {
    const child = start(`${slowly("console.log('ready'); console.log('held 1');")} ${STAYS}`);
    expect(await child.line('held')).toBe('held 1');
    expect(child.told.values).toEqual(['held 1']);
  });

  it('any line says that it is there', async () => {
    const child = start(`${slowly("console.log('handled a');")} ${STAYS}`);
    await expect(child.started).resolves.toBeUndefined();
  });

  it('control: from then on the patience counts', async () => {
    const child = start(`console.log('ready'); ${slowly("console.log('held 1');")} ${STAYS}`);
    await expect(child.line('held')).rejects.toThrow('"held" of a child process did not come true');
  });

  it('one that ends before is told of at once, with what it complained of', async () => {
    const child = start("throw new Error('no server');");
    await expect(child.started).rejects.toThrow('no server');
  });
});

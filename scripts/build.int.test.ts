// What is published holds no code of the tests: it would ask for packages that are not installed beside it.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

it.each(readdirSync(join(root, 'packages')))('the build of %s takes no code of the tests along', (name) => {
  const config = join(root, 'packages', name, 'tsconfig.build.json');
  expect(existsSync(config)).toBe(true);
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const { stdout } = spawnSync(process.execPath, [compiler, '-p', config, '--listFilesOnly'], {
    encoding: 'utf8',
  });
  const own = stdout.split('\n').filter((file) => file.includes(`/packages/${name}/src/`));
  expect(own.length).toBeGreaterThan(5);
  expect(
    own.filter((file) => /from 'vitest'|\/testing\//.test(`${file} ${readFileSync(file, 'utf8')}`)),
  ).toEqual([]);
});

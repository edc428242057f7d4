/** Defects planted between the toolkit and a real lock engine, each a mistake that locks have really made; `lock-defects.int.test.ts` shows that the cases catch them. */
import type { Lease, LockEngine } from '../lock.ts';

const HOUR_MS = 3_600_000;

export const lockDefects = {
  'everybody gets it': (real) => ({
    tryAcquire: async (name, owner, ttlMs) =>
      (await real.tryAcquire(name, owner, ttlMs)) ?? { fence: 1n, ttlMs },
  }),
  'release without compare': (real) => {
    // A plain delete frees whatever lease there is.
    const holders = new Map<string, Lease>();
    return {
      async tryAcquire(name, owner, ttlMs) {
        const grant = await real.tryAcquire(name, owner, ttlMs);
        if (grant) holders.set(name, { name, owner, fence: grant.fence });
        return grant;
      },
      release: (lease) => real.release(holders.get(lease.name) ?? lease),
    };
  },
  'the fence starts again with each connection': (real) => {
    let fence = 0n;
    // Its own server still knows the lease by the number that it gave.
    const given = new Map<string, bigint>();
    const known = (lease: Lease): Lease => ({ ...lease, fence: given.get(lease.owner) ?? lease.fence });
    return {
      async tryAcquire(name, owner, ttlMs) {
        const grant = await real.tryAcquire(name, owner, ttlMs);
        if (grant) given.set(owner, grant.fence);
        return grant && { ...grant, fence: (fence += 1n) };
      },
      renew: (lease, ttlMs) => real.renew(known(lease), ttlMs),
      release: (lease) => real.release(known(lease)),
    };
  },
  'a renewal always succeeds': (real) => ({
    async renew(lease, ttlMs) {
      await real.renew(lease, ttlMs);
      return true;
    },
  }),
  'renewals are not sent': () => ({ renew: async () => true }),
  'the lease never ends': (real) => ({
    tryAcquire: async (name, owner, ttlMs) => {
      const grant = await real.tryAcquire(name, owner, HOUR_MS);
      return grant && { ...grant, ttlMs };
    },
    renew: (lease) => real.renew(lease, HOUR_MS),
  }),
} as const satisfies Record<string, (real: LockEngine) => Partial<LockEngine>>;

export type LockDefect = keyof typeof lockDefects;

export function plantInLock(defect: LockDefect, engine: LockEngine): LockEngine {
  const bound: LockEngine = {
    name: engine.name,
    tryAcquire: (name, owner, ttlMs) => engine.tryAcquire(name, owner, ttlMs),
    renew: (lease, ttlMs) => engine.renew(lease, ttlMs),
    release: (lease) => engine.release(lease),
    close: () => engine.close(),
  };
  return { ...bound, ...lockDefects[defect](bound) };
}

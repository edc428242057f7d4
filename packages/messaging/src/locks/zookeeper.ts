/**
 * Locks on ZooKeeper: an ephemeral sequential node per attempt, the lowest one holds. The fence is the transaction number that created the node (czxid):
 * it grows over the whole ensemble, while the number in a node's name starts again when its parent is removed.
 *
 * A grant lives with the session, which all locks of one engine share: when it expires, all of them are lost at once. ZooKeeper knows no lease per node, so
 * after a holder died its name is free when the session times out, not after `ttlMs`; a grant never lasts longer here than the session does there.
 * A holder that lives and lost its grant by the ttl removes its node: `createLocks` releases what is lost.
 * A waiter watches the parent and is woken by every change, in no order: made for few waiters per name. The parent nodes stay, one small node per name.
 */
import { createRequire } from 'node:module';
import { type Clock, pause, systemClock } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import type { Lease, LockEngine, LockGrant } from '../lock.ts';
import { isMissingPackage } from '../missing-package.ts';
import { refuseBadNumbers, SPAN_MS } from '../sound-numbers.ts';
import { withDefaults } from '../with-defaults.ts';

export interface ZookeeperLockOptions {
  /** `host:port`, several separated by commas; `zookeeper://` in front is allowed. */
  readonly servers: string;
  /** Asked of the server, which keeps it within 2 and 20 of its ticks. Default 10,000. */
  readonly sessionTimeoutMs?: number;
  /** Every call gives up after this long, ms. Default 5,000. */
  readonly callTimeoutMs?: number;
  /** The node under which the names lie. Default `/doorbuster/locks`. */
  readonly root?: string;
  readonly clock?: Clock;
}

type Callback<T> = (error: ZookeeperFault | null, result: T) => void;
interface ZookeeperFault extends Error {
  readonly code: number;
}
interface Stat {
  /** 8 bytes, big-endian. */
  readonly czxid: Uint8Array;
}
/** The part of node-zookeeper-client that is used; it comes without types. */
interface Client {
  once(event: 'connected' | 'expired' | 'authenticationFailed', listener: () => void): void;
  connect(): void;
  close(): void;
  getSessionTimeout(): number;
  create(path: string, data: Buffer, mode: number, callback: Callback<string>): void;
  mkdirp(path: string, callback: Callback<string>): void;
  exists(path: string, callback: Callback<Stat | null>): void;
  getChildren(path: string, watcher: (() => void) | undefined, callback: Callback<string[]>): void;
  remove(path: string, callback: Callback<undefined>): void;
}
interface ClientModule {
  createClient(servers: string, options: { sessionTimeout: number; spinDelay: number }): Client;
  readonly CreateMode: { readonly EPHEMERAL_SEQUENTIAL: number };
  readonly Exception: { readonly NO_NODE: number; readonly SESSION_EXPIRED: number };
}

/** Spent between attempts to reconnect, at most; the client's own second is a whole session of the shortest kind. */
const SPIN_MS = 200;
const GHOST_RETRY_MS = 500;

/** One that waits for a change of a name. */
interface Waiter {
  readonly ring: () => void;
  readonly fail: (error: unknown) => void;
}

/** One session: when it is gone, so is every node it made. */
interface Session {
  readonly client: Client;
  readonly gone: AbortController;
}

const PEER = 'node-zookeeper-client';

/** Throws DB_MSG_PEER_MISSING where the client is not installed, and DB_MSG_INVALID_OPTIONS for servers or times that are none. */
export function createZookeeperLockEngine(options: ZookeeperLockOptions): LockEngine {
  return zookeeperLocksLoadedBy(createRequire(import.meta.url), options);
}

/** The same with the caller's way of loading the client: for tests. */
export function zookeeperLocksLoadedBy(
  load: (name: string) => unknown,
  options: ZookeeperLockOptions,
): LockEngine {
  const module = loadClient(load);
  const settings = withDefaults(options, {
    sessionTimeoutMs: 10_000,
    callTimeoutMs: 5_000,
    root: '/doorbuster/locks',
    clock: systemClock,
  });
  // From JavaScript, or an environment that has no such variable.
  if (typeof settings.servers !== 'string' || settings.servers.trim() === '')
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `locks on ZooKeeper need "servers": "host:port", several separated by commas; got ${JSON.stringify(settings.servers) ?? 'undefined'}`,
    );
  refuseBadNumbers('locks on ZooKeeper', settings, { sessionTimeoutMs: SPAN_MS, callTimeoutMs: SPAN_MS });
  return new ZookeeperLocks(module, settings);
}

function loadClient(load: (name: string) => unknown): ClientModule {
  try {
    return load(PEER) as ClientModule;
  } catch (cause) {
    if (!isMissingPackage(cause, PEER)) throw cause;
    throw new MessagingError(
      'DB_MSG_PEER_MISSING',
      `locks on ZooKeeper need the package "${PEER}": npm install ${PEER}`,
      { cause },
    );
  }
}

class ZookeeperLocks implements LockEngine {
  readonly name = 'zookeeper';
  readonly #module: ClientModule;
  readonly #options: Required<ZookeeperLockOptions>;
  readonly #held = new Map<string, { readonly path: string; readonly session: Session }>();
  /**
   * One watch per name, however many wait: the client keeps each until it fires. Behind a healthy holder that takes weeks, with some looks a second: whoever looks no longer is taken
   * out here, where a promise that all of them wait for would keep what each look hung on it.
   */
  readonly #waiters = new Map<string, Set<Waiter>>();
  #session: Promise<Session> | undefined;
  #closed = false;

  constructor(module: ClientModule, options: Required<ZookeeperLockOptions>) {
    this.#module = module;
    this.#options = options;
  }

  async tryAcquire(name: string, owner: string, ttlMs: number): Promise<LockGrant | undefined> {
    const session = await this.#connected();
    if ((await this.#children(session, name)).length > 0) return undefined;
    const mine = await this.#enqueue(session, name, owner);
    try {
      const [lowest] = await this.#children(session, name);
      if (lowest !== undefined && mine.endsWith(`/${lowest}`)) {
        const stat = await this.#call<Stat | null>(session, (done) => session.client.exists(mine, done));
        if (!stat) return undefined;
        this.#held.set(owner, { path: mine, session });
        return {
          fence: Buffer.from(stat.czxid).readBigInt64BE(),
          ttlMs: Math.min(ttlMs, session.client.getSessionTimeout()),
          gone: session.gone.signal,
        };
      }
      await this.#call(session, (done) => session.client.remove(mine, done));
      return undefined;
    } catch (error) {
      void this.#exorcise(session, name, owner);
      throw error;
    }
  }

  async renew({ owner }: Lease): Promise<boolean> {
    const held = this.#held.get(owner);
    if (!held) return false;
    const { session, path } = held;
    // An answer is the proof that the session lived, and it lives for its whole time-out from then on.
    const stat =
      !session.gone.signal.aborted &&
      (await this.#call<Stat | null>(session, (done) => session.client.exists(path, done)).catch(
        (error: unknown) => {
          if (session.gone.signal.aborted) return null;
          throw error;
        },
      ));
    if (!stat) this.#held.delete(owner);
    return Boolean(stat);
  }

  async release({ name, owner }: Lease): Promise<boolean> {
    const held = this.#held.get(owner);
    if (!held) return false;
    const { session, path } = held;
    if (session.gone.signal.aborted) return this.#held.delete(owner) && false;
    const removed = await this.#call(session, (done) => session.client.remove(path, done)).then(
      () => true,
      (error: unknown) => {
        if (this.#isNoNode(error) || session.gone.signal.aborted) return false;
        // Of a lost grant nobody asks again: its node would block the name as long as this session lives.
        void this.#exorcise(session, name, owner).then(() => this.#held.delete(owner));
        throw error;
      },
    );
    this.#held.delete(owner);
    return removed;
  }

  async freed(name: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { ring: () => resolve(), fail: reject };
    const waiters = this.#waiters.get(name) ?? this.#watched(name);
    waiters.add(waiter);
    signal.addEventListener('abort', waiter.ring);
    try {
      await promise;
    } finally {
      waiters.delete(waiter);
      signal.removeEventListener('abort', waiter.ring);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const session = await this.#session?.catch(() => undefined);
    session?.gone.abort(new MessagingError('DB_MSG_STOPPED', 'the lock engine has been closed'));
    session?.client.close();
  }

  #watched(name: string): Set<Waiter> {
    const waiters = new Set<Waiter>();
    this.#waiters.set(name, waiters);
    void this.#nextChange(name)
      .finally(() => this.#waiters.delete(name))
      .then(
        () => waiters.forEach(({ ring }) => ring()),
        (error: unknown) => waiters.forEach(({ fail }) => fail(error)),
      );
    return waiters;
  }

  /** Rejects once the wait for it is over, and a watch of a session that is gone will never fire. */
  async #nextChange(name: string): Promise<void> {
    const session = await this.#connected();
    const { promise, resolve } = Promise.withResolvers<void>();
    if ((await this.#children(session, name, resolve)).length > 0)
      await orAborted(promise, session.gone.signal);
  }

  async #enqueue(session: Session, name: string, owner: string): Promise<string> {
    const { client } = session;
    const mode = this.#module.CreateMode.EPHEMERAL_SEQUENTIAL;
    try {
      return await this.#call<string>(session, (done) =>
        client.create(`${this.#parent(name)}/${owner}-`, Buffer.from(owner), mode, done),
      );
    } catch (error) {
      if (!this.#isNoNode(error)) {
        // Whether it was made is unknown, and a node that nobody knows of would block the name as long as this session lives.
        void this.#exorcise(session, name, owner);
        throw error;
      }
      await this.#call(session, (done) => client.mkdirp(this.#parent(name), done));
      return this.#enqueue(session, name, owner);
    }
  }

  /** Removes what an attempt may have left, as long as its session lives. */
  async #exorcise(session: Session, name: string, owner: string): Promise<void> {
    while (!session.gone.signal.aborted) {
      try {
        for (const child of await this.#children(session, name))
          if (child.startsWith(owner))
            await this.#call(session, (done) =>
              session.client.remove(`${this.#parent(name)}/${child}`, done),
            );
        return;
      } catch (error) {
        if (this.#isNoNode(error)) return;
        await pause(this.#options.clock, GHOST_RETRY_MS, session.gone.signal);
      }
    }
  }

  /** Lowest first. Empty where the parent is not there yet. */
  async #children(session: Session, name: string, watcher?: () => void): Promise<readonly string[]> {
    try {
      const children = await this.#call<string[]>(session, (done) =>
        session.client.getChildren(this.#parent(name), watcher, done),
      );
      return children.toSorted((a, b) => (a.slice(-10) < b.slice(-10) ? -1 : 1));
    } catch (error) {
      if (this.#isNoNode(error)) return [];
      throw error;
    }
  }

  #parent(name: string): string {
    return `${this.#options.root}/${name}`;
  }

  #isNoNode(error: unknown): boolean {
    const { code } = ((error as Error).cause ?? {}) as { code?: unknown };
    return code === this.#module.Exception.NO_NODE;
  }

  async #call<T>(session: Session, start: (done: Callback<T>) => void): Promise<T> {
    const { clock, callTimeoutMs } = this.#options;
    const answered = new Promise<T>((resolve, reject) =>
      start((error, result) => (error ? reject(faultOf(error)) : resolve(result))),
    );
    return this.#inTime(clock, callTimeoutMs, session.gone.signal, answered);
  }

  /** A call that waits in the client for a reconnect is never answered when the session is gone. */
  async #inTime<T>(clock: Clock, ms: number, gone: AbortSignal, answered: Promise<T>): Promise<T> {
    const done = new AbortController();
    const late = pause(clock, ms, AbortSignal.any([gone, done.signal])).then(() => {
      throw faultOf(new Error(gone.aborted ? 'the session is gone' : `no answer within ${ms} ms`));
    });
    late.catch(() => {});
    try {
      return await Promise.race([answered, late]);
    } finally {
      answered.catch(() => {});
      done.abort();
    }
  }

  #connected(): Promise<Session> {
    if (this.#closed)
      return Promise.reject(new MessagingError('DB_MSG_STOPPED', 'the lock engine has been closed'));
    this.#session ??= this.#open().catch((error: unknown) => {
      this.#session = undefined;
      throw error;
    });
    return this.#session;
  }

  async #open(): Promise<Session> {
    const { servers, sessionTimeoutMs, callTimeoutMs, clock } = this.#options;
    const client = this.#module.createClient(servers.replace(/^zookeeper:\/\//, ''), {
      sessionTimeout: sessionTimeoutMs,
      spinDelay: SPIN_MS,
    });
    const gone = new AbortController();
    const connected = new Promise<void>((resolve) => client.once('connected', resolve));
    const end = (why: string) => (): void => {
      this.#session = undefined;
      gone.abort(new MessagingError('DB_MSG_LOCK_LOST', why));
    };
    client.once('expired', end('the session of ZooKeeper expired'));
    client.once('authenticationFailed', end('ZooKeeper refused the credentials'));
    client.connect();
    try {
      await this.#inTime(clock, callTimeoutMs, gone.signal, connected);
    } catch (error) {
      client.close();
      throw error;
    }
    return { client, gone };
  }
}

/** Leaves no listener behind: a session lasts for months. */
async function orAborted(change: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const aborted = Promise.withResolvers<void>();
  const abort = (): void => aborted.resolve();
  signal.addEventListener('abort', abort);
  try {
    await Promise.race([change, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function faultOf(error: Error): MessagingError {
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `zookeeper: ${error.message}`, { cause: error });
}

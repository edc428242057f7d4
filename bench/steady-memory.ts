/**
 * Loaded with --import before a server whose memory is measured, in every one of its threads: gives the ledger's writer a small page cache, full from the
 * start, so that what grows is what members cost and not a cache that fills; and collects garbage when it is told on `collect`, so that it
 * is not what waits for a collection either. Needs --expose-gc. Nothing else of the server differs.
 */
import { registerHooks } from 'node:module';
import { BroadcastChannel } from 'node:worker_threads';
import { cacheSetting, collectChannel } from './system.ts';

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (!/\/ledgers\/sqlite\/[^/]+\.ts$/.test(url) || loaded.source === undefined || loaded.source === null)
      return loaded;
    return { ...loaded, source: String(loaded.source).replace(cacheSetting, 'PRAGMA cache_size = -2048') };
  },
});

const told = new BroadcastChannel(collectChannel);
told.onmessage = () => globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
told.unref();

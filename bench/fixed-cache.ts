/**
 * Loaded with --import before a server whose memory is measured: gives the ledger's writer a small page cache, full from the start, so that what grows is
 * what members cost and not a cache that fills. Works in every thread; nothing else of the server differs.
 */
import { registerHooks } from 'node:module';
import { cacheSetting } from './system.ts';

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (!/\/ledgers\/sqlite\/[^/]+\.ts$/.test(url) || (loaded.source ?? null) === null) return loaded;
    return { ...loaded, source: String(loaded.source).replace(cacheSetting, 'PRAGMA cache_size = -2048') };
  },
});

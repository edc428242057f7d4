/** Where a server is, out of what an engine is addressed with: host and port, and nothing else of it. */
import type { ServerAddress } from './engine.ts';

/**
 * Undefined where several are named, because which of them answers is the client's affair and changes, and where no host is. An `@` behind the host may end a
 * password that holds one of the signs that part an address; what looks like the host is a part of the secret then, and nothing is told.
 */
export function serverOf(urls: readonly string[], defaultPort: number): ServerAddress | undefined {
  const [url = '', ...others] = urls;
  const { hostname = '', port = '', pathname = '', search = '', hash = '' } = URL.parse(url) ?? {};
  if (others.length > 0 || hostname === '' || `${pathname}${search}${hash}`.includes('@')) return undefined;
  return { address: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? defaultPort : Number(port) };
}

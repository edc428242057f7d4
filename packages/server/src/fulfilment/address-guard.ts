/**
 * Keeps outbound calls to addresses that people configured away from the inside of the network (server-side request forgery): loopback,
 * private, link-local (cloud metadata), shared, multicast and reserved ranges of IPv4 and IPv6, IPv4 in IPv6 included.
 *
 * Checked at the connection itself, in the name look-up that the connection uses, so that a name which answers differently the second time
 * gains nothing.
 */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

const RANGES: readonly (readonly [address: string, prefix: number, family: 'ipv4' | 'ipv6'])[] = [
  ['0.0.0.0', 8, 'ipv4'],
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.0.0.0', 24, 'ipv4'],
  ['192.0.2.0', 24, 'ipv4'],
  ['192.88.99.0', 24, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['198.18.0.0', 15, 'ipv4'],
  ['198.51.100.0', 24, 'ipv4'],
  ['203.0.113.0', 24, 'ipv4'],
  ['224.0.0.0', 4, 'ipv4'],
  ['240.0.0.0', 4, 'ipv4'],
  // Unspecified, loopback, and every address that carries an IPv4 one: compatible, translated, NAT64, Teredo, 6to4.
  ['::', 96, 'ipv6'],
  ['::ffff:0:0:0', 96, 'ipv6'],
  ['64:ff9b::', 96, 'ipv6'],
  ['64:ff9b:1::', 48, 'ipv6'],
  ['100::', 64, 'ipv6'],
  ['2001::', 32, 'ipv6'],
  ['2001:db8::', 32, 'ipv6'],
  ['2002::', 16, 'ipv6'],
  ['fc00::', 7, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['fec0::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
];

const inside = new BlockList();
for (const [address, prefix, family] of RANGES) inside.addSubnet(address, prefix, family);

/** Whether an address (not a name) lies inside. IPv4 mapped into IPv6 is judged as IPv4 by the list itself. */
export function isInside(address: string): boolean {
  const family = isIP(address);
  return family === 0 || inside.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** Names are judged when they are resolved; an address written out never is resolved, so it is judged here. Null: nothing against it. */
export function refusalOfUrl(url: URL): string | null {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && isInside(host)) return `${host} lies inside the network`;
  return null;
}

/** A look-up that fails with EADDRNOTALLOWED when any address of the name lies inside. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, '', 0);
    const bad = addresses.find(({ address }) => isInside(address));
    if (bad || addresses.length === 0) {
      const refused = Object.assign(
        new Error(`${hostname} resolves to ${bad?.address ?? 'nothing'}, which is not allowed`),
        { code: 'EADDRNOTALLOWED' },
      );
      return callback(refused, '', 0);
    }
    if (options.all)
      return (callback as unknown as (error: null, all: typeof addresses) => void)(null, addresses);
    const [first] = addresses;
    callback(null, first!.address, first!.family);
  });
};

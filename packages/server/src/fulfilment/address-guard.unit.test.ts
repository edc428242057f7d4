import { expect, it } from 'vitest';
import { isInside, refusalOfUrl } from './address-guard.ts';

it.each([
  '127.0.0.1',
  '10.1.2.3',
  '172.31.0.1',
  '192.168.0.1',
  '169.254.169.254',
  '100.64.0.1',
  '0.0.0.0',
  '::1',
  '::',
  'fe80::1',
  'fd00::1',
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '64:ff9b::7f00:1',
  '::127.0.0.1',
  '::ffff:0:127.0.0.1',
  '64:ff9b:1::a00:1',
  '2001:0:7f00:1::',
  'fec0::1',
  '192.88.99.1',
  'not-an-address',
])('%s lies inside', (address) => expect(isInside(address)).toBe(true));
it.each(['1.1.1.1', '93.184.216.34', '172.32.0.1', '2606:4700::1111', '::ffff:1.1.1.1'])(
  '%s does not',
  (address) => expect(isInside(address)).toBe(false),
);

it.each([
  'http://127.0.0.1/',
  'http://[::1]:80/',
  'http://2130706433/',
  'http://0x7f.1/',
  'http://[::ffff:7f00:1]/',
  'http://[::7f00:1]/',
])('refuses %s, however it is written', (url) => {
  expect(refusalOfUrl(new URL(url))).toContain('inside');
});
it('leaves names to the look-up of the connection', () =>
  expect(refusalOfUrl(new URL('https://hooks.example/'))).toBeNull());

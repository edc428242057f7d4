// The remote sources against the provider simulator in a process of its own: what each of its faults looks like from here.
import { afterEach, describe, expect, it } from 'vitest';
import { startProvider } from '../testing/child.ts';
import { createHttpIdempotentSource } from './http-idempotent.ts';
import { createHttpQueryableSource } from './http-queryable.ts';

type Provider = Awaited<ReturnType<typeof startProvider>>;
const providers: Provider[] = [];
afterEach(async () => {
  await Promise.all(providers.splice(0).map(({ child }) => child.kill()));
});
async function provider(...args: string[]): Promise<Provider> {
  const started = await startProvider(args);
  providers.push(started);
  return started;
}
const request = (transactionId: string, signal = AbortSignal.timeout(5_000)) => ({
  transactionId,
  campaignId: 'spring',
  unit: 1,
  poolCode: null,
  signal,
});

describe('an idempotent source', () => {
  it('gets the same voucher for the same id, and another for another', async () => {
    const { url, secret } = await provider();
    const source = createHttpIdempotentSource({ name: 'acme', url, secret });
    const first = await source.issue(request('t1'));
    expect(first).toMatchObject({ result: 'issued' });
    expect(await source.issue(request('t1'))).toMatchObject({
      voucher: { code: (first as { voucher: { code: string } }).voucher.code },
    });
    expect(await source.issue(request('t2'))).not.toMatchObject({
      voucher: { code: (first as { voucher: { code: string } }).voucher.code },
    });
  });
  it('does not know when the provider hangs up, and finds the voucher by asking again', async () => {
    const { url, secret, audit } = await provider('--drop-share', '1');
    const source = createHttpIdempotentSource({ name: 'acme', url, secret });
    expect(await source.issue(request('t1'))).toMatchObject({
      result: 'unknown',
      errorCode: 'connection-lost',
    });
    expect(await source.issue(request('t1'))).toMatchObject({
      result: 'issued',
      voucher: { code: (await audit()).issued[0]!.code },
    });
  });
  it('does not know when the provider is too slow', async () => {
    const { url, secret } = await provider('--latency-ms', '2000');
    const source = createHttpIdempotentSource({ name: 'acme', url, secret });
    expect(await source.issue(request('t1', AbortSignal.timeout(100)))).toMatchObject({
      result: 'unknown',
      errorCode: 'timeout',
    });
  });
  it('knows a refusal, a throttle and a provider that is not there', async () => {
    const { url, secret } = await provider('--rate-per-second', '1', '--refuse-share', '1');
    const source = createHttpIdempotentSource({ name: 'acme', url, secret });
    expect(await source.issue(request('t1'))).toMatchObject({
      result: 'refused',
      errorCode: 'http-403',
      permanent: false,
    });
    expect(await source.issue(request('t2'))).toMatchObject({
      result: 'refused',
      errorCode: 'http-429',
      retryAfterMs: 1_000,
    });
    const gone = await provider();
    await gone.child.kill();
    const nobody = createHttpIdempotentSource({ name: 'acme', url: gone.url, secret });
    expect(await nobody.issue(request('t1'))).toMatchObject({ result: 'refused', errorCode: 'unreachable' });
  });
  it('check tells of a wrong secret, an absent provider and too few vouchers', async () => {
    const { url, secret } = await provider('--available', '5');
    expect(await createHttpIdempotentSource({ name: 'acme', url, secret }).check('spring', 5)).toEqual([]);
    expect(await createHttpIdempotentSource({ name: 'acme', url, secret }).check('spring', 6)).toHaveLength(
      1,
    );
    expect(
      (await createHttpIdempotentSource({ name: 'acme', url, secret: 'wrong' }).check('spring', 1))[0],
    ).toContain('401');
    expect(
      await createHttpIdempotentSource({ name: 'acme', url: 'http://127.0.0.1:1', secret }).check(
        'spring',
        1,
      ),
    ).toHaveLength(1);
  });
});

describe('a queryable source', () => {
  const source = ({ url, secret }: Provider) =>
    createHttpQueryableSource({ name: 'acme', url, secret, longestFlightMs: 100 });

  it('tells what became of an id', async () => {
    const acme = source(await provider('--class', 'queryable'));
    expect(await acme.query!(request('t1'))).toEqual({ result: 'not-found' });
    await acme.issue(request('t1'));
    expect(await acme.query!(request('t1'))).toMatchObject({ result: 'issued' });
    expect(await acme.cancel!(request('t1'))).toMatchObject({ result: 'issued' });
    expect(await acme.issue(request('t1'))).toMatchObject({ result: 'unknown', errorCode: 'http-409' });
  });
  it('a cancelled id is dead: a request that comes late cannot land', async () => {
    const started = await provider('--class', 'queryable');
    const acme = source(started);
    expect(await acme.cancel!(request('t1'))).toEqual({ result: 'cancelled' });
    expect(await acme.issue(request('t1'))).toMatchObject({ result: 'unknown', errorCode: 'http-410' });
    expect(await acme.query!(request('t1'))).toEqual({ result: 'cancelled' });
    expect((await started.audit()).issued).toEqual([]);
  });
});

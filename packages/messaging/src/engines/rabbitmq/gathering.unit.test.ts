/** Writes of one turn leave as one call, in order, and nothing stays behind; without it each leaves by itself. */
import { Writable } from 'node:stream';
import type { ChannelModel } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { gatherWrites } from './gathering.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Each call that would go to the system, as one text. A socket answers at once as long as the system has room. */
function socket(): { readonly stream: Writable; readonly calls: string[] } {
  const calls: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      calls.push(chunk);
      done();
    },
    writev(chunks, done) {
      calls.push(chunks.map(({ chunk }) => chunk as string).join(''));
      done();
    },
  });
  return { stream, calls };
}

const modelOf = (connection: object): ChannelModel => ({ connection }) as unknown as ChannelModel;

function writeAll(stream: Writable, texts: readonly string[]): void {
  for (const text of texts) stream.write(text);
}

describe('gatherWrites', () => {
  it('makes one call of what is written in a turn', async () => {
    const { stream, calls } = socket();
    gatherWrites(modelOf({ stream }));
    writeAll(stream, ['a', 'b', 'c']);
    expect(calls).toEqual([]);
    await turn();
    writeAll(stream, ['d', 'e']);
    await turn();
    expect(calls).toEqual(['abc', 'de']);
  });

  it('leaves a call to each without it (control)', async () => {
    const { stream, calls } = socket();
    writeAll(stream, ['a', 'b', 'c']);
    await turn();
    expect(calls).toEqual(['a', 'b', 'c']);
  });

  it('lets nothing behind when the stream ends in the same turn', async () => {
    const { stream, calls } = socket();
    gatherWrites(modelOf({ stream }));
    writeAll(stream, ['a', 'b']);
    stream.end('c');
    await turn();
    await turn();
    expect(calls.join('')).toBe('abc');
    expect(stream.writableFinished).toBe(true);
  });

  it('copies a few small pieces into one, and leaves many or large ones as they are', async () => {
    const calls: (readonly [kind: string, bytes: number])[] = [];
    const stream = new Writable({
      write(chunk: Buffer, encoding, done) {
        calls.push([`one ${encoding}`, chunk.length]);
        done();
      },
      writev(chunks, done) {
        calls.push([
          `list of ${chunks.length}`,
          chunks.reduce((sum, { chunk }) => sum + (chunk as Buffer).length, 0),
        ]);
        done();
      },
    });
    gatherWrites(modelOf({ stream }));
    for (const bytes of [
      [20, 21],
      [16_384, 1],
      [16_000, 384],
    ]) {
      for (const one of bytes) stream.write(Buffer.alloc(one, 1));
      await turn();
    }
    expect(calls).toEqual([
      ['one buffer', 41],
      ['list of 2', 16_385],
      ['one buffer', 16_384],
    ]);
  });

  it('leaves a client whose socket is elsewhere as it is', () => {
    expect(() => gatherWrites(modelOf({}))).not.toThrow();
    expect(() => gatherWrites(modelOf({ stream: 'no stream' }))).not.toThrow();
  });
});

import { describe, expect, it } from 'vitest';
import { encodeFrame, FrameError, FrameReader } from './frames.ts';

const values = [{ a: 1 }, 'text', { long: '선착순 '.repeat(5_000) }, [], null];
const stream = Buffer.concat(values.map(encodeFrame));

describe('frames', () => {
  it.each([1, 2, 3, 5, 7, 4_096, stream.length])('come out whole when %i bytes arrive at a time', (size) => {
    const reader = new FrameReader(1_000_000);
    const read: unknown[] = [];
    for (let at = 0; at < stream.length; at += size)
      read.push(...reader.read(stream.subarray(at, at + size)));
    expect(read).toEqual(values);
  });

  it('are refused when they are longer than the limit, before their bytes have come', () => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(0xff_ff_ff_ff);
    expect(() => new FrameReader(100).read(header)).toThrow(FrameError);
  });

  it('are refused when they are not JSON', () => {
    const frame = Buffer.from([0, 0, 0, 3, 0xff, 0xfe, 0x7b]);
    expect(() => new FrameReader(100).read(frame)).toThrow('not JSON');
  });
});

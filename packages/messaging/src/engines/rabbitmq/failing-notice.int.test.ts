/** An application whose `onNotice` throws: it is told in the event of the socket that closed, and the connection comes back all the same. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { eventually } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { orders, rabbitUrl, withBus, withFixture } from './conformance-fixture.ts';
import { createCutter } from './cutter.ts';

describe.skipIf(!rabbitUrl)('a notice that throws (needs RABBITMQ_URL)', () => {
  it.each<[string, (kind: string) => boolean]>([
    ['of any kind', () => true],
    ['of a lost connection', (kind) => kind === 'disconnected'],
  ])('%s keeps no connection from coming back, and ends no process', (_, isBroken) =>
    withFixture({}, async (fixture) => {
      const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
      const uncaught: unknown[] = [];
      const keep = (error: unknown): void => void uncaught.push(error);
      process.prependListener('uncaughtException', keep);
      onTestFinished(() => {
        warned.mockRestore();
        process.off('uncaughtException', keep);
      });
      const cutter = await createCutter(rabbitUrl ?? '');
      const told: string[] = [];
      const engine = fixture.engine({
        url: cutter.url,
        onNotice: ({ kind }) => {
          told.push(kind);
          if (isBroken(kind)) throw new Error('a broken notice');
        },
      });
      const connected = async (): Promise<number> => told.filter((kind) => kind === 'connected').length;
      try {
        await withBus(engine, [orders], async (bus) => {
          const got: string[] = [];
          const handler = ({ id }: { readonly id: string }) => {
            got.push(id);
            return ack();
          };
          await bus.subscribe(orders, { name: 'one', handler }).started;
          cutter.slam();
          await eventually(connected, (count) => count >= 4, 'both connections back');
          const { id } = await bus.publish(orders, { n: 1 });
          await eventually(
            async () => got,
            (ids) => ids.includes(id),
            'a message after the slam',
          );
        });
      } finally {
        await cutter.close();
      }
      expect(told).toContain('disconnected');
      expect(uncaught).toEqual([]);
      expect(warned).toHaveBeenCalledTimes(1);
    }),
  );
});

/** A connection tells of a client that the engine was not tried with, before it does anything with it. No server is needed: nobody listens where it connects to. */
import { expect, it, vi } from 'vitest';
import { systemClock } from '../../clock.ts';
import { TRIED_CLIENT } from './client-version.ts';
import { createKafkaEngine } from './engine.ts';
import type { KafkaNotice } from './options.ts';

vi.mock(import('./client-version.ts'), async (original) => {
  const { tellOfUntriedClient, ...rest } = await original();
  return { ...rest, tellOfUntriedClient: (onNotice) => tellOfUntriedClient(onNotice, '9.9.9') };
});

it('each connect tells of another version of the client', async () => {
  const notices: KafkaNotice[] = [];
  const engine = createKafkaEngine({
    url: 'kafka://127.0.0.1:1',
    requestTimeoutMs: 500,
    onNotice: (notice) => notices.push(notice),
  });
  const connecting = engine.connect({ clock: systemClock, onFatal: () => {} });
  await expect(connecting).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
  expect(notices).toEqual([{ kind: 'untriedClient', version: '9.9.9', tried: TRIED_CLIENT }]);
});

/** The client is the one that the engine is tried with, and another one is told of: to whoever listens, else as a warning of the process. */
import { clientSoftwareVersion } from '@platformatic/kafka';
import { expect, it, onTestFinished, vi } from 'vitest';
import { engineLoadedBy } from '../../engine-from-url.ts';
import { TRIED_CLIENT, tellOfUntriedClient } from './client-version.ts';
import { type KafkaNotice, settingsOf } from './options.ts';

it('the client that is installed is the tried one, and nothing is said of it', () => {
  expect(clientSoftwareVersion).toBe(TRIED_CLIENT);
  const notices: KafkaNotice[] = [];
  tellOfUntriedClient((notice) => notices.push(notice));
  expect(notices).toEqual([]);
});

it('is the one that is asked for where the client is missing', async () => {
  const load = async (): Promise<never> => {
    throw Object.assign(new Error("Cannot find package '@platformatic/kafka' imported from engine.js"), {
      code: 'ERR_MODULE_NOT_FOUND',
    });
  };
  await expect(engineLoadedBy(load, 'kafka://localhost')).rejects.toThrow(
    `npm install @platformatic/kafka@${TRIED_CLIENT}`,
  );
});

it('another version is told to whoever listens', () => {
  const notices: KafkaNotice[] = [];
  tellOfUntriedClient((notice) => notices.push(notice), '2.13.0');
  expect(notices).toEqual([{ kind: 'untriedClient', version: '2.13.0', tried: TRIED_CLIENT }]);
});

it('and is a warning of the process where nobody does', () => {
  const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  onTestFinished(() => warning.mockRestore());
  tellOfUntriedClient(settingsOf({ url: 'kafka://localhost' }).onNotice, '3.0.0');
  expect(warning.mock.calls).toEqual([
    [expect.stringContaining('@platformatic/kafka 3.0.0'), { type: 'DoorbusterKafkaWarning' }],
  ]);
});

/**
 * Negative controls of what the toolkit does above every engine: contracts, upcasters, replies. No wrapper around an engine reaches that, so the modules that do it are exchanged for ones
 * that leave it out while a case runs. On the embedded engine, for the code is the same on all.
 */
import { describe, it, vi } from 'vitest';
import type * as Reading from '../../reading.ts';
import type * as ReplyChannel from '../../reply-channel.ts';
import { caseNamed, type Control, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { createInProcessFixture } from './conformance-fixture.ts';

const planted = vi.hoisted(() => ({ defect: '' }));

vi.mock('../../reading.ts', async (real) => {
  const { readMessage, ...others } = await real<typeof Reading>();
  const read: typeof readMessage = (channel, received) => {
    if (planted.defect === 'the contract is not asked on receipt')
      return readMessage({ ...channel, read: (data) => ({ data }) }, received);
    if (planted.defect === 'upcasters are skipped') {
      const { upcasters: _, ...definition } = channel.definition;
      return readMessage({ ...channel, definition }, received);
    }
    return readMessage(channel, received);
  };
  return { ...others, readMessage: read };
});

vi.mock('../../reply-channel.ts', async (real) => {
  const { makeReply, ...others } = await real<typeof ReplyChannel>();
  const make: typeof makeReply = (parts, request, channel, data) =>
    makeReply(parts, request, planted.defect === 'the reply is not checked' ? undefined : channel, data);
  return { ...others, makeReply: make };
});

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Record<string, string>> = {
  'the contract is not asked on receipt': 'one that breaks the contract become dead letters',
  'upcasters are skipped': 'upcasters make an old message as new as the contract',
  'the reply is not checked': 'request and reply, a reply that breaks its contract',
};

// A healthy engine needs a tenth of it for each of these cases.
limitPatience(3_000);

describe('defects planted into the toolkit', { timeout: 30_000 }, () => {
  registerControls(
    it,
    'embedded',
    Object.entries(seenBy).map(([defect, part]): Control => {
      const { name, run } = caseNamed(conformanceCases, part);
      return {
        defect,
        caughtBy: name,
        healthy: () => onFixture(createInProcessFixture, run),
        async defective() {
          planted.defect = defect;
          try {
            await onFixture(createInProcessFixture, run);
          } finally {
            planted.defect = '';
          }
        },
      };
    }),
  );
});

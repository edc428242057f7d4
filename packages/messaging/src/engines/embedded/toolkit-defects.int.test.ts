/**
 * Negative controls of what the toolkit does above every engine: contracts, upcasters, replies, layers around handlers, what channels require. No wrapper around an engine reaches that, so
 * the modules that do it are exchanged for ones that do less or otherwise while a case runs. On the embedded engine, for the code is the same on all.
 */
import { describe, it, vi } from 'vitest';
import type * as MiddlewareModule from '../../middleware.ts';
import type * as Reading from '../../reading.ts';
import type * as ReplyChannel from '../../reply-channel.ts';
import type * as Requirements from '../../requirements.ts';
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

vi.mock('../../middleware.ts', async (real) => {
  const { withMiddleware, ...others } = await real<typeof MiddlewareModule>();
  const make: typeof withMiddleware = (handler, layers) => {
    if (planted.defect === 'two layers change places') return withMiddleware(handler, layers.toReversed());
    if (planted.defect !== 'what is inside runs though a layer answers by itself')
      return withMiddleware(handler, layers);
    const neverAlone = layers.map((layer): typeof layer => async (message, context, next) => {
      let asked = false;
      const outcome = await layer(message, context, () => {
        asked = true;
        return next();
      });
      if (!asked) await next();
      return outcome;
    });
    return withMiddleware(handler, neverAlone);
  };
  return { ...others, withMiddleware: make };
});

vi.mock('../../requirements.ts', async (real) => {
  const { refuseUnmet, ...others } = await real<typeof Requirements>();
  const refuse: typeof refuseUnmet = (engine, can, channels, standing) => {
    if (planted.defect === 'the start lets everything through') return;
    const isUnread = planted.defect === 'the start does not look at broadcast';
    refuseUnmet(engine, isUnread ? { ...can, broadcast: 'native' } : can, channels, standing);
  };
  return { ...others, refuseUnmet: refuse };
});

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Record<string, string>> = {
  'the contract is not asked on receipt': 'one that breaks the contract become dead letters',
  'upcasters are skipped': 'upcasters make an old message as new as the contract',
  'the reply is not checked': 'request and reply, a reply that breaks its contract',
  'two layers change places': 'layers lie around the handler',
  'what is inside runs though a layer answers by itself': 'layers lie around the handler',
  'the start lets everything through': 'what the engine does not state is refused',
  'the start does not look at broadcast': 'what the engine does not state is refused',
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

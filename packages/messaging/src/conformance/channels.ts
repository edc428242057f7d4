/** The channels of the conformance cases. */
import Type from 'typebox';
import { defineChannel } from '../channel.ts';

/** Emulations are accepted everywhere here: the cases hold an engine to the same behaviour, however it comes about. */
const inOrder = { emulation: ['order'] } as const;
const schema = Type.Object({ n: Type.Integer() }, { additionalProperties: false });

export const plain = defineChannel({ name: 'conformance.plain', version: 1, schema });
export const delayed = defineChannel({
  name: 'conformance.delayed',
  version: 1,
  schema,
  requires: { delay: { maxMs: 60_000 }, emulation: ['delay'] },
});
export const ranked = defineChannel({
  name: 'conformance.ranked',
  version: 1,
  schema,
  requires: { priority: { levels: 3 }, emulation: ['priority'] },
});
export const expiring = defineChannel({
  name: 'conformance.expiring',
  version: 1,
  schema,
  requires: { ttl: true, emulation: ['ttl'] },
});
export const asked = defineChannel({
  name: 'conformance.asked',
  version: 1,
  schema,
  reply: Type.Object({ doubled: Type.Integer() }),
});
export const skipping = defineChannel({
  name: 'conformance.skipping',
  version: 1,
  schema,
  order: 'key',
  onFailure: 'skip',
  requires: inOrder,
});
export const blocking = defineChannel({
  name: 'conformance.blocking',
  version: 1,
  schema,
  order: 'key',
  onFailure: 'blockKey',
  requires: inOrder,
});
export const sequenced = defineChannel({
  name: 'conformance.sequenced',
  version: 1,
  schema,
  order: 'key',
  requires: inOrder,
});

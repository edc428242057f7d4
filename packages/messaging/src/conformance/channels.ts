/** The channels of the conformance cases. */
import Type from 'typebox';
import { defineChannel } from '../channel.ts';
import type { Encoding } from '../encoding.ts';

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

export const direct = defineChannel({
  name: 'conformance.direct',
  version: 1,
  schema,
  requires: { routing: 'direct', emulation: ['routing'] },
});
export const topic = defineChannel({
  name: 'conformance.topic',
  version: 1,
  schema,
  requires: { routing: 'topic', emulation: ['routing'] },
});
export const byHeaders = defineChannel({
  name: 'conformance.headers',
  version: 1,
  schema,
  requires: { routing: 'headers', emulation: ['routing'] },
});
export const kept = defineChannel({
  name: 'conformance.kept',
  version: 1,
  schema,
  requires: { replay: { keepMs: 600_000 } },
});
export const notices = defineChannel({
  name: 'conformance.notices',
  version: 1,
  schema,
  requires: { broadcast: true },
});
export const wide = defineChannel({
  name: 'conformance.wide',
  version: 1,
  schema: Type.Object({ n: Type.Integer(), text: Type.Optional(Type.String()) }),
});

/** One channel in two versions of its contract, as a publisher of last year and a consumer of today know it. */
export const versionOne = defineChannel({ name: 'conformance.versioned', version: 1, schema });
export const versionThree = defineChannel({
  name: 'conformance.versioned',
  version: 3,
  schema: Type.Object({ amount: Type.Integer(), currency: Type.String() }, { additionalProperties: false }),
  upcasters: {
    1: ({ n }: { n: number }) => ({ amount: n }),
    2: (data: object) => ({ ...data, currency: 'EUR' }),
  },
});

/** Four bytes a message, most of which are no text in any charset. */
const bytes: Encoding = {
  contentType: 'application/x-conformance-int32',
  encode: (data) => {
    const written = Buffer.alloc(4);
    written.writeInt32BE((data as { n: number }).n);
    return written;
  },
  decode: (encoded) => {
    if (encoded.length !== 4) throw new TypeError(`${encoded.length} bytes, not 4`);
    return { n: Buffer.from(encoded).readInt32BE() };
  },
};
export const encoded = defineChannel({ name: 'conformance.encoded', version: 1, schema, encoding: bytes });

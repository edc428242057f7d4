import { describe, expect, it } from 'vitest';
import { MessagingError } from '../../errors.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { ConnectionWatch } from './connection-watch.ts';
import { ownConnection, type Peer, watchedBy } from './peers.ts';

const graceMs = 500;
const endedGraceMs = 150;
const holdMs = 2_500;
const peer = (instance: string, connection: string, beat = '1'): Peer => ({ instance, beat, connection });

/** A server with connections by id, and a watch named `a` on them. */
function watching(peers: Peer[], { hidden = false, roundTripMs = 0 } = {}) {
  const clock = createManualClock();
  const open = new Map(peers.map(({ instance, connection }) => [connection, instance]));
  const gone: string[] = [];
  let censuses = 0;
  const watch: ConnectionWatch = new ConnectionWatch({
    client: {
      async send([, , kind, ...named]) {
        clock.advance(roundTripMs);
        if (kind === undefined && hidden) throw new MessagingError('DB_MSG_ENGINE_REFUSED', 'redis: NOPERM');
        const ids = kind === undefined ? [...open.keys()] : named;
        const lines = ids
          .filter((id) => open.has(id))
          .map((id) => `id=${id} name=doorbuster-${open.get(id)} age=1`);
        return lines.join('\n');
      },
    },
    clock,
    instance: 'a',
    graceMs,
    endedGraceMs,
    holdMs,
    async census() {
      censuses += 1;
      watch.learn('1', peers);
      return peers;
    },
    async onGone({ instance }) {
      gone.push(instance);
    },
  });
  watch.learn('1', peers);
  const look = async (afterMs = 0): Promise<readonly string[]> => {
    clock.advance(afterMs);
    await watch.look();
    return gone;
  };
  return { open, peers, look, censuses: () => censuses };
}

const three = (): Peer[] => [peer('a', '1'), peer('b', '2'), peer('c', '3')];

describe('the watch on connections', () => {
  it('asks nobody for anything more while all are there', async () => {
    const { look, censuses } = watching(three());
    expect(await look(10_000)).toEqual([]);
    expect(censuses()).toBe(0);
  });

  it('tells of one whose main connection has been closed for the time of grace, and not before', async () => {
    const { open, look } = watching(three());
    open.delete('2');
    open.set('8', 'b');
    expect(await look()).toEqual([]);
    expect(await look(graceMs - 1)).toEqual([]);
    expect(await look(1)).toEqual(['b']);
  });

  it('tells sooner of one that has no connection of any kind, and not before', async () => {
    const { open, look } = watching(three());
    open.delete('2');
    expect(await look()).toEqual([]);
    expect(await look(endedGraceMs - 1)).toEqual([]);
    expect(await look(1)).toEqual(['b']);
  });

  it('on a long way it gives the time of a reconnect on such a way, and never more than to others', async () => {
    const near = watching(three(), { roundTripMs: 20 });
    near.open.delete('2');
    await near.look();
    // Each look takes a round trip itself.
    expect(await near.look(endedGraceMs + 160 - 61)).toEqual([]);
    const far = watching(three(), { roundTripMs: 400 });
    far.open.delete('2');
    await far.look();
    expect(await far.look(graceMs)).toEqual(['b']);
  });

  it('where it may not ask for all connections nobody is told of sooner', async () => {
    const { open, look } = watching(three(), { hidden: true });
    open.delete('2');
    await look();
    expect(await look(graceMs - 1)).toEqual([]);
    expect(await look(1)).toEqual(['b']);
  });

  it('tells of all that are gone at once', async () => {
    const { open, look } = watching(three());
    open.delete('2');
    open.delete('3');
    await look();
    expect(await look(graceMs)).toEqual(['b', 'c']);
  });

  it.each([
    ['it shows another connection', peer('b', '9', '1')],
    ['it has beaten meanwhile', peer('b', '2', '2')],
  ])('one that comes back within the grace is there: %s', async (_, back) => {
    const { open, peers, look } = watching(three());
    open.delete('2');
    await look();
    peers[1] = back;
    open.set('9', 'b');
    expect(await look(graceMs)).toEqual([]);
  });

  it('an id that belongs to somebody else by now is not its connection', async () => {
    const { open, look } = watching(three());
    open.set('2', 'z');
    await look();
    expect(await look(graceMs)).toEqual(['b']);
  });

  it('after a cut of its own it misses nobody for the time that a beat would give them', async () => {
    const { open, look } = watching(three());
    open.clear();
    await look();
    open.set('1', 'a');
    await look(1);
    expect(await look(graceMs)).toEqual([]);
    await look(holdMs);
    expect(await look(graceMs)).toEqual(['b', 'c']);
  });

  it('looks at nothing where the server tells nothing', async () => {
    const { open, peers, look, censuses } = watching(three().map((one) => ({ ...one, connection: '' })));
    open.clear();
    await look();
    expect(await look(graceMs)).toEqual([]);
    expect([peers.length, censuses()]).toEqual([3, 0]);
  });
});

describe('who watches whom', () => {
  const many = Array.from({ length: 9 }, (_, index) => peer(`i${index}`, String(index)));

  it('each is watched by as many as asked, and nobody watches itself', () => {
    const watched = many.flatMap(({ instance }) => watchedBy(instance, many, 3));
    for (const one of many) expect(watched.filter((other) => other === one)).toHaveLength(3);
    for (const { instance } of many)
      expect(watchedBy(instance, many, 3).map((one) => one.instance)).not.toContain(instance);
  });

  it('whoever is left comes to watch all that ended together, as those in front of them are forgotten', () => {
    let left = many;
    const found = new Set<string>();
    while (left.length > 1) {
      const gone = watchedBy('i4', left, 3).map(({ instance }) => instance);
      for (const one of gone) found.add(one);
      left = left.filter(({ instance }) => !gone.includes(instance));
    }
    expect(found.size).toBe(8);
  });

  it('does not count on those that show no connection', () => {
    expect(watchedBy('a', [peer('a', '1'), peer('b', ''), peer('c', '3')], 3)).toEqual([peer('c', '3')]);
  });
});

describe('whether the server tells of connections', () => {
  const answering = (list: string) => ({
    send: async ([, what]: readonly string[]) => (what === 'ID' ? 7 : list),
  });

  it('the id, when it finds itself', async () => {
    expect(await ownConnection(answering('id=7 addr=x name=doorbuster-a age=1\n'), 'a')).toBe('7');
  });

  it.each(['', 'id=7 addr=x name=other age=1\n'])('nothing, when it does not: %j', async (list) => {
    expect(await ownConnection(answering(list), 'a')).toBe('');
  });

  it('nothing, when it may not ask', async () => {
    const send = async () => {
      throw new MessagingError('DB_MSG_ENGINE_REFUSED', 'redis: NOPERM');
    };
    expect(await ownConnection({ send }, 'a')).toBe('');
  });

  it('a server out of reach says neither', async () => {
    const send = async () => {
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'redis: gone');
    };
    await expect(ownConnection({ send }, 'a')).rejects.toMatchObject({ retryable: true });
  });
});

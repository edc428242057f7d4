// What has to happen to an engine in its tests, and by which tests it does: a situation that nobody comes into any more, because a test was lost,
// renamed or left out, must not look like success. Where an engine cannot come into one, the reason stands here.

/** `shownBy` are parts of the names of tests. */
export interface Situation {
  readonly name: string;
  readonly shownBy: readonly string[];
  /** By engine. */
  readonly without?: Readonly<Record<string, string>>;
}

const dropping = 'consumers drop what is not theirs, so nobody knows at publishing';
const oneServer = 'one server: no cluster is taken';

export const situations: readonly Situation[] = [
  {
    name: 'SIGKILL',
    shownBy: ['SIGKILL between receive and handle', 'SIGKILL in the handler'],
    without: { broadcast: 'nothing is kept: what a process had heard dies with it' },
  },
  { name: 'forced close', shownBy: ['connections that break under load', 'closed by force'] },
  {
    name: 'server restart',
    shownBy: [
      'a server that is killed under load',
      'a server killed under load',
      'the case of the suite that kills the server',
      'a server that is killed and comes back',
    ],
  },
  {
    name: 'join and leave',
    shownBy: ['consumers join and leave', 'one that leaves gives back', 'also one that joins later'],
  },
  { name: 'duplicates', shownBy: ['an id that is published twice'] },
  {
    name: 'reordering',
    shownBy: ['order per key holds'],
    without: {
      redisLists: 'no order per key is promised: what is tried again or given back may pass others',
      broadcast: 'no order per key is promised: a retry in memory lets what is heard meanwhile pass',
    },
  },
  {
    name: 'trimming',
    shownBy: [
      'trimming follows',
      'somebody trims',
      'logs that lose records',
      'deleted ahead of',
      'what was settled stays for its time',
    ],
    without: {
      rabbitmq: 'a queue lets go of what was acknowledged, and of nothing else',
      redisLists: 'a list lets go of what was taken, and of nothing else',
      broadcast: 'nothing is kept that could be trimmed',
    },
  },
  {
    name: 'unroutable',
    shownBy: ['a message that no binding takes', 'loses what nobody hears'],
    without: { kafka: dropping, redis: dropping, redisLists: 'a list is one queue, which takes everything' },
  },
  { name: 'oversized', shownBy: ['a message larger than the engine takes'] },
  { name: 'malformed', shownBy: ['a payload that is no CloudEvent'] },
  {
    name: 'one node of three',
    shownBy: ['the node that leads is killed under load', 'one is killed under load'],
    without: {
      embedded: 'one file on one machine',
      redis: oneServer,
      redisLists: oneServer,
      broadcast: oneServer,
    },
  },
];

/** How many of the tests that passed show each of them, or why none does. */
export function situationsOf(engine: string, passed: readonly string[]): Record<string, number | string> {
  return Object.fromEntries(
    situations.map(({ name, shownBy, without }) => {
      const shown = passed.filter((test) => shownBy.some((part) => test.includes(part)));
      return [name, shown.length === 0 ? (without?.[engine] ?? 0) : shown.length];
    }),
  );
}

/**
 * For tests: a process that redrives all dead letters of a subscription and is made to be killed in the middle of it, or to begin in the same moment as another.
 * Arguments: prefix, prefix of the ladder, channel, and what is planted:
 *
 *   copies      nothing is sent any more behind the 100th copy
 *   confirmed   all copies are stored, and no letter is removed
 *   removal     some letters are removed, then no more
 *   careless    the mistake: letters are removed though no copy was sent; stops as `removal` does
 *   together    stops when it has seen that nobody looks through the letters, until SIGUSR2
 *   greedy      the mistake: as `together`, and takes for all what it gets beside another; stops with that in its hands, until SIGUSR2 comes again
 *
 * It tells `halted` at its point, `holding` at the second one, and `moved <count>` at its end.
 */
import { writeSync } from 'node:fs';
import type { ConfirmChannel } from 'amqplib';
import { createBus } from '../../bus.ts';
import { signal } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { inOrder, orders, rabbitUrl } from './conformance-fixture.ts';
import { createRabbitEngine } from './engine.ts';
import { type Method, withDefect } from './wire-defects.ts';

const COPIES = 100;
const REMOVALS = 3;

type Plan = readonly (readonly [method: string, instead: (real: Method) => Method])[];

const [prefix = '', ladderPrefix = '', channelName = '', planted = ''] = process.argv.slice(2);
const channel = channelName === inOrder.name ? inOrder : orders;
const told = new Set<string>();
/** Straight to the descriptor: it is out before a kill can come. */
function tell(line: string): void {
  if (!told.has(line)) writeSync(1, `${line}\n`);
  told.add(line);
}

/** The first calls are made; then it stands still, and tells so when `done` says that they have come to their end. */
const haltAfter =
  (count: number, done: (channel: ConfirmChannel) => Promise<unknown> = async () => {}) =>
  (real: Method): Method => {
    let calls = 0;
    return function halting(this: ConfirmChannel, ...args: readonly unknown[]) {
      calls += 1;
      if (calls <= count) return Reflect.apply(real, this, args);
      return void done(this).then(() => tell('halted'));
    } as Method;
  };

const [goOn, goOnAgain] = [signal(), signal()];
process.on('SIGUSR2', () => (told.has('holding') ? goOnAgain : goOn).fire());

/** The first answer is kept until the other has one too. */
const askTogether = (real: Method): Method => {
  let isFirst = true;
  return async function checkQueue(this: unknown, queue: string) {
    const answer: unknown = await Reflect.apply(real, this, [queue]);
    if (!isFirst) return answer;
    isFirst = false;
    tell('halted');
    await goOn.fired;
    return answer;
  } as Method;
};

/** Behind the first answer it hears that it is alone and that nothing is left. */
const hearAlone = (real: Method): Method => {
  const ask = askTogether(real);
  return async function checkQueue(this: unknown, queue: string) {
    if (!told.has('halted')) return Reflect.apply(ask, this, [queue] as never);
    tell('holding');
    await goOnAgain.fired;
    return { queue, messageCount: 0, consumerCount: 1 };
  } as Method;
};

/** Half of the letters. */
const takeHalf = (real: Method): Method =>
  function prefetch(this: unknown) {
    return Reflect.apply(real, this, [125]);
  } as Method;

const confirmUnsent: Plan = [
  ['sendMessage', () => function sendMessage() {} as Method],
  ['pushConfirmCallback', () => ((done: () => void) => queueMicrotask(done)) as Method],
];

const plans: Readonly<Record<string, Plan>> = {
  copies: [['sendMessage', haltAfter(COPIES, (channel) => channel.waitForConfirms())]],
  confirmed: [['ack', haltAfter(0)]],
  removal: [['ack', haltAfter(REMOVALS)]],
  careless: [...confirmUnsent, ['ack', haltAfter(REMOVALS)]],
  together: [['checkQueue', askTogether]],
  greedy: [
    ['checkQueue', hearAlone],
    ['prefetch', takeHalf],
  ],
};

/** What the mistake of a greedy one needs: the broker lends the letters to both. */
export const withoutSingleReader = (real: Method): Method =>
  function assertQueue(this: unknown, name: string, options: { readonly arguments?: object } = {}) {
    if (!name.endsWith('/dead')) return Reflect.apply(real, this, [name, options]);
    const { 'x-single-active-consumer': _, ...others } = { ...options.arguments } as Record<string, unknown>;
    return Reflect.apply(real, this, [name, { ...options, arguments: others }]);
  } as Method;

async function redriveAll(): Promise<void> {
  const bus = createBus({
    engine: createRabbitEngine({ url: rabbitUrl ?? '', prefix, ladderPrefix, partitions: 4 }),
    source: '/redrive-child',
  });
  bus.declare([channel]);
  await bus.start();
  // Known from then on; the letters are found by it.
  const subscription = bus.subscribe(channel, { name: 'one', handler: () => ack() });
  await subscription.started;
  await subscription.stop({ drainMs: 0 });
  const redriving = (plans[planted] ?? []).reduce<() => Promise<void>>(
    (inner, [method, instead]) =>
      () =>
        withDefect(method, instead, inner),
    async () => tell(`moved ${(await bus.deadLetters.redrive({})).moved}`),
  );
  await redriving();
  await bus.stop({ drainMs: 0 });
}

if (process.argv[1] === import.meta.filename)
  await (planted === 'greedy' ? withDefect('assertQueue', withoutSingleReader, redriveAll) : redriveAll());

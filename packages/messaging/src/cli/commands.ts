/** The command table: the parser, the help and docs/messaging/cli.md are made of it. */
import type { Command, Family, OptionSpecs } from './command.ts';
import { asyncapi } from './commands/asyncapi.ts';
import { groups, list, show } from './commands/dead-letters.ts';
import { inspect, peek } from './commands/inspect.ts';
import { discardParked, parked, retryParked } from './commands/outbox.ts';
import { publish, replay } from './commands/publish.ts';
import { reconciliation } from './commands/reconcile.ts';
import { discard, editAndRedrive, redrive } from './commands/redrive.ts';

export const PROGRAM = 'doorbuster-bus';

export const commands: readonly Command[] = [
  inspect,
  peek,
  groups,
  list,
  show,
  redrive,
  editAndRedrive,
  discard,
  replay,
  parked,
  retryParked,
  discardParked,
  reconciliation,
  publish,
  asyncapi,
];

export const families: readonly Family[] = [
  {
    name: 'dead-letters',
    summary: 'shows what failed for good, and why',
    details:
      'Looks and moves nothing. What is to become of a dead letter is said by redrive, edit-and-redrive and discard, which take the same filters as "dead-letters list".',
  },
  {
    name: 'outbox',
    summary: 'shows what the relay of an outbox could never publish, and decides about it',
    details:
      'An outbox lies in a database of the application: these commands are given its address and connect to no engine. The relay may run meanwhile; it sees a decision at its next sweep.',
  },
];

export const globalOptions: OptionSpecs = {
  url: {
    value: '<url>',
    description:
      'the engine: sqlite:./bus.db, amqp://..., kafka://..., redis://..., redis-lists://..., redis-pubsub://...; ?prefix= sets its prefix',
    standard: 'DOORBUSTER_BUS_URL',
  },
  channels: {
    value: '<module>',
    description: 'module that exports the channels (and "subscriptions"); RabbitMQ and Kafka need it',
  },
  json: { description: 'data as JSON; a failure is one JSON object on stdout too' },
  quiet: { description: 'no messages but errors' },
  'no-input': { description: 'never read a terminal; for scripts' },
  help: { description: 'what it does and takes; -h too' },
  version: { description: 'the version of the toolkit' },
};

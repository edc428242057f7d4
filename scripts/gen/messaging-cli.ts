// docs/messaging/cli.md: every command, option and exit code of doorbuster-bus, from its command table.

import type { Command, Family, OptionSpecs } from '../../packages/messaging/src/cli/command.ts';
import { commands, families, globalOptions, PROGRAM } from '../../packages/messaging/src/cli/commands.ts';
import { type Exits, exitMeanings } from '../../packages/messaging/src/cli/exits.ts';
import { flagOf, usageOf } from '../../packages/messaging/src/cli/help.ts';
import { type Generator, notice } from './generated.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function optionTable(options: OptionSpecs): string[] {
  const rows = Object.entries(options).map(([name, spec]) => {
    const standard = spec.isRequired ? 'required' : spec.standard === undefined ? '' : `\`${spec.standard}\``;
    return `| \`${cell(flagOf(name, spec))}\` | ${standard} | ${cell(spec.description)} |`;
  });
  return rows.length === 0 ? [] : ['| option | default | what it does |', '|---|---|---|', ...rows, ''];
}

function section(command: Command): string[] {
  return [
    `## ${command.name}`,
    '',
    sentence(command.summary),
    ...(command.details === undefined ? [] : ['', command.details]),
    '',
    '```sh',
    usageOf(command),
    ...command.examples.map((example) => `${PROGRAM} ${example}`),
    '```',
    '',
    ...optionTable(command.options),
    ...exitTable(command.exits),
    '',
  ];
}

function exitTable(exits: Exits): string[] {
  const rows = Object.entries(exits).map(([code, when]) => `| ${code} | ${cell(when)} |`);
  return ['| exit code | when |', '|---|---|', ...rows];
}

const familyLine = ({ name, summary }: Family): string =>
  `- \`${PROGRAM} ${name} --help\` tells of all that begins with \`${name}\`, which ${summary}.`;

function commandPage(): string {
  return [
    notice,
    '# doorbuster-bus',
    '',
    'Looks at a message bus and mends it: on the embedded file, RabbitMQ, Kafka or Redis, without the application. It comes with `@doorbuster/messaging`:',
    '`npx doorbuster-bus <command>` in the folder of whoever installed it, in a clone `npm run -s bus -- <command>`.',
    '',
    '- Data goes to stdout, messages and progress to stderr; progress is drawn on a terminal only, `NO_COLOR` is honoured.',
    '- `--json` prints one JSON document. A failure is then one JSON object on stdout too: `error`, `code`, `remedy`, `exitCode`. The `code` is one of the',
    '  [errors of the toolkit](../reference/errors.md) (`DB_MSG_...`), `CLI` where the command line, a file of yours or the Node that runs it is refused, or the module of `--channels` fails,',
    '  or `UNEXPECTED` for a bug. What is unexpected ends with code 1, and stderr has the places of its stack, never a line of a source: passwords stand in such lines.',
    '- Options may stand anywhere, between the two words of a command too. A command line that is refused is told without the password of an address that stands in it.',
    '- Nothing is ever asked. What cannot be undone needs the name again, with `--confirm`.',
    '- It connects below the bus: it starts no subscription and changes no channel that it knows by name only.',
    '- Each command tells what it does, its options, its exit codes and examples: `doorbuster-bus <command> --help`, or `-h`, or `doorbuster-bus help <command>`.',
    ...families.map(familyLine),
    '- What is [in a view](view.md), field by field and engine by engine.',
    '',
    '## Which engine, which channels',
    '',
    '`--url`, or `DOORBUSTER_BUS_URL`:',
    '',
    '| URL | engine | notes |',
    '|---|---|---|',
    '| `sqlite:./bus.db` | embedded | The file belongs to one process. While the application runs, the command ends with code 3 and `DB_MSG_ENGINE_LOCKED`: stop the application, or let it answer itself (`bus.view()`, `bus.deadLetters`). Where the application shares its file (`share`), `?share=true` looks at it while it runs: as [a guest](engines/embedded.md#tools) that never hosts the file, so a `--watch` that is suspended or forgotten holds up nobody. A file that is not there is not made, and what the application keeps for later subscriptions (`keepUnsubscribedMs`) is not deleted by a look. |',
    '| `amqp://user:secret@host:5672/vhost`, `amqps://` | RabbitMQ | AMQP cannot list queues: give `--channels` with a module that exports `subscriptions`. |',
    '| `kafka://one:9092,two:9092` | Kafka | The same. |',
    '| `redis://host:6379/0`, `rediss://` | Redis Streams | Lists what is stored under the prefix. |',
    '| `redis-lists://host:6379/0`, `rediss-lists://` | Redis lists | The same. |',
    '| `redis-pubsub://host:6379/0`, `rediss-pubsub://` | Redis Pub/Sub | For `publish`: nothing is stored, so there is nothing to look at, and no dead letter: a command that names either ends with code 2 and says so. |',
    '',
    '`?prefix=shop.` names the prefix when the application sets one. `--channels ./channels.ts` names a module: every channel it exports is known with its contract and is',
    'declared as the application would, and so is what it exports as `subscriptions` (`[{ channel, name }]`). `publishes` and `service` are for `asyncapi`, `reconciliation` is for `reconcile`,',
    '`decisions` is where [what people decide about dead letters](patterns/reconciliation.md#what-people-decided) is noted by `discard`, `edit-and-redrive` and `replay`, and read by `reconcile`. An example is',
    '[`examples/channels.ts`](../../packages/messaging/examples/channels.ts).',
    '',
    'Where a channel of RabbitMQ stands for [a queue or an exchange of others](engines/rabbitmq.md#places-of-others), a URL does not tell which: the module exports the `existing` that the application gives to its engine,',
    'or the channel is not found. Where nothing that the module names is there, `inspect` ends with code 2, and so does on RabbitMQ and Kafka what is asked for dead letters. What is missing',
    'beside others is named on stderr and changes no exit code: by `inspect` on every engine that stores, channels and subscriptions; by every other command on RabbitMQ, and on Kafka channels only.',
    'A module that exports no `subscriptions` is told so on RabbitMQ, where none can be looked at then.',
    '',
    '## Which outbox',
    '',
    'An [outbox](patterns/outbox.md) lies in a database of the application and not on the engine. The `outbox` commands connect to no engine; they are given the address of the database with',
    '`--store`, or `DOORBUSTER_STORE_URL`: `sqlite:./shop.db`, `postgres://user:secret@host/shop`, `mysql://...` or `mariadb://...`. The client of the database (`pg`, `mysql2`) has to be installed',
    'where the command is; no table and no file is made. The relay may run meanwhile.',
    '',
    '## Exit codes',
    '',
    'Of every command; what they mean for one of them stands with it below.',
    '',
    ...exitTable(exitMeanings),
    '',
    '## Options of every command',
    '',
    ...optionTable(globalOptions),
    ...commands.flatMap(section),
  ].join('\n');
}

export const generate: Generator = () => [
  { path: 'docs/messaging/cli.md', text: `${commandPage().trimEnd()}\n` },
];

/**
 * `reconcile`: what producers recorded against what consumers settled. Only the application knows its databases, so the module of `--channels` opens
 * them: it exports `reconciliation`, an object or a function that makes one, with the outboxes (`recorded`) and the inboxes (`settled`).
 */
import type { Command, CommandContext, Session } from '../command.ts';
import { earlierReport, refuseOtherSources } from '../earlier-report.ts';
import { onEngine } from '../exits.ts';
import { bugOf, type ExitCode, exitCodes, failureOf, usage } from '../failure.ts';
import { namesOf, timeOf, wholeNumber } from '../filters.ts';
import { openSources, type Sources, toldSources } from '../module-sources.ts';
import { topologyOf } from '../present.ts';
import { placesOf, reasonOf } from '../reason.ts';
import { printable } from '../terminal.ts';
import type { Unawaited } from '../unawaited.ts';
import type { DecisionLog } from '../../dead-letter-decisions.ts';
import { reconcile, type ReconcileOptions, ReconciliationBroken } from '../../reconciliation.ts';
import type { ReconciliationReport } from '../../reconciliation-report.ts';
import type { TimeWindow } from '../../reconciliation-sources.ts';

const DEFAULT_GRACE_S = 60;
const UNBOUNDED = Number.MAX_SAFE_INTEGER;
/** What is being published when something breaks gets so long to end: until then nobody knows what was published. */
const LAST_PUBLISH_MS = 10_000;

export const reconciliation: Command = {
  name: 'reconcile',
  summary: 'compares what outboxes recorded with what inboxes settled, and publishes again what was lost',
  details:
    'The module of --channels exports "reconciliation": { recorded, settled, close } or a function that makes it, so --channels is needed. Why something was found, or could not be judged, stands below it where a reason is known. Without --repair nothing is published; with it the channels and subscriptions of the module are declared, as the application does. What a person discarded, edited or skipped looks as if it were lost: --repair leaves what is missing to a person unless "decisions" of the module tells it apart, or --assume-undecided vouches that there was nothing of the kind. Ctrl-C ends it with a report that --earlier goes on from. Ends with code 1 when something is lost, parked, unrecorded or could not be judged, also when --repair has just published it again, and with 5 when it was stopped early. Every database is opened before the first repair; where one breaks after it, the report so far is printed all the same, with what broke it, and --earlier goes on from there: keep it (--json).',
  arguments: [],
  options: {
    from: {
      value: '<time>',
      description: 'recorded or settled from then on, ISO 8601',
      standard: 'everything',
    },
    to: { value: '<time>', description: 'and before then, ISO 8601', standard: 'now' },
    grace: {
      value: '<seconds>',
      description: 'what is younger is not judged',
      standard: String(DEFAULT_GRACE_S),
    },
    'max-messages': { value: '<n>', description: 'stop after about so many' },
    earlier: {
      value: '<file>',
      description:
        'go on from this report (of --json), with its --from and --to; "-" reads stdin. One that is complete leaves nothing to look at',
    },
    repair: {
      description:
        'publish again, with the same ids, what no subscription knows. Once: until consumers have settled it, the next repair publishes it again',
    },
    'assume-idle': {
      description:
        'you vouch that no consumer has a message at hand or waits for a retry: what RabbitMQ cannot show counts as lost',
    },
    'assume-undecided': {
      description:
        'you vouch that nobody discarded or edited a dead letter, or rewound past messages, but what "decisions" of the module has noted',
    },
    'in-order': {
      value: '<channel>',
      description: 'with --repair: leave its lost messages to a person; may be given more than once',
      isMultiple: true,
    },
    'without-inbox': {
      description: 'with --repair: also where a subscription keeps no inbox and will handle it again',
    },
  },
  exits: {
    ...onEngine,
    0: 'Nothing is lost, parked or unrecorded, and all could be judged.',
    1: 'Something is lost, parked, unrecorded or could not be judged, and the report says what; also where --repair has published all of it again, because whether it arrives is known when consumers have settled it: ask again then.',
    2: 'Wrong command line, a file or a channel that is not there, or a file that is no report. Nothing was done.',
    3: 'No engine was named, its client is not installed, the server refuses the user or the password, or a database of "reconciliation" or "decisions" cannot be opened or lacks its tables.',
    5: 'Stopped by Ctrl-C or by --max-messages, or broken after something was published again; --earlier goes on from its report.',
  },
  examples: [
    'reconcile --channels ./channels.ts --from 2026-11-28T00:00:00Z',
    'reconcile --channels ./channels.ts --repair --json > report.json',
  ],
  async run(context) {
    if (context.values.text('channels') === undefined)
      throw usage(
        '--channels is missing',
        'Only the application knows its databases: the module of --channels exports "reconciliation". doorbuster-bus reconcile --help tells more.',
      );
    refuseOfNoUse(context);
    const window = windowOf(context);
    const earlier = await earlierOf(context);
    const session = await context.session();
    const sources = await openSources(session.module);
    try {
      refuseUnknownChannels(context.values.texts('in-order'), session, sources);
      if (earlier) refuseOtherSources(earlier, context.values.text('earlier') ?? '', sources);
      const options = await optionsOf(context, window, session, sources);
      if (context.values.flag('repair')) await session.connection.declare(topologyOf(session.module));
      return await context.unawaited.telling(() =>
        told(context, earlier ? { ...options, earlier } : options),
      );
    } finally {
      await closed(sources, context);
    }
  },
};

async function told(context: CommandContext, options: ReconcileOptions): Promise<ExitCode> {
  const { report, brokenBy, places } = await reportOf(options);
  context.terminal.data(brokenBy === undefined ? report : { ...report, brokenBy }, () => textOf(report));
  if (report.repair.republished > 0)
    context.terminal.say(
      'Let the consumers settle what was published again before the next --repair: it would publish it once more. Whether it is settled, reconcile without --repair tells then.',
    );
  if (brokenBy !== undefined) context.terminal.warn(`It broke there: ${printable(brokenBy)}`);
  if (places !== undefined) context.terminal.warn(places);
  if (options.earlier?.complete)
    context.terminal.warn('Nothing was looked at: the report of --earlier is complete.');
  return exitOf(context, report);
}

/** With the options of `reconcile` called as the command line has them; and what broke it once something may have been published again, with the places of a bug. */
async function reportOf(options: ReconcileOptions): Promise<{
  readonly report: ReconciliationReport;
  readonly brokenBy?: string;
  readonly places?: string;
}> {
  try {
    return { report: inFlags(await reconcile(options)) };
  } catch (error) {
    if (!(error instanceof ReconciliationBroken)) throw error;
    const report = inFlags(error.report);
    const { cause } = error;
    const failure = failureOf(cause);
    if (failure) return { report, brokenBy: failure.error };
    return { report, brokenBy: bugOf(cause).error, places: placesOf(cause) };
  }
}

/** What was found is told already, and stays true whatever becomes of the connections. */
async function closed(sources: Sources, { terminal }: CommandContext): Promise<void> {
  try {
    await sources.close?.();
  } catch (error) {
    terminal.warn(`"reconciliation" of the module of --channels could not be closed: ${reasonOf(error)}`);
  }
}

function refuseOfNoUse({ values }: CommandContext): void {
  const bounds = ['from', 'to'].filter((name) => values.text(name) !== undefined).map((name) => `--${name}`);
  if (values.text('earlier') !== undefined && bounds.length > 0)
    throw usage(
      `${bounds.join(' and ')}: of no use with --earlier`,
      'The report of --earlier is gone on from between its own; leave one of them out.',
    );
  if (values.flag('repair')) return;
  const given = [
    ...(values.texts('in-order').length > 0 ? ['--in-order'] : []),
    ...(values.flag('without-inbox') ? ['--without-inbox'] : []),
  ];
  if (given.length > 0)
    throw usage(
      `${given.join(' and ')}: of no use without --repair`,
      'Give --repair, or leave it out: without it nothing is published.',
    );
}

/** Told before a server or a database is asked. */
function windowOf({ values, clock }: CommandContext): Partial<TimeWindow> {
  const from = values.text('from');
  const to = values.text('to');
  const window = {
    ...(from === undefined ? {} : { from: timeOf('--from', from) }),
    ...(to === undefined ? {} : { to: timeOf('--to', to) }),
  };
  if (window.from !== undefined && window.from >= (window.to ?? clock.now()))
    throw usage(
      `--from ${from} is not before ${to === undefined ? 'now' : `--to ${to}`}`,
      'Nothing lies between them: look at the years and the zones.',
    );
  return window;
}

/** Read before a server or a database is asked, too. */
async function earlierOf({ values, read }: CommandContext): Promise<ReconciliationReport | undefined> {
  const from = values.text('earlier');
  return from === undefined ? undefined : earlierReport(await read(from), from);
}

/** A typo would let a repair publish what it was told to leave. Only what an inbox is to settle can be lost, so a name that stands there is known, too. */
function refuseUnknownChannels(names: readonly string[], { module }: Session, { settled }: Sources): void {
  const known = new Set([
    ...module.channels.map(({ name }) => name),
    ...settled.flatMap(({ channels }) => channels),
  ]);
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length > 0)
    throw usage(
      `--in-order: no channel of the module of --channels is "${unknown.join('" or "')}"`,
      `It has: ${namesOf([...known].map((name) => ({ name })))}. Nothing was published.`,
    );
}

async function optionsOf(
  { values, clock, signal, terminal, unawaited }: CommandContext,
  window: Partial<TimeWindow>,
  session: Session,
  sources: Sources,
): Promise<ReconcileOptions> {
  const decisions = await session.decisions();
  const { connection, deadLetters } = session;
  return {
    ...toldSources(sources, unawaited),
    clock,
    signal,
    assumeIdle: values.flag('assume-idle'),
    assumeUndecided: values.flag('assume-undecided'),
    ...(decisions ? { decisions: [unlessBroken(decisions, unawaited)] } : {}),
    window,
    graceMs: wholeNumber(values, 'grace', DEFAULT_GRACE_S, 0, 31_536_000) * 1_000,
    maxMessages: wholeNumber(values, 'max-messages', UNBOUNDED, 1, UNBOUNDED),
    engine: {
      deadLetters: {
        list: (...asked) => unawaited.unlessBroken(() => deadLetters.list(...asked)),
      },
      view: () => unawaited.unlessBroken(() => connection.inspect()),
    },
    onProgress: (soFar) =>
      terminal.progress(`${soFar.recorded} recorded, ${soFar.settled} settled looked at`),
    ...(values.flag('repair')
      ? {
          repair: {
            bus: {
              forward: (messages) =>
                unawaited.unlessBroken(() => connection.publish(messages), LAST_PUBLISH_MS),
            },
            inOrder: values.texts('in-order'),
            withoutInbox: values.flag('without-inbox'),
          },
        }
      : {}),
  };
}

function unlessBroken(log: DecisionLog, unawaited: Unawaited): DecisionLog {
  return {
    note: (decisions) => log.note(decisions),
    about: (messageIds) => unawaited.unlessBroken(() => log.about(messageIds)),
    since: () => unawaited.unlessBroken(() => log.since()),
  };
}

/** What a remedy calls by its name in code, as the command line has it. */
const FLAGS = [
  ['assumeUndecided', '--assume-undecided'],
  ['assumeIdle', '--assume-idle'],
  ['allow withoutInbox', 'allow it with --repair --without-inbox'],
  ['give its inbox', 'name its inbox in "settled" of "reconciliation"'],
  ['give decisions', 'export "decisions" from the module of --channels'],
  [
    'retryParked after the cause is removed, or discardParked',
    'outbox retry after the cause is removed, or outbox discard',
  ],
  ['redrive it, correct it or discard it', 'redrive, edit-and-redrive or discard it'],
  ['rewind the subscription to before it', 'replay the subscription from before it'],
  ['rewind what misses it to before it', 'replay what misses it from before it'],
  [
    'ask through a bus on which this subscription is declared',
    'name it in "subscriptions" of the module of --channels, and see that it is there: the start of the application makes it, and --repair',
  ],
  ['declare the channel on the bus of the repair', 'export the channel from the module of --channels'],
] as const;

function inFlags(report: ReconciliationReport): ReconciliationReport {
  const needsPerson = report.repair.needsPerson.map((one) => ({
    ...one,
    remedy: FLAGS.reduce((text, [name, flag]) => text.replace(name, flag), one.remedy),
  }));
  return { ...report, repair: { ...report.repair, needsPerson } };
}

function exitOf({ terminal }: CommandContext, report: ReconciliationReport): ExitCode {
  if (!report.complete) {
    terminal.say('Stopped early. Keep the report (--json) and go on with --earlier.');
    return exitCodes.partlyFailed;
  }
  return report.clean ? exitCodes.ok : exitCodes.failed;
}

const VERDICTS: Readonly<Record<ReconciliationReport['verdict'], string>> = {
  clean: 'clean',
  uncertain: 'nothing wrong was found, but what is unverifiable or unwatched could not be judged',
  faulty: 'not clean',
};

function textOf(report: ReconciliationReport): string {
  const counts = Object.entries(report.counts).filter(([, count]) => count > 0);
  return [
    `${report.checked.recorded} recorded and ${report.checked.settled} settled messages looked at`,
    ...counts.map(([kind, count]) => `${String(count).padStart(8)}  ${kind}`),
    ...samplesText(report),
    ...forPerson(report),
    ...backlogText(report),
    repairText(report),
    VERDICTS[report.verdict],
  ].join('\n');
}

/** Why stands once for all of a kind and a channel that have the same reason: below it which they are. */
function samplesText({ samples }: ReconciliationReport): string[] {
  const alike = Map.groupBy(samples, ({ kind, channel, reason }) => JSON.stringify([kind, channel, reason]));
  return [...alike.values()].flatMap((those) => {
    const [{ kind, channel, reason } = { kind: '', channel: undefined, reason: undefined }] = those;
    const lines = those.map(({ id }) => `  ${kind}: ${channel ?? '-'} ${id}`);
    return reason === undefined
      ? lines
      : [...lines, `    why, of these ${those.length}: ${printable(reason)}`];
  });
}

/** What is to be done, once for all that needs the same: which messages they are stands above, and all of them in --json. */
function forPerson({ repair }: ReconciliationReport): string[] {
  const alike = Map.groupBy(repair.needsPerson, ({ why, remedy }) => `${why}; ${remedy}`);
  return [...alike].map(([text, those]) => `  for a person, ${those.length} of them: ${text}`);
}

/** What is lost behind a backlog counts as waiting, and a report that is clean otherwise would not show it. */
function backlogText({ counts: { waitingInEngine } }: ReconciliationReport): string[] {
  if (waitingInEngine === 0) return [];
  return [
    `  of the ${waitingInEngine} waitingInEngine: each may be in a backlog that reaches back that far, or lost behind it; ask again when it is worked off`,
  ];
}

function repairText({ repair }: ReconciliationReport): string {
  if (repair.mode === 'dryRun') return `${repair.republishable} could be published again; nothing was`;
  return [`${repair.republished} of ${repair.republishable} published again`, ...repair.failures].join(
    '\n  ',
  );
}

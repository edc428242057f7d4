/**
 * Runs the instances of one saga, in any number of processes. An instance is claimed by moving its due time to the end of a lease, which is a
 * compare-and-set like every change after it: of two that work on one, the second to store anything learns that it is late, and lets go.
 *
 *   sweep -> due -> claim -> [mark the attempt -> run -> store the outcome] ... -> over, waiting, retrying, unknown or parked
 *
 * Mail that comes for what is claimed does not end the lease: the save that ends it finds the mail.
 * Due times are on this process's wall clock. A killed process costs the rest of its lease.
 */
import type { Bus, Subscription } from '../bus.ts';
import { type Clock, systemClock } from '../clock.ts';
import { describeError, MessagingError } from '../errors.ts';
import { createIds, type Ids } from '../ids.ts';
import { type Log, safeLog } from '../log.ts';
import type { Message } from '../message.ts';
import { ack, type Outcome, retry } from '../outcome.ts';
import type { Saga, SagaStep, StepContext, StepOutcome } from '../saga.ts';
import { COUNT, DRAIN_MS, refuseBadNumbers, SPAN_MS, TIME } from '../sound-numbers.ts';
import { withDefaults } from '../with-defaults.ts';
import { Turns } from '../turns.ts';
import { endsWithin, WorkLoop } from '../work-loop.ts';
import * as states from './saga-state.ts';
import * as mails from './saga-mail.ts';
import { concluded, type Move, withMail } from './saga-move.ts';
import type { SagaState, SagaStatus } from './saga-state.ts';
import type { KeptSagaMail, SagaMail, SagaPurge, SagaRecord, SagaStore } from './saga-store.ts';
import { refuseUnstorable, soundStepOutcome, type UnusableOutcome } from './sound-step-outcome.ts';

export interface SagaRunnerOptions<Data> {
  readonly saga: Saga<Data>;
  readonly store: SagaStore;
  readonly clock?: Clock;
  readonly ids?: Ids;
  readonly log?: Log;
  /** Longer than a step's attempt takes: after it another process may begin the next. Default 60,000 ms. */
  readonly leaseMs?: number;
  /** Looks for what is due this often, ms. Default 1,000. */
  readonly sweepMs?: number;
  /** Instances worked on at once. Default 10. */
  readonly concurrency?: number;
}

export interface SagaRunner<Data> {
  /** Begins an instance, durably; false when there is one of this key. */
  begin(key: string, data: Data): Promise<boolean>;
  /** A message for an instance, once per id, durably; false when there is none of this key. */
  deliver(key: string, mail: SagaMail): Promise<boolean>;
  /** Subscribes to the channels of the definition; before or after the bus is started. */
  subscribe(bus: Pick<Bus, 'subscribe'>): readonly Subscription[];
  /** Works off what is due now; how many instances were touched. */
  sweep(): Promise<number>;
  start(): void;
  wake(): void;
  /**
   * Begins no attempt any more and waits for those that are under way, at most `drainMs` (default 10,000). One that takes longer is logged and goes on by itself; where the process ends
   * first, another attempt begins when its lease is over.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  load(key: string): Promise<SagaRecord | undefined>;
  /** What came and no step has taken: early, too late, or what its step could not handle. */
  unreadMail(key: string): Promise<readonly SagaMail[]>;
  list(filter?: { readonly status?: SagaStatus }, limit?: number): Promise<readonly SagaRecord[]>;
  /** Forgets finished instances with their mail, the longest finished first; returns how many. Nothing is forgotten by itself: call it every now and then. */
  purge(purge: SagaPurge): Promise<number>;
  /** A person knows what became of an unknown step. Rejects with DB_MSG_SAGA_CHANGED when it is not unknown, with DB_MSG_INVALID_OPTIONS for a result that is no JSON. */
  resolve(
    key: string,
    answer: { readonly outcome: 'done' | 'failed'; readonly note: string; readonly result?: unknown },
  ): Promise<void>;
  /** A parked compensation: `again` tries it anew, `undone` says that a person has undone it. */
  unpark(key: string, answer: { readonly how: 'again' | 'undone'; readonly note: string }): Promise<void>;
}

/** First wait after a sweep that failed, ms. */
const BACK_OFF_MS = 200;
const DEFAULT_DELAYS = [1_000, 10_000, 60_000];
/** Attempts, and looks through the mail, that may end with their process before a step counts as one that ends processes. */
const MOST_ABANDONED = 5;
const ABANDONED =
  'its attempts end with no outcome on record: the process ends, the lease is too short, or the store refuses what came of it';
const DEFAULT_DRAIN_MS = 10_000;

const RULES = { leaseMs: SPAN_MS, sweepMs: SPAN_MS, concurrency: COUNT } as const;

/** Throws DB_MSG_INVALID_OPTIONS for a number that is none or out of its bounds. */
export function createSagaRunner<Data>(options: SagaRunnerOptions<Data>): SagaRunner<Data> {
  const clock = options.clock ?? systemClock;
  const defaults = {
    clock,
    ids: createIds(clock),
    leaseMs: 60_000,
    sweepMs: 1_000,
    concurrency: 10,
  };
  const settings = withDefaults({ ...options, log: safeLog(options.log) }, defaults);
  refuseBadNumbers(`the runner of saga "${options.saga.name}"`, settings, RULES);
  return new StoredSagaRunner(settings);
}

/** At a message. */
interface Threw {
  readonly kind: 'threw';
  readonly reason: string;
}
/** Why a message has no answer. `abandoned`: each look at it ended with its process, or could not be stored. */
type MailFailure = UnusableOutcome | Threw | { readonly kind: 'abandoned'; readonly reason: string };

const FOR_A_PERSON: Readonly<Record<MailFailure['kind'], string>> = {
  threw: 'keeps failing',
  unusable: 'has an answer that cannot be used',
  abandoned: 'keeps ending with no answer on record',
};

class StoredSagaRunner<Data> implements SagaRunner<Data> {
  readonly #options: Required<SagaRunnerOptions<Data>>;
  readonly #loop: WorkLoop;
  /** For whoever calls `sweep` in a loop. */
  readonly #turns: Turns;
  /** Instances that the loop works on, by key. */
  readonly #working = new Map<string, Promise<void>>();

  constructor(options: Required<SagaRunnerOptions<Data>>) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
    this.#loop = new WorkLoop({
      ...options,
      backOffMs: BACK_OFF_MS,
      step: () => this.#fill(),
      onFailure: (error) =>
        options.log.error({ saga: options.saga.name, error }, 'the sweep of a saga failed'),
    });
  }

  async begin(key: string, data: Data): Promise<boolean> {
    const { saga, store, ids, clock } = this.#options;
    const now = clock.now();
    const deadline = saga.timeoutMs === undefined ? undefined : now + saga.timeoutMs;
    const state = states.beginSaga(ids.next(), data, saga.steps.length, deadline);
    const begun = await store.create({ saga: saga.name, key, version: 1, state, dueAt: now });
    if (begun) this.wake();
    return begun;
  }

  async deliver(key: string, mail: SagaMail): Promise<boolean> {
    const { saga, store, clock } = this.#options;
    const known = await store.deliver(saga.name, key, mail, clock.now());
    if (known) this.wake();
    return known;
  }

  subscribe(bus: Pick<Bus, 'subscribe'>): readonly Subscription[] {
    const { saga } = this.#options;
    const name = `saga-${saga.name}`;
    return [
      ...saga.startedBy.map(({ channel, key, data }) =>
        bus.subscribe(channel, {
          name,
          handler: async (received: Message): Promise<Outcome> => {
            const message = received as Message<never>;
            await this.begin(key(message), data(message));
            return ack();
          },
        }),
      ),
      ...saga.reactsTo.map(({ channel, key }) =>
        bus.subscribe(channel, {
          name,
          handler: async (message: Message): Promise<Outcome> => {
            const { id, type, data } = message;
            const of = key(message as Message<never>);
            if (await this.deliver(of, { messageId: id, type, data })) return ack();
            // It may have come before the one that begins it; if none ever does, it ends as a dead letter for a person.
            return retry({ reason: `no instance of saga "${saga.name}" has the key "${of}"` });
          },
        }),
      ),
    ];
  }

  async sweep(): Promise<number> {
    const { saga, store, clock, concurrency } = this.#options;
    const turn = this.#turns.due();
    if (turn) await turn;
    const found = await store.due(saga.name, clock.now(), concurrency);
    const worked = await Promise.all(found.map((record) => this.#work(record)));
    return worked.filter(Boolean).length;
  }

  /** Gives every free place an instance that is due, and waits for none of them: one slow step holds one place. True when all places are taken by it, so that there may be more. */
  async #fill(): Promise<boolean> {
    const { saga, store, clock, concurrency } = this.#options;
    const free = concurrency - this.#working.size;
    if (free <= 0) return false;
    const found = await store.due(saga.name, clock.now(), concurrency);
    // One that has a place but is not claimed yet is still due.
    const fresh = found.filter(({ key }) => !this.#working.has(key)).slice(0, free);
    for (const record of fresh) this.#working.set(record.key, this.#place(record));
    return fresh.length === free;
  }

  async #place(record: SagaRecord): Promise<void> {
    const worked = await this.#work(record);
    this.#working.delete(record.key);
    // What cannot be worked on is left to the end of its lease, or where it could not be claimed to the next sweep, so that it does not go round.
    if (worked) this.wake();
  }

  start(): void {
    this.#loop.start();
  }

  wake(): void {
    this.#loop.wake();
  }

  async stop({ drainMs = DEFAULT_DRAIN_MS }: { readonly drainMs?: number } = {}): Promise<void> {
    refuseBadNumbers('the stop of a saga runner', { drainMs }, { drainMs: DRAIN_MS });
    const { saga, clock, log } = this.#options;
    const ended = this.#loop.end().then(() => Promise.all(this.#working.values()));
    if (!(await endsWithin(clock, ended, drainMs)))
      log.warn({ saga: saga.name }, 'the runner of a saga stops while attempts are under way');
  }

  load(key: string): Promise<SagaRecord | undefined> {
    return this.#options.store.load(this.#options.saga.name, key);
  }

  async unreadMail(key: string): Promise<readonly SagaMail[]> {
    const kept = await this.#options.store.mail(this.#options.saga.name, key);
    return kept.map(({ messageId, type, data }) => ({ messageId, type, data }));
  }

  async list(filter: { readonly status?: SagaStatus } = {}, limit = 100): Promise<readonly SagaRecord[]> {
    refuseBadNumbers('a list of sagas', { limit }, { limit: COUNT });
    return this.#options.store.list(this.#options.saga.name, filter, limit);
  }

  async purge(purge: SagaPurge): Promise<number> {
    refuseBadNumbers('a purge of sagas', purge, { before: TIME });
    if (purge.limit !== undefined) refuseBadNumbers('a purge of sagas', purge, { limit: COUNT });
    return this.#options.store.purge(this.#options.saga.name, purge);
  }

  async resolve(
    key: string,
    answer: { readonly outcome: 'done' | 'failed'; readonly note: string; readonly result?: unknown },
  ): Promise<void> {
    refuseUnstorable(answer.result);
    await this.#byHand(key, 'unknown', (state, step, now) => {
      const noted = states.withNote(state, now, step.name, `resolved as ${answer.outcome}`, answer.note);
      return answer.outcome === 'done'
        ? states.stepDone(noted, answer.result)
        : states.turnBack(noted, 'failed', answer.note);
    });
  }

  async unpark(
    key: string,
    answer: { readonly how: 'again' | 'undone'; readonly note: string },
  ): Promise<void> {
    await this.#byHand(key, 'parked', (state, step, now) => {
      const noted = states.withNote(state, now, step.name, `unparked: ${answer.how}`, answer.note);
      return states.nextToUndo(
        answer.how === 'undone' ? states.withStep(noted, { status: 'undone' }) : noted,
      );
    });
  }

  async #byHand(
    key: string,
    status: SagaStatus,
    change: (state: SagaState, step: SagaStep<Data>, now: number) => SagaState,
  ): Promise<void> {
    const record = await this.load(key);
    const { saga, clock } = this.#options;
    if (!record)
      throw new MessagingError('DB_MSG_SAGA_NOT_FOUND', `no instance of "${saga.name}" has the key "${key}"`);
    const now = clock.now();
    const stored =
      record.state.status === status &&
      (await this.#store(record, { state: change(record.state, this.#step(record.state), now), dueAt: now }));
    if (!stored)
      throw new MessagingError(
        'DB_MSG_SAGA_CHANGED',
        `"${key}" is ${record.state.status}, or moved on meanwhile`,
      );
    this.wake();
  }

  /** Claims it and goes on until it is over or has to wait for something. False when nothing could be done. */
  async #work(found: SagaRecord): Promise<boolean> {
    const { log, saga } = this.#options;
    try {
      const { clock, leaseMs } = this.#options;
      const isLate = mails.timeOutCounts(found, clock.now(), leaseMs);
      let record = isLate ? await this.#keep(found, this.#timedOut(found)) : await this.#claim(found);
      let marked = false;
      while (record) {
        const move = await this.#next(record, marked);
        record = await this.#keep(record, move);
        marked = move.marks === true;
      }
      return true;
    } catch (error) {
      log.error(
        { saga: saga.name, key: found.key, error: describeError(error) },
        'a saga could not be worked on',
      );
      return false;
    }
  }

  #claim(found: SagaRecord): Promise<SagaRecord | undefined> {
    const { clock, leaseMs } = this.#options;
    const state = mails.withLookBegun(found.state);
    return this.#store(found, { state, dueAt: mails.leaseEnd(state, clock.now(), leaseMs), isLease: true });
  }

  /** Undefined: it rests now, or somebody else changed it first. */
  async #keep(record: SagaRecord, move: Move): Promise<SagaRecord | undefined> {
    const { clock, leaseMs, log, saga } = this.#options;
    const goesOn = move.dueAt !== undefined && move.dueAt <= clock.now() && this.#loop.state !== 'stopped';
    // A stop in between must not leave the mark of an attempt that never began.
    const rests = move.marks === true ? { state: record.state, dueAt: move.dueAt } : move;
    const state = mails.withLookBegun(move.state);
    const leased = { ...move, state, dueAt: mails.leaseEnd(state, clock.now(), leaseMs), isLease: true };
    const kept = goesOn ? leased : rests;
    try {
      const stored = await this.#store(record, kept);
      return goesOn ? stored : undefined;
    } catch (error) {
      if (!move.refused || (error instanceof MessagingError && error.retryable)) throw error;
      const reason = describeError(error);
      log.error(
        { saga: saga.name, key: record.key, error: reason },
        'the store refuses an outcome of a saga',
      );
      return this.#keep(record, move.refused(`its outcome could not be stored: ${reason}`));
    }
  }

  /** Undefined: somebody else changed it first. */
  async #store(record: SagaRecord, move: Move): Promise<SagaRecord | undefined> {
    const { store, clock } = this.#options;
    const dueAt = states.isOver(move.state) ? undefined : move.dueAt;
    const next = { ...record, version: record.version + 1, state: move.state, dueAt };
    const { messages = [], read = [], isLease = false } = move;
    return (await store.save(next, { messages, read, now: clock.now(), isLease })) ? next : undefined;
  }

  async #next(record: SagaRecord, marked: boolean): Promise<Move> {
    const { state } = record;
    if (states.isOver(state) || state.status === 'parked') return { state, dueAt: undefined };
    if (states.waitsForMail(state)) return this.#readMail(record);
    if (!marked) return this.#mark(record);
    return state.status === 'compensating' ? this.#undo(record) : this.#run(record);
  }

  /** Written before every attempt: a process that ends in one leaves the trace of it. */
  #mark(record: SagaRecord): Move {
    const { state } = record;
    const now = this.#options.clock.now();
    const step = this.#step(state);
    const { status, attempts, failures } = state.steps[state.at] as states.StepState;
    if (attempts - failures >= MOST_ABANDONED) return this.#givenUp(record, step, ABANDONED);
    if (status === 'open' && state.deadline !== undefined && now >= state.deadline)
      return this.#conclude(record, step, { kind: 'failed', reason: 'the saga ran out of time' });
    const begun: Partial<states.StepState> = state.status === 'compensating' ? {} : { status: 'begun' };
    return { state: states.withStep(state, { ...begun, attempts: attempts + 1 }), dueAt: now, marks: true };
  }

  async #run(record: SagaRecord): Promise<Move> {
    const step = this.#step(record.state);
    const attempt = await this.#attempt(record, step, async (context) => step.run(context));
    if ('threw' in attempt) return this.#failedAttempt(record, step, attempt.threw);
    const outcome = soundStepOutcome(attempt.answer, this.#options.store.emits);
    // It ran, whatever it says of that: another attempt would do it again.
    const unknown = (reason: string): Move => this.#conclude(record, step, { kind: 'unknown', reason });
    if (outcome.kind === 'unusable') return unknown(outcome.reason);
    return { ...this.#conclude(record, step, outcome), refused: unknown };
  }

  #failedAttempt(record: SagaRecord, step: SagaStep<Data>, reason: string): Move {
    const now = this.#options.clock.now();
    const { failures } = record.state.steps[record.state.at] as states.StepState;
    const noted = states.withNote(record.state, now, step.name, `attempt ${failures + 1} failed`, reason);
    const state = states.withStep(noted, { failures: failures + 1 });
    const delay = (step.retries?.delays ?? DEFAULT_DELAYS)[failures];
    if (delay === undefined) return this.#givenUp({ ...record, state }, step, reason);
    return { state, dueAt: now + delay };
  }

  #givenUp(record: SagaRecord, step: SagaStep<Data>, reason: string): Move {
    if (record.state.status !== 'compensating')
      return this.#conclude(record, step, { kind: 'unknown', reason });
    this.#tellPerson(record, step, 'a compensation keeps failing; somebody has to undo it');
    const noted = states.withNote(record.state, this.#options.clock.now(), step.name, 'parked', reason);
    return { state: { ...noted, status: 'parked' }, dueAt: undefined };
  }

  #conclude(record: SagaRecord, step: SagaStep<Data>, outcome: StepOutcome): Move {
    const move = concluded(record.state, step, outcome, this.#options.clock.now());
    if (move.state.status === 'unknown')
      this.#tellPerson(record, step, 'the outcome of a step is unknown; somebody has to find out');
    return move;
  }

  /** Asks the step about everything that it was not asked about yet, or not in vain for long enough; the first answer that ends its waiting counts. */
  async #readMail(record: SagaRecord): Promise<Move> {
    const { store, saga, clock } = this.#options;
    const { state } = record;
    const step = this.#step(state);
    const abandoned = mails.abandonedLooks(state);
    const kept = await store.mail(saga.name, record.key);
    const look = mails.lookThrough(state, kept);
    const open = mails.toLookAt(look, kept, clock.now());
    const single = mails.oneByOne(look, open, abandoned);
    const [first, ...others] = single;
    if (first && first.place !== look.alone?.at) {
      const turn = mails.withFirstTurn(look, single, abandoned);
      return { state: { ...state, look: turn }, dueAt: clock.now(), marks: true };
    }
    const { givenUp, ...rest } = look;
    const round: mails.MailRound = {
      record: { ...record, state: { ...state, look: mails.withTurn(rest, others) } },
      read: [],
      answers: [],
      givenUp,
      left: open,
    };
    const hasMore = others.length > 0;
    if (first && abandoned >= MOST_ABANDONED) {
      const failure = { kind: 'abandoned', reason: ABANDONED } as const;
      return this.#concludeRound(step, this.#withFailure(step, round, first, failure), hasMore);
    }
    const asked = await this.#askAll(step, round, first ? [first] : open);
    return this.#storable(step, asked, hasMore);
  }

  async #askAll(
    step: SagaStep<Data>,
    before: mails.MailRound,
    asked: readonly KeptSagaMail[],
  ): Promise<mails.MailRound> {
    const following = this.#options.saga.steps.slice(before.record.state.at + 1);
    const isLastToAsk = !following.some(({ onMessage }) => onMessage);
    let round = before;
    for (const mail of asked) {
      const outcome = await this.#askAbout(round.record, step, mail);
      if (outcome?.kind === 'threw' || outcome?.kind === 'unusable') {
        round = this.#withFailure(step, round, mail, outcome);
        continue;
      }
      round = mails.withAnswer(round, mail, outcome, isLastToAsk);
      if (outcome && outcome.kind !== 'wait') break;
    }
    return round;
  }

  /** Answers that the store refuses are as those that cannot be used; the others still count. */
  #storable(step: SagaStep<Data>, round: mails.MailRound, hasMore: boolean): Move {
    const move = this.#concludeRound(step, round, hasMore);
    const suspects = mails.suspectsOf(round);
    if (suspects.length === 0) return move;
    const refused = (reason: string): Move => {
      let rest = mails.withoutAnswers(round, suspects);
      for (const { mail } of suspects)
        rest = this.#withFailure(step, rest, mail, { kind: 'unusable', reason });
      return this.#storable(step, rest, hasMore);
    };
    return { ...move, refused };
  }

  /** `hasMore`: of what is asked about one by one. */
  #concludeRound(step: SagaStep<Data>, round: mails.MailRound, hasMore: boolean): Move {
    const { record, read, answers, givenUp, left } = round;
    const waits = answers.flatMap(({ outcome }) => (outcome.kind === 'wait' ? outcome.messages : []));
    const last = answers.at(-1)?.outcome;
    if (last && last.kind !== 'wait') return withMail(this.#conclude(record, step, last), read, waits);
    // The answer may be in what was not asked about yet, so it is not too late; before a message decides that was given up also in what came since.
    const goesOn = givenUp === undefined ? hasMore : left.length > 0;
    const move = goesOn
      ? { state: mails.goingOn(round), dueAt: this.#options.clock.now() }
      : this.#noAnswer(record, step, givenUp);
    return withMail(move, read, waits);
  }

  /** Undefined: it is not for this step. */
  async #askAbout(
    record: SagaRecord,
    step: SagaStep<Data>,
    { messageId: id, type, data }: KeptSagaMail,
  ): Promise<StepOutcome | UnusableOutcome | Threw | undefined> {
    const attempt = await this.#attempt(record, step, async (context) =>
      step.onMessage?.(context, { id, type, data }),
    );
    if ('threw' in attempt) return { kind: 'threw', reason: attempt.threw };
    const answer = attempt.answer ?? undefined;
    return answer === undefined ? undefined : soundStepOutcome(answer, this.#options.store.emits);
  }

  /** Without a claim, so that no process that ends can put it off. The looks that ended still count. */
  #timedOut(found: SagaRecord): Move {
    const { givenUp, ...look } = mails.lookOf(found.state);
    const record = { ...found, state: { ...found.state, look } };
    return withMail(this.#noAnswer(record, this.#step(found.state), givenUp), [], []);
  }

  #noAnswer(record: SagaRecord, step: SagaStep<Data>, givenUp: string | undefined): Move {
    const { state } = record;
    if (state.status !== 'waiting') return { state, dueAt: undefined };
    if (!this.#isLate(state) && givenUp === undefined) return { state, dueAt: state.waitUntil };
    return this.#conclude(record, step, { kind: 'unknown', reason: givenUp ?? 'no answer came in time' });
  }

  #isLate({ status, waitUntil }: SagaState): boolean {
    return status === 'waiting' && waitUntil !== undefined && this.#options.clock.now() >= waitUntil;
  }

  /** It stays unread. Given up when the step is not asked about it again: its retries are used up, or it did answer, in a way that cannot be used, or it ends its process. */
  #withFailure(
    step: SagaStep<Data>,
    round: mails.MailRound,
    mail: KeptSagaMail,
    { kind, reason }: MailFailure,
  ): mails.MailRound {
    const { record } = round;
    const now = this.#options.clock.now();
    const delays = kind === 'threw' ? (step.retries?.delays ?? DEFAULT_DELAYS) : [];
    const { look, givenUp } = mails.threw(mails.lookOf(record.state), mail, delays, now);
    const detail = `${mail.messageId}: ${reason}`;
    const noted = states.withNote(record.state, now, step.name, 'a message could not be handled', detail);
    const left = mails.passed(round, mail);
    const after = { ...round, record: { ...record, state: { ...noted, look } }, left };
    if (!givenUp) return after;
    this.#tellPerson(
      record,
      step,
      `message "${mail.messageId}" ${FOR_A_PERSON[kind]} at the step that waits; it stays unread, and somebody has to look at it`,
    );
    return { ...after, givenUp: after.givenUp ?? `a message could not be handled: ${detail}` };
  }

  async #undo(record: SagaRecord): Promise<Move> {
    const { state } = record;
    const step = this.#step(state);
    const attempt = await this.#attempt(record, step, async (context) => step.compensate?.(context));
    if ('threw' in attempt) return this.#failedAttempt(record, step, attempt.threw);
    const now = this.#options.clock.now();
    const noted = states.withNote(state, now, step.name, 'undone');
    return { state: states.nextToUndo(states.withStep(noted, { status: 'undone' })), dueAt: now };
  }

  async #attempt<T>(
    { key, state, dueAt = Number.POSITIVE_INFINITY }: SagaRecord,
    step: SagaStep<Data>,
    call: (context: StepContext<Data>) => Promise<T>,
  ): Promise<{ readonly answer: T } | { readonly threw: string }> {
    const { clock, leaseMs, saga } = this.#options;
    const over = new AbortController();
    const cancel = clock.setTimer(Math.min(leaseMs, Math.max(0, dueAt - clock.now())), () =>
      over.abort(new MessagingError('DB_MSG_LOCK_LOST', 'the attempt has taken its lease')),
    );
    const results = Object.fromEntries(
      saga.steps.map(({ name }, index) => [name, state.steps[index]?.result]),
    );
    try {
      const answer = await call({
        key,
        data: state.data as Data,
        stepId: `${state.id}.${step.name}${state.status === 'compensating' ? '.compensate' : ''}`,
        attempt: state.steps[state.at]?.attempts ?? 1,
        results,
        signal: over.signal,
      });
      return { answer };
    } catch (error) {
      return { threw: describeError(error) };
    } finally {
      cancel();
    }
  }

  #step({ at }: SagaState): SagaStep<Data> {
    const step = this.#options.saga.steps[at];
    if (step) return step;
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `saga "${this.#options.saga.name}" has no step ${at} any more`,
    );
  }

  #tellPerson({ key }: SagaRecord, step: SagaStep<Data>, message: string): void {
    this.#options.log.error({ saga: this.#options.saga.name, key, step: step.name }, message);
  }
}

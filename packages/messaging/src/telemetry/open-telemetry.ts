/**
 * Telemetry on the OpenTelemetry API: spans and metrics by the semantic conventions for messaging, whatever SDK the application has. Without an SDK
 * everything here is a no-op of the API.
 *
 *   send order.placed            PRODUCER, in the trace of the caller; its context goes into each message that has none
 *     create order.placed        PRODUCER, one per message of a batch, with `createSpans`
 *   process order.placed         CONSUMER, a trace of its own that links to every creation context; the handler runs inside
 *     send mail.wanted           what the handler publishes is its child, and so on, hop by hop
 *   ack order.placed             CLIENT, below the `process` of its message, or linked to the creation contexts of a batch
 *
 * Links and not parents, because one hand-out may have many messages, a message many subscriptions, and a retry comes a day later.
 * `continueTraces` makes the creation context the parent as well where there is one message.
 */
import {
  type Attributes,
  context,
  type Context,
  type Link,
  type Meter,
  metrics,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import { type Clock, systemClock } from '../clock.ts';
import type { OutgoingMessage, Settlement, SettleResult } from '../engine.ts';
import type { Message } from '../message.ts';
import type { Outcome } from '../outcome.ts';
import type { BusTelemetry, Failure, HandOut, ObservedBus, Settling, Telemetry } from '../telemetry.ts';
import { CONVENTIONS_VERSION, errorType, failureOfOutcomes, messageAttributes } from './attributes.ts';
import { createInstruments, type Instruments, watchBacklog } from './instruments.ts';
import { type Operation, Operations } from './operations.ts';
import { creationContext, withCreationContext } from './trace-context.ts';

export interface OpenTelemetryOptions {
  /** Default: the global one's, named `@doorbuster/messaging`. */
  readonly tracer?: Tracer;
  readonly meter?: Meter;
  /** A `create` span per message of a batch, so that each has a context of its own. Default false: they share that of `send`. */
  readonly createSpans?: boolean;
  /** Spans for settlements. Default true. */
  readonly settleSpans?: boolean;
  /** A handled message that came alone goes on with the trace of its publisher instead of a linked one. Default false. */
  readonly continueTraces?: boolean;
  /** For durations. Default: this machine's. */
  readonly clock?: Clock;
}

const SCOPE = '@doorbuster/messaging';
/** Tells a collector by which release of the conventions the names are. */
const SCHEMA = { schemaUrl: `https://opentelemetry.io/schemas/${CONVENTIONS_VERSION}` };

/** For `createBus({ telemetry })`. One may serve several buses. */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  const parts: Parts = {
    tracer: options.tracer ?? trace.getTracerProvider().getTracer(SCOPE, undefined, SCHEMA),
    instruments: createInstruments(options.meter ?? metrics.getMeter(SCOPE, undefined, SCHEMA)),
    clock: options.clock ?? systemClock,
    createSpans: options.createSpans ?? false,
    settleSpans: options.settleSpans ?? true,
    continueTraces: options.continueTraces ?? false,
  };
  return { attach: (bus) => new OpenTelemetryOfBus(parts, bus) };
}

interface Parts {
  readonly tracer: Tracer;
  readonly instruments: Instruments;
  readonly clock: Clock;
  readonly createSpans: boolean;
  readonly settleSpans: boolean;
  readonly continueTraces: boolean;
}

class OpenTelemetryOfBus implements BusTelemetry {
  readonly #parts: Parts;
  readonly #bus: ObservedBus;
  readonly #operations: Operations;
  /** Where each message is or was handled: its settlement belongs below. */
  readonly #handledIn = new WeakMap<Message, Context>();
  #stopWatching: () => void = () => {};

  constructor(parts: Parts, bus: ObservedBus) {
    this.#parts = parts;
    this.#bus = bus;
    this.#operations = new Operations(bus);
  }

  started(): void {
    const attributesOf = this.#operations.place.bind(this.#operations);
    this.#stopWatching = watchBacklog(this.#parts.instruments, attributesOf, this.#bus.view);
  }

  stopped(): void {
    this.#stopWatching();
    this.#stopWatching = () => {};
  }

  publish<T>(
    batch: readonly OutgoingMessage[],
    temporary: boolean,
    send: (batch: readonly OutgoingMessage[]) => Promise<T>,
  ): Promise<T> {
    const [first] = batch;
    if (!first) return send(batch);
    const channel = channelOf(batch);
    const operation = temporary ? this.#operations.replying() : this.#operations.producing('send', channel);
    const made = this.#parts.createSpans && batch.length > 1 ? this.#create(batch) : batch;
    const custom = made.flatMap(({ message }) => creationContext(message) ?? []);
    const span = this.#parts.tracer.startSpan(operation.spanName, {
      // Its context is a creation context only where a message had none.
      kind: custom.length === made.length ? SpanKind.CLIENT : SpanKind.PRODUCER,
      attributes: {
        ...operation.attributes,
        // Of one message, and for spans only: there are too many of these.
        ...(temporary && channel !== undefined ? { 'messaging.destination.name': channel } : {}),
        ...ofMessages(made),
      },
      links: custom.map((one) => ({ context: one })),
    });
    const sent = made.map((one) =>
      one.message.traceparent === undefined ? inContext(one, span.spanContext()) : one,
    );
    return this.#timed(
      operation,
      span,
      context.active(),
      () => send(sent),
      (error) => {
        this.#parts.instruments.sent.add(batch.length, withError(operation.attributes, error));
      },
    );
  }

  process(
    handOut: HandOut,
    handle: () => readonly Outcome[] | Promise<readonly Outcome[]>,
  ): Promise<readonly Outcome[]> {
    const { messages, attempts } = handOut;
    const operation = this.#operations.consuming('process', 'process', handOut);
    const links = messages.flatMap((message) => linkTo(message, handOut.batched));
    const [parent] = links;
    const isContinued = this.#parts.continueTraces && messages.length === 1 && parent !== undefined;
    const span = this.#parts.tracer.startSpan(
      operation.spanName,
      {
        kind: SpanKind.CONSUMER,
        attributes: {
          ...operation.attributes,
          ...(handOut.batched
            ? { 'messaging.batch.message_count': messages.length }
            : one(messages, attempts)),
        },
        links,
      },
      isContinued ? trace.setSpanContext(ROOT_CONTEXT, parent.context) : ROOT_CONTEXT,
    );
    const inside = trace.setSpan(ROOT_CONTEXT, span);
    for (const message of messages) this.#handledIn.set(message, inside);
    this.#parts.instruments.consumed.add(messages.length, operation.attributes);
    return this.#timed(
      operation,
      span,
      inside,
      async () => handle(),
      () => {},
      failureOfOutcomes,
    );
  }

  settle(
    settling: Settling,
    settle: () => Promise<readonly SettleResult[]>,
  ): Promise<readonly SettleResult[]> {
    const { settlements, messages } = settling;
    const operation = this.#operations.consuming('settle', nameOf(settlements), settling);
    const alone = settlements.length === 1 ? messages[0] : undefined;
    const parent = (alone && this.#handledIn.get(alone)) ?? ROOT_CONTEXT;
    const span = !this.#parts.settleSpans
      ? undefined
      : this.#parts.tracer.startSpan(
          operation.spanName,
          {
            kind: SpanKind.CLIENT,
            attributes: {
              ...operation.attributes,
              ...(alone ? messageAttributes(alone) : {}),
              ...(settlements.length > 1 ? { 'messaging.batch.message_count': settlements.length } : {}),
            },
            links: messages.flatMap((message) => (message ? linkTo(message, settlements.length > 1) : [])),
          },
          parent,
        );
    const lost = (results: readonly SettleResult[]): undefined => {
      const count = results.filter((result) => result === 'lost').length;
      if (count > 0) this.#parts.instruments.lost.add(count, this.#operations.place(settling));
    };
    return this.#timed(operation, span, context.active(), settle, () => {}, lost);
  }

  failed(failure: Failure): void {
    const { retries, deadLetters } = this.#parts.instruments;
    const attributes = { ...this.#operations.place(failure), 'error.type': failure.kind };
    (failure.outcome === 'retry' ? retries : deadLetters).add(1, attributes);
  }

  /** A `create` span for each message that was given no context of its own. */
  #create(batch: readonly OutgoingMessage[]): readonly OutgoingMessage[] {
    return batch.map((outgoing) => {
      if (outgoing.message.traceparent !== undefined) return outgoing;
      const operation = this.#operations.producing('create', outgoing.channel);
      const span = this.#parts.tracer.startSpan(operation.spanName, {
        kind: SpanKind.PRODUCER,
        attributes: { ...operation.attributes, ...messageAttributes(outgoing.message) },
      });
      span.end();
      return inContext(outgoing, span.spanContext());
    });
  }

  /** Runs the operation inside of its span and ends both, the span and the measured time, with what came of it. */
  async #timed<T>(
    operation: Operation,
    span: Span | undefined,
    parent: Context,
    run: () => Promise<T>,
    count: (error: string | undefined) => void,
    faultOf: (result: T) => string | undefined = () => undefined,
  ): Promise<T> {
    const { clock, instruments } = this.#parts;
    const began = clock.monotonic();
    const end = (fault: string | undefined, detail?: string): void => {
      const seconds = (clock.monotonic() - began) / 1_000;
      const histogram = operation.type === 'process' ? instruments.processing : instruments.operating;
      histogram.record(seconds, withError(operation.attributes, fault));
      count(fault);
      if (fault !== undefined) {
        span?.setAttribute('error.type', fault);
        span?.setStatus({ code: SpanStatusCode.ERROR, ...(detail === undefined ? {} : { message: detail }) });
      }
      span?.end();
    };
    try {
      const result = await (span ? context.with(trace.setSpan(parent, span), run) : run());
      end(faultOf(result));
      return result;
    } catch (error) {
      span?.recordException(error instanceof Error ? error : String(error));
      end(errorType(error), error instanceof Error ? error.message : undefined);
      throw error;
    }
  }
}

function inContext(outgoing: OutgoingMessage, spanContext: SpanContext): OutgoingMessage {
  const message = withCreationContext(outgoing.message, spanContext);
  return message === outgoing.message ? outgoing : { ...outgoing, message };
}

/** Undefined for several: the relay of an outbox sends what belongs to different channels in one go. */
function channelOf(batch: readonly OutgoingMessage[]): string | undefined {
  const channel = batch[0]?.channel;
  return batch.every((one) => one.channel === channel) ? channel : undefined;
}

function ofMessages(batch: readonly OutgoingMessage[]): Attributes {
  const [alone] = batch;
  if (alone && batch.length === 1) return messageAttributes(alone.message);
  return { 'messaging.batch.message_count': batch.length };
}

function one([message]: readonly Message[], [attempt]: readonly number[]): Attributes {
  if (!message) return {};
  return { ...messageAttributes(message), 'doorbuster.messaging.attempt': attempt ?? 1 };
}

/** In a batch the link is where a message's own attributes have their place. */
function linkTo(message: Message, batched: boolean): Link[] {
  const linked = creationContext(message);
  if (!linked) return [];
  return [batched ? { context: linked, attributes: messageAttributes(message) } : { context: linked }];
}

const SETTLE_NAMES: Readonly<Record<Settlement['kind'], string>> = {
  ack: 'ack',
  retry: 'retry',
  release: 'release',
  deadLetter: 'dead_letter',
};

function nameOf(settlements: readonly Settlement[]): string {
  const kind = settlements[0]?.kind;
  return kind !== undefined && settlements.every((settlement) => settlement.kind === kind)
    ? SETTLE_NAMES[kind]
    : 'settle';
}

function withError(attributes: Attributes, error: string | undefined): Attributes {
  return error === undefined ? attributes : { ...attributes, 'error.type': error };
}

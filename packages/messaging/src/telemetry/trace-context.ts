/**
 * W3C trace context in a message: `traceparent` is a field of it, `tracestate` a CloudEvents extension of the same name. The format is fixed
 * here and does not follow the application's global propagator, because the other end of a queue is often another service.
 */
import { createTraceState, isSpanContextValid, type SpanContext } from '@opentelemetry/api';
import type { Message } from '../message.ts';

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const TRACESTATE = 'tracestate';

/** The context in which the message was made; undefined when it has none or one that is not W3C's. */
export function creationContext({ traceparent, headers }: Message): SpanContext | undefined {
  const found = traceparent === undefined ? null : TRACEPARENT.exec(traceparent);
  if (!found) return undefined;
  const state = headers[TRACESTATE];
  const context: SpanContext = {
    traceId: found[1] as string,
    spanId: found[2] as string,
    traceFlags: Number.parseInt(found[3] as string, 16),
    isRemote: true,
    ...(state === undefined ? {} : { traceState: createTraceState(state) }),
  };
  return isSpanContextValid(context) ? context : undefined;
}

/** The message with this context as the one it was made in. Unchanged when the context is not valid, which is what a tracer that is off gives. */
export function withCreationContext(message: Message, context: SpanContext): Message {
  if (!isSpanContextValid(context)) return message;
  const flags = context.traceFlags.toString(16).padStart(2, '0');
  const traceparent = `00-${context.traceId}-${context.spanId}-${flags}`;
  const state = context.traceState?.serialize();
  if (!state) return { ...message, traceparent };
  return { ...message, traceparent, headers: { ...message.headers, [TRACESTATE]: state } };
}

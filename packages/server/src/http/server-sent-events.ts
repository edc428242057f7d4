/**
 * Server-sent events over a hijacked reply: ids, a heartbeat, an end. Streams are counted and bounded, and end when the server closes, so that
 * a draining process does not wait for people who keep a page open.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { HttpProblem } from './problem.ts';

export interface EventStream {
  /** One event; `data` is sent as JSON. */
  send(event: string, id: string, data: unknown): void;
  end(): void;
  /** Called once when the reader or the server has gone. */
  onEnd(listener: () => void): void;
}

export interface EventStreams {
  open(request: FastifyRequest, reply: FastifyReply): EventStream;
}

const mostStreams = 5_000;
const heartbeatMs = 15_000;
/** A reader that does not read is let go rather than buffered for. */
const mostBufferedBytes = 256 * 1024;

export function eventStreams(
  app: FastifyInstance,
  { clock, metrics }: Pick<HttpDeps, 'clock' | 'metrics'>,
): EventStreams {
  const streams = new Set<EventStream>();
  metrics.gauge('doorbuster_event_streams', 'Readers of server-sent events.', [], () => [
    { labels: {}, value: streams.size },
  ]);
  app.addHook('preClose', (done) => {
    for (const stream of streams) stream.end();
    done();
  });

  return {
    open(_request, reply) {
      if (streams.size >= mostStreams) {
        metrics.shed('event-streams');
        throw new HttpProblem('too-many-streams', { retryAfterMs: 5_000 });
      }
      const headers = {
        ...reply.getHeaders(),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      };
      reply.hijack();
      const { raw } = reply;
      raw.writeHead(200, headers as Record<string, string>);
      const listeners: (() => void)[] = [];
      let ended = false;
      let cancel = (): void => undefined;
      const finish = (): void => {
        if (ended) return;
        ended = true;
        cancel();
        streams.delete(stream);
        for (const listener of listeners) listener();
      };
      const write = (text: string): void => {
        if (ended) return;
        if (raw.writableLength > mostBufferedBytes) raw.destroy();
        else raw.write(text);
      };
      const beat = (): void => {
        write(': still here\n\n');
        cancel = clock.setTimer(heartbeatMs, beat);
      };
      const stream: EventStream = {
        send: (event, id, data) => write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`),
        end() {
          finish();
          raw.end();
        },
        onEnd: (listener) => void listeners.push(listener),
      };
      streams.add(stream);
      raw.on('close', finish);
      raw.on('error', finish);
      write('retry: 3000\n\n');
      cancel = clock.setTimer(heartbeatMs, beat);
      return stream;
    },
  };
}

/** True when the client asks for an event stream rather than JSON. */
export function wantsEvents(request: FastifyRequest): boolean {
  return /(^|,)\s*text\/event-stream\b/i.test(request.headers.accept ?? '');
}

/**
 * Server-sent events over a hijacked reply: ids, a heartbeat, an end. Streams are counted and bounded, in all, by address and by connection, and end
 * when the server closes, so that a draining process does not wait for people who keep a page open.
 */
import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { networkOf } from '../admission/turnstile.ts';
import type { HttpDeps } from './deps.ts';
import { HttpProblem } from './problem.ts';

export interface EventStream {
  /** One event; `data` is sent as JSON. */
  send(event: string, id: string, data: unknown): void;
  end(): void;
  /** Called once when the reader or the server has gone: at once, where that was before. */
  onEnd(listener: () => void): void;
}

export interface EventStreams {
  /** Throws the problem `too-many-streams`. */
  open(request: FastifyRequest, reply: FastifyReply): EventStream;
}

const mostStreams = 5_000;
const heartbeatMs = 15_000;
/** A reader that does not read is let go rather than buffered for. */
const mostBufferedBytes = 256 * 1024;

export function eventStreams(
  app: FastifyInstance,
  { clock, metrics, config }: Pick<HttpDeps, 'clock' | 'metrics' | 'config'>,
): EventStreams {
  const streams = new Set<EventStream>();
  const byAddress = new Map<string, number>();
  const sockets = new WeakSet<Socket>();
  metrics.gauge('doorbuster_event_streams', 'Readers of server-sent events.', [], () => [
    { labels: {}, value: streams.size },
  ]);
  app.addHook('preClose', (done) => {
    for (const stream of streams) stream.end();
    done();
  });

  /** The word by which a stream more is refused; null when there is a place. */
  function refusal(address: string, socket: Socket): string | null {
    if (streams.size >= mostStreams) return 'event-streams';
    if ((byAddress.get(address) ?? 0) >= config.limits.addressStreams) return 'address-streams';
    // HTTP/1.1 answers in order, so a stream asked for behind another is told nothing while that lasts.
    return sockets.has(socket) ? 'connection-streams' : null;
  }

  function release(address: string, socket: Socket): void {
    sockets.delete(socket);
    const left = byAddress.get(address)! - 1;
    if (left === 0) byAddress.delete(address);
    else byAddress.set(address, left);
  }

  return {
    open(request, reply) {
      const address = networkOf(request.ip);
      const { socket } = request.raw;
      const refused = refusal(address, socket);
      if (refused !== null) {
        metrics.shed(refused);
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
        release(address, socket);
        for (const listener of listeners) listener();
      };
      const write = (text: string): void => {
        if (ended) return;
        if (raw.writableLength <= mostBufferedBytes) return void raw.write(text);
        raw.destroy();
        finish();
      };
      const beat = (): void => {
        cancel = clock.setTimer(heartbeatMs, beat);
        write(': still here\n\n');
      };
      const stream: EventStream = {
        send: (event, id, data) => write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`),
        end() {
          finish();
          raw.end();
        },
        onEnd: (listener) => (ended ? listener() : void listeners.push(listener)),
      };
      streams.add(stream);
      byAddress.set(address, (byAddress.get(address) ?? 0) + 1);
      sockets.add(socket);
      raw.on('close', finish);
      raw.on('error', finish);
      write('retry: 3000\n\n');
      if (!ended) cancel = clock.setTimer(heartbeatMs, beat);
      // The reader may have gone while the route still looked at the request: then nothing more is told of it.
      if (raw.destroyed) finish();
      return stream;
    },
  };
}

/** True when the client asks for an event stream rather than JSON. */
export function wantsEvents(request: FastifyRequest): boolean {
  return /(^|,)\s*text\/event-stream\b/i.test(request.headers.accept ?? '');
}

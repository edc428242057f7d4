/**
 * A way to a server that a test can cut and mend: the server sees connections close, the client cannot come back until it is mended. Or one that swallows everything on some connections
 * and closes none of them, as a router does that forgot them.
 */
import { connect, createServer, type Socket } from 'node:net';

export interface CutProxy {
  /** The server's address by way of here. */
  readonly url: string;
  /** How many connections of clients are open. */
  readonly open: number;
  /** Closes every connection; with `refuse` new ones are closed too, until `mend`. */
  cut(options: { readonly refuse: boolean }): void;
  mend(): void;
  /** What a client next says with this word is the last that goes either way on its connection; resolves when that has gone. Other connections, and new ones, are not touched. */
  swallowAfter(word: string): Promise<void>;
  close(): Promise<void>;
}

interface Way {
  readonly near: Socket;
  readonly far: Socket;
  isSwallowed: boolean;
}

export async function cutProxyTo(url: string): Promise<CutProxy> {
  const target = new URL(url);
  const ways = new Set<Way>();
  let refusing = false;
  let last: { readonly word: string; readonly gone: () => void } | undefined;
  const server = createServer((near) => {
    if (refusing) return near.destroy();
    const far = connect(Number(target.port || '6379'), target.hostname);
    const way: Way = { near, far, isSwallowed: false };
    ways.add(way);
    join(way, {
      onGone: () => ways.delete(way),
      onSaid(text) {
        if (last === undefined || !text.includes(last.word)) return;
        way.isSwallowed = true;
        last.gone();
        last = undefined;
      },
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const here = new URL(url);
  here.hostname = '127.0.0.1';
  here.port = String((server.address() as { port: number }).port);
  const destroyAll = (): void => {
    for (const { near, far } of ways) for (const one of [near, far]) one.destroy();
  };
  return {
    url: here.href,
    get open() {
      return [...ways].filter(({ near }) => !near.destroyed).length;
    },
    cut({ refuse }) {
      refusing = refuse;
      destroyAll();
    },
    mend() {
      refusing = false;
    },
    swallowAfter: (word) =>
      new Promise((gone) => {
        last = { word, gone };
      }),
    close() {
      destroyAll();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function join(
  way: Way,
  { onGone, onSaid }: { readonly onGone: () => void; readonly onSaid: (text: string) => void },
): void {
  const { near, far } = way;
  for (const [one, other] of [
    [near, far],
    [far, near],
  ] as const) {
    one.on('error', () => {});
    one.on('data', (data) => {
      if (way.isSwallowed) return;
      other.write(data);
      if (one === near) onSaid(data.toString('latin1'));
    });
    one.on('close', () => {
      // Of what is swallowed the other end hears nothing, also not that this one has gone.
      if (!way.isSwallowed) other.destroy();
      if (near.destroyed && far.destroyed) onGone();
    });
  }
}

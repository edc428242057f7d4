/** A way to a server that a test can cut and mend: the server sees connections close, the client cannot come back until it is mended. */
import { connect, createServer, type Socket } from 'node:net';

export interface CutProxy {
  /** The server's address by way of here. */
  readonly url: string;
  /** Closes every connection; with `refuse` new ones are closed too, until `mend`. */
  cut(options: { readonly refuse: boolean }): void;
  mend(): void;
  close(): Promise<void>;
}

export async function cutProxyTo(url: string): Promise<CutProxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let refusing = false;
  const server = createServer((near) => {
    if (refusing) return near.destroy();
    const far = connect(Number(target.port || '6379'), target.hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const here = new URL(url);
  here.hostname = '127.0.0.1';
  here.port = String((server.address() as { port: number }).port);
  return {
    url: here.href,
    cut({ refuse }) {
      refusing = refuse;
      for (const one of sockets) one.destroy();
    },
    mend() {
      refusing = false;
    },
    close() {
      for (const one of sockets) one.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

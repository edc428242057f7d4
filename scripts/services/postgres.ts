// PostgreSQL as the tests use it: durable as it comes, logical decoding possible, anybody of this machine may connect over loopback.

import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { host, portOf } from './ports.ts';
import type { Server } from './server.ts';

const user = 'postgres';

/** The first message of a connection (protocol 3.0): "R" in the answer means that it would let us in, "E" that it is not up yet. */
function startupMessage(): Buffer {
  const parameters = Buffer.from(`user\0${user}\0database\0postgres\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + parameters.length, 0);
  head.writeInt32BE(196_608, 4);
  return Buffer.concat([head, parameters]);
}

const folders = ['/usr/lib/postgresql/*/bin'];

export const postgres: Server = {
  name: 'postgres',
  canCluster: false,
  packages: ['postgresql'],
  programs: { initdb: folders, postgres: folders },
  urls: (layout) => ({
    DATABASE_URL: `postgres://${user}@${host}:${portOf(layout, 'postgres')}/postgres`,
  }),
  waves(layout, programs) {
    const port = portOf(layout, 'postgres');
    const data = join(layout.folder, 'data', 'postgres');
    const settings = {
      listen_addresses: host,
      unix_socket_directories: '',
      max_connections: '200',
      wal_level: 'logical',
    };
    return [
      [
        {
          name: 'postgres',
          server: 'postgres',
          program: programs['postgres']!,
          args: [
            '-D',
            data,
            '-p',
            String(port),
            ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
          ],
          env: {},
          ports: [port],
          user,
          // Fast shutdown: clients are sent away, not waited for.
          stopSignal: 'SIGINT',
          preparation: {
            mark: 'PG_VERSION',
            steps: [
              {
                program: programs['initdb']!,
                args: ['-D', data, '-U', user, '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'],
              },
            ],
          },
          probe: { port, send: startupMessage(), isReady: (reply) => reply.toString('latin1', 0, 1) === 'R' },
        },
      ],
    ];
  },
};

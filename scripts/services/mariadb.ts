// MariaDB with its defaults; root may connect over loopback without a password.

import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { host, portOf } from './ports.ts';
import type { Server } from './server.ts';

/** A handshake of protocol 10, which the server sends unasked; 0xff there would be an error. */
const protocolVersion = 10;

export const mariadb: Server = {
  name: 'mariadb',
  canCluster: false,
  packages: ['mariadb-server'],
  programs: { mariadbd: [], 'mariadb-install-db': [] },
  urls: (layout) => ({ MARIADB_URL: `mysql://root@${host}:${portOf(layout, 'mariadb')}/` }),
  waves(layout, programs) {
    const port = portOf(layout, 'mariadb');
    const data = join(layout.folder, 'data', 'mariadb');
    const asUser = layout.asRoot ? ['--user=mysql'] : [];
    return [
      [
        {
          name: 'mariadb',
          server: 'mariadb',
          program: programs['mariadbd']!,
          args: [
            '--no-defaults',
            ...asUser,
            `--datadir=${data}`,
            `--port=${port}`,
            `--bind-address=${host}`,
            // Relative to the data folder: an absolute path of more than 107 characters is refused.
            '--socket=server.sock',
            '--pid-file=server.pid',
          ],
          env: {},
          ports: [port],
          user: 'mysql',
          changesUserItself: true,
          stopSignal: 'SIGTERM',
          preparation: {
            mark: 'mysql',
            steps: [
              {
                program: programs['mariadb-install-db']!,
                args: [
                  '--no-defaults',
                  ...asUser,
                  `--datadir=${data}`,
                  '--auth-root-authentication-method=normal',
                  '--skip-test-db',
                ],
              },
            ],
          },
          probe: { port, send: Buffer.alloc(0), isReady: (reply) => reply[4] === protocolVersion },
        },
      ],
    ];
  },
};

// Redis with its append-only file, as a team runs it that means to keep its messages; how often the file is synced is the default (each second).

import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { host, portOf } from './ports.ts';
import type { Server } from './server.ts';

export const redis: Server = {
  name: 'redis',
  canCluster: false,
  packages: ['redis-server'],
  programs: { 'redis-server': [] },
  urls: (layout) => ({ REDIS_URL: `redis://${host}:${portOf(layout, 'redis')}` }),
  waves(layout, programs) {
    const port = portOf(layout, 'redis');
    return [
      [
        {
          name: 'redis',
          server: 'redis',
          program: programs['redis-server']!,
          args: [
            '--port',
            String(port),
            '--bind',
            host,
            '--dir',
            join(layout.folder, 'data', 'redis'),
            '--appendonly',
            'yes',
            '--daemonize',
            'no',
          ],
          env: {},
          ports: [port],
          stopSignal: 'SIGTERM',
          // While it reads its file it answers "-LOADING".
          probe: {
            port,
            send: Buffer.from('PING\r\n'),
            isReady: (reply) => reply.toString('latin1').startsWith('+PONG'),
          },
        },
      ],
    ];
  },
};

// ZooKeeper, one node, started with java from the jars of Debian's package and never through the package's own start scripts: those read
// /etc/zookeeper and would listen on every address.
//
// A tick of half a second allows sessions of one second, so that tests that wait for the session of a killed process to end need not wait
// for the usual four. Its administration page is off, and of its four-letter words only the one that asks whether it serves is on.

import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { host, portOf } from './ports.ts';
import type { Server } from './server.ts';

/** Names its own neighbours (jute, netty, slf4j) in its manifest. */
const jar = '/usr/share/java/zookeeper.jar';
/** Without it the log would stay empty. */
const logger = '/usr/share/java/slf4j-simple.jar';

const configuration = (port: number, data: string): string =>
  Object.entries({
    dataDir: join(data, 'snapshots'),
    clientPort: port,
    clientPortAddress: host,
    tickTime: 500,
    minSessionTimeout: 1_000,
    maxSessionTimeout: 60_000,
    maxClientCnxns: 0,
    '4lw.commands.whitelist': 'ruok',
    'admin.enableServer': false,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');

export const zookeeper: Server = {
  name: 'zookeeper',
  canCluster: false,
  packages: ['zookeeper', 'default-jre-headless'],
  // The script is not run: it stands for the package, whose jar is no program.
  programs: { java: [], 'zkServer.sh': ['/usr/share/zookeeper/bin'] },
  urls: (layout) => ({ ZOOKEEPER_URL: `zookeeper://${host}:${portOf(layout, 'zookeeper')}` }),
  waves(layout, programs) {
    const port = portOf(layout, 'zookeeper');
    const data = join(layout.folder, 'data', 'zookeeper');
    const settings = join(data, 'zoo.cfg');
    return [
      [
        {
          name: 'zookeeper',
          server: 'zookeeper',
          program: programs['java']!,
          args: [
            '-cp',
            `${jar}:${logger}`,
            '-Xms32m',
            '-Xmx256m',
            '-Dzookeeper.jmx.log4j.disable=true',
            '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
            'org.apache.zookeeper.server.ZooKeeperServerMain',
            settings,
          ],
          env: {},
          ports: [port],
          stopSignal: 'SIGTERM',
          files: { [settings]: configuration(port, data) },
          probe: {
            port,
            send: Buffer.from('ruok'),
            isReady: (reply) => reply.toString('latin1') === 'imok',
          },
        },
      ],
    ];
  },
};

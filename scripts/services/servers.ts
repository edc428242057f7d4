// All servers by name: the only place that knows each of them.

import { kafka } from './kafka.ts';
import { mariadb } from './mariadb.ts';
import { postgres } from './postgres.ts';
import { rabbitmq } from './rabbitmq.ts';
import { redis } from './redis.ts';
import type { Server, ServerName } from './server.ts';
import { zookeeper } from './zookeeper.ts';

export const serversByName: Readonly<Record<ServerName, Server>> = {
  postgres,
  mariadb,
  redis,
  rabbitmq,
  kafka,
  zookeeper,
};

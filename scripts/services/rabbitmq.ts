// RabbitMQ, one node or three that form a cluster by themselves on their first start (classic configuration).
//
// Erlang finds nodes through a name server, epmd. We start our own on a port of our own and as a process of ours: left to itself each node
// starts one that outlives it, and that nodes of somebody else would share. The first node of a cluster is ready before the others start,
// because nodes that start at once and see nobody yet found a cluster each.

import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { host, nodesOf, portOf } from './ports.ts';
import type { Programs } from './programs.ts';
import type { Layout, ProcessPlan, Server } from './server.ts';

/** Any text will do: it only keeps nodes of other people out, and they cannot reach loopback. */
const cookie = 'doorbuster-services';
const loopbackOnly = '-kernel inet_dist_use_interface {127,0,0,1}';

const processName = (layout: Layout, node: number): string =>
  layout.cluster ? `rabbitmq-${node}` : 'rabbitmq';
const nodeName = (node: number): string => `doorbuster${node}@localhost`;
/** Erlang reads its cookie from HOME; all nodes and the command line tool share it. */
const homeOf = (layout: Layout): string => join(layout.folder, 'data', 'rabbitmq-home');

const shared = (layout: Layout): Record<string, string> => ({
  HOME: homeOf(layout),
  ERL_EPMD_PORT: String(portOf(layout, 'epmd')),
  ERL_EPMD_ADDRESS: host,
  RABBITMQ_CONF_ENV_FILE: '/dev/null',
});

function configuration(layout: Layout): string {
  const lines = ['disk_free_limit.absolute = 50MB', 'log.console.level = warning'];
  if (layout.cluster)
    lines.push(
      'cluster_formation.peer_discovery_backend = classic_config',
      ...nodesOf(layout).map((node) => `cluster_formation.classic_config.nodes.${node} = ${nodeName(node)}`),
    );
  return `${lines.join('\n')}\n`;
}

function nodePlan(layout: Layout, programs: Programs, node: number): ProcessPlan {
  const name = processName(layout, node);
  const data = join(layout.folder, 'data', name);
  const [port, distribution] = [
    portOf(layout, 'rabbitmq', node),
    portOf(layout, 'rabbitmqDistribution', node),
  ];
  return {
    name,
    server: 'rabbitmq',
    program: programs['rabbitmq-server']!,
    args: [],
    env: {
      ...shared(layout),
      RABBITMQ_NODENAME: nodeName(node),
      RABBITMQ_NODE_IP_ADDRESS: host,
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_MNESIA_BASE: data,
      RABBITMQ_LOG_BASE: data,
      RABBITMQ_ENABLED_PLUGINS_FILE: join(data, 'enabled_plugins'),
      RABBITMQ_CONFIG_FILE: join(data, 'rabbitmq.conf'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: loopbackOnly,
      // The start script then becomes the server instead of waiting beside it: one process, one pid.
      RUNNING_UNDER_SYSTEMD: 'true',
    },
    ports: [port, distribution],
    stopSignal: 'SIGTERM',
    files: {
      [join(data, 'enabled_plugins')]: '[].\n',
      [join(data, 'rabbitmq.conf')]: configuration(layout),
    },
    // The listener of AMQP opens last. It answers a header of 0-9-1 with its first method frame.
    probe: { port, send: Buffer.from('AMQP\0\0\x09\x01', 'latin1'), isReady: (reply) => reply[0] === 1 },
  };
}

function nameServer(layout: Layout, programs: Programs): ProcessPlan {
  const port = portOf(layout, 'epmd');
  return {
    name: 'epmd',
    server: 'rabbitmq',
    program: programs['epmd']!,
    args: ['-port', String(port), '-address', host],
    env: {},
    ports: [port],
    stopSignal: 'SIGTERM',
    isAuxiliary: true,
    files: { [join(homeOf(layout), '.erlang.cookie')]: cookie },
    // "Names?", to which it answers with its own port first.
    probe: {
      port,
      send: Buffer.from([0, 1, 'n'.charCodeAt(0)]),
      isReady: (reply) => reply.length >= 4 && reply.readUInt32BE(0) === port,
    },
  };
}

export const rabbitmq: Server = {
  name: 'rabbitmq',
  canCluster: true,
  packages: ['rabbitmq-server'],
  programs: {
    // The one on PATH insists on changing the user.
    'rabbitmq-server': ['/usr/lib/rabbitmq/bin'],
    rabbitmqctl: ['/usr/lib/rabbitmq/bin'],
    epmd: [],
  },
  urls(layout) {
    const all = nodesOf(layout).map(
      (node) => `amqp://guest:guest@${host}:${portOf(layout, 'rabbitmq', node)}`,
    );
    return { RABBITMQ_URL: all[0]!, ...(layout.cluster ? { RABBITMQ_CLUSTER_URLS: all.join(',') } : {}) };
  },
  waves(layout, programs, hasData) {
    const [first, ...others] = nodesOf(layout).map((node) => nodePlan(layout, programs, node));
    // A node that was a member waits for those that were alive after it: started again, all have to come at once.
    const nodes = hasData || others.length === 0 ? [[first!, ...others]] : [[first!], others];
    return [[nameServer(layout, programs)], ...nodes];
  },
  joined: (layout, programs) => ({
    program: programs['rabbitmqctl']!,
    args: ['-n', nodeName(1), '-t', '60', 'await_online_nodes', String(nodesOf(layout).length)],
    env: { ...shared(layout), RABBITMQ_CTL_ERL_ARGS: loopbackOnly },
  }),
};

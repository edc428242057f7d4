// Kafka without ZooKeeper (KRaft): one process that is broker and controller, or three of them. It is no Debian package: kafka-jars.ts
// brings its published jars.
//
// Topics are never made by asking for them, because a misspelt name would pass for a topic. The group's shortest session time-out is lowered
// so that tests that kill a consumer need not wait for six seconds, and its coordinator does not linger 5 ms over each commit.

import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { kafkaJars } from './kafka-jars.ts';
import { host, nodesOf, portOf } from './ports.ts';
import type { Programs } from './programs.ts';
import type { Layout, ProcessPlan, Server } from './server.ts';

/** Sixteen bytes in base64url: the cluster's own name. Fixed, so that three nodes agree without asking each other. */
const clusterId = 'ZG9vcmJ1c3Rlci1kZXYtMQ';

const processName = (layout: Layout, node: number): string => (layout.cluster ? `kafka-${node}` : 'kafka');
const addressOf = (layout: Layout, node: number): string => `${host}:${portOf(layout, 'kafka', node)}`;

function properties(layout: Layout, node: number, data: string): string {
  const controller = (of: number): string => `${host}:${portOf(layout, 'kafkaController', of)}`;
  const nodes = nodesOf(layout);
  const [copies, inSync] = layout.cluster ? [3, 2] : [1, 1];
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': node,
    'controller.quorum.voters': nodes.map((of) => `${of}@${controller(of)}`).join(','),
    'controller.listener.names': 'CONTROLLER',
    listeners: `PLAINTEXT://${addressOf(layout, node)},CONTROLLER://${controller(node)}`,
    'advertised.listeners': `PLAINTEXT://${addressOf(layout, node)}`,
    'log.dirs': join(data, 'log'),
    'num.partitions': 1,
    'auto.create.topics.enable': false,
    'default.replication.factor': copies,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': copies,
    'offsets.topic.num.partitions': 5,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': inSync,
    'transaction.state.log.num.partitions': 5,
    'share.coordinator.state.topic.replication.factor': copies,
    'share.coordinator.state.topic.min.isr': inSync,
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 500,
    'group.coordinator.append.linger.ms': 0,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

const logging = `appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
`;

/** Asks for the metadata of all topics (version 1): the answer begins with the list of brokers that serve. */
const metadataRequest = Buffer.from([0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]);
const brokersIn = (reply: Buffer): number => (reply.length >= 12 ? reply.readInt32BE(8) : 0);

function nodePlan(layout: Layout, programs: Programs, node: number): ProcessPlan {
  const name = processName(layout, node);
  const data = join(layout.folder, 'data', name);
  const configuration = join(data, 'server.properties');
  const log4j = join(data, 'log4j2.properties');
  const java = ['-cp', join(kafkaJars, '*'), `-Dlog4j2.configurationFile=${log4j}`];
  const [port, controller] = [portOf(layout, 'kafka', node), portOf(layout, 'kafkaController', node)];
  return {
    name,
    server: 'kafka',
    program: programs['java']!,
    args: [...java, '-Xms128m', '-Xmx512m', 'kafka.Kafka', configuration],
    env: {},
    ports: [port, controller],
    stopSignal: 'SIGTERM',
    files: { [configuration]: properties(layout, node, data), [log4j]: logging },
    preparation: {
      mark: join('log', 'meta.properties'),
      steps: [
        {
          program: programs['java']!,
          args: [...java, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', configuration],
        },
      ],
    },
    probe: {
      port,
      send: metadataRequest,
      isReady: (reply) => brokersIn(reply) === nodesOf(layout).length,
    },
  };
}

export const kafka: Server = {
  name: 'kafka',
  canCluster: true,
  packages: ['maven', 'default-jre-headless'],
  programs: { java: [], mvn: [] },
  urls(layout) {
    const all = nodesOf(layout).map((node) => addressOf(layout, node));
    return {
      KAFKA_URL: `kafka://${all[0]!}`,
      ...(layout.cluster ? { KAFKA_CLUSTER_URLS: all.map((address) => `kafka://${address}`).join(',') } : {}),
    };
  },
  waves: (layout, programs) => [nodesOf(layout).map((node) => nodePlan(layout, programs, node))],
};

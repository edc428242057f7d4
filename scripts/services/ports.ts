// The ports of all servers: a thousand from 21000 on, so that they meet neither the servers' usual ones nor the range that Linux takes
// the ports of outgoing connections from (32768 and up), where a port may be taken by chance.

export const firstPortByDefault = 21_000;

const distances = {
  postgres: 432,
  mariadb: 306,
  redis: 379,
  epmd: 369,
  /** And one up per further node. */
  rabbitmq: 672,
  rabbitmqDistribution: 692,
  kafka: 92,
  kafkaController: 112,
  zookeeper: 181,
} as const;

export const host = '127.0.0.1';

export function portOf(layout: { readonly firstPort: number }, of: keyof typeof distances, node = 1): number {
  return layout.firstPort + distances[of] + node - 1;
}

/** The numbers of the nodes of a server that can be a cluster. */
export const nodesOf = ({ cluster }: { readonly cluster: boolean }): readonly number[] =>
  cluster ? [1, 2, 3] : [1];

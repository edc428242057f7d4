/**
 * Which brokers are taken. 3.10 is the least: before it quorum queues know no time to live, on which the delay ladder and the notes stand, and dead-letter at most once, so
 * that a delayed message could be lost. Such a broker is refused, because it would take the declarations or refuse them one by one, and neither says what is wrong.
 *
 * What is newer than what was tried, or another product with the same protocol, is taken and told (`untried`): most of it will do, and nobody has shown it.
 */
import { MessagingError } from '../../errors.ts';

export interface ServerProperties {
  readonly product?: string | undefined;
  readonly version?: string | undefined;
}

const PRODUCT = 'RabbitMQ';
const LEAST = [3, 10] as const;
const TRIED_MAJOR = 3;

/** Throws DB_MSG_ENGINE_UNSAFE for a RabbitMQ that is too old, or whose version cannot be read. */
export function judgeServer({ product, version = '' }: ServerProperties): 'tried' | 'untried' {
  if (product !== PRODUCT) return 'untried';
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (
    major === undefined ||
    Number(major) < LEAST[0] ||
    (Number(major) === LEAST[0] && Number(minor) < LEAST[1])
  )
    throw new MessagingError(
      'DB_MSG_ENGINE_UNSAFE',
      `RabbitMQ "${version}" is older than ${LEAST.join('.')}: its quorum queues know no time to live and could lose a delayed message. Upgrade the broker`,
    );
  return Number(major) === TRIED_MAJOR ? 'tried' : 'untried';
}

/** As people read it: `RabbitMQ 3.10.8`. */
export function nameOf({ product, version }: ServerProperties): string {
  return `${product ?? PRODUCT} ${version ?? ''}`.trim();
}

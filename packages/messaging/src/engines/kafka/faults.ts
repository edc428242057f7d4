/** From the client's errors to those of the catalogue. The client nests them; what counts is the broker's own code, wherever it lies. */
import { findErrorBy } from '@platformatic/kafka';
import { MessagingError } from '../../errors.ts';

/** Whether the broker said this (an id such as `ILLEGAL_GENERATION`) somewhere in the error. */
export function says(error: unknown, ...ids: readonly string[]): boolean {
  return error instanceof Error && ids.some((id) => findErrorBy(error, 'apiId', id) !== null);
}

/** The group has no coordinator yet, or it is moving to another broker: a matter of moments, for which every client waits. */
export function isCoordinatorAway(error: unknown): boolean {
  const told = error instanceof MessagingError ? error.cause : error;
  return says(told, 'NOT_COORDINATOR', 'COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS');
}

const REFUSED = [
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'SASL_AUTHENTICATION_FAILED',
];

/** The error as the port speaks of it. What is not known to be for good counts as out of reach: retryable, outcome unknown. */
export function faultOf(error: unknown, during: string): MessagingError {
  if (error instanceof MessagingError) return error;
  const detail = `${during}: ${messageOf(error)}`;
  const cause = { cause: error };
  if (says(error, ...REFUSED) || isAuthentication(error))
    return new MessagingError('DB_MSG_ENGINE_REFUSED', detail, cause);
  if (says(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'))
    return new MessagingError('DB_MSG_MESSAGE_TOO_LARGE', detail, cause);
  if (says(error, 'NOT_ENOUGH_REPLICAS', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'KAFKA_STORAGE_ERROR'))
    return new MessagingError('DB_MSG_ENGINE_BLOCKED', detail, cause);
  if (says(error, 'INVALID_TOPIC_EXCEPTION', 'INVALID_CONFIG', 'INVALID_REPLICATION_FACTOR'))
    return new MessagingError('DB_MSG_INVALID_OPTIONS', detail, cause);
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', detail, cause);
}

function isAuthentication(error: unknown): boolean {
  return error instanceof Error && findErrorBy(error, 'code', 'PLT_KFK_AUTHENTICATION') !== null;
}

/** The innermost messages: the outer one only says how often it was tried. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const nested = (error as { errors?: unknown }).errors;
  const last: unknown = Array.isArray(nested) ? nested.at(-1) : undefined;
  return last === undefined ? error.message : `${error.message} ${messageOf(last)}`;
}

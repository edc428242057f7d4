/**
 * What a link took with it is made again over the next one, and the host answers each of these operations by itself: a full disk, a subscription that is gone. A consumer that is
 * not made again gets nothing for ever, and nothing would tell. So what may be done later is tried again for as long as the link lasts, and the rest
 * is the end of the engine: its owner starts again and declares what he needs.
 */
import { errorCatalogue, MessagingError, type MessagingErrorCode } from '../../../errors.ts';
import type { Operation } from '../turn.ts';
import type { Link } from './link.ts';

/** Said by a host that is about to go. What is asked comes again over the next link. */
const OF_THE_HOST: readonly MessagingErrorCode[] = ['DB_MSG_STOPPED', 'DB_MSG_ENGINE_FAILED'];

/**
 * One try. Resolves with what has to be tried again, none when the link ended: its successor begins anew. Rejects with the first refusal that trying again does not change,
 * unless others may be its cause: who reads a channel comes after its declaration.
 */
export async function tryOver(
  link: Pick<Link, 'run'>,
  operations: readonly Operation[],
): Promise<readonly Operation[]> {
  const answers = operations.length === 0 ? [] : await link.run(operations);
  if (!answers) return [];
  const refused = operations.flatMap((operation, at) => {
    const answer = answers[at];
    return answer && 'error' in answer ? [{ operation, ...answer.error }] : [];
  });
  const [first] = refused;
  const isForNow = refused.some(({ code }) => errorCatalogue[code].retryable || OF_THE_HOST.includes(code));
  if (first && !isForNow)
    throw new MessagingError(
      first.code,
      `the file has another host, and this was not made again there: ${first.operation.op}: ${first.message}`,
    );
  return refused.map(({ operation }) => operation);
}

/** Ends a link of which no use is made after all. Whoever was made again over it leaves first: a link that ends without a word counts what was handed out as abandoned. */
export async function takeLeave(
  link: Pick<Link, 'run' | 'close'>,
  operations: readonly Operation[],
): Promise<void> {
  await allLeave(link, operations);
  await link.close();
}

/** For each consumer that was asked for. One that was refused is not there, and its leave is refused too. */
export async function allLeave(link: Pick<Link, 'run'>, operations: readonly Operation[]): Promise<void> {
  const leaves = operations.flatMap((operation): readonly Operation[] =>
    operation.op === 'subscribe' ? [{ op: 'leave', consumer: operation.consumer }] : [],
  );
  if (leaves.length > 0) await link.run(leaves);
}

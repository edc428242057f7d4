/**
 * The client's version that this engine is tried with. It sends requests over parts of the client that are exported and nowhere described (`link.ts`, `produce-request.ts`), and
 * these may change in any release, with the arguments of a request in another order and no error. So the package takes that version alone, and who installs another one
 * all the same is told at each connect. It is not refused: whoever needs a mended client today may try it.
 */
import { clientSoftwareVersion } from '@platformatic/kafka';
import type { KafkaNotice } from './options.ts';

export const TRIED_CLIENT = '2.12.1';

export function tellOfUntriedClient(
  onNotice: (notice: KafkaNotice) => void,
  version = String(clientSoftwareVersion),
): void {
  if (version !== TRIED_CLIENT) onNotice({ kind: 'untriedClient', version, tried: TRIED_CLIENT });
}

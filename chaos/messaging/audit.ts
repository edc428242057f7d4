/** The judge of a long run: reads what was done, in the order in which it was committed, and knows nothing of the toolkit. */

export interface Verdict {
  /** Published, confirmed and never handled. */
  readonly lost: number;
  /** Effects beyond the first of their message. */
  readonly handledTwice: number;
  /** First effects that came behind a later message of their key; null where no order is promised, so that none was judged. */
  readonly orderBroken: number | null;
}

/** Messages are numbered 0 to `total - 1`, and a key's messages were published in the order of their numbers. */
export function judge(
  effects: Iterable<{ readonly n: number; readonly key: number }>,
  total: number,
  { order }: { readonly order: boolean },
): Verdict {
  const seen = new Uint8Array(total);
  const last = new Map<number, number>();
  let distinct = 0;
  let handledTwice = 0;
  let orderBroken = 0;
  for (const { n, key } of effects) {
    if (seen[n] !== 0) {
      handledTwice += 1;
      continue;
    }
    seen[n] = 1;
    distinct += 1;
    const before = last.get(key) ?? -1;
    if (n < before) orderBroken += 1;
    else last.set(key, n);
  }
  return { lost: total - distinct, handledTwice, orderBroken: order ? orderBroken : null };
}

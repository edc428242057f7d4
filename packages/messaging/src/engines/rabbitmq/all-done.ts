/** Waits for all, also when one fails: what is under way must not be settled twice. */
export async function allDone(running: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(running)).find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}

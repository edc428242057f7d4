/** What `bench:messaging` measures unless it is told otherwise, for whoever has to know whether a run was shortened (scripts/evidence.ts). An even number of rounds: each side goes first as often as the other. */
export const fullRun = { rounds: 6, seconds: 4 } as const;

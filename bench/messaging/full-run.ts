/** What `bench:messaging` measures unless it is told otherwise, for whoever has to know whether a run was shortened (scripts/evidence.ts). */
export const fullRun = { rounds: 5, seconds: 4 } as const;

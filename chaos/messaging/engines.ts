/** Which engines have a long run, and what is asked of them there. Names alone: who reads results loads no engine. */

export const soakEngines = ['embedded', 'rabbitmq', 'kafka', 'redis', 'redis-lists'] as const;
export type SoakEngine = (typeof soakEngines)[number];

/** Where none is promised none is judged. */
export const keepsOrder = (engine: SoakEngine): boolean => engine !== 'redis-lists';

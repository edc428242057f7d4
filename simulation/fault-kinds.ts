/** What can break. `planned` faults are drawn before a run and strike at a moment; `call` faults are drawn call by call, at the far end's share of this run. */

export const plannedFaults = [
  /** At any await: before or after any call to the ledger, the bus, a provider, or before an answer leaves. */
  'crash',
  'crash-before-commit',
  'lost-commit-reply',
  'slow-writer',
  'stuck-writer',
  'disk-full',
  'paused-worker',
  'clock-step',
  'clock-skew',
  'restored-backup',
  /** The operator acts at the worst moment: right behind a commit that sold out, opened, promoted, or while a message is on its way. */
  'operator',
] as const;
export type PlannedFault = (typeof plannedFaults)[number];

export const callFaults = [
  'bus-lost',
  'bus-duplicated',
  'bus-reordered',
  'bus-delayed',
  'bus-lost-confirm',
  'lost-request',
  'lost-answer',
  'provider-refusal',
  'provider-time-out',
  'messenger-refusal',
  'messenger-time-out',
] as const;
export type CallFault = (typeof callFaults)[number];

export type FaultKind = PlannedFault | CallFault;
export const faultKinds: readonly FaultKind[] = [...plannedFaults, ...callFaults];

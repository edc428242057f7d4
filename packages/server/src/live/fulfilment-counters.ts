/** What fulfilment tells, as metrics. Labels are bounded: providers and results by name, error codes are left to the list of deliveries. */
import type { FulfilmentObserver } from '../fulfilment/observer.ts';
import type { Metrics } from './metrics.ts';

export function countFulfilment(metrics: Metrics): FulfilmentObserver {
  const attempts = metrics.counter('doorbuster_delivery_attempts_total', 'Attempts to deliver, by result.', [
    'result',
  ]);
  const calls = metrics.counter(
    'doorbuster_provider_calls_total',
    'Calls to voucher sources and messengers, by outcome.',
    ['provider', 'call', 'outcome'],
  );
  const breakers = metrics.counter('doorbuster_breaker_changes_total', 'Changes of a circuit breaker.', [
    'provider',
    'state',
  ]);
  const repairs = metrics.counter('doorbuster_reconciliation_total', 'Findings of the double check.', [
    'kind',
  ]);
  return (event) => {
    switch (event.event) {
      case 'settled':
        return attempts({ result: event.result });
      case 'lost':
        return attempts({ result: 'lost' });
      case 'called':
        return calls({ provider: event.provider, call: event.call, outcome: event.outcome });
      case 'breaker':
        return breakers({ provider: event.provider, state: event.state });
      case 'reconciled':
        repairs({ kind: 'repaired' }, event.repaired);
        return repairs({ kind: 'reported' }, event.reported);
    }
  };
}

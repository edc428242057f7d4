/** The public surface of the toolkit, written by hand. Engines have sub-paths of their own: `@doorbuster/messaging/engines/embedded`. */
export { createBus } from './bus.ts';
export type { HandlingCounts } from './subscription.ts';
export type { Bus, BusOptions, BusView, Subscription } from './bus.ts';
export type {
  BatchHandler,
  BatchSubscribeOptions,
  Handler,
  SubscribeOptions,
} from './subscribe-options.ts';
export type {
  DeadLetterGroup,
  DeadLetterMove,
  DeadLetterMoveOptions,
  DeadLetters,
} from './dead-letter-desk.ts';
export { defineChannel } from './channel.ts';
export type {
  Answerable,
  BindingsOption,
  Channel,
  ChannelData,
  ChannelDefinition,
  ChannelInput,
  ChannelRequirements,
  Durability,
  EmulatableFeature,
  FailureOrder,
  NamedDefinition,
  OutboxArguments,
  OutboxMessageOptions,
  PublishArguments,
  PublishItem,
  PublishOptions,
  Replayable,
  ReplyData,
  RequestOptions,
  Upcast,
} from './channel.ts';
export type { EngineLacking, Feature, FeaturesOf, Fitting } from './needs.ts';
export type { Check, ContractSchema, DataOf, InputOf, ReadData, StandardSchema } from './contract.ts';
export type { MessageParts } from './outgoing.ts';
export type { Encoding, WrittenVersion } from './encoding.ts';
export { asyncApiOf } from './asyncapi/document.ts';
export type { AsyncApiDocument, AsyncApiOptions, AsyncApiServer } from './asyncapi/document.ts';
export type { Middleware } from './middleware.ts';
export { isBound } from './routing.ts';
export type { Binding, HeadersBinding, RoutingKind } from './routing.ts';
export { pause, systemClock } from './clock.ts';
export type { CancelTimer, Clock } from './clock.ts';
export { createIds, systemRandomness } from './ids.ts';
export type { Ids, Randomness } from './ids.ts';
export { cloudEventContentType, decodeCloudEvent, encodeCloudEvent } from './cloud-event.ts';
export type { Message } from './message.ts';
export { ack, deadLetter, reply, retry, snooze } from './outcome.ts';
export type { Outcome } from './outcome.ts';
export { causedBy } from './causation.ts';
export type { Causation, Publish } from './causation.ts';
export type {
  BusTelemetry,
  ConsumingPlace,
  Failure,
  HandOut,
  ObservedBus,
  Settling,
  Telemetry,
} from './telemetry.ts';
export type { RetryPolicy } from './attempts.ts';
export type { HandlerContext } from './handler-context.ts';
export { silentLog } from './log.ts';
export type { Log } from './log.ts';
export { errorCatalogue, MessagingError, UnsupportedCapabilityError } from './errors.ts';
export type { MessagingErrorCode, UnmetRequirement } from './errors.ts';
export type {
  Capabilities,
  ChannelSpec,
  ChannelView,
  Consumer,
  ConsumerSpec,
  DeadLetterFilter,
  DeadLetterRecord,
  DeadLetterStore,
  Delivery,
  DeliveryToken,
  Engine,
  EngineConnection,
  EngineContext,
  EngineView,
  FailureRecord,
  Letter,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  ReplayPoint,
  ServerAddress,
  Settlement,
  SettleResult,
  ChannelStanding,
  StandingPlace,
  SubscriptionName,
  SubscriptionSpec,
  PartialCount,
  SubscriptionView,
  Support,
  Topology,
} from './engine.ts';
export { createRateCap } from './resilience/rate-cap.ts';
export type { RateCap, RateCapOptions } from './resilience/rate-cap.ts';
export { createBulkhead } from './resilience/bulkhead.ts';
export type { Bulkhead, BulkheadOptions } from './resilience/bulkhead.ts';
export { createCircuitBreaker } from './resilience/circuit-breaker.ts';
export type { BreakerState, CircuitBreaker, CircuitBreakerOptions } from './resilience/circuit-breaker.ts';
export { breakered, bulkheaded, rateCapped } from './resilience/middleware.ts';
export type { PutOffOptions } from './resilience/middleware.ts';
export {
  appendToOutbox,
  createOutboxWriter,
  outboxSchema,
  sqliteOutbox,
  sqliteOutboxSource,
} from './outbox.ts';
export type { OutboxRow, OutboxSource } from './outbox.ts';
export { createRelay } from './relay.ts';
export type { Relay, RelayOptions } from './relay.ts';
export { createKeyedRelay } from './keyed-relay.ts';
export type { KeyedRelay, KeyedRelayOptions, KeyedRelayView } from './keyed-relay.ts';
export type { KeyOrder, PoisonPolicy } from './relay-batch.ts';
export type {
  HeldLane,
  HeldRow,
  LaneName,
  OutboxStore,
  OutboxView,
  OwnedOutbox,
  ParkedRow,
  RelayProgress,
  StoredRow,
  WaitingPage,
} from './outbox-store.ts';
export { alreadyHandled, inboxSchema, purgeInbox } from './inbox.ts';
export { createLocks } from './lock.ts';
export type {
  AcquireOptions,
  HeldLock,
  Lease,
  LockEngine,
  LockGrant,
  LockOptions,
  Locks,
} from './lock.ts';
export { createLeader } from './leader.ts';
export type { Leader, LeaderOptions } from './leader.ts';
export type {
  SqlConnection,
  SqlDatabase,
  SqlDialect,
  SqlResult,
  SqlRow,
  SqlRunner,
  SqlStatement,
  SqlTransaction,
  SqlValue,
} from './sql.ts';
export { sqliteSql } from './sql/sqlite.ts';
export { postgresSql } from './sql/postgres.ts';
export type { PostgresClient, PostgresPool } from './sql/postgres.ts';
export { mariadbSql } from './sql/mariadb.ts';
export type { MariadbClient, MariadbPool } from './sql/mariadb.ts';
export { createSqlStreamStore } from './streams/sql-stream-store.ts';
export type { SqlStreamStoreOptions } from './streams/sql-stream-store.ts';
export { createCommandHandler } from './streams/decider.ts';
export type {
  CommandHandler,
  CommandHandlerOptions,
  Decider,
  Handled,
  HandleOptions,
  LoadedState,
  SnapshotPolicy,
} from './streams/decider.ts';
export { createProjection, forgetProjection, liveProjection } from './streams/projection.ts';
export type { Projection, ProjectionOptions, ProjectionView } from './streams/projection.ts';
export type {
  Appended,
  AppendOptions,
  ReadOptions,
  RecordedEvent,
  Snapshot,
  StreamEvent,
  StreamStore,
} from './streams/stream-store.ts';
export { handleOnce } from './handle-once.ts';
export type { HandleOnceOptions, InboxEntry, InboxStore } from './handle-once.ts';
export type { Decision, DecisionLog } from './dead-letter-decisions.ts';
export { createSqlDecisions, type SqlDecisions } from './stores/sql-decisions.ts';
export { reconcile, ReconciliationBroken } from './reconciliation.ts';
export type { ReconcileOptions, RepairOptions } from './reconciliation.ts';
export type {
  Finding,
  FindingKind,
  KeyFindings,
  NeedsPerson,
  ReconciliationReport,
  ReconciliationVerdict,
  RepairReport,
  ResumePoint,
  Standing,
  SubscriptionCounts,
} from './reconciliation-report.ts';
export type {
  EngineSight,
  Page,
  PageRequest,
  RecordedMessage,
  RecordedSource,
  RecordedState,
  SettledMessage,
  SettledSource,
  TimeWindow,
} from './reconciliation-sources.ts';
export { defineSaga, reactsTo, startsWith, stepDone, stepFailed, stepUnknown, stepWaits } from './saga.ts';
export type {
  Saga,
  SagaDefinition,
  SagaReaction,
  SagaRetries,
  SagaStart,
  SagaStep,
  StepContext,
  StepOutcome,
} from './saga.ts';
export { createSagaRunner } from './sagas/saga-runner.ts';
export type { SagaRunner, SagaRunnerOptions } from './sagas/saga-runner.ts';
export { createSqlSagaStore } from './sagas/sql-saga-store.ts';
export type { SqlSagaStoreOptions } from './sagas/sql-saga-store.ts';
export type {
  KeptSagaMail,
  SagaChanges,
  SagaMail,
  SagaPurge,
  SagaRecord,
  SagaStore,
} from './sagas/saga-store.ts';
export type {
  FailingMail,
  MailLook,
  SagaNote,
  SagaState,
  SagaStatus,
  StepState,
  StepStatus,
} from './sagas/saga-state.ts';

/**
 * Everything public of the rules, name by name. What is not here may change without notice.
 */
export type {
  Admit,
  AdmitResult,
  Decision,
  EntryCommand,
  KnownEntry,
  MemberKey,
  Qualification,
  Refusal,
} from './admit.ts';
export { admit, refusalOf } from './admit.ts';
export { canonicalJson } from './canonical-json.ts';
export type { ChainCheck, ChainFault, ChainVerifier, ExportedBatch } from './chain.ts';
export { createChainVerifier } from './chain.ts';
export { answersCommitment, memberCommitment } from './commitments.ts';
export type { Eligibility, EligibilityResult, EligibilityRule, MemberAttributes } from './eligibility.ts';
export { checkEligibility, defaultReasons, qualify } from './eligibility.ts';
export { evolve, LaneDivergenceError } from './evolve.ts';
export type { EntryStatus, FoldedEntry, FoldedUnit, LaneFold } from './fold.ts';
export { createLaneFold } from './fold.ts';
export type { Sha256, TreeHashes } from './hash.ts';
export { bytesOfHex, concatBytes, hexOf, isDigest, isHex, utf8Of } from './hex.ts';
export type { CampaignState, CampaignTerms, LanePhase, LaneState } from './lane.ts';
export { campaignStateOf, isFull, nextFreeUnit, owedRecord, replacementUnit } from './lane.ts';
export { checkInvariants } from './invariants/check.ts';
export { checkDurability, checkSettled, checkSoldOutAnswers } from './invariants/history.ts';
export { checkAcknowledged, checkOrder, checkReceipts } from './invariants/order.ts';
export type {
  DeliveredMessage,
  DeliverySnapshot,
  EntrySnapshot,
  Evidence,
  InvariantCrypto,
  InvariantName,
  LedgerSnapshot,
  ObservedAnswer,
  ObservedCommit,
  PaymentSnapshot,
  UnitSnapshot,
  Violation,
  VoucherSnapshot,
} from './invariants/snapshot.ts';
export { checkConservation, checkGrants, checkPayments, checkUnits } from './invariants/stock.ts';
export type { LaneCommand, LaneOutcome, LaneRejection } from './lane-commands.ts';
export { checkTerms, decideLane, publishLane } from './lane-commands.ts';
export type { TreeAccumulator } from './merkle.ts';
export {
  batchTree,
  createTreeAccumulator,
  inclusionPath,
  leafHash,
  nodeHash,
  rootFromPath,
  treeHashesOf,
  treeRoot,
} from './merkle.ts';
export type { ModelCommand, ModelLedger, ModelSigner } from './model-ledger.ts';
export { createModelLedger } from './model-ledger.ts';
export type {
  BatchHead,
  Checkpoint,
  HeadParts,
  LaneId,
  Receipt,
  ReceiptOpening,
  SealedBatch,
  VerifySignature,
} from './receipt.ts';
export {
  buildReceipt,
  checkpointMessage,
  genesisHead,
  headOf,
  sealBatch,
  signedHeadMessage,
} from './receipt.ts';
export type { ReceiptCheck, ReceiptFault } from './receipt-check.ts';
export {
  headAfter,
  isCheckpoint,
  isReceipt,
  verifyCheckpoint,
  verifyOpening,
  verifyReceipt,
} from './receipt-check.ts';
export type {
  ClosedRecord,
  CloseReason,
  Digest,
  EntryRecord,
  EpochMs,
  LaneRecord,
  OpenedRecord,
  PausedRecord,
  PromotedRecord,
  PublishedRecord,
  RecordType,
  ReopenedRecord,
  ReplacedRecord,
  RestoredRecord,
  ResumedRecord,
  RevokedRecord,
  SoldOutRecord,
  StockChangedRecord,
} from './record.ts';
export { decodeRecord, encodeRecord, isCampaignId, maxUnits, RecordFormatError } from './record-codec.ts';
export type {
  Language,
  LocalizedText,
  MultipleQuestion,
  NumberQuestion,
  ScaleQuestion,
  SingleQuestion,
  SurveyAnswer,
  SurveyAnswers,
  SurveyCondition,
  SurveyDefinition,
  SurveyFault,
  SurveyOption,
  SurveyQuestion,
  TextQuestion,
} from './survey.ts';
export { isAsked, isRequired, scaleRange, surveyLimits, textIn } from './survey.ts';
export type { CompiledSurvey, SurveyCheck } from './survey-answers.ts';
export { compileSurvey } from './survey-answers.ts';
export { checkSurveyDefinition } from './survey-definition.ts';
export type {
  ChoiceCount,
  CrossTab,
  CrossTabResult,
  NumberSummary,
  QuestionResult,
  SurveyResult,
  SurveyTally,
} from './survey-tally.ts';
export { createCrossTab, createSurveyTally, isCrossTabbable } from './survey-tally.ts';
export type { EntryVerdict, RefusalVerdict, Verdict } from './verdict.ts';
export { verdicts } from './verdict.ts';

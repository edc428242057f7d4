/**
 * Campaigns as this process knows them: definition, compiled survey, and the newest committed state of the lane. The HTTP thread asks
 * here on every request and the ledger only when it must.
 *
 * A lane moves only by `onLane`, that is after its commit. A definition may change by the operator (`forget`) or, at the latest, is
 * read again after a second in the background. Ids that do not exist are remembered for a second too, a bounded number of
 * them, so that guessing ids does not reach the ledger.
 */
import { type CompiledSurvey, compileSurvey, type LaneState } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import { type CampaignDefinition, surveyOf } from '../campaign/definition.ts';
import type { Campaign, CampaignLedger } from '../ledger.ts';

export interface KnownCampaign {
  readonly id: string;
  readonly version: number;
  readonly definition: CampaignDefinition;
  readonly intake: 'direct' | 'queued';
  /** Null without a survey. */
  readonly survey: CompiledSurvey | null;
  /** The newest committed state; null while the campaign is a draft. */
  readonly lane: LaneState | null;
  readonly updatedAt: number;
}

export interface CampaignBook {
  /** What is in memory; undefined when it has to be read with `find`. */
  peek(campaignId: string): KnownCampaign | null | undefined;
  /** Null when there is no campaign of this id. */
  find(campaignId: string): Promise<KnownCampaign | null>;
  /** Reads the definition again at the next question. */
  forget(campaignId: string): void;
  /** After every commit that changed a lane, once the book itself knows it. Returns the unsubscribe function. */
  onLane(listener: (lane: LaneState) => void): () => void;
  /** All lanes heard of since the start. */
  lanes(): Iterable<LaneState>;
  close(): void;
}

const refreshAfterMs = 1_000;
const mostUnknown = 10_000;

interface Page {
  campaign: KnownCampaign;
  readAt: number;
  reading: boolean;
}

export function createCampaignBook(ledger: CampaignLedger, clock: Clock): CampaignBook {
  return new Book(ledger, clock);
}

class Book implements CampaignBook {
  readonly #ledger: CampaignLedger;
  readonly #clock: Clock;
  readonly #pages = new Map<string, Page>();
  readonly #unknown = new Map<string, number>();
  readonly #reading = new Map<string, Promise<KnownCampaign | null>>();
  readonly #lanes = new Map<string, LaneState>();
  readonly #listeners = new Set<(lane: LaneState) => void>();
  readonly #unsubscribe: () => void;
  #forgotten = 0;

  constructor(ledger: CampaignLedger, clock: Clock) {
    this.#ledger = ledger;
    this.#clock = clock;
    this.#unsubscribe = ledger.onLane((lane) => this.#take(lane));
  }

  peek(campaignId: string): KnownCampaign | null | undefined {
    const page = this.#pages.get(campaignId);
    if (page) {
      if (!page.reading && this.#clock.monotonic() - page.readAt > refreshAfterMs)
        this.#refresh(campaignId, page);
      return page.campaign;
    }
    const asked = this.#unknown.get(campaignId);
    if (asked !== undefined && this.#clock.monotonic() - asked <= refreshAfterMs) return null;
    return undefined;
  }

  async find(campaignId: string): Promise<KnownCampaign | null> {
    const known = this.peek(campaignId);
    if (known !== undefined) return known;
    let reading = this.#reading.get(campaignId);
    if (!reading) {
      const started = this.#read(campaignId).finally(() => {
        if (this.#reading.get(campaignId) === started) this.#reading.delete(campaignId);
      });
      reading = started;
      this.#reading.set(campaignId, reading);
    }
    return reading;
  }

  forget(campaignId: string): void {
    this.#pages.delete(campaignId);
    this.#unknown.delete(campaignId);
    this.#reading.delete(campaignId);
    this.#forgotten += 1;
  }

  onLane(listener: (lane: LaneState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  lanes(): Iterable<LaneState> {
    return this.#lanes.values();
  }

  close(): void {
    this.#unsubscribe();
  }

  /** A commit changed this lane. */
  #take(lane: LaneState): void {
    this.#lanes.set(lane.campaign, lane);
    this.#unknown.delete(lane.campaign);
    const page = this.#pages.get(lane.campaign);
    if (page) {
      if (page.campaign.lane === null) this.forget(lane.campaign);
      else page.campaign = { ...page.campaign, lane };
    }
    for (const listener of this.#listeners) listener(lane);
  }

  async #read(campaignId: string): Promise<KnownCampaign | null> {
    const forgotten = this.#forgotten;
    const campaign = await this.#ledger.get(campaignId);
    // Something was forgotten meanwhile: this answer may be older than the change, so it is asked for again.
    if (forgotten !== this.#forgotten) return this.#read(campaignId);
    if (!campaign) {
      if (this.#unknown.size >= mostUnknown) this.#unknown.clear();
      this.#unknown.set(campaignId, this.#clock.monotonic());
      return null;
    }
    return this.#store(campaign);
  }

  #store(campaign: Campaign): KnownCampaign {
    const before = this.#pages.get(campaign.id)?.campaign;
    const heard = this.#lanes.get(campaign.id);
    const lane = campaign.lane === null ? (heard ?? null) : newer(campaign.lane, heard);
    if (lane) this.#lanes.set(campaign.id, lane);
    const unchanged = before?.version === campaign.version;
    const survey = unchanged ? before.survey : compiled(campaign.definition);
    const known: KnownCampaign = {
      id: campaign.id,
      version: campaign.version,
      definition: campaign.definition,
      intake: campaign.definition.intake ?? 'direct',
      survey,
      lane,
      updatedAt: campaign.updatedAt,
    };
    this.#pages.set(campaign.id, { campaign: known, readAt: this.#clock.monotonic(), reading: false });
    this.#unknown.delete(campaign.id);
    return known;
  }

  #refresh(campaignId: string, page: Page): void {
    page.reading = true;
    this.#ledger.get(campaignId).then(
      (campaign) => {
        if (this.#pages.get(campaignId) !== page) return;
        if (campaign) this.#store(campaign);
        else this.#pages.delete(campaignId);
      },
      () => {
        // The ledger is out of reach: what is known stays known, and the next question tries again after a while.
        page.reading = false;
        page.readAt = this.#clock.monotonic();
      },
    );
  }
}

function newer(read: LaneState, heard: LaneState | undefined): LaneState {
  if (!heard || read.epoch > heard.epoch) return read;
  return read.recordNo > heard.recordNo ? read : heard;
}

function compiled(definition: CampaignDefinition): CompiledSurvey | null {
  const survey = surveyOf(definition);
  return survey && compileSurvey(survey);
}

/** The addresses of a campaign, with the defaults of the API where the view names none. */
import { webUrl } from './html.ts';
import type { CampaignView, Locale } from './page-view.ts';

function api(view: CampaignView): string {
  return `/v1/campaigns/${encodeURIComponent(view.campaignId)}`;
}

export function pageUrl(view: CampaignView): string {
  return view.pageUrl ?? `/c/${encodeURIComponent(view.campaignId)}`;
}

/** Carries the language, so that the answer to the form comes in the language of the form. */
export function entryForm(view: CampaignView, locale: Locale): string {
  return `${pageUrl(view)}/entries?lang=${locale}`;
}

export function statusUrl(view: CampaignView): string {
  return view.statusUrl ?? `${api(view)}/status`;
}

export function entriesUrl(view: CampaignView): string {
  return view.entriesUrl ?? `${api(view)}/entries`;
}

export function mineUrl(view: CampaignView): string {
  return view.mineUrl ?? `${api(view)}/entries/mine`;
}

export const downloadUrl = mineUrl;

export function shopLink(view: CampaignView): string | null {
  return webUrl(view.returnUrl);
}

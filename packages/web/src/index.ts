/** `@doorbuster/web`: the member page as pure functions. The server routes, looks up and sends; this package only renders. */
export { memberPageAssets, type MemberPageAsset } from './assets.ts';
export { answersFromForm, type FormAnswers, type FormFields, localizedFaults } from './form-fields.ts';
export { chooseLocale } from './locale.ts';
export { memberPageHeaders, memberPageStatus } from './page-response.ts';
export type {
  CampaignView,
  Locale,
  MemberPageState,
  MemberPageView,
  PageDelivery,
  PageEntry,
  PageForm,
  PageMember,
  PageVoucher,
} from './page-view.ts';
export { renderMemberPage } from './render.ts';

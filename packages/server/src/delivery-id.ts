/** The public id of a delivery: one grant of one unit to one entry. It names its row by itself, so no store keeps it. */

export function deliveryIdOf(campaignId: string, seq: number, unit: number): string {
  return `${campaignId}.${seq}.${unit}`;
}

/** Null when it cannot name a delivery. Campaign ids may hold dots, so the numbers are taken from the end. */
export function parseDeliveryId(
  id: string,
): { readonly campaignId: string; readonly seq: number; readonly unit: number } | null {
  const parts = /^(.+)\.([1-9]\d{0,14})\.([1-9]\d{0,14})$/.exec(id);
  return parts === null
    ? null
    : { campaignId: parts[1] as string, seq: Number(parts[2]), unit: Number(parts[3]) };
}

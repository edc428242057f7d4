/**
 * What counts as text where a person or a shop names something: whole characters and no controls. A control would survive into mails and exports; a lone
 * surrogate has no UTF-8, so that two different ids would hash to one member.
 */
export function isText(value: string): boolean {
  return value.isWellFormed() && !/[\u0000-\u001f\u007f]/.test(value);
}

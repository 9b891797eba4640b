/** How long keys and values may be. */

export const KEY_BYTES_MAX = 250
/** Of a value, unless the cluster's configuration says otherwise. */
export const ITEM_SIZE_MAX = 1024 * 1024
/** What the configuration can say. */
export const ITEM_SIZE_BOUNDS = { min: 1024, max: 16 * 1024 * 1024 } as const

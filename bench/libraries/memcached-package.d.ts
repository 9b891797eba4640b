/** The package has no types: of it, what the bench uses. */
declare module 'memcached' {
  export default class Memcached {
    constructor(server: string, options: { poolSize: number })
    set(key: string, value: string, expiryS: number, done: (error?: Error) => void): void
    get(key: string, done: (error: Error | undefined, value: unknown) => void): void
  }
}

/** What code in src tells the person who runs it; pino's loggers are of this shape. */
export interface Logger {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

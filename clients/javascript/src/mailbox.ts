/** Values in the order they came, for one reader; a failure comes after the values before it, and stays. */
export class Mailbox<T> {
  private readonly values: T[] = [];
  private failure: { error: unknown } | undefined;
  private wake: (() => void) | undefined;

  put(value: T): void {
    if (this.failure !== undefined) return;
    this.values.push(value);
    this.wake?.();
  }

  /** Let every later `take` reject. The first failure counts. */
  fail(error: unknown): void {
    this.failure ??= { error };
    this.wake?.();
  }

  async take(): Promise<T> {
    while (this.values.length === 0) {
      if (this.failure !== undefined) throw this.failure.error;
      await new Promise<void>((wake) => (this.wake = wake));
    }
    return this.values.shift()!;
  }
}

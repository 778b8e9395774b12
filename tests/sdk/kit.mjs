// What every script here uses: where the gateway is, and checks that are told apart in the output.
import assert from 'node:assert/strict';

export { assert };
export const base = process.env.GATEWAY;
export const key = process.env.KEY;
export const model = 'claude-sonnet-4-6';

/** Runs each check in turn; the first that fails ends the process with its name. */
export async function run(checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      console.error(`FAILED ${name}:`, error);
      process.exit(1);
    }
  }
  process.exit(0);
}

/** The error that a promise ends with. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

export const pixel =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

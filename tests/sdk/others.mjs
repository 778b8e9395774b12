// Libraries that OpenClaw and others build on: a plain and a streaming turn each.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { ChatAnthropic } from '@langchain/anthropic';
import { ChatOpenAI } from '@langchain/openai';
import { complete, stream } from '@mariozechner/pi-ai';
import { generateText, streamText } from 'ai';
import { assert, base, key, model, run } from './kit.mjs';

async function collected(parts, text) {
  let all = '';
  for await (const part of parts) all += text(part);
  return all;
}

async function langchain(chat) {
  assert.equal((await chat.invoke('[[text:hello]]')).text, 'hello');
  const pieces = await collected(await chat.stream('[[slow:3x5]]'), (chunk) => chunk.text);
  assert.equal(pieces, 'tick1 tick2 tick3 ');
}

async function vercel(model) {
  const settings = { model, maxRetries: 0 };
  assert.equal((await generateText({ ...settings, prompt: '[[text:hello]]' })).text, 'hello');
  const { textStream } = streamText({ ...settings, prompt: '[[slow:3x5]]' });
  assert.equal(await collected(textStream, (piece) => piece), 'tick1 tick2 tick3 ');
}

async function pi(api, baseUrl) {
  const of = {
    id: model, name: model, api, provider: 'ccgw', baseUrl, reasoning: false, input: ['text'],
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 }, contextWindow: 200000, maxTokens: 4000,
  };
  const context = (text) => ({ messages: [{ role: 'user', content: text, timestamp: Date.now() }] });
  const whole = await complete(of, context('[[text:hello]]'), { apiKey: key });
  assert.deepEqual([whole.stopReason, whole.content[0]?.text, whole.errorMessage], ['stop', 'hello', undefined]);
  const events = stream(of, context('[[slow:3x5]]'), { apiKey: key });
  const pieces = await collected(events, (event) => (event.type === 'text_delta' ? event.delta : ''));
  assert.equal(pieces, 'tick1 tick2 tick3 ');
}

await run({
  langchain_anthropic: () =>
    langchain(new ChatAnthropic({ model, apiKey: key, anthropicApiUrl: base, maxRetries: 0, maxTokens: 4000 })),
  langchain_openai_responses: () =>
    langchain(
      new ChatOpenAI({ model, apiKey: key, useResponsesApi: true, configuration: { baseURL: `${base}/v1` }, maxRetries: 0 }),
    ),
  langchain_openai: () =>
    langchain(new ChatOpenAI({ model, apiKey: key, configuration: { baseURL: `${base}/v1` }, maxRetries: 0 })),
  vercel_anthropic: () => vercel(createAnthropic({ baseURL: `${base}/v1`, apiKey: key })(model)),
  vercel_openai: () => vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).chat(model)),
  vercel_openai_responses: () => vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).responses(model)),
  pi_anthropic: () => pi('anthropic-messages', base),
  pi_openai: () => pi('openai-completions', `${base}/v1`),
});

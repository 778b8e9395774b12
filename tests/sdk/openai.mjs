// OpenAI's own SDK for JavaScript.
import OpenAI from 'openai';
import { assert, base, failure, key, model, pixel, run } from './kit.mjs';

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const ask = (content, more = {}) => ({ model, messages: [{ role: 'user', content }], ...more });

await run({
  async whole() {
    const completion = await client.chat.completions.create(ask('[[text:hello]]'));
    const [choice] = completion.choices;
    assert.equal(choice.message.content, 'hello');
    assert.equal(choice.finish_reason, 'stop');
    assert.equal(completion.usage.total_tokens, completion.usage.prompt_tokens + completion.usage.completion_tokens);
    assert.match(completion._request_id, /^req_/);
  },
  async stream_with_usage() {
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = [];
    for await (const chunk of await client.chat.completions.create(ask('[[slow:3x5]]', options))) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
    assert.equal(text, 'tick1 tick2 tick3 ');
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  },
  async stream_helper() {
    const stream = client.chat.completions.stream(ask('[[text:hi there]]'));
    assert.equal(await stream.finalContent(), 'hi there');
  },
  async roles() {
    const messages = [
      { role: 'developer', content: 'be brief' },
      { role: 'user', content: 'one' },
      { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }] },
      { role: 'tool', tool_call_id: 'c1', content: 'result' },
      { role: 'user', content: '[[text:done]]' },
    ];
    const completion = await client.chat.completions.create({ model, messages });
    assert.equal(completion.choices[0].message.content, 'done');
  },
  async image() {
    const image_url = { url: `data:image/png;base64,${pixel}` };
    const content = [{ type: 'text', text: '[[text:seen]]' }, { type: 'image_url', image_url }];
    const completion = await client.chat.completions.create(ask(content));
    assert.equal(completion.choices[0].message.content, 'seen');
  },
  async limits_and_stops() {
    const cut = await client.chat.completions.create(ask('[[maxtokens]]', { max_completion_tokens: 5 }));
    assert.equal(cut.choices[0].finish_reason, 'length');
    const stopped = await client.chat.completions.create(ask('[[text:one two]]', { stop: ['two'] }));
    assert.equal(stopped.choices[0].message.content, 'one ');
  },
  async structured_output() {
    const schema = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'], additionalProperties: false };
    const response_format = { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } };
    const completion = await client.chat.completions.parse(ask('[[json:{"n":1}]]', { response_format }));
    assert.deepEqual(JSON.parse(completion.choices[0].message.content), { n: 1 });
  },
  async responses() {
    const response = await client.responses.create({ model, input: '[[text:hello]]' });
    assert.equal(response.output_text, 'hello');
    assert.equal(response.status, 'completed');
    assert.ok(response.usage.output_tokens > 0);
    const pieces = [];
    const next = await client.responses.create({ model, input: '[[text:on]]', previous_response_id: response.id });
    assert.equal(next.previous_response_id, response.id);
    assert.equal(next.output_text, 'on');
    const stream = client.responses.stream({ model, input: [{ role: 'user', content: '[[slow:3x5]]' }] });
    stream.on('response.output_text.delta', (event) => pieces.push(event.delta));
    const final = await stream.finalResponse();
    assert.equal(final.output_text, pieces.join(''));
    assert.equal(pieces.length, 3);
    const cut = await client.responses.create({ model, input: '[[maxtokens]]', max_output_tokens: 9 });
    assert.deepEqual([cut.status, cut.incomplete_details.reason], ['incomplete', 'max_output_tokens']);
    const failed = await failure(client.responses.create({ model, input: '[[status:429]]' }));
    assert.ok(failed instanceof OpenAI.RateLimitError);
  },
  async responses_with_a_schema() {
    const schema = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'], additionalProperties: false };
    const text = { format: { type: 'json_schema', name: 'x', strict: true, schema } };
    const response = await client.responses.parse({ model, input: '[[json:{"n":1}]]', text });
    assert.deepEqual(JSON.parse(response.output_text), { n: 1 });
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.ok(ids.includes('claude-sonnet-5-5'));
    assert.equal((await client.models.retrieve('claude-sonnet-5-5')).id, 'claude-sonnet-5-5');
    assert.equal((await failure(client.models.retrieve('gpt-4o'))).status, 404);
  },
  async errors_are_the_sdks_own() {
    const wrong = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'wrong', maxRetries: 0 });
    const unauthorized = await failure(wrong.chat.completions.create(ask('x')));
    assert.ok(unauthorized instanceof OpenAI.AuthenticationError);
    assert.match(unauthorized.requestID, /^req_/);
    const bad = await failure(client.chat.completions.create({ model, messages: [] }));
    assert.ok(bad instanceof OpenAI.BadRequestError);
    const missing = await failure(client.chat.completions.create({ ...ask('x'), model: 'gpt-4o' }));
    assert.ok(missing instanceof OpenAI.NotFoundError);
    assert.equal(missing.code, 'model_not_found');
    const limited = await failure(client.chat.completions.create(ask('[[status:429]]')));
    assert.ok(limited instanceof OpenAI.RateLimitError);
    const several = await failure(client.chat.completions.create(ask('x', { n: 2 })));
    assert.ok(several instanceof OpenAI.BadRequestError);
  },
  async cancelled() {
    const controller = new AbortController();
    const stream = await client.chat.completions.create(
      ask('[[gate:never-opened]]', { stream: true, tool_choice: 'none' }),
      { signal: controller.signal },
    );
    let pieces = 0;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content) pieces += 1;
      if (pieces === 1) controller.abort();
    }
    assert.equal(pieces, 1);
  },
});

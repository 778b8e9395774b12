// Anthropic's own SDK for JavaScript.
import Anthropic from '@anthropic-ai/sdk';
import { assert, base, failure, key, model, pixel, run } from './kit.mjs';

const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
const ask = (content, more = {}) => ({
  model,
  max_tokens: 4000,
  messages: [{ role: 'user', content }],
  ...more,
});

await run({
  async whole() {
    const message = await client.messages.create(ask('[[text:hello]]'));
    assert.equal(message.content[0].text, 'hello');
    assert.equal(message.stop_reason, 'end_turn');
    assert.equal(message.model, model);
    assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
    assert.match(message._request_id, /^req_/);
  },
  async stream_helper() {
    const pieces = [];
    const stream = client.messages.stream(ask('[[slow:3x5]]')).on('text', (text) => pieces.push(text));
    const message = await stream.finalMessage();
    assert.equal(pieces.length, 3);
    assert.equal(message.content[0].text, pieces.join(''));
    assert.ok(message.usage.output_tokens > 0);
  },
  async raw_events() {
    const kinds = [];
    for await (const event of await client.messages.create(ask('[[text:hi]]', { stream: true }))) {
      kinds.push(event.type);
    }
    assert.equal(kinds[0], 'message_start');
    assert.equal(kinds.at(-1), 'message_stop');
  },
  async thinking() {
    const thinking = { type: 'enabled', budget_tokens: 1024 };
    const message = await client.messages.stream(ask('[[think:hm]]', { thinking })).finalMessage();
    assert.equal(message.content[0].thinking, 'hm');
    assert.ok(message.content[0].signature);
    assert.equal(message.content[1].text, 'thought');
  },
  async tools_of_the_cli_stay_hidden() {
    const message = await client.messages.create(ask('[[bash:echo from-bash]]'));
    assert.deepEqual(message.content.map((block) => block.type), ['text']);
    assert.match(message.content[0].text, /from-bash/);
  },
  async image() {
    const source = { type: 'base64', media_type: 'image/png', data: pixel };
    const content = [{ type: 'image', source }, { type: 'text', text: '[[text:seen]]' }];
    assert.equal((await client.messages.create(ask(content))).content[0].text, 'seen');
  },
  async conversation() {
    const messages = [
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'two' },
      { role: 'user', content: '[[text:three]]' },
    ];
    const message = await client.messages.create({ ...ask(''), messages });
    assert.equal(message.content[0].text, 'three');
  },
  async stop_sequence() {
    const message = await client.messages.create(ask('[[text:one two]]', { stop_sequences: ['two'] }));
    assert.equal(message.stop_reason, 'stop_sequence');
    assert.equal(message.stop_sequence, 'two');
    assert.equal(message.content[0].text, 'one ');
  },
  async structured_output() {
    const schema = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'], additionalProperties: false };
    const output_config = { format: { type: 'json_schema', schema } };
    const message = await client.messages.parse(ask('[[json:{"n":1}]]', { output_config }));
    assert.deepEqual(message.parsed_output ?? JSON.parse(message.content[0].text), { n: 1 });
  },
  async count_tokens() {
    const { messages } = ask('some words');
    const { input_tokens } = await client.messages.countTokens({ model, messages });
    assert.equal(input_tokens, 42);
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.ok(ids.includes('claude-sonnet-5-5'));
    assert.equal((await client.models.retrieve('claude-sonnet-5-5')).id, 'claude-sonnet-5-5');
    assert.equal((await failure(client.models.retrieve('gpt-4o'))).status, 404);
  },
  async errors_are_the_sdks_own() {
    const wrong = new Anthropic({ baseURL: base, apiKey: 'wrong', maxRetries: 0 });
    const unauthorized = await failure(wrong.messages.create(ask('x')));
    assert.ok(unauthorized instanceof Anthropic.AuthenticationError);
    assert.match(unauthorized.requestID, /^req_/);
    assert.equal(unauthorized.error.error.type, 'authentication_error');
    const bad = await failure(client.messages.create({ ...ask('x'), messages: [] }));
    assert.ok(bad instanceof Anthropic.BadRequestError);
    const missing = await failure(client.messages.create({ ...ask('x'), model: 'gpt-4o' }));
    assert.ok(missing instanceof Anthropic.NotFoundError);
    const limited = await failure(client.messages.create(ask('[[status:429]]')));
    assert.ok(limited instanceof Anthropic.RateLimitError);
    const overloaded = await failure(client.messages.stream(ask('[[status:529]]')).finalMessage());
    assert.ok(overloaded instanceof Anthropic.InternalServerError);
    assert.equal(overloaded.status, 529);
  },
  async cancelled() {
    const stream = client.messages.stream(
      ask('[[gate:never-opened]]', { tool_choice: { type: 'none' } }),
    );
    stream.on('text', () => stream.abort());
    assert.ok((await failure(stream.finalMessage())) instanceof Anthropic.APIUserAbortError);
  },
});

"""Anthropic's own SDK for Python."""
import json

import anthropic
from kit import BASE, KEY, MODEL, PIXEL, failure, run

client = anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0)


def ask(content, **more):
    return {"model": MODEL, "max_tokens": 4000, "messages": [{"role": "user", "content": content}], **more}


def whole():
    message = client.messages.create(**ask("[[text:hello]]"))
    assert message.content[0].text == "hello" and message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id.startswith("req_")


def stream_helper():
    with client.messages.stream(**ask("[[slow:3x5]]")) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert pieces == ["tick1 ", "tick2 ", "tick3 "], pieces
    assert message.content[0].text == "".join(pieces)


def thinking():
    message = client.messages.create(**ask("[[think:hm]]", thinking={"type": "enabled", "budget_tokens": 1024}))
    assert message.content[0].thinking == "hm" and message.content[0].signature


def image():
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "[[text:seen]]"}]
    assert client.messages.create(**ask(content)).content[0].text == "seen"


def structured_output():
    schema = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"], "additionalProperties": False}
    message = client.messages.create(
        **ask('[[json:{"n":1}]]', output_config={"format": {"type": "json_schema", "schema": schema}})
    )
    assert json.loads(message.content[0].text) == {"n": 1}


def count_tokens():
    assert client.messages.count_tokens(model=MODEL, messages=ask("some words")["messages"]).input_tokens == 42


def models():
    assert "claude-sonnet-5-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("claude-sonnet-5-5").id == "claude-sonnet-5-5"
    failure(anthropic.NotFoundError, lambda: client.models.retrieve("gpt-4o"))


def errors_are_the_sdks_own():
    wrong = anthropic.Anthropic(base_url=BASE, api_key="wrong", max_retries=0)
    error = failure(anthropic.AuthenticationError, lambda: wrong.messages.create(**ask("x")))
    assert error.request_id.startswith("req_")
    failure(anthropic.BadRequestError, lambda: client.messages.create(**{**ask("x"), "messages": []}))
    failure(anthropic.NotFoundError, lambda: client.messages.create(**{**ask("x"), "model": "gpt-4o"}))
    failure(anthropic.RateLimitError, lambda: client.messages.create(**ask("[[status:429]]")))
    error = failure(anthropic.InternalServerError, lambda: client.messages.create(**ask("[[status:529]]")))
    assert error.status_code == 529


def cancelled():
    with client.messages.stream(**ask("[[gate:never-opened]]", tool_choice={"type": "none"})) as stream:
        assert next(iter(stream.text_stream)) == "before "


run(whole, stream_helper, thinking, image, structured_output, count_tokens, models, errors_are_the_sdks_own, cancelled)

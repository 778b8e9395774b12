"""OpenAI's own SDK for Python."""
import json

import openai
from kit import BASE, KEY, MODEL, PIXEL, failure, run

client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)


def ask(content, **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}


def whole():
    completion = client.chat.completions.create(**ask("[[text:hello]]"))
    assert completion.choices[0].message.content == "hello"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.prompt_tokens > 0
    assert completion._request_id.startswith("req_")


def stream_with_usage():
    chunks = list(
        client.chat.completions.create(**ask("[[slow:3x5]]", stream=True, stream_options={"include_usage": True}))
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "tick1 tick2 tick3 "
    assert chunks[-1].usage.completion_tokens > 0


def stream_helper():
    with client.chat.completions.stream(**ask("[[text:hi there]]")) as stream:
        assert stream.get_final_completion().choices[0].message.content == "hi there"


def image():
    content = [
        {"type": "text", "text": "[[text:seen]]"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    assert client.chat.completions.create(**ask(content)).choices[0].message.content == "seen"


def structured_output():
    schema = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"], "additionalProperties": False}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    completion = client.chat.completions.create(**ask('[[json:{"n":1}]]', response_format=response_format))
    assert json.loads(completion.choices[0].message.content) == {"n": 1}


def responses():
    response = client.responses.create(model=MODEL, input="[[text:hello]]", instructions="be brief")
    assert response.output_text == "hello" and response.usage.output_tokens > 0
    with client.responses.stream(model=MODEL, input="[[slow:3x5]]") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == "".join(deltas) == "tick1 tick2 tick3 "


def models():
    assert "claude-sonnet-5-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("claude-sonnet-5-5").id == "claude-sonnet-5-5"
    failure(openai.NotFoundError, lambda: client.models.retrieve("gpt-4o"))


def errors_are_the_sdks_own():
    wrong = openai.OpenAI(base_url=f"{BASE}/v1", api_key="wrong", max_retries=0)
    error = failure(openai.AuthenticationError, lambda: wrong.chat.completions.create(**ask("x")))
    assert error.request_id.startswith("req_")
    failure(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=[]))
    error = failure(openai.NotFoundError, lambda: client.chat.completions.create(**{**ask("x"), "model": "gpt-4o"}))
    assert error.code == "model_not_found"
    failure(openai.RateLimitError, lambda: client.chat.completions.create(**ask("[[status:429]]")))


def cancelled():
    with client.chat.completions.create(**ask("[[gate:never-opened]]", stream=True, tool_choice="none")) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break


run(whole, stream_with_usage, stream_helper, image, structured_output, responses, models, errors_are_the_sdks_own, cancelled)

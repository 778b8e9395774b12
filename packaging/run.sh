#!/bin/sh
# Starts ccgw for trying it out, and prints a request to send: run.sh PROGRAM CONFIG
set -eu
program=$1
config=$2

demo=
bin=${CLAUDE_BIN:-claude}
if ! command -v "$bin" >/dev/null 2>&1; then
    demo=--demo
    printf '\n  *** No Claude Code CLI (`%s`) here: a built-in STAND-IN answers, no model is asked. ***\n' "$bin"
    printf '  *** Install the real one: npm install -g @anthropic-ai/claude-code                 ***\n'
fi

key=
if [ -f "$config" ]; then
    key='  -H "x-api-key: $KEY" `# a tenant'"'"'s api_key from '"$config"'` \'
    set -- "$config"
else
    set --
fi
port=${PORT:-$(sed -n 's/^[[:space:]]*port:[[:space:]]*\([0-9]*\).*/\1/p' "$config" 2>/dev/null | head -n 1)}

printf '\n  In another terminal:\n\n'
printf '  curl -N http://127.0.0.1:%s/v1/messages -H "content-type: application/json" \\\n' "${port:-3456}"
[ -z "$key" ] || printf '%s\n' "  $key"
printf '    -d '"'"'{"model":"sonnet","max_tokens":1024,"stream":true,"messages":[{"role":"user","content":"Say hello"}]}'"'"'\n\n'

exec "$program" $demo "$@"

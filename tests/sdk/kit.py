"""What every script here uses: where the gateway is, and checks that are told apart in the output."""
import os
import sys
import traceback

BASE = os.environ["GATEWAY"]
KEY = os.environ["KEY"]
MODEL = "claude-sonnet-4-6"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def run(*checks):
    """Runs each check in turn; the first that fails ends the process with its name."""
    for check in checks:
        try:
            check()
        except Exception:
            traceback.print_exc()
            sys.exit(f"FAILED {check.__name__}")
        print(f"ok {check.__name__}", flush=True)


def failure(kind, call):
    """The error that a call ends with, which must be of this kind."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it did not fail")

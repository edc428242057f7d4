"""What Schemathesis needs to know of the server that scripts/fuzz.ts has started: who may ask what, and that every request comes from an address of its own."""

import itertools
import json
import os

import schemathesis

with open(os.environ["DOORBUSTER_FUZZ_TARGET"], encoding="utf-8") as file:
    target = json.load(file)

# One key has 1,200 requests a minute, so they are used in turns.
keys = itertools.cycle(target["keys"])
addresses = itertools.count()


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """The key of an operator or the session of a member, as the document says for the operation."""

    def get(self, case, context):
        alternatives = case.operation.definition.raw.get("security") or []
        schemes = {name for alternative in alternatives for name in alternative}
        if "apiKey" in schemes:
            return next(keys)
        return target["session"] if schemes else None

    def set(self, case, data, context):
        if data:
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Wrong keys of one address are soon answered 429, which would hide what is asked for here: 401. The server trusts its proxy in this run."""
    number = next(addresses)
    case.headers["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

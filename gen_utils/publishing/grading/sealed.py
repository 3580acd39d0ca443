"""Messages with a seal that only who knows the key can make: the other end of a pipe tells them from forged ones."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

_LENGTH = hashlib.sha256().digest_size


def seal(key: bytes, message: Mapping) -> bytes:
    """The message as JSON, after its seal."""
    text = json.dumps(message).encode()
    return hmac.digest(key, text, "sha256") + text


def unseal(key: bytes, sealed: bytes) -> dict | None:
    """The message, or None when the seal is not that of the key."""
    mark, text = sealed[:_LENGTH], sealed[_LENGTH:]
    return json.loads(text) if hmac.compare_digest(mark, hmac.digest(key, text, "sha256")) else None

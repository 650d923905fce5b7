"""What is said on the wire, by format: who asks in it, and what an answer in it means. One file each.

A format knows JSON and no SDK. It reads the messages of a request (`said`), and gives a `Reader` for the answer, to
which each JSON document of the answer is added: the one of a whole answer, or each event of a stream.

```python
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS

reader = CHAT_COMPLETIONS.reader()
reader.add({"id": "c-1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "Good "}}]})
reader.add({"id": "c-1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "day."}}]})
print(reader.content(), reader.answer.has_content, reader.answer.is_complete)  # {'text': 'Good day.'} True False
```

Nothing here trusts what it reads: gateways and new versions send what no type says. What is not as expected is left
out, and nothing is made up for it.
"""

from mofa_usage.recording.formats.answers import Answer, Format, Reader

__all__ = ["Answer", "Format", "Reader"]

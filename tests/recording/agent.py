"""An agent that chats until it is killed: `python -m tests.recording.agent URL FOLDER SERVER NAME TASKS THREADS CHATS`.

Each line that it writes is the name of a chat that was answered, and that its recorder has accepted. With a number of
CHATS above 0 it ends by itself after so many, and delivers what it can.
"""

import asyncio
import itertools
import os
import sys
import threading
from typing import Any

import httpx2
import openai

from mofa_usage import Recorder
from mofa_usage.recording import Scope

KEY = "sk-of-the-tests"


class Agent:
    """What its tasks and threads share."""

    def __init__(self, recorder: Recorder, server: str, name: str, chats: int) -> None:
        self.recorder = recorder
        self.base = f"{server}/v1"
        self.name = name
        self.numbers = iter(range(chats)) if chats else itertools.count()
        self._lock = threading.Lock()

    def client(self, kind: Any, http: Any) -> Any:
        """Certificates are slow to load, and there are none here; time-outs are those of a machine without time."""
        options = {"api_key": KEY, "base_url": self.base, "max_retries": 0, "timeout": 120}
        return self.recorder.wrap(kind(http_client=http(verify=False, limits=httpx2.Limits()), **options))

    def next(self) -> int | None:
        """The number of the next chat; None after the last one."""
        with self._lock:
            return next(self.numbers, None)

    def arguments(self, number: int) -> dict[str, Any]:
        """Some are streams; how many words a question has, the server counts."""
        text = " ".join([f"{self.name}-{number}", *["word"] * (number % 9)])
        streaming = {"stream": True} if number % 4 == 0 else {}
        return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **streaming}

    def scope(self, number: int) -> Scope:
        """Each chat has a session of its own, named like it."""
        return self.recorder.scope(user="alice", session=f"{self.name}-{number}")

    def tell(self, number: int, scope: Scope) -> None:
        """It was answered; that it is counted says that it was accepted."""
        if scope.usage.calls == 1:
            os.write(1, f"{self.name}-{number}\n".encode())  # one write, so that lines do not mix

    def work(self) -> None:
        """What a thread does."""
        client = self.client(openai.OpenAI, httpx2.Client)
        while (number := self.next()) is not None:
            with self.scope(number) as scope:
                arguments = self.arguments(number)
                answer = client.chat.completions.create(**arguments)
                if "stream" in arguments:
                    for _ in answer:
                        pass
            self.tell(number, scope)

    async def task(self, client: Any) -> None:
        """What a task does."""
        while (number := self.next()) is not None:
            with self.scope(number) as scope:
                arguments = self.arguments(number)
                answer = await client.chat.completions.create(**arguments)
                if "stream" in arguments:
                    async for _ in answer:
                        pass
            self.tell(number, scope)

    async def tasks(self, count: int) -> None:
        """All of them, with one client."""
        client = self.client(openai.AsyncOpenAI, httpx2.AsyncClient)
        await asyncio.gather(*(self.task(client) for _ in range(count)))


def main(url: str, folder: str, server: str, name: str, tasks: str, threads: str, chats: str) -> None:
    """Chat."""
    with Recorder(url, outbox=folder, prices=None) as recorder:
        agent = Agent(recorder, server, name, int(chats))
        workers = [threading.Thread(target=agent.work, daemon=True) for _ in range(int(threads))]
        for worker in workers:
            worker.start()
        asyncio.run(agent.tasks(int(tasks)))
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main(*sys.argv[1:])

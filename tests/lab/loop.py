"""An event loop on a thread of its own, which all proxies of a test share."""

import asyncio
import atexit
import threading


class Loop:
    loop = None

    @classmethod
    def call(cls, coroutine):
        """Runs it there, and answers what it does."""
        if not cls.loop:
            cls.loop = asyncio.new_event_loop()
            threading.Thread(target=cls.loop.run_forever, daemon=True).start()
            atexit.register(cls.loop.call_soon_threadsafe, cls.loop.stop)
        return asyncio.run_coroutine_threadsafe(coroutine, cls.loop).result(60)

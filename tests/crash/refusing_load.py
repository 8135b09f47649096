"""A load that takes 503 for an answer: it checks what comes with it, counts it, and ends after
enough of them."""

import collections

import load


class RefusingLoad(load.Load):
    """`slugs`: the problems that a refusal may name. `refusals` ends the run once so many came;
    receipts and refusals both count in `acks` and `refused`. `on_ack` is called for each receipt,
    so that a test can act in the middle of the load."""

    def __init__(self, *arguments, slugs, refusals, on_ack=None, **options):
        super().__init__(*arguments, **options)
        self.slugs, self.refusals, self.on_ack = slugs, refusals, on_ack
        self.seen = collections.Counter()  # slugs

    def _answered(self, connection, response):
        if response.status != 503 or not connection.awaiting:
            super()._answered(connection, response)
            if self.on_ack is not None:
                self.on_ack(self.acks)
            return
        connection.awaiting.popleft()
        slug = response.problem()["slug"]
        assert slug in self.slugs, f"refused as {slug}: {response.body!r}"
        assert int(response.headers["retry-after"]) > 0
        self.seen[slug] += 1
        self.refused += 1
        if self.refused >= self.refusals:
            self.queue.clear()

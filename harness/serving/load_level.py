"""What requests under load came to, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass

from harness.stats.quantiles import percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """One request under load."""

    case_id: str
    clients: int
    """How many clients were asking."""

    error: str = ""
    """What the client was told instead of an answer."""

    is_same: bool = False
    """The answer is the one that a single client gets."""

    pieces: int = 0
    """Pieces of text that came: one per token, but none for one that ends inside a character."""

    ttft_s: float | None = None
    """Request sent -> first piece; the wait for other clients' requests included."""

    e2e_s: float | None = None
    """Request sent -> last piece."""

    itl_s: tuple[float, ...] = ()
    """Gaps between neighbouring pieces."""

    alone_ttft_s: float | None = None
    """Time to first piece of the same question when nobody else asked."""

    @property
    def queue_s(self) -> float | None:
        """What of the time to first piece was waiting and not work; None where either is unknown."""
        if self.ttft_s is None or self.alone_ttft_s is None:
            return None
        return max(0.0, self.ttft_s - self.alone_ttft_s)

    @property
    def tpot_s(self) -> float | None:
        """Mean gap between pieces; None below two of them."""
        return sum(self.itl_s) / len(self.itl_s) if self.itl_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """When a request counts as good."""

    ttft_s: float
    """Longest time to first piece, the queue included."""

    tpot_s: float
    """Longest mean gap between pieces."""

    def is_met_by(self, request: LoadRequest) -> bool:
        """An answer that came, was right, and was in time; one of a single piece has no gap to be late with."""
        if not request.is_same or request.ttft_s is None:
            return False
        return request.ttft_s <= self.ttft_s and (request.tpot_s is None or request.tpot_s <= self.tpot_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLevel:
    """What a number of clients got; every number derives from the requests and the time they took together."""

    clients: int
    """Asking at once; of open arrival, the most that waited at once."""

    duration_s: float
    """First request sent -> last answer whole."""

    requests: tuple[LoadRequest, ...]
    arrival_per_second: float | None = None
    """Mean rate of requests that came at random; None where each client waited for its last answer."""

    @property
    def errors(self) -> int:
        """Requests without an answer."""
        return sum(1 for request in self.requests if request.error)

    @property
    def same(self) -> int:
        """Answers equal to a single client's."""
        return sum(1 for request in self.requests if request.is_same)

    @property
    def answered(self) -> int:
        """Requests with an answer, right or wrong."""
        return len(self.requests) - self.errors

    @property
    def requests_per_second(self) -> float | None:
        """Answered requests by the time that all took together; None without one."""
        return self.answered / self.duration_s if self.answered else None

    def good(self, objective: Objective) -> int:
        """Requests that met the objective."""
        return sum(1 for request in self.requests if objective.is_met_by(request))

    def summary(self, objective: Objective | None = None) -> dict[str, float | None]:
        """The row of the load table; None for what no request shows."""
        ttft = [request.ttft_s for request in self.requests if request.ttft_s is not None]
        itl = [gap for request in self.requests for gap in request.itl_s]
        queue = [request.queue_s for request in self.requests if request.queue_s is not None]
        tpot = [request.tpot_s for request in self.requests if request.tpot_s is not None]
        pieces = sum(request.pieces for request in self.requests)
        return {
            "clients": self.clients,
            "requests": len(self.requests),
            "errors": self.errors,
            "same": self.same,
            "requests_per_second": self.requests_per_second,
            "tokens_per_second": pieces / self.duration_s if pieces else None,
            "ttft_p50_s": percentile(ttft, 50),
            "ttft_p95_s": percentile(ttft, 95),
            "itl_p50_s": percentile(itl, 50),
            "itl_p95_s": percentile(itl, 95),
            "arrival_per_second": self.arrival_per_second,
            "goodput_per_second": None if objective is None else self.good(objective) / self.duration_s,
            "queue_p50_s": percentile(queue, 50),
            "queue_p95_s": percentile(queue, 95),
            "ttft_p99_s": percentile(ttft, 99),
            "itl_p99_s": percentile(itl, 99),
            "tpot_p50_s": percentile(tpot, 50),
            "tpot_p95_s": percentile(tpot, 95),
        }

"""Everything that does I/O: backends, stores, audit, webhooks, metrics, logs."""

from .sandbox import MadeResponse, answer_chunks, sandbox_answer, sandbox_embeddings
from .world import World

__all__ = ["MadeResponse", "World", "answer_chunks", "sandbox_answer", "sandbox_embeddings"]

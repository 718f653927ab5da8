"""Lexgate: a policy proxy for LLM traffic. Start reading at `engine/pipeline.py`: one exchange, from bytes to bytes."""

__version__ = "0.1.0"

"""dse: design-space exploration of LLM-inference hardware."""

__version__ = "0.1.0"

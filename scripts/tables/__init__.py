"""Measured figures as Markdown tables; `scripts.render_docs` puts them into the pages."""

"""The reader's import path until 0.1: catalogues that users have saved name it."""

from ..datasets.catalog import CatalogReader as Source

__all__ = ["Source"]

"""The audit: finds likely mistakes in labels and photos before a model is trained on them.

The package and the function of Python's interface have the same name, and Python makes every package
that is imported an attribute of the one around it: so the package can be called.
"""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, data: Any, **options: Any) -> Any:
        """See `facetry.audit.folder.audit`."""
        from facetry.audit.folder import audit

        return audit(data, **options)


sys.modules[__name__].__class__ = _CallablePackage
